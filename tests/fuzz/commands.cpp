// SPDX-License-Identifier: MIT
#include "commands.h"

#include <algorithm>

#include "arch/numerics.h"
#include "arch/stream.h"
#include "arch/test_commands.h"
#include "npu/command.h"
#include "npu/queue.h"

namespace npu::fuzz {

using arch::f32_bits;

uint16_t extent(Input& in, unsigned most) {
  return static_cast<uint16_t>(1 + in.pick(most));
}

namespace {

// Tables behind the operands, where the templates keep theirs.
constexpr uint32_t kTables = 0xc000;
constexpr uint32_t kBias = kTables;
constexpr uint32_t kScales = kTables + 0x800;
constexpr uint32_t kLut1 = kTables + 0x1000;
constexpr uint32_t kLut2 = kTables + 0x1100;
constexpr uint32_t kWeightZeros = kTables + 0x1200;
constexpr uint32_t kResidual = kTables + 0x1400;

// float parameters that are valid, or not.
uint32_t factor(Input& in) {
  static constexpr float kFactors[] = {0.01f, 0.5f, 1.0f, 3.7f, -1.0f, 0.0f, 1e30f, 1e-40f};
  const uint8_t code = in.u8();
  if (code == 0xff) return in.u32();
  return code == 0xfe ? 0x7fc00000 : code == 0xfd ? 0x7f800000 : f32_bits(kFactors[code % 8]);
}

}  // namespace

npu_command_dma dma_block(Input& in, npu_opcode opcode) {
  npu_command_dma dma = {};
  dma.header.opcode = static_cast<uint8_t>(opcode);
  const uint8_t shape = in.u8();
  dma.element_log2 = shape & 3;
  const bool transposed = (shape & 4) != 0;
  const bool padded = (shape & 8) != 0 && opcode == NPU_OP_LOAD;
  const bool ring = (shape & 16) != 0;
  const bool spread = (shape & 32) != 0;
  // In external memory, behind each run of dimension 0 or of dimension 1.
  const uint32_t gap = (shape & 0xc0) != 0 ? static_cast<uint32_t>(in.number() & 0xfffff) : 0;
  const uint32_t element = 1u << dma.element_log2;
  for (auto& size : dma.size) size = extent(in, 16);
  if (padded) {
    for (auto& pad : dma.pad_before) pad = static_cast<uint16_t>(in.pick(4));
    for (auto& pad : dma.pad_after) pad = static_cast<uint16_t>(in.pick(4));
  }
  if (opcode == NPU_OP_FILL || padded) dma.pad_value = in.u8();
  uint32_t sram = element + (spread ? element : 0);
  uint32_t external = element;
  for (int i = 0; i < 4; ++i) {
    const int from = transposed ? 3 - i : i;
    dma.sram_stride[i] = sram;
    dma.external_stride[from] = external;
    sram *= dma.size[i] + (i < 3 ? dma.pad_before[i] + dma.pad_after[i] : 0u);
    external *= dma.size[from];
    if ((shape >> 6 & 1) != 0 && i == 0) external += gap << dma.element_log2;
    if ((shape >> 7 & 1) != 0 && i == 1) external += gap << dma.element_log2;
  }
  if (ring) {
    dma.ring_rows =
        static_cast<uint16_t>(dma.size[2] + dma.pad_before[2] + dma.pad_after[2] + in.pick(3));
    dma.ring_first = static_cast<uint16_t>(in.pick(dma.ring_rows));
    dma.sram_stride[3] = dma.sram_stride[2] * dma.ring_rows;
  }
  dma.sram_address = static_cast<uint32_t>(in.number());
  if (opcode == NPU_OP_LOAD || opcode == NPU_OP_STORE) {
    dma.region = static_cast<uint8_t>(in.pick(7));
    dma.external_offset = in.number();
  } else if (opcode == NPU_OP_SRAM_COPY) {
    dma.source_address = static_cast<uint32_t>(in.number());
  } else {
    std::fill(std::begin(dma.external_stride), std::end(dma.external_stride), 0u);
  }
  return dma;
}

npu_command_dma run_of_bytes(Input& in, npu_opcode opcode) {
  const uint32_t sram = static_cast<uint32_t>(in.number()) * 16;
  const uint32_t bytes = 16u * extent(in, 256);
  const uint64_t offset = in.number() * 16;
  npu_command_dma dma = arch::test::transfer(opcode, sram, bytes, offset);
  dma.region = static_cast<uint8_t>(in.pick(7));
  return dma;
}

namespace {

unsigned shorter(unsigned size, unsigned kernel, unsigned stride, unsigned dilation, unsigned pad) {
  const unsigned reach = (kernel - 1) * dilation + 1;
  return size + 2 * pad < reach ? 1 : (size + 2 * pad - reach) / stride + 1;
}

// A ring of as many rows or a few more, whose end lies within the tensor.
void wrap(Input& in, npu_sram_tensor& tensor, uint32_t rows) {
  tensor.ring_rows = static_cast<uint16_t>(rows + in.pick(4));
  tensor.ring_first = static_cast<uint16_t>(tensor.ring_rows - 1 - in.pick(rows));
}

}  // namespace

npu_command_mac mac_command(Input& in, npu_opcode opcode, npu_mac_extension& ext, bool& extended) {
  npu_command_mac mac;
  if (opcode == NPU_OP_MATMUL) {
    const uint16_t rows = extent(in, 40), k = extent(in, 64), n = extent(in, 40);
    mac = arch::test::matmul(rows, k, n);
  } else {
    arch::test::ConvShape s = {};
    s.in_h = extent(in, 12);
    s.in_w = extent(in, 12);
    s.in_c = extent(in, 24);
    s.out_c = opcode == NPU_OP_DEPTHWISE ? s.in_c : extent(in, 40);
    s.kernel_h = static_cast<uint8_t>(extent(in, 5));
    s.kernel_w = static_cast<uint8_t>(extent(in, 5));
    s.stride = static_cast<uint8_t>(extent(in, 3));
    s.pad = static_cast<uint8_t>(in.pick(3));
    const unsigned dilation = extent(in, 2);
    if (opcode == NPU_OP_CONV && in.flag()) {
      s.groups = extent(in, 4);
      s.in_c = static_cast<uint16_t>(s.in_c * s.groups);
      s.out_c = static_cast<uint16_t>(s.out_c * s.groups);
    }
    s.out_h = static_cast<uint16_t>(shorter(s.in_h, s.kernel_h, s.stride, dilation, s.pad));
    s.out_w = static_cast<uint16_t>(shorter(s.in_w, s.kernel_w, s.stride, dilation, s.pad));
    mac = arch::test::convolution(s, opcode);
    mac.dilation_y = mac.dilation_x = static_cast<uint8_t>(dilation);
  }
  const uint8_t options = in.u8();
  const uint8_t chain = in.u8();
  unsigned output = (options & 1) != 0 ? NPU_TYPE_UINT8 : NPU_TYPE_INT8;
  if ((options & 2) != 0) {
    mac.flags |= NPU_MAC_BIAS;
    mac.bias = kBias;
  }
  if ((options & 4) != 0) {
    mac.flags |= NPU_MAC_SCALE_PER_CHANNEL;
    mac.scales = kScales;
    mac.scale_f32 = 0;
  } else {
    mac.scale_f32 = factor(in);
  }
  if ((options & 8) != 0 && opcode == NPU_OP_MATMUL) {
    mac.flags |= NPU_MAC_WEIGHTS_KN;
    mac.weight_stride = mac.out_c;
    mac.weight_bytes = uint32_t{mac.in_c} * mac.out_c;
  }
  if (output == NPU_TYPE_UINT8) mac.clamp_low = 0, mac.clamp_high = 255;
  uint8_t more = 0;
  switch (options >> 4 & 3) {
    case 1:
      output = NPU_TYPE_INT32;
      break;
    case 2:
      output = NPU_TYPE_FP32;
      break;
    case 3:
      more = in.u8();
      break;
    default:
      break;
  }
  if ((more & 1) != 0) mac.flags |= NPU_MAC_ACTIVATION_STATIONARY;
  if ((more & 2) != 0) wrap(in, mac.input, mac.in_h);
  if ((more & 4) != 0) wrap(in, mac.output, mac.out_h);
  if ((more & 8) != 0) {
    const bool kn = (mac.flags & NPU_MAC_WEIGHTS_KN) != 0;
    mac.weight_stride += in.pick(40);
    const uint32_t rows = kn ? mac.in_c : mac.out_c;
    const uint32_t row = mac.weight_bytes / rows;
    mac.weight_bytes = (rows - 1) * mac.weight_stride + row;
  }
  if (output == NPU_TYPE_INT32 || output == NPU_TYPE_FP32) {
    mac.clamp_low = mac.clamp_high = 0;
    mac.output.address = (mac.output.address + 3) & ~3u;
    mac.output.row_stride *= 4;
    mac.output.pixel_stride *= 4;
    if (output == NPU_TYPE_INT32) {
      mac.scale_f32 = mac.scales = 0;
      mac.flags &= static_cast<uint16_t>(~NPU_MAC_SCALE_PER_CHANNEL);
    }
  }
  const unsigned input = (options & 64) != 0 ? NPU_TYPE_UINT8 : NPU_TYPE_INT8;
  const unsigned weight = (options & 128) != 0 ? NPU_TYPE_UINT8 : NPU_TYPE_INT8;
  mac.input_zero = static_cast<int16_t>(in.pick(100));
  mac.weight_zero = static_cast<int16_t>(in.pick(100));
  unsigned residual = 0;
  if ((chain & 1) != 0) {
    mac.accumulate |= NPU_ACCUMULATE_ADD;
    mac.flags &= static_cast<uint16_t>(~NPU_MAC_BIAS);
    mac.bias = 0;
  }
  if ((chain & 2) != 0) {
    mac.accumulate |= NPU_ACCUMULATE_KEEP;
    mac.flags &= static_cast<uint16_t>(~NPU_MAC_SCALE_PER_CHANNEL);
    mac.scale_f32 = mac.scales = 0;
    mac.output = {};
    mac.clamp_low = mac.clamp_high = 0;
    output = 0;
  }
  if ((chain & 4) != 0 && mac.accumulate != 0) mac.accumulator_base = 64;
  extended = (chain & 0xf8) != 0;
  ext = {};
  if ((chain & 8) != 0) {
    ext.flags |= NPU_EXT_LUT1;
    ext.lut1 = kLut1;
  }
  if ((chain & 16) != 0) {
    ext.flags |= NPU_EXT_RESIDUAL;
    const uint8_t how = in.u8();
    if ((how & 1) != 0) ext.flags |= NPU_EXT_RESIDUAL_FIRST;
    residual = (how & 2) != 0 ? NPU_TYPE_UINT8 : NPU_TYPE_INT8;
    ext.residual = mac.output;
    if ((how & 4) == 0) ext.residual.address = kResidual;
    ext.ra_f32 = factor(in);
    ext.rb_f32 = factor(in);
    ext.fix_f32 = factor(in);
    ext.residual_low = mac.clamp_low;
    ext.residual_high = mac.clamp_high;
    if ((how & 8) != 0) {
      ext.flags |= NPU_EXT_LUT2;
      ext.lut2 = kLut2;
    }
  }
  if ((chain & 32) != 0) {
    ext.pool_kind = static_cast<uint8_t>(1 + in.pick(2));
    ext.pool_h = static_cast<uint8_t>(extent(in, 3));
    ext.pool_w = static_cast<uint8_t>(extent(in, 3));
    if (ext.pool_kind == NPU_POOL_AVERAGE) {
      ext.pool_in_scale_f32 = factor(in);
      ext.pool_out_scale_f32 = factor(in);
    }
    mac.output.row_stride = uint32_t{mac.out_w} * mac.out_c;
  }
  if ((chain & 64) != 0) {
    ext.flags |= NPU_EXT_WEIGHT_ZEROS;
    ext.weight_zeros = kWeightZeros;
    mac.weight_zero = 0;
  }
  if ((chain & 128) != 0) {
    ext.batch_count = extent(in, 3);
    ext.batch_input = static_cast<uint32_t>(in.number());
    ext.batch_weights = static_cast<uint32_t>(in.number());
    ext.batch_output = static_cast<uint32_t>(in.number());
    if ((chain & 16) != 0) ext.batch_residual = ext.batch_output;
  }
  mac.types = NPU_TYPES(input, weight, output, residual);
  return mac;
}

namespace {

// The variants that a function has; rings.
void vary(Input& in, npu_command_vec& vec) {
  const uint8_t how = in.u8();
  const auto no_quantization = [&vec] { vec.p0_f32 = 0, vec.low = vec.high = 0; };
  switch (vec.function) {
    case NPU_VEC_REDUCE: {
      if ((how & 1) != 0) {
        vec.flags |= NPU_VEC_REDUCE_MAX;
        no_quantization();
      }
      if ((how & 2) != 0) vec.flags |= NPU_VEC_REDUCE_CHANNELS;
      if ((how & 4) != 0) vec.out_h = vec.in_h;
      if ((how & 8) != 0) vec.out_w = vec.in_w;
      break;
    }
    case NPU_VEC_SOFTMAX:
      if ((how & 1) != 0) vec.flags |= NPU_VEC_SOFTMAX_FP32;
      if ((how & 2) != 0) vec.table = kTables;
      break;
    case NPU_VEC_RESIZE:
      vec.out_h = extent(in, 12);
      vec.out_w = extent(in, 12);
      vec.out = arch::test::dense(0x4000, vec.out_w, vec.channels);
      vec.table = kTables;
      if ((how & 1) == 0) break;
      vec.flags |= NPU_VEC_RESIZE_LINEAR;
      if ((how & 2) != 0) {
        vec.flags |= NPU_VEC_RESIZE_TRUNCATE;
      } else {
        vec.p0_f32 = f32_bits(0.75f);
        vec.low = -128, vec.high = 127;
      }
      break;
    default:
      break;
  }
  if ((how & 16) != 0) wrap(in, vec.a, vec.in_h);
  if ((how & 32) != 0) wrap(in, vec.out, vec.out_h);
  if ((how & 64) != 0 && NPU_TYPE_AT(vec.types, 1) != 0) wrap(in, vec.b, vec.in_h);
}

}  // namespace

npu_command_vec vec_command(Input& in) {
  const auto function = static_cast<npu_vec_function>(in.pick(12));
  const uint8_t options = in.u8();
  npu_command_vec vec;
  if (function == NPU_VEC_POOL_MAX || function == NPU_VEC_POOL_AVERAGE) {
    const uint16_t size = extent(in, 12);
    const auto kernel = static_cast<uint8_t>(extent(in, 4));
    const auto stride = static_cast<uint8_t>(extent(in, 3));
    const auto pad = static_cast<uint8_t>(in.pick(kernel));
    const auto out = static_cast<uint16_t>(shorter(size, kernel, stride, 1, pad));
    const uint16_t channels = extent(in, 40);
    vec = arch::test::pool(function, size, out, channels, kernel, stride, pad);
    if (function == NPU_VEC_POOL_AVERAGE && (options & 4) != 0) vec.flags |= NPU_VEC_COUNT_PAD;
  } else {
    const uint16_t h = extent(in, 12), w = extent(in, 12), channels = extent(in, 64);
    const bool rows = function >= NPU_VEC_REDUCE && function <= NPU_VEC_RESIZE;
    vec = rows ? arch::test::row_function(function, h, w, channels)
               : arch::test::elementwise(function, h, w, channels);
  }
  if ((options & 128) != 0) vary(in, vec);
  unsigned types[3];
  for (int i = 0; i < 3; ++i) types[i] = NPU_TYPE_AT(vec.types, i);
  if ((options & 1) != 0) {
    for (unsigned& type : types)
      if (type == NPU_TYPE_INT8) type = NPU_TYPE_UINT8;
    if (vec.low != vec.high) vec.low = 0, vec.high = 255;
  }
  if ((options & 2) != 0 && types[0] == NPU_TYPE_INT32) types[0] = NPU_TYPE_FP32;
  vec.types = NPU_TYPES(types[0], types[1], types[2], 0);
  if ((options & 8) != 0 && types[1] != 0) vec.flags |= NPU_VEC_BROADCAST_B;
  if ((options & 16) != 0) vec.out.address = vec.a.address;
  if ((options & 32) != 0 && types[1] != 0) vec.out = vec.b;
  if ((options & 64) != 0) vec.p0_f32 = factor(in);
  return vec;
}

npu_command_yield yield_command(Input& in) {
  npu_command_yield command = {};
  command.range_count = in.pick(NPU_YIELD_RANGES + 1);
  for (uint32_t i = 0; i < command.range_count; ++i) {
    command.live[i].address = static_cast<uint32_t>(in.number());
    command.live[i].bytes = 1 + static_cast<uint32_t>(in.number());
  }
  return command;
}

}  // namespace npu::fuzz
