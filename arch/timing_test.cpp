// SPDX-License-Identifier: MIT
#include "arch/timing.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>

#include "arch/command_cost.h"
#include "arch/test_commands.h"

namespace npu::arch {
namespace {

using namespace test;

Command command_of(const npu_command_mac& mac) {
  StreamBuilder builder;
  builder.append(mac);
  Stream stream;
  StreamError error;
  // Stage cycles do not depend on where operands lie, so a card with more
  // SRAM than any of these needs serves for decoding.
  npu_target large = *find_target("card");
  large.sram_bytes = 16u << 20;
  EXPECT_TRUE(decode_stream(builder.bytes(), large, 0, 1, stream, error)) << error.text;
  return stream.empty() ? Command{} : stream[0];
}

struct StageCase {
  const char* name;
  npu_command_mac mac;
  uint64_t edge, card;
};

std::vector<StageCase> stage_cases() {
  ConvShape keyword = {25, 5, 1, 25, 5, 64, 10, 4, 1, 0};
  return {
      {"7x7s2 3->64 at 112", convolution({224, 224, 3, 112, 112, 64, 7, 7, 2, 3}), 351232, 87808},
      {"3x3 64->64 at 56", convolution({56, 56, 64, 56, 56, 64, 3, 3, 1, 1}), 225792, 28224},
      {"1x1 64->256 at 56", convolution({56, 56, 64, 56, 56, 256}), 100352, 12544},
      {"3x3 512->512 at 7", convolution({7, 7, 512, 7, 7, 512, 3, 3, 1, 1}), 225792, 36864},
      {"1x1 24->144 at 28", convolution({28, 28, 24, 28, 28, 144}), 7056, 2352},
      {"3x3 16->16 at 32", convolution({32, 32, 16, 32, 32, 16, 3, 3, 1, 1}), 6144, 3072},
      {"10x4 1->64 at 25x5", convolution(keyword), 5000, 1250},
      {"FC 2048->1000", matmul(1, 2048, 1000), 64512, 32768},
      {"GEMM 128x768x3072", matmul(128, 768, 3072), 589824, 73728},
      {"depthwise 3x3 144 at 56",
       convolution({56, 56, 144, 56, 56, 144, 3, 3, 1, 1}, NPU_OP_DEPTHWISE), 57960, 29232},
  };
}

TEST(MacTiming, StageCyclesOfTheReferenceLayers) {
  // docs/timing.md shows this table.
  std::printf("%-26s %10s %10s\n", "layer", "edge", "card");
  for (const StageCase& c : stage_cases()) {
    const Command command = command_of(c.mac);
    const uint64_t edge = mac_stage_cycles(command, *find_target("edge"));
    const uint64_t card = mac_stage_cycles(command, *find_target("card"));
    std::printf("%-26s %10llu %10llu\n", c.name, static_cast<unsigned long long>(edge),
                static_cast<unsigned long long>(card));
    EXPECT_EQ(edge, c.edge) << c.name;
    EXPECT_EQ(card, c.card) << c.name;
  }
}

TEST(MacTiming, SplittingAConvolutionOverItsInputs) {
  // Half the input channels twice: the same steps, and each a command's worth.
  const npu_target& card = *find_target("card");
  const Command whole = command_of(convolution({16, 16, 128, 16, 16, 64, 3, 3, 1, 1}));
  npu_command_mac half = convolution({16, 16, 64, 16, 16, 64, 3, 3, 1, 1});
  half.weight_stride = 9 * 128;
  half.weight_bytes = 63 * 9 * 128 + 9 * 64;
  half.input.pixel_stride = 128, half.input.row_stride = 16 * 128;
  half.output.address += 1 << 19;
  EXPECT_EQ(mac_stage_cycles(whole, card), 2 * mac_stage_cycles(command_of(half), card));
}

TEST(MacTiming, RepetitionsFollowEachOther) {
  const npu_target& card = *find_target("card");
  Command once = command_of(matmul(128, 64, 128));
  Command often = once;
  npu_mac_extension extension = {};
  extension.batch_count = 12;
  std::memcpy(often.records + NPU_RECORD_BYTES, &extension, sizeof(extension));
  EXPECT_EQ(mac_stage_cycles(often, card), 12 * mac_stage_cycles(once, card));
  EXPECT_EQ(mac_count(often), 12 * mac_count(once));
  EXPECT_EQ(mac_cost(often, card).sram_bytes, 12 * mac_cost(once, card).sram_bytes);
  EXPECT_EQ(mac_cost(often, card).drain_cycles, mac_cost(once, card).drain_cycles);
}

TEST(MacTiming, HeldActivations) {
  const npu_target& card = *find_target("card");
  const auto cost = [&](npu_command_mac mac, bool held) {
    if (held) mac.flags |= NPU_MAC_ACTIVATION_STATIONARY;
    return mac_cost(command_of(mac), card);
  };
  // 65 channels are two passes of 64, but 65 steps of pixels that are held: 512
  // pixels are 8 passes of 2 array steps of 65, and each drains in 64 * 2.
  const npu_command_mac mac = matmul(512, 128, 65);
  EXPECT_EQ(cost(mac, false).stage_cycles, 2u * 2 * 512);
  EXPECT_EQ(cost(mac, true).stage_cycles, 8u * 130);
  EXPECT_EQ(cost(mac, true).drain_cycles, 128u);
  // Ports: pixels once, weights for each pass.
  EXPECT_EQ(cost(mac, true).sram_bytes, 512u * 128 + 8 * 65 * 128 + 512 * 65);
  // One array step: the drain is the limit. The rest, 8 pixels, waits for its load.
  EXPECT_EQ(cost(matmul(72, 64, 65), true).stage_cycles, 128u + 65);
  EXPECT_EQ(cost(matmul(72, 64, 65), true).drain_cycles, 16u);
  // More channels than a bank has rows: 600 are 300 and 300.
  EXPECT_EQ(cost(matmul(64, 256, 600), true).stage_cycles, 2u * 4 * 300);
  EXPECT_EQ(cost(matmul(64, 256, 600), true).drain_cycles, 64u * 5);
}

TEST(VecTiming, LanesAndWindows) {
  const npu_target& card = *find_target("card");
  const auto cycles = [&](const npu_command_vec& vec) {
    StreamBuilder builder;
    builder.append(vec);
    Stream stream;
    StreamError error;
    EXPECT_TRUE(decode_stream(builder.bytes(), card, 0, 1, stream, error)) << error.text;
    return vec_stage_cycles(stream.at(0), card);
  };
  EXPECT_EQ(cycles(elementwise(NPU_VEC_ADD, 56, 56, 64)), 3136u);
  EXPECT_EQ(cycles(elementwise(NPU_VEC_LUT, 1, 1, 65)), 2u);
  EXPECT_EQ(cycles(pool(NPU_VEC_POOL_MAX, 112, 56, 64, 3, 2, 1)), 56u * 56 * 9);
  EXPECT_EQ(cycles(pool(NPU_VEC_POOL_AVERAGE, 8, 4, 32, 2, 2)), 16u * 32 * 4 / 64);
  EXPECT_EQ(cycles(elementwise(NPU_VEC_POOL_GLOBAL, 7, 7, 512)), 49u * 512 / 64);
  EXPECT_EQ(cycles(row_function(NPU_VEC_REDUCE, 7, 7, 512)), 49u * 512 / 64);
  EXPECT_EQ(cycles(row_function(NPU_VEC_SOFTMAX, 12, 16, 128)), 6u * 12 * 16 * 128 / 64);
  EXPECT_EQ(cycles(row_function(NPU_VEC_SOFTMAX, 1, 1, 11)), 2u);
  EXPECT_EQ(cycles(row_function(NPU_VEC_LAYER_NORM, 1, 128, 768)), 3u * 128 * 768 / 64 + 128 * 32);
  npu_command_vec resize = row_function(NPU_VEC_RESIZE, 8, 8, 32);
  resize.out_h = resize.out_w = 16;
  resize.out = dense(1 << 16, 16, 32);
  EXPECT_EQ(cycles(resize), 16u * 16 * 32 / 64);
  resize.flags = NPU_VEC_RESIZE_LINEAR | NPU_VEC_RESIZE_TRUNCATE;
  EXPECT_EQ(cycles(resize), 4u * 16 * 16 * 32 / 64);
}

// Bytes through the ports, by hand.
TEST(VecTiming, PortsOfRowFunctions) {
  const npu_target& card = *find_target("card");
  const auto cost = [&](const npu_command_vec& vec) {
    Command command = {};
    std::memcpy(command.records, &vec, sizeof(vec));
    return vec_cost(command, card);
  };
  EXPECT_EQ(cost(row_function(NPU_VEC_SOFTMAX, 2, 3, 64)).sram_bytes, 3u * 384 + 1024 + 384);
  // 100 pixels: two rounds of 64 lanes, each with all of gamma and beta.
  EXPECT_EQ(cost(row_function(NPU_VEC_LAYER_NORM, 10, 10, 32)).sram_bytes,
            2u * 3200 + 2 * 8 * 32 + 3200);
  EXPECT_EQ(cost(row_function(NPU_VEC_RESIZE, 4, 6, 8)).sram_bytes, 192u + 10 * 8 + 192);
  npu_command_vec reduce = row_function(NPU_VEC_REDUCE, 4, 6, 8);
  reduce.flags = NPU_VEC_REDUCE_CHANNELS;
  reduce.out_h = 4;
  EXPECT_EQ(cost(reduce).sram_bytes, 192u + 4);
  // A softmax over few elements waits for its table: 1088 bytes, 64 a cycle.
  EXPECT_EQ(cost(row_function(NPU_VEC_SOFTMAX, 1, 1, 16)).busy_cycles, 17u);
}

}  // namespace
}  // namespace npu::arch
