// SPDX-License-Identifier: MIT
#include "compiler/testing/random_graph.h"

#include <algorithm>
#include <cmath>

#include "arch/numerics.h"

namespace npu::compiler::testing {

ValueId RandomGraph::append(std::vector<ValueId> inputs, Shape shape, ByteType type,
                            OpDetail detail) {
  Value value;
  value.name = "value_" + std::to_string(graph.values.size());
  value.type = type;
  value.shape = std::move(shape);
  value.quantization = {0.1f, 0};
  Op op;
  op.source = static_cast<uint32_t>(graph.sources.size());
  op.inputs = std::move(inputs);
  op.output = graph.add_value(std::move(value));
  op.detail = std::move(detail);
  graph.sources.push_back({"node_" + std::to_string(op.source), kind_name(op), 0});
  graph.sources.back().macs = macs_of(graph, op);
  graph.ops.push_back(std::move(op));
  return graph.ops.back().output;
}

ValueId RandomGraph::input(Shape shape, ByteType type) {
  Value value;
  value.name = "input_" + std::to_string(graph.inputs.size());
  value.type = type;
  value.shape = std::move(shape);
  value.quantization = {0.1f, 0};
  graph.input_names.push_back(value.name);
  graph.inputs.push_back(graph.add_value(std::move(value)));
  return graph.inputs.back();
}

void RandomGraph::output(ValueId id) {
  graph.outputs.push_back(id);
  graph.output_names.push_back("output_" + std::to_string(graph.outputs.size() - 1));
}

Clamp RandomGraph::clamp(ByteType type) {
  Clamp out{byte_low(type), byte_high(type)};
  if (chance(30)) out.low = static_cast<int>(pick(byte_low(type), 20));
  if (chance(30)) out.high = static_cast<int>(pick(std::max(out.low, 40), byte_high(type)));
  return out;
}

// Scales that spread sums of `depth` products over the range of a byte.
void RandomGraph::requantization(MacOp& mac, ByteType type, int64_t depth) {
  const float spread = 0.02f / std::sqrt(static_cast<float>(depth));
  const size_t scales = chance(50) ? 1 : static_cast<size_t>(mac.out_channels);
  for (size_t i = 0; i < scales; ++i) {
    // Powers of two make ties.
    mac.scales.push_back(chance(20) ? std::exp2(std::floor(std::log2(spread)))
                                    : spread * real(0.5f, 2.0f));
  }
  mac.weight_type = byte_type();
  const size_t zeros = chance(70) ? 1 : static_cast<size_t>(mac.out_channels);
  const bool centred = mac.weight_type == ByteType::kInt8 && chance(60);
  for (size_t i = 0; i < zeros; ++i) {
    mac.weight_zeros.push_back(centred ? 0
                               : mac.weight_type == ByteType::kUint8
                                   ? static_cast<int>(pick(100, 150))
                                   : static_cast<int>(pick(-20, 20)));
  }
  if (chance(70)) {
    for (int64_t c = 0; c < mac.out_channels; ++c) {
      mac.bias.push_back(static_cast<int32_t>(pick(-20000, 20000)));
    }
  }
  mac.output_zero = zero(type);
  mac.clamp = clamp(type);
  mac.mac_type = type;
}

ValueId RandomGraph::conv(ValueId x, int64_t out_channels, int64_t groups, const Window& window) {
  const Shape in = shape(x);
  MacOp mac;
  mac.window = window;
  mac.groups = groups;
  mac.in_channels = in[1];
  mac.out_channels = out_channels;
  const int64_t depth = in[1] / groups * window.kernel[0] * window.kernel[1];
  mac.weights.resize(static_cast<size_t>(out_channels * depth));
  for (uint8_t& byte : mac.weights) byte = static_cast<uint8_t>(random_());
  const ByteType type = byte_type();
  requantization(mac, type, depth);
  mac.input_zero = zero(graph.value(x).type);
  Shape out{in[0], out_channels};
  const size_t spatial = in.size() - 2;
  for (size_t i = 0; i < spatial; ++i) {
    const int d = static_cast<int>(i + 2 - spatial);
    out.push_back((in[i + 2] + window.pad_before[d] + window.pad_after[d] - window.span(d)) /
                      window.stride[d] +
                  1);
  }
  return append({x}, std::move(out), type, std::move(mac));
}

ValueId RandomGraph::matmul(ValueId x, int64_t columns) {
  MacOp mac;
  mac.matmul = true;
  Shape out = shape(x);
  mac.in_channels = out.back();
  mac.out_channels = out.back() = columns;
  mac.weights.resize(static_cast<size_t>(mac.in_channels * columns));
  for (uint8_t& byte : mac.weights) byte = static_cast<uint8_t>(random_());
  const ByteType type = byte_type();
  requantization(mac, type, mac.in_channels);
  mac.input_zero = zero(graph.value(x).type);
  return append({x}, std::move(out), type, std::move(mac));
}

ValueId RandomGraph::dynamic_matmul(ValueId a, ValueId b) {
  MacOp mac;
  mac.matmul = true;
  Shape out = shape(a);
  mac.in_channels = out.back();
  mac.out_channels = out.back() = shape(b).back();
  const ByteType type = byte_type();
  requantization(mac, type, mac.in_channels);
  mac.bias.clear();
  mac.scales.resize(1);
  mac.weight_type = graph.value(b).type;
  mac.weight_zeros = {zero(mac.weight_type)};
  mac.input_zero = zero(graph.value(a).type);
  return append({a, b}, std::move(out), type, std::move(mac));
}

ValueId RandomGraph::pool(ValueId x, PoolKind kind, const Window& window, bool count_pads) {
  const Shape in = shape(x);
  PoolOp op;
  op.window = window;
  op.arithmetic.kind = kind;
  const ByteType type = kind == PoolKind::kMax ? graph.value(x).type : byte_type();
  op.arithmetic.clamp = {byte_low(type), byte_high(type)};
  if (kind == PoolKind::kAverage) {
    op.arithmetic.in_scale = real(0.01f, 0.1f);
    op.arithmetic.out_scale = real(0.01f, 0.1f);
    op.arithmetic.in_zero = zero(graph.value(x).type);
    op.arithmetic.out_zero = zero(type);
    op.arithmetic.count_pads = count_pads;
    if (chance(30)) op.arithmetic.clamp = clamp(type);
  }
  Shape out{in[0], in[1]};
  const size_t spatial = in.size() - 2;
  for (size_t i = 0; i < spatial; ++i) {
    const int d = static_cast<int>(i + 2 - spatial);
    out.push_back((in[i + 2] + window.pad_before[d] + window.pad_after[d] - window.kernel[d]) /
                      window.stride[d] +
                  1);
  }
  return append({x}, std::move(out), type, op);
}

ValueId RandomGraph::global_average(ValueId x) {
  GlobalAverageOp op;
  Shape out = shape(x);
  int64_t pixels = 1;
  for (size_t i = 2; i < out.size(); ++i) {
    pixels *= out[i];
    out[i] = 1;
  }
  const ByteType type = byte_type();
  op.scale = real(0.5f, 2.0f) / static_cast<float>(pixels);
  op.in_zero = zero(graph.value(x).type);
  op.out_zero = zero(type);
  op.clamp = clamp(type);
  return append({x}, std::move(out), type, op);
}

ValueId RandomGraph::add(ValueId a, ValueId b) {
  AddOp op;
  const ByteType type = byte_type();
  op.arithmetic.ra = real(0.2f, 1.2f);
  op.arithmetic.rb = real(0.2f, 1.2f);
  op.arithmetic.fix = arch::add_fix(op.arithmetic.ra, op.arithmetic.rb, zero(graph.value(a).type),
                                    zero(graph.value(b).type), zero(type));
  op.arithmetic.clamp = clamp(type);
  Shape out(std::max(shape(a).size(), shape(b).size()));
  for (size_t i = 0; i < out.size(); ++i) {
    const auto dim = [&](const Shape& s) { return i < s.size() ? s[s.size() - 1 - i] : 1; };
    out[out.size() - 1 - i] = std::max(dim(shape(a)), dim(shape(b)));
  }
  return append({a, b}, std::move(out), type, op);
}

ValueId RandomGraph::mul(ValueId a, ValueId b) {
  const ValueId sum = add(a, b);  // the same shapes
  MulOp op;
  const ByteType type = graph.value(sum).type;
  op.scale = real(0.002f, 0.02f);
  op.a_zero = zero(graph.value(a).type);
  op.b_zero = zero(graph.value(b).type);
  op.out_zero = zero(type);
  op.clamp = clamp(type);
  graph.ops.back().detail = op;
  graph.sources.back().type = "Mul";
  return sum;
}

ValueId RandomGraph::lut(ValueId x) {
  LutOp op;
  if (chance(50)) {
    for (uint8_t& byte : op.table) byte = static_cast<uint8_t>(random_());
    return append({x}, shape(x), byte_type(), op);
  }
  // A clamp, which fusion treats on its own.
  const ByteType type = graph.value(x).type;
  const int low = static_cast<int>(pick(byte_low(type), 10));
  const int high = static_cast<int>(pick(20, byte_high(type)));
  for (int byte = 0; byte < 256; ++byte) {
    op.table[static_cast<size_t>(byte)] =
        static_cast<uint8_t>(std::clamp(byte_value(type, static_cast<uint8_t>(byte)), low, high));
  }
  return append({x}, shape(x), type, op);
}

ValueId RandomGraph::softmax(ValueId x) {
  SoftmaxOp op;
  const auto length = static_cast<uint32_t>(shape(x).back());
  const float scale = real(0.01f, 0.3f);
  for (int i = 0; i < 256; ++i)
    op.table[static_cast<size_t>(i)] = arch::softmax_f32_entry(i, length, scale);
  const ByteType type = byte_type();
  op.multiplier = static_cast<float>(pick(20, 256));
  op.out_zero = chance(60) ? byte_low(type) : zero(type);
  op.clamp = chance(70) ? Clamp{byte_low(type), byte_high(type)} : clamp(type);
  return append({x}, shape(x), type, op);
}

ValueId RandomGraph::layer_norm(ValueId x) {
  LayerNormOp op;
  for (int64_t i = 0; i < shape(x).back(); ++i) {
    op.gamma.push_back(real(-1.5f, 1.5f));
    op.beta.push_back(real(-0.5f, 0.5f));
  }
  op.in_scale = real(0.01f, 0.1f);
  op.out_scale = real(0.01f, 0.05f);
  op.epsilon = chance(50) ? 1e-12f : 1e-3f;
  const ByteType type = byte_type();
  op.out_zero = zero(type);
  op.clamp = chance(70) ? Clamp{byte_low(type), byte_high(type)} : clamp(type);
  return append({x}, shape(x), type, std::move(op));
}

ValueId RandomGraph::reshape(ValueId x, Shape to) {
  return append({x}, std::move(to), graph.value(x).type, ReshapeOp{});
}

ValueId RandomGraph::transpose(ValueId x, std::vector<int> permutation) {
  Shape out;
  for (const int axis : permutation) out.push_back(shape(x)[static_cast<size_t>(axis)]);
  return append({x}, std::move(out), graph.value(x).type, TransposeOp{std::move(permutation)});
}

ValueId RandomGraph::slice(ValueId x, std::vector<int64_t> start, Shape size,
                           std::vector<int64_t> step) {
  return append({x}, std::move(size), graph.value(x).type,
                SliceOp{std::move(start), std::move(step)});
}

ValueId RandomGraph::pad(ValueId x, std::vector<int64_t> before, Shape to, uint8_t byte) {
  Shape fill(to.size(), 1);
  const ByteType type = graph.value(x).type;
  const size_t axis = static_cast<size_t>(pick(0, static_cast<int64_t>(to.size()) - 1));
  const bool same = chance(70);
  fill[axis] = to[axis];
  const ValueId frame = constant(fill, type);
  if (same) graph.value(frame).constant.assign(static_cast<size_t>(to[axis]), byte);
  return append({x, frame}, std::move(to), type, PadOp{std::move(before)});
}

ValueId RandomGraph::expand(ValueId x, Shape to) {
  return append({x}, std::move(to), graph.value(x).type, CopyOp{});
}

ValueId RandomGraph::resize(ValueId x, int64_t h, int64_t w) {
  const Shape in = shape(x);
  ResizeOp op;
  op.interpolation = static_cast<Interpolation>(pick(0, 2));
  const auto entries = [&](int64_t size, int64_t out) {
    std::vector<ResizeEntry> made;
    for (int64_t i = 0; i < out; ++i) {
      // About where it belongs, but for some.
      const int64_t at = chance(90) ? i * size / out : pick(0, size - 1);
      made.push_back({at, std::min(at + 1, size - 1), chance(50) ? 0.5f : real(0, 1)});
      if (op.interpolation == Interpolation::kNearest) made.back() = {at, at, 0};
    }
    return made;
  };
  op.rows = entries(in.size() == 4 ? in[2] : 1, h);
  op.columns = entries(in.back(), w);
  ByteType type = graph.value(x).type;
  if (op.interpolation == Interpolation::kLinear) {
    type = byte_type();
    op.scale = real(0.3f, 2.0f);
    op.in_zero = zero(graph.value(x).type);
    op.out_zero = zero(type);
    op.clamp = clamp(type);
  }
  Shape out = in;
  if (in.size() == 4) out[2] = h;
  out.back() = w;
  return append({x}, std::move(out), type, std::move(op));
}

ValueId RandomGraph::concat(std::vector<ValueId> parts, int axis) {
  Shape out = shape(parts[0]);
  for (size_t i = 1; i < parts.size(); ++i) {
    out[static_cast<size_t>(axis)] += shape(parts[i])[static_cast<size_t>(axis)];
  }
  const ByteType type = graph.value(parts[0]).type;
  return append(std::move(parts), std::move(out), type, ConcatOp{axis});
}

ValueId RandomGraph::constant(Shape size, ByteType type) {
  Value value;
  value.name = "constant_" + std::to_string(graph.values.size());
  value.type = type;
  value.constant.resize(static_cast<size_t>(elements(size)));
  for (uint8_t& byte : value.constant) byte = static_cast<uint8_t>(random_());
  value.shape = std::move(size);
  return graph.add_value(std::move(value));
}

Window RandomGraph::window(int64_t h, int64_t w, int64_t max_kernel, bool dilate) {
  Window out;
  const int64_t size[2] = {h, w};
  for (int d = 0; d < 2; ++d) {
    if (size[d] == 1 && d == 0) continue;
    out.dilation[d] = dilate && chance(30) ? pick(1, 3) : 1;
    out.kernel[d] = pick(1, max_kernel);
    out.stride[d] = pick(1, 3);
    const int64_t most = std::max<int64_t>(0, out.span(d) - 1);
    out.pad_before[d] = chance(60) ? pick(0, most) : 0;
    out.pad_after[d] = chance(60) ? pick(0, most) : 0;
    while (size[d] + out.pad_before[d] + out.pad_after[d] < out.span(d)) {
      if (out.dilation[d] > 1) {
        out.dilation[d] = 1;
      } else {
        --out.kernel[d];
      }
      out.pad_before[d] = std::min(out.pad_before[d], out.span(d) - 1);
      out.pad_after[d] = std::min(out.pad_after[d], out.span(d) - 1);
    }
  }
  return out;
}

ValueId attention(RandomGraph& g, ValueId x) {
  const Shape in = g.shape(x);
  const int64_t heads = g.pick(1, 3), size = g.pick(1, 24);
  const auto split = [&](std::vector<int> permutation) {
    return g.transpose(g.reshape(g.matmul(x, heads * size), {in[0], in[1], heads, size}),
                       std::move(permutation));
  };
  const ValueId q = split({0, 2, 1, 3});
  // Both operands of each product as they are written and transposed.
  const ValueId k = split({0, 2, 3, 1});
  const ValueId v = split({0, 2, 1, 3});
  const ValueId scores = g.softmax(g.dynamic_matmul(q, k));
  const ValueId mixed = g.transpose(g.dynamic_matmul(scores, v), {0, 2, 1, 3});
  return g.matmul(g.reshape(mixed, {in[0], in[1], heads * size}), in[2]);
}

Graph random_encoder(uint32_t seed, int64_t images) {
  RandomGraph g(seed);
  ValueId x = g.input({images, g.pick(2, 24), g.pick(4, 48)}, g.byte_type());
  if (g.chance(70)) x = g.matmul(x, g.shape(x)[2]);
  for (int64_t layers = g.pick(1, 4); layers > 0; --layers) {
    const ValueId before = x;
    switch (g.pick(0, 3)) {
      case 0:
      case 1:
        x = attention(g, x);
        break;
      case 2:
        x = g.matmul(g.lut(g.matmul(x, g.pick(1, 90))), g.shape(x)[2]);
        break;
      default:
        x = g.matmul(g.layer_norm(x), g.shape(x)[2]);
        break;
    }
    if (g.chance(80)) x = g.chance(50) ? g.add(x, before) : g.add(before, x);
    if (g.chance(70)) x = g.layer_norm(x);
  }
  g.output(x);
  return std::move(g.graph);
}

Graph random_network(uint32_t seed, int64_t images) {
  RandomGraph g(seed);
  std::vector<ValueId> live{
      g.input({images, g.pick(1, 16), g.pick(4, 20), g.pick(4, 20)}, g.byte_type())};
  for (int64_t layers = g.pick(2, 9); layers > 0; --layers) {
    const ValueId x = live[static_cast<size_t>(g.pick(0, static_cast<int64_t>(live.size()) - 1))];
    const Shape in = g.shape(x);
    ValueId y = kNoValue;
    switch (g.pick(0, 9)) {
      case 8:
        y = g.resize(x, g.pick(1, 24), g.pick(1, 24));
        break;
      case 9: {
        // A frame that a convolution or maximum behind it can take as its padding, or not.
        const bool low = g.chance(50);
        const ByteType type = g.graph.value(x).type;
        const int byte = low ? byte_low(type) : static_cast<int>(g.pick(byte_low(type), 100));
        Shape framed = in;
        std::vector<int64_t> before(4, 0);
        for (const size_t d : {2u, 3u}) {
          before[d] = g.pick(0, 2);
          framed[d] += before[d] + g.pick(0, 2);
        }
        y = g.pad(x, before, framed, static_cast<uint8_t>(byte));
        live.push_back(y);
        const Window window = g.window(framed[2], framed[3], 3, false);
        if (low) {
          y = g.pool(y, PoolKind::kMax, window, false);
        } else if (g.chance(50)) {
          y = g.pool(y, PoolKind::kAverage, window, g.chance(50));
          g.graph.ops.back().as<PoolOp>()->arithmetic.in_zero = byte;
        } else {
          y = g.conv(y, g.pick(1, 20), 1, window);
          g.graph.ops.back().as<MacOp>()->input_zero = byte;
        }
        if (g.chance(70)) live.pop_back();
        break;
      }
      case 0:
      case 1:
        y = g.conv(x, g.pick(1, 40), 1, g.window(in[2], in[3], 3, true));
        break;
      case 2:
        y = g.conv(x, in[1], in[1], g.window(in[2], in[3], 3, false));
        break;
      case 3:
        y = g.pool(x, PoolKind::kMax, g.window(in[2], in[3], 3, false), false);
        break;
      case 4:
        y = g.pool(x, PoolKind::kAverage, g.window(in[2], in[3], 3, false), g.chance(50));
        break;
      case 5:
        y = g.lut(x);
        break;
      case 6:
        for (const ValueId other : live) {
          if (other != x && g.shape(other) == in) y = g.add(x, other);
        }
        if (y == kNoValue) y = g.mul(x, g.global_average(x));
        break;
      default:
        y = x;
        for (const ValueId other : live) {
          if (other != x && g.shape(other) == in &&
              g.graph.value(other).type == g.graph.value(x).type) {
            y = g.concat({x, other}, 1);
          }
        }
        if (y == x) y = g.lut(x);
        break;
    }
    live.push_back(y);
  }
  g.output(live.back());
  if (live.size() > 3 && g.chance(50)) g.output(live[live.size() / 2]);
  return std::move(g.graph);
}

Graph random_body(uint32_t seed, int64_t images) {
  RandomGraph g(seed);
  const ByteType type = g.byte_type();
  std::vector<ValueId> live{g.input({images, g.pick(1, 24), g.pick(3, 30), g.pick(3, 24)}, type)};
  const auto any = [&] {
    return live[static_cast<size_t>(g.pick(0, static_cast<int64_t>(live.size()) - 1))];
  };
  const auto same_type = [&](ValueId id) {
    return g.graph.value(id).type == type ? id : g.lut(id);
  };
  // The size of an image stays.
  const auto window = [&](int64_t most) {
    Window w;
    for (int i = 0; i < 2; ++i) {
      w.kernel[i] = g.pick(1, most);
      w.pad_before[i] = g.pick(0, w.kernel[i] - 1);
      w.pad_after[i] = w.kernel[i] - 1 - w.pad_before[i];
    }
    return w;
  };
  for (int64_t layers = g.pick(4, 14); layers > 0; --layers) {
    const ValueId x = any();
    const Shape in = g.shape(x);
    ValueId y = kNoValue;
    switch (g.pick(0, 9)) {
      case 9: {  // dense: each layer reads what all before it made
        const bool nested = g.chance(40);
        std::vector<ValueId> parts = {same_type(x)};
        y = parts[0];
        for (int64_t n = g.pick(1, 5); n > 0; --n) {
          ValueId made = g.conv(y, g.pick(1, 16), 1, window(3));
          if (g.chance(60)) made = g.conv(made, g.pick(1, 16), 1, window(3));
          parts.push_back(same_type(made));
          y = nested ? g.concat({y, parts.back()}, 1) : g.concat(parts, 1);
          if (g.chance(20)) live.push_back(y);
        }
        break;
      }
      case 0:
        y = g.conv(x, g.pick(1, 32), 1, Window{});
        break;
      case 1:
        y = g.conv(x, g.pick(1, 32), 1, window(3));
        break;
      case 2:
        y = g.conv(x, in[1], in[1], window(5));
        break;
      case 3:
        y = g.pool(x, g.chance(70) ? PoolKind::kMax : PoolKind::kAverage, window(5), false);
        break;
      case 4:
        y = g.mul(x, g.lut(x));
        break;
      case 5:
        y = g.mul(x, g.lut(g.conv(g.global_average(x), in[1], 1, Window{})));
        break;
      case 6: {
        std::vector<ValueId> parts = {same_type(x)};
        for (int64_t n = g.pick(1, 3); n > 0; --n) parts.push_back(same_type(any()));
        y = g.concat(std::move(parts), 1);
        break;
      }
      case 7:
        if (in[1] < 2) break;
        y = g.slice(x, {0, g.pick(0, in[1] / 2), 0, 0}, {in[0], (in[1] + 1) / 2, in[2], in[3]});
        break;
      default:
        y = g.add(x, g.conv(any(), in[1], 1, Window{}));
        break;
    }
    // Wide ones stay few.
    if (y != kNoValue && g.shape(y)[1] <= 96) live.push_back(y);
  }
  g.output(live.back());
  if (g.chance(40)) g.output(live[live.size() / 2]);
  return std::move(g.graph);
}

}  // namespace npu::compiler::testing
