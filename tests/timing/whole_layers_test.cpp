// SPDX-License-Identifier: MIT
//
// Whole layers, as the compiler emits them, timed by the event simulation and
// by a card that is stepped cycle by cycle.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <functional>

#include "arch/target.h"
#include "arch/testing/stepped_card.h"
#include "arch/timing.h"
#include "compiler/compile.h"
#include "compiler/testing/random_graph.h"
#include "host_work.h"
#include "model_file.h"

namespace npu {
namespace {

using compiler::ByteType;
using compiler::PoolKind;
using compiler::ValueId;
using compiler::Window;
using compiler::testing::RandomGraph;

struct Layer {
  const char* name;
  const char* target;
  std::function<void(RandomGraph&)> build;
};

Window window(int64_t kernel, int64_t stride = 1, int64_t pad = 0) {
  Window w;
  for (int d = 0; d < 2; ++d) {
    w.kernel[d] = kernel, w.stride[d] = stride;
    w.pad_before[d] = w.pad_after[d] = pad;
  }
  return w;
}

ValueId image(RandomGraph& g, int64_t channels, int64_t size) {
  return g.input({1, channels, size, size}, ByteType::kUint8);
}

std::function<void(RandomGraph&)> conv(int64_t in, int64_t out, int64_t size, int64_t kernel,
                                       int64_t stride = 1, int64_t groups = 1) {
  return [=](RandomGraph& g) {
    g.output(g.conv(image(g, in, size), out, groups, window(kernel, stride, kernel / 2)));
  };
}

std::function<void(RandomGraph&)> matmul(int64_t rows, int64_t k, int64_t n) {
  return [=](RandomGraph& g) { g.output(g.matmul(g.input({rows, k}, ByteType::kUint8), n)); };
}

void residual_block(RandomGraph& g) {
  const ValueId x = image(g, 64, 28);
  const ValueId y = g.conv(x, 64, 1, window(3, 1, 1));
  g.output(g.add(g.conv(y, 64, 1, window(3, 1, 1)), x));
}

void inverted_residual(RandomGraph& g) {
  const ValueId x = image(g, 24, 28);
  const ValueId wide = g.conv(x, 144, 1, window(1));
  g.output(g.add(g.conv(g.conv(wide, 144, 144, window(3, 1, 1)), 24, 1, window(1)), x));
}

std::function<void(RandomGraph&)> pool(PoolKind kind, int64_t channels, int64_t size) {
  return [=](RandomGraph& g) {
    g.output(g.pool(image(g, channels, size), kind, window(3, 2, 1), false));
  };
}

const Layer kLayers[] = {
    {"conv 7x7s2 3->64 at 224", "card", conv(3, 64, 224, 7, 2)},
    {"conv 3x3 64->64 at 56", "card", conv(64, 64, 56, 3)},
    {"conv 1x1 64->256 at 56", "card", conv(64, 256, 56, 1)},
    {"conv 1x1s2 256->512 at 56", "card", conv(256, 512, 56, 1, 2)},
    {"conv 3x3 512->512 at 7", "card", conv(512, 512, 7, 3)},
    {"grouped 3x3 128->128/32 at 28", "card", conv(128, 128, 28, 3, 1, 32)},
    {"depthwise 3x3 144 at 56", "card", conv(144, 144, 56, 3, 1, 144)},
    {"FC 2048->1000", "card", matmul(1, 2048, 1000)},
    {"GEMM 128x768x3072", "card", matmul(128, 768, 3072)},
    {"GEMM 512x4096x256, split sum", "card", matmul(512, 4096, 256)},
    {"residual block 64 at 28", "card", residual_block},
    {"max pool 64 at 112", "card", pool(PoolKind::kMax, 64, 112)},
    {"conv 3x3 16->16 at 32", "edge", conv(16, 16, 32, 3)},
    {"conv 3x3s2 32->64 at 56", "edge", conv(32, 64, 56, 3, 2)},
    {"conv 1x1 24->144 at 28", "edge", conv(24, 144, 28, 1)},
    {"conv 5x5 48->48 at 28", "edge", conv(48, 48, 28, 5)},
    {"depthwise 3x3s2 96 at 56", "edge", conv(96, 96, 56, 3, 2, 96)},
    {"inverted residual 24 at 28", "edge", inverted_residual},
    {"FC 1280->1000", "edge", matmul(1, 1280, 1000)},
    {"GEMM 64x2048x512, split sum", "edge", matmul(64, 2048, 512)},
    {"average pool 96 at 28", "edge", pool(PoolKind::kAverage, 96, 28)},
    {"add 64 at 56", "edge",
     [](RandomGraph& g) { g.output(g.add(image(g, 64, 56), image(g, 64, 56))); }},
};

// Each command of the trace: when it ended, on average within 2 % of the job,
// and for how long it executed. (A STORE begins with its data; the two cards
// draw that line differently while the data of the one before still flow.)
void check_trace(const char* layer, const std::vector<npu_profile_command>& trace,
                 const arch::testing::SteppedJob& job) {
  const auto& stepped = job.commands[0];
  double ends = 0, executed[NPU_ENGINE_COUNT] = {}, expected[NPU_ENGINE_COUNT] = {};
  for (size_t i = 0; i < trace.size(); ++i) {
    const uint64_t end = trace[i].start_cycle + trace[i].execute_cycles;
    ends += std::abs(static_cast<double>(end) - static_cast<double>(stepped[i].retired));
    if (trace[i].engine == NPU_ENGINE_STORE || trace[i].engine == NPU_ENGINE_DISPATCH) continue;
    executed[trace[i].engine] += trace[i].execute_cycles;
    expected[trace[i].engine] += static_cast<double>(stepped[i].retired - stepped[i].start);
  }
  EXPECT_LE(ends / static_cast<double>(trace.size()), 0.02 * static_cast<double>(job.cycles))
      << layer;
  for (unsigned engine = 0; engine < NPU_ENGINE_COUNT; ++engine)
    EXPECT_NEAR(executed[engine], expected[engine], 0.02 * expected[engine])
        << layer << ", " << arch::engine_name(engine);
}

TEST(WholeLayers, EventSimulationAgreesWithTheSteppedCard) {
  std::printf("%-32s %-5s %10s %10s %8s\n", "layer", "card", "stepped", "simulated", "off");
  for (const Layer& layer : kLayers) {
    const npu_target& target = *arch::find_target(layer.target);
    RandomGraph g(1);
    layer.build(g);
    compiler::CompileOptions options;
    options.target = target;
    compiler::Diagnostics diagnostics;
    const auto compiled = compile_graph(g.graph, options, diagnostics);
    ASSERT_TRUE(compiled) << diagnostics.text();
    auto parsed = umd::ModelFile::parse(compiled->file);
    ASSERT_TRUE(parsed.ok());
    const umd::ModelFile& file = parsed.value();
    ASSERT_EQ(file.model().jobs()->size(), 1u);
    std::vector<arch::Stream> streams(1);
    arch::StreamError error;
    const auto bytes = file.stream(*file.model().jobs()->Get(0)->streams()->Get(0));
    ASSERT_TRUE(decode_stream(bytes, target, 0, 1, streams[0], error));

    const arch::testing::SteppedJob stepped =
        arch::testing::SteppedCard{target, NPU_REGION_TENSORS}.run(streams);
    arch::TimingInput input;
    input.streams = streams;
    input.region_memory = [](unsigned region) {
      return region != arch::kRegionCommands && region >= NPU_REGION_TENSORS
                 ? arch::External::kHost
                 : arch::External::kCard;
    };
    std::vector<npu_profile_command> trace;
    const arch::JobTiming simulated = simulate_job(input, target, &trace);
    const double off =
        static_cast<double>(simulated.cycles) / static_cast<double>(stepped.cycles) - 1;
    std::printf("%-32s %-5s %10llu %10llu %+7.2f%%\n", layer.name, layer.target,
                static_cast<unsigned long long>(stepped.cycles),
                static_cast<unsigned long long>(simulated.cycles), 100 * off);
    EXPECT_LE(std::abs(off), 0.02) << layer.name;
    EXPECT_EQ(simulated.macs, stepped.products) << layer.name;
    EXPECT_EQ(simulated.card_bytes, stepped.card_bytes) << layer.name;
    EXPECT_EQ(simulated.pcie_bytes, stepped.pcie_bytes) << layer.name;
    check_trace(layer.name, trace, stepped);
    testing::expect_little_work(layer.name, {bytes}, target);
  }
}

}  // namespace
}  // namespace npu
