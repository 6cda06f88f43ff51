// SPDX-License-Identifier: MIT
#include "compiler/calibrate/rewrite.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compiler/onnx/attributes.h"
#include "compiler/onnx/model.h"

namespace npu::compiler {
namespace {

constexpr int64_t kOldestIr = 8;  // of operator set 17; from 4 on constants are no inputs

class Rewriter {
 public:
  Rewriter(const FloatModel& model, const QuantizationPlan& plan,
           const std::vector<OutputQuantization>& quantizations, Diagnostics& diagnostics)
      : model_(model),
        plan_(plan),
        quantizations_(quantizations),
        diagnostics_(diagnostics),
        names_(model.names) {}

  std::optional<QdqModel> run(const std::function<void()>& poll) {
    out_ = model_.header;
    out_.set_ir_version(std::max(out_.ir_version(), kOldestIr));
    out_.set_producer_name("npu-compile");
    for (onnx::OperatorSet& set : *out_.mutable_opset_import()) {
      if (set.domain().empty() || set.domain() == "ai.onnx") set.set_version(model_.opset);
    }
    drop_constant_inputs();
    result_.stored.resize(plan_.tensors.size());
    for (const FloatModel::Input& input : model_.inputs) quantize(input.name, input.name);
    for (size_t i = 0; i < model_.nodes.size(); ++i) {
      poll();
      rewrite(i);
    }
    if (out_.ByteSizeLong() > INT32_MAX || !out_.SerializeToString(&result_.file)) {
      diagnostics_.malformed("a quantized model is smaller than 2 GiB");
      return std::nullopt;
    }
    return std::move(result_);
  }

 private:
  onnx::Graph& graph() { return *out_.mutable_graph(); }

  void drop_constant_inputs() {
    auto& inputs = *graph().mutable_input();
    for (int i = inputs.size(); i-- > 0;) {
      if (model_.is_constant(inputs[i].name())) inputs.DeleteSubrange(i, 1);
    }
  }

  onnx::Node& node(const std::string& type, const std::vector<std::string>& inputs,
                   const std::string& output) {
    onnx::Node& made = *graph().add_node();
    made.set_op_type(type);
    made.set_name(output + "_" + type);
    for (const std::string& name : inputs) made.add_input(name);
    made.add_output(output);
    return made;
  }

  template <typename T>
  std::string constant(const std::string& stem, int type, const Shape& shape,
                       const std::vector<T>& values) {
    onnx::Tensor& tensor = *graph().add_initializer();
    tensor.set_name(names_.fresh(stem));
    tensor.set_data_type(type);
    for (const int64_t dim : shape) tensor.add_dims(dim);
    tensor.set_raw_data(values.data(), values.size() * sizeof(T));
    return tensor.name();
  }

  // A constant that stays what it is; written once.
  void keep_constant(const std::string& name) {
    if (!kept_.insert(name).second) return;
    onnx::Tensor& tensor = *graph().add_initializer();
    tensor.set_name(name);
    if (const auto it = model_.constants.find(name); it != model_.constants.end()) {
      tensor.set_data_type(onnx::Tensor::FLOAT);
      for (const int64_t dim : it->second.shape) tensor.add_dims(dim);
      tensor.set_raw_data(it->second.data.data(), it->second.data.size() * sizeof(float));
      return;
    }
    const ConstTensor& other = model_.other_constants.at(name);
    tensor.set_data_type(other.onnx_type);
    for (const int64_t dim : other.shape) tensor.add_dims(dim);
    if (other.type == ConstType::kInt64) {
      for (const int64_t v : other.ints) tensor.add_int64_data(v);
    } else {
      for (const int64_t v : other.ints) tensor.add_int32_data(static_cast<int32_t>(v));
      for (const uint8_t v : other.bytes) tensor.add_int32_data(byte_value(other.byte_type(), v));
    }
  }

  // ---- activations

  struct Parameters {
    std::string scale, zero;
  };

  Parameters parameters(const std::string& stem, const OutputQuantization& q) {
    return {constant<float>(stem + "_scale", onnx::Tensor::FLOAT, {}, {q.q.scale}),
            constant<int8_t>(stem + "_zero_point", onnx_type(q.type), {},
                             {static_cast<int8_t>(q.q.zero)})};
  }

  static int onnx_type(ByteType type) {
    return type == ByteType::kInt8 ? onnx::Tensor::INT8 : onnx::Tensor::UINT8;
  }

  // Puts the pair of nodes behind `raw`, the float result that is planned as `name`.
  void quantize(const std::string& name, const std::string& raw) {
    const size_t index = plan_.index.at(name);
    const PlannedTensor& tensor = plan_.tensors[index];
    const Parameters p =
        tensor.is_copy ? parameters_[*tensor.like] : parameters(name, quantizations_[index]);
    parameters_[index] = p;
    const std::string stored = names_.fresh(name + "_quantized");
    const bool is_result = model_.is_output(name) && tensor.node != kGraphInput;
    const std::string real = is_result ? name : names_.fresh(name + "_dequantized");
    node("QuantizeLinear", {raw, p.scale, p.zero}, stored);
    node("DequantizeLinear", {stored, p.scale, p.zero}, real);
    result_.stored[index] = stored;
    real_[name] = real;
  }

  // What a node reads in place of a float operand.
  std::string operand(const std::string& name, bool quantize_constants) {
    if (name.empty()) return name;
    if (const auto it = real_.find(name); it != real_.end()) return it->second;
    if (!model_.is_constant(name)) return name;  // inside an operator of several nodes
    const auto it = model_.constants.find(name);
    if (quantize_constants && it != model_.constants.end())
      return constant_operand(name, it->second);
    keep_constant(name);
    return name;
  }

  std::string constant_operand(const std::string& name, const FloatTensor& tensor) {
    if (const auto it = quantized_constants_.find(name); it != quantized_constants_.end())
      return it->second;
    RangeCollector collector(100);
    if (!collector.add(tensor.data)) not_finite(name);
    const ByteType type = quantizations_.empty() ? ByteType::kUint8 : quantizations_[0].type;
    const OutputQuantization q =
        quantization_for(collector.range(),
                         type == ByteType::kUint8 ? ActivationType::kUint8 : ActivationType::kInt8);
    std::vector<uint8_t> bytes;
    for (const float v : tensor.data)
      bytes.push_back(static_cast<uint8_t>(quantize_value(v, q.q, q.type)));
    const std::string stored =
        constant(name + "_quantized", onnx_type(q.type), tensor.shape, bytes);
    const Parameters p = parameters(name, q);
    const std::string real = names_.fresh(name + "_dequantized");
    node("DequantizeLinear", {stored, p.scale, p.zero}, real);
    return quantized_constants_[name] = real;
  }

  void not_finite(const std::string& name) {
    diagnostics_.malformed("constants of a model that is calibrated are finite numbers",
                           fmt::format("'{}'", name));
  }

  // ---- products

  const FloatTensor* float_constant(const std::string& name) const {
    const auto it = model_.constants.find(name);
    return it == model_.constants.end() ? nullptr : &it->second;
  }

  float scale_of(const std::string& name) const {
    const auto it = plan_.index.find(name);
    return it == plan_.index.end() ? 1.0f : quantizations_[it->second].q.scale;
  }

  std::string dequantized_bias(const std::string& name, const FloatTensor& bias, float x_scale,
                               const std::vector<float>& scales) {
    std::vector<int32_t> stored;
    std::vector<float> units;
    for (size_t c = 0; c < bias.data.size(); ++c) {
      const float unit = x_scale * scales[c % scales.size()];
      units.push_back(unit);
      const double value = static_cast<double>(bias.data[c]) / static_cast<double>(unit);
      stored.push_back(std::isfinite(value) ? static_cast<int32_t>(std::nearbyint(value)) : 0);
    }
    const std::string data = constant(name + "_quantized", onnx::Tensor::INT32, bias.shape, stored);
    const std::string scale =
        constant(name + "_scale", onnx::Tensor::FLOAT, {static_cast<int64_t>(units.size())}, units);
    std::string real = names_.fresh(name + "_dequantized");
    set_integer(node("DequantizeLinear", {data, scale}, real), "axis",
                static_cast<int64_t>(bias.shape.size()) - 1);
    return real;
  }

  // The Add behind a product whose bias it is.
  const std::string* bias_behind(size_t i) const {
    for (const auto& [add, side] : plan_.bias_behind_product) {
      const onnx::Node& next = model_.nodes[add];
      if (next.input(1 - side) == model_.nodes[i].output(0)) return &next.input(side);
    }
    return nullptr;
  }

  // Weights and bias of a product with constant weights; false if it has none.
  bool rewrite_weights(size_t i, onnx::Node& made) {
    const onnx::Node& from = model_.nodes[i];
    const std::string& type = from.op_type();
    const bool transposed = type == "ConvTranspose";
    if (type != "Conv" && !transposed && type != "Gemm" && type != "MatMul") return false;
    const FloatTensor* weights = from.input_size() > 1 ? float_constant(from.input(1)) : nullptr;
    if (weights == nullptr || weights->shape.size() < 2 || weights->data.empty()) return false;
    Attributes attributes(from);
    const bool by_column =
        type == "MatMul" || (type == "Gemm" && attributes.integer("transB", 0) == 0);
    // Of a transposed convolution, whose weights are [ic, oc/group, ...], groups share the scales,
    // unless each is one channel.
    const int64_t groups = transposed ? attributes.integer("group", 1) : 1;
    const bool by_group = weights->shape[0] == groups && weights->shape[1] == 1;
    const int channel_axis = by_column                 ? static_cast<int>(weights->shape.size()) - 1
                             : transposed && !by_group ? 1
                                                       : 0;
    const std::string* behind = bias_behind(i);
    const bool has_bias = from.input_size() > 2 && !from.input(2).empty();
    const FloatTensor* bias = behind != nullptr ? float_constant(*behind)
                              : has_bias        ? float_constant(from.input(2))
                                                : nullptr;
    const auto channels = static_cast<size_t>(weights->shape[static_cast<size_t>(channel_axis)]);
    const size_t outputs =
        transposed && !by_group ? channels * static_cast<size_t>(groups) : channels;
    if (bias != nullptr && (bias->data.size() != outputs || bias->shape.empty() ||
                            static_cast<size_t>(bias->shape.back()) != outputs))
      bias = nullptr;  // the import says so
    for (const FloatTensor* tensor : {weights, bias}) {
      if (tensor != nullptr && !RangeCollector(100).add(tensor->data))
        not_finite(tensor == weights ? from.input(1) : behind != nullptr ? *behind : from.input(2));
    }
    const float x_scale = scale_of(from.input(0));
    const Int8Weights stored = quantize_weights(*weights, channel_axis, bias, x_scale);
    const std::string& name = from.input(1);
    const std::string data =
        constant(name + "_quantized", onnx::Tensor::INT8, weights->shape, stored.values);
    const std::string scale = constant(name + "_scale", onnx::Tensor::FLOAT,
                                       {static_cast<int64_t>(channels)}, stored.scales);
    const std::string zero =
        constant(name + "_zero_point", onnx::Tensor::INT8, {static_cast<int64_t>(channels)},
                 std::vector<int8_t>(channels, 0));
    const std::string real = names_.fresh(name + "_dequantized");
    set_integer(node("DequantizeLinear", {data, scale, zero}, real), "axis", channel_axis);
    made.set_input(1, real);
    if (behind != nullptr) {
      if (bias != nullptr) bias_scales_[*from.output().begin()] = {x_scale, stored.scales};
    } else if (has_bias && bias != nullptr) {
      made.set_input(2, dequantized_bias(from.input(2), *bias, x_scale, stored.scales));
    } else if (has_bias) {
      made.set_input(2, operand(from.input(2), false));
    }
    return true;
  }

  // ---- nodes

  void rewrite(size_t i) {
    const onnx::Node& from = model_.nodes[i];
    onnx::Node made = from;
    const std::string& type = from.op_type();
    const bool arithmetic = type == "Add" || type == "Sub" || type == "Mul" || type == "Div";
    const bool quantize_constants =
        !plan_.is_function[i] && (arithmetic || type == "Concat" || type == "MatMul");
    const auto bias = plan_.bias_behind_product.find(i);
    const bool weights = rewrite_weights(i, made);
    for (int k = 0; k < from.input_size(); ++k) {
      if (weights && k > 0) continue;
      if (bias != plan_.bias_behind_product.end() && bias->second == k) {
        const std::string& product = from.input(1 - k);
        const auto& [x_scale, scales] = bias_scales_.at(product);
        made.set_input(
            k, dequantized_bias(from.input(k), *float_constant(from.input(k)), x_scale, scales));
      } else {
        made.set_input(k, operand(from.input(k), quantize_constants));
      }
    }
    if (from.output_size() == 0) return;
    const std::string& name = from.output(0);
    const bool planned = plan_.find(name) != nullptr;
    const std::string raw =
        planned && model_.is_output(name) ? names_.fresh(name + "_float") : name;
    made.set_output(0, raw);
    *graph().add_node() = std::move(made);
    if (planned) quantize(name, raw);
  }

  const FloatModel& model_;
  const QuantizationPlan& plan_;
  const std::vector<OutputQuantization>& quantizations_;
  Diagnostics& diagnostics_;
  Names names_;
  std::unordered_set<std::string> kept_;
  onnx::Model out_;
  QdqModel result_;
  std::unordered_map<size_t, Parameters> parameters_;
  std::unordered_map<std::string, std::string> real_;  // DequantizeLinear's result of a tensor
  std::unordered_map<std::string, std::string> quantized_constants_;
  // Of a product whose bias follows: the scale of its input and those of its weights.
  std::unordered_map<std::string, std::pair<float, std::vector<float>>> bias_scales_;
};

}  // namespace

Int8Weights quantize_weights(const FloatTensor& weights, int axis, const FloatTensor* bias,
                             float x_scale) {
  // A bias may use this much of 32 bits, so that sums on top of it do not wrap.
  constexpr double kMostBias = 0x1p30;
  constexpr double kSmallest = 1e-12;  // products of three scales stay normal numbers
  const auto channels = static_cast<size_t>(weights.shape[static_cast<size_t>(axis)]);
  size_t inner = 1;
  for (size_t d = static_cast<size_t>(axis) + 1; d < weights.shape.size(); ++d)
    inner *= static_cast<size_t>(weights.shape[d]);
  if (channels == 0 || inner == 0) return {};
  std::vector<float> largest(channels, 0.0f);
  for (size_t i = 0; i < weights.data.size(); ++i) {
    float& most = largest[i / inner % channels];
    most = std::max(most, std::abs(weights.data[i]));
  }
  std::vector<double> least(channels, kSmallest);
  for (size_t i = 0; bias != nullptr && i < bias->data.size(); ++i) {
    least[i % channels] =
        std::max(least[i % channels], std::abs(static_cast<double>(bias->data[i])) /
                                          (static_cast<double>(x_scale) * kMostBias));
  }
  Int8Weights out;
  for (size_t c = 0; c < channels; ++c)
    out.scales.push_back(
        static_cast<float>(std::max(static_cast<double>(largest[c]) / 127, least[c])));
  out.values.reserve(weights.data.size());
  for (size_t i = 0; i < weights.data.size(); ++i) {
    const float stored = std::nearbyint(weights.data[i] / out.scales[i / inner % channels]);
    out.values.push_back(
        std::isnan(stored) ? int8_t{0} : static_cast<int8_t>(std::clamp(stored, -127.0f, 127.0f)));
  }
  return out;
}

std::optional<QdqModel> write_qdq(const FloatModel& model, const QuantizationPlan& plan,
                                  const std::vector<OutputQuantization>& quantizations,
                                  const std::function<void()>& poll, Diagnostics& diagnostics) {
  return Rewriter(model, plan, quantizations, diagnostics).run(poll);
}

}  // namespace npu::compiler
