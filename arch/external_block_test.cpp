// SPDX-License-Identifier: MIT
#include "arch/external_block.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "arch/target.h"
#include "arch/test_commands.h"
#include "arch/timing.h"
#include "arch/tlb_model.h"

namespace npu::arch {
namespace {

using namespace test;

std::set<uint64_t> touched(const npu_command_dma& dma, uint64_t unit) {
  std::set<uint64_t> units;
  for (uint64_t d = 0; d < dma.size[3]; ++d)
    for (uint64_t c = 0; c < dma.size[2]; ++c)
      for (uint64_t b = 0; b < dma.size[1]; ++b)
        for (uint64_t a = 0; a < dma.size[0]; ++a) {
          const uint64_t first = dma.external_offset + a * dma.external_stride[0] +
                                 b * dma.external_stride[1] + c * dma.external_stride[2] +
                                 d * dma.external_stride[3];
          for (uint64_t byte = 0; byte < 1u << dma.element_log2; ++byte)
            units.insert((first + byte) / unit);
        }
  return units;
}

// Blocks as tensors have them: each dimension beyond the one inside it, in any
// order of the loop.
npu_command_dma random_block(std::mt19937& random) {
  npu_command_dma dma = transfer(NPU_OP_LOAD, 0, 1, random() % 1000);
  dma.element_log2 = static_cast<uint8_t>(random() % 3);
  uint64_t extent = 1u << dma.element_log2;
  int order[4] = {0, 1, 2, 3};
  std::shuffle(order, order + 4, random);
  for (const int i : order) {
    dma.size[i] = 1 + random() % 7;
    static constexpr uint32_t kGaps[] = {0, 0, 1, 3, 40, 64, 100, 512, 4000};
    dma.external_stride[i] = static_cast<uint32_t>(extent + kGaps[random() % std::size(kGaps)]);
    extent += uint64_t{dma.external_stride[i]} * (dma.size[i] - 1);
  }
  return dma;
}

TEST(ExternalBlock, GranulesEqualCounting) {
  std::mt19937 random(4);
  for (int round = 0; round < 3000; ++round) {
    const npu_command_dma dma = random_block(random);
    for (const uint32_t unit : {8u, 64u, 256u})
      EXPECT_EQ(touched_granules(external_runs(dma, unit), unit), touched(dma, unit).size())
          << "round " << round << " unit " << unit;
  }
}

TEST(ExternalBlock, UnitsEqualCounting) {
  std::mt19937 random(5);
  for (int round = 0; round < 1000; ++round) {
    const npu_command_dma dma = random_block(random);
    std::set<uint64_t> units;
    for_each_unit(external_runs(dma, 4096), 4096, [&](uint64_t unit) { units.insert(unit); });
    EXPECT_EQ(units, touched(dma, 4096)) << "round " << round;
  }
}

TEST(ExternalBlock, HugeBlocksTakeNoTime) {
  npu_command_dma dma = transfer(NPU_OP_LOAD, 0, 1);
  dma.size[0] = 1 << 23;
  dma.size[1] = 2;
  dma.external_stride[0] = 0xffffffff;  // another granule and another offset each time
  dma.external_stride[1] = 3;
  const npu_target& card = *find_target("card");
  // Two bytes three apart lie in the same granule, except from offsets 61..63.
  EXPECT_GE(touched_granules(external_runs(dma, 64), 64), uint64_t{1} << 23);
  EXPECT_LE(touched_granules(external_runs(dma, 64), 64), uint64_t{1} << 24);
  TlbModel tlb(card);
  EXPECT_GE(tlb.walks(0, dma).count, uint64_t{1} << 23);
}

TEST(ExternalBytes, WholeGranules) {
  const npu_target& card = *find_target("card");
  const auto bytes = [&](const npu_command_dma& dma) {
    StreamBuilder builder;
    builder.append(dma);
    Stream stream;
    StreamError error;
    EXPECT_TRUE(decode_stream(builder.bytes(), card, 0, 1, stream, error)) << error.text;
    return external_bytes(stream.at(0), card);
  };
  EXPECT_EQ(bytes(transfer(NPU_OP_LOAD, 0, 1)), 64u);
  EXPECT_EQ(bytes(transfer(NPU_OP_LOAD, 0, 64)), 64u);
  EXPECT_EQ(bytes(transfer(NPU_OP_LOAD, 0, 64, 1)), 128u);
  EXPECT_EQ(bytes(transfer(NPU_OP_STORE, 0, 4096)), 4096u);
  EXPECT_EQ(bytes(transfer(NPU_OP_FILL, 0, 4096)), 0u);
  npu_command_dma rows = transfer(NPU_OP_LOAD, 0, 32);  // 32 of each 256 bytes
  rows.size[1] = 10;
  rows.external_stride[1] = 256;
  rows.sram_stride[1] = 32;
  EXPECT_EQ(bytes(rows), 640u);
  rows.pad_before[0] = 100;  // padding is not read
  rows.sram_stride[1] = 132;
  EXPECT_EQ(bytes(rows), 640u);
}

TEST(TlbModel, GroupsAndReplacement) {
  const npu_target& card = *find_target("card");
  TlbModel tlb(card);
  EXPECT_EQ(tlb.group_bytes(), 8u * 4096);
  EXPECT_EQ(tlb.walks(0, transfer(NPU_OP_LOAD, 0, 65536)).count, 2u);
  EXPECT_EQ(tlb.walks(0, transfer(NPU_OP_LOAD, 0, 65536)).count, 0u);
  EXPECT_EQ(tlb.walks(1, transfer(NPU_OP_LOAD, 0, 1)).count, 1u);  // another region
  // 63 more groups push out the oldest.
  for (uint64_t group = 0; group < 62; ++group)
    EXPECT_EQ(tlb.walks(2, group * tlb.group_bytes()), 1u);
  EXPECT_EQ(tlb.walks(2, 62 * tlb.group_bytes()), 0u + 1u);
  EXPECT_EQ(tlb.walks(0, uint64_t{0}), 1u);
  EXPECT_EQ(tlb.walks(2, 62 * tlb.group_bytes()), 0u);
  // More than the TLB holds: everything misses, nothing stays.
  npu_command_dma large = transfer(NPU_OP_LOAD, 0, 1);
  large.size[0] = 65 * 8;
  large.external_stride[0] = 4096;
  EXPECT_GE(tlb.walks(3, large).count, 65u);
  EXPECT_EQ(tlb.walks(2, 62 * tlb.group_bytes()), 1u);
}

}  // namespace
}  // namespace npu::arch
