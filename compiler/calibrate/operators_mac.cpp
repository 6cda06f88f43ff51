// SPDX-License-Identifier: MIT
//
// Convolutions, products and batch normalization.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "compiler/calibrate/operators.h"
#include "compiler/onnx/walk.h"

namespace npu::compiler {
namespace {

// to[i] += factor * from[i * stride]
void accumulate(float* __restrict to, const float* __restrict from, float factor, int64_t count,
                int64_t stride) {
  if (stride == 1) {
    for (int64_t i = 0; i < count; ++i) to[i] += factor * from[i];
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] += factor * from[i * stride];
  }
}

// Outputs [first, last) of an axis whose tap `offset` lies inside an input of `size`.
struct Range {
  int64_t first, last;
};
Range inside(int64_t size, int64_t outputs, int64_t stride, int64_t offset) {
  const int64_t first = offset < 0 ? (-offset + stride - 1) / stride : 0;
  const int64_t last = size <= offset ? 0 : (size - 1 - offset) / stride + 1;
  return {std::min(first, outputs), std::clamp(last, int64_t{0}, outputs)};
}

// [m, k] times [k, n], added to `out`.
void product(const float* a, const float* b, float* out, int64_t m, int64_t k, int64_t n,
             Pacer& pacer) {
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t i = 0; i < k; ++i) {
      accumulate(out + row * n, b + i * n, a[row * k + i], n, 1);
      pacer.worked(n);
    }
  }
}

// The elements of an operand as [rows, columns], transposed if asked for.
std::vector<float> matrix(const FloatTensor& tensor, bool transposed) {
  if (!transposed) return tensor.data;
  const int64_t rows = tensor.shape[0], columns = tensor.shape[1];
  std::vector<float> out(tensor.data.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      out[static_cast<size_t>(c * rows + r)] = tensor.data[static_cast<size_t>(r * columns + c)];
    }
  }
  return out;
}

}  // namespace

Prepared prepare_conv(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  const FloatTensor* w = node.real(1);
  if (x == nullptr || w == nullptr) return std::nullopt;
  const Shape& in = x->shape;
  if ((in.size() != 3 && in.size() != 4) || w->shape.size() != in.size()) {
    node.unsupported("a convolution is 1-D or 2-D: its input has 3 or 4 dimensions",
                     fmt::format("input {}, weights {}", to_text(in), to_text(w->shape)));
    return std::nullopt;
  }
  const int64_t groups = node.attributes.integer("group", 1);
  const int64_t outputs = w->shape[0], depth = w->shape[1];
  if (groups < 1 || in[1] % groups != 0 || outputs % groups != 0 || depth != in[1] / groups) {
    node.malformed(
        "groups divide input and output channels and weights are [oc, ic/group, ...]",
        fmt::format("group {}, input {}, weights {}", groups, to_text(in), to_text(w->shape)));
    return std::nullopt;
  }
  Window window;
  Shape spatial;
  const Shape kernel(w->shape.begin() + 2, w->shape.end());
  if (!read_window(node.attributes, in, kernel, false, false, window, spatial, node.broken))
    return std::nullopt;
  const FloatTensor* bias = node.has(2) ? node.real(2) : nullptr;
  if (bias != nullptr && elements(bias->shape) != outputs)
    node.malformed("the bias has one value per output channel", to_text(bias->shape));
  if (node.failed()) return std::nullopt;
  Shape shape{in[0], outputs};
  shape.insert(shape.end(), spatial.begin(), spatial.end());

  const int64_t images = in[0], channels = in[1];
  const int64_t ih = in.size() == 4 ? in[2] : 1, iw = in.back();
  const int64_t oh = in.size() == 4 ? spatial[0] : 1, ow = spatial.back();
  const int64_t taps = window.kernel[0] * window.kernel[1], filters = outputs / groups;
  const auto run = [=](auto& out, Pacer& pacer) {
    for (int64_t n = 0; n < images; ++n) {
      for (int64_t o = 0; o < outputs; ++o) {
        float* plane = out.data() + (n * outputs + o) * oh * ow;
        std::fill_n(plane, oh * ow, bias != nullptr ? bias->data[static_cast<size_t>(o)] : 0.0f);
        for (int64_t c = 0; c < depth; ++c) {
          const float* image = x->data.data() + (n * channels + o / filters * depth + c) * ih * iw;
          const float* weights = w->data.data() + (o * depth + c) * taps;
          for (int64_t t = 0; t < taps; ++t) {
            const int64_t dy = t / window.kernel[1] * window.dilation[0] - window.pad_before[0];
            const int64_t dx = t % window.kernel[1] * window.dilation[1] - window.pad_before[1];
            const Range ys = inside(ih, oh, window.stride[0], dy);
            const Range xs = inside(iw, ow, window.stride[1], dx);
            pacer.worked(oh * ow);
            if (xs.first >= xs.last) continue;
            for (int64_t y = ys.first; y < ys.last; ++y) {
              accumulate(
                  plane + y * ow + xs.first,
                  image + (y * window.stride[0] + dy) * iw + xs.first * window.stride[1] + dx,
                  weights[t], xs.last - xs.first, window.stride[1]);
            }
          }
        }
      }
    }
  };
  return Computation{shape, run, depth * taps};
}

Prepared prepare_conv_transpose(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  const FloatTensor* w = node.real(1);
  if (x == nullptr || w == nullptr) return std::nullopt;
  const std::optional<TransposedWindow> window =
      transposed_window(node.attributes, x->shape, w->shape, node.broken);
  if (!window) return std::nullopt;
  const int64_t images = x->shape[0], channels = x->shape[1], outputs = window->shape[1];
  const FloatTensor* bias = node.has(2) ? node.real(2) : nullptr;
  if (bias != nullptr && elements(bias->shape) != outputs)
    node.malformed("the bias has one value per output channel", to_text(bias->shape));
  if (node.failed()) return std::nullopt;
  const bool image = x->shape.size() == 4;
  const TransposedAxis down = image ? window->axes[0] : TransposedAxis{};
  const TransposedAxis along = window->axes.back();
  const int64_t ih = image ? x->shape[2] : 1, iw = x->shape.back();
  const int64_t oh = down.size, ow = along.size, taps = down.kernel * along.kernel;
  const int64_t filters = w->shape[1], depth = channels / window->groups;
  const auto run = [=](auto& out, Pacer& pacer) {
    for (int64_t n = 0; n < images; ++n) {
      for (int64_t o = 0; o < outputs; ++o) {
        float* plane = out.data() + (n * outputs + o) * oh * ow;
        std::fill_n(plane, oh * ow, bias != nullptr ? bias->data[static_cast<size_t>(o)] : 0.0f);
        for (int64_t c = o / filters * depth; c < (o / filters + 1) * depth; ++c) {
          const float* from = x->data.data() + (n * channels + c) * ih * iw;
          const float* weights = w->data.data() + (c * filters + o % filters) * taps;
          for (int64_t t = 0; t < taps; ++t) {
            const int64_t dy = t / along.kernel * down.dilation - down.crop;
            const int64_t dx = t % along.kernel * along.dilation - along.crop;
            const Range ys = inside(oh, ih, down.stride, dy);
            const Range xs = inside(ow, iw, along.stride, dx);
            pacer.worked(ih * iw);
            for (int64_t y = ys.first; y < ys.last; ++y) {
              float* row = plane + (y * down.stride + dy) * ow;
              for (int64_t at = xs.first; at < xs.last; ++at)
                row[at * along.stride + dx] += weights[t] * from[y * iw + at];
            }
          }
        }
      }
    }
  };
  // By elements of the input; here it is for each of the result.
  const double macs = static_cast<double>(elements(x->shape)) * static_cast<double>(filters * taps);
  const double results = static_cast<double>(images) * static_cast<double>(outputs * oh * ow);
  return Computation{window->shape, run, static_cast<int64_t>(macs / results) + 1};
}

Prepared prepare_gemm(FloatNode& node) {
  const FloatTensor* a = node.real(0);
  const FloatTensor* b = node.real(1);
  if (a == nullptr || b == nullptr) return std::nullopt;
  const bool trans_a = node.attributes.integer("transA", 0) != 0;
  const bool trans_b = node.attributes.integer("transB", 0) != 0;
  const float alpha = node.attributes.real("alpha", 1), beta = node.attributes.real("beta", 1);
  if (a->shape.size() != 2 || b->shape.size() != 2 ||
      a->shape[trans_a ? 0 : 1] != b->shape[trans_b ? 1 : 0]) {
    node.malformed("the operands of Gemm are matrices whose inner dimensions agree",
                   fmt::format("{} and {}", to_text(a->shape), to_text(b->shape)));
    return std::nullopt;
  }
  const int64_t m = a->shape[trans_a ? 1 : 0], k = a->shape[trans_a ? 0 : 1];
  const int64_t n = b->shape[trans_b ? 0 : 1];
  const FloatTensor* c = node.has(2) ? node.real(2) : nullptr;
  if (c != nullptr) {
    const std::optional<Shape> shape = broadcast_shape(c->shape, {m, n}, node.broken);
    if (!shape) return std::nullopt;
    if (*shape != Shape{m, n}) {
      node.malformed("C of Gemm can be broadcast to the product", to_text(c->shape));
      return std::nullopt;
    }
  }
  const auto run = [=](auto& out, Pacer& pacer) {
    product(matrix(*a, trans_a).data(), matrix(*b, trans_b).data(), out.data(), m, k, n, pacer);
    for (float& value : out) value *= alpha;
    if (c == nullptr) return;
    walk({m, n}, broadcast_strides(c->shape, {m, n}),
         [&](size_t at, int64_t from) { out[at] += beta * c->data[static_cast<size_t>(from)]; });
  };
  return Computation{{m, n}, run, k};
}

Prepared prepare_matmul(FloatNode& node) {
  const FloatTensor* a = node.real(0);
  const FloatTensor* b = node.real(1);
  if (a == nullptr || b == nullptr) return std::nullopt;
  if (a->shape.size() < 2 || b->shape.size() < 2 || a->shape.back() != b->shape.end()[-2] ||
      (b->shape.size() > 2 &&
       (b->shape.size() != a->shape.size() ||
        !std::equal(a->shape.begin(), a->shape.end() - 2, b->shape.begin())))) {
    node.unsupported(
        "operands of MatMul have equal batch dimensions, or the second has 2 dimensions, and "
        "agreeing inner ones",
        fmt::format("{} times {}", to_text(a->shape), to_text(b->shape)));
    return std::nullopt;
  }
  const int64_t m = a->shape.end()[-2], k = a->shape.back(), n = b->shape.back();
  Shape shape = a->shape;
  shape.back() = n;
  const int64_t step = b->shape.size() > 2 ? k * n : 0;  // from one batch to the next
  const int64_t batches = elements(a->shape) / (m * k);
  const auto run = [=](auto& out, Pacer& pacer) {
    for (int64_t i = 0; i < batches; ++i) {
      product(a->data.data() + i * m * k, b->data.data() + i * step, out.data() + i * m * n, m, k,
              n, pacer);
    }
  };
  return Computation{shape, run, k};
}

Prepared prepare_batch_norm(FloatNode& node) {
  const FloatTensor* x = node.real(0);
  std::array<const FloatTensor*, 4> parameters;
  for (size_t i = 0; i < 4; ++i) parameters[i] = node.real(i + 1);
  const float epsilon = node.attributes.real("epsilon", 1e-5f);
  if (node.failed()) return std::nullopt;
  if (node.attributes.integer("training_mode", 0) != 0) {
    node.unsupported("BatchNormalization is in inference mode", "training_mode = 1");
    return std::nullopt;
  }
  if (x->shape.size() < 2) {
    node.malformed("the input of BatchNormalization is [n, c, ...]", to_text(x->shape));
    return std::nullopt;
  }
  const int64_t channels = x->shape[1];
  for (const FloatTensor* parameter : parameters) {
    if (elements(parameter->shape) != channels) {
      node.malformed("BatchNormalization has one parameter per channel",
                     fmt::format("{} for {}", to_text(parameter->shape), to_text(x->shape)));
      return std::nullopt;
    }
  }
  const auto pixels = static_cast<size_t>(elements(x->shape) / channels / x->shape[0]);
  const auto run = [=, n = static_cast<size_t>(channels)](auto& out, Pacer& pacer) {
    for (size_t i = 0; i < out.size(); ++i) {
      const size_t c = i / pixels % n;
      const float factor = parameters[0]->data[c] / std::sqrt(parameters[3]->data[c] + epsilon);
      out[i] = (x->data[i] - parameters[2]->data[c]) * factor + parameters[1]->data[c];
      pacer.worked(1);
    }
  };
  return Computation{x->shape, run};
}

}  // namespace npu::compiler
