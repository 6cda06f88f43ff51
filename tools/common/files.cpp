// SPDX-License-Identifier: MIT
#include "tools/common/files.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "tools/common/program.h"

namespace npu::tools {

std::vector<std::byte> read_file(const std::string& path, size_t limit) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    throw ToolError(kExitBadInput, fmt::format("{} is a folder, not a file", path));
  }
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             std::fclose);
  if (!file) {
    throw ToolError(errno == EACCES ? kExitPermission : kExitBadInput,
                    fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  }
  std::vector<std::byte> bytes;
  std::vector<std::byte> chunk(1 << 20);
  size_t got;
  bool too_large = false;
  while ((got = std::fread(chunk.data(), 1, chunk.size(), file.get())) > 0 && !too_large) {
    stop_if_interrupted();
    bytes.insert(bytes.end(), chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(got));
    too_large = bytes.size() > limit;
  }
  if (std::ferror(file.get()) != 0)
    throw ToolError(kExitBadInput, fmt::format("cannot read {}", path));
  if (too_large)
    throw ToolError(kExitBadInput, fmt::format("{} has more than {} bytes", path, limit));
  return bytes;
}

void write_file(const std::string& path, const void* data, size_t bytes) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_type type = fs::status(path, error).type();
  // A device or a pipe is written to, not replaced.
  const bool in_place = type != fs::file_type::regular && type != fs::file_type::not_found;
  // A link stays one: the file that it leads to is replaced.
  std::string place = path;
  if (type == fs::file_type::regular) {
    const fs::path file = fs::canonical(path, error);
    if (!error) place = file.string();
  }
  const std::string written = in_place ? place : fmt::format("{}.{}.new", place, getpid());
  std::FILE* file = std::fopen(written.c_str(), "wb");
  const bool opened = file != nullptr;
  bool good = opened && std::fwrite(data, 1, bytes, file) == bytes;
  if (opened) good = std::fclose(file) == 0 && good;
  if (good && !in_place) good = std::rename(written.c_str(), place.c_str()) == 0;
  if (!good) {
    const std::string reason = std::strerror(errno);
    if (opened && !in_place) std::remove(written.c_str());
    throw ToolError(kExitFailure, fmt::format("cannot write {}: {}", path, reason));
  }
}

}  // namespace npu::tools
