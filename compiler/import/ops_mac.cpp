// SPDX-License-Identifier: MIT
//
// What convolutions and products share: windows, weights, biases, scales.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compiler/import/importer.h"

namespace npu::compiler {
bool Importer::window_attributes(Attributes& attributes, const Shape& in, const Shape& kernel,
                                 bool ceil_mode, bool pads_below_kernel, Window& window,
                                 Shape& spatial) {
  RuleBreak broken;
  if (read_window(attributes, in, kernel, ceil_mode, pads_below_kernel, window, spatial, broken))
    return true;
  broken_rule(broken);
  return false;
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
