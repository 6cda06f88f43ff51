// SPDX-License-Identifier: MIT
//
// Conv, QLinearConv, and PRelu by way of one.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "compiler/import/importer.h"

namespace npu::compiler {

bool Importer::conv_parts(Attributes& attributes, MacParts& parts) {
  const Shape& in = value(parts.x).shape;
  const Shape& w = parts.weights.data->shape;
  if (in.size() != 3 && in.size() != 4) {
    unsupported("a convolution is 1-D or 2-D: its input has 3 or 4 dimensions", to_text(in));
    return false;
  }
  if (w.size() != in.size() || !checked_elements(w)) {
    malformed_node("weights have the rank of the input", to_text(w));
    return false;
  }
  parts.groups = attributes.integer("group", 1);
  if (parts.groups < 1 || parts.groups > 65535 || in[1] % parts.groups != 0 ||
      w[0] % parts.groups != 0 || w[1] != in[1] / parts.groups) {
    malformed_node(
        "groups divide input and output channels and weights are [oc, ic/group, ...]",
        fmt::format("group {}, input {}, weights {}", parts.groups, to_text(in), to_text(w)));
    return false;
  }
  Shape spatial;
  if (!window_attributes(attributes, in, Shape(w.begin() + 2, w.end()), false, false, parts.window,
                         spatial)) {
    return false;
  }
  parts.out_shape = {in[0], w[0]};
  parts.out_shape.insert(parts.out_shape.end(), spatial.begin(), spatial.end());
  if (!checked_elements(parts.out_shape)) {
    unsupported("a tensor has at most 2^36 elements", to_text(parts.out_shape));
    return false;
  }
  return true;
}

ValueId Importer::emit_conv(uint32_t source, const MacParts& parts, const OutputQuantization& out,
                            const Clamp& clamp) {
  MacOp mac;
  mac.window = parts.window;
  mac.groups = parts.groups;
  mac.input_products = parts.input_products;
  const Shape& w = parts.weights.data->shape;
  mac.out_channels = w[0];
  mac.in_channels = w[1] * parts.groups;
  // OIHW -> OHWI.
  const int64_t depth = w[1], taps = mac.window.kernel[0] * mac.window.kernel[1];
  mac.weights.resize(parts.weights.data->bytes.size());
  const std::vector<uint8_t>& bytes = parts.weights.data->bytes;
  for (int64_t o = 0; o < w[0]; ++o) {
    for (int64_t c = 0; c < depth; ++c) {
      for (int64_t t = 0; t < taps; ++t) {
        mac.weights[static_cast<size_t>((o * taps + t) * depth + c)] =
            bytes[static_cast<size_t>((o * depth + c) * taps + t)];
      }
    }
  }
  return emit_mac(source, parts, std::move(mac), out, clamp);
}

void Importer::conv(const onnx::Node& node, Attributes& attributes) {
  const std::optional<RealTensor> x = real_operand(node, 0);
  const std::optional<Weights> w = real_weights(node, 1);
  if (!x || !w) return;
  MacParts parts;
  parts.x = x->value;
  parts.xq = x->q;
  parts.weights = *w;
  if (!conv_parts(attributes, parts)) return;
  if (const std::string error = check_weight_quantization(parts.weights, 0); !error.empty()) {
    unsupported(error, fmt::format("{} scales along axis {}", w->scales.size(), w->axis));
    return;
  }
  std::optional<std::vector<int32_t>> bias =
      bias_input(node, 2, parts.xq.scale, parts.weights, parts.out_shape[1], false);
  if (!bias) return;
  parts.bias = std::move(*bias);
  auto pending = std::make_shared<Pending>();
  pending->source = source_;
  pending->shape = parts.out_shape;
  pending->emit = [this, parts, source = source_](const OutputQuantization& out,
                                                  const Clamp& clamp) {
    return emit_conv(source, parts, out, clamp);
  };
  RealTensor result;
  result.shape = parts.out_shape;
  result.pending = std::move(pending);
  define(node, 0, std::move(result));
}

void Importer::qlinear_conv(const onnx::Node& node, Attributes& attributes) {
  const std::optional<ValueId> x = quantized_input(node, 0, 2);
  const std::optional<OutputQuantization> xq = quantization_inputs(node, 1, 2);
  const std::optional<Weights> w = weight_inputs(node, 3, 4, 5, 0);
  const std::optional<OutputQuantization> yq = quantization_inputs(node, 6, 7);
  if (!x || !xq || !w || !yq) return;
  if (graph_.value(*x).quantization.scale == 0) graph_.value(*x).quantization = xq->q;
  const bool last = attributes.integer("channels_last", 0) != 0;
  MacParts parts;
  parts.x = last && value(*x).shape.size() > 1 ? channels_first(source_, *x) : *x;
  parts.xq = xq->q;
  parts.weights = *w;
  if (!conv_parts(attributes, parts)) return;
  if (const std::string error = check_weight_quantization(parts.weights, 0); !error.empty()) {
    unsupported(error, fmt::format("{} scales", w->scales.size()));
    return;
  }
  std::optional<std::vector<int32_t>> bias =
      bias_input(node, 8, parts.xq.scale, parts.weights, parts.out_shape[1], true);
  if (!bias) return;
  parts.bias = std::move(*bias);
  const Clamp full{byte_low(yq->type), byte_high(yq->type)};
  ValueId id = emit_conv(source_, parts, *yq, full);
  if (id == kNoValue) return;
  if (last) id = channels_last(source_, id);
  graph_.value(id).name = node.output(0);
  define(node, 0, QuantizedTensor{id});
}

// ---- PRelu --------------------------------------------------------------------

// With a slope for each channel, that of the negative part is the scale of a depthwise convolution
// with weights of 1; where one part is not zero the other is.
ValueId Importer::emit_prelu(uint32_t source, const RealTensor& x, const std::vector<float>& slopes,
                             const OutputQuantization& out, const Clamp& clamp) {
  const float infinity = std::numeric_limits<float>::infinity();
  const ByteType type = value(x.value).type;
  MacParts parts;
  parts.x = emit_clamp(source, x.value, {byte_low(type), x.q.zero});
  parts.xq = x.q;
  parts.groups = static_cast<int64_t>(slopes.size());
  ConstTensor signs;
  signs.type = ConstType::kInt8;
  signs.onnx_type = onnx::Tensor::INT8;
  signs.shape.assign(x.shape.size(), 1);
  signs.shape[0] = parts.groups;
  for (const float slope : slopes) {
    signs.bytes.push_back(static_cast<uint8_t>((slope > 0) - (slope < 0)));
    parts.weights.scales.push_back(slope == 0 ? 1.0f : std::fabs(slope));
  }
  parts.weights.zeros.assign(slopes.size(), 0);
  parts.weights.data = std::make_shared<const ConstTensor>(std::move(signs));
  parts.out_shape = x.shape;
  const ValueId negative = emit_conv(source, parts, out, {byte_low(out.type), byte_high(out.type)});
  if (negative == kNoValue) return kNoValue;
  const ValueId positive =
      emit_lut(source, x.value, tabulate(clamped(dequantized(x.q, type), 0, infinity), out), out);
  RealTensor a, b;
  a.value = negative;
  b.value = positive;
  a.shape = b.shape = x.shape;
  a.q = b.q = out.q;
  return emit_add(source, a, b, x.shape, out, clamp);
}

void Importer::prelu(const onnx::Node& node, Attributes&) {
  const std::optional<std::vector<float>> slopes = real_constant(node, 1, "the slope of PRelu");
  if (!slopes) return;
  if (std::any_of(slopes->begin(), slopes->end(), [](float s) { return !std::isfinite(s); })) {
    malformed_node("the slopes of PRelu are finite");
    return;
  }
  if (slopes->size() == 1) {
    unary(node, [slope = (*slopes)[0]](float v) { return v < 0 ? v * slope : v; });
    return;
  }
  const std::optional<RealTensor> x = real_operand(node, 0);
  const std::optional<Shape> shape = input_shape(node, 1);
  if (!x || !shape) return;
  // [c, 1, 1] or [1, c, 1, 1].
  Shape wanted(x->shape.size(), 1);
  bool fits = x->shape.size() == 3 || x->shape.size() == 4;
  if (fits) wanted[1] = x->shape[1];
  fits = fits && (*shape == wanted || *shape == Shape(wanted.begin() + 1, wanted.end()));
  if (!fits || x->shape[1] > 65535) {
    unsupported("PRelu has one slope, or one per channel of [n, c, ...]",
                fmt::format("{} for {}", to_text(*shape), to_text(x->shape)));
    return;
  }
  define_pending(node, x->shape,
                 [this, x = *x, slopes = *slopes, source = source_](const OutputQuantization& out,
                                                                    const Clamp& clamp) {
                   return emit_prelu(source, x, slopes, out, clamp);
                 });
}

}  // namespace npu::compiler
