// SPDX-License-Identifier: MIT
//
// Operators of a laid-out graph as layers: shapes and strides in the terms of
// the commands.
#ifndef NPU_COMPILER_SCHEDULE_LAYERS_H_
#define NPU_COMPILER_SCHEDULE_LAYERS_H_

#include "compiler/emit/lower.h"
#include "compiler/ir/graph.h"
#include "compiler/passes/placement.h"

namespace npu::compiler {

MacLayer make_mac_layer(const Graph& graph, const MemoryPlan& plan, const Op& op);
PoolLayer make_pool_layer(const Graph& graph, const MemoryPlan& plan, const Op& op);
GlobalLayer make_global_layer(const Graph& graph, const MemoryPlan& plan, const Op& op);
ResizeLayer make_resize_layer(const Graph& graph, const MemoryPlan& plan, const Op& op);
// One layer; for Pad one more than it has borders.
std::vector<ElementLayer> make_element_layers(const Graph& graph, const MemoryPlan& plan,
                                              const Op& op);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_SCHEDULE_LAYERS_H_
