// SPDX-License-Identifier: MIT
//
// QuantizeLinear and DequantizeLinear, and the arithmetic of quantization at
// compile time (docs/numerics.md).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "arch/numerics.h"
#include "compiler/import/importer.h"

namespace npu::compiler {
namespace {

bool usable(const std::vector<float>& scales) {
  return !scales.empty() && std::all_of(scales.begin(), scales.end(),
                                        [](float s) { return std::isfinite(s) && s > 0; });
}

// Weights given in float before a QuantizeLinear: quantized here.
std::optional<ConstTensor> fold_quantize(const ConstTensor& real, const std::vector<float>& scales,
                                         const std::vector<int32_t>& zeros, ByteType type,
                                         int64_t axis) {
  ConstTensor out;
  out.type = type == ByteType::kInt8 ? ConstType::kInt8 : ConstType::kUint8;
  out.onnx_type = type == ByteType::kInt8 ? onnx::Tensor::INT8 : onnx::Tensor::UINT8;
  out.shape = real.shape;
  int64_t inner = 1;
  for (size_t i = static_cast<size_t>(axis) + 1; i < real.shape.size(); ++i) inner *= real.shape[i];
  const int64_t channels = static_cast<int64_t>(scales.size());
  out.bytes.resize(real.floats.size());
  for (size_t i = 0; i < out.bytes.size(); ++i) {
    const size_t c =
        channels == 1 ? 0 : static_cast<size_t>(static_cast<int64_t>(i) / inner % channels);
    out.bytes[i] = static_cast<uint8_t>(
        quantize_value(real.floats[i], {scales[c], zeros[c % zeros.size()]}, type));
  }
  return out;
}

}  // namespace

float requantization_scale(float x_scale, float w_scale, float y_scale) {
  const float product = x_scale * w_scale;
  return product / y_scale;
}

int quantize_value(float value, const Quantization& q, ByteType type) {
  const float low = static_cast<float>(byte_low(type) - q.zero);
  const float high = static_cast<float>(byte_high(type) - q.zero);
  return static_cast<int>(std::nearbyintf(arch::clamp_f32(value / q.scale, low, high))) + q.zero;
}

Clamp quantize_clamp(float low, float high, const OutputQuantization& out) {
  Clamp clamp{byte_low(out.type), byte_high(out.type)};
  if (low > -std::numeric_limits<float>::infinity())
    clamp.low = quantize_value(low, out.q, out.type);
  if (high < std::numeric_limits<float>::infinity()) {
    clamp.high = quantize_value(high, out.q, out.type);
  }
  clamp.high = std::max(clamp.low, clamp.high);
  return clamp;
}

// Rational approximation with the coefficients of Eigen's plogistic, evaluated
// with fused multiply-adds as the runtime's kernel does.
float logistic(float x) {
  constexpr float kAlpha[] = {4.37031012579801e-11f, 1.15627324459942e-07f, 6.08574864600143e-05f,
                              8.51377133304701e-03f, 2.48287947061529e-01f};
  constexpr float kBeta[] = {6.10247389755681e-13f, 5.76102136993427e-09f, 6.29106785017040e-06f,
                             1.70198817374094e-03f, 1.16817656904453e-01f, 9.93151921023180e-01f};
  const float v = std::clamp(x, -18.0f, 18.0f);
  const float squared = v * v;
  float p = kAlpha[0];
  for (size_t i = 1; i < std::size(kAlpha); ++i) p = std::fma(p, squared, kAlpha[i]);
  float q = kBeta[0];
  for (size_t i = 1; i < std::size(kBeta); ++i) q = std::fma(q, squared, kBeta[i]);
  const float product = p * v;
  return std::clamp(product / q + 0.5f, 0.0f, 1.0f);
}

// The same scheme: Eigen's coefficients, fused multiply-adds. A correctly rounded
// tanh gives another byte in about 1 of 30,000 table entries.
float hyperbolic_tangent(float x) {
  constexpr float kAlpha[] = {-2.76076847742355e-16f, 2.00018790482477e-13f, -8.60467152213735e-11f,
                              5.12229709037114e-08f,  1.48572235717979e-05f, 6.37261928875436e-04f,
                              4.89352455891786e-03f};
  constexpr float kBeta[] = {1.19825839466702e-06f, 1.18534705686654e-04f, 2.26843463243900e-03f,
                             4.89352518554385e-03f};
  const float v = std::clamp(x, -9.0f, 9.0f);
  const float squared = v * v;
  float p = kAlpha[0];
  for (size_t i = 1; i < std::size(kAlpha); ++i) p = std::fma(p, squared, kAlpha[i]);
  float q = kBeta[0];
  for (size_t i = 1; i < std::size(kBeta); ++i) q = std::fma(q, squared, kBeta[i]);
  const float product = p * v;
  return product / q;
}

RealTable dequantized(const Quantization& q, ByteType type) {
  RealTable out;
  for (size_t byte = 0; byte < out.size(); ++byte)
    out[byte] = static_cast<float>(byte_value(type, static_cast<uint8_t>(byte)) - q.zero) * q.scale;
  return out;
}

RealTable clamped(RealTable table, float low, float high) {
  for (float& real : table) real = std::min(std::max(real, low), high);
  return table;
}

Lut tabulate(const RealTable& table, const OutputQuantization& to) {
  Lut out;
  for (size_t byte = 0; byte < out.size(); ++byte)
    out[byte] = static_cast<uint8_t>(quantize_value(table[byte], to.q, to.type));
  return out;
}

ValueId Importer::requantize(uint32_t source, ValueId id, const Quantization& from,
                             const OutputQuantization& to) {
  if (value(id).type == to.type && from == to.q) return id;
  return emit_lut(source, id, tabulate(dequantized(from, value(id).type), to), to);
}

void Importer::quantize_linear(const onnx::Node& node, Attributes& attributes) {
  int64_t axis = attributes.integer("axis", 1);
  attributes.ignore("saturate");  // of float8 types only
  if (attributes.integer("block_size", 0) != 0) {
    unsupported("blocked quantization is not supported");
    return;
  }
  const int64_t output_type = attributes.integer("output_dtype", 0);
  attributes.ignore("precision");
  const Tensor* tensor = input(node, 0);
  if (tensor == nullptr) return;

  if (const auto* constant = std::get_if<ConstantTensor>(tensor)) {
    const ConstTensor* scale = constant_input(node, 1, "the scale");
    if (scale == nullptr) return;
    ByteType type = output_type == onnx::Tensor::INT8 ? ByteType::kInt8 : ByteType::kUint8;
    std::vector<int32_t> zeros{0};
    if (has_input(node, 2)) {
      const ConstTensor* z = constant_input(node, 2, "the zero point");
      if (z == nullptr) return;
      if (!z->is_byte() || z->bytes.empty()) {
        unsupported("QuantizeLinear makes uint8 or int8", onnx_type_name(z->onnx_type));
        return;
      }
      type = z->byte_type();
      zeros.clear();
      for (const uint8_t byte : z->bytes) zeros.push_back(byte_value(type, byte));
    }
    const ConstTensor& data = *constant->data;
    if (axis < 0) axis += static_cast<int64_t>(data.shape.size());
    const bool per_axis = scale->floats.size() > 1;
    const bool axis_fits =
        !per_axis ||
        (axis >= 0 && axis < static_cast<int64_t>(data.shape.size()) &&
         data.shape[static_cast<size_t>(axis)] == static_cast<int64_t>(scale->floats.size()));
    if (data.type != ConstType::kFloat || !constant->scales.empty() || !usable(scale->floats) ||
        !axis_fits || (zeros.size() != 1 && zeros.size() != scale->floats.size())) {
      unsupported(
          "a constant is quantized from float with one scale, or one per element of the axis",
          fmt::format("{} {}, {} scales, {} zero points", onnx_type_name(data.onnx_type),
                      to_text(data.shape), scale->floats.size(), zeros.size()));
      return;
    }
    std::optional<ConstTensor> folded =
        fold_quantize(data, scale->floats, zeros, type, per_axis ? axis : 0);
    ConstantTensor out;
    out.data = std::make_shared<const ConstTensor>(std::move(*folded));
    define(node, 0, std::move(out));
    return;
  }

  std::optional<OutputQuantization> out = quantization_inputs(node, 1, 2);
  if (!out) return;
  if (!has_input(node, 2) && output_type != 0) {
    if (output_type != onnx::Tensor::INT8 && output_type != onnx::Tensor::UINT8) {
      unsupported("QuantizeLinear makes uint8 or int8",
                  onnx_type_name(static_cast<int>(output_type)));
      return;
    }
    out->type = output_type == onnx::Tensor::INT8 ? ByteType::kInt8 : ByteType::kUint8;
  }
  const auto* real = std::get_if<RealTensor>(tensor);
  if (real == nullptr) {
    malformed_node("QuantizeLinear takes a float tensor", "an 8-bit tensor");
    return;
  }
  if (real->graph_input >= 0) {
    FloatInput& entry = float_inputs_[static_cast<size_t>(real->graph_input)];
    if (entry.value == kNoValue) {
      Value quantized;
      quantized.name = entry.name;
      quantized.type = out->type;
      quantized.shape = entry.shape;
      quantized.quantization = out->q;
      entry.value = graph_.add_value(std::move(quantized));
      graph_.inputs[entry.position] = entry.value;
    } else if (value(entry.value).type != out->type ||
               !(value(entry.value).quantization == out->q)) {
      unsupported("a float graph input is quantized once, or always alike", "two quantizations",
                  "Requantize from the first one, or give the model two inputs");
      return;
    }
    define(node, 0, QuantizedTensor{entry.value});
    return;
  }
  if (real->value != kNoValue) {
    define(node, 0, QuantizedTensor{requantize(source_, real->value, real->q, *out)});
    return;
  }
  const ValueId id = materialize(*real->pending, *out);
  if (id == kNoValue) {
    node_failed_ = true;
    return;
  }
  Value& made = graph_.value(id);
  if (made.name.starts_with("tensor_")) made.name = node.output(0);
  define(node, 0, QuantizedTensor{id});
}

void Importer::dequantize_linear(const onnx::Node& node, Attributes& attributes) {
  int64_t axis = attributes.integer("axis", 1);
  attributes.ignore("output_dtype");
  if (attributes.integer("block_size", 0) != 0) {
    unsupported("blocked quantization is not supported");
    return;
  }
  const Tensor* tensor = input(node, 0);
  if (tensor == nullptr) return;
  if (const auto* quantized = std::get_if<QuantizedTensor>(tensor)) {
    const std::optional<OutputQuantization> q = quantization_inputs(node, 1, 2);
    if (!q) return;
    Value& source = graph_.value(quantized->value);
    if (has_input(node, 2) && source.type != q->type) {
      malformed_node("data and zero point of DequantizeLinear have one type");
      return;
    }
    if (source.quantization.scale == 0) source.quantization = q->q;
    RealTensor real;
    real.shape = source.shape;
    real.value = quantized->value;
    real.q = q->q;
    define(node, 0, std::move(real));
    return;
  }
  const auto* constant = std::get_if<ConstantTensor>(tensor);
  if (constant == nullptr || !constant->scales.empty()) {
    malformed_node("DequantizeLinear takes an 8-bit tensor or a constant", "a float tensor");
    return;
  }
  const ConstTensor& data = *constant->data;
  if (!data.is_byte() && data.type != ConstType::kInt32) {
    unsupported("DequantizeLinear takes uint8, int8 or int32", onnx_type_name(data.onnx_type));
    return;
  }
  const ConstTensor* scale = constant_input(node, 1, "the scale");
  if (scale == nullptr) return;
  if (scale->type != ConstType::kFloat) {
    unsupported("scales are float", onnx_type_name(scale->onnx_type));
    return;
  }
  if (!usable(scale->floats)) {
    malformed_node("scales are finite and positive");
    return;
  }
  ConstantTensor out;
  out.data = constant->data;
  out.scales = scale->floats;
  out.zeros.assign(out.scales.size(), 0);
  if (has_input(node, 2)) {
    const ConstTensor* z = constant_input(node, 2, "the zero point");
    if (z == nullptr) return;
    std::vector<int32_t> zeros;
    if (z->is_byte() && z->type == data.type) {
      for (const uint8_t byte : z->bytes) zeros.push_back(byte_value(z->byte_type(), byte));
    } else if (z->type == ConstType::kInt32 && data.type == ConstType::kInt32) {
      for (const int64_t v : z->ints) zeros.push_back(static_cast<int32_t>(v));
    }
    if (zeros.size() != out.scales.size()) {
      malformed_node("scales and zero points of DequantizeLinear agree in number and type",
                     fmt::format("{} scales, {} zero points of {}", out.scales.size(), zeros.size(),
                                 onnx_type_name(z->onnx_type)));
      return;
    }
    out.zeros = std::move(zeros);
  }
  const int64_t rank = static_cast<int64_t>(data.shape.size());
  if (axis < 0) axis += rank;
  if (out.scales.size() > 1 &&
      (axis < 0 || axis >= rank ||
       data.shape[static_cast<size_t>(axis)] != static_cast<int64_t>(out.scales.size()))) {
    malformed_node(
        "there is one scale per element of the axis",
        fmt::format("{} scales, axis {} of {}", out.scales.size(), axis, to_text(data.shape)));
    return;
  }
  out.axis = static_cast<int>(axis);
  define(node, 0, std::move(out));
}

}  // namespace npu::compiler
