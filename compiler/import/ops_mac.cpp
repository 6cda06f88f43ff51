// SPDX-License-Identifier: MIT
//
// Conv, Gemm, MatMul and their QLinear forms.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compiler/import/importer.h"

namespace npu::compiler {
namespace {

constexpr int64_t kMaxField = 255;  // kernels, strides, dilations, pads of a command
constexpr int64_t kMaxDepth =
    1 << 24;  // products per output: keeps sums of 8-bit products in reach
// Constants of one model; a small file could name one large constant many times.
constexpr int64_t kMaxConstantBytes = int64_t{4} << 30;

}  // namespace

// Fills the window from kernel_shape, strides, dilations, pads and auto_pad.
// `in` is [n, c, spatial...]; `kernel` the spatial kernel, empty: attribute.
bool Importer::window_attributes(Attributes& attributes, const Shape& in, const Shape& kernel,
                                 bool ceil_mode, bool pads_below_kernel, Window& window,
                                 Shape& spatial) {
  const size_t rank = in.size() - 2;
  std::vector<int64_t> extents = attributes.integers("kernel_shape").value_or(kernel);
  if (!kernel.empty() && extents != kernel) {
    malformed_node("kernel_shape agrees with the weights", to_text(extents));
    return false;
  }
  std::vector<int64_t> strides =
      attributes.integers("strides").value_or(std::vector<int64_t>(rank, 1));
  std::vector<int64_t> dilations =
      attributes.integers("dilations").value_or(std::vector<int64_t>(rank, 1));
  std::vector<int64_t> pads =
      attributes.integers("pads").value_or(std::vector<int64_t>(2 * rank, 0));
  const std::string auto_pad = attributes.text("auto_pad", "NOTSET");
  if (extents.size() != rank || strides.size() != rank || dilations.size() != rank ||
      pads.size() != 2 * rank) {
    malformed_node(
        "kernel_shape, strides, dilations and pads have the rank of the input's space",
        fmt::format("kernel {}, strides {}, dilations {}, pads {} for input {}", to_text(extents),
                    to_text(strides), to_text(dilations), to_text(pads), to_text(in)));
    return false;
  }
  for (size_t i = 0; i < rank; ++i) {
    for (const int64_t v : {extents[i], strides[i], dilations[i]}) {
      if (v < 1 || v > kMaxField) {
        unsupported("kernels, strides and dilations are 1 to 255",
                    fmt::format("kernel {}, strides {}, dilations {}", to_text(extents),
                                to_text(strides), to_text(dilations)));
        return false;
      }
    }
  }
  spatial.clear();
  for (size_t i = 0; i < rank; ++i) {
    const size_t d = i + 2 - rank;  // one dimension: the horizontal one
    window.kernel[d] = extents[i];
    window.stride[d] = strides[i];
    window.dilation[d] = dilations[i];
    const int64_t size = in[i + 2];
    const int64_t span = window.span(static_cast<int>(d));
    int64_t before = pads[i], after = pads[i + rank];
    if (auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER") {
      const int64_t out = (size + strides[i] - 1) / strides[i];
      const int64_t total = std::max<int64_t>(0, (out - 1) * strides[i] + span - size);
      before = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      after = total - before;
    } else if (auto_pad == "VALID") {
      before = after = 0;
    } else if (auto_pad != "NOTSET" && !auto_pad.empty()) {
      malformed_node("auto_pad is NOTSET, VALID, SAME_UPPER or SAME_LOWER", auto_pad);
      return false;
    }
    if (before < 0 || after < 0 || before > kMaxField || after > kMaxField) {
      unsupported("pads are 0 to 255", to_text(pads));
      return false;
    }
    if (pads_below_kernel && (before >= span || after >= span)) {
      unsupported("pads of a pool are smaller than its kernel", to_text(pads));
      return false;
    }
    if (size + before + after < span) {
      malformed_node("the kernel is not larger than the padded input",
                     fmt::format("kernel {}, input {}, pads {}", to_text(extents), to_text(in),
                                 to_text(pads)));
      return false;
    }
    const int64_t room = size + before + after - span;
    int64_t out = room / strides[i] + 1;
    if (ceil_mode) {
      out = (room + strides[i] - 1) / strides[i] + 1;
      if ((out - 1) * strides[i] >= size + before) --out;  // a window only in the end padding
    }
    window.pad_before[d] = before;
    window.pad_after[d] = after;
    spatial.push_back(out);
  }
  return true;
}

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

// Checks a weight tensor's scales and zero points against its channel axis.
static std::string check_weight_quantization(const Weights& weights, size_t channel_axis) {
  const Shape& shape = weights.data->shape;
  if (weights.scales.empty() || weights.zeros.size() != weights.scales.size()) {
    return "weights have one scale and zero point, or one per output channel";
  }
  for (const float scale : weights.scales) {
    if (!std::isfinite(scale) || scale <= 0) return "scales of weights are finite and positive";
  }
  for (const int32_t zero : weights.zeros) {
    const ByteType type = weights.data->byte_type();
    if (zero < byte_low(type) || zero > byte_high(type))
      return "zero points are of the weights' type";
  }
  if (weights.scales.size() == 1) return {};
  if (weights.axis != static_cast<int>(channel_axis) ||
      static_cast<int64_t>(weights.scales.size()) != shape[channel_axis]) {
    return "weights are quantized per tensor or per output channel";
  }
  return {};
}

std::optional<std::vector<int32_t>> Importer::bias_input(const onnx::Node& node, int index,
                                                         float x_scale, const Weights& weights,
                                                         int64_t channels, bool quantized_form) {
  if (!has_input(node, index)) return std::vector<int32_t>{};
  const Tensor* tensor = input(node, index);
  if (tensor == nullptr) return std::nullopt;
  const auto* constant = std::get_if<ConstantTensor>(tensor);
  if (constant == nullptr) {
    unsupported("the bias is a constant", "a computed tensor");
    return std::nullopt;
  }
  const ConstTensor& data = *constant->data;
  const int64_t last = data.shape.empty() ? 1 : data.shape.back();
  const bool fits = data.count() == channels && last == channels;
  if (!fits) {
    unsupported("the bias has one value per output channel",
                fmt::format("{} for {} channels", to_text(data.shape), channels));
    return std::nullopt;
  }
  std::vector<int32_t> out(static_cast<size_t>(channels));
  const auto expected = [&](size_t c) {
    return x_scale * weights.scales[weights.scales.size() == 1 ? 0 : c];
  };
  if (data.type == ConstType::kInt32) {
    if (!quantized_form && constant->scales.empty()) {
      malformed_node("the bias of a float operator is float or DequantizeLinear of int32");
      return std::nullopt;
    }
    for (size_t c = 0; c < out.size(); ++c) {
      out[c] = static_cast<int32_t>(data.ints[c]);
      if (constant->scales.empty()) continue;
      const size_t s = constant->scales.size() == 1 ? 0 : c;
      const float scale = constant->scales[s];
      if (s >= constant->scales.size() || constant->zeros[s] != 0 ||
          std::abs(scale - expected(c)) > expected(c) * 1e-5f) {
        unsupported(
            "the bias has zero point 0 and the scale input scale * weight scale",
            fmt::format("scale {} where {} is expected (channel {})", scale, expected(c), c),
            "Requantize the bias with that scale");
        return std::nullopt;
      }
    }
    return out;
  }
  if (data.type == ConstType::kFloat && !quantized_form) {
    for (size_t c = 0; c < out.size(); ++c) {
      const float stored = std::nearbyintf(data.floats[c] / expected(c));
      if (!(std::abs(stored) < 2147483520.0f)) {
        unsupported("the bias fits in 32 bits at the scale input scale * weight scale",
                    fmt::format("{} (channel {})", data.floats[c], c));
        return std::nullopt;
      }
      out[c] = static_cast<int32_t>(stored);
    }
    return out;
  }
  unsupported("the bias is int32, or float in QDQ form", onnx_type_name(data.onnx_type));
  return std::nullopt;
}

bool Importer::check_scales(float x_scale, const std::vector<float>& w_scales,
                            const OutputQuantization& out) {
  for (const float w : w_scales) {
    const float s = requantization_scale(x_scale, w, out.q.scale);
    if (!std::isfinite(s) || s <= 0) {
      unsupported("input scale * weight scale / output scale is a positive, finite binary32",
                  fmt::format("{} * {} / {}", x_scale, w, out.q.scale));
      return false;
    }
  }
  return true;
}

ValueId Importer::emit_mac(uint32_t source, const MacParts& parts, MacOp mac,
                           const OutputQuantization& out, const Clamp& clamp) {
  if (!check_scales(parts.xq.scale, parts.weights.scales, out)) return kNoValue;
  constant_bytes_ += static_cast<int64_t>(mac.weights.size());
  if (constant_bytes_ > kMaxConstantBytes) {
    unsupported("the constants of a model take at most 4 GiB");
    return kNoValue;
  }
  for (const float w : parts.weights.scales) {
    mac.scales.push_back(requantization_scale(parts.xq.scale, w, out.q.scale));
  }
  mac.weight_type = parts.weights.data->byte_type();
  mac.weight_zeros = parts.weights.zeros;
  if (std::all_of(mac.weight_zeros.begin(), mac.weight_zeros.end(),
                  [&](int32_t z) { return z == mac.weight_zeros[0]; })) {
    mac.weight_zeros.resize(1);
  }
  if (std::all_of(mac.scales.begin(), mac.scales.end(),
                  [&](float s) { return s == mac.scales[0]; })) {
    mac.scales.resize(1);
  }
  mac.bias = parts.bias;
  mac.input_zero = parts.xq.zero;
  mac.output_zero = out.q.zero;
  mac.clamp = clamp;
  mac.mac_type = out.type;
  Value result;
  result.type = out.type;
  result.shape = parts.out_shape;
  result.quantization = out.q;
  return add_op(source, {parts.x}, std::move(result), std::move(mac));
}

ValueId Importer::emit_conv(uint32_t source, const MacParts& parts, const OutputQuantization& out,
                            const Clamp& clamp) {
  MacOp mac;
  mac.window = parts.window;
  mac.groups = parts.groups;
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
  const std::optional<ValueId> x = quantized_input(node, 0);
  const std::optional<OutputQuantization> xq = quantization_inputs(node, 1, 2);
  const std::optional<Weights> w = weight_inputs(node, 3, 4, 5, 0);
  const std::optional<OutputQuantization> yq = quantization_inputs(node, 6, 7);
  if (!x || !xq || !w || !yq) return;
  if (attributes.integer("channels_last", 0) != 0) {
    unsupported("channels come first", "channels_last = 1");
    return;
  }
  MacParts parts;
  parts.x = *x;
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
  if (graph_.value(*x).quantization.scale == 0) graph_.value(*x).quantization = xq->q;
  const Clamp full{byte_low(yq->type), byte_high(yq->type)};
  const ValueId id = emit_conv(source_, parts, *yq, full);
  if (id == kNoValue) return;
  graph_.value(id).name = node.output(0);
  define(node, 0, QuantizedTensor{id});
}

// ---- matrix products ------------------------------------------------------

// x is [..., K]; b is [K, N], or [N, K] if transposed.
bool Importer::matmul_parts(bool transposed, MacParts& parts, Weights& b) {
  const Shape& in = value(parts.x).shape;
  const Shape& w = b.data->shape;
  if (w.size() != 2 || !checked_elements(w)) {
    unsupported("a constant second operand has 2 dimensions", to_text(w));
    return false;
  }
  const int64_t depth = transposed ? w[1] : w[0];
  if (in.empty() || in.back() != depth) {
    malformed_node("the operands' inner dimensions agree",
                   fmt::format("{} times {}", to_text(in), to_text(w)));
    return false;
  }
  if (depth > kMaxDepth) {
    unsupported("the inner dimension is at most 2^24", std::to_string(depth));
    return false;
  }
  if (b.axis < 0) b.axis += 2;
  if (const std::string error = check_weight_quantization(b, transposed ? 0 : 1); !error.empty()) {
    unsupported(error,
                fmt::format("{} scales along axis {} of {}", b.scales.size(), b.axis, to_text(w)));
    return false;
  }
  parts.weights = b;
  parts.out_shape = in;
  parts.out_shape.back() = transposed ? w[0] : w[1];
  if (!checked_elements(parts.out_shape)) {
    unsupported("a tensor has at most 2^36 elements", to_text(parts.out_shape));
    return false;
  }
  return true;
}

ValueId Importer::emit_matmul(uint32_t source, const MacParts& parts, bool transposed,
                              const OutputQuantization& out, const Clamp& clamp) {
  MacOp mac;
  mac.matmul = true;
  const Shape& w = parts.weights.data->shape;
  mac.out_channels = transposed ? w[0] : w[1];
  mac.in_channels = transposed ? w[1] : w[0];
  if (transposed) {
    mac.weights = parts.weights.data->bytes;
  } else {
    mac.weights.resize(parts.weights.data->bytes.size());
    for (int64_t k = 0; k < w[0]; ++k) {
      for (int64_t n = 0; n < w[1]; ++n) {
        mac.weights[static_cast<size_t>(n * w[0] + k)] =
            parts.weights.data->bytes[static_cast<size_t>(k * w[1] + n)];
      }
    }
  }
  return emit_mac(source, parts, std::move(mac), out, clamp);
}

std::optional<Shape> Importer::dynamic_matmul_shape(const Shape& a, const Shape& b) {
  if (a.size() < 2 || a.size() != b.size() || a.back() != b[b.size() - 2] ||
      !std::equal(a.begin(), a.end() - 2, b.begin())) {
    unsupported("two computed operands have equal batch dimensions and agreeing inner ones",
                fmt::format("{} times {}", to_text(a), to_text(b)));
    return std::nullopt;
  }
  Shape out = a;
  out.back() = b.back();
  if (!checked_elements(out) || a.back() > kMaxDepth) {
    unsupported("a tensor has at most 2^36 elements", to_text(out));
    return std::nullopt;
  }
  return out;
}

ValueId Importer::emit_dynamic_matmul(uint32_t source, const RealTensor& a, const RealTensor& b,
                                      const Shape& out_shape, const OutputQuantization& out,
                                      const Clamp& clamp) {
  if (!check_scales(a.q.scale, {b.q.scale}, out)) return kNoValue;
  MacOp mac;
  mac.matmul = true;
  mac.in_channels = value(a.value).shape.back();
  mac.out_channels = out_shape.back();
  mac.weight_type = value(b.value).type;
  mac.weight_zeros = {b.q.zero};
  mac.scales = {requantization_scale(a.q.scale, b.q.scale, out.q.scale)};
  mac.input_zero = a.q.zero;
  mac.output_zero = out.q.zero;
  mac.clamp = clamp;
  mac.mac_type = out.type;
  Value result;
  result.type = out.type;
  result.shape = out_shape;
  result.quantization = out.q;
  return add_op(source, {a.value, b.value}, std::move(result), std::move(mac));
}

void Importer::gemm(const onnx::Node& node, Attributes& attributes) {
  const std::optional<RealTensor> x = real_operand(node, 0);
  std::optional<Weights> b = real_weights(node, 1);
  const bool transposed = attributes.integer("transB", 0) != 0;
  const float alpha = attributes.real("alpha", 1), beta = attributes.real("beta", 1);
  if (attributes.integer("transA", 0) != 0 || alpha != 1 || (beta != 1 && has_input(node, 2))) {
    unsupported(
        "alpha and beta are 1 and transA is 0",
        fmt::format("alpha {}, beta {}, transA {}", alpha, beta, attributes.integer("transA", 0)));
  }
  if (!x || !b || node_failed_) return;
  MacParts parts;
  parts.x = x->value;
  parts.xq = x->q;
  if (value(parts.x).shape.size() != 2) {
    malformed_node("the operands of Gemm have 2 dimensions", to_text(value(parts.x).shape));
    return;
  }
  if (!matmul_parts(transposed, parts, *b)) return;
  std::optional<std::vector<int32_t>> bias =
      bias_input(node, 2, parts.xq.scale, parts.weights, parts.out_shape.back(), false);
  if (!bias) return;
  parts.bias = std::move(*bias);
  auto pending = std::make_shared<Pending>();
  pending->source = source_;
  pending->shape = parts.out_shape;
  pending->emit = [this, parts, transposed, source = source_](const OutputQuantization& out,
                                                              const Clamp& clamp) {
    return emit_matmul(source, parts, transposed, out, clamp);
  };
  RealTensor result;
  result.shape = parts.out_shape;
  result.pending = std::move(pending);
  define(node, 0, std::move(result));
}

void Importer::matmul(const onnx::Node& node, Attributes&) {
  const std::optional<RealTensor> a = real_operand(node, 0);
  if (!a) return;
  const Tensor* second = input(node, 1);
  if (second == nullptr) return;
  auto pending = std::make_shared<Pending>();
  pending->source = source_;
  if (std::holds_alternative<ConstantTensor>(*second)) {
    std::optional<Weights> b = real_weights(node, 1);
    if (!b) return;
    MacParts parts;
    parts.x = a->value;
    parts.xq = a->q;
    if (!matmul_parts(false, parts, *b)) return;
    pending->shape = parts.out_shape;
    pending->emit = [this, parts, source = source_](const OutputQuantization& out,
                                                    const Clamp& clamp) {
      return emit_matmul(source, parts, false, out, clamp);
    };
  } else {
    const std::optional<RealTensor> b = real_operand(node, 1);
    if (!b) return;
    const std::optional<Shape> shape = dynamic_matmul_shape(a->shape, b->shape);
    if (!shape) return;
    pending->shape = *shape;
    pending->emit = [this, a = *a, b = *b, shape = *shape, source = source_](
                        const OutputQuantization& out, const Clamp& clamp) {
      return emit_dynamic_matmul(source, a, b, shape, out, clamp);
    };
  }
  RealTensor result;
  result.shape = pending->shape;
  result.pending = std::move(pending);
  define(node, 0, std::move(result));
}

void Importer::qlinear_matmul(const onnx::Node& node, Attributes&) {
  const std::optional<ValueId> a = quantized_input(node, 0);
  const std::optional<OutputQuantization> aq = quantization_inputs(node, 1, 2);
  const std::optional<OutputQuantization> yq = quantization_inputs(node, 6, 7);
  const Tensor* second = a && aq && yq ? input(node, 3) : nullptr;
  if (second == nullptr) return;
  const Clamp full{byte_low(yq->type), byte_high(yq->type)};
  ValueId id = kNoValue;
  if (std::holds_alternative<ConstantTensor>(*second)) {
    std::optional<Weights> b = weight_inputs(node, 3, 4, 5, 1);
    if (!b) return;
    MacParts parts;
    parts.x = *a;
    parts.xq = aq->q;
    if (!matmul_parts(false, parts, *b)) return;
    id = emit_matmul(source_, parts, false, *yq, full);
  } else {
    const std::optional<ValueId> b = quantized_input(node, 3);
    const std::optional<OutputQuantization> bq = quantization_inputs(node, 4, 5);
    if (!b || !bq) return;
    const std::optional<Shape> shape = dynamic_matmul_shape(value(*a).shape, value(*b).shape);
    if (!shape) return;
    RealTensor left, right;
    left.value = *a;
    left.q = aq->q;
    right.value = *b;
    right.q = bq->q;
    id = emit_dynamic_matmul(source_, left, right, *shape, *yq, full);
  }
  if (graph_.value(*a).quantization.scale == 0) graph_.value(*a).quantization = aq->q;
  if (id == kNoValue) return;
  graph_.value(id).name = node.output(0);
  define(node, 0, QuantizedTensor{id});
}

// A, a_scale, a_zero, B, b_scale, b_zero, C, y_scale, y_zero.
void Importer::qgemm(const onnx::Node& node, Attributes& attributes) {
  const std::optional<ValueId> x = quantized_input(node, 0);
  const std::optional<OutputQuantization> xq = quantization_inputs(node, 1, 2);
  const bool transposed = attributes.integer("transB", 0) != 0;
  std::optional<Weights> b = weight_inputs(node, 3, 4, 5, transposed ? 0 : 1);
  if (attributes.integer("transA", 0) != 0 || attributes.real("alpha", 1) != 1) {
    unsupported("alpha is 1 and transA is 0");
  }
  if (!has_input(node, 7)) {
    unsupported("QGemm has an output scale: float results are not computed on the card");
  }
  if (!x || !xq || !b || node_failed_) return;
  const std::optional<OutputQuantization> yq = quantization_inputs(node, 7, 8);
  if (!yq) return;
  MacParts parts;
  parts.x = *x;
  parts.xq = xq->q;
  if (value(*x).shape.size() != 2) {
    malformed_node("the operands of QGemm have 2 dimensions", to_text(value(*x).shape));
    return;
  }
  if (!matmul_parts(transposed, parts, *b)) return;
  std::optional<std::vector<int32_t>> bias =
      bias_input(node, 6, parts.xq.scale, parts.weights, parts.out_shape.back(), true);
  if (!bias) return;
  parts.bias = std::move(*bias);
  if (graph_.value(*x).quantization.scale == 0) graph_.value(*x).quantization = xq->q;
  const Clamp full{byte_low(yq->type), byte_high(yq->type)};
  const ValueId id = emit_matmul(source_, parts, transposed, *yq, full);
  if (id == kNoValue) return;
  graph_.value(id).name = node.output(0);
  define(node, 0, QuantizedTensor{id});
}

}  // namespace npu::compiler
