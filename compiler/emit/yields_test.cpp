// SPDX-License-Identifier: MIT
#include "compiler/emit/yields.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "arch/test_commands.h"

namespace npu::compiler {
namespace {

using namespace arch::test;

constexpr uint32_t kBlock = 1024;  // SRAM bytes that a command of a test reads or writes

const npu_target& card() {
  return *arch::find_target("card");
}

arch::External all_card(unsigned) {
  return arch::External::kCard;
}

arch::Stream decoded(const JobStream& job) {
  arch::Stream stream;
  arch::StreamError error;
  EXPECT_TRUE(arch::decode_stream(job.bytes, card(), 0, 1, stream, error)) << error.text;
  EXPECT_EQ(job.commands, stream.size());
  return stream;
}

struct Simulated {
  uint64_t cycles, longest_gap;
};

Simulated simulate(const arch::Stream& stream) {
  const std::vector<arch::Stream> streams = {stream};
  arch::TimingInput input;
  input.streams = streams;
  std::vector<npu_profile_command> trace;
  Simulated out = {simulate_job(input, card(), &trace).cycles, 0};
  uint64_t last = 0;
  for (const npu_profile_command& record : trace) {
    if (record.opcode != NPU_OP_YIELD) continue;
    out.longest_gap = std::max(out.longest_gap, record.start_cycle - last);
    last = record.start_cycle;
  }
  out.longest_gap = std::max(out.longest_gap, out.cycles - last);
  return out;
}

// A job of operations on blocks of SRAM; operation i has source i.
class Blocks {
 public:
  struct Operation {
    std::vector<uint32_t> reads, writes;  // blocks
  };

  void load(uint32_t block) {
    next({{}, {block}});
    emitter_.emit(transfer(NPU_OP_LOAD, block * kBlock, kBlock, uint64_t{block} * kBlock));
  }
  void store(uint32_t block) {
    next({{block}, {}});
    npu_command_dma dma = transfer(NPU_OP_STORE, block * kBlock, kBlock, uint64_t{block} * kBlock);
    dma.region = 1;
    emitter_.emit(dma);
  }
  void add(uint32_t a, uint32_t b, uint32_t out) {
    next({{a, b}, {out}});
    npu_command_vec vec = elementwise(NPU_VEC_ADD, 4, 4, kBlock / 16);
    vec.a.address = a * kBlock, vec.b.address = b * kBlock, vec.out.address = out * kBlock;
    emitter_.emit(vec);
  }
  // Piece `piece` of the `pieces` of a sum.
  void sum(int piece, int pieces) {
    next({});
    npu_command_mac mac = convolution({8, 8, 64, 8, 8, 64});
    if (piece != 0) mac.accumulate |= NPU_ACCUMULATE_ADD;
    if (piece != pieces - 1) {
      mac.accumulate |= NPU_ACCUMULATE_KEEP;
      mac.types = NPU_TYPES(NPU_TYPE_INT8, NPU_TYPE_INT8, NPU_TYPE_NONE, 0);
      mac.output = {};
      mac.scale_f32 = 0, mac.clamp_low = mac.clamp_high = 0;
    }
    emitter_.emit(mac, nullptr);
  }
  JobStream take() { return std::move(emitter_.take_jobs().at(0).streams.at(0)); }

  // Whether what is in the block before operation `i` will be read.
  bool live(uint32_t block, size_t i) const {
    for (; i < operations_.size(); ++i) {
      if (std::ranges::count(operations_[i].reads, block) != 0) return true;
      if (std::ranges::count(operations_[i].writes, block) != 0) return false;
    }
    return false;
  }

 private:
  void next(const Operation& operation) {
    emitter_.set_source(static_cast<uint32_t>(operations_.size()));
    operations_.push_back(operation);
  }
  Emitter emitter_{card()};
  std::vector<Operation> operations_;
};

// Operations before which the stream has a YIELD.
std::vector<uint32_t> yields_of(const arch::Stream& stream) {
  std::vector<uint32_t> out;
  for (const arch::Command& command : stream)
    if (command.opcode() == NPU_OP_YIELD) out.push_back(command.header().source_op);
  return out;
}

std::vector<std::byte> without_yields(const JobStream& job) {
  std::vector<std::byte> out;
  for (auto at = job.bytes.begin(); at != job.bytes.end();) {
    const auto end = at + std::to_integer<int>(at[0]) * NPU_RECORD_BYTES;
    if (at[1] != std::byte{NPU_OP_YIELD}) out.insert(out.end(), at, end);
    at = end;
  }
  return out;
}

// Against a record of every block.
TEST(Yields, KeepWhatIsReadLater) {
  std::mt19937 random(3);
  constexpr uint32_t kBlocks = 80;
  unsigned joined = 0;
  for (unsigned round = 0; round < 12; ++round) {
    Blocks blocks;
    std::vector<uint32_t> filled;
    for (int i = 0; i < 600; ++i) {
      const auto any = [&]() -> uint32_t { return filled[random() % filled.size()]; };
      const auto block = static_cast<uint32_t>(random() % kBlocks);
      const unsigned kind = filled.empty() ? 0 : random() % 3;
      if (kind == 1) blocks.store(any());
      if (kind == 2) blocks.add(any(), any(), block);
      if (kind == 0) blocks.load(block);
      if (kind != 1 && std::ranges::count(filled, block) == 0) filled.push_back(block);
      // Some blocks are not read again before they are written.
      const uint32_t dropped = any();
      if (filled.size() > (round % 2 == 0 ? 12 : 40)) std::erase(filled, dropped);
    }
    JobStream job = blocks.take();
    const std::vector<std::byte> before = job.bytes;
    const uint64_t max_gap = simulate(decoded(job)).cycles / (3 + round % 6);
    const YieldReport report = add_yields(job, max_gap, card(), all_card);

    const arch::Stream stream = decoded(job);
    const std::vector<arch::Stream> streams = {stream};
    arch::StreamError error;
    EXPECT_TRUE(check_hazards(streams, card(), error)) << error.text;
    EXPECT_EQ(without_yields(job), before);
    EXPECT_EQ(simulate(stream).longest_gap, report.longest_gap);
    EXPECT_LE(report.longest_gap, max_gap);
    EXPECT_EQ(yields_of(stream).size(), report.yields);
    EXPECT_GE(report.yields, 2u + round % 6);
    uint64_t most = 0;
    for (const arch::Command& command : stream) {
      if (command.opcode() != NPU_OP_YIELD) continue;
      const npu_command_yield& yield = command.yield();
      bool kept[kBlocks] = {};
      uint64_t bytes = 0;
      for (uint32_t r = 0; r < yield.range_count; ++r) {
        bytes += yield.live[r].bytes;
        for (uint32_t b = 0; b < kBlocks; ++b)
          kept[b] |= b * kBlock >= yield.live[r].address &&
                     (b + 1) * kBlock <= yield.live[r].address + yield.live[r].bytes;
      }
      uint64_t live = 0;
      for (uint32_t b = 0; b < kBlocks; ++b) {
        if (!blocks.live(b, yield.header.source_op)) continue;
        live += kBlock;
        EXPECT_TRUE(kept[b]) << "block " << b << " before " << yield.header.source_op;
      }
      // More ranges than a YIELD has are joined, with what lies between them.
      EXPECT_TRUE(bytes == live || yield.range_count == NPU_YIELD_RANGES);
      joined += bytes != live;
      most = std::max(most, bytes);
    }
    EXPECT_EQ(report.most_live_bytes, most);
  }
  EXPECT_GT(joined, 0u);
}

TEST(Yields, StandWhereLeastIsLive) {
  Blocks blocks;
  blocks.load(0);
  for (uint32_t i = 0; i < 100; ++i) {
    blocks.add(0, 0, 1 + i % 2);
    blocks.store(1 + i % 2);
  }
  JobStream job = blocks.take();
  const uint64_t cycles = simulate(decoded(job)).cycles;
  const YieldReport report = add_yields(job, cycles / 6, card(), all_card);
  EXPECT_EQ(report.most_live_bytes, kBlock);
  const std::vector<uint32_t> yields = yields_of(decoded(job));
  EXPECT_GE(yields.size(), 5u);
  for (const uint32_t before : yields) EXPECT_EQ(before % 2, 1u);
}

// What the next operation needs is loaded while the one before is executed.
TEST(Yields, StandBehindLoads) {
  Blocks blocks;
  for (uint32_t i = 0; i < 100; ++i) {
    const uint32_t first = i % 2 * 3;
    blocks.load(first);
    blocks.load(first + 1);
    blocks.add(first, first + 1, first + 2);
    blocks.store(first + 2);
  }
  JobStream job = blocks.take();
  const uint64_t cycles = simulate(decoded(job)).cycles;
  const YieldReport report = add_yields(job, cycles / 6, card(), all_card);
  EXPECT_EQ(report.most_live_bytes, 2 * kBlock);
  EXPECT_LE(report.longest_gap, cycles / 6);
  const std::vector<uint32_t> yields = yields_of(decoded(job));
  EXPECT_GE(yields.size(), 5u);
  for (const uint32_t before : yields) EXPECT_EQ(before % 4, 2u);
}

// decode_stream refuses a sum that goes on behind a YIELD.
TEST(Yields, SumsAreNotCut) {
  Blocks blocks, one;
  for (int i = 0; i < 400; ++i) blocks.sum(i % 4, 4);
  JobStream job = blocks.take();
  const uint64_t cycles = simulate(decoded(job)).cycles;
  const YieldReport report = add_yields(job, cycles / 20, card(), all_card);
  const std::vector<uint32_t> yields = yields_of(decoded(job));
  EXPECT_GE(yields.size(), 19u);
  EXPECT_LE(report.longest_gap, cycles / 20);
  for (const uint32_t before : yields) EXPECT_EQ(before % 4, 0u);

  for (int i = 0; i < 100; ++i) one.sum(i, 100);
  job = one.take();
  const std::vector<std::byte> before = job.bytes;
  EXPECT_EQ(add_yields(job, 100, card(), all_card).yields, 0u);
  EXPECT_EQ(job.bytes, before);
}

TEST(Yields, JobsThatStayAsTheyAre) {
  Blocks blocks;
  for (uint32_t i = 0; i < 100; ++i) blocks.load(i % 8);
  const JobStream original = blocks.take();
  const uint64_t cycles = simulate(decoded(original)).cycles;
  const auto added = [&](uint64_t max_gap, const npu_target& target) {
    JobStream job = original;
    const YieldReport report = add_yields(job, max_gap, target, all_card);
    EXPECT_EQ(report.yields == 0, job.bytes == original.bytes);
    EXPECT_EQ(report.yields == 0, report.longest_gap == cycles);
    return report.yields;
  };
  EXPECT_EQ(added(cycles, card()), 0u);  // short
  EXPECT_NE(added(cycles / 2, card()), 0u);
  npu_target full = card();
  full.max_stream_bytes = static_cast<uint32_t>(original.bytes.size());
  EXPECT_EQ(added(cycles / 2, full), 0u);

  // Refused, with its text, where streams are checked.
  JobStream bad = original;
  bad.bytes[1] = std::byte{0x7f};
  const std::vector<std::byte> before = bad.bytes;
  EXPECT_EQ(add_yields(bad, 1, card(), all_card).yields, 0u);
  EXPECT_EQ(bad.bytes, before);
}

}  // namespace
}  // namespace npu::compiler
