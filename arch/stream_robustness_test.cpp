// SPDX-License-Identifier: MIT
//
// Bytes of any kind, and the small tools around streams.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "arch/test_commands.h"
#include "arch/timing.h"

namespace npu::arch {
namespace {

using namespace test;

const npu_target& card() {
  return *find_target("card");
}

TEST(StreamDecode, RandomBytesNeverCrash) {
  std::mt19937 random(1);
  Stream stream;
  StreamError error;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> bytes(NPU_RECORD_BYTES * (1 + random() % 4));
    for (std::byte& byte : bytes) byte = std::byte(random());
    // Most random opcodes are unknown; give the operand checks work too.
    static constexpr uint8_t kOpcodes[] = {0,    1,    0x10, 0x11, 0x12, 0x13,
                                           0x18, 0x20, 0x21, 0x22, 0x30};
    npu_engine engine;
    const uint8_t opcode = kOpcodes[random() % std::size(kOpcodes)];
    ASSERT_TRUE(opcode_engine(opcode, engine));
    npu_command_header header = {};
    header.records = static_cast<uint8_t>(1 + random() % 2);
    header.opcode = opcode;
    header.engine = static_cast<uint8_t>(engine);
    if (round % 2) std::memcpy(bytes.data(), &header, sizeof(header));
    if (!decode_stream(bytes, card(), 0, 1, stream, error)) {
      EXPECT_NE(error.status, NPU_STATUS_OK);
      EXPECT_FALSE(error.text.empty());
    }
  }
}

// Every accepted mutation must be safe for everything behind the decoder.
TEST(StreamDecode, MutatedCommandsStaySafe) {
  std::mt19937 random(2);
  std::vector<StreamBuilder> seeds(4);
  seeds[0].append(transfer(NPU_OP_LOAD, 0, 4096));
  seeds[0].append(transfer(NPU_OP_STORE, 0, 4096));
  seeds[1].append(convolution({8, 8, 16, 8, 8, 32, 3, 3, 1, 1}), npu_mac_extension{});
  seeds[1].append(convolution({8, 8, 16, 8, 8, 16, 3, 3, 1, 1}, NPU_OP_DEPTHWISE));
  seeds[2].append(elementwise(NPU_VEC_MUL, 4, 4, 8));
  seeds[2].append(pool(NPU_VEC_POOL_MAX, 8, 4, 8, 2, 2));
  seeds[3].append(matmul(8, 64, 32));
  int accepted = 0;
  for (int round = 0; round < 60000; ++round) {
    std::vector<std::byte> bytes = seeds[random() % seeds.size()].bytes();
    for (unsigned flips = 1 + random() % 3; flips != 0; --flips)
      bytes[random() % bytes.size()] = std::byte(random() % 4 == 0 ? random() : random() % 4);
    Stream stream;
    StreamError error;
    if (!decode_stream(bytes, card(), 0, 1, stream, error)) continue;
    ++accepted;
    const std::span<const Stream> gang(&stream, 1);
    check_deadlock(gang, error);
    check_hazards(gang, card(), error);
    for (const Command& command : stream) EXPECT_FALSE(disassemble(command).empty());
    const JobTiming timing = simulate_job({gang, {}}, card());
    EXPECT_GT(timing.cycles, 0u);
    EXPECT_LE(timing.sram_peak_bytes, card().sram_bytes);
  }
  EXPECT_GT(accepted, 1000);
}

TEST(Disassemble, NamesWhatMatters) {
  npu_command_mac mac = convolution({8, 8, 16, 4, 4, 32, 3, 3, 2, 1});
  ASSERT_TRUE(add_wait(mac.header, NPU_ENGINE_LOAD, 3, 1));
  Command command = {};
  mac.header.records = 1;
  mac.header.engine = NPU_ENGINE_MAC;
  std::memcpy(command.records, &mac, sizeof(mac));
  const std::string line = disassemble(command);
  for (const char* part :
       {"CONV", "8x8x16->4x4x32", "k3x3", "s2,2", "p1,1", "in=int8@0", "wait(core1.LOAD>=3)"})
    EXPECT_NE(line.find(part), std::string::npos) << part << " in " << line;
}

TEST(StreamBuilder, AddWait) {
  npu_command_header header = {};
  EXPECT_TRUE(add_wait(header, NPU_ENGINE_LOAD, 0));
  EXPECT_EQ(header.wait[0], 0u);
  EXPECT_TRUE(add_wait(header, NPU_ENGINE_LOAD, 2));
  EXPECT_TRUE(add_wait(header, NPU_ENGINE_LOAD, 5));
  EXPECT_TRUE(add_wait(header, NPU_ENGINE_LOAD, 3));
  EXPECT_EQ(header.wait[0], encode_wait(NPU_ENGINE_LOAD, 5));
  EXPECT_EQ(header.wait[1], 0u);
  EXPECT_TRUE(add_wait(header, NPU_ENGINE_LOAD, 1, 1));
  EXPECT_TRUE(add_wait(header, NPU_ENGINE_MAC, 1));
  EXPECT_TRUE(add_wait(header, NPU_ENGINE_VEC, 1));
  EXPECT_FALSE(add_wait(header, NPU_ENGINE_STORE, 1));
}

}  // namespace
}  // namespace npu::arch
