// SPDX-License-Identifier: MIT
//
// VM_BIND as jobs see it: what is mapped works, what is not faults, at once
// after the call or, with ASYNC, after its fences.
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "device.h"
#include "streams.h"

namespace kmd {
namespace {

constexpr uint64_t kOutputVa = LookupJob::kBase + kOutput * LookupJob::kStep;

class Bind : public testing::Test {
 protected:
  int run() {
    const drm_npu_job job = lookup_.job();
    return device_.run(lookup_.queue(), {&job, 1});
  }
  uint64_t size() const { return lookup_.output().size(); }

  Device device_;
  LookupJob lookup_{device_, 8192, 3};
};

TEST_F(Bind, UnmappedOutputFaultsAndMapsAgain) {
  ASSERT_EQ(run(), 0);
  // A translation that the card has just used must be gone, too.
  ASSERT_EQ(device_.unmap(lookup_.vm(), kOutputVa, size()), 0);
  EXPECT_EQ(run(), -EFAULT);
  const drm_npu_fault fault = device_.queue_state(lookup_.queue()).fault;
  EXPECT_EQ(fault.status, static_cast<uint32_t>(NPU_STATUS_MMU_FAULT));
  EXPECT_EQ(fault.access, NPU_ACCESS_WRITE);
  EXPECT_EQ(fault.address & ~(kPage - 1), kOutputVa);
  ASSERT_EQ(device_.map(lookup_.vm(), lookup_.output().handle(), kOutputVa, size()), 0);
  EXPECT_EQ(lookup_.run_checked(8), 0);
}

TEST_F(Bind, UnmappingAPartKeepsTheRest) {
  ASSERT_EQ(run(), 0);
  ASSERT_EQ(device_.unmap(lookup_.vm(), kOutputVa + kPage, kPage), 0);
  EXPECT_EQ(run(), -EFAULT);
  EXPECT_EQ(device_.queue_state(lookup_.queue()).fault.address & ~(kPage - 1), kOutputVa + kPage);
  ASSERT_EQ(device_.map(lookup_.vm(), lookup_.output().handle(), kOutputVa + kPage, kPage, kPage),
            0);
  EXPECT_EQ(lookup_.run_checked(9), 0);
}

TEST_F(Bind, ReadOnlyRefusesStores) {
  ASSERT_EQ(run(), 0);
  ASSERT_EQ(device_.map(lookup_.vm(), lookup_.output().handle(), kOutputVa, size(), 0,
                        DRM_NPU_BIND_READONLY),
            0);
  lookup_.prepare(4);
  EXPECT_EQ(run(), -EFAULT);
  EXPECT_EQ(device_.queue_state(lookup_.queue()).fault.access, NPU_ACCESS_WRITE);
  EXPECT_EQ(lookup_.output().bytes()[0], 0xee) << "the store happened";
}

TEST_F(Bind, MapReplacesWhatIsThere) {
  Buffer other(device_, size(), DRM_NPU_PLACEMENT_CARD);
  ASSERT_EQ(run(), 0);
  ASSERT_EQ(device_.map(lookup_.vm(), other.handle(), kOutputVa, size()), 0);
  lookup_.prepare(5);
  ASSERT_EQ(run(), 0);
  EXPECT_FALSE(lookup_.correct()) << "went to the old buffer";
  EXPECT_NE(other.bytes()[1], 0);
}

TEST_F(Bind, UnmapOfNothingIsFine) {
  EXPECT_EQ(device_.unmap(lookup_.vm(), 0x7000'0000'0000, 1ull << 40), 0);
  EXPECT_EQ(device_.unmap(lookup_.vm(), 0x10000, (1ull << 48) - 0x10000), 0);
  EXPECT_EQ(run(), -EFAULT);
}

// The time of an unmap is that of the tables in it, not of its 2^36 pages.
TEST_F(Bind, UnmappingEverythingIsQuick) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i)
    ASSERT_EQ(device_.unmap(lookup_.vm(), 0x10000, (1ull << 48) - 0x10000), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST_F(Bind, AsyncWaitsForItsFences) {
  ASSERT_EQ(run(), 0);
  const uint32_t gate = device_.create_syncobj();
  const uint32_t done = device_.create_syncobj();
  drm_npu_bind_op op = {};
  op.op = DRM_NPU_BIND_UNMAP;
  op.va = kOutputVa;
  op.size = size();
  const drm_npu_sync signal = {.handle = done, .flags = 0, .point = 0};

  // The gate opens when a job on another queue that waits for user space is done;
  // a timeline point is the simplest such fence.
  const drm_npu_sync point = {.handle = gate, .flags = DRM_NPU_SYNC_TIMELINE, .point = 3};
  EXPECT_EQ(device_.bind(lookup_.vm(), {&op, 1}, DRM_NPU_VM_BIND_ASYNC, {&point, 1}, {&signal, 1}),
            -EINVAL)
      << "a point without a fence is not a fence";
  ASSERT_EQ(device_.signal_point(gate, 3), 0);
  ASSERT_EQ(device_.bind(lookup_.vm(), {&op, 1}, DRM_NPU_VM_BIND_ASYNC, {&point, 1}, {&signal, 1}),
            0);
  ASSERT_EQ(device_.wait_syncobj(done), 0);
  EXPECT_EQ(run(), -EFAULT);
}

TEST_F(Bind, AsyncBindsRunInOrder) {
  Buffer other(device_, size(), DRM_NPU_PLACEMENT_HOST);
  const uint32_t timeline = device_.create_syncobj();
  uint64_t point = 0;
  for (int i = 0; i < 50; ++i) {
    const drm_npu_bind_op op = {.op = DRM_NPU_BIND_MAP,
                                .flags = 0,
                                .handle = (i % 2 ? lookup_.output() : other).handle(),
                                .pad = 0,
                                .bo_offset = 0,
                                .va = kOutputVa,
                                .size = size()};
    const drm_npu_sync signal = {
        .handle = timeline, .flags = DRM_NPU_SYNC_TIMELINE, .point = ++point};
    ASSERT_EQ(device_.bind(lookup_.vm(), {&op, 1}, DRM_NPU_VM_BIND_ASYNC, {}, {&signal, 1}), 0);
  }
  ASSERT_EQ(device_.wait_point(timeline, point), 0);
  EXPECT_EQ(lookup_.run_checked(77), 0) << "the last bind maps the real output";
}

TEST_F(Bind, ClosedHandlesStayMapped) {
  // A mapping keeps its buffer although user space has dropped it.
  auto buffer = std::make_unique<Buffer>(device_, size(), DRM_NPU_PLACEMENT_CARD);
  ASSERT_EQ(device_.map(lookup_.vm(), buffer->handle(), kOutputVa, size()), 0);
  buffer.reset();
  EXPECT_EQ(run(), 0);
}

TEST_F(Bind, ManyOperationsInOneCall) {
  std::vector<drm_npu_bind_op> ops;
  for (uint64_t i = 0; i < 512; ++i)
    ops.push_back({.op = DRM_NPU_BIND_MAP,
                   .flags = 0,
                   .handle = lookup_.output().handle(),
                   .pad = 0,
                   .bo_offset = (i % 2) * kPage,
                   .va = 0x2000'0000'0000 + (i << 30),
                   .size = kPage});
  EXPECT_EQ(device_.bind(lookup_.vm(), ops), 0);
  EXPECT_EQ(device_.unmap(lookup_.vm(), 0x2000'0000'0000, 512ull << 30), 0);
  EXPECT_EQ(lookup_.run_checked(12), 0);
}

}  // namespace
}  // namespace kmd
