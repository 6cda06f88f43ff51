// SPDX-License-Identifier: MIT
//
// Rewrites of the graph before it is laid out. Each keeps every byte of every
// graph output.
#ifndef NPU_COMPILER_PASSES_FUSE_H_
#define NPU_COMPILER_PASSES_FUSE_H_

#include "compiler/ir/graph.h"
#include "npu/target.h"

namespace npu::compiler {

// Moves tables, clamps, residual additions and aligned pools into the output
// chain of the convolution or product before them; tables and clamps also of
// several, past the views and joins that lie between.
void fuse_output_chains(Graph& graph, const npu_target& target);

// Lets products behind a flattened image read it in the order in which the
// card keeps images, channels last, by reordering their weights.
void reorder_flattened_weights(Graph& graph);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_PASSES_FUSE_H_
