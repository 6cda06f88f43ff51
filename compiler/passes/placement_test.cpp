// SPDX-License-Identifier: MIT
#include "compiler/passes/placement.h"

#include <gtest/gtest.h>

#include "compiler/testing/random_graph.h"
#include "npu/compiled_model.h"

namespace npu::compiler {
namespace {

using testing::RandomGraph;
using Strides = std::vector<int64_t>;

TEST(ReshapeStrides, DenseTensorsTakeAnyShape) {
  EXPECT_EQ(reshape_strides({2, 3, 4}, {12, 4, 1}, {6, 4}), (Strides{4, 1}));
  EXPECT_EQ(reshape_strides({2, 3, 4}, {12, 4, 1}, {2, 12}), (Strides{12, 1}));
  EXPECT_EQ(reshape_strides({24}, {1}, {2, 1, 12}), (Strides{12, 12, 1}));
}

TEST(ReshapeStrides, ChannelsLastCannotBeFlattened) {
  EXPECT_EQ(reshape_strides({1, 3, 2, 2}, {12, 1, 6, 3}, {1, 12}), std::nullopt);
  // But its pixels can be.
  EXPECT_EQ(reshape_strides({1, 3, 2, 2}, {12, 1, 6, 3}, {1, 3, 4}), (Strides{3, 1, 3}));
}

TEST(MemoryPlan, GraphOutputsAreRowMajorInTheirOwnRegion) {
  RandomGraph g(1);
  const ValueId x = g.input({1, 3, 4, 5}, ByteType::kUint8);
  g.output(g.conv(x, 7, 1, Window{}));
  Diagnostics diagnostics;
  const auto plan = plan_memory(g.graph, diagnostics);
  ASSERT_TRUE(plan);
  const ValueId out = g.graph.outputs[0];
  EXPECT_EQ(plan->region_of(out), NPU_REGION_TENSORS + 1);
  EXPECT_EQ(plan->values[out].strides, row_major({1, 7, 4, 5}));
  EXPECT_EQ(plan->scratch_bytes, 0u);
}

// What a graph output transposes is written as the output wants it.
TEST(MemoryPlan, TransposedOutputsNeedNoCopy) {
  RandomGraph g(4);
  const ValueId x = g.input({1, 3, 4, 5}, ByteType::kUint8);
  const ValueId y = g.conv(x, 7, 1, Window{});
  const ValueId last = g.transpose(y, {0, 2, 3, 1});
  g.output(g.reshape(last, {20, 7}));
  const size_t ops = g.graph.ops.size();
  Diagnostics diagnostics;
  const auto plan = plan_memory(g.graph, diagnostics);
  ASSERT_TRUE(plan);
  EXPECT_EQ(g.graph.ops.size(), ops);
  EXPECT_EQ(plan->region_of(y), NPU_REGION_TENSORS + 1);
  EXPECT_EQ(plan->values[y].strides, (Strides{140, 1, 35, 7}));
  EXPECT_EQ(plan->values[g.graph.outputs[0]].strides, row_major({20, 7}));
  EXPECT_EQ(plan->scratch_bytes, 0u);
}

// As attention merges its heads: the product writes each row's heads side by side.
TEST(MemoryPlan, TransposedAndReshapedValuesNeedNoCopy) {
  RandomGraph g(5);
  const ValueId a = g.input({1, 2, 5, 7}, ByteType::kUint8);
  const ValueId b = g.input({1, 2, 7, 3}, ByteType::kUint8);
  const ValueId y = g.dynamic_matmul(a, b);
  g.output(g.matmul(g.reshape(g.transpose(y, {0, 2, 1, 3}), {1, 5, 6}), 4));
  const size_t ops = g.graph.ops.size();
  Diagnostics diagnostics;
  const auto plan = plan_memory(g.graph, diagnostics);
  ASSERT_TRUE(plan);
  EXPECT_EQ(g.graph.ops.size(), ops);
  EXPECT_EQ(plan->values[y].strides, (Strides{30, 3, 6, 1}));
}

TEST(MemoryPlan, ImagesBetweenLayersHaveTheirChannelsLast) {
  RandomGraph g(2);
  const ValueId x = g.input({1, 3, 4, 5}, ByteType::kUint8);
  const ValueId y = g.conv(x, 7, 1, Window{});
  g.output(g.conv(y, 2, 1, Window{}));
  Diagnostics diagnostics;
  const auto plan = plan_memory(g.graph, diagnostics);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->values[y].strides, (Strides{140, 1, 35, 7}));
}

// Values that live at the same time never share bytes, and a chain needs two.
TEST(MemoryPlan, ScratchIsSharedByLifetime) {
  RandomGraph g(3);
  ValueId x = g.input({1, 8, 16, 16}, ByteType::kUint8);
  for (int i = 0; i < 10; ++i) x = g.conv(x, 8, 1, Window{});
  g.output(x);
  Diagnostics diagnostics;
  const auto plan = plan_memory(g.graph, diagnostics);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->scratch_bytes, 2u * 8 * 16 * 16);
  for (size_t i = 0; i < plan->storages.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const Storage &a = plan->storages[i], &b = plan->storages[j];
      if (a.region != NPU_REGION_SCRATCH || b.region != NPU_REGION_SCRATCH) continue;
      const bool alive_together = a.first_op <= b.last_op && b.first_op <= a.last_op;
      const bool overlap = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
      EXPECT_FALSE(alive_together && overlap);
    }
  }
}

// Strides of commands have 32 bits, whatever memory there is.
TEST(MemoryPlan, TensorsOf4GiBAreAnError) {
  for (const int64_t columns : {(int64_t{1} << 31) - 1, int64_t{1} << 31}) {
    RandomGraph g(6);
    g.output(g.lut(g.transpose(g.input({2, columns}, ByteType::kUint8), {1, 0})));
    Diagnostics diagnostics;
    EXPECT_EQ(plan_memory(g.graph, diagnostics).has_value(), columns < int64_t{1} << 31);
    EXPECT_EQ(diagnostics.status() == Status::kResources, columns >= int64_t{1} << 31);
  }
}

}  // namespace
}  // namespace npu::compiler
