// SPDX-License-Identifier: MIT
#include "compiler/emit/dependency.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace npu::compiler {
namespace {

TEST(DependencyTracker, ReadsWaitForTheLastWrite) {
  DependencyTracker tracker;
  tracker.record(0, 64, true, NPU_ENGINE_LOAD, 1);
  tracker.record(32, 96, true, NPU_ENGINE_LOAD, 2);
  Counts need;
  tracker.collect(0, 16, false, need);
  EXPECT_EQ(need.engine[NPU_ENGINE_LOAD], 1u);
  tracker.collect(40, 41, false, need);
  EXPECT_EQ(need.engine[NPU_ENGINE_LOAD], 2u);
}

TEST(DependencyTracker, WritesWaitForReadersAndWriters) {
  DependencyTracker tracker;
  tracker.record(0, 64, true, NPU_ENGINE_LOAD, 3);
  tracker.record(0, 64, false, NPU_ENGINE_MAC, 7);
  Counts read, write;
  tracker.collect(0, 64, false, read);
  tracker.collect(0, 64, true, write);
  EXPECT_EQ(read.engine[NPU_ENGINE_MAC], 0u);
  EXPECT_EQ(write.engine[NPU_ENGINE_MAC], 7u);
  EXPECT_EQ(write.engine[NPU_ENGINE_LOAD], 3u);
}

// Against a record of every byte.
TEST(DependencyTracker, AgreesWithOneCounterPerByte) {
  constexpr uint64_t kBytes = 200;
  struct Byte {
    Counts writes, reads;
  };
  std::mt19937 random(5);
  DependencyTracker tracker;
  std::vector<Byte> bytes(kBytes);
  uint32_t counts[NPU_ENGINE_COUNT] = {};
  for (int i = 0; i < 5000; ++i) {
    const uint64_t begin = random() % kBytes;
    const uint64_t end = std::min<uint64_t>(kBytes, begin + 1 + random() % 40);
    const bool write = random() % 2 == 0;
    Counts expected, got;
    for (uint64_t b = begin; b < end; ++b) {
      expected.raise(bytes[b].writes);
      if (write) expected.raise(bytes[b].reads);
    }
    tracker.collect(begin, end, write, got);
    ASSERT_EQ(got, expected) << i;
    const auto engine = static_cast<npu_engine>(random() % NPU_ENGINE_COUNT);
    const uint32_t count = ++counts[engine];
    tracker.record(begin, end, write, engine, count);
    for (uint64_t b = begin; b < end; ++b) {
      if (write) {
        bytes[b] = {};
        bytes[b].writes.engine[engine] = count;
      } else {
        bytes[b].reads.engine[engine] = count;
      }
    }
  }
}

}  // namespace
}  // namespace npu::compiler
