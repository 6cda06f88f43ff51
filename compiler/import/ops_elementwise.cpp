// SPDX-License-Identifier: MIT
//
// Add, Mul, clamps and functions of one value.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "arch/numerics.h"
#include "compiler/import/importer.h"

namespace npu::compiler {
namespace {

// The dequantized value and the functions that a tensor is a function of, if
// it is element-wise in one value and nothing was moved behind it.
struct UnaryView {
  ValueId value;
  Quantization q;
  std::vector<RealFunction> functions;
};

std::optional<UnaryView> unary_view(const RealTensor& real) {
  if (real.value != kNoValue) return UnaryView{real.value, real.q, {}};
  if (!real.pending || real.pending->unary_value == kNoValue || !real.pending->after.empty()) {
    return std::nullopt;
  }
  UnaryView out{real.pending->unary_value, real.pending->unary_q, real.pending->functions};
  out.functions.push_back([low = real.pending->low, high = real.pending->high](float v) {
    return std::min(std::max(v, low), high);
  });
  return out;
}

float evaluate(const UnaryView& view, float v) {
  for (const RealFunction& function : view.functions) v = function(v);
  return v;
}

}  // namespace

std::optional<Shape> Importer::broadcast(const Shape& a, const Shape& b) {
  Shape out(std::max(a.size(), b.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t da = i < a.size() ? a[a.size() - 1 - i] : 1;
    const int64_t db = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (da != db && da != 1 && db != 1) {
      malformed_node("the operands' shapes can be broadcast",
                     fmt::format("{} and {}", to_text(a), to_text(b)));
      return std::nullopt;
    }
    out[out.size() - 1 - i] = std::max(da, db);
  }
  if (!checked_elements(out)) {
    unsupported("a tensor has at most 2^36 elements", to_text(out));
    return std::nullopt;
  }
  return out;
}

// ---- two operands -----------------------------------------------------------

// Whether broadcasting repeats each element of the operand along the innermost
// dimension that has more than one element: such an operand is the second one of
// ONNX Runtime's addition, whatever its place (docs/numerics.md).
static bool repeated_innermost(const Shape& operand, const Shape& result) {
  for (size_t i = 1; i <= result.size(); ++i) {
    if (result[result.size() - i] == 1) continue;
    return i > operand.size() || operand[operand.size() - i] == 1;
  }
  return false;
}

ValueId Importer::emit_add(uint32_t source, const RealTensor& first, const RealTensor& second,
                           const Shape& shape, const OutputQuantization& out, const Clamp& clamp) {
  const bool swap =
      repeated_innermost(first.shape, shape) && !repeated_innermost(second.shape, shape);
  const RealTensor& a = swap ? second : first;
  const RealTensor& b = swap ? first : second;
  AddOp op;
  op.arithmetic.ra = a.q.scale / out.q.scale;
  op.arithmetic.rb = b.q.scale / out.q.scale;
  op.arithmetic.fix =
      arch::add_fix(op.arithmetic.ra, op.arithmetic.rb, a.q.zero, b.q.zero, out.q.zero);
  op.arithmetic.clamp = clamp;
  if (!std::isfinite(op.arithmetic.ra) || !std::isfinite(op.arithmetic.rb) ||
      !std::isfinite(op.arithmetic.fix)) {
    unsupported("scale ratios of an addition are finite");
    return kNoValue;
  }
  Value result;
  result.type = out.type;
  result.shape = shape;
  result.quantization = out.q;
  return add_op(source, {a.value, b.value}, std::move(result), op);
}

ValueId Importer::emit_mul(uint32_t source, const RealTensor& a, const RealTensor& b,
                           const Shape& shape, const OutputQuantization& out, const Clamp& clamp) {
  MulOp op;
  op.scale = requantization_scale(a.q.scale, b.q.scale, out.q.scale);
  op.a_zero = a.q.zero;
  op.b_zero = b.q.zero;
  op.out_zero = out.q.zero;
  op.clamp = clamp;
  if (!std::isfinite(op.scale) || op.scale <= 0) {
    unsupported("scale a * scale b / output scale is a positive, finite binary32");
    return kNoValue;
  }
  Value result;
  result.type = out.type;
  result.shape = shape;
  result.quantization = out.q;
  return add_op(source, {a.value, b.value}, std::move(result), op);
}

void Importer::add(const onnx::Node& node, Attributes&) {
  const std::optional<RealTensor> a = real_operand(node, 0);
  const std::optional<RealTensor> b = real_operand(node, 1);
  if (!a || !b) return;
  const std::optional<Shape> shape = broadcast(a->shape, b->shape);
  if (!shape) return;
  auto pending = std::make_shared<Pending>();
  pending->source = source_;
  pending->shape = *shape;
  pending->emit = [this, a = *a, b = *b, shape = *shape, source = source_](
                      const OutputQuantization& out, const Clamp& clamp) {
    return emit_add(source, a, b, shape, out, clamp);
  };
  RealTensor result;
  result.shape = *shape;
  result.pending = std::move(pending);
  define(node, 0, std::move(result));
}

void Importer::multiply(const onnx::Node& node, Attributes&) {
  const Tensor* first = input(node, 0);
  const Tensor* second = input(node, 1);
  if (first == nullptr || second == nullptr) return;
  // x * f(x): one table.
  const auto* ra = std::get_if<RealTensor>(first);
  const auto* rb = std::get_if<RealTensor>(second);
  if (ra != nullptr && rb != nullptr && (ra->pending || rb->pending)) {
    const std::optional<UnaryView> a = unary_view(*ra), b = unary_view(*rb);
    if (a && b && a->value == b->value && a->q == b->q) {
      auto pending = std::make_shared<Pending>();
      pending->source = source_;
      pending->shape = ra->shape;
      pending->unary_value = a->value;
      pending->unary_q = a->q;
      pending->functions.push_back(
          [a = *a, b = *b](float v) { return evaluate(a, v) * evaluate(b, v); });
      RealTensor result;
      result.shape = ra->shape;
      result.pending = std::move(pending);
      define(node, 0, std::move(result));
      return;
    }
  }
  const std::optional<RealTensor> a = real_operand(node, 0);
  const std::optional<RealTensor> b = real_operand(node, 1);
  if (!a || !b) return;
  const std::optional<Shape> shape = broadcast(a->shape, b->shape);
  if (!shape) return;
  auto pending = std::make_shared<Pending>();
  pending->source = source_;
  pending->shape = *shape;
  pending->emit = [this, a = *a, b = *b, shape = *shape, source = source_](
                      const OutputQuantization& out, const Clamp& clamp) {
    return emit_mul(source, a, b, shape, out, clamp);
  };
  RealTensor result;
  result.shape = *shape;
  result.pending = std::move(pending);
  define(node, 0, std::move(result));
}

// a, a_scale, a_zero, b, b_scale, b_zero, c_scale, c_zero.
void Importer::qlinear_add(const onnx::Node& node, Attributes&) {
  RealTensor a, b;
  const std::optional<ValueId> av = quantized_input(node, 0);
  const std::optional<OutputQuantization> aq = quantization_inputs(node, 1, 2);
  const std::optional<ValueId> bv = quantized_input(node, 3);
  const std::optional<OutputQuantization> bq = quantization_inputs(node, 4, 5);
  const std::optional<OutputQuantization> cq = quantization_inputs(node, 6, 7);
  if (!av || !aq || !bv || !bq || !cq) return;
  const std::optional<Shape> shape = broadcast(value(*av).shape, value(*bv).shape);
  if (!shape) return;
  a.value = *av;
  a.shape = value(*av).shape;
  a.q = aq->q;
  b.value = *bv;
  b.shape = value(*bv).shape;
  b.q = bq->q;
  if (value(*av).quantization.scale == 0) graph_.value(*av).quantization = a.q;
  if (value(*bv).quantization.scale == 0) graph_.value(*bv).quantization = b.q;
  const Clamp full{byte_low(cq->type), byte_high(cq->type)};
  const ValueId id = node.op_type() == "QLinearMul" ? emit_mul(source_, a, b, *shape, *cq, full)
                                                    : emit_add(source_, a, b, *shape, *cq, full);
  if (id == kNoValue) return;
  graph_.value(id).name = node.output(0);
  define(node, 0, QuantizedTensor{id});
}

void Importer::qlinear_mul(const onnx::Node& node, Attributes& attributes) {
  qlinear_add(node, attributes);
}

// ---- clamps -------------------------------------------------------------------

void Importer::clamp_real(const onnx::Node& node, float low, float high) {
  const Tensor* tensor = input(node, 0);
  if (tensor == nullptr) return;
  const auto* real = std::get_if<RealTensor>(tensor);
  if (real == nullptr || real->graph_input >= 0) {
    unsupported("the input comes from DequantizeLinear or another operator",
                real != nullptr ? "a float graph input" : "a constant",
                "Put QuantizeLinear and DequantizeLinear before it");
    return;
  }
  std::shared_ptr<Pending> pending;
  if (real->pending) {
    pending = std::make_shared<Pending>(*real->pending);
    const float outer_low = low, outer_high = high;
    pending->low = std::min(std::max(pending->low, outer_low), outer_high);
    pending->high = std::min(std::max(pending->high, outer_low), outer_high);
  } else {
    pending = std::make_shared<Pending>();
    pending->source = source_;
    pending->shape = real->shape;
    pending->unary_value = real->value;
    pending->unary_q = real->q;
    pending->low = low;
    pending->high = high;
  }
  RealTensor result;
  result.shape = real->shape;
  result.pending = std::move(pending);
  define(node, 0, std::move(result));
}

void Importer::clamp_quantized(const onnx::Node& node, ValueId x, int low, int high) {
  Lut table;
  const ByteType type = value(x).type;
  for (int byte = 0; byte < 256; ++byte) {
    const int stored = byte_value(type, static_cast<uint8_t>(byte));
    table[static_cast<size_t>(byte)] = static_cast<uint8_t>(std::min(std::max(stored, low), high));
  }
  const ValueId id = emit_lut(source_, x, table, {value(x).quantization, type});
  graph_.value(id).name = node.output(0);
  define(node, 0, QuantizedTensor{id});
}

void Importer::relu(const onnx::Node& node, Attributes&) {
  const Tensor* tensor = input(node, 0);
  if (tensor == nullptr) return;
  if (const auto* quantized = std::get_if<QuantizedTensor>(tensor)) {
    clamp_quantized(node, quantized->value, 0, 255);  // of stored values: int8 only has use for it
    return;
  }
  clamp_real(node, 0, std::numeric_limits<float>::infinity());
}

void Importer::clip(const onnx::Node& node, Attributes& attributes) {
  const Tensor* tensor = input(node, 0);
  if (tensor == nullptr) return;
  if (const auto* quantized = std::get_if<QuantizedTensor>(tensor)) {
    const ByteType type = value(quantized->value).type;
    int bounds[2] = {byte_low(type), byte_high(type)};
    for (int i = 0; i < 2; ++i) {
      if (!has_input(node, i + 1)) continue;
      const ConstTensor* bound = constant_input(node, i + 1, "a bound of Clip");
      if (bound == nullptr) return;
      if (!bound->is_byte() || bound->bytes.size() != 1 || bound->byte_type() != type) {
        malformed_node("bounds of Clip have the type of its input");
        return;
      }
      bounds[i] = byte_value(type, bound->bytes[0]);
    }
    clamp_quantized(node, quantized->value, bounds[0], bounds[1]);
    return;
  }
  float low = attributes.real("min", -std::numeric_limits<float>::infinity());
  float high = attributes.real("max", std::numeric_limits<float>::infinity());
  for (int i = 0; i < 2; ++i) {
    if (!has_input(node, i + 1)) continue;
    float& bound = i == 0 ? low : high;
    // A bound may be quantized like everything else.
    const Tensor* operand = input(node, i + 1);
    if (operand == nullptr) return;
    const auto* constant = std::get_if<ConstantTensor>(operand);
    if (constant != nullptr && constant->scales.size() == 1 && constant->data->is_byte() &&
        constant->data->bytes.size() == 1) {
      const int stored = byte_value(constant->data->byte_type(), constant->data->bytes[0]);
      bound = static_cast<float>(stored - constant->zeros[0]) * constant->scales[0];
      continue;
    }
    const std::optional<float> given = scalar_input(node, i + 1, "a bound of Clip");
    if (!given) return;
    bound = *given;
  }
  if (std::isnan(low) || std::isnan(high)) {
    malformed_node("bounds of Clip are numbers");
    return;
  }
  clamp_real(node, low, high);
}

// ---- functions of one value -----------------------------------------------------

void Importer::unary(const onnx::Node& node, RealFunction function) {
  const Tensor* tensor = input(node, 0);
  if (tensor == nullptr) return;
  const auto* real = std::get_if<RealTensor>(tensor);
  const std::optional<UnaryView> view =
      real != nullptr && real->graph_input < 0 ? unary_view(*real) : std::nullopt;
  if (!view) {
    unsupported("the input comes from DequantizeLinear: a table needs an 8-bit value",
                real != nullptr && real->pending ? "the float result of another operator"
                                                 : "a float graph input or a constant",
                "Put QuantizeLinear and DequantizeLinear before it");
    return;
  }
  auto pending = std::make_shared<Pending>();
  pending->source = source_;
  pending->shape = real->shape;
  pending->unary_value = view->value;
  pending->unary_q = view->q;
  pending->functions = view->functions;
  pending->functions.push_back(std::move(function));
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

// x, x_scale, x_zero, y_scale, y_zero.
void Importer::qlinear_unary(const onnx::Node& node, const RealFunction& function) {
  const std::optional<ValueId> x = quantized_input(node, 0);
  const std::optional<OutputQuantization> xq = quantization_inputs(node, 1, 2);
  const std::optional<OutputQuantization> yq = quantization_inputs(node, 3, 4);
  if (!x || !xq || !yq) return;
  if (value(*x).quantization.scale == 0) graph_.value(*x).quantization = xq->q;
  const float inf = std::numeric_limits<float>::infinity();
  const ValueId id =
      emit_lut(source_, *x, tabulate(xq->q, value(*x).type, *yq, {function}, -inf, inf), *yq);
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
