// SPDX-License-Identifier: MIT
//
// Every kind of layer at random shapes, compiled for cards with little and
// much SRAM, run on the simulated card and compared with the interpreter.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "arch/target.h"
#include "compiler/compile.h"
#include "compiler/testing/random_graph.h"
#include "compiler/verify/verify.h"

namespace npu::compiler {
namespace {

using testing::RandomGraph;

npu_target make_target(uint32_t sram_bytes) {
  npu_target target = *arch::find_target("edge");
  std::strcpy(target.name, "test");
  target.sram_bytes = sram_bytes;
  return target;
}

// Small enough that most layers need many tiles and split sums, up to one tile
// per layer.
constexpr uint32_t kSramSizes[] = {4096, 16384, 65536, 2097152};

std::vector<LayerReport> check(const Graph& graph, const CompileOptions& options) {
  Diagnostics diagnostics;
  const auto model = compile_graph(graph, options, diagnostics);
  EXPECT_TRUE(model) << diagnostics.text();
  if (!model) return {};
  const Verification result = verify(graph, model->file, options.target, kTestPatterns);
  EXPECT_TRUE(result.ok) << result.text << " (SRAM " << options.target.sram_bytes << ")";
  return model->report.layers;
}

// The fastest schedule and the most ambitious one.
void check(const Graph& graph, const npu_target& target, bool fuse = true) {
  CompileOptions options;
  options.target = target;
  options.fuse = fuse;
  for (const bool keep_fastest : {true, false}) {
    options.keep_fastest = keep_fastest;
    check(graph, options);
  }
}

void check_all_sizes(const Graph& graph) {
  for (const uint32_t bytes : kSramSizes) check(graph, make_target(bytes));
}

TEST(Lowering, Convolutions) {
  for (uint32_t seed = 1; seed <= 24; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const int64_t h = g.pick(1, 20), w = g.pick(1, 20), c = g.pick(1, 70);
    const ValueId x = g.input({g.pick(1, 2), c, h, w}, g.byte_type());
    g.output(g.conv(x, g.pick(1, 70), 1, g.window(h, w, 5, true)));
    check_all_sizes(g.graph);
  }
}

TEST(Lowering, GroupedConvolutions) {
  for (uint32_t seed = 1; seed <= 16; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const int64_t groups = g.pick(2, 6), h = g.pick(1, 14), w = g.pick(1, 14);
    const ValueId x = g.input({1, groups * g.pick(1, 20), h, w}, g.byte_type());
    g.output(g.conv(x, groups * g.pick(1, 20), groups, g.window(h, w, 4, true)));
    check_all_sizes(g.graph);
  }
}

TEST(Lowering, DepthwiseConvolutions) {
  for (uint32_t seed = 1; seed <= 16; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const int64_t c = g.pick(2, 60), h = g.pick(1, 24), w = g.pick(1, 24);
    const ValueId x = g.input({1, c, h, w}, g.byte_type());
    g.output(g.conv(x, c, c, g.window(h, w, 5, true)));
    check_all_sizes(g.graph);
  }
}

TEST(Lowering, OneDimensionalConvolutions) {
  for (uint32_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const int64_t w = g.pick(5, 200), c = g.pick(1, 40);
    const ValueId x = g.input({g.pick(1, 2), c, w}, g.byte_type());
    Window window = g.window(1, w, 5, true);
    g.output(g.conv(x, g.pick(1, 40), 1, window));
    check_all_sizes(g.graph);
  }
}

// Kernels as large as the image, whose pieces partly lie in padding only.
TEST(Lowering, KernelsLargerThanSram) {
  RandomGraph g(7);
  const ValueId x = g.input({1, 40, 9, 9}, ByteType::kUint8);
  Window window;
  window.kernel[0] = window.kernel[1] = 11;
  for (int i = 0; i < 2; ++i) window.pad_before[i] = window.pad_after[i] = 5;
  g.output(g.conv(x, 5, 1, window));
  check_all_sizes(g.graph);
}

// Pads beyond the kernel: some outputs see nothing but padding.
TEST(Lowering, OutputsInThePadding) {
  RandomGraph g(8);
  const ValueId x = g.input({1, 6, 3, 3}, ByteType::kInt8);
  Window window;
  window.kernel[0] = window.kernel[1] = 2;
  for (int i = 0; i < 2; ++i) window.pad_before[i] = window.pad_after[i] = 6;
  g.output(g.conv(x, 20, 1, window));
  check_all_sizes(g.graph);
}

TEST(Lowering, WideRows) {
  RandomGraph g(9);
  const ValueId x = g.input({1, 24, 2, 3000}, ByteType::kUint8);
  Window window;
  window.kernel[0] = 2;
  window.kernel[1] = 3;
  window.stride[1] = 2;
  g.output(g.conv(x, 33, 1, window));
  check_all_sizes(g.graph);
}

TEST(Lowering, Products) {
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const ValueId x = g.chance(50) ? g.input({g.pick(1, 40), g.pick(1, 300)}, g.byte_type())
                                   : g.input({2, g.pick(1, 9), g.pick(1, 90)}, g.byte_type());
    g.output(g.matmul(x, g.pick(1, 150)));
    check_all_sizes(g.graph);
  }
}

TEST(Lowering, ProductsDeeperThanSram) {
  RandomGraph g(3);
  const ValueId x = g.input({3, 70000}, ByteType::kUint8);
  g.output(g.matmul(x, 2));
  check_all_sizes(g.graph);
}

// Of which thousands are too many at once.
TEST(Lowering, ProductsOfMillionsOfRows) {
  RandomGraph g(3);
  g.output(g.matmul(g.input({4'000'000, 2}, ByteType::kUint8), 1));
  CompileOptions options;
  options.target = make_target(4096);
  options.keep_fastest = false;
  check(g.graph, options);
}

TEST(Lowering, ProductsOfTwoComputedOperands) {
  for (uint32_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const int64_t batch = g.pick(1, 3), m = g.pick(1, 30), k = g.pick(1, 90), n = g.pick(1, 90);
    const bool flat = g.chance(40);
    const ValueId a = g.input(flat ? Shape{m, k} : Shape{batch, m, k}, g.byte_type());
    // Also as the transposed operand that attention has.
    ValueId b;
    if (g.chance(50)) {
      b = g.input(flat ? Shape{k, n} : Shape{batch, k, n}, g.byte_type());
    } else {
      b = g.transpose(g.input(flat ? Shape{n, k} : Shape{batch, n, k}, g.byte_type()),
                      flat ? std::vector<int>{1, 0} : std::vector<int>{0, 2, 1});
    }
    g.output(g.dynamic_matmul(a, b));
    check_all_sizes(g.graph);
  }
}

TEST(Lowering, Pools) {
  for (uint32_t seed = 1; seed <= 16; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const int64_t h = g.pick(1, 30), w = g.pick(1, 30);
    const ValueId x = g.input({g.pick(1, 2), g.pick(1, 50), h, w}, g.byte_type());
    g.output(g.pool(x, g.chance(50) ? PoolKind::kMax : PoolKind::kAverage, g.window(h, w, 5, false),
                    g.chance(50)));
    check_all_sizes(g.graph);
  }
}

TEST(Lowering, GlobalAverages) {
  for (uint32_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const ValueId x =
        g.input({g.pick(1, 2), g.pick(1, 80), g.pick(1, 30), g.pick(1, 30)}, g.byte_type());
    g.output(g.global_average(x));
    check_all_sizes(g.graph);
  }
}

TEST(Lowering, GlobalAverageOfAnImageLargerThanSram) {
  RandomGraph g(5);
  g.output(g.global_average(g.input({1, 3, 300, 290}, ByteType::kUint8)));
  check(g.graph, make_target(16384));
  check(g.graph, make_target(65536));
}

TEST(Lowering, ElementWise) {
  for (uint32_t seed = 1; seed <= 16; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const Shape shape{g.pick(1, 3), g.pick(1, 20), g.pick(1, 20), g.pick(1, 20)};
    const ValueId x = g.input(shape, g.byte_type());
    Shape other = shape;
    for (int64_t& dim : other) {
      if (g.chance(25)) dim = 1;
    }
    while (other.size() > 1 && other[0] == 1 && g.chance(50)) other.erase(other.begin());
    const ValueId y =
        g.chance(70) ? g.input(other, g.byte_type()) : g.constant(other, g.byte_type());
    const bool first = g.chance(50);
    ValueId z =
        g.chance(50) ? g.add(first ? x : y, first ? y : x) : g.mul(first ? x : y, first ? y : x);
    if (g.chance(50)) z = g.lut(z);
    g.output(z);
    check_all_sizes(g.graph);
  }
}

TEST(Lowering, DataMovement) {
  for (uint32_t seed = 1; seed <= 24; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const int64_t c = g.pick(2, 9), h = g.pick(2, 9), w = g.pick(2, 9);
    ValueId x = g.input({1, c, h, w}, ByteType::kUint8);
    // Behind a convolution data lies channels last, behind an input row-major.
    if (g.chance(60)) x = g.conv(x, c, 1, Window{});
    for (int64_t steps = g.pick(1, 4); steps > 0; --steps) {
      const Shape now = g.shape(x);
      switch (g.pick(0, 7)) {
        case 5: {
          // Every other row; every third column.
          const Shape size{now[0], now[1], (now[2] + 1) / 2, (now[3] + 2) / 3};
          x = g.slice(x, {0, 0, 0, 0}, size, {1, 1, 2, 3});
          break;
        }
        case 6: {
          std::vector<int64_t> before;
          Shape size = now;
          for (int64_t& dim : size) {
            before.push_back(g.pick(0, 2));
            dim += before.back() + g.pick(0, 2);
          }
          x = g.pad(x, before, size, static_cast<uint8_t>(g.pick(0, 255)));
          break;
        }
        case 7: {
          Shape one = now, size = now;
          one[2] = 1;
          size[2] = g.pick(2, 5);
          x = g.expand(g.slice(x, {0, 0, now[2] - 1, 0}, one), size);
          break;
        }
        case 0:
          x = g.reshape(x, {now[0] * now[1], now[2], now[3], 1});
          break;
        case 1:
          x = g.transpose(x, {0, 2, 3, 1});
          break;
        case 2:
          x = g.concat({x, x}, static_cast<int>(g.pick(0, 3)));
          break;
        case 3: {
          Shape size = now;
          size[1] = (size[1] + 1) / 2;
          x = g.slice(x, {0, now[1] - size[1], 0, 0}, size);
          break;
        }
        default:
          x = g.lut(x);
          break;
      }
    }
    g.output(x);
    check(g.graph, make_target(4096));
    check(g.graph, make_target(65536));
  }
}

TEST(Lowering, Resizes) {
  for (uint32_t seed = 1; seed <= 16; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const int64_t w = g.pick(1, 40), c = g.pick(1, 70);
    ValueId x = g.chance(80) ? g.input({g.pick(1, 2), c, g.pick(1, 20), w}, g.byte_type())
                             : g.input({g.pick(1, 2), c, w}, g.byte_type());
    if (g.chance(50)) x = g.conv(x, g.pick(1, 70), 1, Window{});
    const bool flat = g.shape(x).size() == 3;
    x = g.resize(x, flat ? 1 : g.pick(1, 30), g.pick(1, 60));
    if (g.chance(50)) x = g.conv(x, g.pick(1, 40), 1, Window{});
    g.output(x);
    check_all_sizes(g.graph);
  }
}

// Columns that reach further than SRAM does at once.
TEST(Lowering, ResizeOfLongRows) {
  RandomGraph g(4);
  g.output(g.resize(g.input({1, 3, 2, 1500}, ByteType::kUint8), 3, 4000));
  check(g.graph, make_target(4096));
  check(g.graph, make_target(65536));
}

// The frame is part of what reads it, or not: the same bytes.
TEST(Lowering, PadsOfWindows) {
  for (uint32_t seed = 1; seed <= 24; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const ValueId x = g.input({1, g.pick(1, 20), g.pick(3, 12), g.pick(3, 12)}, g.byte_type());
    Shape framed = g.shape(x);
    framed[2] += 3;
    framed[3] += 2;
    const ByteType type = g.graph.value(x).type;
    const int byte = g.chance(50) ? byte_low(type) : 7;
    const ValueId y = g.pad(x, {0, 0, 1, 2}, framed, static_cast<uint8_t>(byte));
    Window window = g.window(framed[2], framed[3], 3, false);
    ValueId z = kNoValue;
    switch (g.pick(0, 2)) {
      case 0:
        z = g.pool(y, PoolKind::kMax, window, false);
        break;
      case 1:
        z = g.pool(y, PoolKind::kAverage, window, g.chance(50));
        if (g.chance(80)) g.graph.ops.back().as<PoolOp>()->arithmetic.in_zero = byte;
        break;
      default:
        z = g.conv(y, g.pick(1, 20), 1, window);
        if (g.chance(80)) g.graph.ops.back().as<MacOp>()->input_zero = byte;
        break;
    }
    g.output(z);
    if (g.chance(20)) g.output(y);
    check_all_sizes(g.graph);
    check(g.graph, make_target(65536), false);
  }
}

TEST(Lowering, AnInputIsAnOutput) {
  RandomGraph g(1);
  const ValueId x = g.input({1, 5, 4, 3}, ByteType::kInt8);
  g.output(x);
  g.output(g.transpose(x, {0, 2, 3, 1}));
  g.output(x);
  check_all_sizes(g.graph);
}

// Over the last axis, wherever that lies: channels that are not adjacent are brought together.
TEST(Lowering, SoftmaxAndLayerNorm) {
  for (uint32_t seed = 1; seed <= 16; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const Shape size{g.pick(1, 3), g.pick(1, 30), g.pick(1, 9), g.pick(1, 60)};
    ValueId x = g.input(size, g.byte_type());
    if (g.chance(40)) x = g.conv(x, size[1], 1, Window{});
    if (g.chance(50)) x = g.transpose(x, {0, 2, 3, 1});
    x = g.chance(50) ? g.softmax(x) : g.layer_norm(x);
    if (g.chance(40)) x = g.lut(x);
    g.output(x);
    check_all_sizes(g.graph);
  }
}

TEST(Lowering, RowsLargerThanSramAreAnError) {
  RandomGraph g(17);
  g.output(g.layer_norm(g.input({2, 3000}, ByteType::kUint8)));
  CompileOptions options;
  options.target = make_target(16384);
  Diagnostics diagnostics;
  EXPECT_FALSE(compile_graph(g.graph, options, diagnostics));
  EXPECT_EQ(diagnostics.status(), Status::kResources);
  check(g.graph, make_target(65536));
}

// Chains that fusion turns into one command, with everything a chain can hold.
TEST(Lowering, OutputChains) {
  for (uint32_t seed = 1; seed <= 32; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const int64_t c = g.pick(1, 40), h = g.pick(2, 16), w = g.pick(2, 16);
    const ValueId x = g.input({1, c, h, w}, g.byte_type());
    ValueId y = g.conv(x, c, g.chance(30) ? c : 1, Window{});
    if (g.chance(50)) y = g.lut(y);
    if (g.chance(60)) {
      const ValueId other = g.chance(50) ? x : g.conv(x, c, 1, Window{});
      y = g.chance(50) ? g.add(y, other) : g.add(other, y);
      if (g.chance(50)) y = g.lut(y);
    }
    if (g.chance(60)) {
      Window window;
      window.kernel[0] = window.stride[0] = g.pick(1, 2);
      window.kernel[1] = window.stride[1] = g.pick(1, 2);
      y = g.pool(y, g.chance(50) ? PoolKind::kMax : PoolKind::kAverage, window, false);
    }
    if (g.chance(40)) y = g.lut(y);
    g.output(y);
    check_all_sizes(g.graph);
    check(g.graph, make_target(65536), false);
  }
}

TEST(Lowering, FlattenedImagesIntoProducts) {
  for (uint32_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const int64_t n = g.pick(1, 3), c = g.pick(1, 12), h = g.pick(1, 7), w = g.pick(1, 7);
    const ValueId x = g.conv(g.input({n, c, h, w}, g.byte_type()), c, 1, Window{});
    const ValueId flat = g.reshape(x, {n, c * h * w});
    g.output(g.matmul(flat, g.pick(1, 20)));
    if (g.chance(50)) g.output(g.lut(flat));
    if (g.chance(30)) g.output(x);
    check_all_sizes(g.graph);
  }
}

// Chains of convolutions and pools with residuals, as CNNs have them, on cards that cannot hold
// their images: they run in stripes.
TEST(Lowering, Stripes) {
  int striped = 0;
  for (uint32_t seed = 1; seed <= 24; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    ValueId x = g.input({1, g.pick(1, 12), g.pick(20, 60), g.pick(8, 40)}, g.byte_type());
    for (int64_t blocks = g.pick(1, 3); blocks > 0; --blocks) {
      const ValueId before = x;
      const Shape in = g.shape(x);
      Window spatial;
      for (int i = 0; i < 2; ++i) {
        spatial.kernel[i] = g.pick(1, 3);
        spatial.stride[i] = g.chance(25) && spatial.kernel[i] > 1 ? 2 : 1;
        spatial.pad_before[i] = g.pick(0, spatial.kernel[i] - 1);
        spatial.pad_after[i] = spatial.kernel[i] - 1 - spatial.pad_before[i];
      }
      x = g.conv(x, g.pick(4, 40), 1, Window{});
      const int64_t wide = g.shape(x)[1];
      x = g.conv(x, wide, g.chance(60) ? wide : 1, spatial);
      if (g.chance(30))
        x = g.pool(x, g.chance(50) ? PoolKind::kMax : PoolKind::kAverage,
                   g.window(g.shape(x)[2], g.shape(x)[3], 3, false), false);
      if (g.chance(20)) g.output(x);
      x = g.conv(x, in[1], 1, Window{});
      if (g.shape(x) == in) x = g.add(x, before);
      if (g.chance(30)) x = g.lut(x);
    }
    g.output(x);
    for (const uint32_t bytes : {8192u, 20000u, 65536u}) {
      CompileOptions options;
      options.target = make_target(bytes);
      options.keep_fastest = false;
      striped += std::ranges::any_of(
          check(g.graph, options), [](const LayerReport& layer) { return layer.stripe_rows > 0; });
    }
  }
  EXPECT_GE(striped, 48);  // of 72 networks
}

// Each pool writes its part of what is joined, and the next one reads it: spatial pyramid pooling.
// Some parts are made in stripes, and all of them lie in one tensor.
TEST(Lowering, JoinedPools) {
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const int64_t size = g.pick(3, 12), channels = g.pick(16, 128);
    ValueId x = g.input({1, 2 * channels, size, size}, ByteType::kUint8);
    x = g.conv(g.conv(x, 2 * channels, 1, Window{}), channels, 1, Window{});
    Window window{{5, 5}, {1, 1}, {1, 1}, {2, 2}, {2, 2}};
    std::vector<ValueId> parts = {x};
    for (int i = 0; i < 3; ++i)
      parts.push_back(g.pool(parts.back(), PoolKind::kMax, window, false));
    g.output(g.conv(g.concat(parts, 1), channels, 1, Window{}));
    for (const uint32_t bytes : {8192u, 20000u, 65536u, 262144u, 524288u})
      check(g.graph, make_target(bytes));
  }
}

// What a layer of a dense block reads is a part of what the last one reads, as it joins all that
// was made before or what the layer before read and made. Nothing is copied, whether it lies in
// SRAM or in memory.
TEST(Lowering, DenseBlocks) {
  for (const bool nested : {false, true}) {
    RandomGraph g(21);
    ValueId x = g.conv(g.input({1, 3, 16, 16}, ByteType::kUint8), 32, 1, Window{});
    std::vector<ValueId> parts = {x};
    for (int i = 0; i < 8; ++i) {
      const ValueId narrow =
          g.conv(g.conv(x, g.shape(x)[1], g.shape(x)[1], Window{}), 32, 1, Window{});
      parts.push_back(g.conv(narrow, 16, 1, Window{{3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}}));
      g.graph.value(parts.back()).type = g.graph.value(parts[0]).type;
      x = nested ? g.concat({x, parts.back()}, 1) : g.concat(parts, 1);
    }
    g.output(g.conv(x, 32, 1, Window{}));
    for (const auto& [bytes, most] :
         {std::pair{8192u, 1'150'000u}, {32768u, 600'000u}, {65536u, 90'000u}}) {
      CompileOptions options;
      options.target = make_target(bytes);
      uint64_t moved = 0;
      for (const LayerReport& layer : check(g.graph, options)) {
        EXPECT_NE(layer.type, "Copy");
        moved += layer.external_bytes;
      }
      EXPECT_LE(moved, most) << bytes << (nested ? ", nested" : "");
    }
  }
}

// Of two parts of what nobody reads, one only is made in stripes.
TEST(Lowering, PartsOfWhatNobodyReads) {
  check(testing::random_network(1311, 1), make_target(8192));
}

// Whole networks share scratch memory and SRAM between layers.
template <typename Make>
void check_random(Make&& make) {
  const char* wanted = std::getenv("NPU_RANDOM_NETWORKS");
  const uint32_t networks = wanted != nullptr ? static_cast<uint32_t>(std::atoi(wanted)) : 30;
  for (uint32_t seed = 100; seed < 100 + networks; ++seed) {
    SCOPED_TRACE(seed);
    const uint32_t bytes[] = {4096, 8192, 16384, 65536, 524288};
    check(make(seed), make_target(bytes[seed % 5]));
  }
}

// A residual whose axes are nested in another order is not where the output may be written.
TEST(Lowering, TransposedResiduals) {
  RandomGraph g(6);
  const ValueId r = g.lut(g.input({3, 4, 5, 8}, ByteType::kUint8));
  const ValueId x = g.lut(g.input({4, 3, 5, 6}, ByteType::kInt8));
  g.output(g.softmax(g.add(g.matmul(x, 8), g.transpose(r, {1, 0, 2, 3}))));
  check_all_sizes(g.graph);
}

// Taps so far apart that all of them miss the image, though the kernel as a whole does not.
TEST(Lowering, DilationsBeyondTheImage) {
  uint32_t split = 0;
  // Such that the best sum is one of pieces that miss it.
  for (const uint32_t seed : {1937u, 2023u, 2051u, 2160u, 2274u, 2292u}) {
    SCOPED_TRACE(seed);
    RandomGraph g(seed);
    const int64_t h = g.pick(1, 4), w = g.pick(1, 30), c = g.pick(1, 16) * 4;
    Window window;
    window.kernel[0] = g.pick(2, 7);
    window.kernel[1] = g.pick(1, 7);
    window.dilation[0] = h + g.pick(1, 2);
    window.pad_before[0] = window.pad_after[0] = window.span(0) - 1;
    window.pad_before[1] = window.pad_after[1] = window.kernel[1] / 2;
    const ValueId x = g.conv(g.input({1, 3, h, w}, ByteType::kUint8), c, 1, Window{});
    g.output(g.softmax(g.conv(x, g.pick(1, 40), 1, window)));
    CompileOptions options;
    options.target = make_target(static_cast<uint32_t>(g.pick(4, 40)) * 1024);
    if (g.chance(30)) options.target.accumulator_rows = 64;
    options.keep_fastest = false;
    for (const LayerReport& layer : check(g.graph, options))
      split += layer.tiling.find("sum 1x") != std::string::npos ? 1 : 0;
  }
  EXPECT_GE(split, 4u);  // by rows of the kernel
}

// What reads what in every way; some rows are larger than the smallest SRAM.
TEST(Lowering, RandomMeshes) {
  const char* wanted = std::getenv("NPU_RANDOM_NETWORKS");
  const uint32_t networks = wanted != nullptr ? static_cast<uint32_t>(std::atoi(wanted)) : 100;
  for (uint32_t seed = 100; seed < 100 + networks; ++seed) {
    SCOPED_TRACE(seed);
    const uint32_t bytes[] = {16384, 32768, 65536, 524288};
    check(testing::random_mesh(seed, seed % 3 == 0 ? 2 : 1), make_target(bytes[seed % 4]),
          seed % 5 != 0);
  }
}

TEST(Lowering, RandomNetworks) {
  check_random([](uint32_t seed) { return testing::random_network(seed, 1); });
}

TEST(Lowering, RandomBodies) {
  check_random([](uint32_t seed) { return testing::random_body(seed, seed % 4 == 0 ? 2 : 1); });
}

TEST(Lowering, RandomEncoders) {
  check_random([](uint32_t seed) { return testing::random_encoder(seed, seed % 3 == 0 ? 2 : 1); });
}

// Streams that are full continue in another job, with nothing left in SRAM.
TEST(Lowering, SeveralJobs) {
  npu_target target = make_target(4096);
  target.max_stream_bytes = 16384;
  RandomGraph g(15);
  const ValueId x = g.input({1, 40, 16, 16}, ByteType::kUint8);
  Window window;
  window.kernel[0] = window.kernel[1] = 3;
  g.output(g.lut(g.pool(g.lut(g.conv(x, 30, 1, window)), PoolKind::kAverage, window, false)));
  CompileOptions options;
  options.target = target;
  Diagnostics diagnostics;
  const auto model = compile_graph(g.graph, options, diagnostics);
  ASSERT_TRUE(model) << diagnostics.text();
  EXPECT_GT(model->report.jobs, 1u);
  check(g.graph, target);
}

// The comparison itself: one weight changed is seen.
TEST(Lowering, VerificationSeesADifference) {
  RandomGraph g(14);
  const ValueId x = g.input({1, 8, 6, 6}, ByteType::kUint8);
  g.output(g.conv(x, 8, 1, Window{}));
  CompileOptions options;
  options.target = make_target(65536);
  Diagnostics diagnostics;
  const auto model = compile_graph(g.graph, options, diagnostics);
  ASSERT_TRUE(model);
  MacOp& mac = *g.graph.ops[0].as<MacOp>();
  mac.weights[17] ^= 0x40;
  mac.clamp = {byte_low(mac.mac_type), byte_high(mac.mac_type)};
  EXPECT_FALSE(verify(g.graph, model->file, options.target, kTestPatterns).ok);
}

TEST(Lowering, SameInputSameBytes) {
  RandomGraph g(11);
  const ValueId x = g.input({1, 16, 20, 20}, ByteType::kUint8);
  Window window;
  window.kernel[0] = window.kernel[1] = 3;
  g.output(g.lut(g.conv(x, 40, 1, window)));
  CompileOptions options;
  options.target = make_target(16384);
  Diagnostics diagnostics;
  const auto first = compile_graph(g.graph, options, diagnostics);
  const auto second = compile_graph(g.graph, options, diagnostics);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->file, second->file);
}

// The report's cycles are those of the card.
TEST(Lowering, PredictedCyclesAreTheCards) {
  RandomGraph g(12);
  const ValueId x = g.input({1, 32, 24, 24}, ByteType::kUint8);
  Window window;
  window.kernel[0] = window.kernel[1] = 3;
  g.output(g.conv(g.conv(x, 48, 1, window), 16, 1, window));
  CompileOptions options;
  options.target = make_target(65536);
  Diagnostics diagnostics;
  const auto model = compile_graph(g.graph, options, diagnostics);
  ASSERT_TRUE(model);
  SimulatedCard card(options.target, false);
  std::vector<Bytes> outputs;
  ASSERT_EQ(card.run(model->file, test_inputs(g.graph, 4), outputs), "");
  // Tables of pages lie where the driver puts them, which the compiler cannot know.
  EXPECT_NEAR(static_cast<double>(card.cycles()), static_cast<double>(model->report.cycles),
              0.05 * static_cast<double>(card.cycles()));
}

TEST(Lowering, TensorsBeyondCardMemoryAreAnError) {
  RandomGraph g(13);
  const ValueId x = g.input({1, 64, 4096, 4096}, ByteType::kUint8);
  g.output(g.lut(x));
  CompileOptions options;
  options.target = make_target(65536);
  Diagnostics diagnostics;
  EXPECT_FALSE(compile_graph(g.graph, options, diagnostics));
  EXPECT_EQ(diagnostics.status(), Status::kResources);
}

// Weights of 1 that stand for an average count as well.
TEST(Lowering, ConstantsBeyondCardMemoryAreAnError) {
  RandomGraph g(13);
  const ValueId x = g.lut(g.input({1, 1, 480, 1000}, ByteType::kUint8));
  g.output(g.global_average(g.lut(x)));
  CompileOptions options;
  options.target = make_target(4096);
  options.target.card_memory_mib = 1;
  Diagnostics diagnostics;
  EXPECT_FALSE(compile_graph(g.graph, options, diagnostics));
  EXPECT_EQ(diagnostics.status(), Status::kResources);
  options.target.card_memory_mib = 2;
  check(g.graph, options);
}

}  // namespace
}  // namespace npu::compiler
