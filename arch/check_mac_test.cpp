// SPDX-License-Identifier: MIT
//
// One deliberately wrong MAC command per check.
#include <gtest/gtest.h>

#include "arch/test_decode.h"

namespace npu::arch {
namespace {

using namespace test;

template <typename Spoil>
Bytes spoiled_extension(Spoil spoil, npu_command_mac mac, npu_mac_extension extension) {
  spoil(mac, extension);
  StreamBuilder builder;
  builder.append(mac, extension);
  return builder.bytes();
}

TEST(CheckMac, BadFields) {
  const auto conv = [](auto spoil) {
    return spoiled(convolution({8, 8, 16, 8, 8, 32, 3, 3, 1, 1}), spoil);
  };
  const auto depthwise = [](auto spoil) {
    return spoiled(convolution({8, 8, 16, 8, 8, 16, 3, 3, 1, 1}, NPU_OP_DEPTHWISE), spoil);
  };
  const auto product = [](auto spoil) { return spoiled(matmul(8, 64, 32), spoil); };
  const auto types = [](unsigned i, unsigned w, unsigned o, unsigned r) {
    return [=](npu_command_mac& m) { m.types = NPU_TYPES(i, w, o, r); };
  };
  constexpr unsigned kS8 = NPU_TYPE_INT8, kU8 = NPU_TYPE_UINT8;
  expect_refused({
      {"flags", conv([](auto& m) { m.flags = 0x10; })},
      {"ACTIVATION_STATIONARY with accumulate",
       spoiled(partial(kKeep, 0), [](auto& m) { m.flags = NPU_MAC_ACTIVATION_STATIONARY; })},
      {"ACTIVATION_STATIONARY is not for DEPTHWISE",
       depthwise([](auto& m) { m.flags = NPU_MAC_ACTIVATION_STATIONARY; })},
      {"WEIGHTS_KN", conv([](auto& m) { m.flags = NPU_MAC_WEIGHTS_KN; })},
      {"reserved", conv([](auto& m) { m.reserved[1] = 1; })},
      {"input int16 is not implemented", conv(types(NPU_TYPE_INT16, kS8, kS8, 0))},
      {"weight int4 is not implemented", conv(types(kS8, NPU_TYPE_INT4, kS8, 0))},
      {"output bf16 is not implemented", conv(types(kS8, kS8, NPU_TYPE_BF16, 0))},
      {"input is 0", conv(types(0, kS8, kS8, 0))},
      {"weight is 12", conv(types(kS8, 12, kS8, 0))},
      {"output is 0", conv(types(kS8, kS8, 0, 0))},
      {"residual is 4", conv(types(kS8, kS8, kS8, kU8))},
      {"in_h", conv([](auto& m) { m.in_h = 0; })},
      {"in_w", conv([](auto& m) { m.in_w = 0; })},
      {"in_c", conv([](auto& m) { m.in_c = 0; })},
      {"out_h", conv([](auto& m) { m.out_h = 0; })},
      {"out_w", conv([](auto& m) { m.out_w = 0; })},
      {"out_c", conv([](auto& m) { m.out_c = 0; })},
      {"kernel_h", conv([](auto& m) { m.kernel_h = 0; })},
      {"kernel_w", conv([](auto& m) { m.kernel_w = 0; })},
      {"stride_y", conv([](auto& m) { m.stride_y = 0; })},
      {"stride_x", conv([](auto& m) { m.stride_x = 0; })},
      {"dilation_y", conv([](auto& m) { m.dilation_y = 0; })},
      {"dilation_x", conv([](auto& m) { m.dilation_x = 0; })},
      {"groups", conv([](auto& m) { m.groups = 0; })},
      {"groups", conv([](auto& m) { m.groups = 3; })},
      {"groups", depthwise([](auto& m) { m.groups = 1; })},
      {"out_c", depthwise([](auto& m) { m.out_c = 32; })},
      {"in_h", product([](auto& m) { m.in_h = 2; })},
      {"out_h", product([](auto& m) { m.out_h = 2; })},
      {"out_w", product([](auto& m) { m.out_w = 9; })},
      {"kernel_w", product([](auto& m) { m.kernel_w = 2; })},
      {"pad_left", product([](auto& m) { m.pad_left = 1; })},
      {"more than 2^36", conv([](auto& m) {
         m.in_c = m.out_c = m.out_h = m.out_w = 65535, m.kernel_h = m.kernel_w = 255;
       })},
      {"bias", conv([](auto& m) { m.bias = 64; })},
      {"bias", conv([](auto& m) { m.flags = NPU_MAC_BIAS, m.bias = 66; })},
      {"accumulate", conv([](auto& m) { m.accumulate = 4; })},
      {"accumulator_base", conv([](auto& m) { m.accumulator_base = 512; })},
      {"accumulator_base",
       conv([](auto& m) { m.accumulate = NPU_ACCUMULATE_ADD, m.accumulator_base = 1; })},
      {"a bank has 512", spoiled(convolution({16, 16, 4, 16, 16, 192}),
                                 [](auto& m) { m.accumulate = NPU_ACCUMULATE_ADD; })},
      {"BIAS with ADD",
       conv([](auto& m) { m.accumulate = NPU_ACCUMULATE_ADD, m.flags = NPU_MAC_BIAS; })},
      {"holds no sums", conv([](auto& m) { m.accumulate = NPU_ACCUMULATE_ADD; })},
      {"output (with KEEP)", conv([](auto& m) { m.accumulate = NPU_ACCUMULATE_KEEP; })},
      {"compressed is not implemented",
       conv([](auto& m) { m.weight_format = NPU_WEIGHTS_COMPRESSED; })},
      {"weight_format", conv([](auto& m) { m.weight_format = 2; })},
      {"weight_stride", conv([](auto& m) { m.weight_stride -= 1; })},
      {"weight_bytes", conv([](auto& m) { m.weight_bytes -= 1; })},
      {"weight_bytes", conv([](auto& m) { m.weight_bytes += 1; })},
      {"weight_zero", conv([](auto& m) { m.weight_zero = 128; })},
      {"input_zero", conv([](auto& m) { m.input_zero = -129; })},
      {"scale_f32", conv([](auto& m) { m.scale_f32 = 0; })},
      {"scale_f32", conv([](auto& m) { m.scale_f32 = f32_bits(-1); })},
      {"scale_f32", conv([](auto& m) { m.scale_f32 = 0x7f800000; })},
      {"scale_f32", conv([](auto& m) { m.scale_f32 = 0x7fc00000; })},
      {"scale_f32", conv([](auto& m) { m.flags = NPU_MAC_SCALE_PER_CHANNEL; })},
      {"scales", conv([](auto& m) { m.scales = 64; })},
      {"scales",
       conv([](auto& m) { m.flags = NPU_MAC_SCALE_PER_CHANNEL, m.scales = 2, m.scale_f32 = 0; })},
      {"output_zero", conv([](auto& m) { m.output_zero = 200; })},
      {"clamp_low", conv([](auto& m) { m.clamp_low = -129; })},
      {"clamp_high", conv([](auto& m) { m.clamp_high = 128; })},
      {"clamp_high", conv([](auto& m) { m.clamp_low = 1, m.clamp_high = 0; })},
      {"scale_f32", conv([&](auto& m) { types(kS8, kS8, NPU_TYPE_INT32, 0)(m); })},
      {"clamp_low", conv([&](auto& m) {
         types(kS8, kS8, NPU_TYPE_INT32, 0)(m);
         m.scale_f32 = 0;
       })},
      {"output of int32", conv([&](auto& m) {
         types(kS8, kS8, NPU_TYPE_INT32, 0)(m);
         m.scale_f32 = 0, m.clamp_low = m.clamp_high = 0, m.output.pixel_stride = 130;
       })},
      {"output overlaps", conv([](auto& m) { m.output.pixel_stride = 31; })},
      {"output overlaps", conv([](auto& m) { m.output.row_stride = 32; })},
      {"input.ring_first", conv([](auto& m) { m.input.ring_first = 1; })},
      {"input has 8 rows", conv([](auto& m) { m.input.ring_rows = 7; })},
      {"output.ring_first", conv([](auto& m) { m.output.ring_rows = 8, m.output.ring_first = 8; })},
      {"read operand", conv([](auto& m) { m.input.address = 2u << 20; }), NPU_STATUS_SRAM_RANGE},
      {"read operand", conv([](auto& m) { m.weights = 0xffffffff; }), NPU_STATUS_SRAM_RANGE},
      {"read operand", conv([](auto& m) { m.flags = NPU_MAC_BIAS, m.bias = (2u << 20) - 124; }),
       NPU_STATUS_SRAM_RANGE},
      {"written operand", conv([](auto& m) { m.output.row_stride = 0xffffffff; }),
       NPU_STATUS_SRAM_RANGE},
  });
}

TEST(CheckMac, BadExtensions) {
  npu_command_mac mac = convolution({8, 8, 16, 8, 8, 32, 3, 3, 1, 1});
  npu_command_mac with_residual = mac;
  with_residual.types = NPU_TYPES(NPU_TYPE_INT8, NPU_TYPE_INT8, NPU_TYPE_INT8, NPU_TYPE_UINT8);
  npu_mac_extension residual = {};
  residual.flags = NPU_EXT_RESIDUAL;
  residual.residual = dense(65536, 8, 32);
  residual.ra_f32 = residual.rb_f32 = f32_bits(0.5f);
  residual.residual_low = -128, residual.residual_high = 127;
  npu_mac_extension average = {};
  average.pool_kind = NPU_POOL_AVERAGE;
  average.pool_h = average.pool_w = 2;
  average.pool_in_scale_f32 = average.pool_out_scale_f32 = f32_bits(1);
  const auto plain = [&](auto spoil) {
    return spoiled_extension([&](auto&, auto& e) { spoil(e); }, mac, {});
  };
  const auto adding = [&](auto spoil) {
    return spoiled_extension([&](auto&, auto& e) { spoil(e); }, with_residual, residual);
  };
  const auto pooling = [&](auto spoil) {
    return spoiled_extension([&](auto&, auto& e) { spoil(e); }, mac, average);
  };
  // The unspoiled ones are good.
  for (const Bytes& good : {plain([](auto&) {}), adding([](auto&) {}), pooling([](auto&) {})}) {
    const Decoded result = decode(good);
    EXPECT_TRUE(result.ok) << result.error.text;
  }
  expect_refused({
      {"extension flags", plain([](auto& e) { e.flags = 0x20; })},
      {"extension reserved0", plain([](auto& e) { e.reserved0 = 1; })},
      {"extension reserved", plain([](auto& e) { e.reserved[11] = 1; })},
      {"output overlaps itself: 2 times", plain([](auto& e) { e.batch_count = 2; })},
      {"output overlaps itself", plain([](auto& e) { e.batch_count = 3, e.batch_output = 2047; })},
      {"batch_residual",
       plain([](auto& e) { e.batch_count = 2, e.batch_output = 2048, e.batch_residual = 4; })},
      {"batch_residual", adding([](auto& e) { e.batch_count = 1, e.batch_residual = 4; })},
      {"batch_count is 2: KEEP and ADD",
       spoiled_extension([](auto&, auto& e) { e.batch_count = 2; }, partial(kKeep, 0), {})},
      {"more than 2^36", spoiled_extension(
                             [](auto& m, auto& e) {
                               m.in_c = m.out_c = 4096, m.weight_stride = 4096, m.out_w = 1024;
                               m.in_w = 1024, m.weight_bytes = 4096u * 4096, e.batch_count = 60000;
                             },
                             matmul(8, 64, 32), {})},
      {"multiples of 4", spoiled_extension(
                             [](auto& m, auto& e) {
                               m.types = NPU_TYPES(NPU_TYPE_INT8, NPU_TYPE_INT8, NPU_TYPE_INT32, 0);
                               m.scale_f32 = 0, m.clamp_low = m.clamp_high = 0;
                               m.output = dense(65536, 8, 128);
                               e.batch_count = 2, e.batch_output = 8194;
                             },
                             mac, {})},
      {"read operand",
       plain([](auto& e) { e.batch_count = 2, e.batch_output = 2048, e.batch_input = 0xffffffff; }),
       NPU_STATUS_SRAM_RANGE},
      {"read operand",
       plain([](auto& e) { e.batch_count = 2, e.batch_output = 2048, e.batch_weights = 2u << 20; }),
       NPU_STATUS_SRAM_RANGE},
      {"written operand", plain([](auto& e) { e.batch_count = 1025, e.batch_output = 2048; }),
       NPU_STATUS_SRAM_RANGE},
      {"output overlaps itself", spoiled_extension(
                                     [](auto& m, auto& e) {
                                       // Rows 3 and 0 of a ring of 4; the next repetition
                                       // begins where row 3 lies.
                                       m = matmul(1, 16, 16), m.header.opcode = NPU_OP_CONV;
                                       m.in_h = m.out_h = 2, m.output.ring_rows = 4;
                                       m.output.ring_first = 3, m.output.row_stride = 16;
                                       e.batch_count = 2, e.batch_output = 48;
                                     },
                                     mac, {})},
      {"batch_input", plain([](auto& e) { e.batch_input = 2; })},
      {"batch_weights", plain([](auto& e) { e.batch_weights = 2; })},
      {"batch_output", plain([](auto& e) { e.batch_output = 2; })},
      {"batch_residual", plain([](auto& e) { e.batch_residual = 2; })},
      {"lut1", plain([](auto& e) { e.lut1 = 1; })},
      {"lut2", plain([](auto& e) { e.lut2 = 1; })},
      {"weight_zeros", plain([](auto& e) { e.weight_zeros = 1; })},
      {"weight_zero (",
       spoiled_extension(
           [](auto& m, auto& e) { m.weight_zero = 1, e.flags = NPU_EXT_WEIGHT_ZEROS; }, mac, {})},
      {"RESIDUAL_FIRST", plain([](auto& e) { e.flags = NPU_EXT_RESIDUAL_FIRST; })},
      {"residual", plain([](auto& e) { e.residual.address = 1; })},
      {"ra_f32", plain([](auto& e) { e.ra_f32 = 1; })},
      {"rb_f32", plain([](auto& e) { e.rb_f32 = 1; })},
      {"fix_f32", plain([](auto& e) { e.fix_f32 = 1; })},
      {"residual_low", plain([](auto& e) { e.residual_low = 1; })},
      {"residual_high", plain([](auto& e) { e.residual_high = 1; })},
      {"residual is 0", spoiled_extension(
                            [](auto& m, auto&) {
                              m.types = NPU_TYPES(NPU_TYPE_INT8, NPU_TYPE_INT8, NPU_TYPE_INT8, 0);
                            },
                            with_residual, residual)},
      {"ra_f32", adding([](auto& e) { e.ra_f32 = 0x7f800000; })},
      {"rb_f32", adding([](auto& e) { e.rb_f32 = 0xffc00000; })},
      {"fix_f32", adding([](auto& e) { e.fix_f32 = 0xff800000; })},
      {"residual_low", adding([](auto& e) { e.residual_low = -129; })},
      {"residual_high", adding([](auto& e) { e.residual_high = 128; })},
      {"residual has 8 rows", adding([](auto& e) { e.residual.ring_rows = 4; })},
      {"pool_kind", plain([](auto& e) { e.pool_kind = 3; })},
      {"pool_h", plain([](auto& e) { e.pool_h = 2; })},
      {"pool_w", plain([](auto& e) { e.pool_w = 2; })},
      {"pool_in_scale_f32", plain([](auto& e) { e.pool_in_scale_f32 = 2; })},
      {"pool_out_zero", plain([](auto& e) { e.pool_out_zero = 2; })},
      {"pool_h", pooling([](auto& e) { e.pool_h = 9; })},
      {"pool_w", pooling([](auto& e) { e.pool_w = 0; })},
      {"pool_in_scale_f32", pooling([](auto& e) { e.pool_in_scale_f32 = 0; })},
      {"pool_out_scale_f32", pooling([](auto& e) { e.pool_out_scale_f32 = 0x7fc00000; })},
      {"pool_in_zero", pooling([](auto& e) { e.pool_in_zero = 128; })},
      {"pool_out_zero", pooling([](auto& e) { e.pool_out_zero = -129; })},
      {"8-bit output", spoiled_extension(
                           [](auto& m, auto& e) {
                             m.types = NPU_TYPES(NPU_TYPE_INT8, NPU_TYPE_INT8, NPU_TYPE_INT32, 0);
                             m.scale_f32 = 0, m.clamp_low = m.clamp_high = 0,
                             m.output = dense(65536, 8, 128);
                             e.flags = NPU_EXT_LUT1;
                           },
                           mac, {})},
      {"read operand",
       spoiled_extension([](auto&, auto& e) { e.flags = NPU_EXT_LUT2, e.lut2 = (2u << 20) - 255; },
                         mac, {}),
       NPU_STATUS_SRAM_RANGE},
  });
}

}  // namespace
}  // namespace npu::arch
