// SPDX-License-Identifier: MIT
#include "tools/common/files.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "tools/common/program.h"

namespace npu::tools {

std::vector<std::byte> read_file(const std::string& path, size_t limit) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    throw ToolError(kExitBadInput, fmt::format("{} is a folder, not a file", path));
  }
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    throw ToolError(errno == EACCES ? kExitPermission : kExitBadInput,
                    fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  }
  std::vector<std::byte> bytes;
  std::vector<std::byte> chunk(1 << 20);
  size_t got;
  bool too_large = false;
  while ((got = std::fread(chunk.data(), 1, chunk.size(), file)) > 0 && !too_large) {
    bytes.insert(bytes.end(), chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(got));
    too_large = bytes.size() > limit;
  }
  const bool failed = std::ferror(file) != 0;
  std::fclose(file);
  if (failed) throw ToolError(kExitBadInput, fmt::format("cannot read {}", path));
  if (too_large)
    throw ToolError(kExitBadInput, fmt::format("{} has more than {} bytes", path, limit));
  return bytes;
}

void write_file(const std::string& path, const void* data, size_t bytes) {
  const std::string temporary = path + ".new";
  std::FILE* file = std::fopen(temporary.c_str(), "wb");
  const bool opened = file != nullptr;
  bool good = opened && std::fwrite(data, 1, bytes, file) == bytes;
  if (opened) good = std::fclose(file) == 0 && good;
  if (good) good = std::rename(temporary.c_str(), path.c_str()) == 0;
  if (!good) {
    const std::string reason = std::strerror(errno);
    if (opened) std::remove(temporary.c_str());
    throw ToolError(kExitFailure, fmt::format("cannot write {}: {}", path, reason));
  }
}

}  // namespace npu::tools
