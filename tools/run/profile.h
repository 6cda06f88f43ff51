// SPDX-License-Identifier: MIT
//
// A run's command records as a file: a timeline for chrome://tracing and
// Perfetto (.json), or a table (.csv).
#ifndef NPU_TOOLS_RUN_PROFILE_H_
#define NPU_TOOLS_RUN_PROFILE_H_

#include <libnpu/npu.hpp>
#include <string>

namespace npu::tools {

// The last run of `execution`, which had NPU_RUN_PROFILE_COMMANDS. Throws ToolError.
void write_profile(const std::string& path, const Network& network, const Execution& execution,
                   uint32_t clock_mhz);

}  // namespace npu::tools

#endif  // NPU_TOOLS_RUN_PROFILE_H_
