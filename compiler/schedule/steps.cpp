// SPDX-License-Identifier: MIT
#include "compiler/schedule/steps.h"

#include <utility>

#include "compiler/schedule/layers.h"

namespace npu::compiler {

int Step::output_storage() const {
  int storage = -1;
  for_each_operand(layer, [&](const Operand& operand, bool written) {
    if (written) storage = operand.storage;
  });
  return storage;
}

std::vector<Step> make_steps(const Graph& graph, const MemoryPlan& plan, const npu_target& target) {
  std::vector<Step> steps;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    if (op.is_view() || op.as<ConcatOp>() != nullptr) continue;  // in their places
    if (op.as<MacOp>() != nullptr) {
      steps.push_back({i, make_mac_layer(graph, plan, op), nullptr});
    } else if (op.as<PoolOp>() != nullptr) {
      steps.push_back({i, make_pool_layer(graph, plan, op), nullptr});
    } else if (op.as<ResizeOp>() != nullptr) {
      steps.push_back({i, make_resize_layer(graph, plan, op), nullptr});
    } else if (op.as<GlobalAverageOp>() != nullptr) {
      const GlobalLayer layer = make_global_layer(graph, plan, op);
      if (plan_global(layer, target, target.sram_bytes)) {
        steps.push_back({i, layer, nullptr});
        continue;
      }
      // Too large for one piece: a convolution's sum can be split.
      auto mac = std::make_shared<const MacOp>(global_as_depthwise(layer));
      MacLayer sum;
      sum.op = mac.get();
      sum.source = op.source;
      sum.depthwise = true;
      sum.input_type = layer.input_type;
      sum.in_h = layer.in_h;
      sum.in_w = layer.in_w;
      sum.input = layer.input;
      sum.output = layer.output;
      sum.outer = layer.outer;
      steps.push_back({i, std::move(sum), std::move(mac)});
    } else {
      for (ElementLayer& layer : make_element_layers(graph, plan, op))
        steps.push_back({i, std::move(layer), nullptr});
    }
  }
  return steps;
}

Layer placed(const Layer& layer, const std::vector<bool>& on_chip,
             const std::vector<uint32_t>& address, const MemoryPlan& plan) {
  Layer out = layer;
  for_each_operand(out, [&](Operand& operand, bool) {
    const auto s = static_cast<size_t>(operand.storage);
    if (on_chip[s]) {
      operand.region = kOnChip;
      operand.offset += address[s];
    } else {
      operand.offset += plan.storages[s].offset;
    }
  });
  return out;
}

}  // namespace npu::compiler
