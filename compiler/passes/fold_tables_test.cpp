// SPDX-License-Identifier: MIT
#include "compiler/passes/fold_tables.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "compiler/reference/interpreter.h"
#include "compiler/testing/random_graph.h"

namespace npu::compiler {
namespace {

using testing::RandomGraph;

const Shape kEveryByte = {1, 1, 16, 16};

std::vector<std::string> kinds(const Graph& graph) {
  std::vector<std::string> out;
  for (const Op& op : graph.ops) out.emplace_back(kind_name(op));
  return out;
}

// Folds, and holds every byte of every output against the graph as it was.
void fold(Graph& graph) {
  std::vector<Bytes> inputs;
  for (const ValueId id : graph.inputs) {
    Bytes bytes(static_cast<size_t>(elements(graph.value(id).shape)));
    for (size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<uint8_t>(i + inputs.size() * (i / 7 + 1));
    inputs.push_back(std::move(bytes));
  }
  const std::vector<Bytes> before = interpret(graph, inputs);
  fold_tables(graph);
  EXPECT_EQ(interpret(graph, inputs), before);
}

TEST(FoldTables, ProductWithAFunctionOfItself) {
  RandomGraph g(1);
  const ValueId x = g.input(kEveryByte, ByteType::kUint8);
  const ValueId gate = g.lut(x);
  const ValueId y = g.mul(x, gate);
  g.output(y);
  const uint32_t gate_source = g.graph.ops[0].source, product = g.graph.ops[1].source;
  fold(g.graph);
  EXPECT_EQ(kinds(g.graph), std::vector<std::string>{"Lut"});
  EXPECT_EQ(g.graph.ops[0].inputs, std::vector<ValueId>{x});
  EXPECT_EQ(g.graph.ops[0].output, y);
  EXPECT_EQ(g.graph.owner(gate_source), product);
}

TEST(FoldTables, WhatIsReadElsewhereStays) {
  RandomGraph g(2);
  const ValueId x = g.input(kEveryByte, ByteType::kInt8);
  const ValueId gate = g.lut(x);
  g.output(g.add(gate, x));
  g.output(gate);
  fold(g.graph);
  EXPECT_EQ(kinds(g.graph), (std::vector<std::string>{"Lut", "Lut"}));
}

TEST(FoldTables, SumOfATensorWithItself) {
  RandomGraph g(3);
  const ValueId x = g.input(kEveryByte, ByteType::kInt8);
  g.output(g.add(x, x));
  fold(g.graph);
  EXPECT_EQ(kinds(g.graph), std::vector<std::string>{"Lut"});
}

TEST(FoldTables, TwoTensorsAreTwoOperands) {
  RandomGraph g(4);
  const ValueId x = g.input(kEveryByte, ByteType::kUint8);
  const ValueId y = g.input(kEveryByte, ByteType::kUint8);
  g.output(g.mul(g.lut(x), g.lut(y)));
  fold(g.graph);
  EXPECT_EQ(kinds(g.graph), (std::vector<std::string>{"Lut", "Lut", "Mul"}));
}

// As several Concats bring one tensor to their scale.
TEST(FoldTables, EqualTablesAreOne) {
  RandomGraph g(6);
  const ValueId x = g.input(kEveryByte, ByteType::kUint8);
  const ValueId first = g.lut(x), second = g.lut(x), other = g.lut(x);
  for (const ValueId id : {first, second, other}) g.graph.value(id).type = ByteType::kInt8;
  g.graph.ops[1].detail = g.graph.ops[0].detail;
  g.output(g.concat({first, second, other}, 1));
  g.output(first);
  const uint32_t kept = g.graph.ops[0].source, removed = g.graph.ops[1].source;
  fold(g.graph);
  EXPECT_EQ(kinds(g.graph), (std::vector<std::string>{"Lut", "Lut", "Concat"}));
  EXPECT_EQ(g.graph.ops[2].inputs, (std::vector<ValueId>{first, first, other}));
  EXPECT_EQ(g.graph.owner(removed), kept);
}

// The same bytes as another type are no equal, and an output stays one.
TEST(FoldTables, EqualTablesOfAnotherUse) {
  RandomGraph g(7);
  const ValueId x = g.input(kEveryByte, ByteType::kUint8);
  const ValueId first = g.lut(x), second = g.lut(x), third = g.lut(x);
  for (const size_t i : {1u, 2u}) g.graph.ops[i].detail = g.graph.ops[0].detail;
  g.graph.value(first).type = g.graph.value(third).type = ByteType::kInt8;
  g.graph.value(second).type = ByteType::kUint8;
  g.output(g.add(first, second));
  g.output(third);
  fold(g.graph);
  EXPECT_EQ(kinds(g.graph), (std::vector<std::string>{"Lut", "Lut"}));
  EXPECT_EQ(g.graph.outputs[1], third);
}

// The same bytes at other places: a row times each row.
TEST(FoldTables, BroadcastIsNoFunctionOfOneElement) {
  RandomGraph g(5);
  const ValueId x = g.input({16}, ByteType::kUint8);
  const ValueId column = g.reshape(g.lut(x), {16, 1});
  g.output(g.mul(x, column));
  const ValueId one = g.input({1, 16}, ByteType::kUint8);
  g.output(g.add(one, g.reshape(one, {16, 1})));
  const std::vector<std::string> before = kinds(g.graph);
  fold(g.graph);
  EXPECT_EQ(kinds(g.graph), before);
}

// Whatever is made of one tensor by tables, sums and products ends as tables of it.
TEST(FoldTables, RandomFunctionsOfOneTensor) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    RandomGraph g(seed);
    std::vector<ValueId> values = {g.input(kEveryByte, g.byte_type())};
    for (int64_t n = g.pick(1, 8); n > 0; --n) {
      const auto any = [&] {
        return values[static_cast<size_t>(g.pick(0, static_cast<int64_t>(values.size()) - 1))];
      };
      values.push_back(g.chance(40)   ? g.lut(any())
                       : g.chance(50) ? g.add(any(), any())
                                      : g.mul(any(), any()));
    }
    g.output(values.back());
    if (g.chance(30)) g.output(values[values.size() / 2]);
    fold(g.graph);
    const std::vector<std::string> left = kinds(g.graph);
    EXPECT_TRUE(std::all_of(left.begin(), left.end(), [](const auto& k) { return k == "Lut"; }))
        << "seed " << seed;
  }
}

}  // namespace
}  // namespace npu::compiler
