// SPDX-License-Identifier: MIT
//
// Pools: MaxPool keeps the stored bytes; averages requantize.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/import/importer.h"

namespace npu::compiler {
namespace {

constexpr int64_t kMostPixels = 1 << 23;  // whose sum is exact in 32 bits

// Axes of [n, c, ...] in the order [n, ..., c], and the other way round.
std::vector<int> last_order(const Shape& shape) {
  std::vector<int> out{0};
  for (size_t i = 2; i < shape.size(); ++i) out.push_back(static_cast<int>(i));
  out.push_back(1);
  return out;
}
Shape first_shape(const Shape& shape) {
  if (shape.size() < 2) return shape;
  Shape out{shape[0], shape.back()};
  out.insert(out.end(), shape.begin() + 1, shape.end() - 1);
  return out;
}

// A mean over any axes.
struct MeanPlan {
  std::vector<int> permutation;  // what becomes one is last
  Shape rows;                    // then
  Shape shape;                   // of the result
};

}  // namespace

std::optional<std::pair<PoolOp, Shape>> Importer::pool_parts(Attributes& attributes,
                                                             const Shape& in, PoolKind kind) {
  if (in.size() != 3 && in.size() != 4) {
    unsupported("a pool is 1-D or 2-D: its input has 3 or 4 dimensions", to_text(in));
    return std::nullopt;
  }
  const bool ceil_mode = attributes.integer("ceil_mode", 0) != 0;
  const bool count_pads =
      kind == PoolKind::kAverage && attributes.integer("count_include_pad", 0) != 0;
  PoolOp pool;
  pool.arithmetic.kind = kind;
  pool.arithmetic.count_pads = count_pads;
  Shape spatial;
  if (!window_attributes(attributes, in, {}, ceil_mode, true, pool.window, spatial)) {
    return std::nullopt;
  }
  if (pool.window.dilation[0] != 1 || pool.window.dilation[1] != 1) {
    unsupported("pools have no dilation",
                fmt::format("{} x {}", pool.window.dilation[0], pool.window.dilation[1]));
    return std::nullopt;
  }
  for (size_t i = 0; ceil_mode && count_pads && i < spatial.size(); ++i) {
    const size_t d = i + 2 - spatial.size();
    const Window& w = pool.window;
    if ((spatial[i] - 1) * w.stride[d] + w.kernel[d] >
        in[i + 2] + w.pad_before[d] + w.pad_after[d]) {
      unsupported("with count_include_pad no window of ceil_mode reaches beyond the padding",
                  to_text(in), "Pad the input as far as the windows reach");
      return std::nullopt;
    }
  }
  Shape out{in[0], in[1]};
  out.insert(out.end(), spatial.begin(), spatial.end());
  if (!checked_elements(out)) {
    unsupported("a tensor has at most 2^36 elements", to_text(out));
    return std::nullopt;
  }
  return std::pair{pool, out};
}

void Importer::max_pool(const onnx::Node& node, Attributes& attributes) {
  if (attributes.integer("storage_order", 0) != 0 ||
      (node.output_size() > 1 && !node.output(1).empty())) {
    unsupported("MaxPool has one output, without indices");
    return;
  }
  const std::optional<Shape> in = input_shape(node, 0);
  if (!in) return;
  const auto parts = pool_parts(attributes, *in, PoolKind::kMax);
  if (parts) finish_max_pool(node, parts->first, parts->second, false);
}

// The bytes of the largest values: a copy as far as quantization goes.
void Importer::finish_max_pool(const onnx::Node& node, const PoolOp& pool, const Shape& shape,
                               bool last) {
  apply_movement(node, last ? permuted(shape, last_order(shape)) : shape,
                 [this, pool, shape, last, source = source_](ValueId x) {
                   Value result;
                   result.type = value(x).type;
                   result.shape = shape;
                   result.quantization = value(x).quantization;
                   PoolOp op = pool;
                   op.arithmetic.clamp = {byte_low(result.type), byte_high(result.type)};
                   const ValueId first = last ? channels_first(source, x) : x;
                   const ValueId id = add_op(source, {first}, std::move(result), op);
                   return last ? channels_last(source, id) : id;
                 });
}

void Importer::global_max_pool(const onnx::Node& node, Attributes&) {
  const std::optional<Shape> in = input_shape(node, 0);
  if (!in) return;
  PoolOp pool;
  pool.arithmetic.kind = PoolKind::kMax;
  Shape shape = *in;
  bool fits = in->size() == 3 || in->size() == 4;
  for (size_t i = 2; fits && i < in->size(); ++i) {
    fits = (*in)[i] <= 255;
    pool.window.kernel[i + 2 - in->size()] = (*in)[i];
    shape[i] = 1;
  }
  if (!fits) {
    unsupported("a global maximum is over 1 or 2 spatial axes of at most 255", to_text(*in));
    return;
  }
  finish_max_pool(node, pool, shape, false);
}

// What the runtime writes for MaxPool on channels-last bytes.
void Importer::nhwc_max_pool(const onnx::Node& node, Attributes& attributes) {
  attributes.ignore("storage_order");
  const std::optional<ValueId> x = quantized_input(node, 0);
  if (!x) return;
  const auto parts = pool_parts(attributes, first_shape(value(*x).shape), PoolKind::kMax);
  if (parts) finish_max_pool(node, parts->first, parts->second, true);
}

ValueId Importer::emit_pool(uint32_t source, ValueId x, const Quantization& xq, PoolOp pool,
                            const Shape& shape, const OutputQuantization& out, const Clamp& clamp) {
  pool.arithmetic.in_scale = xq.scale;
  pool.arithmetic.in_zero = xq.zero;
  pool.arithmetic.out_scale = out.q.scale;
  pool.arithmetic.out_zero = out.q.zero;
  pool.arithmetic.clamp = clamp;
  Value result;
  result.type = out.type;
  result.shape = shape;
  result.quantization = out.q;
  return add_op(source, {x}, std::move(result), pool);
}

void Importer::finish_pool(const onnx::Node& node, const RealTensor& x, PoolOp pool,
                           const Shape& shape) {
  auto pending = std::make_shared<Pending>();
  pending->source = source_;
  pending->shape = shape;
  pending->emit = [this, x, pool, shape, source = source_](const OutputQuantization& out,
                                                           const Clamp& clamp) {
    return emit_pool(source, x.value, x.q, pool, shape, out, clamp);
  };
  RealTensor result;
  result.shape = shape;
  result.pending = std::move(pending);
  define(node, 0, std::move(result));
}

void Importer::average_pool(const onnx::Node& node, Attributes& attributes) {
  const std::optional<RealTensor> x = real_operand(node, 0);
  if (!x) return;
  const auto parts = pool_parts(attributes, x->shape, PoolKind::kAverage);
  if (parts) finish_pool(node, *x, parts->first, parts->second);
}

// x, x_scale, x_zero, y_scale, y_zero.
void Importer::qlinear_average_pool(const onnx::Node& node, Attributes& attributes) {
  const std::optional<ValueId> x = quantized_input(node, 0, 2);
  const std::optional<OutputQuantization> xq = quantization_inputs(node, 1, 2);
  const std::optional<OutputQuantization> yq = quantization_inputs(node, 3, 4);
  if (!x || !xq || !yq) return;
  const bool last = attributes.integer("channels_last", 0) != 0;
  const Shape& shape = value(*x).shape;
  const auto parts = pool_parts(attributes, last ? first_shape(shape) : shape, PoolKind::kAverage);
  if (!parts) return;
  if (value(*x).quantization.scale == 0) graph_.value(*x).quantization = xq->q;
  const ValueId first = last ? channels_first(source_, *x) : *x;
  ValueId id = emit_pool(source_, first, xq->q, parts->first, parts->second, *yq,
                         {byte_low(yq->type), byte_high(yq->type)});
  if (last) id = channels_last(source_, id);
  graph_.value(id).name = node.output(0);
  define(node, 0, QuantizedTensor{id});
}

// ---- global averages --------------------------------------------------------

ValueId Importer::emit_global(uint32_t source, ValueId x, const Quantization& xq,
                              const Shape& shape, const OutputQuantization& out,
                              const Clamp& clamp) {
  const Shape& in = value(x).shape;
  int64_t n = 1;
  for (size_t i = 2; i < in.size(); ++i) n *= in[i];
  const float divisor = out.q.scale * static_cast<float>(n);
  GlobalAverageOp op;
  op.scale = xq.scale / divisor;
  op.in_zero = xq.zero;
  op.out_zero = out.q.zero;
  op.clamp = clamp;
  // Denormal or overflowing scales have no use and no defined result.
  if (!(op.scale > 0) || op.scale > std::numeric_limits<float>::max()) {
    unsupported("input scale / (output scale * pixels) is a positive, finite binary32");
    return kNoValue;
  }
  Value result;
  result.type = out.type;
  result.shape = shape;
  result.quantization = out.q;
  return add_op(source, {x}, std::move(result), op);
}

void Importer::finish_global(const onnx::Node& node, const RealTensor& x, const Shape& shape) {
  int64_t n = 1;
  for (size_t i = 2; i < x.shape.size(); ++i) n *= x.shape[i];
  if (x.shape.size() < 3 || x.shape.size() > 4 || n > kMostPixels) {
    unsupported("a global average is over 1 or 2 spatial axes and at most 2^23 pixels",
                to_text(x.shape));
    return;
  }
  auto pending = std::make_shared<Pending>();
  pending->source = source_;
  pending->shape = shape;
  pending->emit = [this, x, shape, source = source_](const OutputQuantization& out,
                                                     const Clamp& clamp) {
    return emit_global(source, x.value, x.q, shape, out, clamp);
  };
  RealTensor result;
  result.shape = shape;
  result.pending = std::move(pending);
  define(node, 0, std::move(result));
}

void Importer::global_average_pool(const onnx::Node& node, Attributes&) {
  const std::optional<RealTensor> x = real_operand(node, 0);
  if (!x) return;
  Shape shape = x->shape;
  for (size_t i = 2; i < shape.size(); ++i) shape[i] = 1;
  finish_global(node, *x, shape);
}

void Importer::reduce_mean(const onnx::Node& node, Attributes& attributes) {
  const std::optional<RealTensor> x = real_operand(node, 0);
  std::optional<std::vector<int64_t>> axes = attributes.integers("axes");
  if (!axes && has_input(node, 1)) axes = integer_list(node, 1, "the list of axes");
  const bool keep = attributes.integer("keepdims", 1) != 0;
  const bool none = attributes.integer("noop_with_empty_axes", 0) != 0;
  if (!x || node_failed_) return;
  const auto rank = static_cast<int64_t>(x->shape.size());
  const bool all = !axes || axes->empty();
  if (all && none) {
    identity(node, attributes);
    return;
  }
  std::vector<bool> reduced(x->shape.size(), all);
  for (int64_t axis : all ? std::vector<int64_t>{} : *axes) {
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) {
      malformed_node("axes of ReduceMean are the input's",
                     fmt::format("axes {} of {}", to_text(*axes), to_text(x->shape)));
      return;
    }
    reduced[static_cast<size_t>(axis)] = true;
  }
  // [1, what is kept, what becomes one], by way of a transposition.
  MeanPlan plan;
  int64_t kept = 1, count = 1;
  for (const bool gone : {false, true}) {
    for (size_t i = 0; i < reduced.size(); ++i) {
      if (reduced[i] == gone) plan.permutation.push_back(static_cast<int>(i));
    }
  }
  for (size_t i = 0; i < reduced.size(); ++i) {
    (reduced[i] ? count : kept) *= x->shape[i];
    if (!reduced[i] || keep) plan.shape.push_back(reduced[i] ? 1 : x->shape[i]);
  }
  plan.rows = {1, kept, count};
  // As a global average has them, they stay an image.
  bool image = rank == 3 || rank == 4;
  for (size_t i = 0; i < reduced.size(); ++i) image = image && reduced[i] == (i >= 2);
  if (image) {
    finish_global(node, *x, plan.shape);
    return;
  }
  if (count > kMostPixels) {
    unsupported(fmt::format("a mean is of at most {} elements", kMostPixels), to_text(x->shape));
    return;
  }
  define_pending(
      node, plan.shape,
      [this, x = *x, plan, source = source_](const OutputQuantization& out, const Clamp& clamp) {
        ValueId id = x.value;
        if (!std::is_sorted(plan.permutation.begin(), plan.permutation.end())) {
          id = add_view(source, id, permuted(value(id).shape, plan.permutation),
                        TransposeOp{plan.permutation});
        }
        id = add_view(source, id, plan.rows, ReshapeOp{});
        id = emit_global(source, id, x.q, {1, plan.rows[1], 1}, out, clamp);
        return id == kNoValue ? id : add_view(source, id, plan.shape, ReshapeOp{});
      });
}

void Importer::qlinear_global_average_pool(const onnx::Node& node, Attributes& attributes) {
  const std::optional<ValueId> x = quantized_input(node, 0, 2);
  const std::optional<OutputQuantization> xq = quantization_inputs(node, 1, 2);
  const std::optional<OutputQuantization> yq = quantization_inputs(node, 3, 4);
  if (!x || !xq || !yq) return;
  const bool last = attributes.integer("channels_last", 0) != 0;
  Shape shape = last ? first_shape(value(*x).shape) : value(*x).shape;
  if (shape.size() < 3 || shape.size() > 4) {
    unsupported("a global average is over 1 or 2 spatial axes", to_text(shape));
    return;
  }
  int64_t pixels = 1;
  for (size_t i = 2; i < shape.size(); ++i) {
    pixels *= shape[i];
    shape[i] = 1;
  }
  if (pixels > kMostPixels) {
    unsupported(fmt::format("a mean is of at most {} elements", kMostPixels),
                to_text(value(*x).shape));
    return;
  }
  if (value(*x).quantization.scale == 0) graph_.value(*x).quantization = xq->q;
  const ValueId first = last ? channels_first(source_, *x) : *x;
  ValueId id =
      emit_global(source_, first, xq->q, shape, *yq, {byte_low(yq->type), byte_high(yq->type)});
  if (id == kNoValue) return;
  if (last) id = channels_last(source_, id);
  graph_.value(id).name = node.output(0);
  define(node, 0, QuantizedTensor{id});
}

}  // namespace npu::compiler
