// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstring>

#include "arch/test_decode.h"

namespace npu::arch {
namespace {

using namespace test;

template <typename T>
Decoded decode_one(const T& command) {
  StreamBuilder builder;
  builder.append(command);
  return decode(builder);
}

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
