// SPDX-License-Identifier: MIT
//
// Operators that move or rename data. They act alike on 8-bit, dequantized
// and pending tensors.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/import/importer.h"

namespace npu::compiler {

std::optional<Shape> Importer::input_shape(const onnx::Node& node, int index) {
  const Tensor* tensor = input(node, index);
  if (tensor == nullptr) return std::nullopt;
  if (const auto* quantized = std::get_if<QuantizedTensor>(tensor)) {
    return value(quantized->value).shape;
  }
  if (const auto* real = std::get_if<RealTensor>(tensor)) return real->shape;
  return std::get<ConstantTensor>(*tensor).data->shape;
}

void Importer::apply_movement(const onnx::Node& node, const Shape& out_shape, const Movement& emit,
                              int output) {
  if (out_shape.size() > 8 || !checked_elements(out_shape)) {
    unsupported("a tensor has 1 to 8 dimensions, none of them 0", to_text(out_shape));
    return;
  }
  const Tensor* tensor = input(node, 0);
  if (tensor == nullptr) return;
  if (const auto* quantized = std::get_if<QuantizedTensor>(tensor)) {
    const ValueId id = emit(quantized->value);
    if (id == kNoValue) return;
    if (id != quantized->value) graph_.value(id).name = node.output(output);
    define(node, output, QuantizedTensor{id});
    return;
  }
  const auto* real = std::get_if<RealTensor>(tensor);
  if (real == nullptr) {
    unsupported("a constant of this form is not moved by the compiler", "a constant operand",
                "Simplify the model (constant folding) first");
    return;
  }
  if (real->graph_input >= 0) {
    unsupported("the input is quantized first", "a float graph input",
                "Put QuantizeLinear and DequantizeLinear before it");
    return;
  }
  RealTensor result;
  result.shape = out_shape;
  if (real->value == kNoValue) {
    define_follow_up(node, out_shape, {[emit](ValueId x, float) { return emit(x); }}, output);
    return;
  }
  result.value = emit(real->value);
  if (result.value == kNoValue) return;
  result.q = real->q;
  define(node, output, std::move(result));
}

void Importer::define_follow_up(const onnx::Node& node, const Shape& out_shape, FollowUp step,
                                int output) {
  const auto& before = *std::get<RealTensor>(*input(node, 0)).pending;
  if (before.after.size() >= kMostFollowUps) {
    unsupported(
        fmt::format("at most {} data movements follow an operator before its QuantizeLinear",
                    kMostFollowUps),
        "more", "Put QuantizeLinear and DequantizeLinear between");
    return;
  }
  auto pending = std::make_shared<Pending>(before);
  pending->after.push_back(std::move(step));
  RealTensor result;
  result.shape = out_shape;
  result.pending = std::move(pending);
  define(node, output, std::move(result));
}

void Importer::apply_view(const onnx::Node& node, const Shape& out_shape, const OpDetail& detail,
                          int output) {
  apply_movement(
      node, out_shape,
      [this, out_shape, detail, source = source_](ValueId x) {
        return add_view(source, x, out_shape, detail);
      },
      output);
}

void Importer::identity(const onnx::Node& node, Attributes&) {
  const Tensor* tensor = input(node, 0);
  if (tensor != nullptr) define(node, 0, Tensor(*tensor));
}

void Importer::dropout(const onnx::Node& node, Attributes& attributes) {
  attributes.ignore("ratio");
  attributes.ignore("seed");
  bool training = false;
  if (has_input(node, 2)) {
    const ConstTensor* mode = constant_input(node, 2, "training_mode");
    if (mode == nullptr) return;
    training = mode->type != ConstType::kBool || mode->ints.size() != 1 || mode->ints[0] != 0;
  }
  if (training) {
    unsupported("Dropout is in inference mode", "training_mode", "Export the model for inference");
    return;
  }
  identity(node, attributes);
}

namespace {

// value_int, value_ints, value_float or value_floats.
bool read_plain_constant(const onnx::Node& node, Attributes& attributes, ConstTensor& out) {
  for (const onnx::Attribute& attribute : node.attribute()) {
    const std::string& name = attribute.name();
    const bool list = name == "value_ints" || name == "value_floats";
    if (name == "value_int" || name == "value_ints") {
      out.type = ConstType::kInt64;
      out.onnx_type = onnx::Tensor::INT64;
      out.ints = {attribute.i()};
      if (list) out.ints.assign(attribute.ints().begin(), attribute.ints().end());
      if (list) out.shape = {attribute.ints_size()};
    } else if (name == "value_float" || name == "value_floats") {
      out.type = ConstType::kFloat;
      out.onnx_type = onnx::Tensor::FLOAT;
      out.floats = {attribute.f()};
      if (list) out.floats.assign(attribute.floats().begin(), attribute.floats().end());
      if (list) out.shape = {attribute.floats_size()};
    } else {
      continue;
    }
    attributes.ignore(name);
    return true;
  }
  return false;
}

}  // namespace

void Importer::constant(const onnx::Node& node, Attributes& attributes) {
  const onnx::Tensor* proto = attributes.tensor("value");
  ConstTensor out;
  if (proto != nullptr) {
    std::string error;
    std::optional<ConstTensor> tensor = decode_tensor(*proto, error);
    if (!tensor) {
      malformed_node(error);
      return;
    }
    out = std::move(*tensor);
  } else if (!read_plain_constant(node, attributes, out)) {
    unsupported("a Constant is a tensor, or one or more integers or floats");
    return;
  }
  ConstantTensor constant;
  constant.data = std::make_shared<const ConstTensor>(std::move(out));
  define(node, 0, std::move(constant));
}

void Importer::constants_only(const onnx::Node& node, Attributes&) {
  unsupported("this operator is computed by the compiler, of constants or of known shapes",
              node.op_type(), "Simplify the model (constant folding) first");
}

void Importer::reshape(const onnx::Node& node, Attributes& attributes) {
  const bool allow_zero = attributes.integer("allowzero", 0) != 0;
  const std::optional<Shape> in = input_shape(node, 0);
  if (!in) return;
  const std::optional<std::vector<int64_t>> wanted = integer_list(node, 1, "the shape");
  if (!wanted) return;
  RuleBreak broken;
  const std::optional<Shape> out = reshaped(*in, *wanted, allow_zero, broken);
  if (!out) {
    broken_rule(broken);
    return;
  }
  apply_view(node, *out, ReshapeOp{});
}

void Importer::flatten(const onnx::Node& node, Attributes& attributes) {
  const std::optional<Shape> in = input_shape(node, 0);
  if (!in) return;
  RuleBreak broken;
  const std::optional<Shape> out = flattened(*in, attributes.integer("axis", 1), broken);
  if (!out) {
    broken_rule(broken);
    return;
  }
  apply_view(node, *out, ReshapeOp{});
}

void Importer::squeeze(const onnx::Node& node, Attributes& attributes) {
  const std::optional<Shape> in = input_shape(node, 0);
  std::optional<std::vector<int64_t>> axes = attributes.integers("axes");
  if (!axes && has_input(node, 1)) axes = integer_list(node, 1, "the list of axes");
  if (!in || node_failed_) return;
  RuleBreak broken;
  const std::optional<Shape> out = squeezed(*in, axes, broken);
  if (!out) {
    broken_rule(broken);
    return;
  }
  apply_view(node, *out, ReshapeOp{});
}

void Importer::unsqueeze(const onnx::Node& node, Attributes& attributes) {
  const std::optional<Shape> in = input_shape(node, 0);
  std::optional<std::vector<int64_t>> axes = attributes.integers("axes");
  if (!axes) axes = integer_list(node, 1, "the list of axes");
  if (!in || !axes) return;
  RuleBreak broken;
  const std::optional<Shape> out = unsqueezed(*in, *axes, broken);
  if (!out) {
    broken_rule(broken);
    return;
  }
  apply_view(node, *out, ReshapeOp{});
}

void Importer::transpose(const onnx::Node& node, Attributes& attributes) {
  const std::optional<Shape> in = input_shape(node, 0);
  if (!in) return;
  RuleBreak broken;
  const std::optional<std::vector<int>> permutation =
      permutation_of(*in, attributes.integers("perm"), broken);
  if (!permutation) {
    broken_rule(broken);
    return;
  }
  apply_view(node, permuted(*in, *permutation), TransposeOp{*permutation});
}

void Importer::slice(const onnx::Node& node, Attributes& attributes) {
  (void)attributes;
  const std::optional<Shape> in = input_shape(node, 0);
  const std::optional<std::vector<int64_t>> starts = integer_list(node, 1, "the list of starts");
  const std::optional<std::vector<int64_t>> ends = integer_list(node, 2, "the list of ends");
  if (!in || !starts || !ends) return;
  std::optional<std::vector<int64_t>> axes, steps;
  if (has_input(node, 3)) {
    axes = integer_list(node, 3, "the list of axes");
    if (!axes) return;
  }
  if (has_input(node, 4)) {
    steps = integer_list(node, 4, "the list of steps");
    if (!steps) return;
  }
  RuleBreak broken;
  const std::optional<SliceBounds> out = sliced(*in, *starts, *ends, axes, steps, broken);
  if (!out) {
    broken_rule(broken);
    return;
  }
  for (size_t d = 0; d < out->step.size(); ++d) {
    if (out->step[d] < 0 && out->shape[d] > kMostPieces) {
      unsupported(fmt::format("backwards a slice takes at most {} elements", kMostPieces),
                  std::to_string(out->shape[d]));
      return;
    }
  }
  apply_movement(node, out->shape, [this, bounds = *out, source = source_](ValueId x) {
    return emit_slice(source, x, bounds);
  });
}

void Importer::split(const onnx::Node& node, Attributes& attributes) {
  const int64_t axis = attributes.integer("axis", 0);
  const int64_t count = attributes.integer("num_outputs", node.output_size());
  std::optional<std::vector<int64_t>> sizes = attributes.integers("split");
  if (!sizes && has_input(node, 1)) sizes = integer_list(node, 1, "the list of sizes");
  const std::optional<Shape> in = input_shape(node, 0);
  if (!in || node_failed_) return;
  const auto* real = std::get_if<RealTensor>(input(node, 0));
  if (real != nullptr && real->pending) {
    unsupported("a split tensor is quantized first", "a float intermediate result",
                "Put QuantizeLinear and DequantizeLinear before it");
    return;
  }
  RuleBreak broken;
  const std::optional<SplitParts> parts =
      split_parts(*in, axis, count, node.output_size(), sizes, broken);
  if (!parts) {
    broken_rule(broken);
    return;
  }
  for (int i = 0; i < node.output_size() && !node_failed_; ++i) {
    const SliceBounds& part = parts->bounds[static_cast<size_t>(i)];
    if (!node.output(i).empty()) apply_view(node, part.shape, SliceOp{part.start, {}}, i);
  }
}

// ---- Concat -------------------------------------------------------------------

std::optional<Shape> Importer::concat_shape(const std::vector<Shape>& parts, int64_t& axis) {
  RuleBreak broken;
  std::optional<Shape> out = concatenated(parts, axis, broken);
  if (!out) broken_rule(broken);
  return out;
}

ValueId Importer::emit_concat(uint32_t source, const std::vector<ValueId>& parts, int axis,
                              const Shape& shape, const OutputQuantization& out) {
  Value result;
  result.type = out.type;
  result.shape = shape;
  result.quantization = out.q;
  return add_op(source, parts, std::move(result), ConcatOp{axis});
}

void Importer::concat(const onnx::Node& node, Attributes& attributes) {
  int64_t axis = attributes.integer("axis", 0);
  if (node.input_size() < 1 || node.input_size() > kMostPieces) {
    unsupported(fmt::format("Concat joins 1 to {} tensors", kMostPieces),
                std::to_string(node.input_size()));
    return;
  }
  const Tensor* first = input(node, 0);
  if (first == nullptr) return;
  std::vector<Shape> shapes;
  if (std::holds_alternative<QuantizedTensor>(*first)) {
    std::vector<ValueId> parts;
    for (int i = 0; i < node.input_size(); ++i) {
      const std::optional<ValueId> id = quantized_input(node, i);
      if (!id) return;
      parts.push_back(*id);
      shapes.push_back(value(*id).shape);
      if (value(*id).type != value(parts[0]).type) {
        malformed_node("joined tensors have one type");
        return;
      }
    }
    const std::optional<Shape> shape = concat_shape(shapes, axis);
    if (!shape) return;
    const ValueId id = emit_concat(source_, parts, static_cast<int>(axis), *shape,
                                   {value(parts[0]).quantization, value(parts[0]).type});
    graph_.value(id).name = node.output(0);
    define(node, 0, QuantizedTensor{id});
    return;
  }
  std::vector<RealTensor> parts;
  for (int i = 0; i < node.input_size(); ++i) {
    const std::optional<RealTensor> part = real_operand(node, i);
    if (!part) return;
    parts.push_back(*part);
    shapes.push_back(part->shape);
  }
  const std::optional<Shape> shape = concat_shape(shapes, axis);
  if (!shape) return;
  auto pending = std::make_shared<Pending>();
  pending->source = source_;
  pending->shape = *shape;
  pending->emit = [this, parts, axis, shape = *shape, source = source_](
                      const OutputQuantization& out, const Clamp& clamp) {
    std::vector<ValueId> ids;
    ids.reserve(parts.size());
    for (const RealTensor& part : parts) ids.push_back(requantize(source, part.value, part.q, out));
    return emit_clamp(source, emit_concat(source, ids, static_cast<int>(axis), shape, out), clamp);
  };
  RealTensor result;
  result.shape = *shape;
  result.pending = std::move(pending);
  define(node, 0, std::move(result));
}

// y_scale, y_zero, then x, x_scale, x_zero of every part.
void Importer::qlinear_concat(const onnx::Node& node, Attributes& attributes) {
  int64_t axis = attributes.integer("axis", 0);
  if (node.input_size() < 5 || (node.input_size() - 2) % 3 != 0 || node.input_size() > 3074) {
    malformed_node("QLinearConcat has scale, zero point and three inputs per part");
    return;
  }
  const std::optional<OutputQuantization> yq = quantization_inputs(node, 0, 1);
  if (!yq) return;
  std::vector<ValueId> parts;
  std::vector<Shape> shapes;
  for (int i = 2; i < node.input_size(); i += 3) {
    const std::optional<ValueId> x = quantized_input(node, i, i + 2);
    const std::optional<OutputQuantization> xq = quantization_inputs(node, i + 1, i + 2);
    if (!x || !xq) return;
    if (value(*x).quantization.scale == 0) graph_.value(*x).quantization = xq->q;
    parts.push_back(requantize(source_, *x, xq->q, *yq));
    shapes.push_back(value(*x).shape);
  }
  const std::optional<Shape> shape = concat_shape(shapes, axis);
  if (!shape) return;
  const ValueId id = emit_concat(source_, parts, static_cast<int>(axis), *shape, *yq);
  graph_.value(id).name = node.output(0);
  define(node, 0, QuantizedTensor{id});
}

}  // namespace npu::compiler
