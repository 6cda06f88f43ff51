// SPDX-License-Identifier: MIT
//
// Whole files. Both throw ToolError.
#ifndef NPU_TOOLS_COMPILE_FILES_H_
#define NPU_TOOLS_COMPILE_FILES_H_

#include <cstddef>
#include <string>
#include <vector>

namespace npu::tools {

// At most 2 GiB.
std::vector<std::byte> read_file(const std::string& path);

// Written beside its place and renamed: no half file is left under the name.
void write_file(const std::string& path, const void* data, size_t bytes);

}  // namespace npu::tools

#endif  // NPU_TOOLS_COMPILE_FILES_H_
