// SPDX-License-Identifier: MIT
#include "compiler/calibrate/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace npu::compiler {
namespace {

// Elements of one tensor: 1 GiB. Larger ones are no image or text that anyone calibrates with.
constexpr int64_t kMaxTensor = int64_t{1} << 28;

// Of one node: half a minute of one core.
constexpr double kMaxMacs = 0x1p36;

using Function = Prepared (*)(FloatNode&);

const std::map<std::string, Function>& functions() {
  static const std::map<std::string, Function> kFunctions = {
      {"Abs", prepare_unary},
      {"Add", prepare_binary},
      {"AveragePool", prepare_pool},
      {"BatchNormalization", prepare_batch_norm},
      {"Ceil", prepare_unary},
      {"Celu", prepare_unary},
      {"Clip", prepare_unary},
      {"Concat", prepare_concat},
      {"Conv", prepare_conv},
      {"ConvTranspose", prepare_conv_transpose},
      {"DepthToSpace", prepare_blocks},
      {"Div", prepare_binary},
      {"Dropout", prepare_view},
      {"Elu", prepare_unary},
      {"Erf", prepare_unary},
      {"Exp", prepare_unary},
      {"Expand", prepare_expand},
      {"FastGelu", prepare_unary},
      {"Flatten", prepare_view},
      {"Floor", prepare_unary},
      {"Gather", prepare_gather},
      {"Gelu", prepare_unary},
      {"Gemm", prepare_gemm},
      {"GlobalAveragePool", prepare_mean},
      {"GlobalMaxPool", prepare_global_max},
      {"HardSigmoid", prepare_unary},
      {"HardSwish", prepare_unary},
      {"Identity", prepare_view},
      {"LayerNormalization", prepare_layer_norm},
      {"LeakyRelu", prepare_unary},
      {"Log", prepare_unary},
      {"MatMul", prepare_matmul},
      {"Max", prepare_binary},
      {"MaxPool", prepare_pool},
      {"Min", prepare_binary},
      {"Mish", prepare_unary},
      {"Mul", prepare_binary},
      {"Neg", prepare_unary},
      {"PRelu", prepare_binary},
      {"Pad", prepare_pad},
      {"Pow", prepare_binary},
      {"QuickGelu", prepare_unary},
      {"Reciprocal", prepare_unary},
      {"ReduceMean", prepare_mean},
      {"Relu", prepare_unary},
      {"Reshape", prepare_view},
      {"Resize", prepare_resize},
      {"Round", prepare_unary},
      {"Selu", prepare_unary},
      {"Sigmoid", prepare_unary},
      {"Sign", prepare_unary},
      {"Slice", prepare_slice},
      {"Softmax", prepare_softmax},
      {"Softplus", prepare_unary},
      {"Softsign", prepare_unary},
      {"SpaceToDepth", prepare_blocks},
      {"Split", prepare_split},
      {"Sqrt", prepare_unary},
      {"Squeeze", prepare_view},
      {"Sub", prepare_binary},
      {"Swish", prepare_unary},
      {"Tanh", prepare_unary},
      {"ThresholdedRelu", prepare_unary},
      {"Transpose", prepare_transpose},
      {"Unsqueeze", prepare_view},
      {"Upsample", prepare_resize},
  };
  return kFunctions;
}

}  // namespace

bool fits(const Shape& shape, RuleBreak& broken) {
  const std::optional<int64_t> count = checked_elements(shape);
  if (count && *count <= kMaxTensor) return true;
  broken = {.rule = "a tensor of a float model has at most 2^28 elements", .value = to_text(shape)};
  return false;
}

const FloatTensor* FloatNode::real(size_t i) {
  if (!has(i)) {
    malformed(fmt::format("input {} is missing", i));
    return nullptr;
  }
  const FloatTensor* tensor = operands_[i].real;
  if (tensor == nullptr) {
    unsupported(fmt::format("input {} is a float tensor", i),
                onnx_type_name(operands_[i].constant->onnx_type));
  } else if (elements(tensor->shape) == 0) {
    unsupported(fmt::format("input {} has elements", i), to_text(tensor->shape));
    return nullptr;
  }
  return tensor;
}

const ConstTensor* FloatNode::integer_tensor(size_t i) {
  if (!has(i)) return nullptr;
  const ConstTensor* constant = operands_[i].constant;
  if (constant == nullptr ||
      (constant->type != ConstType::kInt64 && constant->type != ConstType::kInt32)) {
    unsupported(fmt::format("input {} is a constant list of integers", i),
                constant == nullptr ? "a float tensor" : onnx_type_name(constant->onnx_type));
    return nullptr;
  }
  return constant;
}

std::optional<std::vector<int64_t>> FloatNode::integers(size_t i) {
  const ConstTensor* tensor = integer_tensor(i);
  return tensor == nullptr ? std::nullopt : std::optional(tensor->ints);
}

std::optional<std::vector<int64_t>> FloatNode::axes(size_t input) {
  std::optional<std::vector<int64_t>> out = attributes.integers("axes");
  return out ? out : integers(input);
}

const std::vector<float>* FloatNode::floats(size_t i) {
  const FloatTensor* tensor = real(i);
  if (tensor == nullptr) return nullptr;
  if (tensor->data.empty()) {
    unsupported(fmt::format("input {} is a constant", i), "a computed tensor");
    return nullptr;
  }
  return &tensor->data;
}

float FloatNode::scalar(size_t i, float fallback) {
  if (!has(i)) return fallback;
  const FloatTensor* tensor = real(i);
  if (tensor == nullptr) return fallback;
  if (elements(tensor->shape) != 1) {
    unsupported(fmt::format("input {} is one float", i), to_text(tensor->shape));
    return fallback;
  }
  return tensor->data.empty() ? fallback : tensor->data[0];
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

Prepared prepare(FloatNode& node) {
  const auto it = functions().find(node.type());
  if (it == functions().end()) {
    node.unsupported("this operator is not supported", node.type());
    return std::nullopt;
  }
  Prepared out = it->second(node);
  if (!out || node.failed() || !fits(out->shape, node.broken)) return std::nullopt;
  const double macs = static_cast<double>(elements(out->shape)) * static_cast<double>(out->macs);
  if (macs > kMaxMacs) {
    node.unsupported("a node of a float model has at most 2^36 multiply-accumulates",
                     fmt::format("{:.3g}", macs));
    return std::nullopt;
  }
  return out;
}

FloatTensor compute(const Computation& computation, const std::function<void()>& poll) {
  FloatTensor out{computation.shape,
                  std::vector<float>(static_cast<size_t>(elements(computation.shape)))};
  Pacer pacer(poll);
  computation.run(out.data, pacer);
  return out;
}

}  // namespace npu::compiler
