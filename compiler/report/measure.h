// SPDX-License-Identifier: MIT
//
// What a traced network costs, in all and by node.
#ifndef NPU_COMPILER_REPORT_MEASURE_H_
#define NPU_COMPILER_REPORT_MEASURE_H_

#include <vector>

#include "compiler/compile.h"

namespace npu::compiler {

// Adds the costs of the traced jobs to the totals of `report`.
void add_totals(const std::vector<JobTrace>& traces, CompileReport& report);

// The costs of each of `nodes` nodes; what only the schedule knows stays empty.
std::vector<LayerReport> costs_by_node(const std::vector<JobTrace>& traces, size_t nodes,
                                       const npu_target& target);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_REPORT_MEASURE_H_
