// SPDX-License-Identifier: MIT
#include "compiler/calibrate/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "compiler/onnx/fold.h"

namespace npu::compiler {
namespace {

// Elements of one tensor: 1 GiB. Larger ones are no image or text that anyone calibrates with.
constexpr int64_t kMaxTensor = int64_t{1} << 28;

using Function = FloatResult (*)(FloatNode&);

const std::map<std::string, Function>& functions() {
  static const std::map<std::string, Function> kFunctions = {
      {"Abs", evaluate_unary},
      {"Add", evaluate_binary},
      {"AveragePool", evaluate_pool},
      {"BatchNormalization", evaluate_batch_norm},
      {"Ceil", evaluate_unary},
      {"Celu", evaluate_unary},
      {"Clip", evaluate_unary},
      {"Concat", evaluate_concat},
      {"Conv", evaluate_conv},
      {"DepthToSpace", evaluate_blocks},
      {"Div", evaluate_binary},
      {"Dropout", evaluate_view},
      {"Elu", evaluate_unary},
      {"Erf", evaluate_unary},
      {"Exp", evaluate_unary},
      {"Expand", evaluate_moved},
      {"FastGelu", evaluate_unary},
      {"Flatten", evaluate_view},
      {"Floor", evaluate_unary},
      {"Gather", evaluate_moved},
      {"Gelu", evaluate_unary},
      {"Gemm", evaluate_gemm},
      {"GlobalAveragePool", evaluate_mean},
      {"GlobalMaxPool", evaluate_global_max},
      {"HardSigmoid", evaluate_unary},
      {"HardSwish", evaluate_unary},
      {"Identity", evaluate_view},
      {"LayerNormalization", evaluate_layer_norm},
      {"LeakyRelu", evaluate_unary},
      {"Log", evaluate_unary},
      {"MatMul", evaluate_matmul},
      {"Max", evaluate_binary},
      {"MaxPool", evaluate_pool},
      {"Min", evaluate_binary},
      {"Mish", evaluate_unary},
      {"Mul", evaluate_binary},
      {"Neg", evaluate_unary},
      {"PRelu", evaluate_binary},
      {"Pad", evaluate_pad},
      {"Pow", evaluate_binary},
      {"QuickGelu", evaluate_unary},
      {"Reciprocal", evaluate_unary},
      {"ReduceMean", evaluate_mean},
      {"Relu", evaluate_unary},
      {"Reshape", evaluate_view},
      {"Resize", evaluate_resize},
      {"Round", evaluate_unary},
      {"Selu", evaluate_unary},
      {"Sigmoid", evaluate_unary},
      {"Sign", evaluate_unary},
      {"Slice", evaluate_slice},
      {"Softmax", evaluate_softmax},
      {"Softplus", evaluate_unary},
      {"Softsign", evaluate_unary},
      {"SpaceToDepth", evaluate_blocks},
      {"Split", evaluate_split},
      {"Sqrt", evaluate_unary},
      {"Squeeze", evaluate_view},
      {"Sub", evaluate_binary},
      {"Swish", evaluate_unary},
      {"Tanh", evaluate_unary},
      {"ThresholdedRelu", evaluate_unary},
      {"Transpose", evaluate_transpose},
      {"Unsqueeze", evaluate_view},
      {"Upsample", evaluate_resize},
  };
  return kFunctions;
}

}  // namespace

const FloatTensor* FloatNode::real(size_t i) {
  if (!has(i)) {
    malformed(fmt::format("input {} is missing", i));
    return nullptr;
  }
  if (operands_[i].real == nullptr) {
    unsupported(fmt::format("input {} is a float tensor", i),
                onnx_type_name(operands_[i].constant->onnx_type));
  } else if (operands_[i].real->data.empty()) {
    unsupported(fmt::format("input {} has elements", i), to_text(operands_[i].real->shape));
    return nullptr;
  }
  return operands_[i].real;
}

std::optional<std::vector<int64_t>> FloatNode::integers(size_t i) {
  if (!has(i)) return std::nullopt;
  const ConstTensor* constant = operands_[i].constant;
  if (constant == nullptr ||
      (constant->type != ConstType::kInt64 && constant->type != ConstType::kInt32)) {
    unsupported(fmt::format("input {} is a constant list of integers", i),
                constant == nullptr ? "a float tensor" : onnx_type_name(constant->onnx_type));
    return std::nullopt;
  }
  return constant->ints;
}

std::optional<std::vector<int64_t>> FloatNode::axes(size_t input) {
  std::optional<std::vector<int64_t>> out = attributes.integers("axes");
  return out ? out : integers(input);
}

float FloatNode::scalar(size_t i, float fallback) {
  if (!has(i)) return fallback;
  const FloatTensor* tensor = real(i);
  if (tensor == nullptr) return fallback;
  if (tensor->data.size() != 1) {
    unsupported(fmt::format("input {} is one float", i), to_text(tensor->shape));
    return fallback;
  }
  return tensor->data[0];
}

std::optional<ConstTensor> FloatNode::folded() const {
  std::vector<ConstTensor> made(operands_.size());
  std::vector<const ConstTensor*> operands;
  for (size_t i = 0; i < operands_.size(); ++i) {
    operands.push_back(operands_[i].constant);
    if (operands_[i].real == nullptr) continue;
    made[i].type = ConstType::kFloat;
    made[i].onnx_type = onnx::Tensor::FLOAT;
    made[i].shape = operands_[i].real->shape;
    made[i].floats = operands_[i].real->data;
    operands.back() = &made[i];
  }
  return fold_constants(node_, operands);
}

std::optional<FloatTensor> FloatNode::result(const Shape& shape) {
  const std::optional<int64_t> count = checked_elements(shape);
  if (!count || *count > kMaxTensor) {
    unsupported("a tensor of a float model has at most 2^28 elements", to_text(shape));
    return std::nullopt;
  }
  return FloatTensor{shape, std::vector<float>(static_cast<size_t>(*count))};
}

void FloatNode::malformed(std::string rule, std::string value) {
  if (!failed()) broken = {.malformed = true, .rule = std::move(rule), .value = std::move(value)};
}

void FloatNode::unsupported(std::string rule, std::string value) {
  if (!failed()) broken = {.malformed = false, .rule = std::move(rule), .value = std::move(value)};
}

bool can_evaluate(const std::string& domain, const std::string& type) {
  const bool fast = type == "FastGelu" || type == "QuickGelu";
  if (domain == "com.microsoft") return type == "Gelu" || fast;
  return (domain.empty() || domain == "ai.onnx") && !fast && functions().count(type) > 0;
}

FloatResult evaluate(FloatNode& node) {
  const auto it = functions().find(node.type());
  if (it == functions().end()) {
    node.unsupported("this operator is not supported", node.type());
    return std::nullopt;
  }
  FloatResult out = it->second(node);
  return node.failed() ? std::nullopt : std::move(out);
}

}  // namespace npu::compiler
