// SPDX-License-Identifier: MIT
#include "compiler/passes/share_batch.h"

#include <algorithm>

namespace npu::compiler {
namespace {

class BatchShare {
 public:
  explicit BatchShare(const Graph& graph) : graph_(graph), batched_(graph.values.size(), false) {}

  std::optional<Graph> make(unsigned cores) {
    if (graph_.inputs.empty()) return std::nullopt;
    const Shape& first = graph_.value(graph_.inputs[0]).shape;
    images_ = first.empty() ? 0 : first[0];
    if (cores < 2 || images_ < cores || images_ % cores != 0) return std::nullopt;
    for (const ValueId id : graph_.inputs) {
      if (!leads(id)) return std::nullopt;
      batched_[id] = true;
    }
    for (const Op& op : graph_.ops) {
      const std::vector<ValueId> operands = op.operands();
      batched_[op.output] =
          std::any_of(operands.begin(), operands.end(), [&](ValueId id) { return batched_[id]; });
      if (batched_[op.output] && (!leads(op.output) || !keeps_images_apart(op)))
        return std::nullopt;
    }
    for (const ValueId id : graph_.outputs)
      if (!batched_[id]) return std::nullopt;
    Graph out = graph_;
    for (ValueId id = 0; id < out.values.size(); ++id)
      if (batched_[id]) out.value(id).shape[0] = images_ / cores;
    return out;
  }

 private:
  bool leads(ValueId id) const {
    const Shape& shape = graph_.value(id).shape;
    return !shape.empty() && shape[0] == images_;
  }

  bool keeps_images_apart(const Op& op) const {
    const ValueId in = op.inputs[0];
    const size_t rank = graph_.value(op.output).shape.size();
    if (const auto* transpose = op.as<TransposeOp>()) return transpose->permutation[0] == 0;
    if (const auto* concat = op.as<ConcatOp>()) {
      return concat->axis != 0 && std::all_of(op.inputs.begin(), op.inputs.end(),
                                              [&](ValueId id) { return batched_[id]; });
    }
    if (op.as<AddOp>() != nullptr || op.as<MulOp>() != nullptr) {
      return std::all_of(op.inputs.begin(), op.inputs.end(), [&](ValueId id) {
        const Shape& shape = graph_.value(id).shape;
        if (batched_[id]) return shape.size() == rank;
        return shape.size() < rank || shape[0] == 1;  // the same for every image
      });
    }
    if (op.as<PadOp>() != nullptr && graph_.value(op.inputs[1]).shape[0] != 1) return false;
    if (op.is_over_last_axis() && rank < 2) return false;
    if (const auto* mac = op.as<MacOp>()) {
      if (mac->matmul && rank < 2) return false;
      // A computed second operand has a matrix for each image.
      if (mac->matmul && mac->weights.empty() && (rank < 3 || !batched_[op.inputs[1]]))
        return false;
      if (mac->chain.residual && !batched_[mac->chain.residual->value]) return false;
    }
    return batched_[in] && leads(in);
  }

  const Graph& graph_;
  std::vector<bool> batched_;  // by value: has a part for every image
  int64_t images_ = 0;
};

}  // namespace

std::optional<Graph> share_of_batch(const Graph& graph, unsigned cores) {
  return BatchShare(graph).make(cores);
}

}  // namespace npu::compiler
