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

std::vector<arch::Stream> decoded(const Job& job) {
  const auto gang = static_cast<unsigned>(job.streams.size());
  std::vector<arch::Stream> streams(gang);
  arch::StreamError error;
  for (unsigned core = 0; core < gang; ++core) {
    EXPECT_TRUE(
        arch::decode_stream(job.streams[core].bytes, card(), core, gang, streams[core], error))
        << error.text;
    EXPECT_EQ(job.streams[core].commands, streams[core].size());
  }
  return streams;
}

struct Simulated {
  uint64_t cycles, longest_gap;
};

Simulated simulate(const std::vector<arch::Stream>& streams) {
  arch::TimingInput input;
  input.streams = streams;
  std::vector<npu_profile_command> trace;
  Simulated out = {simulate_job(input, card(), &trace).cycles, 0};
  // When the first and the last core are at the YIELDs of a number.
  std::vector<std::pair<uint64_t, uint64_t>> yields;
  size_t number[NPU_MAX_CORES] = {};
  for (const npu_profile_command& record : trace) {
    if (record.opcode != NPU_OP_YIELD) continue;
    const size_t at = number[record.core]++;
    if (at == yields.size()) yields.emplace_back(record.start_cycle, record.start_cycle);
    yields[at].first = std::min(yields[at].first, record.start_cycle);
    yields[at].second = std::max(yields[at].second, record.start_cycle);
  }
  uint64_t left = 0;
  for (const auto& [first, last] : yields) {
    out.longest_gap = std::max(out.longest_gap, last - left);
    left = first;
  }
  out.longest_gap = std::max(out.longest_gap, out.cycles - left);
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
  Job take() { return std::move(emitter_.take_jobs().at(0)); }

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

std::vector<std::byte> without_yields(const JobStream& stream) {
  std::vector<std::byte> out;
  for (auto at = stream.bytes.begin(); at != stream.bytes.end();) {
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
    Job job = blocks.take();
    const std::vector<std::byte> before = job.streams[0].bytes;
    const uint64_t max_gap = simulate(decoded(job)).cycles / (3 + round % 6);
    const YieldReport report = add_yields(job, max_gap, card(), all_card);

    const std::vector<arch::Stream> streams = decoded(job);
    const arch::Stream& stream = streams[0];
    arch::StreamError error;
    EXPECT_TRUE(check_hazards(streams, card(), error)) << error.text;
    EXPECT_EQ(without_yields(job.streams[0]), before);
    EXPECT_EQ(simulate(streams).longest_gap, report.longest_gap);
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

// The same for a gang: each core loads for itself or for both, adds, and brings over what the
// other has.
TEST(Yields, KeepWhatOtherCoresRead) {
  std::mt19937 random(4);
  constexpr uint32_t kBlocks = 24;
  struct Operation {
    std::vector<uint32_t> reads, writes;  // core * kBlocks + block
  };
  for (unsigned round = 0; round < 12; ++round) {
    Emitter emitter(card(), 2);
    std::vector<Operation> operations;
    std::vector<uint32_t> filled[2];
    for (int i = 0; i < 500; ++i) {
      // Now and then one core does all the work.
      const unsigned core = i / 100 % 2 == 0 ? random() % 2 : round % 2;
      const auto block = static_cast<uint32_t>(random() % kBlocks);
      const auto any = [&](unsigned of) -> uint32_t {
        return filled[of][random() % filled[of].size()];
      };
      const auto fill = [&](unsigned of) {
        if (std::ranges::count(filled[of], block) == 0) filled[of].push_back(block);
      };
      const unsigned kind = filled[core].empty() ? 0 : random() % 5;
      emitter.set_core(core);
      emitter.set_source(static_cast<uint32_t>(i));
      Operation now;
      if (kind <= 1) {
        npu_command_dma load =
            transfer(NPU_OP_LOAD, block * kBlock, kBlock, uint64_t{block} * kBlock);
        if (kind == 1) load.multicast = static_cast<uint16_t>(1u << (1 - core));
        emitter.emit(load);
        fill(core);
        now.writes = {core * kBlocks + block};
        if (kind == 1) {
          fill(1 - core);
          now.writes.push_back((1 - core) * kBlocks + block);
        }
      } else if (kind == 2 && !filled[1 - core].empty()) {
        const uint32_t from = any(1 - core);
        npu_command_dma bring = transfer(NPU_OP_PEER_LOAD, block * kBlock, kBlock);
        bring.external_stride[0] = 1;
        bring.source_address = from * kBlock;
        bring.peer_core = static_cast<uint8_t>(1 - core);
        emitter.emit(bring);
        fill(core);
        now = {{(1 - core) * kBlocks + from}, {core * kBlocks + block}};
      } else if (kind == 3) {
        const uint32_t a = any(core), b = any(core);
        npu_command_vec vec = elementwise(NPU_VEC_ADD, 4, 4, kBlock / 16);
        vec.a.address = a * kBlock, vec.b.address = b * kBlock, vec.out.address = block * kBlock;
        if (block == a || block == b) vec.out.address = 0, filled[core].push_back(0);
        emitter.emit(vec);
        fill(core);
        now = {{core * kBlocks + a, core * kBlocks + b},
               {core * kBlocks + vec.out.address / kBlock}};
      } else {
        const uint32_t from = any(core);
        npu_command_dma store =
            transfer(NPU_OP_STORE, from * kBlock, kBlock, uint64_t{from} * kBlock);
        store.region = static_cast<uint8_t>(1 + core);
        emitter.emit(store);
        now.reads = {core * kBlocks + from};
      }
      operations.push_back(now);
    }
    std::vector<Job> jobs = emitter.take_jobs();
    Job& job = jobs.at(0);
    const Job before = job;
    const uint64_t max_gap = simulate(decoded(job)).cycles / (3 + round % 6);
    const YieldReport report = add_yields(job, max_gap, card(), all_card);
    const std::vector<arch::Stream> streams = decoded(job);
    arch::StreamError error;
    EXPECT_TRUE(check_deadlock(streams, error)) << error.text;
    EXPECT_TRUE(check_hazards(streams, card(), error)) << error.text;
    EXPECT_EQ(simulate(streams).longest_gap, report.longest_gap);
    EXPECT_LE(report.longest_gap, max_gap);
    EXPECT_GE(report.yields, 2u + round % 6);
    // What each core has done when it comes to its YIELD of each number.
    std::vector<std::vector<bool>> done(report.yields, std::vector<bool>(operations.size()));
    std::vector<uint64_t> bytes(report.yields, 0);
    std::vector<std::vector<bool>> kept(report.yields, std::vector<bool>(2 * kBlocks));
    for (unsigned core = 0; core < 2; ++core) {
      EXPECT_EQ(without_yields(job.streams[core]), without_yields(before.streams[core]));
      size_t number = 0;
      for (const arch::Command& command : streams[core]) {
        if (command.opcode() == NPU_OP_NOP) continue;
        if (command.opcode() != NPU_OP_YIELD) {
          for (size_t k = number; k < report.yields; ++k)
            done[k][command.header().source_op] = true;
          continue;
        }
        ASSERT_LT(number, report.yields);
        const npu_command_yield& yield = command.yield();
        for (uint32_t r = 0; r < yield.range_count; ++r) {
          bytes[number] += yield.live[r].bytes;
          for (uint32_t b = 0; b < kBlocks; ++b)
            if (b * kBlock >= yield.live[r].address &&
                (b + 1) * kBlock <= yield.live[r].address + yield.live[r].bytes)
              kept[number][core * kBlocks + b] = true;
        }
        ++number;
      }
      EXPECT_EQ(number, report.yields);
    }
    for (size_t k = 0; k < report.yields; ++k) {
      for (uint32_t block = 0; block < 2 * kBlocks; ++block) {
        bool live = false;
        for (size_t i = 0; i < operations.size(); ++i) {
          if (done[k][i]) continue;
          live = std::ranges::count(operations[i].reads, block) != 0;
          if (live || std::ranges::count(operations[i].writes, block) != 0) break;
        }
        EXPECT_TRUE(kept[k][block] || !live) << "number " << k << ", block " << block;
      }
    }
    EXPECT_EQ(report.most_live_bytes, std::ranges::max(bytes));
  }
}

TEST(Yields, StandWhereLeastIsLive) {
  Blocks blocks;
  blocks.load(0);
  for (uint32_t i = 0; i < 100; ++i) {
    blocks.add(0, 0, 1 + i % 2);
    blocks.store(1 + i % 2);
  }
  Job job = blocks.take();
  const uint64_t cycles = simulate(decoded(job)).cycles;
  const YieldReport report = add_yields(job, cycles / 6, card(), all_card);
  EXPECT_EQ(report.most_live_bytes, kBlock);
  const std::vector<uint32_t> yields = yields_of(decoded(job)[0]);
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
  Job job = blocks.take();
  const uint64_t cycles = simulate(decoded(job)).cycles;
  const YieldReport report = add_yields(job, cycles / 6, card(), all_card);
  EXPECT_EQ(report.most_live_bytes, 2 * kBlock);
  EXPECT_LE(report.longest_gap, cycles / 6);
  const std::vector<uint32_t> yields = yields_of(decoded(job)[0]);
  EXPECT_GE(yields.size(), 5u);
  for (const uint32_t before : yields) EXPECT_EQ(before % 4, 2u);
}

// decode_stream refuses a sum that goes on behind a YIELD.
TEST(Yields, SumsAreNotCut) {
  Blocks blocks, one;
  for (int i = 0; i < 400; ++i) blocks.sum(i % 4, 4);
  Job job = blocks.take();
  const uint64_t cycles = simulate(decoded(job)).cycles;
  const YieldReport report = add_yields(job, cycles / 20, card(), all_card);
  const std::vector<uint32_t> yields = yields_of(decoded(job)[0]);
  EXPECT_GE(yields.size(), 19u);
  EXPECT_LE(report.longest_gap, cycles / 20);
  for (const uint32_t before : yields) EXPECT_EQ(before % 4, 0u);

  for (int i = 0; i < 100; ++i) one.sum(i, 100);
  job = one.take();
  const std::vector<std::byte> before = job.streams[0].bytes;
  EXPECT_EQ(add_yields(job, 100, card(), all_card).yields, 0u);
  EXPECT_EQ(job.streams[0].bytes, before);
}

TEST(Yields, JobsThatStayAsTheyAre) {
  Blocks blocks;
  for (uint32_t i = 0; i < 100; ++i) blocks.load(i % 8);
  const Job original = blocks.take();
  const uint64_t cycles = simulate(decoded(original)).cycles;
  const auto added = [&](uint64_t max_gap, const npu_target& target) {
    Job job = original;
    const YieldReport report = add_yields(job, max_gap, target, all_card);
    EXPECT_EQ(report.yields == 0, job.streams[0].bytes == original.streams[0].bytes);
    EXPECT_EQ(report.yields == 0, report.longest_gap == cycles);
    return report.yields;
  };
  EXPECT_EQ(added(cycles, card()), 0u);  // short
  EXPECT_NE(added(cycles / 2, card()), 0u);
  npu_target full = card();
  full.max_stream_bytes = static_cast<uint32_t>(original.streams[0].bytes.size());
  EXPECT_EQ(added(cycles / 2, full), 0u);

  // Refused, with its text, where streams are checked.
  Job bad = original;
  bad.streams[0].bytes[1] = std::byte{0x7f};
  const std::vector<std::byte> before = bad.streams[0].bytes;
  EXPECT_EQ(add_yields(bad, 1, card(), all_card).yields, 0u);
  EXPECT_EQ(bad.streams[0].bytes, before);
}

}  // namespace
}  // namespace npu::compiler
