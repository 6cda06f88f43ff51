// SPDX-License-Identifier: MIT
#include "arch/timing.h"

#include <gtest/gtest.h>

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
  for (const StageCase& c : stage_cases()) {
    const Command command = command_of(c.mac);
    EXPECT_EQ(mac_stage_cycles(command, *find_target("edge")), c.edge) << c.name;
    EXPECT_EQ(mac_stage_cycles(command, *find_target("card")), c.card) << c.name;
  }
}

}  // namespace
}  // namespace npu::arch
