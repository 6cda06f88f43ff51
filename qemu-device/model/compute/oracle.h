// SPDX-License-Identifier: MIT
//
// What MAC and VEC commands do, written from command.h alone and sharing no
// code with the card: slow, plain, for tests.
#ifndef NPU_MODEL_COMPUTE_ORACLE_H_
#define NPU_MODEL_COMPUTE_ORACLE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "npu/command.h"

namespace npu::model::oracle {

inline float as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline uint32_t as_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

using Memory = std::vector<uint8_t>;

inline int read8(const Memory& m, uint64_t at, unsigned type) {
  return type == NPU_TYPE_INT8 ? static_cast<int8_t>(m.at(at)) : m.at(at);
}
inline uint64_t place(const npu_sram_tensor& t, int y, int x) {
  if (t.ring_rows != 0) y = (t.ring_first + y) % t.ring_rows;
  return uint64_t{t.address} + uint64_t(y) * t.row_stride + uint64_t(x) * t.pixel_stride;
}
inline float read_float(const Memory& m, uint64_t at) {
  uint32_t bits;
  std::memcpy(&bits, m.data() + at, 4);
  return as_float(bits);
}
inline int32_t read32(const Memory& m, uint64_t at) {
  int32_t v;
  std::memcpy(&v, m.data() + at, 4);
  return v;
}
inline double clip(double v, double low, double high) {
  return v < low ? low : v > high ? high : v;
}
inline uint8_t byte_of(double v) {
  return static_cast<uint8_t>(static_cast<int>(v));
}
inline int typed(uint8_t byte, unsigned type) {
  return type == NPU_TYPE_INT8 ? static_cast<int8_t>(byte) : byte;
}
inline float rounded(float v) {
  return static_cast<float>(std::rint(static_cast<double>(v)));
}

struct Oracle {
  Memory memory;
  std::map<int, std::vector<int32_t>> kept;  // by accumulator base

  void mac(npu_command_mac c, npu_mac_extension e) {
    for (int i = 0; i < std::max<int>(e.batch_count, 1); ++i) {
      mac_once(c, e);
      c.input.address += e.batch_input;
      c.weights += e.batch_weights;
      c.output.address += e.batch_output;
      e.residual.address += e.batch_residual;
    }
  }

  void mac_once(const npu_command_mac& c, const npu_mac_extension& e) {
    const unsigned ti = NPU_TYPE_AT(c.types, 0), tw = NPU_TYPE_AT(c.types, 1),
                   to = NPU_TYPE_AT(c.types, 2), tr = NPU_TYPE_AT(c.types, 3);
    const bool matmul = c.header.opcode == NPU_OP_MATMUL;
    const int kh = matmul ? 1 : c.kernel_h, kw = matmul ? 1 : c.kernel_w;
    const int groups = matmul ? 1 : c.groups;
    const int icg = c.in_c / groups, ocg = c.out_c / groups;
    std::vector<int32_t> sums(size_t{c.out_h} * c.out_w * c.out_c);
    for (int y = 0; y < c.out_h; ++y)
      for (int x = 0; x < c.out_w; ++x)
        for (int o = 0; o < c.out_c; ++o) {
          const size_t at = (size_t(y) * c.out_w + x) * c.out_c + o;
          int64_t sum = 0;
          if (c.flags & NPU_MAC_BIAS) sum = read32(memory, c.bias + 4 * o);
          if (c.accumulate & NPU_ACCUMULATE_ADD) sum = kept.at(c.accumulator_base).at(at);
          const int zw = e.flags & NPU_EXT_WEIGHT_ZEROS ? read8(memory, e.weight_zeros + o, tw)
                                                        : c.weight_zero;
          for (int ky = 0; ky < kh; ++ky)
            for (int kx = 0; kx < kw; ++kx) {
              const int iy = matmul ? 0 : y * c.stride_y - c.pad_top + ky * c.dilation_y;
              const int ix = matmul ? x : x * c.stride_x - c.pad_left + kx * c.dilation_x;
              if (iy < 0 || ix < 0 || iy >= c.in_h || ix >= c.in_w) continue;
              for (int i = 0; i < icg; ++i) {
                const uint64_t w =
                    c.flags & NPU_MAC_WEIGHTS_KN
                        ? c.weights + uint64_t(i) * c.weight_stride + o
                        : c.weights + uint64_t(o) * c.weight_stride + (ky * kw + kx) * icg + i;
                sum += int64_t(read8(memory, place(c.input, iy, ix) + o / ocg * icg + i, ti) -
                               c.input_zero) *
                       (read8(memory, w, tw) - zw);
              }
            }
          sums[at] = static_cast<int32_t>(static_cast<uint64_t>(sum));
        }
    if (c.accumulate & NPU_ACCUMULATE_KEEP) {
      kept[c.accumulator_base] = sums;
      return;
    }
    std::vector<uint8_t> bytes(sums.size());
    for (int y = 0; y < c.out_h; ++y)
      for (int x = 0; x < c.out_w; ++x)
        for (int o = 0; o < c.out_c; ++o) {
          const size_t at = (size_t(y) * c.out_w + x) * c.out_c + o;
          const float scale = c.flags & NPU_MAC_SCALE_PER_CHANNEL
                                  ? read_float(memory, c.scales + 4 * o)
                                  : as_float(c.scale_f32);
          const float scaled = float(sums[at]) * scale;
          if (to == NPU_TYPE_INT32)
            std::memcpy(memory.data() + place(c.output, y, x) + 4 * o, &sums[at], 4);
          if (to == NPU_TYPE_FP32)
            std::memcpy(memory.data() + place(c.output, y, x) + 4 * o, &scaled, 4);
          if (to == NPU_TYPE_INT32 || to == NPU_TYPE_FP32) continue;
          uint8_t b = byte_of(
              std::rint(clip(scaled, c.clamp_low - c.output_zero, c.clamp_high - c.output_zero)) +
              c.output_zero);
          if (e.flags & NPU_EXT_LUT1) b = memory.at(e.lut1 + b);
          if (e.flags & NPU_EXT_RESIDUAL) {
            float va = float(typed(b, to));
            float vb = float(read8(memory, place(e.residual, y, x) + o, tr));
            if (e.flags & NPU_EXT_RESIDUAL_FIRST) std::swap(va, vb);
            const float sum = std::fma(va, as_float(e.ra_f32),
                                       std::fma(vb, as_float(e.rb_f32), as_float(e.fix_f32)));
            b = byte_of(clip(rounded(sum), e.residual_low, e.residual_high));
          }
          if (e.flags & NPU_EXT_LUT2) b = memory.at(e.lut2 + b);
          bytes[at] = b;
        }
    if (to == NPU_TYPE_INT32 || to == NPU_TYPE_FP32) return;
    const bool pools = e.pool_kind != NPU_POOL_NONE;
    const int ph = pools ? e.pool_h : 1, pw = pools ? e.pool_w : 1;
    for (int y = 0; y < c.out_h / ph; ++y)
      for (int x = 0; x < c.out_w / pw; ++x)
        for (int o = 0; o < c.out_c; ++o) {
          int best = -1000;
          float sum = 0;
          for (int py = 0; py < ph; ++py)
            for (int px = 0; px < pw; ++px) {
              const int v =
                  typed(bytes[(size_t(y * ph + py) * c.out_w + x * pw + px) * c.out_c + o], to);
              best = std::max(best, v);
              sum += float(v - e.pool_in_zero) * as_float(e.pool_in_scale_f32);
            }
          if (e.pool_kind == NPU_POOL_AVERAGE) {
            const float mean = sum / float(ph * pw);
            const float q = mean / as_float(e.pool_out_scale_f32) + float(e.pool_out_zero);
            best = int(
                clip(rounded(q), to == NPU_TYPE_INT8 ? -128 : 0, to == NPU_TYPE_INT8 ? 127 : 255));
          }
          memory.at(place(c.output, y, x) + o) = byte_of(best);
        }
  }

  void vec(const npu_command_vec& v) {
    switch (v.function) {
      case NPU_VEC_REDUCE:
        return reduce(v);
      case NPU_VEC_SOFTMAX:
        return softmax(v);
      case NPU_VEC_LAYER_NORM:
        return layer_norm(v);
      case NPU_VEC_RESIZE:
        return resize(v);
      default:
        return element_wise_or_pool(v);
    }
  }

  // Scatters: every input is added to the output that it belongs to.
  void reduce(const npu_command_vec& v) {
    const unsigned ta = NPU_TYPE_AT(v.types, 0);
    const int oc = v.flags & NPU_VEC_REDUCE_CHANNELS ? 1 : v.channels;
    std::vector<int64_t> sum(size_t{v.out_h} * v.out_w * oc);
    std::vector<int> most(sum.size(), -1000), count(sum.size());
    for (int y = 0; y < v.in_h; ++y)
      for (int x = 0; x < v.in_w; ++x)
        for (int c = 0; c < v.channels; ++c) {
          const size_t at = (size_t(y % v.out_h) * v.out_w + x % v.out_w) * oc + c % oc;
          const int value = read8(memory, place(v.a, y, x) + c, ta);
          sum[at] += value - v.a_zero;
          most[at] = std::max(most[at], value);
          ++count[at];
        }
    for (int y = 0; y < v.out_h; ++y)
      for (int x = 0; x < v.out_w; ++x)
        for (int c = 0; c < oc; ++c) {
          const size_t at = (size_t(y) * v.out_w + x) * oc + c;
          const float mean = rounded(float(sum[at]) * as_float(v.p0_f32)) + float(v.out_zero);
          memory.at(place(v.out, y, x) + c) =
              byte_of(v.flags & NPU_VEC_REDUCE_MAX ? most[at] : clip(double(mean), v.low, v.high));
        }
  }

  void softmax(const npu_command_vec& v) {
    const unsigned ta = NPU_TYPE_AT(v.types, 0);
    for (int y = 0; y < v.out_h; ++y)
      for (int x = 0; x < v.out_w; ++x) {
        std::vector<int> a(v.channels);
        for (int c = 0; c < v.channels; ++c) a[c] = read8(memory, place(v.a, y, x) + c, ta);
        const int top = *std::max_element(a.begin(), a.end());
        const auto entry = [&](int c) { return v.table + 4 * uint64_t(255 - top + a[c]); };
        double s = 0;  // whole numbers below 2^53, or rounded at every step
        for (int c = 0; c < v.channels; ++c)
          s = v.flags & NPU_VEC_SOFTMAX_FP32
                  ? double(float(s) + read_float(memory, entry(c)))
                  : s + double(static_cast<uint32_t>(read32(memory, entry(c))));
        for (int c = 0; c < v.channels; ++c) {
          double q = 0;
          if (v.flags & NPU_VEC_SOFTMAX_FP32) {
            const float scaled = read_float(memory, entry(c)) * as_float(v.p0_f32);
            q = double(rounded(scaled / float(s)));
          } else if (s != 0) {
            const auto whole = uint64_t(s);
            const auto m = uint64_t(as_float(v.p0_f32));
            q = double((static_cast<uint32_t>(read32(memory, entry(c))) * m + whole / 2) / whole);
          }
          memory.at(place(v.out, y, x) + c) = byte_of(clip(q + v.out_zero, v.low, v.high));
        }
      }
  }

  void layer_norm(const npu_command_vec& v) {
    const unsigned ta = NPU_TYPE_AT(v.types, 0);
    const double sx = as_float(v.p0_f32), n = v.channels;
    for (int y = 0; y < v.out_h; ++y)
      for (int x = 0; x < v.out_w; ++x) {
        std::vector<int> a(v.channels);
        double sum = 0, spread = 0;
        for (int c = 0; c < v.channels; ++c) a[c] = read8(memory, place(v.a, y, x) + c, ta);
        for (int value : a) sum += value;
        for (int value : a) spread += n * value * value;
        const double variance = (spread - sum * sum) / (n * n);
        const double factor = sx / std::sqrt(variance * sx * sx + double(as_float(v.epsilon_f32)));
        for (int c = 0; c < v.channels; ++c) {
          const uint64_t gamma = v.table + 4 * uint64_t(c);
          const float normal = std::fma(float(a[c]), float(factor), float(-(sum / n * factor)));
          const float real = std::fma(normal, read_float(memory, gamma),
                                      read_float(memory, gamma + 4 * uint64_t{v.channels}));
          memory.at(place(v.out, y, x) + c) =
              byte_of(clip(double(rounded(real / as_float(v.p1_f32))) + v.out_zero, v.low, v.high));
        }
      }
  }

  void resize(const npu_command_vec& v) {
    const unsigned ta = NPU_TYPE_AT(v.types, 0);
    const auto index = [&](uint64_t at, int most) {
      return std::min<int>(memory.at(at) | memory.at(at + 1) << 8, most - 1);
    };
    const Memory in = memory;
    for (int y = 0; y < v.out_h; ++y)
      for (int x = 0; x < v.out_w; ++x) {
        const uint64_t row = v.table + 8 * uint64_t(y),
                       column = v.table + 8 * uint64_t(v.out_h + x);
        float weight[2][2] = {{1, 0}, {1, 0}};  // of row, column; first, second
        if (v.flags & NPU_VEC_RESIZE_LINEAR)
          for (int i = 0; i < 2; ++i) {
            weight[i][1] = read_float(in, (i == 0 ? row : column) + 4);
            weight[i][0] = 1.0f - weight[i][1];
          }
        for (int c = 0; c < v.channels; ++c) {
          float sum = 0;
          for (int i = 0; i < 2; ++i)
            for (int j = 0; j < 2; ++j) {
              const uint64_t from = place(v.a, index(row + 2 * uint64_t(i), v.in_h),
                                          index(column + 2 * uint64_t(j), v.in_w));
              sum += weight[1][j] * weight[0][i] * float(read8(in, from + c, ta) - v.a_zero);
            }
          const bool cut = !(v.flags & NPU_VEC_RESIZE_LINEAR) || v.flags & NPU_VEC_RESIZE_TRUNCATE;
          memory.at(place(v.out, y, x) + c) = byte_of(
              cut ? clip(double(sum), ta == NPU_TYPE_INT8 ? -128 : 0,
                         ta == NPU_TYPE_INT8 ? 127 : 255)
                  : clip(double(rounded(sum * as_float(v.p0_f32))) + v.out_zero, v.low, v.high));
        }
      }
  }

  void element_wise_or_pool(const npu_command_vec& v) {
    const unsigned ta = NPU_TYPE_AT(v.types, 0), tb = NPU_TYPE_AT(v.types, 1);
    const float p0 = as_float(v.p0_f32), p1 = as_float(v.p1_f32), p2 = as_float(v.p2_f32);
    const Memory in = memory;
    for (int y = 0; y < v.out_h; ++y)
      for (int x = 0; x < v.out_w; ++x)
        for (int c = 0; c < v.channels; ++c) {
          const uint64_t out = place(v.out, y, x) + c;
          const bool broadcast = v.flags & NPU_VEC_BROADCAST_B;
          const auto a = [&] { return read8(in, place(v.a, y, x) + c, ta); };
          const auto b = [&] {
            return read8(in, place(v.b, broadcast ? 0 : y, broadcast ? 0 : x) + c, tb);
          };
          switch (v.function) {
            case NPU_VEC_ADD: {
              const float sum = std::fma(float(a()), p0, std::fma(float(b()), p1, p2));
              memory.at(out) = byte_of(clip(rounded(sum), v.low, v.high));
              break;
            }
            case NPU_VEC_MUL: {
              const float product = float((a() - v.a_zero) * (b() - v.b_zero)) * p0;
              memory.at(out) = byte_of(clip(rounded(product + float(v.out_zero)), v.low, v.high));
              break;
            }
            case NPU_VEC_LUT:
              memory.at(out) = in.at(v.table + in.at(place(v.a, y, x) + c));
              break;
            case NPU_VEC_CAST: {
              const uint64_t at = place(v.a, y, x) + 4 * c;
              const float value = ta == NPU_TYPE_FP32 ? read_float(in, at) : float(read32(in, at));
              memory.at(out) =
                  byte_of(clip(double(rounded(value * p0) + float(v.out_zero)), v.low, v.high));
              break;
            }
            case NPU_VEC_POOL_GLOBAL: {
              int32_t sum = 0;
              for (int iy = 0; iy < v.in_h; ++iy)
                for (int ix = 0; ix < v.in_w; ++ix) sum += read8(in, place(v.a, iy, ix) + c, ta);
              sum -= v.in_h * v.in_w * v.a_zero;
              memory.at(out) = byte_of(
                  clip(double(rounded(float(sum) * p0) + float(v.out_zero)), v.low, v.high));
              break;
            }
            default: {
              int best = -1000, count = 0;
              float sum = 0;
              for (int ky = 0; ky < v.kernel_h; ++ky)
                for (int kx = 0; kx < v.kernel_w; ++kx) {
                  const int iy = y * v.stride_y - v.pad_top + ky;
                  const int ix = x * v.stride_x - v.pad_left + kx;
                  if (iy < 0 || ix < 0 || iy >= v.in_h || ix >= v.in_w) continue;
                  const int value = read8(in, place(v.a, iy, ix) + c, ta);
                  best = std::max(best, value);
                  sum += float(value - v.a_zero) * p0;
                  ++count;
                }
              if (v.flags & NPU_VEC_COUNT_PAD) count = v.kernel_h * v.kernel_w;
              if (v.function == NPU_VEC_POOL_AVERAGE)
                best =
                    int(clip(rounded(sum / float(count) / p1 + float(v.out_zero)), v.low, v.high));
              memory.at(out) = byte_of(best);
            }
          }
        }
  }
};

}  // namespace npu::model::oracle

#endif  // NPU_MODEL_COMPUTE_ORACLE_H_
