// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "arch/test_commands.h"

namespace npu::arch {
namespace {

using namespace test;

const npu_target& card() { return *find_target("card"); }

struct Decoded {
  bool ok;
  Stream stream;
  StreamError error;
};

Decoded decode(const StreamBuilder& builder, unsigned core = 0, unsigned gang = 1) {
  Decoded result;
  result.ok = decode_stream(builder.bytes(), card(), core, gang, result.stream, result.error);
  return result;
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
  for (auto f : {NPU_VEC_POOL_MAX, NPU_VEC_POOL_AVERAGE}) {
    const Decoded r = decode_one(pool(f, 8, 4, 8, 2, 2));
    EXPECT_TRUE(r.ok) << r.error.text;
  }
}

}  // namespace
}  // namespace npu::arch
