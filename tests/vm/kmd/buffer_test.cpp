// SPDX-License-Identifier: MIT
//
// Buffers: zero at first use, readable and writable by the CPU, moved to host
// memory and back when card memory is short.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "device.h"
#include "streams.h"

namespace kmd {
namespace {

bool all_zero(std::span<const uint8_t> bytes) {
  return std::ranges::all_of(bytes, [](uint8_t byte) { return byte == 0; });
}

class Placement : public testing::TestWithParam<uint32_t> {};

TEST_P(Placement, HoldsWhatTheCpuWrites) {
  Device device;
  Buffer buffer(device, 37 * kPage, GetParam());
  for (size_t i = 0; i < buffer.size(); ++i) buffer.bytes()[i] = static_cast<uint8_t>(i * 13 >> 3);
  for (size_t i = 0; i < buffer.size(); ++i)
    ASSERT_EQ(buffer.bytes()[i], static_cast<uint8_t>(i * 13 >> 3)) << i;
}

TEST_P(Placement, IsZeroWhenFirstUsedAlthoughMemoryWasDirty) {
  Device device;
  // More than half of card memory: the second buffer must get pages of the first.
  const uint64_t size = GetParam() == DRM_NPU_PLACEMENT_CARD
                            ? (uint64_t{device.target().card_memory_mib} << 20) * 5 / 8
                            : 16 << 20;
  {
    Buffer dirty(device, size, GetParam());
    ASSERT_TRUE(all_zero(dirty.bytes()));
    memset(dirty.bytes().data(), 0xa5, dirty.size());
  }
  Buffer buffer(device, size, GetParam());
  EXPECT_TRUE(all_zero(buffer.bytes()));
}

INSTANTIATE_TEST_SUITE_P(All, Placement,
                         testing::Values(DRM_NPU_PLACEMENT_HOST, DRM_NPU_PLACEMENT_CARD),
                         [](const auto& info) {
                           return info.param == DRM_NPU_PLACEMENT_CARD ? "Card" : "Host";
                         });

TEST(CardMemory, JobSeesZerosInANewBuffer) {
  Device device;
  LookupJob lookup(device, 4096, 9, DRM_NPU_PLACEMENT_CARD);
  ASSERT_EQ(lookup.run_checked(5), 0);
}

TEST(CardMemory, IsCountedAndGivenBack) {
  Device device;
  const auto used = [&] {
    drm_npu_telemetry telemetry = {};
    drm_npu_dev_query args = {.type = DRM_NPU_QUERY_TELEMETRY,
                              .size = sizeof(telemetry),
                              .pointer = reinterpret_cast<uint64_t>(&telemetry)};
    EXPECT_EQ(device.ioctl(DRM_IOCTL_NPU_DEV_QUERY, &args), 0);
    return telemetry.card_memory_used;
  };
  // Buffers of earlier tests may still be on their way out.
  ASSERT_TRUE(wait_for_counts(device, 0, 0, 0));
  const uint64_t before = used();
  {
    Buffer buffer(device, 3 << 20, DRM_NPU_PLACEMENT_CARD);
    EXPECT_EQ(used(), before + (3 << 20));
  }
  EXPECT_TRUE(wait_for_counts(device, 0, 0, 0));
  EXPECT_EQ(used(), before);
}

TEST(CardMemory, TooMuchIsRefused) {
  Device device;
  drm_npu_bo_create create = {};
  create.size = (uint64_t{device.target().card_memory_mib} << 20) + kPage;
  create.placement = DRM_NPU_PLACEMENT_CARD;
  EXPECT_EQ(device.ioctl(DRM_IOCTL_NPU_BO_CREATE, &create), -ENOSPC);
}

// Card buffers of two spaces that do not fit together: contents follow them to
// host memory and back, and jobs find them wherever they are.
TEST(CardMemory, EvictedBuffersKeepContentsAndJobsFindThem) {
  Device device;
  const uint64_t total = uint64_t{device.target().card_memory_mib} << 20;
  LookupJob lookup(device, 4096, 17, DRM_NPU_PLACEMENT_CARD);
  ASSERT_EQ(lookup.run_checked(17), 0);

  for (int round = 0; round < 3; ++round) {
    lookup.prepare(static_cast<uint8_t>(40 + round));
    {
      Buffer hog(device, total - (1 << 20), DRM_NPU_PLACEMENT_CARD);
      Buffer hog2(device, 1 << 20, DRM_NPU_PLACEMENT_CARD);
      hog.bytes()[0] = 1;
      hog2.bytes()[0] = 1;
      // The job's buffers have been pushed out; it runs on them in host memory.
      const drm_npu_job job = lookup.job();
      ASSERT_EQ(device.run(lookup.queue(), {&job, 1}), 0);
      EXPECT_TRUE(lookup.correct());
    }
    ASSERT_EQ(lookup.run_checked(static_cast<uint8_t>(50 + round)), 0);
  }
}

}  // namespace
}  // namespace kmd
