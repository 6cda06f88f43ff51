// SPDX-License-Identifier: MIT
#include "arch/timing.h"

#include <gtest/gtest.h>

#include <cstdio>

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
}

}  // namespace
}  // namespace npu::arch
