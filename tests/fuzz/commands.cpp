// SPDX-License-Identifier: MIT
#include "commands.h"

#include <algorithm>
#include <cstring>

#include "arch/numerics.h"
#include "arch/stream.h"
#include "arch/test_commands.h"
#include "npu/command.h"
#include "npu/queue.h"

namespace npu::fuzz {
namespace {

using arch::f32_bits;

// Tables behind the operands, where the templates keep theirs.
constexpr uint32_t kTables = 0xc000;
constexpr uint32_t kBias = kTables;
constexpr uint32_t kScales = kTables + 0x800;
constexpr uint32_t kLut1 = kTables + 0x1000;
constexpr uint32_t kLut2 = kTables + 0x1100;
constexpr uint32_t kWeightZeros = kTables + 0x1200;
constexpr uint32_t kResidual = kTables + 0x1400;

uint16_t extent(Input& in, unsigned most) {
  return static_cast<uint16_t>(1 + in.pick(most));
}

// float parameters that are valid, or not.
uint32_t factor(Input& in) {
  static constexpr float kFactors[] = {0.01f, 0.5f, 1.0f, 3.7f, -1.0f, 0.0f, 1e30f, 1e-40f};
  const uint8_t code = in.u8();
  if (code == 0xff) return in.u32();
  return code == 0xfe ? 0x7fc00000 : code == 0xfd ? 0x7f800000 : f32_bits(kFactors[code % 8]);
}

npu_command_dma dma_block(Input& in, npu_opcode opcode) {
  npu_command_dma dma = {};
  dma.header.opcode = static_cast<uint8_t>(opcode);
  const uint8_t shape = in.u8();
  dma.element_log2 = shape & 3;
  const bool transposed = (shape & 4) != 0;
  const bool padded = (shape & 8) != 0 && opcode == NPU_OP_LOAD;
  const bool ring = (shape & 16) != 0;
  const bool spread = (shape & 32) != 0;
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

unsigned shorter(unsigned size, unsigned kernel, unsigned stride, unsigned dilation, unsigned pad) {
  const unsigned reach = (kernel - 1) * dilation + 1;
  return size + 2 * pad < reach ? 1 : (size + 2 * pad - reach) / stride + 1;
}

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
  switch (options >> 4 & 3) {
    case 1:
      output = NPU_TYPE_INT32;
      break;
    case 2:
      output = NPU_TYPE_FP32;
      break;
    default:
      break;
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
  }
  mac.types = NPU_TYPES(input, weight, output, residual);
  return mac;
}

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

npu_command_yield yield(Input& in) {
  npu_command_yield command = {};
  command.range_count = in.pick(NPU_YIELD_RANGES + 1);
  for (uint32_t i = 0; i < command.range_count; ++i) {
    command.live[i].address = static_cast<uint32_t>(in.number());
    command.live[i].bytes = 1 + static_cast<uint32_t>(in.number());
  }
  return command;
}

// Waits as the script wants them; by default for everything before.
template <typename T>
void add_waits(Input& in, T& command, const arch::StreamBuilder& stream, unsigned core,
               unsigned gang) {
  switch (in.pick(4)) {
    case 0:
      for (unsigned e = 0; e < NPU_ENGINE_COUNT; ++e) {
        const auto engine = static_cast<npu_engine>(e);
        arch::add_wait(command.header, engine, stream.count(engine), core);
      }
      break;
    case 1:
      break;
    case 2: {
      const auto engine = static_cast<npu_engine>(in.pick(NPU_ENGINE_COUNT));
      arch::add_wait(command.header, engine, stream.count(engine), core);
      break;
    }
    default:
      for (unsigned i = 1 + in.pick(4); i > 0; --i) {
        const auto engine = static_cast<npu_engine>(in.pick(NPU_ENGINE_COUNT));
        const uint32_t count = in.pick(4);
        command.header.wait[i - 1] = arch::encode_wait(engine, count, in.pick(gang));
      }
  }
}

}  // namespace

void change_words(Input& in, uint8_t* bytes, size_t size) {
  for (unsigned n = in.u8() & 3; n > 0; --n) {
    const size_t at = in.pick(static_cast<uint32_t>(size / 2)) * size_t{2};
    const uint8_t how = in.u8();
    uint16_t word;
    std::memcpy(&word, bytes + at, 2);
    switch (how >> 6) {
      case 0:  // 0..3 and edges
        word = (how & 0x20) != 0 ? static_cast<uint16_t>(0x7ffe + (how & 0x1f))
                                 : static_cast<uint16_t>(how & 0x1f);
        break;
      case 1:
        word ^= static_cast<uint16_t>(1u << (how & 15));
        break;
      case 2:
        word = static_cast<uint16_t>(word + (how & 0x3f) - 0x20);
        break;
      default:
        word = (how & 0x20) != 0 ? in.u16() : static_cast<uint16_t>(0xffff - (how & 0x1f));
    }
    std::memcpy(bytes + at, &word, 2);
  }
}

std::vector<uint8_t> make_stream(Input& in, unsigned core, unsigned gang, size_t most) {
  arch::StreamBuilder stream;
  std::vector<size_t> begins;
  const unsigned commands = in.pick(24);
  for (unsigned i = 0; i < commands; ++i) {
    if (stream.bytes().size() + 2 * NPU_RECORD_BYTES > most) break;
    const auto place = [&](auto command) {
      add_waits(in, command, stream, core, gang);
      stream.append(command);
    };
    const auto place_mac = [&](npu_opcode opcode) {
      npu_mac_extension extension;
      bool extended;
      npu_command_mac mac = mac_command(in, opcode, extension, extended);
      add_waits(in, mac, stream, core, gang);
      if (extended)
        stream.append(mac, extension);
      else
        stream.append(mac);
    };
    const size_t begin = stream.bytes().size();
    switch (in.pick(14)) {
      case 0:
        place(run_of_bytes(in, NPU_OP_LOAD));
        break;
      case 1:
        place(run_of_bytes(in, NPU_OP_STORE));
        break;
      case 2:
        place(dma_block(in, NPU_OP_LOAD));
        break;
      case 3:
        place(dma_block(in, NPU_OP_STORE));
        break;
      case 4:
        place(dma_block(in, NPU_OP_FILL));
        break;
      case 5:
        place(dma_block(in, NPU_OP_SRAM_COPY));
        break;
      case 6: {
        npu_command_dma dma = dma_block(in, NPU_OP_SRAM_COPY);
        dma.header.opcode = NPU_OP_PEER_LOAD;
        dma.peer_core = static_cast<uint8_t>(in.pick(4));
        place(dma);
        break;
      }
      case 7:
        place_mac(NPU_OP_CONV);
        break;
      case 8:
        place_mac(NPU_OP_DEPTHWISE);
        break;
      case 9:
        place_mac(NPU_OP_MATMUL);
        break;
      case 10:
      case 11:
        place(vec_command(in));
        break;
      case 12:
        place(yield(in));
        break;
      default: {
        npu_command_yield nop = {};
        add_waits(in, nop, stream, core, gang);
        stream.append_nop(nop.header);
      }
    }
    begins.push_back(begin);
  }
  std::vector<uint8_t> bytes(stream.bytes().size());
  if (!bytes.empty()) std::memcpy(bytes.data(), stream.bytes().data(), bytes.size());
  // Changes come last, so that a mutation of them leaves the stream's shape alone.
  for (unsigned n = in.u8() & 3; n > 0 && !begins.empty(); --n) {
    const size_t begin = begins[in.pick(static_cast<uint32_t>(begins.size()))];
    const size_t size = std::min<size_t>(bytes.size() - begin, 2 * NPU_RECORD_BYTES);
    change_words(in, bytes.data() + begin, size);
  }
  return bytes;
}

}  // namespace npu::fuzz
