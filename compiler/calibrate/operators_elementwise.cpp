// SPDX-License-Identifier: MIT
//
// Element-wise operators and data movement.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <string>

#include "compiler/calibrate/operators.h"
#include "compiler/onnx/functions.h"

namespace npu::compiler {
namespace {

// Steps that walk through `operand` in the order of `result`, which it is broadcast to.
std::vector<int64_t> broadcast_strides(const Shape& operand, const Shape& result) {
  const std::vector<int64_t> dense = strides_of(operand);
  std::vector<int64_t> out(result.size(), 0);
  const size_t missing = result.size() - operand.size();
  for (size_t d = 0; d < operand.size(); ++d) {
    if (operand[d] > 1) out[missing + d] = dense[d];
  }
  return out;
}

// Calls f(place in the result, offset) for every element of `shape`; the offset advances by
// strides[d] along axis d.
template <typename F>
void walk(const Shape& shape, const std::vector<int64_t>& strides, F&& f) {
  std::vector<int64_t> index(shape.size(), 0);
  const auto count = static_cast<size_t>(elements(shape));
  int64_t offset = 0;
  for (size_t at = 0; at < count; ++at) {
    f(at, static_cast<size_t>(offset));
    for (size_t d = shape.size(); d-- > 0;) {
      offset += strides[d];
      if (++index[d] < shape[d]) break;
      offset -= strides[d] * shape[d];
      index[d] = 0;
    }
  }
}

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

FloatResult evaluate_unary(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  const Function function = unary_function(node);
  if (node.failed()) return std::nullopt;
  FloatResult out = node.result(x->shape);
  if (out) std::transform(x->data.begin(), x->data.end(), out->data.begin(), function);
  return out;
}

FloatResult evaluate_binary(FloatNode& node) {
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
  FloatResult out = node.result(*shape);
  if (!out) return std::nullopt;
  for (size_t i = 0; i < count; ++i) {
    const FloatTensor& operand = *operands[i];
    walk(*shape, broadcast_strides(operand.shape, *shape), [&](size_t at, size_t from) {
      float& made = out->data[at];
      made = i == 0 ? operand.data[from] : combine(node.type(), made, operand.data[from]);
    });
  }
  return out;
}

// The same elements under another shape.
FloatResult evaluate_view(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  std::optional<Shape> shape = x->shape;
  if (node.type() == "Reshape") {
    const std::optional<std::vector<int64_t>> wanted = node.integers(1);
    if (!wanted) {
      node.malformed("Reshape has a shape");
      return std::nullopt;
    }
    shape = reshaped(x->shape, *wanted, node.attributes.integer("allowzero", 0) != 0, node.broken);
  } else if (node.type() == "Flatten") {
    shape = flattened(x->shape, node.attributes.integer("axis", 1), node.broken);
  } else if (node.type() == "Squeeze") {
    const std::optional<std::vector<int64_t>> axes = node.axes(1);
    if (!node.failed()) shape = squeezed(x->shape, axes, node.broken);
  } else if (node.type() == "Unsqueeze") {
    const std::optional<std::vector<int64_t>> axes = node.axes(1);
    if (!axes) node.malformed("Unsqueeze has axes");
    if (axes) shape = unsqueezed(x->shape, *axes, node.broken);
  }
  if (node.failed() || !shape) return std::nullopt;
  return FloatTensor{*shape, x->data};
}

FloatResult evaluate_transpose(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  const std::optional<std::vector<int>> permutation =
      permutation_of(x->shape, node.attributes.integers("perm"), node.broken);
  if (!permutation) return std::nullopt;
  FloatResult out = node.result(permuted(x->shape, *permutation));
  if (!out) return std::nullopt;
  const std::vector<int64_t> dense = strides_of(x->shape);
  std::vector<int64_t> strides;
  for (const int axis : *permutation) strides.push_back(dense[static_cast<size_t>(axis)]);
  walk(out->shape, strides, [&](size_t at, size_t from) { out->data[at] = x->data[from]; });
  return out;
}

namespace {

FloatResult piece(FloatNode& node, const FloatTensor& x, const SliceBounds& bounds) {
  FloatResult out = node.result(bounds.shape);
  if (!out) return std::nullopt;
  std::vector<int64_t> strides = strides_of(x.shape);
  int64_t first = 0;
  for (size_t d = 0; d < strides.size(); ++d) {
    first += bounds.start[d] * strides[d];
    if (!bounds.step.empty()) strides[d] *= bounds.step[d];
  }
  walk(out->shape, strides,
       [&](size_t at, size_t from) { out->data[at] = x.data[static_cast<size_t>(first) + from]; });
  return out;
}

}  // namespace

FloatResult evaluate_slice(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  // Attributes before opset 10, then inputs.
  const auto list = [&](const char* name, size_t input) {
    std::optional<std::vector<int64_t>> out = node.attributes.integers(name);
    return out ? out : node.integers(input);
  };
  const std::optional<std::vector<int64_t>> starts = list("starts", 1), ends = list("ends", 2);
  const std::optional<std::vector<int64_t>> axes = list("axes", 3), steps = node.integers(4);
  if (x == nullptr || node.failed()) return std::nullopt;
  if (!starts || !ends) {
    node.malformed("Slice has starts and ends");
    return std::nullopt;
  }
  const std::optional<SliceBounds> bounds =
      sliced(x->shape, *starts, *ends, axes, steps, node.broken);
  return bounds ? piece(node, *x, *bounds) : std::nullopt;
}

FloatResult evaluate_split(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  std::optional<std::vector<int64_t>> sizes = node.attributes.integers("split");
  if (!sizes) sizes = node.integers(1);
  if (x == nullptr || node.failed()) return std::nullopt;
  const std::optional<SplitParts> parts =
      split_parts(x->shape, node.attributes.integer("axis", 0),
                  node.attributes.integer("num_outputs", node.output_count()), node.output_count(),
                  sizes, node.broken);
  return parts ? piece(node, *x, parts->bounds[static_cast<size_t>(node.output)]) : std::nullopt;
}

FloatResult evaluate_concat(FloatNode& node) {
  std::vector<const FloatTensor*> parts;
  std::vector<Shape> shapes;
  for (size_t i = 0; i < node.operand_count(); ++i) {
    const FloatTensor* part = node.real(i);
    if (part == nullptr) return std::nullopt;
    parts.push_back(part);
    shapes.push_back(part->shape);
  }
  if (parts.empty()) {
    node.malformed("Concat joins tensors");
    return std::nullopt;
  }
  int64_t axis = node.attributes.integer("axis", 0);
  const std::optional<Shape> shape = concatenated(shapes, axis, node.broken);
  FloatResult out = shape ? node.result(*shape) : std::nullopt;
  if (!out) return std::nullopt;
  const std::vector<int64_t> strides = strides_of(*shape);
  int64_t first = 0;
  for (const FloatTensor* part : parts) {
    walk(part->shape, strides, [&](size_t at, size_t to) {
      out->data[static_cast<size_t>(first) + to] = part->data[at];
    });
    first += part->shape[static_cast<size_t>(axis)] * strides[static_cast<size_t>(axis)];
  }
  return out;
}

}  // namespace npu::compiler
