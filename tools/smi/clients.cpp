// SPDX-License-Identifier: MIT
#include "tools/smi/clients.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string_view>
#include <tuple>

namespace npu::tools {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::optional<uint64_t> number(std::string_view text) {
  uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc()) return std::nullopt;
  // Memory comes as "4096", "4 KiB" or "1 MiB".
  const std::string_view unit(parsed.ptr,
                              static_cast<size_t>(text.data() + text.size() - parsed.ptr));
  if (unit.find("KiB") != unit.npos) value <<= 10;
  if (unit.find("MiB") != unit.npos) value <<= 20;
  if (unit.find("GiB") != unit.npos) value <<= 30;
  return value;
}

std::optional<int> pid_of(const fs::path& folder) {
  const std::string name = folder.filename();
  int pid = 0;
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
  if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size()) return std::nullopt;
  return pid;
}

void add(std::optional<uint64_t>& sum, std::optional<uint64_t> value) {
  if (value) sum = sum.value_or(0) + *value;
}

}  // namespace

bool parse_fdinfo(const std::string& text, Client& client) {
  std::istringstream lines(text);
  bool ours = false;
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    // The device's address has colons as well; keys have none.
    const std::string key = line.substr(0, colon);
    const size_t start = line.find_first_not_of(" \t", colon + 1);
    const std::string value = start == std::string::npos ? "" : line.substr(start);
    if (key == "drm-driver") {
      ours = value == "npu";
    } else if (key == "drm-pdev") {
      client.bdf = value;
    } else if (key == "drm-client-id") {
      client.id = number(value).value_or(0);
    } else if (key == "drm-engine-npu") {
      client.busy_ns = number(value);
    } else if (key == "drm-cycles-npu") {
      client.cycles = number(value);
    } else if (key.starts_with("drm-total-") && !key.starts_with("drm-total-cycles-")) {
      const std::string region = key.substr(std::string("drm-total-").size());
      add(client.memory_bytes, number(value));
      if (region == "card" || region.starts_with("vram")) {
        add(client.card_memory_bytes, number(value));
      }
    }
  }
  return ours;
}

std::vector<Client> find_clients(const std::string& proc) {
  std::vector<Client> clients;
  std::set<std::tuple<std::string, uint64_t>> seen;
  std::error_code error;
  for (fs::directory_iterator it(proc, error), end; !error && it != end; it.increment(error)) {
    const auto pid = pid_of(it->path());
    if (!pid) continue;
    // Other people's processes cannot be read, and any may end meanwhile.
    std::error_code denied;
    for (fs::directory_iterator fd(it->path() / "fdinfo", denied); !denied && fd != end;
         fd.increment(denied)) {
      Client client;
      if (!parse_fdinfo(read_text(fd->path()), client) ||
          !seen.insert({client.bdf, client.id}).second) {
        continue;
      }
      client.pid = *pid;
      client.name = read_text(it->path() / "comm");
      while (!client.name.empty() && client.name.back() == '\n') client.name.pop_back();
      clients.push_back(std::move(client));
    }
  }
  std::sort(clients.begin(), clients.end(), [](const Client& a, const Client& b) {
    return std::tie(a.bdf, a.pid, a.id) < std::tie(b.bdf, b.pid, b.id);
  });
  return clients;
}

}  // namespace npu::tools
