// SPDX-License-Identifier: MIT
//
// Add, Mul and clamps.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "arch/numerics.h"
#include "compiler/import/importer.h"

namespace npu::compiler {

std::optional<Shape> Importer::broadcast(const Shape& a, const Shape& b) {
  RuleBreak broken;
  std::optional<Shape> out = broadcast_shape(a, b, broken);
  if (!out) broken_rule(broken);
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

// An operation of a tensor and a constant of one element: a table of the tensor's bytes. kNoValue
// if the operands are something else.
ValueId Importer::emit_with_constant(uint32_t source, const RealTensor& a, const RealTensor& b,
                                     const Shape& shape, const OutputQuantization& out,
                                     const std::function<int(int, int)>& operation) {
  const Value &left = value(a.value), &right = value(b.value);
  const bool first = left.constant.size() == 1;
  const Value& constant = first ? left : right;
  const Value& tensor = first ? right : left;
  if (constant.constant.size() != 1 || !tensor.constant.empty() || tensor.shape != shape)
    return kNoValue;
  const int fixed = byte_value(constant.type, constant.constant[0]);
  Lut table;
  for (int byte = 0; byte < 256; ++byte) {
    const int stored = byte_value(tensor.type, static_cast<uint8_t>(byte));
    table[static_cast<size_t>(byte)] =
        static_cast<uint8_t>(first ? operation(fixed, stored) : operation(stored, fixed));
  }
  return emit_lut(source, first ? b.value : a.value, table, out);
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
  const AddArithmetic& sum = op.arithmetic;
  const ValueId table = emit_with_constant(source, a, b, shape, out, [&sum](int left, int right) {
    return arch::add(left, right, sum.ra, sum.rb, sum.fix, sum.clamp.low, sum.clamp.high);
  });
  if (table != kNoValue) return table;
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
  const ValueId table = emit_with_constant(source, a, b, shape, out, [&op](int left, int right) {
    return arch::multiply(left, right, op.a_zero, op.b_zero, op.scale, op.out_zero, op.clamp.low,
                          op.clamp.high);
  });
  if (table != kNoValue) return table;
  Value result;
  result.type = out.type;
  result.shape = shape;
  result.quantization = out.q;
  return add_op(source, {a.value, b.value}, std::move(result), op);
}

// Whether an operand is 8 bit on both sides of a DequantizeLinear, with one scale.
bool Importer::is_dequantized(const onnx::Node& node, int index) {
  const Tensor* tensor = input(node, index);
  if (tensor == nullptr) return false;
  if (const auto* real = std::get_if<RealTensor>(tensor)) return real->value != kNoValue;
  const auto* constant = std::get_if<ConstantTensor>(tensor);
  return constant != nullptr && constant->scales.size() == 1 && constant->data->is_byte();
}

void Importer::arithmetic(const onnx::Node& node, BinaryFunction function, BinaryEmitter emit) {
  const bool dequantized = is_dequantized(node, 0) && is_dequantized(node, 1);
  if (node_failed_ || (!dequantized && function_of_one_value(node, function, {}))) return;
  const std::optional<RealTensor> a = real_operand(node, 0);
  const std::optional<RealTensor> b = real_operand(node, 1);
  if (!a || !b) return;
  const std::optional<Shape> shape = broadcast(a->shape, b->shape);
  if (!shape) return;
  const auto emitter = [this, a = *a, b = *b, shape = *shape, source = source_, emit](
                           const OutputQuantization& out, const Clamp& clamp) {
    return (this->*emit)(source, a, b, shape, out, clamp);
  };
  if (!function_of_one_value(node, function, emitter)) define_pending(node, *shape, emitter);
}

void Importer::add(const onnx::Node& node, Attributes&) {
  if (bias_behind_product(node)) return;
  arithmetic(
      node, [](float a, float b) { return a + b; }, &Importer::emit_add);
}

void Importer::multiply(const onnx::Node& node, Attributes&) {
  if (scaled_result(node, false)) return;
  arithmetic(
      node, [](float a, float b) { return a * b; }, &Importer::emit_mul);
}

// a, a_scale, a_zero, b, b_scale, b_zero, c_scale, c_zero.
void Importer::qlinear_add(const onnx::Node& node, Attributes&) {
  RealTensor a, b;
  const std::optional<ValueId> av = quantized_input(node, 0, 2);
  const std::optional<OutputQuantization> aq = quantization_inputs(node, 1, 2);
  const std::optional<ValueId> bv = quantized_input(node, 3, 5);
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

void Importer::clamp_real(const onnx::Node& node, float low, float high, int operand) {
  const Tensor* tensor = input(node, operand);
  if (tensor == nullptr) return;
  const auto* real = std::get_if<RealTensor>(tensor);
  if (real == nullptr || real->graph_input >= 0) {
    unsupported("the input comes from DequantizeLinear or another operator",
                real != nullptr                                    ? "a float graph input"
                : std::holds_alternative<QuantizedTensor>(*tensor) ? "an 8-bit tensor"
                                                                   : "a constant",
                "Put QuantizeLinear and DequantizeLinear before it");
    return;
  }
  std::shared_ptr<Pending> pending;
  if (real->pending) {
    pending = std::make_shared<Pending>(*real->pending);
    const auto within = [low, high](float& v) { v = std::min(std::max(v, low), high); };
    within(pending->low);
    within(pending->high);
    for (FollowUp& step : pending->after) within(step.fill);
  } else {
    pending = std::make_shared<Pending>();
    pending->source = source_;
    pending->shape = real->shape;
    pending->unary_value = real->value;
    pending->table =
        std::make_shared<const RealTable>(dequantized(real->q, value(real->value).type));
    pending->low = low;
    pending->high = high;
  }
  RealTensor result;
  result.shape = real->shape;
  result.pending = std::move(pending);
  define(node, 0, std::move(result));
}

void Importer::clamp_quantized(const onnx::Node& node, ValueId x, int low, int high) {
  const ValueId id = emit_clamp(source_, x, {low, high});
  if (id != x) graph_.value(id).name = node.output(0);
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

}  // namespace npu::compiler
