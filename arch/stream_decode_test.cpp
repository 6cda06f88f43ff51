// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstring>

#include "arch/test_commands.h"

namespace npu::arch {
namespace {

using namespace test;

const npu_target& card() {
  return *find_target("card");
}

struct Decoded {
  bool ok;
  Stream stream;
  StreamError error;
};

using Bytes = std::vector<std::byte>;

Decoded decode(const Bytes& bytes) {
  Decoded result;
  result.ok = decode_stream(bytes, card(), 0, 1, result.stream, result.error);
  return result;
}

Decoded decode(const StreamBuilder& builder) {
  return decode(builder.bytes());
}

template <typename T>
Decoded decode_one(const T& command) {
  StreamBuilder builder;
  builder.append(command);
  return decode(builder);
}

TEST(StreamDecode, RoundTrip) {
  StreamBuilder builder;
  EXPECT_EQ(builder.append(transfer(NPU_OP_LOAD, 0, 1024)), 1u);
  npu_command_mac mac = convolution({8, 8, 16, 8, 8, 32, 3, 3, 1, 1});
  mac.header.source_op = 7;
  ASSERT_TRUE(add_wait(mac.header, NPU_ENGINE_LOAD, 1));
  npu_mac_extension extension = {};
  extension.flags = NPU_EXT_LUT1;
  extension.lut1 = 0x10000;
  EXPECT_EQ(builder.append(mac, extension), 1u);
  EXPECT_EQ(builder.append(elementwise(NPU_VEC_ADD, 4, 4, 8)), 1u);
  builder.append(npu_command_yield{});
  builder.append_nop();
  EXPECT_EQ(builder.append(transfer(NPU_OP_STORE, 0, 64)), 1u);
  EXPECT_EQ(builder.append(transfer(NPU_OP_LOAD, 0, 64)), 2u);
  EXPECT_EQ(builder.bytes().size(), 8u * NPU_RECORD_BYTES);

  const Decoded result = decode(builder);
  ASSERT_TRUE(result.ok) << result.error.text;
  ASSERT_EQ(result.stream.size(), 7u);
  mac.header.records = 2;
  mac.header.engine = NPU_ENGINE_MAC;
  EXPECT_EQ(std::memcmp(&result.stream[1].mac(), &mac, sizeof(mac)), 0);
  EXPECT_EQ(std::memcmp(&result.stream[1].extension(), &extension, sizeof(extension)), 0);
  const std::byte zeros[NPU_RECORD_BYTES] = {};
  EXPECT_EQ(std::memcmp(&result.stream[0].extension(), zeros, sizeof(zeros)), 0);
}

TEST(StreamDecode, ValidCommandsPass) {
  EXPECT_TRUE(decode_one(transfer(NPU_OP_LOAD, 0, 4096)).ok);
  EXPECT_TRUE(decode_one(transfer(NPU_OP_STORE, 0, 4096)).ok);
  EXPECT_TRUE(decode_one(transfer(NPU_OP_FILL, 0, 4096)).ok);
  EXPECT_TRUE(decode_one(convolution({8, 8, 16, 8, 8, 32, 3, 3, 1, 1})).ok);
  EXPECT_TRUE(decode_one(convolution({8, 8, 16, 8, 8, 16, 3, 3, 1, 1}, NPU_OP_DEPTHWISE)).ok);
  EXPECT_TRUE(decode_one(matmul(8, 64, 32)).ok);
  for (auto f : {NPU_VEC_ADD, NPU_VEC_MUL, NPU_VEC_LUT, NPU_VEC_POOL_GLOBAL, NPU_VEC_CAST}) {
    const Decoded r = decode_one(elementwise(f, 4, 4, 8));
    EXPECT_TRUE(r.ok) << r.error.text;
  }
  for (auto f : {NPU_VEC_REDUCE, NPU_VEC_SOFTMAX, NPU_VEC_LAYER_NORM, NPU_VEC_RESIZE}) {
    const Decoded r = decode_one(row_function(f, 4, 4, 8));
    EXPECT_TRUE(r.ok) << r.error.text;
  }
  for (auto f : {NPU_VEC_POOL_MAX, NPU_VEC_POOL_AVERAGE}) {
    const Decoded r = decode_one(pool(f, 8, 4, 8, 2, 2));
    EXPECT_TRUE(r.ok) << r.error.text;
  }
}

TEST(StreamDecode, SizeOfTheStream) {
  Stream stream;
  StreamError error;
  std::vector<std::byte> bytes(NPU_RECORD_BYTES - 1);
  EXPECT_FALSE(decode_stream(bytes, card(), 0, 1, stream, error));
  EXPECT_EQ(error.status, NPU_STATUS_BAD_COMMAND);
  EXPECT_EQ(error.command, NPU_NO_COMMAND);
  bytes.resize(NPU_STREAM_MAX_BYTES + NPU_RECORD_BYTES);
  EXPECT_FALSE(decode_stream(bytes, card(), 0, 1, stream, error));
  EXPECT_EQ(error.status, NPU_STATUS_BAD_COMMAND);
  bytes.clear();
  EXPECT_TRUE(decode_stream(bytes, card(), 0, 1, stream, error));
}

TEST(StreamDecode, SecondRecordMissing) {
  StreamBuilder builder;
  builder.append(convolution({8, 8, 16, 8, 8, 32}), npu_mac_extension{});
  Stream stream;
  StreamError error;
  EXPECT_FALSE(decode_stream(std::span(builder.bytes()).first(NPU_RECORD_BYTES), card(), 0, 1,
                             stream, error));
  EXPECT_EQ(error.status, NPU_STATUS_BAD_COMMAND);
  EXPECT_NE(error.text.find("records"), std::string::npos) << error.text;
}

// ---- One deliberately wrong command per check --------------------------------

struct BadCase {
  const char* text;  // must occur in the error's text
  Bytes stream;
  npu_status_code status = NPU_STATUS_BAD_COMMAND;
};

// A record with a header that the builder would have repaired.
Bytes raw(uint8_t records, uint8_t opcode, uint8_t engine, uint8_t flags = 0) {
  Bytes bytes(NPU_RECORD_BYTES);
  npu_command_header header = {};
  header.records = records;
  header.opcode = opcode;
  header.engine = engine;
  header.flags = flags;
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

template <typename T, typename Spoil>
Bytes spoiled(T command, Spoil spoil) {
  spoil(command);
  StreamBuilder builder;
  builder.append(command);
  return builder.bytes();
}

template <typename Spoil>
Bytes spoiled_extension(Spoil spoil, npu_command_mac mac, npu_mac_extension extension) {
  spoil(mac, extension);
  StreamBuilder builder;
  builder.append(mac, extension);
  return builder.bytes();
}

void expect_refused(const std::vector<BadCase>& cases) {
  for (const BadCase& bad : cases) {
    const Decoded result = decode(bad.stream);
    EXPECT_FALSE(result.ok) << bad.text;
    EXPECT_EQ(result.error.status, bad.status) << bad.text << ": " << result.error.text;
    EXPECT_NE(result.error.text.find(bad.text), std::string::npos)
        << "expected \"" << bad.text << "\" in \"" << result.error.text << '"';
  }
}

TEST(StreamDecode, BadHeaders) {
  const auto wait = [](uint32_t field) {
    return spoiled(transfer(NPU_OP_LOAD, 0, 64),
                   [&](npu_command_dma& d) { d.header.wait[1] = field; });
  };
  expect_refused({
      {"opcode 0x7f is unknown", raw(1, 0x7f, 0)},
      {"engine is 3", raw(1, NPU_OP_NOP, 3)},
      {"records is 0", raw(0, NPU_OP_NOP, 4)},
      {"records is 2", raw(2, NPU_OP_NOP, 4)},
      {"header flags", raw(1, NPU_OP_NOP, 4, 1)},
      {"wait[1]", wait(0x10000000)},
      {"its count is 0", wait(1u << NPU_WAIT_ENGINE_SHIFT)},
      {"engine 4 does not exist", wait(1 | 4u << NPU_WAIT_ENGINE_SHIFT)},
      {"outside the gang", wait(1 | 1u << NPU_WAIT_CORE_SHIFT)},
      {"only 0 come earlier", wait(1), NPU_STATUS_DEADLOCK},
      {"only 0 come earlier", wait(1 | uint32_t{NPU_ENGINE_MAC} << NPU_WAIT_ENGINE_SHIFT),
       NPU_STATUS_DEADLOCK},
  });
}

TEST(StreamDecode, BadSequencerCommands) {
  Bytes nop = raw(1, NPU_OP_NOP, NPU_ENGINE_DISPATCH);
  nop[120] = std::byte{1};
  const auto yield = [](auto spoil) { return spoiled(npu_command_yield{}, spoil); };
  expect_refused({
      {"byte 120", nop},
      {"range_count", yield([](auto& y) { y.range_count = 9; })},
      {"reserved0", yield([](auto& y) { y.reserved0 = 1; })},
      {"reserved", yield([](auto& y) { y.reserved[2] = 1; })},
      {"live[1]", yield([](auto& y) { y.live[1].bytes = 16; })},
      {"live[0].bytes", yield([](auto& y) { y.range_count = 1; })},
      {"live[0] ends", yield([](auto& y) {
         y.range_count = 1;
         y.live[0] = {0xfffffff0u, 0x20};
       }),
       NPU_STATUS_SRAM_RANGE},
  });
}

TEST(StreamDecode, BadDma) {
  const auto load = [](auto spoil) { return spoiled(transfer(NPU_OP_LOAD, 0, 64), spoil); };
  const auto store = [](auto spoil) { return spoiled(transfer(NPU_OP_STORE, 0, 64), spoil); };
  const auto fill = [](auto spoil) { return spoiled(transfer(NPU_OP_FILL, 0, 64), spoil); };
  const auto copy = [](auto spoil) {
    npu_command_dma dma = transfer(NPU_OP_SRAM_COPY, 0, 64);
    dma.source_address = 4096;
    dma.external_stride[0] = 1;
    return spoiled(dma, spoil);
  };
  expect_refused({
      {"multicast", store([](auto& d) { d.multicast = 2; })},
      {"peer_core", load([](auto& d) { d.peer_core = 1; })},
      {"reserved0", load([](auto& d) { d.reserved0 = 1; })},
      {"reserved1", load([](auto& d) { d.reserved1 = 1; })},
      {"reserved2", load([](auto& d) { d.reserved2[2] = 1; })},
      {"element_log2", load([](auto& d) { d.element_log2 = 3; })},
      {"size[3] is 0", load([](auto& d) { d.size[3] = 0; })},
      {"more than the SRAM", load([](auto& d) { d.size[1] = d.size[2] = d.size[3] = ~0u; })},
      {"more than the SRAM", load([](auto& d) { d.size[1] = 32769; })},
      {"more than the SRAM",
       load([](auto& d) { d.size[1] = 1024, d.pad_before[1] = 65535, d.pad_after[2] = 1; })},
      {"pad_value is 0x100", load([](auto& d) { d.pad_value = 0x100, d.pad_after[0] = 1; })},
      {"pad_value", load([](auto& d) { d.pad_value = 1; })},
      {"pad_value", store([](auto& d) { d.pad_value = 1; })},
      {"pad_before", store([](auto& d) { d.pad_before[0] = 1; })},
      {"pad_after", fill([](auto& d) { d.pad_after[2] = 1; })},
      {"ring_first", load([](auto& d) { d.ring_first = 1; })},
      {"ring_first", load([](auto& d) { d.ring_rows = 2, d.ring_first = 2; })},
      {"more than ring_rows", load([](auto& d) {
         d.ring_rows = 2, d.size[2] = 2, d.pad_after[2] = 1, d.sram_stride[2] = 64;
       })},
      {"overlaps itself", load([](auto& d) { d.size[1] = 2, d.sram_stride[1] = 63; })},
      {"overlaps itself", fill([](auto& d) { d.sram_stride[0] = 0; })},
      {"region", load([](auto& d) { d.region = 64; })},
      {"region", fill([](auto& d) { d.region = 1; })},
      {"external_offset", load([](auto& d) { d.external_offset = 1ull << 48; })},
      {"external_offset", load([](auto& d) { d.external_offset = ~0ull; })},
      {"external_offset", load([](auto& d) {
         d.external_offset = (1ull << 48) - 64, d.size[1] = 2, d.external_stride[1] = 64,
         d.sram_stride[1] = 64;
       })},
      {"external_offset", fill([](auto& d) { d.external_offset = 1; })},
      {"external_stride", fill([](auto& d) { d.external_stride[3] = 1; })},
      {"external_offset", copy([](auto& d) { d.external_offset = 1; })},
      {"source_address", load([](auto& d) { d.source_address = 1; })},
      {"written operand", load([](auto& d) { d.sram_address = (2u << 20) - 63; }),
       NPU_STATUS_SRAM_RANGE},
      {"read operand", store([](auto& d) { d.sram_address = 0xffffffff; }), NPU_STATUS_SRAM_RANGE},
      {"read operand", copy([](auto& d) { d.source_address = 2u << 20; }), NPU_STATUS_SRAM_RANGE},
      {"written operand",
       load([](auto& d) { d.ring_rows = 65535, d.ring_first = 65534, d.sram_stride[2] = 64; }),
       NPU_STATUS_SRAM_RANGE},
  });
}

npu_command_mac partial(uint8_t accumulate, uint16_t base, uint16_t out_c = 32) {
  npu_command_mac mac = convolution({8, 8, 16, 8, 8, out_c});
  mac.accumulate = accumulate;
  mac.accumulator_base = base;
  if (accumulate & NPU_ACCUMULATE_KEEP) {
    mac.types = NPU_TYPES(NPU_TYPE_INT8, NPU_TYPE_INT8, 0, 0);
    mac.output = {};
    mac.clamp_low = mac.clamp_high = 0;
    mac.scale_f32 = 0;
  }
  return mac;
}

constexpr uint8_t kKeep = NPU_ACCUMULATE_KEEP, kAdd = NPU_ACCUMULATE_ADD;

// In the middle of a gang of three.
TEST(StreamDecode, PeersOfAGang) {
  const auto decoded = [](const Bytes& bytes, Decoded& result) {
    result.ok = decode_stream(bytes, card(), 1, 3, result.stream, result.error);
    return result.ok;
  };
  const auto peer = [](auto spoil) {
    npu_command_dma dma = transfer(NPU_OP_PEER_LOAD, 0, 64);
    dma.external_stride[0] = 1;
    return spoiled(dma, spoil);
  };
  const auto load = [](auto spoil) { return spoiled(transfer(NPU_OP_LOAD, 0, 64), spoil); };
  for (const Bytes& good : {peer([](auto& d) { d.peer_core = 0; }),
                            peer([](auto& d) { d.peer_core = 2, d.source_address = 1 << 20; }),
                            load([](auto& d) { d.multicast = 5; })}) {
    Decoded result;
    EXPECT_TRUE(decoded(good, result)) << result.error.text;
  }
  const std::vector<BadCase> cases = {
      {"peer_core is 1, the own core", peer([](auto& d) { d.peer_core = 1; })},
      {"peer_core is 3, outside the gang of 3", peer([](auto& d) { d.peer_core = 3; })},
      {"multicast", peer([](auto& d) { d.multicast = 1; })},
      {"region", peer([](auto& d) { d.region = 1; })},
      {"external_offset", peer([](auto& d) { d.external_offset = 1; })},
      {"pad_before", peer([](auto& d) { d.pad_before[0] = 1; })},
      {"overlaps itself", peer([](auto& d) { d.sram_stride[0] = 0; })},
      {"multicast is 0x7, names the own core, 1", load([](auto& d) { d.multicast = 7; })},
      {"multicast is 0x8, names cores outside", load([](auto& d) { d.multicast = 8; })},
      {"multicast is 0x8001", load([](auto& d) { d.multicast = 0x8001; })},
      {"read operand", peer([](auto& d) { d.source_address = (2u << 20) - 63; }),
       NPU_STATUS_SRAM_RANGE},
      {"written operand", load([](auto& d) { d.multicast = 1, d.sram_address = (2u << 20) - 63; }),
       NPU_STATUS_SRAM_RANGE},
  };
  for (const BadCase& bad : cases) {
    Decoded result;
    EXPECT_FALSE(decoded(bad.stream, result)) << bad.text;
    EXPECT_EQ(result.error.status, bad.status) << bad.text;
    EXPECT_NE(result.error.text.find(bad.text), std::string::npos) << result.error.text;
  }
}

TEST(StreamDecode, BadMac) {
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

TEST(StreamDecode, BadExtensions) {
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

TEST(StreamDecode, BadVec) {
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

TEST(StreamDecode, BadRowFunctions) {
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

// ---- Accumulators -----------------------------------------------------------

TEST(StreamDecode, SplitSumsInBothBanks) {
  StreamBuilder builder;
  builder.append(partial(kKeep, 0));
  builder.append(partial(kKeep, 512));
  builder.append(partial(kAdd | kKeep, 0));
  builder.append(partial(kAdd, 512));
  builder.append(partial(kAdd, 0));
  const Decoded result = decode(builder);
  EXPECT_TRUE(result.ok) << result.error.text;
}

TEST(StreamDecode, SumsThatAreGone) {
  const auto refused = [](auto... commands) {
    StreamBuilder builder;
    (builder.append(commands), ...);
    const Decoded result = decode(builder);
    EXPECT_FALSE(result.ok);
    EXPECT_EQ(result.error.status, NPU_STATUS_BAD_COMMAND);
    EXPECT_EQ(result.error.command, sizeof...(commands) - 1);
    EXPECT_NE(result.error.text.find("accumulate"), std::string::npos) << result.error.text;
  };
  refused(partial(kKeep, 512), partial(kAdd, 0));                     // other bank
  refused(partial(kKeep, 0), partial(kAdd, 0), partial(kAdd, 0));     // drained
  refused(partial(kKeep, 0), partial(0, 0), partial(kAdd, 0));        // overwritten
  refused(partial(kKeep, 0), npu_command_yield{}, partial(kAdd, 0));  // not saved
  refused(partial(kKeep, 0), partial(kAdd, 0, 16));                   // other shape
}

}  // namespace
}  // namespace npu::arch
