// SPDX-License-Identifier: MIT
//
// Pools, means, and what is made from whole rows.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "compiler/calibrate/operators.h"

namespace npu::compiler {
namespace {

// A tensor as [outer, length, inner] around some adjacent axes.
struct Rows {
  int64_t outer = 1, length = 1, inner = 1;
};

// Around axes [first, last).
Rows rows_of(const Shape& shape, int64_t first, int64_t last) {
  Rows out;
  for (int64_t i = 0; i < static_cast<int64_t>(shape.size()); ++i)
    (i < first ? out.outer : i < last ? out.length : out.inner) *= shape[static_cast<size_t>(i)];
  return out;
}

// Makes an axis positive; false if there is none such.
bool resolve_axis(FloatNode& node, const Shape& shape, int64_t& axis) {
  const auto rank = static_cast<int64_t>(shape.size());
  if (axis < 0) axis += rank;
  if (axis >= 0 && axis < rank) return true;
  node.malformed("axis is one of the input's", fmt::format("{} of {}", axis, to_text(shape)));
  return false;
}

}  // namespace

Prepared prepare_pool(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  const Shape& in = x->shape;
  if (in.size() != 3 && in.size() != 4) {
    node.unsupported("a pool is 1-D or 2-D: its input has 3 or 4 dimensions", to_text(in));
    return std::nullopt;
  }
  const bool average = node.type() == "AveragePool";
  const bool count_pads = node.attributes.integer("count_include_pad", 0) != 0;
  const bool ceil_mode = node.attributes.integer("ceil_mode", 0) != 0;
  Window w;
  Shape spatial;
  if (!read_window(node.attributes, in, {}, ceil_mode, true, w, spatial, node.broken))
    return std::nullopt;
  Shape shape{in[0], in[1]};
  shape.insert(shape.end(), spatial.begin(), spatial.end());
  const int64_t ih = in.size() == 4 ? in[2] : 1, iw = in.back();
  const int64_t oh = in.size() == 4 ? spatial[0] : 1, ow = spatial.back();
  const int64_t taps = w.kernel[0] * w.kernel[1];
  const auto run = [=](auto& out, Pacer& pacer) {
    for (int64_t i = 0; i < static_cast<int64_t>(out.size()); ++i) {
      const float* image = x->data.data() + i / (oh * ow) * ih * iw;
      const int64_t top = i / ow % oh * w.stride[0] - w.pad_before[0];
      const int64_t left = i % ow * w.stride[1] - w.pad_before[1];
      float largest = -std::numeric_limits<float>::infinity(), sum = 0;
      int64_t count = 0;
      for (int64_t ky = 0; ky < w.kernel[0]; ++ky) {
        const int64_t y = top + ky * w.dilation[0];
        if (y < 0 || y >= ih) continue;
        for (int64_t kx = 0; kx < w.kernel[1]; ++kx) {
          const int64_t at = left + kx * w.dilation[1];
          if (at < 0 || at >= iw) continue;
          const float value = image[y * iw + at];
          largest = std::max(largest, value);
          sum += value;
          ++count;
        }
      }
      if (count_pads) count = taps;
      out[static_cast<size_t>(i)] =
          average ? sum / static_cast<float>(std::max<int64_t>(count, 1)) : largest;
      pacer.worked(taps);
    }
  };
  return Computation{shape, run, taps};
}

Prepared prepare_global_max(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  if (x->shape.size() < 3) {
    node.malformed("the input of GlobalMaxPool is [n, c, ...]", to_text(x->shape));
    return std::nullopt;
  }
  Shape shape = x->shape;
  std::fill(shape.begin() + 2, shape.end(), 1);
  const auto run = [x](auto& out, Pacer& pacer) {
    const size_t pixels = x->data.size() / out.size();
    for (size_t i = 0; i < out.size(); ++i) {
      const float* first = x->data.data() + i * pixels;
      out[i] = *std::max_element(first, first + pixels);
      pacer.worked(static_cast<int64_t>(pixels));
    }
  };
  return Computation{shape, run};
}

// GlobalAveragePool, and ReduceMean over adjacent axes.
Prepared prepare_mean(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  const auto rank = static_cast<int64_t>(x->shape.size());
  std::vector<int64_t> axes;
  bool keep = true;
  if (node.type() == "ReduceMean") {
    std::optional<std::vector<int64_t>> given = node.axes(1);
    if (node.failed()) return std::nullopt;
    if (!given || given->empty()) {
      node.unsupported("ReduceMean names its axes");
      return std::nullopt;
    }
    axes = *given;
    keep = node.attributes.integer("keepdims", 1) != 0;
  } else {
    for (int64_t i = 2; i < rank; ++i) axes.push_back(i);
  }
  for (int64_t& axis : axes) {
    if (!resolve_axis(node, x->shape, axis)) return std::nullopt;
  }
  std::sort(axes.begin(), axes.end());
  for (size_t i = 1; i < axes.size(); ++i) {
    if (axes[i] != axes[i - 1] + 1) {
      node.unsupported("the axes of a mean are adjacent", to_text(axes));
      return std::nullopt;
    }
  }
  if (axes.empty()) {
    node.malformed("a mean has axes", to_text(x->shape));
    return std::nullopt;
  }
  const Rows rows = rows_of(x->shape, axes.front(), axes.back() + 1);
  Shape shape;
  for (int64_t i = 0; i < rank; ++i) {
    const bool reduced = i >= axes.front() && i <= axes.back();
    if (!reduced) shape.push_back(x->shape[static_cast<size_t>(i)]);
    if (reduced && keep) shape.push_back(1);
  }
  const auto run = [x, rows](auto& out, Pacer& pacer) {
    for (int64_t i = 0; i < rows.outer * rows.inner; ++i) {
      const float* row =
          x->data.data() + i / rows.inner * rows.length * rows.inner + i % rows.inner;
      double sum = 0;
      for (int64_t j = 0; j < rows.length; ++j) sum += static_cast<double>(row[j * rows.inner]);
      out[static_cast<size_t>(i)] = static_cast<float>(sum / static_cast<double>(rows.length));
      pacer.worked(rows.length);
    }
  };
  return Computation{shape, run};
}

Prepared prepare_softmax(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  if (x == nullptr) return std::nullopt;
  // Before opset 13 an axis stood for itself and all that follow.
  const bool trailing = node.opset() < 13;
  int64_t axis = node.attributes.integer("axis", trailing ? 1 : -1);
  if (!resolve_axis(node, x->shape, axis)) return std::nullopt;
  const Rows rows =
      rows_of(x->shape, axis, trailing ? static_cast<int64_t>(x->shape.size()) : axis + 1);
  const auto run = [x, rows](auto& out, Pacer& pacer) {
    for (int64_t i = 0; i < rows.outer * rows.inner; ++i) {
      const int64_t start = i / rows.inner * rows.length * rows.inner + i % rows.inner;
      const float* from = x->data.data() + start;
      float* to = out.data() + start;
      float largest = from[0];
      for (int64_t j = 0; j < rows.length; ++j) largest = std::max(largest, from[j * rows.inner]);
      double sum = 0;
      for (int64_t j = 0; j < rows.length; ++j) {
        to[j * rows.inner] = std::exp(from[j * rows.inner] - largest);
        sum += static_cast<double>(to[j * rows.inner]);
      }
      for (int64_t j = 0; j < rows.length; ++j) to[j * rows.inner] /= static_cast<float>(sum);
      pacer.worked(rows.length);
    }
  };
  return Computation{x->shape, run};
}

Prepared prepare_layer_norm(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  const FloatTensor* gamma = node.real(1);
  const FloatTensor* beta = node.has(2) ? node.real(2) : nullptr;
  int64_t axis = node.attributes.integer("axis", -1);
  const float epsilon = node.attributes.real("epsilon", 1e-5f);
  if (node.failed() || !resolve_axis(node, x->shape, axis)) return std::nullopt;
  const int64_t length = rows_of(x->shape, axis, static_cast<int64_t>(x->shape.size())).length;
  if (elements(gamma->shape) != length || (beta != nullptr && elements(beta->shape) != length)) {
    node.malformed("scale and bias have the length of a row", to_text(gamma->shape));
    return std::nullopt;
  }
  const auto run = [=, n = static_cast<size_t>(length)](auto& out, Pacer& pacer) {
    for (size_t row = 0; row < out.size(); row += n) {
      const float* from = x->data.data() + row;
      const double mean = std::accumulate(from, from + n, 0.0) / static_cast<double>(n);
      double variance = 0;
      for (size_t i = 0; i < n; ++i) {
        const double centred = static_cast<double>(from[i]) - mean;
        variance += centred * centred;
      }
      variance /= static_cast<double>(n);
      const double factor = 1 / std::sqrt(variance + static_cast<double>(epsilon));
      for (size_t i = 0; i < n; ++i) {
        const auto normal = static_cast<float>((static_cast<double>(from[i]) - mean) * factor);
        out[row + i] = normal * gamma->data[i] + (beta != nullptr ? beta->data[i] : 0.0f);
      }
      pacer.worked(length);
    }
  };
  return Computation{x->shape, run};
}

}  // namespace npu::compiler
