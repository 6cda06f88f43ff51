// SPDX-License-Identifier: MIT
#include "compiler/passes/order.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace npu::compiler {
namespace {

// How far before the gap a product is looked for.
constexpr size_t kMostBefore = 64;

// Whether the operators behind `index` up to `gap` read its result only to rename it; those
// that do are added to `views`.
bool unread(const Graph& graph, size_t index, size_t gap, std::vector<ValueId>& views) {
  views = {graph.ops[index].output};
  const auto known = [&](ValueId id) {
    return std::find(views.begin(), views.end(), id) != views.end();
  };
  for (size_t i = index + 1; i <= gap; ++i) {
    const Op& op = graph.ops[i];
    const std::vector<ValueId> operands = op.operands();
    if (std::none_of(operands.begin(), operands.end(), known)) continue;
    if (!op.is_view()) return false;
    views.push_back(op.output);
  }
  return true;
}

// A product whose operands are not kept longer for it than its result would have been.
bool may_wait(const Graph& graph, const Op& op) {
  const MacOp* mac = op.as<MacOp>();
  if (mac == nullptr || !mac->matmul || mac->weights.empty()) return false;
  int64_t kept = 0;
  for (const ValueId id : op.operands()) kept += elements(graph.value(id).shape);
  return kept <= elements(graph.value(op.output).shape);
}

}  // namespace

void fill_array_gaps(Graph& graph) {
  for (size_t gap = 0; gap < graph.ops.size(); ++gap) {
    if (graph.ops[gap].as<SoftmaxOp>() == nullptr) continue;
    const size_t first = gap - std::min(gap, kMostBefore);
    for (size_t i = gap; i-- > first;) {
      std::vector<ValueId> moved;
      if (!may_wait(graph, graph.ops[i]) || !unread(graph, i, gap, moved)) continue;
      const auto stays = [&](const Op& op) {
        return std::find(moved.begin(), moved.end(), op.output) == moved.end();
      };
      std::stable_partition(graph.ops.begin() + static_cast<std::ptrdiff_t>(i),
                            graph.ops.begin() + static_cast<std::ptrdiff_t>(gap + 1), stays);
      break;
    }
  }
}

}  // namespace npu::compiler
