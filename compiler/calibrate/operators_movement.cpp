// SPDX-License-Identifier: MIT
//
// Frames, resizes, selections and blocks.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "compiler/calibrate/operators.h"
#include "compiler/onnx/fold.h"
#include "compiler/onnx/resize_rules.h"

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

// One axis anew: element i is make(place of element 0, stride along the axis, i).
template <typename Make>
FloatResult along(FloatNode& node, const FloatTensor& x, size_t axis, int64_t length, Make&& make) {
  Shape shape = x.shape;
  shape[axis] = length;
  FloatResult out = node.result(shape);
  if (!out) return std::nullopt;
  const Axis a = axis_of(x.shape, axis);
  size_t at = 0;
  for (int64_t o = 0; o < a.outer; ++o) {
    for (int64_t i = 0; i < length; ++i) {
      for (int64_t k = 0; k < a.inner; ++k)
        out->data[at++] = make(x.data.data() + o * a.length * a.inner + k, a.inner, i);
    }
  }
  return out;
}

}  // namespace

FloatResult evaluate_resize(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  const bool modern = has_roi(node.type(), node.opset());
  const size_t scales_at = modern ? 2 : 1;
  std::vector<int64_t> sizes;
  if (modern) sizes = node.integers(3).value_or(sizes);
  const FloatTensor* scales = sizes.empty() ? node.real(scales_at) : nullptr;
  if (node.failed()) return std::nullopt;
  const std::optional<ResizeMode> mode = resize_mode(node.attributes, modern, node.broken);
  if (!mode) return std::nullopt;
  const std::optional<std::vector<ResizeAxis>> axes =
      resize_axes(node.attributes, x->shape,
                  scales != nullptr ? scales->data : std::vector<float>{}, sizes, node.broken);
  if (!axes) return std::nullopt;
  FloatResult out = *x;
  for (size_t d = 0; d < axes->size() && out; ++d) {
    if (!(*axes)[d].moves()) continue;
    const std::vector<ResizeEntry> entries = resize_entries((*axes)[d], *mode);
    out = along(node, *out, d, (*axes)[d].out, [&](const float* row, int64_t stride, int64_t i) {
      const ResizeEntry& entry = entries[static_cast<size_t>(i)];
      return (1 - entry.weight) * row[entry.first * stride] +
             entry.weight * row[entry.second * stride];
    });
  }
  return out;
}

FloatResult evaluate_pad(FloatNode& node) {
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
  FloatResult out = *x;
  for (size_t d = 0; d < x->shape.size() && out; ++d) {
    const int64_t size = bounds->inner.shape[d], start = bounds->inner.start[d];
    const int64_t before = bounds->before[d], length = bounds->shape[d];
    if (length == x->shape[d] && before == 0 && start == 0) continue;
    const std::vector<int64_t> indices =
        mode == "constant" ? std::vector<int64_t>{}
                           : framed_indices(mode, size, before, length - size - before);
    out = along(node, *out, d, length, [&](const float* row, int64_t stride, int64_t i) {
      const int64_t at = indices.empty() ? i - before : indices[static_cast<size_t>(i)];
      return at < 0 || at >= size ? fill : row[(start + at) * stride];
    });
  }
  return out;
}

// What the folding of constants does to a tensor.
FloatResult evaluate_moved(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  std::optional<ConstTensor> moved = node.folded();
  if (!moved) {
    node.unsupported(node.type() + " has constant operands that fit its input");
    return std::nullopt;
  }
  FloatResult out = node.result(moved->shape);
  if (out) out->data = std::move(moved->floats);
  return out;
}

FloatResult evaluate_blocks(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  const std::optional<BlockMove> move =
      block_move(node.type(), node.attributes, x->shape, node.broken);
  FloatResult out = move ? node.result(move->shape) : std::nullopt;
  if (!out) return std::nullopt;
  const std::vector<int64_t> dense = strides_of(move->cut);
  const Shape order = permuted(move->cut, move->permutation);
  for (size_t at = 0; at < out->data.size(); ++at) {
    auto left = static_cast<int64_t>(at);
    int64_t from = 0;
    for (size_t d = order.size(); d-- > 0;) {
      from += left % order[d] * dense[static_cast<size_t>(move->permutation[d])];
      left /= order[d];
    }
    out->data[at] = x->data[static_cast<size_t>(from)];
  }
  return out;
}

FloatResult evaluate_global_max(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  if (x->shape.size() < 3) {
    node.malformed("the input of GlobalMaxPool is [n, c, ...]", to_text(x->shape));
    return std::nullopt;
  }
  Shape shape = x->shape;
  std::fill(shape.begin() + 2, shape.end(), 1);
  FloatResult out = node.result(shape);
  if (!out) return std::nullopt;
  const size_t pixels = x->data.size() / out->data.size();
  for (size_t i = 0; i < out->data.size(); ++i) {
    const float* first = x->data.data() + i * pixels;
    out->data[i] = *std::max_element(first, first + pixels);
  }
  return out;
}

}  // namespace npu::compiler
