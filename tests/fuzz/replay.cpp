// SPDX-License-Identifier: MIT
//
// Plays the scripts of corpus files, built by any compiler, and prints TAP: one
// line a script; with --ledger, what they made the card do instead.
#include <cctype>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "card_script.h"

namespace {

bool decode(const std::string& line, std::vector<uint8_t>& out) {
  int digits = 0;
  unsigned value = 0;
  for (const char c : line) {
    if (c == ' ') continue;
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0) return false;
    value = value << 4 | static_cast<unsigned>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    if (++digits % 2 == 0) out.push_back(static_cast<uint8_t>(value));
  }
  return digits % 2 == 0;
}

// Plays every script of a file; false: it cannot be read.
bool play(const char* path, bool verbose, int& scripts, npu::fuzz::Ledger& ledger) {
  std::ifstream file(path);
  std::string line;
  const int before = scripts;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    std::vector<uint8_t> script;
    if (!decode(line, script)) {
      std::fprintf(stderr, "%s:%d: not hexadecimal\n", path, number);
      return false;
    }
    ++scripts;
    if (verbose) std::printf("# %s:%d\n", path, number), std::fflush(stdout);
    npu::fuzz::play_card_script(script.data(), script.size(), &ledger);
    if (verbose) std::printf("ok %d - script of %zu bytes\n", scripts, script.size());
  }
  if (scripts == before) std::fprintf(stderr, "%s: no scripts\n", path);
  return scripts != before;
}

}  // namespace

int main(int argc, char** argv) {
  const bool print_ledger = argc > 2 && std::strcmp(argv[1], "--ledger") == 0;
  if (argc < 2) {
    std::fprintf(stderr, "usage: card-replay [--ledger] CORPUS...\n");
    return 2;
  }
  npu::fuzz::Ledger ledger;
  int scripts = 0;
  for (int i = print_ledger ? 2 : 1; i < argc; ++i)
    if (!play(argv[i], !print_ledger, scripts, ledger)) return 2;
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
