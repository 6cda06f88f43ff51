// SPDX-License-Identifier: MIT
#include "compiler/passes/order.h"

#include <gtest/gtest.h>

#include "compiler/passes/copy_inputs.h"
#include "compiler/testing/random_graph.h"

namespace npu::compiler {
namespace {

using testing::RandomGraph;

size_t position(const Graph& graph, ValueId value) {
  for (size_t i = 0; i < graph.ops.size(); ++i)
    if (graph.ops[i].output == value) return i;
  return graph.ops.size();
}

// The product of the values runs beside the softmax, the others must come before it.
TEST(FillArrayGaps, AProductThatNothingNeedsYetRunsBesideASoftmax) {
  RandomGraph g(1);
  const ValueId x = g.input({1, 6, 8}, ByteType::kUint8);
  const ValueId q = g.matmul(x, 8), k = g.matmul(x, 8), v = g.matmul(x, 8);
  const ValueId heads = g.reshape(v, {6, 8});
  const ValueId scores = g.dynamic_matmul(q, g.transpose(k, {0, 2, 1}));
  const ValueId weights = g.softmax(scores);
  const ValueId mixed = g.dynamic_matmul(weights, g.reshape(heads, {1, 6, 8}));
  g.output(mixed);
  fill_array_gaps(g.graph);
  EXPECT_EQ(g.graph.ops.size(), 9u);
  EXPECT_LT(position(g.graph, k), position(g.graph, scores));
  EXPECT_LT(position(g.graph, weights), position(g.graph, v));
  EXPECT_LT(position(g.graph, v), position(g.graph, heads));
  EXPECT_LT(position(g.graph, heads), position(g.graph, mixed));
}

// It would keep more in SRAM than its result takes.
TEST(FillArrayGaps, AProductOfMuchStaysWhereItIs) {
  RandomGraph g(2);
  const ValueId x = g.input({1, 6, 80}, ByteType::kUint8);
  const ValueId v = g.matmul(x, 8);
  const ValueId y = g.softmax(g.input({1, 6, 8}, ByteType::kUint8));
  g.output(g.add(y, v));
  fill_array_gaps(g.graph);
  EXPECT_LT(position(g.graph, v), position(g.graph, y));
}

TEST(CopyRepeatedInputs, AnInputOfSeveralProductsIsCopiedOnce) {
  RandomGraph g(3);
  const ValueId x = g.input({1, 6, 8}, ByteType::kUint8);
  const ValueId once = g.input({1, 6, 8}, ByteType::kUint8);
  const ValueId view = g.reshape(x, {6, 8});
  g.output(g.add(g.reshape(g.matmul(view, 8), {1, 6, 8}), g.add(g.matmul(x, 8), once)));
  copy_repeated_inputs(g.graph);
  ASSERT_NE(g.graph.ops[0].as<CopyOp>(), nullptr);
  EXPECT_EQ(g.graph.ops[0].inputs[0], x);
  for (size_t i = 1; i < g.graph.ops.size(); ++i) {
    EXPECT_EQ(g.graph.ops[i].as<CopyOp>(), nullptr);
    for (const ValueId id : g.graph.ops[i].inputs) EXPECT_NE(id, x);
  }
}

// In stripes, operators on images share one reading.
TEST(CopyRepeatedInputs, NotOfImages) {
  RandomGraph g(4);
  const ValueId x = g.input({1, 3, 8, 8}, ByteType::kUint8);
  g.output(g.add(g.conv(x, 3, 1, Window{}), x));
  const size_t ops = g.graph.ops.size();
  copy_repeated_inputs(g.graph);
  EXPECT_EQ(g.graph.ops.size(), ops);
}

}  // namespace
}  // namespace npu::compiler
