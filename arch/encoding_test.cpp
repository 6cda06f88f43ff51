// SPDX-License-Identifier: MIT
//
// Every byte of every kind of command: whatever value it is given, the command
// is refused, or it is another command and its disassembly says so.
#include <gtest/gtest.h>

#include <cstring>

#include "arch/test_commands.h"

namespace npu::arch {
namespace {

using namespace test;

constexpr unsigned kGang = 3, kCore = 1;

struct Kind {
  const char* name;
  StreamBuilder stream;  // one command that makes use of most of its fields
};

template <typename... Records>
Kind kind(const char* name, Records... records) {
  Kind result{name, {}};
  result.stream.append(records...);
  return result;
}

npu_command_dma block(npu_opcode opcode) {
  npu_command_dma dma = transfer(opcode, 4096, 8, opcode == NPU_OP_FILL ? 0 : 64);
  dma.element_log2 = 1;
  const uint32_t strides[] = {2, 64, 512, 8192};
  for (int i = 0; i < 4; ++i) {
    dma.size[i] = 3 + static_cast<uint32_t>(i);
    dma.sram_stride[i] = strides[i];
    dma.external_stride[i] = opcode == NPU_OP_FILL ? 0 : strides[i];
  }
  dma.ring_rows = 6, dma.ring_first = 3;
  return dma;
}

npu_sram_tensor ring(uint32_t address, uint32_t columns, uint32_t pixel_bytes, uint16_t rows) {
  npu_sram_tensor tensor = dense(address, columns, pixel_bytes + 16);
  tensor.ring_rows = rows;
  tensor.ring_first = static_cast<uint16_t>(rows - 1);
  return tensor;
}

std::vector<Kind> kinds() {
  std::vector<Kind> all;
  npu_command_header header = {};
  header.wait[0] = encode_wait(NPU_ENGINE_MAC, 3, 0);
  all.push_back({"NOP", {}});
  all.back().stream.append_nop(header);
  npu_command_yield yield = {};
  yield.range_count = 2;
  yield.live[0] = {64, 128}, yield.live[1] = {4096, 64};
  all.push_back(kind("YIELD", yield));

  npu_command_dma load = block(NPU_OP_LOAD);
  load.pad_before[1] = 1, load.pad_after[0] = 2, load.pad_value = 0x1234, load.ring_rows = 9;
  load.ring_first = 7, load.region = 2, load.multicast = 5;
  load.header.wait[0] = encode_wait(NPU_ENGINE_VEC, 2, 2);
  all.push_back(kind("LOAD", load));
  all.push_back(kind("STORE", block(NPU_OP_STORE)));
  npu_command_dma fill = block(NPU_OP_FILL);
  fill.external_offset = 0, fill.pad_value = 0x4321;
  all.push_back(kind("FILL", fill));
  npu_command_dma copy = block(NPU_OP_SRAM_COPY);
  copy.external_offset = 0, copy.source_address = 1 << 20;
  all.push_back(kind("SRAM_COPY", copy));
  copy.header.opcode = NPU_OP_PEER_LOAD;
  copy.peer_core = 2;
  all.push_back(kind("PEER_LOAD", copy));

  npu_command_mac conv = convolution({9, 8, 16, 4, 4, 32, 3, 2, 2, 1, 2});
  conv.flags = NPU_MAC_BIAS | NPU_MAC_SCALE_PER_CHANNEL;
  conv.bias = 0x30000, conv.scales = 0x31000, conv.scale_f32 = 0;
  conv.input = ring(0, 8, 16, 9), conv.weights = 0x10000, conv.output = dense(0x20000, 4, 32);
  conv.dilation_y = 2, conv.input_zero = 3, conv.output_zero = -7, conv.clamp_low = -100;
  conv.types = NPU_TYPES(NPU_TYPE_UINT8, NPU_TYPE_INT8, NPU_TYPE_INT8, NPU_TYPE_UINT8);
  all.push_back(kind("CONV", conv, [] {
    npu_mac_extension e = {};
    e.flags = NPU_EXT_LUT1 | NPU_EXT_LUT2 | NPU_EXT_RESIDUAL | NPU_EXT_WEIGHT_ZEROS;
    e.residual = ring(0x40000, 4, 32, 5);
    e.residual.ring_first = 3;
    e.ra_f32 = f32_bits(0.5f), e.rb_f32 = f32_bits(0.25f), e.fix_f32 = f32_bits(3);
    e.residual_low = -90, e.residual_high = 110;
    e.lut1 = 0x50000, e.lut2 = 0x51000, e.weight_zeros = 0x52000;
    e.pool_kind = NPU_POOL_AVERAGE, e.pool_h = e.pool_w = 2;
    e.pool_in_scale_f32 = f32_bits(1), e.pool_out_scale_f32 = f32_bits(2);
    e.pool_in_zero = 1, e.pool_out_zero = -1;
    e.batch_count = 3, e.batch_input = 16, e.batch_weights = 4096, e.batch_output = 1024;
    e.batch_residual = 2048;
    return e;
  }()));
  npu_command_mac single = convolution({8, 8, 16, 8, 8, 32, 3, 3, 1, 1});
  single.weight_zero = 5;
  all.push_back(kind("CONV without extension", single));
  npu_command_mac keep = convolution({4, 8, 16, 4, 8, 32});
  keep.accumulate = NPU_ACCUMULATE_KEEP;
  keep.types = NPU_TYPES(NPU_TYPE_INT8, NPU_TYPE_INT8, 0, 0);
  keep.output = {}, keep.clamp_low = keep.clamp_high = 0, keep.scale_f32 = 0;
  all.push_back(kind("CONV with KEEP", keep));
  all.push_back(kind("DEPTHWISE", convolution({8, 8, 16, 8, 8, 16, 3, 3, 1, 1}, NPU_OP_DEPTHWISE)));
  npu_command_mac product = matmul(8, 64, 32);
  product.flags = NPU_MAC_WEIGHTS_KN | NPU_MAC_ACTIVATION_STATIONARY;
  product.types = NPU_TYPES(NPU_TYPE_INT8, NPU_TYPE_UINT8, NPU_TYPE_FP32, 0);
  product.weight_stride = 40, product.weight_bytes = 63 * 40 + 32, product.clamp_low = 0;
  product.clamp_high = 0, product.output = dense(0x20000, 8, 128);
  all.push_back(kind("MATMUL", product));

  for (const auto f : {NPU_VEC_ADD, NPU_VEC_MUL, NPU_VEC_LUT, NPU_VEC_POOL_GLOBAL, NPU_VEC_CAST})
    all.push_back(kind(vec_function_name(f), elementwise(f, 4, 6, 8)));
  for (const auto f : {NPU_VEC_REDUCE, NPU_VEC_SOFTMAX, NPU_VEC_LAYER_NORM, NPU_VEC_RESIZE})
    all.push_back(kind(vec_function_name(f), row_function(f, 4, 6, 8)));
  for (const auto f : {NPU_VEC_POOL_MAX, NPU_VEC_POOL_AVERAGE})
    all.push_back(kind(vec_function_name(f), pool(f, 9, 4, 8, 3, 2, 1)));
  return all;
}

TEST(Encoding, EveryByteMeansSomethingOrIsRefused) {
  const npu_target& card = *find_target("card");
  for (const Kind& kind : kinds()) {
    std::vector<std::byte> bytes = kind.stream.bytes();
    Stream stream;
    StreamError error;
    ASSERT_TRUE(decode_stream(bytes, card, kCore, kGang, stream, error))
        << kind.name << ": " << error.text;
    const std::string line = disassemble(stream[0]);
    int refused = 0, other = 0;
    for (size_t at = 0; at < bytes.size(); ++at) {
      const bool report_only =
          at >= offsetof(npu_command_header, source_op) && at < offsetof(npu_command_header, wait);
      const std::byte original = bytes[at];
      for (unsigned value = 0; value < 256; ++value) {
        if (std::byte(value) == original) continue;
        bytes[at] = std::byte(value);
        if (!decode_stream(bytes, card, kCore, kGang, stream, error)) {
          ++refused;
          EXPECT_FALSE(report_only) << kind.name << ", byte " << at;
          EXPECT_FALSE(error.text.empty());
          continue;
        }
        ++other;
        if ((disassemble(stream[0]) == line) == report_only) continue;
        ADD_FAILURE() << kind.name << ": byte " << at << " as " << value
                      << " says nothing: " << line;
        break;
      }
      bytes[at] = original;
    }
    EXPECT_GT(refused, 5000) << kind.name;
    EXPECT_GT(other, 4 * 255) << kind.name;
  }
}

}  // namespace
}  // namespace npu::arch
