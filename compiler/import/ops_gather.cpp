// SPDX-License-Identifier: MIT
//
// Gather, slices with steps, Pad, Expand and the like: data movement that takes more than one
// operator of the graph.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compiler/import/importer.h"

namespace npu::compiler {
namespace {

// Elements first, first + step, ... of an axis.
struct Run {
  int64_t first = 0, step = 1, count = 1;
};

// As few evenly spaced ascending runs as a walk from the left finds.
std::vector<Run> runs_of(const std::vector<int64_t>& indices) {
  std::vector<Run> out;
  for (size_t i = 0; i < indices.size();) {
    Run run{indices[i], 1, 1};
    if (i + 1 < indices.size() && indices[i + 1] > indices[i]) {
      run.step = indices[i + 1] - indices[i];
      // Two that are far apart are not the beginning of anything.
      const bool pair =
          run.step > 1 && (i + 2 >= indices.size() || indices[i + 2] - indices[i + 1] != run.step);
      if (pair) run.step = 1;
      while (i + static_cast<size_t>(run.count) < indices.size() &&
             indices[i + static_cast<size_t>(run.count)] == run.first + run.count * run.step)
        ++run.count;
    }
    i += static_cast<size_t>(run.count);
    out.push_back(run);
  }
  return out;
}

}  // namespace

// ---- pieces of a tensor -------------------------------------------------------

ValueId Importer::emit_slice(uint32_t source, ValueId x, const SliceBounds& bounds) {
  // Backwards along an axis: forwards first, then element by element.
  SliceOp slice{bounds.start, bounds.step};
  for (size_t d = 0; d < bounds.step.size(); ++d) {
    if (bounds.step[d] > 0) continue;
    slice.start[d] += (bounds.shape[d] - 1) * bounds.step[d];
    slice.step[d] = -bounds.step[d];
  }
  ValueId id = add_view(source, x, bounds.shape, slice);
  for (size_t d = 0; d < bounds.step.size(); ++d) {
    if (bounds.step[d] > 0) continue;
    std::vector<int64_t> backwards(static_cast<size_t>(bounds.shape[d]));
    for (size_t i = 0; i < backwards.size(); ++i)
      backwards[i] = bounds.shape[d] - 1 - static_cast<int64_t>(i);
    id = emit_gather(source, id, d, backwards);
  }
  return id;
}

ValueId Importer::emit_gather(uint32_t source, ValueId x, size_t axis,
                              const std::vector<int64_t>& indices) {
  std::vector<ValueId> parts;
  const Shape whole = value(x).shape;
  for (const Run& run : runs_of(indices)) {
    SliceOp slice;
    slice.start.assign(whole.size(), 0);
    slice.step.assign(whole.size(), 1);
    slice.start[axis] = run.first;
    slice.step[axis] = run.step;
    Shape shape = whole;
    shape[axis] = run.count;
    parts.push_back(shape == whole ? x : add_view(source, x, shape, slice));
  }
  if (parts.size() == 1) return parts[0];
  Shape shape = whole;
  shape[axis] = static_cast<int64_t>(indices.size());
  return emit_concat(source, parts, static_cast<int>(axis), shape,
                     {value(x).quantization, value(x).type});
}

bool Importer::check_gather(const std::vector<int64_t>& indices) {
  const auto runs = static_cast<int64_t>(runs_of(indices).size());
  if (runs <= kMostPieces) return true;
  unsupported(fmt::format("selected elements form at most {} runs", kMostPieces),
              std::to_string(runs));
  return false;
}

void Importer::gather(const onnx::Node& node, Attributes& attributes) {
  const int64_t axis = attributes.integer("axis", 0);
  const std::optional<Shape> in = input_shape(node, 0);
  const ConstTensor* indices = constant_input(node, 1, "the list of indices");
  if (!in || indices == nullptr) return;
  if (indices->type != ConstType::kInt64 && indices->type != ConstType::kInt32) {
    malformed_node("indices are integers", onnx_type_name(indices->onnx_type));
    return;
  }
  RuleBreak broken;
  const std::optional<GatherPlaces> chosen =
      gathered(*in, axis, indices->shape, indices->ints, broken);
  if (!chosen) {
    broken_rule(broken);
    return;
  }
  if (!check_gather(chosen->indices)) return;
  apply_movement(node, chosen->shape, [this, chosen = *chosen, source = source_](ValueId x) {
    const ValueId id = emit_gather(source, x, chosen.axis, chosen.indices);
    return value(id).shape == chosen.shape ? id : add_view(source, id, chosen.shape, ReshapeOp{});
  });
}

// ---- Pad ----------------------------------------------------------------------

ValueId Importer::emit_pad(uint32_t source, ValueId x, const std::vector<int64_t>& before,
                           const Shape& out_shape, uint8_t byte) {
  const Shape& in = value(x).shape;
  // One pixel of channels, so that borders are copied in runs of them.
  Value fill;
  fill.name = fresh_name();
  fill.type = value(x).type;
  fill.shape.assign(in.size(), 1);
  const size_t runs = in.size() >= 3 ? 1 : in.size() - 1;
  fill.shape[runs] = out_shape[runs];
  if (!count_constant(static_cast<uint64_t>(fill.shape[runs]))) return kNoValue;
  fill.constant.assign(static_cast<size_t>(fill.shape[runs]), byte);
  const ValueId frame = graph_.add_value(std::move(fill));
  Value result;
  result.type = value(x).type;
  result.shape = out_shape;
  result.quantization = value(x).quantization;
  return add_op(source, {x, frame}, std::move(result), PadOp{before});
}

std::optional<Importer::PadParts> Importer::pad_parts(const onnx::Node& node,
                                                      Attributes& attributes, const Shape& in) {
  PadParts out;
  out.mode = attributes.text("mode", "constant");
  std::optional<std::vector<int64_t>> pads = attributes.integers("pads");
  out.real = attributes.real("value", 0);
  std::optional<std::vector<int64_t>> axes;
  if (!pads) pads = integer_list(node, 1, "the list of pads");
  if (has_input(node, 3)) axes = integer_list(node, 3, "the list of axes");
  if (!pads || node_failed_) return std::nullopt;
  if (has_input(node, 2)) {
    out.fill = constant_input(node, 2, "the value of Pad");
    if (out.fill == nullptr) return std::nullopt;
    if (out.fill->count() != 1) {
      malformed_node("the value of Pad is one element", to_text(out.fill->shape));
      return std::nullopt;
    }
  }
  RuleBreak broken;
  const std::optional<PadBounds> bounds = padded(in, out.mode, *pads, axes, broken);
  if (!bounds) {
    broken_rule(broken);
    return std::nullopt;
  }
  out.bounds = *bounds;
  return out;
}

void Importer::pad(const onnx::Node& node, Attributes& attributes) {
  const std::optional<Shape> in = input_shape(node, 0);
  if (!in) return;
  const std::optional<PadParts> parts = pad_parts(node, attributes, *in);
  if (!parts) return;
  const PadBounds& bounds = parts->bounds;
  // Negative pads cut: a slice, and the rest.
  const auto cropped = [this, bounds, in = *in, source = source_](ValueId x) {
    return bounds.inner.shape == in ? x : emit_slice(source, x, bounds.inner);
  };
  if (parts->mode != "constant") {
    std::vector<std::vector<int64_t>> indices;
    for (size_t d = 0; d < in->size(); ++d) {
      const int64_t size = bounds.inner.shape[d];
      const int64_t before = bounds.before[d], after = bounds.shape[d] - size - before;
      const bool framed = before > 0 || after > 0;
      indices.push_back(framed ? framed_indices(parts->mode, size, before, after)
                               : std::vector<int64_t>{});
      if (framed && !check_gather(indices.back())) return;
    }
    apply_movement(node, bounds.shape, [this, cropped, indices, source = source_](ValueId x) {
      ValueId id = cropped(x);
      for (size_t d = 0; d < indices.size(); ++d)
        if (!indices[d].empty()) id = emit_gather(source, id, d, indices[d]);
      return id;
    });
    return;
  }
  const auto framed = [this, cropped, bounds, source = source_](ValueId x, uint8_t byte) {
    const ValueId id = cropped(x);
    return value(id).shape == bounds.shape
               ? id
               : emit_pad(source, id, bounds.before, bounds.shape, byte);
  };
  const Tensor* tensor = input(node, 0);
  if (std::holds_alternative<QuantizedTensor>(*tensor)) {
    const ByteType type = value(std::get<QuantizedTensor>(*tensor).value).type;
    if (parts->fill != nullptr && (!parts->fill->is_byte() || parts->fill->byte_type() != type)) {
      malformed_node("the value of Pad has the type of its input",
                     onnx_type_name(parts->fill->onnx_type));
      return;
    }
    const uint8_t byte = parts->fill != nullptr ? parts->fill->bytes[0] : 0;
    apply_movement(node, bounds.shape, [framed, byte](ValueId x) { return framed(x, byte); });
    return;
  }
  float real = parts->real;
  if (parts->fill != nullptr) {
    const std::optional<std::vector<float>> given = real_constant(node, 2, "the value of Pad");
    if (!given) return;
    real = (*given)[0];
  }
  if (std::isnan(real)) {
    malformed_node("the value of Pad is a number");
    return;
  }
  pad_real(node, bounds.shape, real, framed);
}

// A value that a quantization has exactly is data like the rest; any other waits for the one that
// follows.
void Importer::pad_real(const onnx::Node& node, const Shape& shape, float fill,
                        const std::function<ValueId(ValueId, uint8_t)>& framed) {
  const auto* real = std::get_if<RealTensor>(input(node, 0));
  const auto stored = [fill](const Quantization& q, ByteType type) {
    return static_cast<uint8_t>(quantize_value(fill, q, type));
  };
  if (real != nullptr && real->value != kNoValue) {
    const ByteType type = value(real->value).type;
    const int byte = quantize_value(fill, real->q, type);
    if (static_cast<float>(byte - real->q.zero) * real->q.scale != fill) {
      define_pending(node, shape,
                     [this, x = *real, framed, stored, source = source_](
                         const OutputQuantization& out, const Clamp& clamp) {
                       const ValueId moved = requantize(source, x.value, x.q, out);
                       return emit_clamp(source, framed(moved, stored(out.q, out.type)), clamp);
                     });
      return;
    }
  }
  if (real != nullptr && real->pending) {
    const auto frame = [this, framed](ValueId x, float value_of_frame) {
      const Value& inner = value(x);
      return framed(
          x, static_cast<uint8_t>(quantize_value(value_of_frame, inner.quantization, inner.type)));
    };
    define_follow_up(node, shape, {frame, fill});
    return;
  }
  const Quantization q = real != nullptr ? real->q : Quantization{};
  apply_movement(node, shape, [this, framed, stored, q](ValueId x) {
    return framed(x, stored(q, value(x).type));
  });
}

// ---- others -------------------------------------------------------------------

void Importer::expand(const onnx::Node& node, Attributes&) {
  const std::optional<Shape> in = input_shape(node, 0);
  const std::optional<std::vector<int64_t>> wanted = integer_list(node, 1, "the shape");
  if (!in || !wanted) return;
  if (!checked_elements(*wanted) || wanted->size() > 8) {
    unsupported("a tensor has 1 to 8 dimensions, none of them 0", to_text(*wanted));
    return;
  }
  const std::optional<Shape> shape = broadcast(*in, *wanted);
  if (!shape) return;
  apply_movement(node, *shape, [this, shape = *shape, source = source_](ValueId x) {
    return value(x).shape == shape ? x : add_view(source, x, shape, CopyOp{});
  });
}

void Importer::depth_to_space(const onnx::Node& node, Attributes& attributes) {
  const std::optional<Shape> in = input_shape(node, 0);
  if (!in) return;
  RuleBreak broken;
  const std::optional<BlockMove> move = block_move(node.op_type(), attributes, *in, broken);
  if (!move) {
    broken_rule(broken);
    return;
  }
  apply_movement(node, move->shape, [this, move = *move, source = source_](ValueId x) {
    const ValueId blocks = add_view(source, x, move.cut, ReshapeOp{});
    const ValueId moved = add_view(source, blocks, permuted(move.cut, move.permutation),
                                   TransposeOp{move.permutation});
    return add_view(source, moved, move.shape, ReshapeOp{});
  });
}

}  // namespace npu::compiler
