// SPDX-License-Identifier: MIT
//
// Plays the scripts of a corpus file, any compiler, and prints TAP: one line a
// script; with --ledger, what they made the card do instead.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "card_script.h"

namespace {

int base64_value(char c) {
  static const char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char* at = c == '\0' ? nullptr : std::strchr(kDigits, c);
  return at == nullptr ? -1 : static_cast<int>(at - kDigits);
}

bool decode(const std::string& line, std::vector<uint8_t>& out) {
  uint32_t bits = 0;
  int held = 0;
  for (char c : line) {
    if (c == '=') break;
    const int value = base64_value(c);
    if (value < 0) return false;
    bits = bits << 6 | static_cast<uint32_t>(value);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    out.push_back(static_cast<uint8_t>(bits >> held));
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const bool print_ledger = argc == 3 && std::strcmp(argv[1], "--ledger") == 0;
  if (argc != 2 && !print_ledger) {
    std::fprintf(stderr, "usage: card-replay [--ledger] CORPUS\n");
    return 2;
  }
  std::ifstream file(argv[argc - 1]);
  npu::fuzz::Ledger ledger;
  std::string line;
  int scripts = 0;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    std::vector<uint8_t> script;
    if (!decode(line, script)) {
      std::fprintf(stderr, "%s:%d: not base64\n", argv[argc - 1], number);
      return 2;
    }
    ++scripts;
    if (!print_ledger) std::printf("# script %d\n", scripts), std::fflush(stdout);
    npu::fuzz::play_card_script(script.data(), script.size(), &ledger);
    if (!print_ledger) std::printf("ok %d - script of %zu bytes\n", scripts, script.size());
  }
  if (scripts == 0) {
    std::fprintf(stderr, "%s: no scripts\n", argv[argc - 1]);
    return 2;
  }
  if (!print_ledger) {
    std::printf("1..%d\n", scripts);
    return 0;
  }
  for (const auto& [kind, times] : ledger.seen())
    std::printf("%s %llu %llu\n", kind.first.data(), static_cast<unsigned long long>(kind.second),
                static_cast<unsigned long long>(times));
  for (const auto& [what, times] : ledger.missing())
    std::printf("missing %llu %s\n", static_cast<unsigned long long>(times), what.c_str());
  return 0;
}
