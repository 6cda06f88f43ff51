// SPDX-License-Identifier: MIT
//
// Pools: MaxPool keeps the stored bytes; averages requantize.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/import/importer.h"

namespace npu::compiler {

std::optional<std::pair<PoolOp, Shape>> Importer::pool_parts(Attributes& attributes,
                                                             const Shape& in, PoolKind kind) {
  if (in.size() != 3 && in.size() != 4) {
    unsupported("a pool is 1-D or 2-D: its input has 3 or 4 dimensions", to_text(in));
    return std::nullopt;
  }
  const bool ceil_mode = attributes.integer("ceil_mode", 0) != 0;
  const bool count_pads =
      kind == PoolKind::kAverage && attributes.integer("count_include_pad", 0) != 0;
  if (ceil_mode && count_pads) {
    unsupported("ceil_mode and count_include_pad do not come together");
    return std::nullopt;
  }
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
  const Tensor* tensor = input(node, 0);
  if (tensor == nullptr) return;
  const std::optional<Shape> in = input_shape(node, 0);
  if (!in) return;
  const auto parts = pool_parts(attributes, *in, PoolKind::kMax);
  if (!parts) return;
  const auto emit = [this, pool = parts->first, shape = parts->second,
                     source = source_](ValueId x) {
    Value result;
    result.type = value(x).type;
    result.shape = shape;
    result.quantization = value(x).quantization;
    PoolOp op = pool;
    op.arithmetic.clamp = {byte_low(result.type), byte_high(result.type)};
    return add_op(source, {x}, std::move(result), op);
  };
  if (const auto* quantized = std::get_if<QuantizedTensor>(tensor)) {
    const ValueId id = emit(quantized->value);
    graph_.value(id).name = node.output(0);
    define(node, 0, QuantizedTensor{id});
  } else if (const auto* real = std::get_if<RealTensor>(tensor);
             real != nullptr && real->value != kNoValue) {
    RealTensor result;
    result.shape = parts->second;
    result.value = emit(real->value);
    result.q = real->q;
    define(node, 0, std::move(result));
  } else if (real != nullptr && real->pending) {
    auto pending = std::make_shared<Pending>(*real->pending);
    pending->after.push_back(emit);
    RealTensor result;
    result.shape = parts->second;
    result.pending = std::move(pending);
    define(node, 0, std::move(result));
  } else {
    unsupported("MaxPool takes an 8-bit or dequantized tensor", "a float graph input or a constant",
                "Put QuantizeLinear and DequantizeLinear before it");
  }
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
  if (attributes.integer("channels_last", 0) != 0) {
    unsupported("channels come first", "channels_last = 1");
    return;
  }
  const auto parts = pool_parts(attributes, value(*x).shape, PoolKind::kAverage);
  if (!parts) return;
  if (value(*x).quantization.scale == 0) graph_.value(*x).quantization = xq->q;
  const ValueId id = emit_pool(source_, *x, xq->q, parts->first, parts->second, *yq,
                               {byte_low(yq->type), byte_high(yq->type)});
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
  if (x.shape.size() < 3 || x.shape.size() > 4 || n > (1 << 23)) {
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
  attributes.ignore("noop_with_empty_axes");
  if (!x || node_failed_) return;
  const int64_t rank = static_cast<int64_t>(x->shape.size());
  std::vector<bool> reduced(x->shape.size(), false);
  bool spatial = axes && static_cast<int64_t>(axes->size()) == rank - 2;
  if (spatial) {
    for (int64_t axis : *axes) {
      if (axis < 0) axis += rank;
      if (axis < 2 || axis >= rank) {
        spatial = false;
        break;
      }
      reduced[static_cast<size_t>(axis)] = true;
    }
    for (size_t i = 2; i < reduced.size(); ++i) spatial = spatial && reduced[i];
  }
  if (!spatial) {
    unsupported("ReduceMean is over all spatial axes of [n, c, ...]",
                fmt::format("axes {} of {}", axes ? to_text(*axes) : "all", to_text(x->shape)),
                "Use GlobalAveragePool");
    return;
  }
  Shape shape(x->shape.begin(), x->shape.begin() + 2);
  if (keep) shape.resize(x->shape.size(), 1);
  finish_global(node, *x, shape);
}

void Importer::qlinear_global_average_pool(const onnx::Node& node, Attributes& attributes) {
  const std::optional<ValueId> x = quantized_input(node, 0, 2);
  const std::optional<OutputQuantization> xq = quantization_inputs(node, 1, 2);
  const std::optional<OutputQuantization> yq = quantization_inputs(node, 3, 4);
  if (!x || !xq || !yq) return;
  if (attributes.integer("channels_last", 0) != 0) {
    unsupported("channels come first", "channels_last = 1");
    return;
  }
  Shape shape = value(*x).shape;
  if (shape.size() < 3 || shape.size() > 4) {
    unsupported("a global average is over 1 or 2 spatial axes", to_text(shape));
    return;
  }
  for (size_t i = 2; i < shape.size(); ++i) shape[i] = 1;
  if (value(*x).quantization.scale == 0) graph_.value(*x).quantization = xq->q;
  const ValueId id =
      emit_global(source_, *x, xq->q, shape, *yq, {byte_low(yq->type), byte_high(yq->type)});
  if (id == kNoValue) return;
  graph_.value(id).name = node.output(0);
  define(node, 0, QuantizedTensor{id});
}

}  // namespace npu::compiler
