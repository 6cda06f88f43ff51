// SPDX-License-Identifier: MIT
//
// ConvTranspose as convolutions of stride 1. With stride s the elements p, p + s, p + 2s, ... of
// an axis of the result are made of every s-th tap of the kernel, which slides over the input by
// single elements: s convolutions, whose results take turns.
//
// Those of one row of the result are one convolution, whose channels are ordered [column, channel];
// those of different rows are joined behind each other along a row. With the channels innermost
// that is the result itself, byte for byte: what follows are views.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/import/importer.h"

namespace npu::compiler {
namespace {

constexpr int64_t kMostReach = 255;    // pads of a command
constexpr int64_t kMostPhases = 1024;  // strides of both axes, multiplied
// Of what the convolutions of one node have together: taps that do not exist are stored as zeros.
constexpr double kMostWeights = 256 << 20;

// How the elements of one axis are made. They are computed for whole strides of the result.
struct Phases {
  int64_t stride = 1, dilation = 1;
  int64_t first = 0, count = 1;  // strides that are computed
  int64_t pad_after = 0;
  // For each element of a stride, by the position in its window: which tap of the kernel it is, or
  // -1 if none.
  std::vector<std::vector<int64_t>> taps;

  int64_t kernel(size_t phase) const { return static_cast<int64_t>(taps[phase].size()); }
  int64_t pad_before(size_t phase) const { return (kernel(phase) - 1) * dilation - first; }
};

// `alike`: with windows of one size.
Phases phases_of(const TransposedAxis& axis, int64_t size, bool alike) {
  Phases out;
  out.stride = axis.stride;
  out.dilation = axis.stride == 1 ? axis.dilation : 1;
  out.taps.resize(static_cast<size_t>(axis.stride));
  // What a tap makes of an element of the input lies in a later stride, by `behind`.
  for (int64_t t = 0; t < axis.kernel; ++t) {
    const int64_t at = t * axis.dilation;
    const auto behind = static_cast<size_t>(at / axis.stride / out.dilation);
    std::vector<int64_t>& taps = out.taps[static_cast<size_t>(at % axis.stride)];
    if (taps.size() <= behind) taps.resize(behind + 1, -1);
    taps[behind] = t;
  }
  size_t longest = 1, shortest = SIZE_MAX;
  for (const auto& taps : out.taps) longest = std::max(longest, taps.size());
  for (auto& taps : out.taps) {
    taps.resize(alike ? longest : std::max<size_t>(1, taps.size()), -1);
    shortest = std::min(shortest, taps.size());
    std::reverse(taps.begin(), taps.end());
  }
  out.first = std::min(axis.crop / axis.stride, static_cast<int64_t>(shortest - 1) * out.dilation);
  const int64_t last = std::max((axis.crop + axis.size - 1) / axis.stride, size - 1);
  out.count = last - out.first + 1;
  out.pad_after = last - (size - 1);
  return out;
}

}  // namespace

// One before its output's quantization is known.
struct TransposedConv {
  // Weights as in ONNX, [ic, oc/group, ...]; their scales and the bias by output channel.
  MacParts parts;
  TransposedWindow window;
  Phases rows, columns;

  int64_t outputs() const { return window.shape[1]; }
  // Columns of the result that one convolution makes: with groups, a group's channels would have to
  // lie together.
  size_t together() const { return parts.groups == 1 ? columns.taps.size() : 1; }

  // The convolution that makes row `y` and columns from `x` on of every stride.
  MacParts part(size_t y, size_t x) const;
  double weight_count() const;

 private:
  std::shared_ptr<const ConstTensor> weights_of(size_t y, size_t x) const;
};

double TransposedConv::weight_count() const {
  double rows_count = 0, columns_count = 0;
  for (const auto& taps : rows.taps) rows_count += static_cast<double>(taps.size());
  for (const auto& taps : columns.taps) columns_count += static_cast<double>(taps.size());
  const Shape& w = parts.weights.data->shape;
  return rows_count * columns_count * static_cast<double>(w[0]) * static_cast<double>(w[1]);
}

std::shared_ptr<const ConstTensor> TransposedConv::weights_of(size_t y, size_t x) const {
  const ConstTensor& all = *parts.weights.data;
  const int64_t filters = all.shape[1], depth = all.shape[0] / parts.groups;
  const auto& down = rows.taps[y];
  ConstTensor out;
  out.type = all.type;
  out.onnx_type = all.onnx_type;
  out.shape = {static_cast<int64_t>(together()) * outputs(), depth, rows.kernel(y),
               columns.kernel(x)};
  out.bytes.reserve(static_cast<size_t>(elements(out.shape)));
  const int64_t height = window.axes.size() == 2 ? window.axes[0].kernel : 1;
  const int64_t width = window.axes.back().kernel;
  const std::vector<int32_t>& zeros = parts.weights.zeros;
  for (size_t column = x; column < x + together(); ++column) {
    for (int64_t o = 0; o < outputs(); ++o) {
      const auto none = static_cast<uint8_t>(zeros[zeros.size() == 1 ? 0 : static_cast<size_t>(o)]);
      for (int64_t c = 0; c < depth; ++c) {
        const int64_t filter = (o / filters * depth + c) * filters + o % filters;
        for (const int64_t v : down) {
          for (const int64_t h : columns.taps[column]) {
            out.bytes.push_back(
                v < 0 || h < 0 ? none
                               : all.bytes[static_cast<size_t>((filter * height + v) * width + h)]);
          }
        }
      }
    }
  }
  return std::make_shared<const ConstTensor>(std::move(out));
}

MacParts TransposedConv::part(size_t y, size_t x) const {
  MacParts out = parts;
  out.weights.data = weights_of(y, x);
  const auto repeat = [n = together()](auto& list) {
    const auto once = list;
    for (size_t i = 1; once.size() > 1 && i < n; ++i)
      list.insert(list.end(), once.begin(), once.end());
  };
  repeat(out.weights.scales);
  repeat(out.weights.zeros);
  if (outputs() == 1 && !out.bias.empty()) out.bias.resize(together(), out.bias[0]);
  repeat(out.bias);
  const auto known = [](const std::vector<int64_t>& taps) {
    return std::count_if(taps.begin(), taps.end(), [](int64_t t) { return t >= 0; });
  };
  int64_t products = 0;
  for (size_t column = x; column < x + together(); ++column)
    products += known(rows.taps[y]) * known(columns.taps[column]);
  out.input_products = products * parts.weights.data->shape[1];
  Window& w = out.window;
  w = {};
  w.kernel[0] = rows.kernel(y);
  w.kernel[1] = columns.kernel(x);
  w.dilation[0] = rows.dilation;
  w.dilation[1] = columns.dilation;
  w.pad_before[0] = rows.pad_before(y);
  w.pad_before[1] = columns.pad_before(x);
  w.pad_after[0] = rows.pad_after;
  w.pad_after[1] = columns.pad_after;
  out.out_shape = {window.shape[0], out.weights.data->shape[0]};
  if (window.axes.size() == 2) out.out_shape.push_back(rows.count);
  out.out_shape.push_back(columns.count);
  return out;
}

ValueId Importer::emit_conv_transpose(uint32_t source, const TransposedConv& conv,
                                      const OutputQuantization& out, const Clamp& clamp) {
  const auto joined = [&](const std::vector<ValueId>& made, size_t axis) {
    if (made.size() == 1) return made[0];
    Shape shape = value(made[0]).shape;
    shape[axis] *= static_cast<int64_t>(made.size());
    return emit_concat(source, made, static_cast<int>(axis), shape, out);
  };
  std::vector<ValueId> made_rows;
  for (size_t y = 0; y < conv.rows.taps.size(); ++y) {
    std::vector<ValueId> made;
    for (size_t x = 0; x < conv.columns.taps.size(); x += conv.together()) {
      made.push_back(emit_conv(source, conv.part(y, x), out, clamp));
      if (made.back() == kNoValue) return kNoValue;
    }
    made_rows.push_back(joined(made, 1));
  }
  ValueId id = joined(made_rows, conv.window.shape.size() - 1);
  const Phases &rows = conv.rows, &columns = conv.columns;
  const bool image = conv.window.axes.size() == 2;
  if (rows.stride * columns.stride > 1) {
    // [n, y, (row, x), (column, c)] -> [n, (y, row), (x, column), c].
    id = channels_last(source, id);
    Shape last{conv.window.shape[0]};
    if (image) last.push_back(rows.count * rows.stride);
    last.push_back(columns.count * columns.stride);
    Shape first = last;
    last.push_back(conv.outputs());
    first.insert(first.begin() + 1, conv.outputs());
    // Of one channel both are the same.
    id = add_view(source, id, conv.outputs() == 1 ? first : last, ReshapeOp{});
    if (conv.outputs() != 1) id = channels_first(source, id);
  }
  SliceBounds kept;
  kept.shape = conv.window.shape;
  kept.start.assign(kept.shape.size(), 0);
  for (size_t i = 0; i < conv.window.axes.size(); ++i) {
    const Phases& phases = i + 1 == conv.window.axes.size() ? columns : rows;
    kept.start[i + 2] = conv.window.axes[i].crop - phases.first * phases.stride;
  }
  return value(id).shape == kept.shape ? id : emit_slice(source, id, kept);
}

void Importer::conv_transpose(const onnx::Node& node, Attributes& attributes) {
  const std::optional<RealTensor> x = real_operand(node, 0);
  const std::optional<Weights> w = real_weights(node, 1);
  if (!x || !w) return;
  RuleBreak broken;
  const std::optional<TransposedWindow> window =
      transposed_window(attributes, x->shape, w->data->shape, broken);
  if (!window) {
    broken_rule(broken);
    return;
  }
  auto conv = std::make_shared<TransposedConv>();
  conv->window = *window;
  MacParts& parts = conv->parts;
  parts.x = x->value;
  parts.xq = x->q;
  parts.weights = *w;
  parts.groups = window->groups;
  const bool image = window->axes.size() == 2;
  conv->rows =
      phases_of(image ? window->axes[0] : TransposedAxis{}, image ? x->shape[2] : 1, false);
  conv->columns = phases_of(window->axes.back(), x->shape.back(), parts.groups == 1);
  if (conv->rows.stride * conv->columns.stride > kMostPhases) {
    unsupported(fmt::format("strides, multiplied, are at most {}", kMostPhases),
                fmt::format("{} x {}", conv->rows.stride, conv->columns.stride));
    return;
  }
  for (const Phases* phases : {&conv->rows, &conv->columns}) {
    int64_t reach = phases->pad_after;
    for (size_t i = 0; i < phases->taps.size(); ++i)
      reach = std::max({reach, phases->pad_before(i), phases->kernel(i) - 1});
    if (reach > kMostReach) {
      unsupported(fmt::format("a kernel and an output reach at most {} strides beyond the input",
                              kMostReach),
                  std::to_string(reach));
      return;
    }
  }
  if (conv->weight_count() > kMostWeights) {
    unsupported("by strides, the weights take at most 256 MiB",
                fmt::format("{:.0f} bytes", conv->weight_count()));
    return;
  }
  // Scales by output channel: along axis 1 those of each group, or along axis 0 if a group has one
  // input channel.
  std::vector<float>& scales = parts.weights.scales;
  const Shape& shape = w->data->shape;
  const bool by_group = w->axis == 0 && shape[0] == parts.groups;
  if (scales.size() > 1) {
    if (w->axis != 1 && !by_group) {
      unsupported("weights are quantized per tensor or per output channel",
                  fmt::format("{} scales along axis {}", scales.size(), w->axis));
      return;
    }
    scales.clear();
    parts.weights.zeros.clear();
    for (int64_t o = 0; o < conv->outputs(); ++o) {
      const auto from = static_cast<size_t>(by_group ? o / shape[1] : o % shape[1]);
      scales.push_back(w->scales[from]);
      parts.weights.zeros.push_back(w->zeros[from]);
    }
  }
  std::optional<std::vector<int32_t>> bias =
      bias_input(node, 2, parts.xq.scale, parts.weights, conv->outputs(), false);
  if (!bias) return;
  parts.bias = std::move(*bias);
  define_pending(node, window->shape,
                 [this, conv, source = source_](const OutputQuantization& out, const Clamp& clamp) {
                   return emit_conv_transpose(source, *conv, out, clamp);
                 });
}

}  // namespace npu::compiler
