// SPDX-License-Identifier: MIT
//
// Man page and shell completion of a program, from its command line's
// description.
#ifndef NPU_TOOLS_MANUAL_H_
#define NPU_TOOLS_MANUAL_H_

#include <CLI/CLI.hpp>
#include <string>
#include <utility>
#include <vector>

namespace npu::tools {

// In man(7) macros.
std::string manual_page(const CLI::App& app,
                        const std::vector<std::pair<std::string, std::string>>& examples);
std::string bash_completion(const CLI::App& app);

}  // namespace npu::tools

#endif  // NPU_TOOLS_MANUAL_H_
