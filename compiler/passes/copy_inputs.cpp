// SPDX-License-Identifier: MIT
#include "compiler/passes/copy_inputs.h"

#include <algorithm>
#include <utility>

namespace npu::compiler {
namespace {

bool on_images(const Op& op) {
  const MacOp* mac = op.as<MacOp>();
  return op.as<PoolOp>() != nullptr || (mac != nullptr && !mac->matmul);
}

// By value: how often what it renames is read, of graph inputs; kOnImages if an operator on images
// is among the readers.
constexpr int kOnImages = -1;

std::vector<int> readings(const Graph& graph) {
  std::vector<ValueId> origin(graph.values.size());
  for (ValueId id = 0; id < origin.size(); ++id) origin[id] = id;
  std::vector<int> count(graph.values.size(), 0);
  for (const Op& op : graph.ops) {
    if (op.is_view()) {
      origin[op.output] = origin[op.inputs[0]];
      continue;
    }
    for (const ValueId id : op.operands()) {
      int& n = count[origin[id]];
      n = on_images(op) || n == kOnImages ? kOnImages : n + 1;
    }
  }
  return count;
}

}  // namespace

void copy_repeated_inputs(Graph& graph) {
  const std::vector<int> count = readings(graph);
  std::vector<Op> copies;
  for (const ValueId input : graph.inputs) {
    if (count[input] < 2) continue;
    Op copy;
    copy.inputs = {input};
    copy.output = graph.add_value(graph.value(input));
    copy.detail = CopyOp{};
    bool first = true;
    for (Op& op : graph.ops) {
      std::vector<ValueId*> operands;
      for (ValueId& id : op.inputs) operands.push_back(&id);
      if (MacOp* mac = op.as<MacOp>(); mac != nullptr && mac->chain.residual)
        operands.push_back(&mac->chain.residual->value);
      for (ValueId* id : operands) {
        if (*id != input) continue;
        *id = copy.output;
        if (std::exchange(first, false)) copy.source = op.source;
      }
    }
    copies.push_back(std::move(copy));
  }
  graph.ops.insert(graph.ops.begin(), std::make_move_iterator(copies.begin()),
                   std::make_move_iterator(copies.end()));
}

}  // namespace npu::compiler
