// SPDX-License-Identifier: MIT
//
// One deliberately wrong VEC command per check.
#include <gtest/gtest.h>

#include "arch/test_decode.h"

namespace npu::arch {
namespace {

using namespace test;

TEST(CheckVec, BadFields) {
  const auto vec = [](npu_vec_function function, auto spoil) {
    return spoiled(elementwise(function, 4, 4, 8), spoil);
  };
  const auto average = [](auto spoil) {
    return spoiled(pool(NPU_VEC_POOL_AVERAGE, 8, 4, 8, 2, 2), spoil);
  };
  const auto types = [](unsigned a, unsigned b, unsigned out, unsigned d) {
    return [=](npu_command_vec& v) { v.types = NPU_TYPES(a, b, out, d); };
  };
  constexpr unsigned kS8 = NPU_TYPE_INT8, kU8 = NPU_TYPE_UINT8;
  expect_refused({
      {"function", vec(NPU_VEC_ADD, [](auto& v) { v.function = 11; })},
      {"reserved0", vec(NPU_VEC_ADD, [](auto& v) { v.reserved0 = 1; })},
      {"reserved1", vec(NPU_VEC_ADD, [](auto& v) { v.reserved1 = 1; })},
      {"reserved2", vec(NPU_VEC_ADD, [](auto& v) { v.reserved2 = 1; })},
      {"epsilon_f32", vec(NPU_VEC_ADD, [](auto& v) { v.epsilon_f32 = 1; })},
      {"flags", vec(NPU_VEC_ADD, [](auto& v) { v.flags = NPU_VEC_COUNT_PAD; })},
      {"flags", vec(NPU_VEC_LUT, [](auto& v) { v.flags = NPU_VEC_BROADCAST_B; })},
      {"a int16", vec(NPU_VEC_ADD, types(NPU_TYPE_INT16, kS8, kS8, 0))},
      {"b is 0", vec(NPU_VEC_ADD, types(kS8, 0, kS8, 0))},
      {"b is 3", vec(NPU_VEC_LUT, types(kS8, kS8, kS8, 0))},
      {"out int32", vec(NPU_VEC_ADD, types(kS8, kS8, NPU_TYPE_INT32, 0))},
      {"the fourth operand", vec(NPU_VEC_ADD, types(kS8, kS8, kS8, kS8))},
      {"a is int8", vec(NPU_VEC_CAST, types(kS8, 0, kS8, 0))},
      {"out is uint8", spoiled(pool(NPU_VEC_POOL_MAX, 8, 4, 8, 2, 2), types(kS8, 0, kU8, 0))},
      {"in_h", vec(NPU_VEC_ADD, [](auto& v) { v.in_h = 0; })},
      {"in_w", vec(NPU_VEC_ADD, [](auto& v) { v.in_w = 0; })},
      {"channels", vec(NPU_VEC_ADD, [](auto& v) { v.channels = 0; })},
      {"out_h", vec(NPU_VEC_ADD, [](auto& v) { v.out_h = 5; })},
      {"out_w", vec(NPU_VEC_POOL_GLOBAL, [](auto& v) { v.out_w = 4; })},
      {"elements make one", vec(NPU_VEC_POOL_GLOBAL, [](auto& v) { v.in_h = v.in_w = 65535; })},
      {"kernel_h", vec(NPU_VEC_ADD, [](auto& v) { v.kernel_h = 1; })},
      {"stride_x", vec(NPU_VEC_ADD, [](auto& v) { v.stride_x = 1; })},
      {"pad_top", vec(NPU_VEC_ADD, [](auto& v) { v.pad_top = 1; })},
      {"kernel_w", average([](auto& v) { v.kernel_w = 0; })},
      {"stride_y", average([](auto& v) { v.stride_y = 0; })},
      {"pad_top", average([](auto& v) { v.pad_top = 2; })},
      {"out_h is 5", average([](auto& v) { v.out_h = 5; })},
      {"out_w is 5", average([](auto& v) { v.out_w = 5; })},
      {"more than 2^36", average([](auto& v) {
         v.in_h = v.in_w = v.out_h = v.out_w = v.channels = 65535;
         v.kernel_h = v.kernel_w = v.stride_y = v.stride_x = 1;
       })},
      {"p0_f32", vec(NPU_VEC_ADD, [](auto& v) { v.p0_f32 = 0x7fc00000; })},
      {"p1_f32", vec(NPU_VEC_ADD, [](auto& v) { v.p1_f32 = 0x7f800000; })},
      {"p2_f32", vec(NPU_VEC_ADD, [](auto& v) { v.p2_f32 = 0xff800000; })},
      {"p0_f32", vec(NPU_VEC_MUL, [](auto& v) { v.p0_f32 = 0; })},
      {"p1_f32", vec(NPU_VEC_MUL, [](auto& v) { v.p1_f32 = 1; })},
      {"p2_f32", average([](auto& v) { v.p2_f32 = 1; })},
      {"p1_f32", average([](auto& v) { v.p1_f32 = 0; })},
      {"p0_f32", vec(NPU_VEC_LUT, [](auto& v) { v.p0_f32 = 1; })},
      {"a_zero", vec(NPU_VEC_ADD, [](auto& v) { v.a_zero = 1; })},
      {"a_zero", vec(NPU_VEC_MUL, [](auto& v) { v.a_zero = 128; })},
      {"b_zero", vec(NPU_VEC_MUL, [](auto& v) { v.b_zero = -129; })},
      {"out_zero", vec(NPU_VEC_MUL, [](auto& v) { v.out_zero = 300; })},
      {"low", vec(NPU_VEC_ADD, [](auto& v) { v.low = -200; })},
      {"high", vec(NPU_VEC_ADD, [](auto& v) { v.high = 200; })},
      {"low", vec(NPU_VEC_LUT, [](auto& v) { v.low = -1; })},
      {"table", vec(NPU_VEC_ADD, [](auto& v) { v.table = 64; })},
      {"b is not used", vec(NPU_VEC_LUT, [](auto& v) { v.b.address = 64; })},
      {"b has 4 rows", vec(NPU_VEC_ADD, [](auto& v) { v.b.ring_rows = 3; })},
      {"a of int32", vec(NPU_VEC_CAST, [](auto& v) { v.a.address = 2; })},
      {"out overlaps", vec(NPU_VEC_ADD, [](auto& v) { v.out.pixel_stride = 4; })},
      {"read operand", vec(NPU_VEC_LUT, [](auto& v) { v.table = (2u << 20) - 255; }),
       NPU_STATUS_SRAM_RANGE},
      {"read operand", vec(NPU_VEC_ADD, [](auto& v) { v.b.address = (2u << 20) - 8; }),
       NPU_STATUS_SRAM_RANGE},
      {"written operand", vec(NPU_VEC_ADD, [](auto& v) { v.out.address = 2u << 20; }),
       NPU_STATUS_SRAM_RANGE},
  });
}

TEST(CheckVec, BadRowFunctions) {
  const auto vec = [](npu_vec_function function, auto spoil) {
    return spoiled(row_function(function, 4, 6, 8), spoil);
  };
  const auto maximum = [](auto spoil) {
    npu_command_vec v = row_function(NPU_VEC_REDUCE, 4, 6, 8);
    v.flags = NPU_VEC_REDUCE_MAX;
    v.p0_f32 = 0, v.low = v.high = 0;
    return spoiled(v, spoil);
  };
  const Decoded good = decode(maximum([](auto&) {}));
  EXPECT_TRUE(good.ok) << good.error.text;
  constexpr npu_vec_function kSoftmax = NPU_VEC_SOFTMAX, kNorm = NPU_VEC_LAYER_NORM,
                             kResize = NPU_VEC_RESIZE, kReduce = NPU_VEC_REDUCE;
  const auto out_uint8 = [](auto& v) { v.types = NPU_TYPES(NPU_TYPE_INT8, 0, NPU_TYPE_UINT8, 0); };
  expect_refused({
      {"flags", vec(kSoftmax, [](auto& v) { v.flags = NPU_VEC_REDUCE_MAX; })},
      {"p0_f32", vec(kSoftmax, [](auto& v) { v.p0_f32 = f32_bits(255.5f); })},
      {"p0_f32", vec(kSoftmax, [](auto& v) { v.p0_f32 = f32_bits(0.5f); })},
      {"p0_f32", vec(kSoftmax, [](auto& v) { v.p0_f32 = f32_bits(16777218.0f); })},
      {"p0_f32", vec(kSoftmax, [](auto& v) { v.flags = NPU_VEC_SOFTMAX_FP32, v.p0_f32 = 0; })},
      {"p1_f32", vec(kSoftmax, [](auto& v) { v.p1_f32 = 1; })},
      {"a_zero", vec(kSoftmax, [](auto& v) { v.a_zero = 1; })},
      {"out_w", vec(kSoftmax, [](auto& v) { v.out_w = 1; })},
      {"table is", vec(kSoftmax, [](auto& v) { v.table += 2; })},
      {"a int16",
       vec(kSoftmax, [](auto& v) { v.types = NPU_TYPES(NPU_TYPE_INT16, 0, NPU_TYPE_INT8, 0); })},
      {"b is not used", vec(kSoftmax, [](auto& v) { v.b.pixel_stride = 1; })},
      {"epsilon_f32", vec(kSoftmax, [](auto& v) { v.epsilon_f32 = 1; })},
      {"epsilon_f32", vec(kNorm, [](auto& v) { v.epsilon_f32 = 0; })},
      {"epsilon_f32", vec(kNorm, [](auto& v) { v.epsilon_f32 = 0x7f800000; })},
      {"p0_f32", vec(kNorm, [](auto& v) { v.p0_f32 = f32_bits(-1); })},
      {"p1_f32", vec(kNorm, [](auto& v) { v.p1_f32 = 0; })},
      {"a_zero", vec(kNorm, [](auto& v) { v.a_zero = 1; })},
      {"out_zero", vec(kNorm, [](auto& v) { v.out_zero = 128; })},
      {"table is", vec(kNorm, [](auto& v) { v.table += 1; })},
      {"flags", vec(kResize, [](auto& v) { v.flags = NPU_VEC_COUNT_PAD; })},
      {"table is", vec(kResize, [](auto& v) { v.table += 2; })},
      {"out is uint8", vec(kResize, out_uint8)},
      {"out_h", vec(kResize, [](auto& v) { v.out_h = 0; })},
      {"low", vec(kResize, [](auto& v) { v.low = 1; })},
      {"p0_f32", vec(kResize, [](auto& v) { v.p0_f32 = 1; })},
      {"flags", vec(kResize, [](auto& v) { v.flags = NPU_VEC_RESIZE_TRUNCATE; })},
      {"p0_f32", vec(kResize, [](auto& v) { v.flags = NPU_VEC_RESIZE_LINEAR, v.high = 127; })},
      {"a_zero", vec(kResize,
                     [](auto& v) {
                       v.flags = NPU_VEC_RESIZE_LINEAR | NPU_VEC_RESIZE_TRUNCATE, v.a_zero = 1;
                     })},
      {"kernel_h", vec(kResize, [](auto& v) { v.kernel_h = 1; })},
      {"out_h is 2, must be 4 or 1", vec(kReduce, [](auto& v) { v.out_h = 2; })},
      {"out_w is 4, must be 6 or 1", vec(kReduce, [](auto& v) { v.out_w = 4; })},
      {"elements make one", vec(kReduce,
                                [](auto& v) {
                                  v.flags = NPU_VEC_REDUCE_CHANNELS, v.in_h = v.in_w = 2000,
                                  v.channels = 1000;
                                })},
      {"table", vec(kReduce, [](auto& v) { v.table = 4; })},
      {"out is uint8", maximum(out_uint8)},
      {"p0_f32", maximum([](auto& v) { v.p0_f32 = f32_bits(1); })},
      {"a_zero", maximum([](auto& v) { v.a_zero = 1; })},
      {"high", maximum([](auto& v) { v.high = 1; })},
      {"read operand", vec(kSoftmax, [](auto& v) { v.table = (2u << 20) - 1020; }),
       NPU_STATUS_SRAM_RANGE},
      {"read operand", vec(kNorm, [](auto& v) { v.table = (2u << 20) - 60; }),
       NPU_STATUS_SRAM_RANGE},
      {"read operand", vec(kResize, [](auto& v) { v.table = (2u << 20) - 76; }),
       NPU_STATUS_SRAM_RANGE},
  });
}

}  // namespace
}  // namespace npu::arch
