// SPDX-License-Identifier: MIT
//
// Functions of one 8-bit value, alone or in any composition: a table of 256 entries.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>

#include "compiler/import/importer.h"
#include "compiler/onnx/functions.h"

namespace npu::compiler {
namespace {

// The real value of a constant of one element.
std::optional<float> scalar(const ConstantTensor& constant) {
  const ConstTensor& data = *constant.data;
  if (data.count() != 1) return std::nullopt;
  if (constant.scales.empty() && data.type == ConstType::kFloat) return data.floats[0];
  if (constant.scales.size() != 1 || !data.is_byte()) return std::nullopt;
  return static_cast<float>(byte_value(data.byte_type(), data.bytes[0]) - constant.zeros[0]) *
         constant.scales[0];
}

}  // namespace

// If it is element-wise in one value and nothing was moved behind it.
std::optional<UnaryView> Importer::unary_view(const RealTensor& real) const {
  if (real.value != kNoValue) {
    const RealTable table = dequantized(real.q, value(real.value).type);
    return UnaryView{real.value, std::make_shared<const RealTable>(table)};
  }
  if (!real.pending || real.pending->unary_value == kNoValue || !real.pending->after.empty()) {
    return std::nullopt;
  }
  const RealTable table = clamped(*real.pending->table, real.pending->low, real.pending->high);
  return UnaryView{real.pending->unary_value, std::make_shared<const RealTable>(table)};
}

// ---- arithmetic ---------------------------------------------------------------------

// A function of a value, or a constant of one element; nullopt for anything else.
std::optional<UnaryView> Importer::unary_operand(const onnx::Node& node, int index) {
  const Tensor* tensor = input(node, index);
  if (tensor == nullptr) return std::nullopt;
  if (const auto* real = std::get_if<RealTensor>(tensor))
    return real->graph_input < 0 ? unary_view(*real) : std::nullopt;
  const auto* constant = std::get_if<ConstantTensor>(tensor);
  const std::optional<float> number = constant != nullptr ? scalar(*constant) : std::nullopt;
  if (!number) return std::nullopt;
  RealTable table;
  table.fill(*number);
  return UnaryView{kNoValue, std::make_shared<const RealTable>(table)};
}

bool Importer::function_of_one_value(
    const onnx::Node& node, BinaryFunction function,
    const std::function<ValueId(const OutputQuantization&, const Clamp&)>& emit) {
  const std::optional<UnaryView> a = unary_operand(node, 0), b = unary_operand(node, 1);
  if (!a || !b) return false;
  const UnaryView& view = a->value != kNoValue ? *a : *b;
  if (view.value == kNoValue) return false;
  for (const UnaryView* other : {&*a, &*b}) {
    if (other->value != kNoValue && other->value != view.value) return false;
  }
  const std::optional<Shape> left = input_shape(node, 0), right = input_shape(node, 1);
  const std::optional<Shape> shape = broadcast(*left, *right);
  if (!shape || *shape != (a->value != kNoValue ? *left : *right)) return !shape;
  auto pending = std::make_shared<Pending>();
  pending->source = source_;
  pending->shape = *shape;
  pending->unary_value = view.value;
  RealTable table;
  for (size_t i = 0; i < table.size(); ++i) table[i] = function((*a->table)[i], (*b->table)[i]);
  pending->table = std::make_shared<const RealTable>(table);
  pending->emit = emit;
  RealTensor result;
  result.shape = *shape;
  result.pending = std::move(pending);
  define(node, 0, std::move(result));
  return true;
}

bool Importer::scaled_result(const onnx::Node& node, bool divide) {
  for (int i = 0; i < (divide ? 1 : 2); ++i) {
    const Tensor* tensor = input(node, i);
    const Tensor* other = input(node, 1 - i);
    if (tensor == nullptr || other == nullptr) return false;
    const auto* real = std::get_if<RealTensor>(tensor);
    const auto* constant = std::get_if<ConstantTensor>(other);
    if (real == nullptr || constant == nullptr || !real->pending ||
        real->pending->unary_value != kNoValue ||
        constant->data->shape.size() > real->shape.size()) {
      continue;
    }
    const std::optional<float> number = scalar(*constant);
    if (!number || !std::isfinite(*number) || *number <= 0) continue;
    auto pending = std::make_shared<Pending>(*real->pending);
    pending->product = nullptr;
    (divide ? pending->divided_by : pending->times) *= *number;
    const auto scale = [divide, number](float& v) { v = divide ? v / *number : v * *number; };
    scale(pending->low);
    scale(pending->high);
    for (FollowUp& step : pending->after) scale(step.fill);
    RealTensor result;
    result.shape = real->shape;
    result.pending = std::move(pending);
    define(node, 0, std::move(result));
    return true;
  }
  return false;
}

void Importer::subtract(const onnx::Node& node, Attributes&) {
  if (function_of_one_value(node, [](float a, float b) { return a - b; }, {}) || node_failed_)
    return;
  unsupported("Sub takes constants of one element and functions of one 8-bit value",
              "other operands");
}

void Importer::divide(const onnx::Node& node, Attributes&) {
  if (scaled_result(node, true)) return;
  if (function_of_one_value(node, [](float a, float b) { return a / b; }, {}) || node_failed_)
    return;
  unsupported("Div takes constants of one element and functions of one 8-bit value",
              "other operands");
}

// ---- functions ----------------------------------------------------------------------

void Importer::unary(const onnx::Node& node, const RealFunction& function) {
  const Tensor* tensor = input(node, 0);
  if (tensor == nullptr) return;
  const auto* real = std::get_if<RealTensor>(tensor);
  const std::optional<UnaryView> view =
      real != nullptr && real->graph_input < 0 ? unary_view(*real) : std::nullopt;
  if (!view) {
    unsupported("the input comes from DequantizeLinear: a table needs an 8-bit value",
                real != nullptr && real->pending ? "the float result of another operator"
                : std::holds_alternative<QuantizedTensor>(*tensor)
                    ? "an 8-bit tensor that stands for itself"
                    : "a float graph input or a constant",
                "Put QuantizeLinear and DequantizeLinear before it");
    return;
  }
  auto pending = std::make_shared<Pending>();
  pending->source = source_;
  pending->shape = real->shape;
  pending->unary_value = view->value;
  RealTable table = *view->table;
  for (float& real_value : table) real_value = function(real_value);
  pending->table = std::make_shared<const RealTable>(table);
  RealTensor result;
  result.shape = real->shape;
  result.pending = std::move(pending);
  define(node, 0, std::move(result));
}

void Importer::sigmoid(const onnx::Node& node, Attributes&) {
  unary(node, logistic);
}

void Importer::tanh(const onnx::Node& node, Attributes&) {
  unary(node, hyperbolic_tangent);
}

void Importer::leaky_relu(const onnx::Node& node, Attributes& attributes) {
  unary(node,
        [alpha = attributes.real("alpha", 0.01f)](float v) { return v >= 0 ? v : v * alpha; });
}

void Importer::hard_sigmoid(const onnx::Node& node, Attributes& attributes) {
  unary(node, [alpha = attributes.real("alpha", 0.2f), beta = attributes.real("beta", 0.5f)](
                  float v) { return std::min(std::max(alpha * v + beta, 0.0f), 1.0f); });
}

void Importer::hard_swish(const onnx::Node& node, Attributes&) {
  unary(node, [](float v) { return v * std::min(std::max(v / 6.0f + 0.5f, 0.0f), 1.0f); });
}

// Functions without parameters.
void Importer::plain_function(const onnx::Node& node, Attributes&) {
  unary(node, plain_function_of(node.op_type()));
}

void Importer::exponential_unit(const onnx::Node& node, Attributes& attributes) {
  if (node.op_type() == "Celu" && attributes.real("alpha", 1.0f) == 0) {
    malformed_node("alpha of Celu is not 0");
    return;
  }
  unary(node, exponential_unit_of(node.op_type(), attributes));
}

void Importer::thresholded_relu(const onnx::Node& node, Attributes& attributes) {
  unary(node, [alpha = attributes.real("alpha", 1.0f)](float v) { return v > alpha ? v : 0.0f; });
}

// x * sigmoid(alpha * x).
void Importer::swish(const onnx::Node& node, Attributes& attributes) {
  const float alpha = attributes.real("alpha", node.op_type() == "QuickGelu" ? 1.702f : 1.0f);
  unary(node, [alpha](float v) { return v * logistic(alpha * v); });
}

// The largest or smallest of one tensor and constants: a clamp.
void Importer::extremum(const onnx::Node& node, Attributes&) {
  const bool largest = node.op_type() == "Max";
  const float infinity = std::numeric_limits<float>::infinity();
  float bound = largest ? -infinity : infinity;
  int operand = -1;
  for (int i = 0; i < node.input_size(); ++i) {
    const Tensor* tensor = input(node, i);
    if (tensor == nullptr) return;
    const auto* constant = std::get_if<ConstantTensor>(tensor);
    const std::optional<float> number = constant != nullptr ? scalar(*constant) : std::nullopt;
    if (number) {
      bound = largest ? std::max(bound, *number) : std::min(bound, *number);
    } else if (operand >= 0 || constant != nullptr) {
      unsupported("Max and Min take one tensor and constants of one element",
                  constant != nullptr
                      ? fmt::format("{} {}", onnx_type_name(constant->data->onnx_type),
                                    to_text(constant->data->shape))
                      : "two computed tensors");
      return;
    } else {
      operand = i;
    }
  }
  if (operand < 0 || std::isnan(bound)) {
    unsupported("Max and Min take one tensor and constants of one element");
    return;
  }
  clamp_real(node, largest ? bound : -infinity, largest ? infinity : bound, operand);
}

void Importer::gelu(const onnx::Node& node, Attributes& attributes) {
  const bool fast = node.op_type() == "FastGelu";
  if (fast && has_input(node, 1)) {
    unsupported("FastGelu has no bias", node.input(1), "Add it in the product before");
    return;
  }
  const std::string approximate = fast ? "tanh" : attributes.text("approximate", "none");
  constexpr float kRootHalf = std::numbers::sqrt2_v<float> / 2;
  if (approximate == "none") {
    unary(node, [](float v) { return 0.5f * v * (1.0f + std::erf(v * kRootHalf)); });
  } else if (approximate == "tanh") {
    const float factor = std::sqrt(2.0f / std::numbers::pi_v<float>);
    unary(node, [factor](float v) {
      return 0.5f * v * (1.0f + std::tanh(factor * (v + 0.044715f * v * v * v)));
    });
  } else {
    malformed_node("approximate is none or tanh", approximate);
  }
}

void Importer::power(const onnx::Node& node, Attributes&) {
  const std::optional<UnaryView> exponent = unary_operand(node, 1);
  if (!exponent || exponent->value != kNoValue) {
    if (!node_failed_) unsupported("the exponent is a constant of one element");
    return;
  }
  unary(node, [power = (*exponent->table)[0]](float v) { return std::pow(v, power); });
}

// x, x_scale, x_zero, y_scale, y_zero.
void Importer::qlinear_unary(const onnx::Node& node, const RealFunction& function) {
  const std::optional<ValueId> x = quantized_input(node, 0, 2);
  const std::optional<OutputQuantization> xq = quantization_inputs(node, 1, 2);
  const std::optional<OutputQuantization> yq = quantization_inputs(node, 3, 4);
  if (!x || !xq || !yq) return;
  if (value(*x).quantization.scale == 0) graph_.value(*x).quantization = xq->q;
  RealTable table = dequantized(xq->q, value(*x).type);
  for (float& real : table) real = function(real);
  const ValueId id = emit_lut(source_, *x, tabulate(table, *yq), *yq);
  graph_.value(id).name = node.output(0);
  define(node, 0, QuantizedTensor{id});
}

void Importer::qlinear_sigmoid(const onnx::Node& node, Attributes&) {
  qlinear_unary(node, logistic);
}

void Importer::qlinear_leaky_relu(const onnx::Node& node, Attributes& attributes) {
  qlinear_unary(
      node, [alpha = attributes.real("alpha", 0.01f)](float v) { return v >= 0 ? v : v * alpha; });
}

}  // namespace npu::compiler
