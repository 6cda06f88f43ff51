// SPDX-License-Identifier: MIT
//
// Softmax and layer normalization: operators that make each element from all of its row.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "arch/numerics.h"
#include "compiler/import/importer.h"

namespace npu::compiler {
namespace {

// Numbers of a softmax's output per real 1; beyond this per element, sums of its table could
// overflow (docs/numerics.md).
constexpr float kMostStepsPerElement = 148;

}  // namespace

// One axis, or all from it on (`trailing`), as the last axis.
std::optional<Importer::RowView> Importer::row_view(const Shape& in, int64_t axis, bool trailing) {
  const auto rank = static_cast<int64_t>(in.size());
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) {
    malformed_node("axis is one of the input's", fmt::format("{} of {}", axis, to_text(in)));
    return std::nullopt;
  }
  const auto first = static_cast<size_t>(axis);
  RowView out;
  if (trailing) {
    const Shape rows(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(first));
    const Shape row(in.begin() + static_cast<std::ptrdiff_t>(first), in.end());
    out.shape = axis == rank - 1 ? in : Shape{elements(rows), elements(row)};
    return out;
  }
  out.shape = in;
  if (axis == rank - 1) return out;
  std::swap(out.shape[first], out.shape.back());
  TransposeOp transpose;
  transpose.permutation.resize(in.size());
  std::iota(transpose.permutation.begin(), transpose.permutation.end(), 0);
  std::swap(transpose.permutation[first], transpose.permutation.back());
  out.transpose = std::move(transpose);
  return out;
}

ValueId Importer::emit_by_rows(uint32_t source, ValueId x, const RowView& rows,
                               const OutputQuantization& out, OpDetail detail) {
  const Shape shape = value(x).shape;
  const auto view = [&](ValueId id, const Shape& to) {
    if (rows.transpose) return add_view(source, id, to, *rows.transpose);
    return rows.shape == shape ? id : add_view(source, id, to, ReshapeOp{});
  };
  Value result;
  result.type = out.type;
  result.shape = rows.shape;
  result.quantization = out.q;
  const ValueId in = view(x, rows.shape);
  return view(add_op(source, {in}, std::move(result), std::move(detail)), shape);
}

// ---- Softmax --------------------------------------------------------------------

ValueId Importer::emit_softmax(uint32_t source, ValueId x, const Quantization& xq,
                               const RowView& rows, const OutputQuantization& out,
                               const Clamp& clamp) {
  const int64_t length = rows.shape.back();
  SoftmaxOp op;
  op.multiplier = std::floor(1.0f / out.q.scale);
  op.out_zero = out.q.zero;
  op.clamp = clamp;
  if (op.multiplier < 1 ||
      (length > 1 && op.multiplier > kMostStepsPerElement * static_cast<float>(length))) {
    unsupported("the output scale of a Softmax is at most 1 and at least 1 / (148 * length)",
                fmt::format("{}, length {}", out.q.scale, length));
    return kNoValue;
  }
  for (int i = 0; i < 256; ++i) {
    op.table[static_cast<size_t>(i)] = arch::softmax_f32_entry(
        i, static_cast<uint32_t>(std::min<int64_t>(length, UINT32_MAX)), xq.scale);
    if (!std::isfinite(op.table[static_cast<size_t>(i)])) {
      unsupported("exponentials of a Softmax's input are finite binary32",
                  fmt::format("input scale {}", xq.scale));
      return kNoValue;
    }
  }
  return emit_by_rows(source, x, rows, out, op);
}

void Importer::softmax(const onnx::Node& node, Attributes& attributes) {
  // Before opset 13 an axis stood for itself and all that follow.
  const bool trailing = opset_ < 13;
  const int64_t axis = attributes.integer("axis", trailing ? 1 : -1);
  const std::optional<RealTensor> x = real_operand(node, 0);
  if (!x) return;
  const std::optional<RowView> rows = row_view(x->shape, axis, trailing);
  if (!rows) return;
  define_pending(node, x->shape,
                 [this, x = *x, rows = *rows, source = source_](const OutputQuantization& out,
                                                                const Clamp& clamp) {
                   return emit_softmax(source, x.value, x.q, rows, out, clamp);
                 });
}

// x, x_scale, x_zero, y_scale, y_zero; which opset's Softmax it is, is an attribute.
void Importer::qlinear_softmax(const onnx::Node& node, Attributes& attributes) {
  const bool trailing = attributes.integer("opset", 13) < 13;
  const int64_t axis = attributes.integer("axis", trailing ? 1 : -1);
  const std::optional<ValueId> x = quantized_input(node, 0, 2);
  const std::optional<OutputQuantization> xq = quantization_inputs(node, 1, 2);
  const std::optional<OutputQuantization> yq = quantization_inputs(node, 3, 4);
  if (!x || !xq || !yq) return;
  if (value(*x).quantization.scale == 0) graph_.value(*x).quantization = xq->q;
  const std::optional<RowView> rows = row_view(value(*x).shape, axis, trailing);
  if (!rows) return;
  const ValueId id =
      emit_softmax(source_, *x, xq->q, *rows, *yq, {byte_low(yq->type), byte_high(yq->type)});
  if (id == kNoValue) return;
  graph_.value(id).name = node.output(0);
  define(node, 0, QuantizedTensor{id});
}

// ---- LayerNormalization ---------------------------------------------------------

void Importer::layer_normalization(const onnx::Node& node, Attributes& attributes) {
  const int64_t axis = attributes.integer("axis", -1);
  LayerNormOp op;
  op.epsilon = attributes.real("epsilon", 1e-5f);
  attributes.ignore("stash_type");
  for (int i = 1; i < node.output_size(); ++i) {
    if (!node.output(i).empty())
      unsupported("LayerNormalization has one output", node.output(i), "Remove Mean and InvStdDev");
  }
  if (!std::isfinite(op.epsilon) || op.epsilon <= 0)
    unsupported("epsilon is finite and positive", fmt::format("{}", op.epsilon));
  const std::optional<RealTensor> x = real_operand(node, 0);
  if (!x || node_failed_) return;
  const std::optional<RowView> rows = row_view(x->shape, axis, true);
  std::optional<std::vector<float>> gamma = real_constant(node, 1, "the scale");
  if (!rows || !gamma) return;
  const auto length = static_cast<size_t>(rows->shape.back());
  std::vector<float> beta;
  if (has_input(node, 2)) {
    std::optional<std::vector<float>> given = real_constant(node, 2, "the bias");
    if (!given) return;
    beta = std::move(*given);
  } else if (gamma->size() == length) {
    beta.assign(length, 0.0f);
  }
  if (gamma->size() != length || beta.size() != length) {
    malformed_node("scale and bias have the length of a row",
                   fmt::format("{} and {}, {} elements", gamma->size(), beta.size(), length));
    return;
  }
  op.gamma = std::move(*gamma);
  op.beta = std::move(beta);
  op.in_scale = x->q.scale;
  if (!count_constant(8 * length)) return;
  define_pending(node, x->shape,
                 [this, x = *x, rows = *rows, op = std::move(op), source = source_](
                     const OutputQuantization& out, const Clamp& clamp) {
                   LayerNormOp made = op;
                   made.out_scale = out.q.scale;
                   made.out_zero = out.q.zero;
                   made.clamp = clamp;
                   return emit_by_rows(source, x.value, rows, out, std::move(made));
                 });
}

}  // namespace npu::compiler
