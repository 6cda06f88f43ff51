// SPDX-License-Identifier: MIT
//
// The network as a list of layers in the order in which they run.
#ifndef NPU_COMPILER_SCHEDULE_STEPS_H_
#define NPU_COMPILER_SCHEDULE_STEPS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "compiler/emit/lower.h"
#include "compiler/ir/graph.h"
#include "compiler/passes/placement.h"
#include "npu/target.h"

namespace npu::compiler {

using Layer = std::variant<MacLayer, PoolLayer, GlobalLayer, ResizeLayer, ElementLayer>;

// Calls body(Operand&, bool written) for every operand of a layer.
template <typename L, typename Body>
void for_each_operand(L& layer, Body&& body) {
  std::visit(
      [&](auto& l) {
        using T = std::decay_t<decltype(l)>;
        if constexpr (std::is_same_v<T, ElementLayer>) {
          body(l.a, false);
          if (l.two()) body(l.b, false);
          body(l.out, true);
        } else {
          body(l.input, false);
          if constexpr (std::is_same_v<T, MacLayer>) {
            if (l.dynamic) body(l.weights, false);
            if (l.op->chain.residual) body(l.residual, false);
          }
          body(l.output, true);
        }
      },
      layer);
}

struct Step {
  size_t op = 0;  // index in Graph::ops
  Layer layer;    // operands by their storages, which have no addresses yet
  // Of a layer that stands for an operator of the graph by another one.
  std::shared_ptr<const MacOp> substitute;

  int output_storage() const;
};

// Layers of a laid-out graph. `graph` must stay where it is.
std::vector<Step> make_steps(const Graph& graph, const MemoryPlan& plan, const npu_target& target);

// The layer with its operands where their storages lie: on chip at `address`, both by storage,
// or in external memory.
Layer placed(const Layer& layer, const std::vector<bool>& on_chip,
             const std::vector<uint32_t>& address, const MemoryPlan& plan);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_SCHEDULE_STEPS_H_
