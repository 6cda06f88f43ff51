// SPDX-License-Identifier: MIT
//
// Points where the order of roundings shows. Whether this is what ONNX Runtime
// computes is tests/conformance's business.
#include "arch/numerics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace npu::arch {
namespace {

TEST(Numerics, RequantizationRoundsHalfToEven) {
  const auto q = [](int32_t accumulator) { return requantize(accumulator, 0.5f, 10, -128, 127); };
  EXPECT_EQ(q(1), 10);   // 0.5
  EXPECT_EQ(q(3), 12);   // 1.5
  EXPECT_EQ(q(-1), 10);  // -0.5
  EXPECT_EQ(q(-3), 8);   // -1.5
  EXPECT_EQ(q(1000), 127);
  EXPECT_EQ(q(-1000), -128);
}

TEST(Numerics, RequantizationClampsBeforeTheConversion) {
  EXPECT_EQ(requantize(2147483647, 1e30f, 0, 0, 255), 255);
  EXPECT_EQ(requantize(-2147483647 - 1, 1e30f, 255, 0, 255), 0);
  // 2^24 + 1 is not a binary32 number: the accumulator is rounded first.
  EXPECT_EQ(requantize((1 << 24) + 1, std::ldexp(1.0f, -24), 0, -128, 127), 1);
}

TEST(Numerics, AdditionIsTwoFusedSteps) {
  // 127 * 0.1f is a little more than its nearest binary32 number: rounded by
  // itself, less 12.2f, it would be exactly 0.5 and round to 0.
  const volatile float product = 127 * 0.1f;
  EXPECT_EQ(product - 12.2f, 0.5f);
  EXPECT_EQ(add(127, 0, 0.1f, 1.0f, -12.2f, -128, 127), 1);
  EXPECT_EQ(add(0, 127, 1.0f, 0.1f, -12.2f, -128, 127), 1);
  EXPECT_EQ(add(127, 127, 1.0f, 1.0f, 0.0f, -128, 127), 127);
  EXPECT_EQ(add(-128, -128, 1.0f, 1.0f, 0.0f, -100, 127), -100);
  // The zero points cancel exactly when both operands are at theirs.
  EXPECT_EQ(add(3, -7, 0.25f, 0.75f, add_fix(0.25f, 0.75f, 3, -7, 20), -128, 127), 20);
}

TEST(Numerics, ProductAddsTheZeroPointBeforeRounding) {
  // 0.5 + 1: rounds to 2, where rounding first would give 0 + 1.
  EXPECT_EQ(multiply(1, 1, 0, 0, 0.5f, 1, -128, 127), 2);
  EXPECT_EQ(multiply(255, 255, 0, 0, 1.0f, 0, 0, 255), 255);
  EXPECT_EQ(multiply(0, 255, 255, 0, 1.0f, 0, 0, 255), 0);
}

TEST(Numerics, AverageAddsTheZeroPointBeforeRounding) {
  const float sum = average_tap(3, 0, 0.5f) + average_tap(2, 0, 0.5f);
  EXPECT_EQ(average(sum, 2, 0.5f, 0, -128, 127), 2);  // 2.5
  EXPECT_EQ(average(sum, 2, 0.5f, 1, -128, 127), 4);  // 3.5
}

TEST(Numerics, GlobalAverageAddsItAfter) {
  EXPECT_EQ(global_average(5, 2, 0, 0.5f, 0, -128, 127), 2);
  EXPECT_EQ(global_average(5, 2, 0, 0.5f, 1, -128, 127), 3);
  EXPECT_EQ(global_average(5 + 2 * 7, 2, 7, 0.5f, 1, -128, 127), 3);
}

TEST(Numerics, IntegerSoftmaxRoundsHalfUpAndSaturates) {
  EXPECT_EQ(softmax_index(3, 3), 255u);
  EXPECT_EQ(softmax_index(-128, 127), 0u);
  EXPECT_EQ(softmax_integer(1, 2, 93, 0, 0, 255), 47);  // 46.5
  EXPECT_EQ(softmax_integer(1, 1, 256, 0, 0, 255), 255);
  EXPECT_EQ(softmax_integer(1, 1, 256, -128, -128, 127), 127);
  EXPECT_EQ(softmax_integer(0, 0, 256, 5, 0, 255), 5);  // a table of zeros
  // The largest a table can hold: no overflow in 64 bits.
  EXPECT_EQ(softmax_integer(~0u, 65535ull * ~0u, 1 << 24, 0, 0, 255), 255);
  // Entries of the table sum to less than 2^32 over a row.
  EXPECT_LE(uint64_t{65535} * softmax_integer_entry(255, 65535, 0.1f), ~0u);
  EXPECT_EQ(softmax_integer_entry(255, 2, 0.1f), 8388607u);
  EXPECT_EQ(softmax_integer_entry(0, 2, 0.1f), 0u);
}

TEST(Numerics, SoftmaxInBinary32RoundsHalfToEven) {
  EXPECT_EQ(softmax_f32(1, 2, 93, 0, 0, 255), 46);       // 46.5
  EXPECT_EQ(softmax_f32(1, 2, 95, 0, 0, 255), 48);       // 47.5
  EXPECT_EQ(softmax_f32(1, 2, 93, 1, 0, 255), 47);       // the zero point comes after
  EXPECT_EQ(softmax_f32(0, 0, 93, 0, -128, 127), -128);  // no number: the lower end
  // e^5 below the largest sum, whatever the scale.
  EXPECT_NEAR(std::log(softmax_f32_entry(255, 100, 0.01f)), std::log(3.4e38 / 100) - 5, 0.01);
  EXPECT_NEAR(softmax_f32_entry(255, 7, 0.2f) / softmax_f32_entry(250, 7, 0.2f), std::exp(1.0),
              1e-5);
}

TEST(Numerics, LayerNormIsExactForConstantRows) {
  // n equal values: the variance is exactly 0, whatever the value.
  const LayerNormRow row = layer_norm_row(255 * 1000, 255 * 255 * 1000, 1000, 0.5f, 0.25f);
  EXPECT_EQ(row.factor, 1.0f);  // 0.5 / sqrt(0.25)
  EXPECT_EQ(row.shift, -255.0f);
  EXPECT_EQ(layer_norm(255, row, 3.0f, 1.5f, 0.5f, 10, 0, 255), 13);  // beta / sy
  // {-1, 1}: variance 1.
  const LayerNormRow pair = layer_norm_row(0, 2, 2, 1.0f, 1e-30f);
  EXPECT_EQ(pair.factor, 1.0f);
  EXPECT_EQ(layer_norm(1, pair, 1.0f, 0.0f, 2.0f, 0, -128, 127), 0);  // 0.5
  EXPECT_EQ(layer_norm(1, pair, 3.0f, 0.0f, 2.0f, 0, -128, 127), 2);  // 1.5
}

TEST(Numerics, InterpolationTruncatesStoredValuesAndRoundsRealOnes) {
  const float value = interpolate({{0, 10}, {20, 31}}, 0.5f, 0.25f);
  EXPECT_EQ(value, 12.625f);
  EXPECT_EQ(resize_truncated(value, -128, 127), 12);
  EXPECT_EQ(resize_truncated(-value, -128, 127), -12);
  EXPECT_EQ(resize_linear(value, 1.0f, 0, -128, 127), 13);
  EXPECT_EQ(resize_linear(value, 0.5f, 100, -128, 100), 100);
  EXPECT_EQ(resize_linear(2.5f, 1.0f, 1, -128, 127), 3);
  EXPECT_EQ(interpolate({{7, 7}, {7, 7}}, 0.5f, 0.5f), 7.0f);
}

}  // namespace
}  // namespace npu::arch
