// SPDX-License-Identifier: MIT
//
// What convolutions and products share: windows, weights, biases, scales.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compiler/import/importer.h"

namespace npu::compiler {
namespace {

constexpr int64_t kMaxField = 255;  // kernels, strides, dilations, pads of a command

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

// Checks a weight tensor's scales and zero points against its channel axis.
std::string check_weight_quantization(const Weights& weights, size_t channel_axis) {
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
  if (!quantized_form && (data.type == ConstType::kFloat || data.is_byte())) {
    const std::optional<std::vector<float>> real = real_constant(node, index, "the bias");
    if (!real) return std::nullopt;
    for (size_t c = 0; c < out.size(); ++c) {
      const float stored = std::nearbyintf((*real)[c] / expected(c));
      if (!(std::abs(stored) < 2147483520.0f)) {
        unsupported("the bias fits in 32 bits at the scale input scale * weight scale",
                    fmt::format("{} (channel {})", (*real)[c], c));
        return std::nullopt;
      }
      out[c] = static_cast<int32_t>(stored);
    }
    return out;
  }
  unsupported("the bias is int32, or in QDQ form float or 8-bit", onnx_type_name(data.onnx_type));
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
  if (!count_constant(mac.weights.size())) return kNoValue;
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

}  // namespace npu::compiler
