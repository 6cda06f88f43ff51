// SPDX-License-Identifier: MIT
#include "compiler/schedule/layers.h"

#include <algorithm>

namespace npu::compiler {
namespace {

Operand base(const MemoryPlan& plan, ValueId id) {
  Operand out;
  out.region = plan.region_of(id);
  out.offset = static_cast<uint64_t>(plan.values[id].offset);
  out.storage = plan.values[id].storage;
  return out;
}

// [n, c, w] or [n, c, h, w].
Operand image(const Graph& graph, const MemoryPlan& plan, ValueId id) {
  Operand out = base(plan, id);
  const Shape& shape = graph.value(id).shape;
  const std::vector<int64_t>& strides = plan.values[id].strides;
  const bool two = shape.size() == 4;
  out.stride[0] = two ? strides[2] : 0;
  out.stride[1] = two ? strides[3] : strides[2];
  out.stride[2] = strides[1];
  return out;
}

int64_t height(const Shape& shape) {
  return shape.size() == 4 ? shape[2] : 1;
}
int64_t width(const Shape& shape) {
  return shape.back();
}

int64_t batch_stride(const MemoryPlan& plan, ValueId id) {
  return plan.values[id].strides[0];
}

void make_conv(const Graph& graph, const MemoryPlan& plan, const Op& op, const MacOp& mac,
               MacLayer& layer) {
  const ValueId x = op.inputs[0];
  const Shape& in = graph.value(x).shape;
  layer.depthwise =
      mac.groups > 1 && mac.groups == mac.in_channels && mac.groups == mac.out_channels;
  layer.in_h = height(in);
  layer.in_w = width(in);
  const Window& w = mac.window;
  layer.out_h = (layer.in_h + w.pad_before[0] + w.pad_after[0] - w.span(0)) / w.stride[0] + 1;
  layer.out_w = (layer.in_w + w.pad_before[1] + w.pad_after[1] - w.span(1)) / w.stride[1] + 1;
  layer.input = image(graph, plan, x);
  layer.output = image(graph, plan, op.output);
  OuterDim batch{in[0], batch_stride(plan, x), 0, batch_stride(plan, op.output), 0};
  if (mac.chain.residual) {
    layer.residual = image(graph, plan, mac.chain.residual->value);
    batch.residual = batch_stride(plan, mac.chain.residual->value);
  }
  if (in[0] > 1) layer.outer.push_back(batch);
}

void make_product(const Graph& graph, const MemoryPlan& plan, const Op& op, const MacOp& mac,
                  MacLayer& layer) {
  const ValueId x = op.inputs[0];
  const Shape& in = graph.value(x).shape;
  const bool dynamic = mac.weights.empty();
  const size_t last = in.size() - 1;
  const auto strides = [&](ValueId id) { return plan.values[id].strides; };
  const ValueId residual = mac.chain.residual ? mac.chain.residual->value : kNoValue;
  layer.input = base(plan, x);
  layer.input.stride[2] = strides(x)[last];
  layer.output = base(plan, op.output);
  layer.output.stride[2] = strides(op.output)[last];
  if (residual != kNoValue) {
    layer.residual = base(plan, residual);
    layer.residual.stride[2] = strides(residual)[last];
  }
  if (dynamic) {
    const ValueId b = op.inputs[1];
    layer.dynamic = true;
    layer.weights = base(plan, b);
    layer.weights.stride[1] = strides(b)[last - 1];
    layer.weights.stride[2] = strides(b)[last];
  }
  // Leading axes, outermost first, merged where every operand allows; the
  // innermost become the rows. A batch of a computed operand stays outside.
  std::vector<OuterDim> dims;
  for (size_t i = 0; i < last; ++i) {
    if (in[i] == 1) continue;
    const bool rows_of_dynamic = dynamic && i + 1 == last;
    OuterDim dim{in[i], strides(x)[i], 0, strides(op.output)[i],
                 residual != kNoValue ? strides(residual)[i] : 0};
    if (dynamic && !rows_of_dynamic) dim.weights = strides(op.inputs[1])[i];
    if (!dims.empty() && !dynamic) {
      OuterDim& outer = dims.back();
      if (outer.input == dim.input * dim.extent && outer.output == dim.output * dim.extent &&
          outer.residual == dim.residual * dim.extent) {
        dim.extent *= outer.extent;
        dims.back() = dim;
        continue;
      }
    }
    dims.push_back(dim);
  }
  const bool has_rows = !dims.empty() && (!dynamic || in[last - 1] > 1);
  if (has_rows) {
    layer.in_w = layer.out_w = dims.back().extent;
    layer.input.stride[1] = dims.back().input;
    layer.output.stride[1] = dims.back().output;
    layer.residual.stride[1] = dims.back().residual;
    dims.pop_back();
  }
  layer.outer = std::move(dims);
}

}  // namespace

MacLayer make_mac_layer(const Graph& graph, const MemoryPlan& plan, const Op& op) {
  const MacOp& mac = *op.as<MacOp>();
  MacLayer layer;
  layer.op = &mac;
  layer.source = op.source;
  layer.input_type = graph.value(op.inputs[0]).type;
  if (mac.chain.residual) layer.residual_type = graph.value(mac.chain.residual->value).type;
  if (mac.matmul) {
    make_product(graph, plan, op, mac, layer);
  } else {
    make_conv(graph, plan, op, mac, layer);
  }
  return layer;
}

PoolLayer make_pool_layer(const Graph& graph, const MemoryPlan& plan, const Op& op) {
  const ValueId x = op.inputs[0];
  const Shape& in = graph.value(x).shape;
  const Shape& out = graph.value(op.output).shape;
  PoolLayer layer;
  layer.op = *op.as<PoolOp>();
  layer.input_type = graph.value(x).type;
  layer.output_type = graph.value(op.output).type;
  layer.in_h = height(in);
  layer.in_w = width(in);
  layer.channels = in[1];
  layer.out_h = height(out);
  layer.out_w = width(out);
  layer.input = image(graph, plan, x);
  layer.output = image(graph, plan, op.output);
  if (in[0] > 1) {
    layer.outer.push_back({in[0], batch_stride(plan, x), 0, batch_stride(plan, op.output), 0});
  }
  return layer;
}

GlobalLayer make_global_layer(const Graph& graph, const MemoryPlan& plan, const Op& op) {
  const ValueId x = op.inputs[0];
  const Shape& in = graph.value(x).shape;
  GlobalLayer layer;
  layer.op = *op.as<GlobalAverageOp>();
  layer.input_type = graph.value(x).type;
  layer.output_type = graph.value(op.output).type;
  layer.in_h = height(in);
  layer.in_w = width(in);
  layer.channels = in[1];
  layer.input = image(graph, plan, x);
  // The output may have lost its spatial axes.
  layer.output = base(plan, op.output);
  layer.output.stride[2] = plan.values[op.output].strides[1];
  if (in[0] > 1) {
    layer.outer.push_back({in[0], batch_stride(plan, x), 0, batch_stride(plan, op.output), 0});
  }
  return layer;
}

ResizeLayer make_resize_layer(const Graph& graph, const MemoryPlan& plan, const Op& op) {
  const ValueId x = op.inputs[0];
  const Shape& in = graph.value(x).shape;
  ResizeLayer layer;
  layer.op = op.as<ResizeOp>();
  layer.input_type = graph.value(x).type;
  layer.output_type = graph.value(op.output).type;
  layer.in_h = height(in);
  layer.in_w = width(in);
  layer.channels = in[1];
  layer.out_h = static_cast<int64_t>(layer.op->rows.size());
  layer.input = image(graph, plan, x);
  layer.output = image(graph, plan, op.output);
  if (in[0] > 1) {
    layer.outer.push_back({in[0], batch_stride(plan, x), 0, batch_stride(plan, op.output), 0});
  }
  return layer;
}

namespace {

// A copy of `size` elements, with strides for each axis (0: repeated).
ElementLayer copy_layer(ElementLayer layer, const Shape& size, const std::vector<int64_t>& from,
                        const std::vector<int64_t>& to) {
  for (size_t i = 0; i < size.size(); ++i) layer.dims.push_back({size[i], from[i], 0, to[i]});
  finish_dims(layer);
  return layer;
}

// The input in its place, then the frame axis by axis: a border spans the axes before its own as
// far as the input does, those behind it wholly.
std::vector<ElementLayer> make_pad_layers(const Graph& graph, const Op& op, const PadOp& pad,
                                          const ElementLayer& whole, const Operand& fill,
                                          const std::vector<int64_t>& in_strides,
                                          const std::vector<int64_t>& fill_strides,
                                          const std::vector<int64_t>& out_strides) {
  const Shape& in = graph.value(op.inputs[0]).shape;
  const Shape& out = graph.value(op.output).shape;
  std::vector<ElementLayer> layers;
  const auto add = [&](const Operand& from, const std::vector<int64_t>& strides,
                       const std::vector<int64_t>& begin, const Shape& size) {
    ElementLayer layer = whole;
    layer.a = from;
    for (size_t i = 0; i < size.size(); ++i) {
      layer.out = shifted(layer.out, begin[i] * out_strides[i]);
      layer.a = shifted(layer.a, &from == &fill ? begin[i] * strides[i] : 0);
    }
    layers.push_back(copy_layer(std::move(layer), size, strides, out_strides));
  };
  add(whole.a, in_strides, pad.before, in);
  std::vector<int64_t> begin = pad.before;
  Shape size = in;
  for (size_t i = out.size(); i-- > 0;) {
    for (const bool after : {false, true}) {
      begin[i] = after ? pad.before[i] + in[i] : 0;
      size[i] = after ? out[i] - begin[i] : pad.before[i];
      if (size[i] > 0) add(fill, fill_strides, begin, size);
    }
    begin[i] = 0;
    size[i] = out[i];
  }
  return layers;
}

}  // namespace

std::vector<ElementLayer> make_element_layers(const Graph& graph, const MemoryPlan& plan,
                                              const Op& op) {
  const Shape& out = graph.value(op.output).shape;
  const std::vector<int64_t>& out_strides = plan.values[op.output].strides;
  ElementLayer layer;
  layer.add = op.as<AddOp>();
  layer.mul = op.as<MulOp>();
  layer.lut = op.as<LutOp>();
  layer.softmax = op.as<SoftmaxOp>();
  layer.layer_norm = op.as<LayerNormOp>();
  layer.out_type = graph.value(op.output).type;
  layer.out = base(plan, op.output);
  // Stride of an operand along the output's axis `i`; 0 where it is repeated.
  const auto stride = [&](ValueId id, size_t i) -> int64_t {
    const Shape& shape = graph.value(id).shape;
    const size_t missing = out.size() - shape.size();
    if (i < missing || shape[i - missing] == 1) return 0;
    return plan.values[id].strides[i - missing];
  };
  layer.a_type = graph.value(op.inputs[0]).type;
  layer.a = base(plan, op.inputs[0]);
  if (const PadOp* pad = op.as<PadOp>()) {
    std::vector<int64_t> fill(out.size());
    for (size_t i = 0; i < out.size(); ++i) fill[i] = stride(op.inputs[1], i);
    return make_pad_layers(graph, op, *pad, layer, base(plan, op.inputs[1]),
                           plan.values[op.inputs[0]].strides, fill, out_strides);
  }
  const bool two = layer.add != nullptr || layer.mul != nullptr;
  if (two) {
    layer.b_type = graph.value(op.inputs[1]).type;
    layer.b = base(plan, op.inputs[1]);
  }
  for (size_t i = 0; i < out.size(); ++i) {
    layer.dims.push_back(
        {out[i], stride(op.inputs[0], i), two ? stride(op.inputs[1], i) : 0, out_strides[i]});
  }
  finish_dims(layer);
  return {std::move(layer)};
}

}  // namespace npu::compiler
