// SPDX-License-Identifier: MIT
//
// Element-wise operators.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <string>

#include "compiler/calibrate/operators.h"
#include "compiler/onnx/functions.h"
#include "compiler/onnx/walk.h"

namespace npu::compiler {
namespace {

using Function = std::function<float(float)>;

Function gelu(FloatNode& node) {
  const bool fast = node.type() == "FastGelu";
  const std::string approximate = fast ? "tanh" : node.attributes.text("approximate", "none");
  if (approximate == "none") {
    return [](float v) {
      return 0.5f * v * (1.0f + std::erf(v * (std::numbers::sqrt2_v<float> / 2)));
    };
  }
  if (approximate != "tanh") node.malformed("approximate is none or tanh", approximate);
  const float factor = std::sqrt(2.0f / std::numbers::pi_v<float>);
  return [factor](float v) {
    return 0.5f * v * (1.0f + std::tanh(factor * (v + 0.044715f * v * v * v)));
  };
}

Function clip(FloatNode& node) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float low = node.scalar(1, node.attributes.real("min", -kInfinity));
  const float high = node.scalar(2, node.attributes.real("max", kInfinity));
  if (std::isnan(low) || std::isnan(high)) node.malformed("bounds of Clip are numbers");
  return [low, high](float v) { return std::min(std::max(v, low), high); };
}

Function unary_function(FloatNode& node) {
  const std::string& type = node.type();
  if (const auto plain = plain_function_of(type); plain != nullptr) return plain;
  if (type == "Elu" || type == "Celu" || type == "Selu")
    return exponential_unit_of(type, node.attributes);
  if (type == "ThresholdedRelu") {
    const float alpha = node.attributes.real("alpha", 1.0f);
    return [alpha](float v) { return v > alpha ? v : 0.0f; };
  }
  if (type == "Swish" || type == "QuickGelu") {
    const float alpha = node.attributes.real("alpha", type == "Swish" ? 1.0f : 1.702f);
    return [alpha](float v) { return v / (1.0f + std::exp(-alpha * v)); };
  }
  if (type == "Relu") return [](float v) { return std::max(v, 0.0f); };
  if (type == "Clip") return clip(node);
  if (type == "Sigmoid") return [](float v) { return 1.0f / (1.0f + std::exp(-v)); };
  if (type == "Tanh") return [](float v) { return std::tanh(v); };
  if (type == "Gelu" || type == "FastGelu") return gelu(node);
  if (type == "HardSwish")
    return [](float v) { return v * std::clamp(v / 6.0f + 0.5f, 0.0f, 1.0f); };
  if (type == "LeakyRelu") {
    const float alpha = node.attributes.real("alpha", 0.01f);
    return [alpha](float v) { return v >= 0 ? v : v * alpha; };
  }
  const float alpha = node.attributes.real("alpha", 0.2f);
  const float beta = node.attributes.real("beta", 0.5f);
  return [alpha, beta](float v) { return std::clamp(alpha * v + beta, 0.0f, 1.0f); };
}

float combine(const std::string& type, float a, float b) {
  if (type == "Add") return a + b;
  if (type == "Sub") return a - b;
  if (type == "Mul") return a * b;
  if (type == "Div") return a / b;
  if (type == "Max") return std::max(a, b);
  if (type == "Min") return std::min(a, b);
  if (type == "PRelu") return a < 0 ? a * b : a;
  return std::pow(a, b);
}

}  // namespace

Prepared prepare_unary(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  return Computation{x->shape, [x, function = unary_function(node)](auto& out, Pacer& pacer) {
                       for (size_t i = 0; i < out.size(); ++i) {
                         out[i] = function(x->data[i]);
                         pacer.worked(1);
                       }
                     }};
}

Prepared prepare_binary(FloatNode& node) {
  // Max and Min have any number of operands.
  const bool any = node.type() == "Max" || node.type() == "Min";
  const size_t count = any ? std::max<size_t>(node.operand_count(), 1) : 2;
  std::optional<Shape> shape = Shape{};
  std::vector<const FloatTensor*> operands;
  for (size_t i = 0; i < count; ++i) {
    operands.push_back(node.real(i));
    if (operands.back() == nullptr) return std::nullopt;
    shape = broadcast_shape(*shape, operands.back()->shape, node.broken);
    if (!shape) return std::nullopt;
  }
  const auto run = [operands, shape = *shape, type = node.type()](auto& out, Pacer& pacer) {
    for (size_t i = 0; i < operands.size(); ++i) {
      const FloatTensor& operand = *operands[i];
      walk(shape, broadcast_strides(operand.shape, shape), [&](size_t at, int64_t from) {
        const float value = operand.data[static_cast<size_t>(from)];
        out[at] = i == 0 ? value : combine(type, out[at], value);
        pacer.worked(1);
      });
    }
  };
  return Computation{*shape, run};
}

}  // namespace npu::compiler
