// SPDX-License-Identifier: MIT
//
// A compiled network that two cores run, and something more urgent.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "arch/timing.h"
#include "compiler/compile.h"
#include "compiler/reference/interpreter.h"
#include "compiler/testing/random_graph.h"
#include "compiler/verify/verify.h"
#include "model_file.h"
#include "testing/preempt.h"

namespace npu {
namespace {

using model::testing::kHigh;
using model::testing::kLow;

constexpr uint64_t kTable = 1 << 20;  // where the regions' addresses lie, and then they themselves
constexpr uint64_t kRegions = kTable + 4096;

// Convolutions that are divided by rows and by channels, with residuals, and attention.
compiler::Graph network() {
  compiler::testing::RandomGraph g(7);
  const compiler::Window same{{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
  compiler::ValueId x = g.input({1, 32, 28, 28}, compiler::ByteType::kUint8);
  for (int i = 0; i < 3; ++i) {
    const compiler::ValueId y = g.conv(g.conv(x, 64, 1, same), 32, 1, same);
    x = g.add(x, y);
  }
  const compiler::Window half{{3, 3}, {2, 2}, {1, 1}, {1, 1}, {1, 1}};
  x = g.conv(g.conv(x, 64, 1, half), 256, 1, half);
  x = g.conv(x, 256, 1, same);
  x = compiler::testing::attention(g, g.reshape(x, {1, 256, 49}));
  g.output(x);
  return std::move(g.graph);
}

class OvertakeBench : public model::testing::PreemptBench {
 public:
  OvertakeBench(const umd::ModelFile& file, const std::vector<compiler::Bytes>& inputs)
      : PreemptBench(2) {
    uint64_t at = kRegions;
    std::vector<uint64_t> table;
    const auto add = [&](uint64_t bytes) {
      table.push_back(kDataVa + at);
      const uint64_t begin = at;
      at += (bytes + 4095) / 4096 * 4096;
      EXPECT_LT(at, model::testing::kUrgentOutput);
      return begin;
    };
    const auto constants = file.constants();
    std::memcpy(data() + add(constants.size()), constants.data(), constants.size());
    add(file.model().scratch_bytes());
    for (unsigned i = 0; i < file.tensor_count(); ++i) {
      EXPECT_EQ(file.tensor(i).region(), table.size());
      const uint64_t begin = add(file.tensor(i).bytes());
      if (file.is_output(i)) {
        outputs_.emplace_back(begin, file.tensor(i).bytes());
      } else {
        std::memcpy(data() + begin, inputs[i].data(), inputs[i].size());
      }
    }
    std::memcpy(data() + kTable, table.data(), table.size() * sizeof(table[0]));
    regions_ = static_cast<uint8_t>(table.size());
  }

  void submit_network(const std::vector<std::vector<std::byte>>& streams) {
    npu_packet_job job = packet(streams);
    job.region_va = kDataVa + kTable;
    job.region_count = regions_;
    submit(kLow, job);
  }
  std::vector<compiler::Bytes> results() {
    std::vector<compiler::Bytes> out;
    for (const auto& [begin, bytes] : outputs_)
      out.emplace_back(data() + begin, data() + begin + bytes);
    return out;
  }

 private:
  uint8_t regions_ = 0;
  std::vector<std::pair<uint64_t, uint64_t>> outputs_;
};

// From the lists and the card's clock, not from the compiler.
struct Gaps {
  uint64_t longest = 0, most_saved = 0;
  size_t yields = 0;
};
Gaps gaps_of(const std::vector<std::vector<std::byte>>& bytes, const npu_target& target) {
  std::vector<arch::Stream> streams(bytes.size());
  arch::StreamError error;
  for (unsigned core = 0; core < bytes.size(); ++core)
    EXPECT_TRUE(arch::decode_stream(bytes[core], target, core, static_cast<unsigned>(bytes.size()),
                                    streams[core], error))
        << error.text;
  arch::TimingInput input;
  input.streams = streams;
  input.region_memory = [](unsigned region) {  // as the bench has them
    return region == arch::kRegionCommands ? arch::External::kHost : arch::External::kCard;
  };
  std::vector<npu_profile_command> trace;
  const uint64_t cycles = arch::simulate_job(input, target, &trace).cycles;
  struct Yield {
    uint64_t at, bytes;
  };
  std::vector<std::vector<Yield>> yields(streams.size());
  size_t record = 0;
  for (size_t core = 0; core < streams.size(); ++core) {
    for (const arch::Command& command : streams[core]) {
      if (command.opcode() == NPU_OP_YIELD) {
        Yield yield = {trace[record].start_cycle, 0};
        for (const auto& range : command.yield().live) yield.bytes += range.bytes;
        yields[core].push_back(yield);
      }
      ++record;
    }
  }
  Gaps gaps;
  gaps.yields = yields[0].size();
  EXPECT_EQ(yields[1].size(), gaps.yields);
  uint64_t left = 0;
  for (size_t k = 0; k < gaps.yields; ++k) {
    const Yield &a = yields[0][k], &b = yields[1][k];
    gaps.longest = std::max(gaps.longest, std::max(a.at, b.at) - left);
    gaps.most_saved = std::max(gaps.most_saved, a.bytes + b.bytes);
    left = std::min(a.at, b.at);
  }
  gaps.longest = std::max(gaps.longest, cycles - left);
  return gaps;
}

TEST(Overtake, ANetworkOnTwoCoresWithinItsLongestGap) {
  const compiler::Graph graph = network();
  compiler::CompileOptions options;
  options.target = model::testing::with_cores(2).target;
  options.cores = 2;
  options.max_yield_gap = 12000;
  compiler::Diagnostics diagnostics;
  const auto compiled = compile_graph(graph, options, diagnostics);
  ASSERT_TRUE(compiled) << diagnostics.text();
  EXPECT_LE(compiled->report.longest_yield_gap, options.max_yield_gap);

  auto parsed = umd::ModelFile::parse(compiled->file);
  ASSERT_TRUE(parsed.ok());
  const umd::ModelFile& file = parsed.value();
  ASSERT_EQ(file.model().jobs()->size(), 1u);
  std::vector<std::vector<std::byte>> streams;
  for (const auto* stream : *file.model().jobs()->Get(0)->streams()) {
    const auto bytes = file.stream(*stream);
    streams.emplace_back(bytes.begin(), bytes.end());
  }
  const Gaps gaps = gaps_of(streams, options.target);
  EXPECT_EQ(gaps.yields, compiled->report.yields);
  EXPECT_EQ(gaps.most_saved, compiled->report.yield_live_bytes);
  EXPECT_GE(gaps.yields, 4u);

  const std::vector<compiler::Bytes> inputs = compiler::test_inputs(graph, 3);
  const std::vector<compiler::Bytes> expected = compiler::interpret(graph, inputs);
  const uint64_t save =
      arch::save_cycles(gaps.most_saved + sizeof(npu_save_header), options.target);
  uint64_t overtaken = 0, points = 0, longest_wait = 0;
  // After so many commands; one past the end last.
  for (bool ended = false; !ended; points += 3) {
    OvertakeBench bench(file, inputs);
    bench.submit_network(streams);
    bench.h().run(points + 1);
    ended = bench.h().completed(kLow, 0);
    bench.urgent();
    bench.h().run();
    const npu_completion low = bench.h().completion(kLow, 0), high = bench.h().completion(kHigh, 0);
    ASSERT_EQ(low.status, 0u) << bench.h().log;
    ASSERT_EQ(low.sequence, 1u);
    ASSERT_EQ(high.sequence, 1u);
    EXPECT_LE(bench.waited(kHigh), gaps.longest + save) << points;
    EXPECT_EQ(low.cycles_observed > low.cycles_solo, bench.preemptions(kLow) != 0);
    ASSERT_EQ(bench.results(), expected) << "overtaken behind " << points << " commands";
    longest_wait = std::max(longest_wait, bench.waited(kHigh));
    overtaken += bench.preemptions(kLow);
  }
  EXPECT_GT(overtaken, points / 3 / 2);
  EXPECT_GT(longest_wait, gaps.longest / 2) << "the bound is not far off";
}

}  // namespace
}  // namespace npu
