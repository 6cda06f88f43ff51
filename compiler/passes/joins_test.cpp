// SPDX-License-Identifier: MIT
#include "compiler/passes/joins.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "compiler/passes/placement.h"
#include "compiler/testing/random_graph.h"
#include "npu/compiled_model.h"

namespace npu::compiler {
namespace {

using testing::RandomGraph;

// A graph with its memory plan, and how much of it is copied.
struct Planned {
  explicit Planned(RandomGraph& g) : Planned(std::move(g.graph)) {}
  explicit Planned(Graph of) : graph(std::move(of)) {
    const size_t before = graph.ops.size();
    plan = plan_memory(graph, diagnostics);
    EXPECT_TRUE(plan) << diagnostics.text();
    copies = graph.ops.size() - before;
    // Whatever is joined lies in its place, and no copy is within a storage.
    for (const Op& op : graph.ops) {
      const auto* concat = op.as<ConcatOp>();
      EXPECT_TRUE(op.as<CopyOp>() == nullptr || storage(op.inputs[0]) != storage(op.output));
      if (concat == nullptr) continue;
      const Placement& whole = plan->values[op.output];
      const auto axis = static_cast<size_t>(concat->axis);
      int64_t at = whole.offset;
      for (const ValueId id : op.inputs) {
        EXPECT_EQ(plan->values[id].storage, whole.storage);
        EXPECT_EQ(plan->values[id].offset, at);
        at += graph.value(id).shape[axis] * whole.strides[axis];
      }
    }
  }

  int storage(ValueId id) const { return plan->values[id].storage; }
  int64_t offset(ValueId id) const { return plan->values[id].offset; }

  Graph graph;
  Diagnostics diagnostics;
  std::optional<MemoryPlan> plan;
  size_t copies = 0;
};

ValueId image(RandomGraph& g) {
  return g.input({1, 3, 4, 5}, ByteType::kUint8);
}

ValueId made(RandomGraph& g, ValueId x, int64_t channels) {
  const ValueId y = g.conv(x, channels, 1, Window{});
  g.graph.value(y).type = ByteType::kUint8;
  return y;
}

TEST(Joins, ConcatOfConcats) {
  RandomGraph g(1);
  const ValueId x = image(g);
  const ValueId a = made(g, x, 4), b = made(g, x, 5), c = made(g, x, 6);
  const ValueId inner = g.concat({b, c}, 1);
  const ValueId outer = g.concat({a, inner}, 1);
  g.output(made(g, inner, 2));
  g.output(made(g, outer, 2));
  const Planned p(g);
  EXPECT_EQ(p.copies, 0u);
  for (const ValueId id : {a, b, c, inner}) EXPECT_EQ(p.storage(id), p.storage(outer));
  EXPECT_EQ(p.offset(inner), 4);
  EXPECT_EQ(p.offset(c), 9);
}

// What is joined along the rows of a part of the channels.
TEST(Joins, AlongAnotherAxis) {
  RandomGraph g(2);
  const ValueId x = image(g);
  const ValueId a = made(g, x, 4), b = made(g, x, 4);
  const ValueId tall = made(g, g.input({1, 3, 8, 5}, ByteType::kUint8), 6);
  const ValueId inner = g.concat({a, b}, 2);
  const ValueId outer = g.concat({tall, inner}, 1);
  g.output(made(g, outer, 2));
  const Planned p(g);
  EXPECT_EQ(p.copies, 0u);
  EXPECT_EQ(p.storage(a), p.storage(outer));
  EXPECT_EQ(p.offset(a), 6);
  EXPECT_EQ(p.offset(b), 6 + 4 * 5 * 10);
}

// DenseNet's two forms: what each layer reads is a part of what the last one reads.
TEST(Joins, DenseBlocks) {
  for (const bool nested : {false, true}) {
    RandomGraph g(3);
    std::vector<ValueId> parts = {made(g, image(g), 8)}, joined;
    ValueId x = parts[0];
    for (int i = 0; i < 6; ++i) {
      parts.push_back(made(g, made(g, x, 16), 4));
      x = nested ? g.concat({x, parts.back()}, 1) : g.concat(parts, 1);
      joined.push_back(x);
    }
    g.output(made(g, x, 2));
    const Planned p(g);
    EXPECT_EQ(p.copies, 0u);
    for (const ValueId id : joined) {
      EXPECT_EQ(p.storage(id), p.storage(x));
      EXPECT_EQ(p.offset(id), 0);
    }
    EXPECT_EQ(p.offset(parts[2]), 12);
  }
}

// A run of parts that is no prefix, and one that comes later than what it is a run of.
TEST(Joins, RunsOfParts) {
  RandomGraph g(4);
  const ValueId x = image(g);
  const ValueId a = made(g, x, 4), b = made(g, x, 5), c = made(g, x, 6), d = made(g, x, 7);
  const ValueId all = g.concat({a, b, c, d}, 1);
  g.output(made(g, all, 2));
  const ValueId run = g.concat({b, c}, 1), other = g.concat({c, b}, 1);
  g.output(made(g, run, 2));
  g.output(made(g, other, 2));
  const Planned p(g);
  EXPECT_EQ(p.storage(run), p.storage(all));
  EXPECT_EQ(p.offset(run), 4);
  EXPECT_NE(p.storage(other), p.storage(all));
  EXPECT_EQ(p.copies, 2u);  // of b and c
}

// What several Concats join lies in one of them and is copied to the others.
TEST(Joins, InOneOfSeveral) {
  RandomGraph g(5);
  const ValueId x = image(g);
  const ValueId a = made(g, x, 4), b = made(g, x, 5), c = made(g, x, 6);
  g.output(made(g, g.concat({a, b}, 1), 2));
  const ValueId larger = g.concat({a, c}, 1);
  g.output(made(g, larger, 2));
  const Planned p(g);
  EXPECT_EQ(p.copies, 1u);
  EXPECT_EQ(p.storage(a), p.storage(larger));
}

// A graph input has its place: it comes where it is joined once.
TEST(Joins, CopiesAreShared) {
  RandomGraph g(6);
  const ValueId x = image(g);
  const ValueId a = made(g, x, 4), b = made(g, x, 5);
  const ValueId first = g.concat({x, a}, 1), second = g.concat({x, a, b}, 1);
  g.output(made(g, first, 2));
  g.output(made(g, second, 2));
  const Planned p(g);
  EXPECT_EQ(p.copies, 1u);
  EXPECT_EQ(p.storage(first), p.storage(second));
}

// No command reads between the bytes that it writes: what would be copied within a storage lies
// apart.
TEST(Joins, CopiesWithinAStorage) {
  RandomGraph g(7);
  const ValueId x = image(g);
  const ValueId a = made(g, x, 4), b = made(g, x, 4);
  const ValueId twice = g.concat({a, a}, 1);
  g.output(made(g, twice, 2));
  const ValueId both = g.concat({b, g.slice(b, {0, 1, 0, 0}, {1, 2, 4, 5})}, 1);
  g.output(made(g, both, 2));
  const Planned p(g);
  EXPECT_EQ(p.copies, 4u);
  EXPECT_NE(p.storage(a), p.storage(twice));
  EXPECT_NE(p.storage(b), p.storage(both));
}

// Over the bus nothing is read that could be read on the card.
TEST(Joins, GraphOutputs) {
  RandomGraph g(8);
  const ValueId x = image(g);
  const ValueId a = made(g, x, 4), b = made(g, x, 5), c = made(g, x, 6);
  const ValueId inner = g.concat({a, b}, 1), outer = g.concat({inner, c}, 1);
  const ValueId read = made(g, x, 4), also = made(g, x, 5);
  const ValueId other = g.concat({read, also}, 1);
  g.output(outer);
  g.output(other);
  g.output(made(g, read, 2));
  const Planned p(g);
  EXPECT_EQ(p.plan->region_of(outer), NPU_REGION_TENSORS + 1);
  for (const ValueId id : {a, b, c, inner}) EXPECT_EQ(p.storage(id), p.storage(outer));
  EXPECT_EQ(p.storage(also), p.storage(other));
  EXPECT_EQ(p.plan->region_of(read), NPU_REGION_SCRATCH);
  EXPECT_EQ(p.copies, 1u);
}

// What the tests of whole networks are made of has it all.
TEST(Joins, RandomGraphs) {
  int concats = 0, inside = 0, copies = 0;
  for (uint32_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    const Planned p(seed % 2 == 0 ? testing::random_mesh(seed, 1) : testing::random_body(seed, 1));
    for (const Op& op : p.graph.ops) {
      copies += op.as<CopyOp>() != nullptr ? 1 : 0;
      if (op.as<ConcatOp>() == nullptr) continue;
      ++concats;
      const Storage& storage = p.plan->storages[static_cast<size_t>(p.storage(op.output))];
      const auto own = static_cast<uint64_t>(elements(p.graph.value(op.output).shape));
      inside += storage.bytes > own ? 1 : 0;
    }
  }
  EXPECT_GT(concats, 600);
  EXPECT_GT(inside, 200);
  EXPECT_GT(copies, 100);
}

// Twice as much in each as in the one before, up to all that a tensor may have: no list of what is
// in the last one is ever made.
TEST(Joins, DoublingTakesNoTime) {
  RandomGraph g(9);
  ValueId x = g.lut(g.input({1, 1}, ByteType::kUint8));
  for (int i = 0; i < 31; ++i) x = g.concat({x, x}, 1);
  g.output(g.reshape(g.slice(x, {0, 0}, {1, 7}), {7}));
  const Planned p(g);
  EXPECT_GT(p.copies, 31u);
}

// Each in the next one, thousands deep.
TEST(Joins, DeepNests) {
  RandomGraph g(11);
  const ValueId x = g.input({1, 1}, ByteType::kUint8);
  ValueId joined = g.lut(x);
  const ValueId first = joined;
  for (int i = 0; i < 20000; ++i) joined = g.concat({joined, g.lut(x)}, 1);
  g.output(g.lut(joined));
  const Planned p(g);
  EXPECT_EQ(p.copies, 0u);
  EXPECT_EQ(p.storage(first), p.storage(joined));
}

// Thousands of Concats of the same parts, of which none is a run of another.
TEST(Joins, ManyOfTheSameParts) {
  RandomGraph g(10);
  const ValueId x = g.input({1, 2}, ByteType::kUint8);
  const ValueId a = g.lut(x), b = g.lut(x);
  g.graph.value(a).type = g.graph.value(b).type = ByteType::kUint8;
  ValueId last = kNoValue;
  for (int i = 0; i < 20000; ++i) last = g.concat({a, i % 2 == 0 ? g.lut(x) : a, b}, 1);
  g.output(last);
  const std::vector<bool> all(g.graph.values.size(), true), none(g.graph.values.size(), false);
  const std::vector<Home> homes = find_homes(g.graph, all, none);
  EXPECT_EQ(std::ranges::count_if(homes, [](const Home& home) { return home.whole != kNoValue; }),
            20000 / 2 - 1 + 2 + 20000 / 2);
}

}  // namespace
}  // namespace npu::compiler
