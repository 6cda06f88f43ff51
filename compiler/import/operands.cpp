// SPDX-License-Identifier: MIT
//
// Reading a node's operands and attributes, and making operators of the graph.
#include <fmt/format.h>

#include <cmath>

#include "compiler/import/importer.h"
#include "compiler/onnx/fold.h"

namespace npu::compiler {
namespace {

bool usable_scale(float scale) {
  return std::isfinite(scale) && scale > 0;
}

std::optional<std::vector<int32_t>> zero_points(const ConstTensor& tensor) {
  std::vector<int32_t> out;
  if (tensor.is_byte()) {
    for (const uint8_t byte : tensor.bytes) out.push_back(byte_value(tensor.byte_type(), byte));
  } else if (tensor.type == ConstType::kInt32) {
    for (const int64_t value : tensor.ints) out.push_back(static_cast<int32_t>(value));
  } else {
    return std::nullopt;
  }
  return out;
}

}  // namespace

bool Importer::has_input(const onnx::Node& node, int index) const {
  return index < node.input_size() && !node.input(index).empty();
}

const Tensor* Importer::input(const onnx::Node& node, int index) {
  if (!has_input(node, index)) {
    malformed_node(fmt::format("input {} is missing", index));
    return nullptr;
  }
  const auto it = tensors_.find(node.input(index));
  if (it == tensors_.end()) {
    malformed_node(fmt::format("nothing produces input '{}'", node.input(index)));
    return nullptr;
  }
  return &it->second;
}

void Importer::define(const onnx::Node& node, int index, Tensor tensor) {
  if (index >= node.output_size() || node.output(index).empty()) {
    malformed_node(fmt::format("output {} has no name", index));
    return;
  }
  tensors_[node.output(index)] = std::move(tensor);
}

std::optional<ValueId> Importer::quantized_input(const onnx::Node& node, int index, int zero) {
  const Tensor* tensor = input(node, index);
  if (tensor == nullptr) return std::nullopt;
  std::optional<ValueId> id;
  if (const auto* quantized = std::get_if<QuantizedTensor>(tensor)) {
    id = quantized->value;
  } else if (const auto* constant = std::get_if<ConstantTensor>(tensor);
             constant != nullptr && constant->scales.empty() && constant->data->is_byte()) {
    Quantization ignored;
    id = constant_value(*constant, ignored);
  } else {
    unsupported(fmt::format("input {} is an 8-bit tensor", index), "a float tensor");
  }
  if (!id || zero < 0 || !has_input(node, zero)) return id;
  const ConstTensor* z = constant_input(node, zero, "a zero point");
  if (z == nullptr) return std::nullopt;
  if (!z->is_byte() || z->byte_type() != value(*id).type) {
    malformed_node(
        fmt::format("input {} and its zero point, input {}, have one type", index, zero));
    return std::nullopt;
  }
  return id;
}

const ConstTensor* Importer::constant_input(const onnx::Node& node, int index, const char* what) {
  const Tensor* tensor = input(node, index);
  if (tensor == nullptr) return nullptr;
  const auto* constant = std::get_if<ConstantTensor>(tensor);
  if (constant == nullptr || !constant->scales.empty()) {
    unsupported(fmt::format("{} is a constant", what), "a computed tensor",
                "Simplify the model (constant folding) first");
    return nullptr;
  }
  return constant->data.get();
}

std::optional<std::vector<int64_t>> Importer::integer_list(const onnx::Node& node, int index,
                                                           const char* what) {
  const ConstTensor* tensor = constant_input(node, index, what);
  if (tensor == nullptr) return std::nullopt;
  if (tensor->type != ConstType::kInt64 && tensor->type != ConstType::kInt32) {
    malformed_node(fmt::format("{} is a list of integers", what),
                   onnx_type_name(tensor->onnx_type));
    return std::nullopt;
  }
  return tensor->ints;
}

std::optional<float> Importer::scalar_input(const onnx::Node& node, int index, const char* what) {
  const ConstTensor* tensor = constant_input(node, index, what);
  if (tensor == nullptr) return std::nullopt;
  if (tensor->type != ConstType::kFloat || tensor->floats.size() != 1) {
    unsupported(fmt::format("{} is one float", what),
                fmt::format("{} {}", onnx_type_name(tensor->onnx_type), to_text(tensor->shape)));
    return std::nullopt;
  }
  return tensor->floats[0];
}

std::optional<OutputQuantization> Importer::quantization_inputs(const onnx::Node& node, int scale,
                                                                int zero) {
  const std::optional<float> s = scalar_input(node, scale, "the scale of an activation");
  if (!s) return std::nullopt;
  if (!usable_scale(*s)) {
    malformed_node("a scale is finite and positive", fmt::format("{}", *s));
    return std::nullopt;
  }
  OutputQuantization out;
  out.q.scale = *s;
  if (has_input(node, zero)) {
    const ConstTensor* z = constant_input(node, zero, "a zero point");
    if (z == nullptr) return std::nullopt;
    if (!z->is_byte() || z->bytes.size() != 1) {
      unsupported("an activation is uint8 or int8 with one zero point",
                  fmt::format("{} {}", onnx_type_name(z->onnx_type), to_text(z->shape)));
      return std::nullopt;
    }
    out.type = z->byte_type();
    out.q.zero = byte_value(out.type, z->bytes[0]);
  }
  return out;
}

std::optional<Weights> Importer::weight_inputs(const onnx::Node& node, int data, int scale,
                                               int zero, int axis) {
  const Tensor* tensor = input(node, data);
  if (tensor == nullptr) return std::nullopt;
  const auto* constant = std::get_if<ConstantTensor>(tensor);
  if (constant == nullptr || !constant->scales.empty() || !constant->data->is_byte()) {
    unsupported("the weights are a constant int8 or uint8 tensor", "something else");
    return std::nullopt;
  }
  Weights out;
  out.data = constant->data;
  out.axis = axis;
  const ConstTensor* scales = constant_input(node, scale, "the scale of the weights");
  if (scales == nullptr) return std::nullopt;
  out.scales = scales->floats;
  if (has_input(node, zero)) {
    const ConstTensor* zeros = constant_input(node, zero, "the zero point of the weights");
    if (zeros == nullptr) return std::nullopt;
    std::optional<std::vector<int32_t>> values = zero_points(*zeros);
    if (!values || zeros->type != out.data->type) {
      malformed_node("zero points have the weights' type", onnx_type_name(zeros->onnx_type));
      return std::nullopt;
    }
    out.zeros = std::move(*values);
  } else {
    out.zeros.assign(1, 0);
  }
  if (out.zeros.size() == 1) out.zeros.resize(std::max<size_t>(out.scales.size(), 1), out.zeros[0]);
  return out;
}

std::optional<RealTensor> Importer::real_operand(const onnx::Node& node, int index) {
  const Tensor* tensor = input(node, index);
  if (tensor == nullptr) return std::nullopt;
  if (const auto* real = std::get_if<RealTensor>(tensor)) {
    if (real->value != kNoValue) return *real;
    unsupported(
        fmt::format("input {} comes from DequantizeLinear", index),
        real->graph_input >= 0 ? "a float graph input" : "a float intermediate result",
        "Put QuantizeLinear and DequantizeLinear around every operator's input, or quantize the "
        "model with --calibrate");
    return std::nullopt;
  }
  if (const auto* constant = std::get_if<ConstantTensor>(tensor);
      constant != nullptr && constant->scales.size() == 1 && constant->data->is_byte()) {
    RealTensor real;
    const std::optional<ValueId> id = constant_value(*constant, real.q);
    if (!id) return std::nullopt;
    real.value = *id;
    real.shape = value(*id).shape;
    return real;
  }
  unsupported(
      fmt::format("input {} comes from DequantizeLinear", index),
      std::holds_alternative<QuantizedTensor>(*tensor) ? "an 8-bit tensor" : "a float constant",
      "Quantize it with one scale");
  return std::nullopt;
}

std::optional<Weights> Importer::real_weights(const onnx::Node& node, int index) {
  const Tensor* tensor = input(node, index);
  if (tensor == nullptr) return std::nullopt;
  const auto* constant = std::get_if<ConstantTensor>(tensor);
  if (constant == nullptr || constant->scales.empty() || !constant->data->is_byte()) {
    unsupported("the weights are DequantizeLinear of an int8 or uint8 constant",
                constant != nullptr ? "a float constant" : "a computed tensor",
                "Quantize the weights, per tensor or per output channel");
    return std::nullopt;
  }
  return Weights{constant->data, constant->scales, constant->zeros, constant->axis};
}

std::optional<std::vector<float>> Importer::real_constant(const onnx::Node& node, int index,
                                                          const char* what) {
  const Tensor* tensor = input(node, index);
  if (tensor == nullptr) return std::nullopt;
  const auto* constant = std::get_if<ConstantTensor>(tensor);
  if (constant == nullptr) {
    unsupported(fmt::format("{} is a constant", what), "a computed tensor",
                "Simplify the model (constant folding) first");
    return std::nullopt;
  }
  const ConstTensor& data = *constant->data;
  if (constant->scales.empty()) {
    if (data.type == ConstType::kFloat) return data.floats;
    malformed_node(fmt::format("{} is float", what), onnx_type_name(data.onnx_type));
    return std::nullopt;
  }
  // DequantizeLinear has checked that scales, axis and type fit.
  int64_t inner = 1;
  for (size_t i = static_cast<size_t>(constant->axis) + 1; i < data.shape.size(); ++i)
    inner *= data.shape[i];
  std::vector<float> out(static_cast<size_t>(data.count()));
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t s =
        constant->scales.size() == 1 ? 0 : i / static_cast<size_t>(inner) % constant->scales.size();
    const int64_t stored =
        data.is_byte() ? byte_value(data.byte_type(), data.bytes[i]) : data.ints[i];
    out[i] = static_cast<float>(stored - constant->zeros[s]) * constant->scales[s];
  }
  return out;
}

bool Importer::count_constant(uint64_t bytes) {
  constant_bytes_ += bytes;
  if (constant_bytes_ <= kMaxConstantBytes) return true;
  unsupported("the constants of a model take at most 4 GiB");
  return false;
}

std::optional<ValueId> Importer::constant_value(const ConstantTensor& constant, Quantization& q) {
  Value value;
  value.name = fresh_name();
  value.type = constant.data->byte_type();
  value.shape = constant.data->shape;
  if (!checked_elements(value.shape)) {
    malformed_node("a constant operand has elements", to_text(value.shape));
    return std::nullopt;
  }
  if (!constant.scales.empty()) {
    q = {constant.scales[0], constant.zeros[0]};
    value.quantization = q;
  }
  value.constant = constant.data->bytes;
  if (!count_constant(value.constant.size())) return std::nullopt;
  return graph_.add_value(std::move(value));
}

std::string Importer::fresh_name() {
  return fmt::format("tensor_{}", graph_.values.size());
}

ValueId Importer::add_op(uint32_t source, std::vector<ValueId> inputs, Value output,
                         OpDetail detail) {
  if (output.name.empty()) output.name = fresh_name();
  Op op;
  op.source = source;
  op.inputs = std::move(inputs);
  op.output = graph_.add_value(std::move(output));
  op.detail = std::move(detail);
  graph_.ops.push_back(std::move(op));
  return graph_.ops.back().output;
}

ValueId Importer::add_view(uint32_t source, ValueId x, const Shape& shape, OpDetail detail) {
  Value result;
  result.type = value(x).type;
  result.shape = shape;
  result.quantization = value(x).quantization;
  return add_op(source, {x}, std::move(result), std::move(detail));
}

ValueId Importer::emit_lut(uint32_t source, ValueId input, const Lut& table,
                           const OutputQuantization& out) {
  Value result;
  result.type = out.type;
  result.shape = value(input).shape;
  result.quantization = out.q;
  return add_op(source, {input}, std::move(result), LutOp{table});
}

ValueId Importer::emit_clamp(uint32_t source, ValueId input, const Clamp& clamp) {
  if (input == kNoValue) return input;
  const ByteType type = value(input).type;
  if (clamp.low <= byte_low(type) && clamp.high >= byte_high(type)) return input;
  Lut table;
  for (int byte = 0; byte < 256; ++byte) {
    const int stored = byte_value(type, static_cast<uint8_t>(byte));
    table[static_cast<size_t>(byte)] =
        static_cast<uint8_t>(std::min(std::max(stored, clamp.low), clamp.high));
  }
  return emit_lut(source, input, table, {value(input).quantization, type});
}

void Importer::define_pending(
    const onnx::Node& node, const Shape& shape,
    std::function<ValueId(const OutputQuantization&, const Clamp&)> emit) {
  auto pending = std::make_shared<Pending>();
  pending->source = source_;
  pending->shape = shape;
  pending->emit = std::move(emit);
  RealTensor result;
  result.shape = shape;
  result.pending = std::move(pending);
  define(node, 0, std::move(result));
}

ValueId Importer::materialize(const Pending& pending, const OutputQuantization& out) {
  ValueId id = kNoValue;
  if (pending.emit) {
    OutputQuantization unscaled = out;
    unscaled.q.scale = out.q.scale * pending.divided_by / pending.times;
    if (!usable_scale(unscaled.q.scale)) {
      unsupported("output scale / constant factors is a positive, finite binary32",
                  fmt::format("{} * {} / {}", out.q.scale, pending.divided_by, pending.times));
      return kNoValue;
    }
    const size_t before = graph_.values.size();
    id = pending.emit(unscaled, quantize_clamp(pending.low, pending.high, out));
    if (id == kNoValue) return id;
    if (unscaled.q.scale != out.q.scale) {
      if (id < before) id = add_view(pending.source, id, value(id).shape, ReshapeOp{});
      graph_.value(id).quantization = out.q;
    }
  } else {
    id = emit_lut(pending.source, pending.unary_value,
                  tabulate(clamped(*pending.table, pending.low, pending.high), out), out);
  }
  for (const FollowUp& step : pending.after) {
    if (id != kNoValue) id = step.emit(id, step.fill);
  }
  return id;
}

}  // namespace npu::compiler
