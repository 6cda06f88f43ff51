// SPDX-License-Identifier: MIT
//
// A frame in front of a convolution or pool becomes its padding, where that gives the same bytes.
#ifndef NPU_COMPILER_PASSES_FOLD_PADS_H_
#define NPU_COMPILER_PASSES_FOLD_PADS_H_

#include "compiler/ir/graph.h"

namespace npu::compiler {

// Before fuse_output_chains(). A Pad that something else reads, too, stays for that.
void fold_pads(Graph& graph);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_PASSES_FOLD_PADS_H_
