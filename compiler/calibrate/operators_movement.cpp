// SPDX-License-Identifier: MIT
//
// Data movement.
#include <functional>

#include "compiler/calibrate/operators.h"
#include "compiler/onnx/resize_rules.h"
#include "compiler/onnx/walk.h"

namespace npu::compiler {
namespace {

// Elements along an axis, what lies outside of it and inside.
struct Axis {
  int64_t outer = 1, length = 1, inner = 1;
};

Axis axis_of(const Shape& shape, size_t axis) {
  Axis out{1, shape[axis], 1};
  for (size_t d = 0; d < shape.size(); ++d) {
    if (d != axis) (d < axis ? out.outer : out.inner) *= shape[d];
  }
  return out;
}

// One axis anew.
struct AxisStep {
  size_t axis = 0;
  int64_t length = 1;
  // Element i from the place of element 0 and the stride along the axis.
  std::function<float(const float* row, int64_t stride, int64_t i)> make;
};

// One axis after the other.
Prepared along_axes(FloatNode& node, const FloatTensor* x, std::vector<AxisStep> steps) {
  Shape shape = x->shape;
  for (const AxisStep& step : steps) {
    shape[step.axis] = step.length;
    if (!fits(shape, node.broken)) return std::nullopt;
  }
  const auto run = [x, steps = std::move(steps)](auto& out, Pacer& pacer) {
    Shape from = x->shape;
    out = x->data;
    for (const AxisStep& step : steps) {
      const Axis a = axis_of(from, step.axis);
      from[step.axis] = step.length;
      std::vector<float> made;
      made.reserve(static_cast<size_t>(elements(from)));
      for (int64_t o = 0; o < a.outer; ++o) {
        const float* block = out.data() + o * a.length * a.inner;
        for (int64_t i = 0; i < step.length; ++i) {
          for (int64_t k = 0; k < a.inner; ++k) made.push_back(step.make(block + k, a.inner, i));
          pacer.worked(a.inner);
        }
      }
      out = std::move(made);
    }
  };
  return Computation{shape, run};
}

// The elements of `x` that a walk over `shape` with these strides visits.
Computation walked(const FloatTensor* x, const Shape& shape, const std::vector<int64_t>& strides,
                   int64_t first = 0) {
  const auto run = [=](auto& out, Pacer& pacer) {
    walk(shape, strides, [&](size_t at, int64_t from) {
      out[at] = x->data[static_cast<size_t>(first + from)];
      pacer.worked(1);
    });
  };
  return {shape, run};
}

// A transposition of `x` under the shape `in`.
Computation transposed(const FloatTensor* x, const Shape& in, const std::vector<int>& permutation) {
  const std::vector<int64_t> dense = strides_of(in);
  std::vector<int64_t> strides;
  strides.reserve(permutation.size());
  for (const int axis : permutation) strides.push_back(dense[static_cast<size_t>(axis)]);
  return walked(x, permuted(in, permutation), strides);
}

Computation piece(const FloatTensor* x, const SliceBounds& bounds) {
  std::vector<int64_t> strides = strides_of(x->shape);
  int64_t first = 0;
  for (size_t d = 0; d < strides.size(); ++d) {
    first += bounds.start[d] * strides[d];
    if (!bounds.step.empty()) strides[d] *= bounds.step[d];
  }
  return walked(x, bounds.shape, strides, first);
}

}  // namespace

// The same elements under another shape.
Prepared prepare_view(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  std::optional<Shape> shape = x->shape;
  if (node.type() == "Reshape") {
    const std::optional<std::vector<int64_t>> wanted = node.integers(1);
    if (!wanted) {
      node.malformed("Reshape has a shape");
      return std::nullopt;
    }
    shape = reshaped(x->shape, *wanted, node.attributes.integer("allowzero", 0) != 0, node.broken);
  } else if (node.type() == "Flatten") {
    shape = flattened(x->shape, node.attributes.integer("axis", 1), node.broken);
  } else if (node.type() == "Squeeze") {
    const std::optional<std::vector<int64_t>> axes = node.axes(1);
    if (!node.failed()) shape = squeezed(x->shape, axes, node.broken);
  } else if (node.type() == "Unsqueeze") {
    const std::optional<std::vector<int64_t>> axes = node.axes(1);
    if (!axes) node.malformed("Unsqueeze has axes");
    if (axes) shape = unsqueezed(x->shape, *axes, node.broken);
  }
  if (node.failed() || !shape) return std::nullopt;
  return Computation{*shape, [x](auto& out, Pacer&) { out = x->data; }};
}

Prepared prepare_expand(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  const std::optional<std::vector<int64_t>> wanted = node.integers(1);
  if (x == nullptr || node.failed()) return std::nullopt;
  if (!wanted) {
    node.malformed("Expand has a shape");
    return std::nullopt;
  }
  const std::optional<Shape> shape = broadcast_shape(x->shape, *wanted, node.broken);
  if (!shape) return std::nullopt;
  return walked(x, *shape, broadcast_strides(x->shape, *shape));
}

Prepared prepare_transpose(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  const std::optional<std::vector<int>> permutation =
      permutation_of(x->shape, node.attributes.integers("perm"), node.broken);
  if (!permutation) return std::nullopt;
  return transposed(x, x->shape, *permutation);
}

Prepared prepare_slice(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  // Attributes before opset 10, then inputs.
  const auto list = [&](const char* name, size_t input) {
    std::optional<std::vector<int64_t>> out = node.attributes.integers(name);
    return out ? out : node.integers(input);
  };
  const std::optional<std::vector<int64_t>> starts = list("starts", 1), ends = list("ends", 2);
  const std::optional<std::vector<int64_t>> axes = list("axes", 3), steps = node.integers(4);
  if (x == nullptr || node.failed()) return std::nullopt;
  if (!starts || !ends) {
    node.malformed("Slice has starts and ends");
    return std::nullopt;
  }
  const std::optional<SliceBounds> bounds =
      sliced(x->shape, *starts, *ends, axes, steps, node.broken);
  if (!bounds) return std::nullopt;
  return piece(x, *bounds);
}

Prepared prepare_split(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  std::optional<std::vector<int64_t>> sizes = node.attributes.integers("split");
  if (!sizes) sizes = node.integers(1);
  if (x == nullptr || node.failed()) return std::nullopt;
  const std::optional<SplitParts> parts =
      split_parts(x->shape, node.attributes.integer("axis", 0),
                  node.attributes.integer("num_outputs", node.output_count()), node.output_count(),
                  sizes, node.broken);
  if (!parts) return std::nullopt;
  return piece(x, parts->bounds[static_cast<size_t>(node.output)]);
}

Prepared prepare_concat(FloatNode& node) {
  std::vector<const FloatTensor*> parts;
  std::vector<Shape> shapes;
  for (size_t i = 0; i < node.operand_count(); ++i) {
    const FloatTensor* part = node.real(i);
    if (part == nullptr) return std::nullopt;
    parts.push_back(part);
    shapes.push_back(part->shape);
  }
  if (parts.empty()) {
    node.malformed("Concat joins tensors");
    return std::nullopt;
  }
  int64_t axis = node.attributes.integer("axis", 0);
  const std::optional<Shape> shape = concatenated(shapes, axis, node.broken);
  if (!shape) return std::nullopt;
  const auto run = [parts, strides = strides_of(*shape), d = static_cast<size_t>(axis)](
                       auto& out, Pacer& pacer) {
    int64_t first = 0;
    for (const FloatTensor* part : parts) {
      walk(part->shape, strides, [&](size_t at, int64_t to) {
        out[static_cast<size_t>(first + to)] = part->data[at];
        pacer.worked(1);
      });
      first += part->shape[d] * strides[d];
    }
  };
  return Computation{*shape, run};
}

Prepared prepare_resize(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  const bool modern = has_roi(node.type(), node.opset());
  const size_t scales_at = modern ? 2 : 1;
  std::vector<int64_t> sizes;
  if (modern) sizes = node.integers(3).value_or(sizes);
  const std::vector<float>* scales = sizes.empty() ? node.floats(scales_at) : nullptr;
  if (node.failed()) return std::nullopt;
  const std::optional<ResizeMode> mode = resize_mode(node.attributes, modern, node.broken);
  if (!mode) return std::nullopt;
  const std::optional<std::vector<ResizeAxis>> axes =
      resize_axes(node.attributes, x->shape, scales != nullptr ? *scales : std::vector<float>{},
                  sizes, node.broken);
  if (!axes) return std::nullopt;
  std::vector<AxisStep> steps;
  for (size_t d = 0; d < axes->size(); ++d) {
    if (!(*axes)[d].moves()) continue;
    steps.push_back({d, (*axes)[d].out,
                     [entries = resize_entries((*axes)[d], *mode)](const float* row, int64_t stride,
                                                                   int64_t i) {
                       const ResizeEntry& entry = entries[static_cast<size_t>(i)];
                       return (1 - entry.weight) * row[entry.first * stride] +
                              entry.weight * row[entry.second * stride];
                     }});
  }
  return along_axes(node, x, std::move(steps));
}

Prepared prepare_pad(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  std::optional<std::vector<int64_t>> pads = node.attributes.integers("pads");
  const float fill = node.scalar(2, node.attributes.real("value", 0));
  if (!pads) pads = node.integers(1);
  const std::optional<std::vector<int64_t>> axes = node.integers(3);
  const std::string mode = node.attributes.text("mode", "constant");
  if (x == nullptr || node.failed()) return std::nullopt;
  if (!pads) {
    node.malformed("Pad has pads");
    return std::nullopt;
  }
  const std::optional<PadBounds> bounds = padded(x->shape, mode, *pads, axes, node.broken);
  if (!bounds) return std::nullopt;
  std::vector<AxisStep> steps;
  for (size_t d = 0; d < x->shape.size(); ++d) {
    const int64_t size = bounds->inner.shape[d], start = bounds->inner.start[d];
    const int64_t before = bounds->before[d], length = bounds->shape[d];
    if (length == x->shape[d] && before == 0 && start == 0) continue;
    std::vector<int64_t> indices;
    if (mode != "constant") indices = framed_indices(mode, size, before, length - size - before);
    steps.push_back({d, length, [=](const float* row, int64_t stride, int64_t i) {
                       const int64_t at =
                           indices.empty() ? i - before : indices[static_cast<size_t>(i)];
                       return at < 0 || at >= size ? fill : row[(start + at) * stride];
                     }});
  }
  return along_axes(node, x, std::move(steps));
}

Prepared prepare_gather(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  const ConstTensor* indices = node.integer_tensor(1);
  if (x == nullptr || node.failed()) return std::nullopt;
  if (indices == nullptr) {
    node.malformed("Gather has indices");
    return std::nullopt;
  }
  const std::optional<GatherPlaces> chosen = gathered(x->shape, node.attributes.integer("axis", 0),
                                                      indices->shape, indices->ints, node.broken);
  if (!chosen) return std::nullopt;
  Prepared out =
      along_axes(node, x,
                 {{chosen->axis, static_cast<int64_t>(chosen->indices.size()),
                   [places = chosen->indices](const float* row, int64_t stride, int64_t i) {
                     return row[places[static_cast<size_t>(i)] * stride];
                   }}});
  if (out) out->shape = chosen->shape;
  return out;
}

Prepared prepare_blocks(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  const std::optional<BlockMove> move =
      block_move(node.type(), node.attributes, x->shape, node.broken);
  if (!move) return std::nullopt;
  Computation out = transposed(x, move->cut, move->permutation);
  out.shape = move->shape;
  return out;
}

}  // namespace npu::compiler
