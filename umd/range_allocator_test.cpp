// SPDX-License-Identifier: MIT
#include "range_allocator.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace npu::umd {
namespace {

TEST(RangeAllocator, AlignsAndRunsOut) {
  RangeAllocator allocator(100, 1000);
  EXPECT_EQ(allocator.allocate(10, 64), 128u);
  EXPECT_EQ(allocator.allocate(10, 1), 100u);
  EXPECT_FALSE(allocator.allocate(0, 1));
  EXPECT_FALSE(allocator.allocate(900, 1));
  EXPECT_FALSE(allocator.allocate(UINT64_MAX, 4096));
}

TEST(RangeAllocator, RandomUseNeverOverlapsAndLosesNothing) {
  constexpr uint64_t kEnd = 1 << 16;
  RangeAllocator allocator(0, kEnd);
  std::map<uint64_t, uint64_t> live;
  std::mt19937 random(3);
  for (int step = 0; step < 20000; step++) {
    if (live.empty() || random() % 3 != 0) {
      const uint64_t size = 1 + random() % 700, alignment = 1u << random() % 9;
      const auto start = allocator.allocate(size, alignment);
      if (!start) continue;
      ASSERT_EQ(*start % alignment, 0u);
      ASSERT_LE(*start + size, kEnd);
      const auto next = live.lower_bound(*start);
      if (next != live.end()) {
        ASSERT_LE(*start + size, next->first);
      }
      if (next != live.begin()) {
        ASSERT_LE(std::prev(next)->first + std::prev(next)->second, *start);
      }
      live[*start] = size;
    } else {
      auto it = std::next(live.begin(), random() % live.size());
      allocator.release(it->first, it->second);
      live.erase(it);
    }
  }
  for (const auto& [start, size] : live) allocator.release(start, size);
  EXPECT_EQ(allocator.free_total(), kEnd);
  EXPECT_EQ(allocator.allocate(kEnd, 1), 0u) << "all free ranges have become one again";
}

}  // namespace
}  // namespace npu::umd
