// SPDX-License-Identifier: MIT
//
// Whole files. Both throw ToolError.
#ifndef NPU_TOOLS_FILES_H_
#define NPU_TOOLS_FILES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace npu::tools {

// More than `limit` bytes are an error.
std::vector<std::byte> read_file(const std::string& path, size_t limit = SIZE_MAX);

// Written beside its place and renamed: no half file is left under the name. What is no regular
// file, such as a pipe or /dev/null, is written to where it is.
void write_file(const std::string& path, const void* data, size_t bytes);

}  // namespace npu::tools

#endif  // NPU_TOOLS_FILES_H_
