// SPDX-License-Identifier: MIT
//
// Networks that several cores run together, on the simulated card and compared
// with the interpreter.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "arch/target.h"
#include "compiler/compile.h"
#include "compiler/testing/random_graph.h"
#include "compiler/verify/verify.h"

namespace npu::compiler {
namespace {

using testing::RandomGraph;

CompileOptions options_for(unsigned cores, uint32_t sram_bytes) {
  CompileOptions options;
  options.target = *arch::find_target("edge");
  std::strcpy(options.target.name, "test");
  options.target.cores = 4;
  options.target.sram_bytes = sram_bytes;
  options.target.card_bytes_per_cycle = 64;
  options.target.pcie_bytes_per_cycle = 64;
  options.cores = cores;
  return options;
}

// With YIELDs, though small.
CompileOptions random_options(unsigned cores, uint32_t sram_bytes) {
  CompileOptions options = options_for(cores, sram_bytes);
  options.max_yield_gap = 3000;
  return options;
}

CompileReport check(const Graph& graph, const CompileOptions& options) {
  Diagnostics diagnostics;
  const auto model = compile_graph(graph, options, diagnostics);
  EXPECT_TRUE(model) << diagnostics.text();
  if (!model) return {};
  const Verification result = verify(graph, model->file, options.target, kTestPatterns);
  EXPECT_TRUE(result.ok) << result.text << " (SRAM " << options.target.sram_bytes << ", "
                         << options.cores << " cores)";
  return model->report;
}

uint32_t network_count() {
  const char* wanted = std::getenv("NPU_RANDOM_NETWORKS");
  return wanted != nullptr ? static_cast<uint32_t>(std::atoi(wanted)) : 40;
}

constexpr uint32_t kSramSizes[] = {8192, 20000, 65536, 524288};

TEST(Gang, RandomNetworksByRowsAndChannels) {
  for (uint32_t seed = 5000; seed < 5000 + network_count(); ++seed) {
    SCOPED_TRACE(seed);
    const Graph graph = testing::random_network(seed, 1);
    for (const unsigned cores : {2u, 3u}) check(graph, random_options(cores, kSramSizes[seed % 4]));
  }
}

TEST(Gang, RandomNetworksByImages) {
  for (uint32_t seed = 7000; seed < 7000 + network_count() / 2; ++seed) {
    SCOPED_TRACE(seed);
    check(testing::random_network(seed, 4), random_options(2, kSramSizes[seed % 4]));
    check(testing::random_network(seed, 3), random_options(3, kSramSizes[seed % 4]));
  }
}

TEST(Gang, RandomEncoders) {
  for (uint32_t seed = 6000; seed < 6000 + network_count(); ++seed) {
    SCOPED_TRACE(seed);
    check(testing::random_encoder(seed, 1), random_options(2, kSramSizes[seed % 4]));
    check(testing::random_encoder(seed, 3), random_options(3, kSramSizes[seed % 4]));
  }
}

TEST(Gang, RandomMeshes) {
  for (uint32_t seed = 2000; seed < 2000 + 4 * network_count(); ++seed) {
    SCOPED_TRACE(seed);
    const unsigned cores = 2 + seed % 3;
    CompileOptions options = random_options(cores, kSramSizes[seed % 4]);
    options.keep_fastest = seed % 2 == 0;
    check(testing::random_mesh(seed, seed % 5 == 0 ? cores : 1), options);
  }
}

// The cores' images have each their own second operand, unlike weights.
TEST(Gang, ProductsOfTwoOperandsByImages) {
  RandomGraph g(2);
  const ValueId a = g.input({2, 9, 20}, ByteType::kUint8);
  g.output(g.dynamic_matmul(a, g.input({2, 20, 7}, ByteType::kInt8)));
  for (const uint32_t bytes : kSramSizes) check(g.graph, options_for(2, bytes));
}

// Of a vector each core has but a part of the sum.
TEST(Gang, ProductsOfAVectorAreNotDividedByImages) {
  RandomGraph g(3);
  g.output(g.matmul(g.input({8}, ByteType::kUint8), 8));
  check(g.graph, options_for(2, 65536));
}

TEST(Gang, ImagesThatDoNotDivide) {
  for (uint32_t seed = 9000; seed < 9012; ++seed) {
    SCOPED_TRACE(seed);
    check(testing::random_network(seed, 3), options_for(2, 65536));
  }
}

TEST(Gang, GroupedConvolutionsAndProducts) {
  for (uint32_t seed = 1; seed <= 16; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const int64_t groups = g.pick(2, 6), h = g.pick(1, 14), w = g.pick(1, 14);
    ValueId x = g.input({1, groups * g.pick(1, 20), h, w}, g.byte_type());
    x = g.conv(x, groups * g.pick(1, 40), groups, g.window(h, w, 4, true));
    x = g.conv(x, g.pick(1, 90), 1, Window{});
    const Shape image = g.shape(x);
    x = g.reshape(x, {1, image[1] * image[2] * image[3]});
    g.output(g.matmul(x, g.pick(1, 90)));
    check(g.graph, options_for(2, kSramSizes[seed % 4]));
  }
}

// Wide layers are worth more than one core: by rows, by channels, by images.
TEST(Gang, TwoCoresAreFaster) {
  Window window;
  window.kernel[0] = window.kernel[1] = 3;
  window.pad_before[0] = window.pad_before[1] = window.pad_after[0] = window.pad_after[1] = 1;
  struct Case {
    Shape shape;
    int64_t channels;
    double least;
  };
  for (const auto& [shape, channels, least] :
       {Case{{1, 32, 32, 32}, 32, 1.7}, Case{{1, 128, 6, 6}, 128, 1.4},
        Case{{2, 32, 32, 32}, 32, 1.9}}) {
    RandomGraph g(3);
    ValueId x = g.input(shape, ByteType::kUint8);
    for (int i = 0; i < 6; ++i) x = g.conv(x, channels, 1, window);
    g.output(x);
    const CompileReport one = check(g.graph, options_for(1, 524288));
    const CompileReport two = check(g.graph, options_for(2, 524288));
    EXPECT_GT(static_cast<double>(one.cycles), least * static_cast<double>(two.cycles))
        << shape[0] << "x" << shape[1];
  }
}

// Images that do not fit: each core runs its rows in stripes, alone on one image or on its own.
TEST(Gang, StripesKeepImagesOutOfMemory) {
  const Window window{{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};
  for (const int64_t images : {1, 2}) {
    RandomGraph g(8);
    ValueId x = g.input({images, 16, 32, 32}, ByteType::kUint8);
    for (int i = 0; i < 3; ++i) x = g.conv(g.conv(x, 48, 1, Window{}), 16, 1, window);
    g.output(x);
    CompileOptions options = options_for(2, 32768);
    options.target.card_bytes_per_cycle = 8;
    const CompileReport with = check(g.graph, options);
    options.stripes = false;
    const CompileReport without = check(g.graph, options);
    EXPECT_LT(with.external_bytes, without.external_bytes / 2);
    EXPECT_LT(with.cycles, without.cycles);
  }
}

// Of what is joined each core reads the rows that it made, whatever else lies in the pixels.
TEST(Gang, RowsOfWhatIsJoinedStayOnTheirCore) {
  RandomGraph g(9);
  ValueId x = g.conv(g.input({1, 8, 32, 32}, ByteType::kUint8), 32, 1, Window{});
  std::vector<ValueId> parts = {x};
  for (int i = 0; i < 4; ++i) {
    parts.push_back(g.conv(g.conv(x, 64, 1, Window{}), 16, 1, Window{}));
    g.graph.value(parts.back()).type = g.graph.value(parts[0]).type;
    x = g.concat(parts, 1);
  }
  g.output(g.conv(x, 16, 1, Window{}));
  const CompileOptions options = options_for(2, 524288);
  Diagnostics diagnostics;
  const auto model = compile_graph(g.graph, options, diagnostics);
  ASSERT_TRUE(model) << diagnostics.text();
  size_t brought = 0;
  for (const JobTrace& trace : model->trace)
    for (const arch::Stream& stream : trace.streams)
      for (size_t i = 0; i < stream.size(); ++i)
        brought += stream[i].opcode() == NPU_OP_PEER_LOAD ? 1 : 0;
  EXPECT_EQ(brought, 0u);
  EXPECT_LT(model->report.external_bytes, 60'000u);
  check(g.graph, options);
}

// Rows of softmaxes and normalizations, and products by element, are worth more than one core, too.
TEST(Gang, TwoCoresAreFasterOnTheVectorUnit) {
  RandomGraph g(5);
  ValueId x = g.input({1, 256, 128}, ByteType::kUint8);
  for (int i = 0; i < 4; ++i) x = g.mul(g.layer_norm(x), g.softmax(x));
  g.output(x);
  const CompileReport one = check(g.graph, options_for(1, 524288));
  const CompileReport two = check(g.graph, options_for(2, 524288));
  EXPECT_GT(static_cast<double>(one.cycles), 1.7 * static_cast<double>(two.cycles));
}

TEST(Gang, WeightsThatAllCoresNeedAreReadOnce) {
  RandomGraph g(4);
  ValueId x = g.input({2, 64, 16, 16}, ByteType::kUint8);
  for (int i = 0; i < 4; ++i) x = g.conv(x, 64, 1, Window{{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}});
  g.output(x);
  const CompileReport one = check(g.graph, options_for(1, 524288));
  const CompileReport two = check(g.graph, options_for(2, 524288));
  EXPECT_LT(two.external_bytes, one.external_bytes + one.external_bytes / 10);
}

TEST(Gang, MoreCoresThanTheCardHasAreAnError) {
  RandomGraph g(13);
  const ValueId x = g.input({1, 8, 8, 8}, ByteType::kUint8);
  g.output(g.lut(x));
  Diagnostics diagnostics;
  EXPECT_FALSE(compile_graph(g.graph, options_for(5, 65536), diagnostics));
  EXPECT_EQ(diagnostics.status(), Status::kTarget);
}

TEST(Gang, SameInputSameBytes) {
  const Graph graph = testing::random_network(42, 1);
  Diagnostics diagnostics;
  const auto first = compile_graph(graph, options_for(2, 65536), diagnostics);
  const auto second = compile_graph(graph, options_for(2, 65536), diagnostics);
  ASSERT_TRUE(first && second) << diagnostics.text();
  EXPECT_EQ(first->file, second->file);
}

TEST(Gang, PredictedCyclesAreTheCards) {
  RandomGraph g(12);
  ValueId x = g.input({1, 64, 24, 24}, ByteType::kUint8);
  for (int i = 0; i < 3; ++i) x = g.conv(x, 64, 1, Window{{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}});
  g.output(x);
  const CompileOptions options = options_for(2, 524288);
  Diagnostics diagnostics;
  const auto model = compile_graph(g.graph, options, diagnostics);
  ASSERT_TRUE(model) << diagnostics.text();
  SimulatedCard card(options.target, false);
  std::vector<Bytes> outputs;
  ASSERT_EQ(card.run(model->file, test_inputs(g.graph, 3), outputs), "");
  EXPECT_NEAR(static_cast<double>(card.cycles()), static_cast<double>(model->report.cycles),
              0.05 * static_cast<double>(card.cycles()));
}

}  // namespace
}  // namespace npu::compiler
