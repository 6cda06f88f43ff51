// SPDX-License-Identifier: MIT
//
// A batch divided among cores: each runs the same network on fewer images.
#ifndef NPU_COMPILER_PASSES_SHARE_BATCH_H_
#define NPU_COMPILER_PASSES_SHARE_BATCH_H_

#include <optional>

#include "compiler/ir/graph.h"

namespace npu::compiler {

// The graph for one of `cores` equal shares of the first dimension of every input; nullopt if
// that does not divide, or if an operator mixes images.
std::optional<Graph> share_of_batch(const Graph& graph, unsigned cores);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_PASSES_SHARE_BATCH_H_
