// SPDX-License-Identifier: MIT
#include "compiler/reference/interpreter.h"

#include <algorithm>

#include "arch/numerics.h"
#include "compiler/pacer.h"

namespace npu::compiler {
namespace {

// An image tensor [n, c, w] or [n, c, h, w] with its extents.
struct Image {
  int64_t n, c, h, w;
  explicit Image(const Shape& shape)
      : n(shape[0]), c(shape[1]), h(shape.size() == 4 ? shape[2] : 1), w(shape.back()) {}
  size_t at(int64_t in, int64_t ic, int64_t ih, int64_t iw) const {
    return static_cast<size_t>(((in * c + ic) * h + ih) * w + iw);
  }
};

// Steps through all indices of a shape.
bool advance(std::vector<int64_t>& index, const Shape& shape) {
  for (size_t d = shape.size(); d-- > 0;) {
    if (++index[d] < shape[d]) return true;
    index[d] = 0;
  }
  return false;
}

class Interpreter {
 public:
  Interpreter(const Graph& graph, const std::function<void()>& poll)
      : graph_(graph), pacer_(poll), values_(graph.values.size()) {}

  std::vector<Bytes> run(const std::vector<Bytes>& inputs) {
    for (ValueId id = 0; id < graph_.values.size(); ++id) {
      if (!graph_.value(id).constant.empty()) values_[id] = graph_.value(id).constant;
    }
    for (size_t i = 0; i < graph_.inputs.size(); ++i) values_[graph_.inputs[i]] = inputs[i];
    for (const Op& op : graph_.ops) {
      op_ = &op;
      values_[op.output].resize(static_cast<size_t>(elements(graph_.value(op.output).shape)));
      std::visit([this](const auto& detail) { execute(detail); }, op.detail);
      pacer_.worked(static_cast<int64_t>(result().size()));
    }
    return std::move(values_);
  }

 private:
  const Value& in(size_t i) const { return graph_.value(op_->inputs[i]); }
  const Value& out() const { return graph_.value(op_->output); }
  const Bytes& data(size_t i) const { return values_[op_->inputs[i]]; }
  Bytes& result() { return values_[op_->output]; }
  int get(size_t i, size_t at) const { return byte_value(in(i).type, data(i)[at]); }

  // The output chain of a MAC operator for one byte; `at` is its place in the
  // tensor before pooling.
  uint8_t chain(const MacOp& mac, int32_t accumulator, int64_t channel, size_t at) const {
    const float scale = mac.scales[mac.scales.size() == 1 ? 0 : static_cast<size_t>(channel)];
    uint8_t byte = static_cast<uint8_t>(
        arch::requantize(accumulator, scale, mac.output_zero, mac.clamp.low, mac.clamp.high));
    const OutputChain& c = mac.chain;
    if (c.lut1) byte = (*c.lut1)[byte];
    if (c.residual) {
      const int own = byte_value(mac.mac_type, byte);
      const int other =
          byte_value(graph_.value(c.residual->value).type, values_[c.residual->value][at]);
      const AddArithmetic& add = c.residual->add;
      byte = static_cast<uint8_t>(arch::add(c.residual->first ? other : own,
                                            c.residual->first ? own : other, add.ra, add.rb,
                                            add.fix, add.clamp.low, add.clamp.high));
    }
    if (c.lut2) byte = (*c.lut2)[byte];
    return byte;
  }

  int weight_zero(const MacOp& mac, int64_t channel) const {
    return mac.weight_zeros[mac.weight_zeros.size() == 1 ? 0 : static_cast<size_t>(channel)];
  }

  void execute(const MacOp& mac) {
    if (mac.matmul) {
      product(mac);
      return;
    }
    const Image x(in(0).shape);
    const Window& w = mac.window;
    Image y = x;
    y.c = mac.out_channels;
    y.h = (x.h + w.pad_before[0] + w.pad_after[0] - w.span(0)) / w.stride[0] + 1;
    y.w = (x.w + w.pad_before[1] + w.pad_after[1] - w.span(1)) / w.stride[1] + 1;
    const int64_t depth = mac.in_channels / mac.groups, filters = mac.out_channels / mac.groups;
    Bytes full(static_cast<size_t>(y.n * y.c * y.h * y.w));
    for (int64_t n = 0; n < y.n; ++n) {
      for (int64_t o = 0; o < y.c; ++o) {
        const int64_t first = o / filters * depth;
        const int zero = weight_zero(mac, o);
        for (int64_t oy = 0; oy < y.h; ++oy) {
          for (int64_t ox = 0; ox < y.w; ++ox) {
            uint32_t sum =
                mac.bias.empty() ? 0 : static_cast<uint32_t>(mac.bias[static_cast<size_t>(o)]);
            for (int64_t ky = 0; ky < w.kernel[0]; ++ky) {
              const int64_t iy = oy * w.stride[0] - w.pad_before[0] + ky * w.dilation[0];
              if (iy < 0 || iy >= x.h) continue;
              for (int64_t kx = 0; kx < w.kernel[1]; ++kx) {
                const int64_t ix = ox * w.stride[1] - w.pad_before[1] + kx * w.dilation[1];
                if (ix < 0 || ix >= x.w) continue;
                const size_t tap =
                    static_cast<size_t>(((o * w.kernel[0] + ky) * w.kernel[1] + kx) * depth);
                for (int64_t c = 0; c < depth; ++c) {
                  const int a = get(0, x.at(n, first + c, iy, ix)) - mac.input_zero;
                  const int b =
                      byte_value(mac.weight_type, mac.weights[tap + static_cast<size_t>(c)]) - zero;
                  sum += static_cast<uint32_t>(a * b);
                }
              }
            }
            const size_t at = y.at(n, o, oy, ox);
            full[at] = chain(mac, static_cast<int32_t>(sum), o, at);
            pacer_.worked(w.kernel[0] * w.kernel[1] * depth);
          }
        }
      }
    }
    if (!mac.chain.pool) {
      result() = std::move(full);
      return;
    }
    PoolOp pool;
    pool.arithmetic = mac.chain.pool->arithmetic;
    for (int i = 0; i < 2; ++i) {
      pool.window.kernel[i] = pool.window.stride[i] = mac.chain.pool->window[i];
    }
    pool_image(pool, full, y, mac.mac_type);
  }

  void product(const MacOp& mac) {
    const int64_t k = mac.in_channels, n = mac.out_channels;
    const int64_t rows = elements(in(0).shape) / k;
    const bool dynamic = mac.weights.empty();
    const int64_t rows_per_batch = dynamic ? in(0).shape[in(0).shape.size() - 2] : rows;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t o = 0; o < n; ++o) {
        uint32_t sum =
            mac.bias.empty() ? 0 : static_cast<uint32_t>(mac.bias[static_cast<size_t>(o)]);
        const int zero = weight_zero(mac, o);
        for (int64_t i = 0; i < k; ++i) {
          const int a = get(0, static_cast<size_t>(r * k + i)) - mac.input_zero;
          const int b =
              dynamic ? get(1, static_cast<size_t>((r / rows_per_batch * k + i) * n + o))
                      : byte_value(mac.weight_type, mac.weights[static_cast<size_t>(o * k + i)]);
          sum += static_cast<uint32_t>(a * (b - zero));
        }
        const size_t at = static_cast<size_t>(r * n + o);
        result()[at] = chain(mac, static_cast<int32_t>(sum), o, at);
        pacer_.worked(k);
      }
    }
  }

  void execute(const PoolOp& pool) { pool_image(pool, data(0), Image(in(0).shape), in(0).type); }

  void pool_image(const PoolOp& pool, const Bytes& input, const Image& x, ByteType type) {
    const Image y(out().shape);
    const Window& w = pool.window;
    const PoolArithmetic& p = pool.arithmetic;
    Bytes pooled(static_cast<size_t>(y.n * y.c * y.h * y.w));
    for (int64_t n = 0; n < y.n; ++n) {
      for (int64_t c = 0; c < y.c; ++c) {
        for (int64_t oy = 0; oy < y.h; ++oy) {
          for (int64_t ox = 0; ox < y.w; ++ox) {
            int best = -1000, count = 0;
            float sum = 0;
            for (int64_t ky = 0; ky < w.kernel[0]; ++ky) {
              const int64_t iy = oy * w.stride[0] - w.pad_before[0] + ky;
              if (iy < 0 || iy >= x.h) continue;
              for (int64_t kx = 0; kx < w.kernel[1]; ++kx) {
                const int64_t ix = ox * w.stride[1] - w.pad_before[1] + kx;
                if (ix < 0 || ix >= x.w) continue;
                const int v = byte_value(type, input[x.at(n, c, iy, ix)]);
                best = std::max(best, v);
                sum += arch::average_tap(v, p.in_zero, p.in_scale);
                ++count;
              }
            }
            if (p.count_pads) count = static_cast<int>(w.kernel[0] * w.kernel[1]);
            pooled[y.at(n, c, oy, ox)] = static_cast<uint8_t>(
                p.kind == PoolKind::kMax ? best
                                         : arch::average(sum, count, p.out_scale, p.out_zero,
                                                         p.clamp.low, p.clamp.high));
            pacer_.worked(w.kernel[0] * w.kernel[1]);
          }
        }
      }
    }
    result() = std::move(pooled);
  }

  void execute(const GlobalAverageOp& op) {
    const Image x(in(0).shape);
    const int64_t pixels = x.h * x.w;
    for (int64_t i = 0; i < x.n * x.c; ++i) {
      int32_t sum = 0;
      for (int64_t p = 0; p < pixels; ++p) sum += get(0, static_cast<size_t>(i * pixels + p));
      result()[static_cast<size_t>(i)] = static_cast<uint8_t>(
          arch::global_average(sum, static_cast<int32_t>(pixels), op.in_zero, op.scale, op.out_zero,
                               op.clamp.low, op.clamp.high));
    }
  }

  // Calls f(place in the output, place in a, place in b if there is one) for each element.
  template <typename F>
  void broadcast(F&& f) {
    const Shape& shape = out().shape;
    std::vector<int64_t> steps[2];
    for (size_t i = 0; i < 2; ++i) {
      steps[i].assign(shape.size(), 0);
      if (i >= op_->inputs.size()) continue;
      const Shape& operand = in(i).shape;
      const std::vector<int64_t> dense = strides_of(operand);
      for (size_t d = 0; d < operand.size(); ++d) {
        if (operand[d] > 1) steps[i][shape.size() - operand.size() + d] = dense[d];
      }
    }
    std::vector<int64_t> index(shape.size(), 0);
    size_t at = 0;
    do {
      int64_t a = 0, b = 0;
      for (size_t d = 0; d < shape.size(); ++d) {
        a += index[d] * steps[0][d];
        b += index[d] * steps[1][d];
      }
      f(at++, static_cast<size_t>(a), static_cast<size_t>(b));
    } while (advance(index, shape));
  }

  void execute(const AddOp& op) {
    const AddArithmetic& add = op.arithmetic;
    broadcast([&](size_t at, size_t a, size_t b) {
      result()[at] = static_cast<uint8_t>(
          arch::add(get(0, a), get(1, b), add.ra, add.rb, add.fix, add.clamp.low, add.clamp.high));
    });
  }

  void execute(const MulOp& op) {
    broadcast([&](size_t at, size_t a, size_t b) {
      result()[at] =
          static_cast<uint8_t>(arch::multiply(get(0, a), get(1, b), op.a_zero, op.b_zero, op.scale,
                                              op.out_zero, op.clamp.low, op.clamp.high));
    });
  }

  void execute(const LutOp& op) {
    for (size_t i = 0; i < result().size(); ++i) result()[i] = op.table[data(0)[i]];
  }

  void execute(const SoftmaxOp& op) {
    const int64_t n = out().shape.back();
    for (size_t row = 0; row < result().size(); row += static_cast<size_t>(n)) {
      int largest = -1000;
      for (int64_t i = 0; i < n; ++i)
        largest = std::max(largest, get(0, row + static_cast<size_t>(i)));
      const auto entry = [&](size_t at) {
        return op.table[arch::softmax_index(get(0, at), largest)];
      };
      float sum = 0;
      for (int64_t i = 0; i < n; ++i) sum += entry(row + static_cast<size_t>(i));
      for (size_t at = row; at < row + static_cast<size_t>(n); ++at) {
        result()[at] = static_cast<uint8_t>(arch::softmax_f32(
            entry(at), sum, op.multiplier, op.out_zero, op.clamp.low, op.clamp.high));
      }
    }
  }

  void execute(const LayerNormOp& op) {
    const size_t n = op.gamma.size();
    for (size_t row = 0; row < result().size(); row += n) {
      int64_t sum = 0, squares = 0;
      for (size_t i = 0; i < n; ++i) {
        const int64_t a = get(0, row + i);
        sum += a;
        squares += a * a;
      }
      const arch::LayerNormRow scaled =
          arch::layer_norm_row(sum, squares, static_cast<uint32_t>(n), op.in_scale, op.epsilon);
      for (size_t i = 0; i < n; ++i) {
        result()[row + i] = static_cast<uint8_t>(
            arch::layer_norm(get(0, row + i), scaled, op.gamma[i], op.beta[i], op.out_scale,
                             op.out_zero, op.clamp.low, op.clamp.high));
      }
    }
  }

  void execute(const ReshapeOp&) { result() = data(0); }

  void execute(const CopyOp&) {
    broadcast([&](size_t at, size_t a, size_t) { result()[at] = data(0)[a]; });
  }

  void execute(const TransposeOp& op) {
    const Shape& shape = out().shape;
    const std::vector<int64_t> from = strides_of(in(0).shape);
    std::vector<int64_t> index(shape.size(), 0);
    size_t at = 0;
    do {
      int64_t source = 0;
      for (size_t d = 0; d < shape.size(); ++d) {
        source += index[d] * from[static_cast<size_t>(op.permutation[d])];
      }
      result()[at++] = data(0)[static_cast<size_t>(source)];
    } while (advance(index, shape));
  }

  void execute(const SliceOp& op) {
    const Shape& shape = out().shape;
    const std::vector<int64_t> from = strides_of(in(0).shape);
    std::vector<int64_t> index(shape.size(), 0);
    size_t at = 0;
    do {
      int64_t source = 0;
      for (size_t d = 0; d < shape.size(); ++d) {
        const int64_t step = op.step.empty() ? 1 : op.step[d];
        source += (index[d] * step + op.start[d]) * from[d];
      }
      result()[at++] = data(0)[static_cast<size_t>(source)];
    } while (advance(index, shape));
  }

  void execute(const PadOp& op) {
    broadcast([&](size_t at, size_t, size_t fill) { result()[at] = data(1)[fill]; });
    const Shape& shape = in(0).shape;
    const std::vector<int64_t> to = strides_of(out().shape);
    std::vector<int64_t> index(shape.size(), 0);
    size_t at = 0;
    do {
      int64_t target = 0;
      for (size_t d = 0; d < shape.size(); ++d) target += (index[d] + op.before[d]) * to[d];
      result()[static_cast<size_t>(target)] = data(0)[at++];
    } while (advance(index, shape));
  }

  void execute(const ResizeOp& op) {
    const Image x(in(0).shape), y(out().shape);
    for (int64_t n = 0; n < y.n; ++n) {
      for (int64_t c = 0; c < y.c; ++c) {
        for (int64_t oy = 0; oy < y.h; ++oy) {
          for (int64_t ox = 0; ox < y.w; ++ox) {
            const ResizeEntry& row = op.rows[static_cast<size_t>(oy)];
            const ResizeEntry& column = op.columns[static_cast<size_t>(ox)];
            result()[y.at(n, c, oy, ox)] = static_cast<uint8_t>(resized(op, x, n, c, row, column));
          }
        }
      }
    }
  }

  int resized(const ResizeOp& op, const Image& x, int64_t n, int64_t c, const ResizeEntry& row,
              const ResizeEntry& column) const {
    if (op.interpolation == Interpolation::kNearest)
      return get(0, x.at(n, c, row.first, column.first));
    const int zero = op.interpolation == Interpolation::kLinear ? op.in_zero : 0;
    const auto tap = [&](int64_t y, int64_t z) { return get(0, x.at(n, c, y, z)) - zero; };
    const int32_t taps[2][2] = {{tap(row.first, column.first), tap(row.first, column.second)},
                                {tap(row.second, column.first), tap(row.second, column.second)}};
    const float sum = arch::interpolate(taps, row.weight, column.weight);
    if (op.interpolation == Interpolation::kTruncated)
      return arch::resize_truncated(sum, byte_low(out().type), byte_high(out().type));
    return arch::resize_linear(sum, op.scale, op.out_zero, op.clamp.low, op.clamp.high);
  }

  void execute(const ConcatOp& op) {
    const std::vector<int64_t> to = strides_of(out().shape);
    int64_t offset = 0;
    for (size_t i = 0; i < op_->inputs.size(); ++i) {
      const Shape& shape = in(i).shape;
      std::vector<int64_t> index(shape.size(), 0);
      size_t at = 0;
      do {
        int64_t target = offset * to[static_cast<size_t>(op.axis)];
        for (size_t d = 0; d < shape.size(); ++d) target += index[d] * to[d];
        result()[static_cast<size_t>(target)] = data(i)[at++];
      } while (advance(index, shape));
      offset += shape[static_cast<size_t>(op.axis)];
    }
  }

  const Graph& graph_;
  Pacer pacer_;
  std::vector<Bytes> values_;
  const Op* op_ = nullptr;
};

}  // namespace

std::vector<Bytes> interpret_all(const Graph& graph, const std::vector<Bytes>& inputs,
                                 const std::function<void()>& poll) {
  return Interpreter(graph, poll).run(inputs);
}

std::vector<Bytes> interpret(const Graph& graph, const std::vector<Bytes>& inputs,
                             const std::function<void()>& poll) {
  std::vector<Bytes> values = interpret_all(graph, inputs, poll);
  std::vector<Bytes> out;
  for (const ValueId id : graph.outputs) out.push_back(values[id]);
  return out;
}

}  // namespace npu::compiler
