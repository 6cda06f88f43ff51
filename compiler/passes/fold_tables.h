// SPDX-License-Identifier: MIT
//
// What is computed from one 8-bit tensor, element by element, is a table of it.
#ifndef NPU_COMPILER_PASSES_FOLD_TABLES_H_
#define NPU_COMPILER_PASSES_FOLD_TABLES_H_

#include "compiler/ir/graph.h"

namespace npu::compiler {

// A sum or product whose operands are both functions of one tensor becomes a table, such as x times
// its quantized Sigmoid: a SiLU as quantizers write it. Tables of one tensor that are equal are
// one, such as what brings it to the scale of several Concats. Tables that nothing reads then are
// removed. Before fuse_output_chains(), which puts the table behind what makes the tensor.
void fold_tables(Graph& graph);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_PASSES_FOLD_TABLES_H_
