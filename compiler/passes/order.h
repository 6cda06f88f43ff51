// SPDX-License-Identifier: MIT
//
// The order in which operators run, where the graph leaves a choice.
#ifndef NPU_COMPILER_PASSES_ORDER_H_
#define NPU_COMPILER_PASSES_ORDER_H_

#include "compiler/ir/graph.h"

namespace npu::compiler {

// Puts products that nothing needs yet behind an operator that keeps the vector unit busy, so
// that the array has work meanwhile: attention's product of the values runs beside its softmax.
void fill_array_gaps(Graph& graph);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_PASSES_ORDER_H_
