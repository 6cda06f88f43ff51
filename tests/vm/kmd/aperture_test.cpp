// SPDX-License-Identifier: MIT
//
// Card memory larger than the CPU's window on it: every buffer can be mapped,
// wherever it lies.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "device.h"
#include "streams.h"

namespace kmd {
namespace {

constexpr uint64_t kMiB = 1 << 20;

uint8_t pattern(size_t buffer, size_t at) {
  return static_cast<uint8_t>((at * 13 >> 3) + buffer * 31);
}

void fill(const Buffer& buffer, size_t index) {
  for (size_t at = 0; at < buffer.size(); at += 64) buffer.bytes()[at] = pattern(index, at);
}

::testing::AssertionResult holds(const Buffer& buffer, size_t index) {
  for (size_t at = 0; at < buffer.size(); at += 64)
    if (buffer.bytes()[at] != pattern(index, at))
      return ::testing::AssertionFailure() << "buffer " << index << " at " << at;
  return ::testing::AssertionSuccess();
}

// Three times as much as the window holds; each touched in turn, twice.
TEST(Aperture, EveryBufferIsReached) {
  Device device;
  std::vector<std::unique_ptr<Buffer>> buffers;
  buffers.reserve(12);
  for (int i = 0; i < 12; ++i)
    buffers.push_back(std::make_unique<Buffer>(device, 4 * kMiB, DRM_NPU_PLACEMENT_CARD));
  for (size_t i = 0; i < buffers.size(); ++i) fill(*buffers[i], i);
  for (size_t i = 0; i < buffers.size(); ++i) EXPECT_TRUE(holds(*buffers[i], i));
  for (size_t i = buffers.size(); i-- > 0;) EXPECT_TRUE(holds(*buffers[i], i));
}

TEST(Aperture, JobsAndTheCpuTakeTurns) {
  Device device;
  std::vector<std::unique_ptr<LookupJob>> lookups;
  lookups.reserve(4);
  for (uint8_t i = 0; i < 4; ++i)
    lookups.push_back(std::make_unique<LookupJob>(device, 50000, i, DRM_NPU_PLACEMENT_CARD));
  std::vector<std::unique_ptr<Buffer>> others;
  others.reserve(10);
  for (int i = 0; i < 10; ++i)
    others.push_back(std::make_unique<Buffer>(device, 4 * kMiB, DRM_NPU_PLACEMENT_CARD));
  for (uint8_t round = 0; round < 5; ++round) {
    for (size_t i = 0; i < others.size(); ++i) fill(*others[i], i + round);
    for (auto& lookup : lookups) EXPECT_EQ(lookup->run_checked(round), 0);
    for (size_t i = 0; i < others.size(); ++i) EXPECT_TRUE(holds(*others[i], i + round));
  }
}

// It can never be seen as a whole where it lies: the CPU finds it in host memory,
// and the next job back in card memory.
TEST(Aperture, ABufferLargerThanTheWindowIsReached) {
  Device device;
  Buffer large(device, 24 * kMiB, DRM_NPU_PLACEMENT_CARD);
  fill(large, 7);
  LookupJob lookup(device, 8192, 3);
  const uint64_t output = LookupJob::kBase + kOutput * LookupJob::kStep;
  const uint64_t at = 20 * kMiB;
  ASSERT_EQ(device.map(lookup.vm(), large.handle(), output, lookup.output().size(), at), 0);
  for (uint8_t round = 0; round < 3; ++round) {
    lookup.prepare(round);
    const std::vector<uint8_t> before(lookup.output().bytes().begin(),
                                      lookup.output().bytes().end());
    const drm_npu_job job = lookup.job();
    ASSERT_EQ(device.run(lookup.queue(), {&job, 1}), 0);
    EXPECT_TRUE(std::equal(before.begin(), before.end(), lookup.output().bytes().begin()))
        << "went to the old buffer";
    std::copy_n(large.bytes().begin() + at, lookup.output().size(),
                lookup.output().bytes().begin());
    EXPECT_TRUE(lookup.correct());
    large.bytes()[at + 1] = 0;
  }
  EXPECT_EQ(large.bytes()[64], pattern(7, 64));
  EXPECT_EQ(large.bytes()[23 * kMiB], pattern(7, 23 * kMiB));
}

}  // namespace
}  // namespace kmd
