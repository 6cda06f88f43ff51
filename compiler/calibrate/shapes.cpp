// SPDX-License-Identifier: MIT
//
// The shapes of a float model's tensors, of which none is computed.
#include <algorithm>

#include "compiler/calibrate/float_model.h"

namespace npu::compiler {
namespace {

// What a node makes if that is known from shapes and constants.
std::optional<ConstTensor> known_result(const FloatModel& model, const FloatTensors& found,
                                        const onnx::Node& node) {
  if (node.op_type() == "Shape" || node.op_type() == "Size") {
    const auto it = node.input_size() == 1 ? found.find(node.input(0)) : found.end();
    return it == found.end() ? std::nullopt : fold_shape(node, it->second.shape);
  }
  const bool constant =
      std::all_of(node.input().begin(), node.input().end(),
                  [&](const std::string& name) { return name.empty() || model.is_constant(name); });
  if (!constant) return std::nullopt;
  std::vector<ConstTensor> floats(static_cast<size_t>(node.input_size()));
  std::vector<const ConstTensor*> operands;
  for (const FloatOperand& operand : operands_of(model, {}, node)) {
    ConstTensor& made = floats[operands.size()];
    operands.push_back(operand.real != nullptr ? &made : operand.constant);
    if (operand.real == nullptr) continue;
    made.type = ConstType::kFloat;
    made.onnx_type = onnx::Tensor::FLOAT;
    made.shape = operand.real->shape;
    made.floats = operand.real->data;
  }
  return fold_constants(node, operands);
}

// Whether the node is a constant from now on, or would be one too many.
bool fold(FloatModel& model, const FloatTensors& found, const onnx::Node& node,
          Diagnostics& diagnostics) {
  if (node.output_size() != 1 || model.is_output(node.output(0))) return false;
  std::optional<ConstTensor> made = known_result(model, found, node);
  if (!made) return false;
  if (!model.count_folded(node, made->data_bytes(), diagnostics)) return true;
  if (made->type == ConstType::kFloat)
    model.constants[node.output(0)] = {std::move(made->shape), std::move(made->floats)};
  else
    model.other_constants[node.output(0)] = std::move(*made);
  return true;
}

// What the node makes, unless what it reads is not known, or wrong: the import says so.
void add_results(const FloatModel& model, const onnx::Node& node, FloatTensors& found) {
  const bool known =
      std::all_of(node.input().begin(), node.input().end(), [&](const std::string& name) {
        return name.empty() || found.count(name) > 0 || model.is_constant(name);
      });
  if (!known) return;
  for (int k = 0; k < computed_outputs(node); ++k) {
    FloatNode call(node, operands_of(model, found, node), model.opset);
    call.output = k;
    if (const Prepared made = prepare(call)) found[node.output(k)] = {made->shape, {}};
  }
}

}  // namespace

ShapesByName find_shapes(FloatModel& model, const FloatReadOptions& options,
                         Diagnostics& diagnostics) {
  FloatTensors found;  // without data
  for (const FloatModel::Input& input : model.inputs) found[input.name] = {input.shape, {}};
  std::vector<onnx::Node> nodes = std::move(model.nodes);
  model.nodes.clear();
  for (onnx::Node& node : nodes) {
    options.poll();
    if (fold(model, found, node, diagnostics)) continue;
    add_results(model, node, found);
    model.nodes.push_back(std::move(node));
  }
  ShapesByName shapes;
  for (auto& [name, tensor] : found) shapes[name] = std::move(tensor.shape);
  return shapes;
}

}  // namespace npu::compiler
