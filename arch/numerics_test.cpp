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

}  // namespace
}  // namespace npu::arch
