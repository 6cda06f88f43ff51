// SPDX-License-Identifier: MIT
//
// Valid commands that tests start from and spoil field by field.
#ifndef NPU_ARCH_TEST_COMMANDS_H_
#define NPU_ARCH_TEST_COMMANDS_H_

#include <bit>
#include <cstdint>

#include "arch/numerics.h"
#include "arch/stream.h"
#include "arch/target.h"

namespace npu::arch::test {

inline npu_sram_tensor dense(uint32_t address, uint32_t columns, uint32_t pixel_bytes) {
  return {.address = address,
          .row_stride = columns * pixel_bytes,
          .pixel_stride = pixel_bytes,
          .ring_rows = 0,
          .ring_first = 0};
}

// `bytes` contiguous bytes between external `offset` and SRAM `address`.
inline npu_command_dma transfer(npu_opcode opcode, uint32_t address, uint32_t bytes,
                                uint64_t offset = 0) {
  npu_command_dma dma = {};
  dma.header.opcode = opcode;
  dma.external_offset = offset;
  dma.sram_address = address;
  for (int i = 0; i < 4; ++i) dma.size[i] = 1;
  dma.size[0] = bytes;
  dma.sram_stride[0] = 1;
  if (opcode == NPU_OP_LOAD || opcode == NPU_OP_STORE) dma.external_stride[0] = 1;
  return dma;
}

struct ConvShape {
  uint16_t in_h, in_w, in_c, out_h, out_w, out_c;
  uint8_t kernel_h = 1, kernel_w = 1, stride = 1, pad = 0;
  uint16_t groups = 1;
};

// Operands at 0 (input), then weights, then output, one after the other, each
// 64-byte aligned; int8 out, one scale, no bias.
inline npu_command_mac convolution(const ConvShape& s, npu_opcode opcode = NPU_OP_CONV) {
  const auto align = [](uint32_t v) { return (v + 63) / 64 * 64; };
  npu_command_mac mac = {};
  mac.header.opcode = opcode;
  mac.types = NPU_TYPES(NPU_TYPE_INT8, NPU_TYPE_INT8, NPU_TYPE_INT8, 0);
  mac.in_h = s.in_h, mac.in_w = s.in_w, mac.in_c = s.in_c;
  mac.out_h = s.out_h, mac.out_w = s.out_w, mac.out_c = s.out_c;
  mac.kernel_h = s.kernel_h, mac.kernel_w = s.kernel_w;
  mac.stride_y = mac.stride_x = s.stride;
  mac.dilation_y = mac.dilation_x = 1;
  mac.pad_top = mac.pad_left = s.pad;
  mac.groups = opcode == NPU_OP_DEPTHWISE ? s.in_c : s.groups;
  mac.clamp_low = -128, mac.clamp_high = 127;
  mac.scale_f32 = f32_bits(0.01f);
  mac.input = dense(0, s.in_w, s.in_c);
  mac.weights = align(uint32_t{s.in_h} * s.in_w * s.in_c);
  mac.weight_stride = uint32_t{s.kernel_h} * s.kernel_w * s.in_c / mac.groups;
  mac.weight_bytes = mac.weight_stride * s.out_c;
  mac.output = dense(mac.weights + align(mac.weight_bytes), s.out_w, s.out_c);
  return mac;
}

inline npu_command_mac matmul(uint16_t rows, uint16_t k, uint16_t n) {
  return convolution({.in_h = 1, .in_w = rows, .in_c = k, .out_h = 1, .out_w = rows, .out_c = n},
                     NPU_OP_MATMUL);
}

// a at 0, b and out behind it.
inline npu_command_vec elementwise(npu_vec_function function, uint16_t h, uint16_t w,
                                   uint16_t channels) {
  const uint32_t bytes = uint32_t{h} * w * channels;
  npu_command_vec vec = {};
  vec.header.opcode = NPU_OP_VEC;
  vec.function = static_cast<uint8_t>(function);
  const bool binary = function == NPU_VEC_ADD || function == NPU_VEC_MUL;
  vec.types = NPU_TYPES(function == NPU_VEC_CAST ? NPU_TYPE_INT32 : NPU_TYPE_INT8,
                        binary ? NPU_TYPE_INT8 : 0, NPU_TYPE_INT8, 0);
  const uint32_t a_pixel = channels * (function == NPU_VEC_CAST ? 4u : 1u);
  vec.a = dense(0, w, a_pixel);
  if (binary) vec.b = dense(bytes, w, channels);
  vec.out = dense(4 * bytes, w, channels);
  vec.in_h = vec.out_h = h;
  vec.in_w = vec.out_w = w;
  vec.channels = channels;
  if (function == NPU_VEC_LUT) {
    vec.table = 5 * bytes;
    return vec;
  }
  vec.p0_f32 = f32_bits(0.5f);
  if (function == NPU_VEC_ADD) vec.p1_f32 = f32_bits(0.25f), vec.p2_f32 = f32_bits(-3.0f);
  vec.low = -128, vec.high = 127;
  if (function == NPU_VEC_POOL_GLOBAL) vec.out_h = vec.out_w = 1;
  return vec;
}

// SOFTMAX (integer), LAYER_NORM, REDUCE (sum over rows and columns) or RESIZE
// (to the same size); the table behind the operands.
inline npu_command_vec row_function(npu_vec_function function, uint16_t h, uint16_t w,
                                    uint16_t channels) {
  npu_command_vec vec = elementwise(NPU_VEC_POOL_GLOBAL, h, w, channels);
  vec.function = static_cast<uint8_t>(function);
  if (function == NPU_VEC_REDUCE) return vec;
  vec.out_h = h, vec.out_w = w;
  vec.table = (6 * uint32_t{h} * w * channels + 15) / 16 * 16;
  if (function == NPU_VEC_SOFTMAX) vec.p0_f32 = f32_bits(256);
  if (function == NPU_VEC_LAYER_NORM)
    vec.p1_f32 = f32_bits(0.25f), vec.epsilon_f32 = f32_bits(1e-5f);
  if (function == NPU_VEC_RESIZE) vec.p0_f32 = 0, vec.low = vec.high = 0;
  return vec;
}

inline npu_command_vec pool(npu_vec_function function, uint16_t in, uint16_t out, uint16_t channels,
                            uint8_t kernel, uint8_t stride, uint8_t pad = 0) {
  npu_command_vec vec = elementwise(NPU_VEC_LUT, in, in, channels);
  vec.function = static_cast<uint8_t>(function);
  vec.table = 0;
  vec.out = dense(uint32_t{in} * in * channels, out, channels);
  vec.out_h = vec.out_w = out;
  vec.kernel_h = vec.kernel_w = kernel;
  vec.stride_y = vec.stride_x = stride;
  vec.pad_top = vec.pad_left = pad;
  if (function == NPU_VEC_POOL_AVERAGE) {
    vec.p0_f32 = f32_bits(0.5f), vec.p1_f32 = f32_bits(0.25f);
    vec.low = -128, vec.high = 127;
  }
  return vec;
}

}  // namespace npu::arch::test

#endif  // NPU_ARCH_TEST_COMMANDS_H_
