// SPDX-License-Identifier: MIT
#include "compiler/calibrate/float_model.h"

namespace npu::compiler {
namespace {

// Of all tensors that are needed at one time: 4 GiB.
constexpr size_t kMaxLive = size_t{1} << 30;

}  // namespace

bool execute(const FloatModel& model, const std::vector<FloatTensor>& inputs,
             const TensorVisitor& visit, const std::function<void()>& poll,
             Diagnostics& diagnostics) {
  std::unordered_map<std::string, size_t> uses = model.use_counts();
  FloatTensors computed;
  size_t live = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    visit(model.inputs[i].name, inputs[i]);
    computed[model.inputs[i].name] = inputs[i];
    live += inputs[i].data.size();
  }
  for (const onnx::Node& node : model.nodes) {
    poll();
    for (int k = 0; k < computed_outputs(node); ++k) {
      FloatNode call(node, operands_of(model, computed, node), model.opset);
      call.output = k;
      const Prepared computation = prepare(call);
      if (!computation) {
        diagnostics.add(problem_of(node, call.broken));
        return false;
      }
      FloatTensor result = compute(*computation, poll);
      visit(node.output(k), result);
      if (uses.count(node.output(k)) == 0) continue;
      live += result.data.size();
      computed[node.output(k)] = std::move(result);
      if (live > kMaxLive) {
        RuleBreak broken;
        broken.rule =
            "tensors of a float model that are needed together have at most 2^30 elements";
        broken.value = std::to_string(live);
        diagnostics.add(problem_of(node, broken));
        return false;
      }
    }
    for (const std::string& name : node.input()) {
      if (--uses[name] > 0) continue;
      const auto it = computed.find(name);
      if (it == computed.end()) continue;
      live -= it->second.data.size();
      computed.erase(it);
    }
  }
  return true;
}

}  // namespace npu::compiler
