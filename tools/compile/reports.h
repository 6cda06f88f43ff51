// SPDX-License-Identifier: MIT
#ifndef NPU_TOOLS_COMPILE_REPORTS_H_
#define NPU_TOOLS_COMPILE_REPORTS_H_

#include <string>

#include "compiler/compile.h"

namespace npu::tools {

// Writes report.html, report.json, report.txt and trace.json into `folder`, which is made if
// it is not there. Throws ToolError.
void write_reports(const std::string& folder, const compiler::CompiledModel& model,
                   const compiler::Graph& graph, const npu_target& target);

}  // namespace npu::tools

#endif  // NPU_TOOLS_COMPILE_REPORTS_H_
