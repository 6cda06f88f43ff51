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

}  // namespace npu::arch

#endif  // NPU_ARCH_NUMERICS_H_
