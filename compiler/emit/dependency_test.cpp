// SPDX-License-Identifier: MIT
#include "compiler/emit/dependency.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace npu::compiler {
namespace {

TEST(DependencyTracker, ReadsWaitForTheLastWrite) {
  DependencyTracker tracker;
  tracker.record(0, 64, true, {0, NPU_ENGINE_LOAD}, 1);
  tracker.record(32, 96, true, {0, NPU_ENGINE_LOAD}, 2);
  Counts need;
  tracker.collect(0, 16, false, need);
  EXPECT_EQ(need.of[NPU_ENGINE_LOAD], 1u);
  tracker.collect(40, 41, false, need);
  EXPECT_EQ(need.of[NPU_ENGINE_LOAD], 2u);
}

TEST(DependencyTracker, WritesWaitForReadersAndWriters) {
  DependencyTracker tracker;
  tracker.record(0, 64, true, {0, NPU_ENGINE_LOAD}, 3);
  tracker.record(0, 64, false, {0, NPU_ENGINE_MAC}, 7);
  Counts read, write;
  tracker.collect(0, 64, false, read);
  tracker.collect(0, 64, true, write);
  EXPECT_EQ(read.of[NPU_ENGINE_MAC], 0u);
  EXPECT_EQ(write.of[NPU_ENGINE_MAC], 7u);
  EXPECT_EQ(write.of[NPU_ENGINE_LOAD], 3u);
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
  uint32_t counts[NPU_MAX_CORES * NPU_ENGINE_COUNT] = {};
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
    const Executor by{static_cast<unsigned>(random() % NPU_MAX_CORES),
                      static_cast<npu_engine>(random() % NPU_ENGINE_COUNT)};
    const uint32_t count = ++counts[by.index()];
    tracker.record(begin, end, write, by, count);
    for (uint64_t b = begin; b < end; ++b) {
      if (write) {
        bytes[b] = {};
        bytes[b].writes.of[by.index()] = count;
      } else {
        bytes[b].reads.of[by.index()] = count;
      }
    }
  }
}

}  // namespace
}  // namespace npu::compiler
