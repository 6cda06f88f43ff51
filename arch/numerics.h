// SPDX-License-Identifier: MIT
//
// The arithmetic of the card, element by element. Every other implementation
// (the card's fast kernels, the compiler's folding, test oracles) must equal
// these functions bit for bit. All of it is IEEE 754 binary32 with rounding to
// nearest, ties to even, unless said otherwise; docs/numerics.md derives the
// forms from ONNX Runtime's.
#ifndef NPU_ARCH_NUMERICS_H_
#define NPU_ARCH_NUMERICS_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace npu::arch {

inline float f32_from_bits(uint32_t bits) {
  return std::bit_cast<float>(bits);
}
inline uint32_t f32_bits(float value) {
  return std::bit_cast<uint32_t>(value);
}

// Brings a value into a range; NaN, which tables and huge factors can produce,
// becomes the lower end.
inline float clamp_f32(float value, float low, float high) {
  return value > low ? (value < high ? value : high) : low;
}

// Requantization of an accumulator: low, high and zero are in the output's
// range.
inline int32_t requantize(int32_t accumulator, float scale, int32_t zero, int32_t low,
                          int32_t high) {
  const float scaled = static_cast<float>(accumulator) * scale;
  const float clamped =
      clamp_f32(scaled, static_cast<float>(low - zero), static_cast<float>(high - zero));
  return static_cast<int32_t>(std::nearbyintf(clamped)) + zero;
}

// The constant of an addition: ra = f32(sa/sc), rb = f32(sb/sc). The inner sum
// is one fma with operand a as its product, which ONNX Runtime's build has.
inline float add_fix(float ra, float rb, int32_t a_zero, int32_t b_zero, int32_t out_zero) {
  return static_cast<float>(out_zero) -
         std::fma(ra, static_cast<float>(a_zero), rb * static_cast<float>(b_zero));
}

// Addition with folded scales; fix = add_fix(). Operand order matters.
inline int32_t add(int32_t a, int32_t b, float ra, float rb, float fix, int32_t low, int32_t high) {
  const float sum = std::fma(static_cast<float>(a), ra, std::fma(static_cast<float>(b), rb, fix));
  return static_cast<int32_t>(
      clamp_f32(std::nearbyintf(sum), static_cast<float>(low), static_cast<float>(high)));
}

// Product: scale = f32(f32(sa*sb)/sc).
inline int32_t multiply(int32_t a, int32_t b, int32_t a_zero, int32_t b_zero, float scale,
                        int32_t out_zero, int32_t low, int32_t high) {
  const float product = static_cast<float>((a - a_zero) * (b - b_zero));
  const float value = std::nearbyintf(product * scale + static_cast<float>(out_zero));
  return static_cast<int32_t>(clamp_f32(value, static_cast<float>(low), static_cast<float>(high)));
}

// One tap of an average pool: the window's sum is the binary32 sum of these,
// one after the other, rows first, taps outside the input left out. (An integer
// sum scaled once differs from ONNX Runtime in about 1 value of 500.)
inline float average_tap(int32_t value, int32_t zero, float sx) {
  return static_cast<float>(value - zero) * sx;
}

// Average of a window from the sum of its average_tap()s; sy is the output's
// scale. The zero point is added before the rounding.
inline int32_t average(float sum_of_taps, int32_t count, float sy, int32_t out_zero, int32_t low,
                       int32_t high) {
  const float mean = sum_of_taps / static_cast<float>(count);
  const float value = std::nearbyintf(mean / sy + static_cast<float>(out_zero));
  return static_cast<int32_t>(clamp_f32(value, static_cast<float>(low), static_cast<float>(high)));
}

// Global average: sum of all n elements (not yet minus n*zero), scale =
// f32(sx/(sy*n)).
inline int32_t global_average(int32_t sum, int32_t n, int32_t zero, float scale, int32_t out_zero,
                              int32_t low, int32_t high) {
  const float value =
      std::nearbyintf(static_cast<float>(sum - n * zero) * scale) + static_cast<float>(out_zero);
  return static_cast<int32_t>(clamp_f32(value, static_cast<float>(low), static_cast<float>(high)));
}

// ---- Softmax ---------------------------------------------------------------

// Entry of the table for a value a: `largest` is the largest of its row.
inline uint32_t softmax_index(int32_t a, int32_t largest) {
  return static_cast<uint32_t>(255 - (largest - a));
}

// Integer form. `multiplier` is floor(1/sy), at most 2^24; the sum is one of at
// most 65535 entries.
inline int32_t softmax_integer(uint32_t entry, uint64_t sum, uint32_t multiplier, int32_t out_zero,
                               int32_t low, int32_t high) {
  const uint64_t scaled = sum == 0 ? 0 : (uint64_t{entry} * multiplier + (sum >> 1)) / sum;
  return static_cast<int32_t>(
      std::clamp<int64_t>(static_cast<int64_t>(scaled) + out_zero, low, high));
}

// binary32 form: the sum is that of the entries, one after the other.
inline int32_t softmax_f32(float entry, float sum, float multiplier, int32_t out_zero, int32_t low,
                           int32_t high) {
  const float value = std::nearbyintf(entry * multiplier / sum) + static_cast<float>(out_zero);
  return static_cast<int32_t>(clamp_f32(value, static_cast<float>(low), static_cast<float>(high)));
}

// The tables, for rows of n values with scale sx. Integer: sums of n entries
// stay in 32 bits.
inline uint32_t softmax_integer_entry(int32_t index, uint32_t n, float sx) {
  const double largest = std::min(4294967295.0 / n, 8388607.0);
  return static_cast<uint32_t>(largest * std::exp((index - 255) * static_cast<double>(sx)));
}

// binary32, as ONNX Runtime 1.30 builds it: the largest entry is as large as
// sums allow, with e^5 to spare.
inline float softmax_f32_entry(int32_t index, uint32_t n, float sx) {
  const float room = std::log(std::numeric_limits<float>::max() / static_cast<float>(n));
  const double shift = std::max(0.0, room - 5.0) / sx;
  return static_cast<float>(std::exp((index - 255 + shift) * static_cast<double>(sx)));
}

// ---- Layer normalization -----------------------------------------------------

struct LayerNormRow {
  float factor, shift;
};

// From the exact sums over n values and over their squares; zero points cancel.
inline LayerNormRow layer_norm_row(int64_t sum, int64_t sum_of_squares, uint32_t n, float sx,
                                   float epsilon) {
  const double count = n;
  const double scale = sx;
  const double variance = static_cast<double>(n * sum_of_squares - sum * sum) / (count * count);
  const double factor = scale / std::sqrt(variance * scale * scale + static_cast<double>(epsilon));
  const double shift = static_cast<double>(sum) / count * factor;
  return {static_cast<float>(factor), -static_cast<float>(shift)};
}

inline int32_t layer_norm(int32_t a, LayerNormRow row, float gamma, float beta, float sy,
                          int32_t out_zero, int32_t low, int32_t high) {
  const float normal = std::fma(static_cast<float>(a), row.factor, row.shift);
  const float value =
      std::nearbyintf(std::fma(normal, gamma, beta) / sy) + static_cast<float>(out_zero);
  return static_cast<int32_t>(clamp_f32(value, static_cast<float>(low), static_cast<float>(high)));
}

// ---- Resize --------------------------------------------------------------------

// Between four neighbours, of which the first index is the row; the weights are
// those of the second row and column.
inline float interpolate(const int32_t (&a)[2][2], float row_weight, float column_weight) {
  const float r1 = row_weight, c1 = column_weight;
  const float r0 = 1.0f - r1, c0 = 1.0f - c1;
  return c0 * r0 * static_cast<float>(a[0][0]) + c1 * r0 * static_cast<float>(a[0][1]) +
         c0 * r1 * static_cast<float>(a[1][0]) + c1 * r1 * static_cast<float>(a[1][1]);
}

// Of dequantized values, without their scale: scale = f32(sx/sy).
inline int32_t resize_linear(float interpolated, float scale, int32_t out_zero, int32_t low,
                             int32_t high) {
  const float value = std::nearbyintf(interpolated * scale) + static_cast<float>(out_zero);
  return static_cast<int32_t>(clamp_f32(value, static_cast<float>(low), static_cast<float>(high)));
}

// Of stored values, as ONNX Runtime's kernel on bytes has it.
inline int32_t resize_truncated(float interpolated, int32_t low, int32_t high) {
  return static_cast<int32_t>(
      clamp_f32(interpolated, static_cast<float>(low), static_cast<float>(high)));
}

}  // namespace npu::arch

#endif  // NPU_ARCH_NUMERICS_H_
