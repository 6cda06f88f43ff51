// SPDX-License-Identifier: MIT
//
// Resize: where each output row and column looks, in the runtime's own arithmetic
// (docs/numerics.md).
#include <fmt/format.h>

#include <limits>

#include "compiler/import/importer.h"

namespace npu::compiler {

void Importer::resize(const onnx::Node& node, Attributes& attributes) {
  const std::optional<Shape> in = input_shape(node, 0);
  if (!in) return;
  const bool modern = has_roi(node.op_type(), opset_);
  std::vector<float> scales;
  std::vector<int64_t> sizes;
  if (modern && has_input(node, 3)) {
    const std::optional<std::vector<int64_t>> given = integer_list(node, 3, "the list of sizes");
    if (!given) return;
    sizes = *given;
  }
  if (sizes.empty()) {
    const std::optional<std::vector<float>> given =
        real_constant(node, modern ? 2 : 1, "the list of scales");
    if (!given) return;
    scales = *given;
  }
  RuleBreak broken;
  const std::optional<ResizeMode> mode = resize_mode(attributes, modern, broken);
  std::optional<std::vector<ResizeAxis>> axes;
  if (mode) axes = resize_axes(attributes, *in, scales, sizes, broken);
  if (!axes) {
    broken_rule(broken);
    return;
  }
  // Space comes last, or, as TensorFlow has it, before the channels.
  const size_t rank = in->size();
  const auto moves = [&](size_t i) { return (*axes)[i].moves(); };
  const bool image = rank == 3 || rank == 4;
  const bool last = image && !moves(0) && !moves(1);
  const bool middle = rank == 4 && !moves(0) && !moves(3);
  if (!last && !middle) {
    unsupported("a resize is of the space of [n, c, h, w], [n, c, w] or [n, h, w, c]",
                to_text(*in));
    return;
  }
  ResizePlan plan;
  for (const ResizeAxis& axis : *axes) plan.shape.push_back(axis.out);
  plan.channels_last = !last;
  plan.op.interpolation = mode->linear ? Interpolation::kTruncated : Interpolation::kNearest;
  const size_t column = last ? rank - 1 : 2;
  if (!checked_elements(plan.shape)) {
    unsupported("a tensor has at most 2^36 elements", to_text(plan.shape));
    return;
  }
  for (size_t i = rank == 3 ? column : column - 1; i <= column; ++i) {
    if ((*axes)[i].in > kMostResized) {
      unsupported(fmt::format("a resized image has at most {} rows and columns", kMostResized),
                  to_text(*in));
      return;
    }
  }
  plan.op.columns = resize_entries((*axes)[column], *mode);
  plan.op.rows = rank == 3 ? std::vector<ResizeEntry>{{0, 0, 0.5f}}
                           : resize_entries((*axes)[column - 1], *mode);
  const auto* real = std::get_if<RealTensor>(input(node, 0));
  if (!mode->linear || real == nullptr) {
    apply_movement(node, plan.shape, [this, plan, source = source_](ValueId x) {
      return emit_resize(source, x, plan, {value(x).quantization, value(x).type});
    });
    return;
  }
  const std::optional<RealTensor> x = real_operand(node, 0);
  if (!x) return;
  plan.op.interpolation = Interpolation::kLinear;
  define_pending(node, plan.shape,
                 [this, plan, x = *x, source = source_](const OutputQuantization& out,
                                                        const Clamp& clamp) mutable {
                   plan.op.scale = x.q.scale / out.q.scale;
                   plan.op.in_zero = x.q.zero;
                   plan.op.out_zero = out.q.zero;
                   plan.op.clamp = clamp;
                   if (!(plan.op.scale > 0) || plan.op.scale > std::numeric_limits<float>::max()) {
                     unsupported("input scale / output scale is a positive, finite binary32");
                     return kNoValue;
                   }
                   return emit_resize(source, x.value, plan, out);
                 });
}

ValueId Importer::emit_resize(uint32_t source, ValueId x, const ResizePlan& plan,
                              const OutputQuantization& out) {
  Value result;
  result.type = out.type;
  result.quantization = out.q;
  result.shape = plan.shape;
  if (!plan.channels_last) return add_op(source, {x}, std::move(result), plan.op);
  const ValueId first = channels_first(source, x);
  result.shape = permuted(plan.shape, {0, 3, 1, 2});
  return channels_last(source, add_op(source, {first}, std::move(result), plan.op));
}

// ---- channels before or behind space --------------------------------------------

ValueId Importer::channels_first(uint32_t source, ValueId x) {
  std::vector<int> permutation{0, static_cast<int>(value(x).shape.size()) - 1};
  for (int i = 1; i + 1 < static_cast<int>(value(x).shape.size()); ++i) permutation.push_back(i);
  return add_view(source, x, permuted(value(x).shape, permutation), TransposeOp{permutation});
}

ValueId Importer::channels_last(uint32_t source, ValueId x) {
  std::vector<int> permutation{0};
  for (int i = 2; i < static_cast<int>(value(x).shape.size()); ++i) permutation.push_back(i);
  permutation.push_back(1);
  return add_view(source, x, permuted(value(x).shape, permutation), TransposeOp{permutation});
}

}  // namespace npu::compiler
