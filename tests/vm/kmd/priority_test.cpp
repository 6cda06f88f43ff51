// SPDX-License-Identifier: MIT
//
// Queues that overtake each other, and interrupts that are coalesced.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>
#include <vector>

#include "device.h"
#include "npu/registers.h"
#include "npu/status.h"
#include "streams.h"

namespace kmd {
namespace {

// Seconds of host time on a slow machine, so that others come while it runs; each
// look-up is about a thousand modelled cycles.
constexpr uint32_t kLong = 20000, kElements = 60000;

uint64_t preemptions() {
  uint64_t sum = 0;
  for (const HardwareQueue& queue : hardware_queues()) sum += queue.preemptions;
  return sum;
}

class PriorityTest : public ::testing::Test {
 protected:
  uint32_t queue(const LookupJob& job, drm_npu_priority priority, uint64_t quantum = 0) {
    drm_npu_queue_create args = {};
    args.vm_id = job.vm();
    args.priority = priority;
    args.core_mask = 1;  // all want the same core
    args.quantum = quantum;
    EXPECT_EQ(device.create_queue(args), 0);
    return args.queue_id;
  }
  uint32_t submit(uint32_t queue, const LookupJob& job) {
    const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
    const drm_npu_job packet = job.job();
    EXPECT_EQ(device.submit(queue, {&packet, 1}, {}, {&done, 1}), 0);
    return done.handle;
  }
  Device device;
};

TEST_F(PriorityTest, UrgentJobOvertakesARunningOne) {
  LookupJob low(device, kElements, 1, DRM_NPU_PLACEMENT_HOST, 0, kLong, true);
  LookupJob high(device, 512, 2);
  const uint32_t low_queue = queue(low, DRM_NPU_PRIORITY_LOW);
  const uint32_t high_queue = queue(high, DRM_NPU_PRIORITY_HIGH);
  const uint32_t low_done = submit(low_queue, low);
  ASSERT_TRUE(wait_for_queues(NPU_QUEUE_RUNNING));
  const uint32_t high_done = submit(high_queue, high);
  ASSERT_EQ(device.wait_syncobj(high_done), 0);
  EXPECT_EQ(device.fence_status(low_done), 0) << "what was overtaken has not ended";
  EXPECT_TRUE(high.correct());
  EXPECT_GE(preemptions(), 1u);
  ASSERT_EQ(device.wait_syncobj(low_done, 120), 0);
  EXPECT_EQ(device.fence_status(low_done), 1);
  EXPECT_TRUE(low.correct()) << "its result is exact";
}

TEST_F(PriorityTest, WithoutYieldsItEndsAfterItsQuantum) {
  LookupJob low(device, kElements, 1, DRM_NPU_PLACEMENT_HOST, 0, kLong);
  LookupJob high(device, 512, 2);
  const uint32_t low_queue = queue(low, DRM_NPU_PRIORITY_NORMAL, 50000);
  const uint32_t high_queue = queue(high, DRM_NPU_PRIORITY_HIGH);
  const uint32_t low_done = submit(low_queue, low);
  ASSERT_TRUE(wait_for_queues(NPU_QUEUE_RUNNING));
  ASSERT_EQ(device.wait_syncobj(submit(high_queue, high)), 0);
  EXPECT_TRUE(high.correct());
  ASSERT_EQ(device.wait_syncobj(low_done), 0);
  EXPECT_EQ(device.fence_status(low_done), -ETIME);
  EXPECT_EQ(device.queue_state(low_queue).fault.status, static_cast<uint32_t>(NPU_STATUS_BUDGET));
  EXPECT_EQ(device.queue_state(high_queue).fault.status, 0u);
}

TEST_F(PriorityTest, DestroyingAQueueWhoseJobIsAside) {
  LookupJob low(device, kElements, 1, DRM_NPU_PLACEMENT_HOST, 0, kLong, true);
  LookupJob high(device, kElements, 2, DRM_NPU_PLACEMENT_HOST, 0, kLong);
  const uint32_t low_queue = queue(low, DRM_NPU_PRIORITY_LOW);
  const uint32_t high_queue = queue(high, DRM_NPU_PRIORITY_HIGH);
  const uint32_t low_done = submit(low_queue, low);
  ASSERT_TRUE(wait_for_queues(NPU_QUEUE_RUNNING));
  const uint32_t high_done = submit(high_queue, high);
  ASSERT_TRUE(wait_for_queues(NPU_QUEUE_PREEMPTED));
  EXPECT_EQ(device.destroy_queue(low_queue), 0);
  ASSERT_EQ(device.wait_syncobj(low_done), 0);
  EXPECT_EQ(device.fence_status(low_done), -ECANCELED);
  ASSERT_EQ(device.wait_syncobj(high_done, 120), 0);
  EXPECT_EQ(device.fence_status(high_done), 1);
  EXPECT_TRUE(high.correct());
}

// ---- What many jobs cost ------------------------------------------------------

constexpr uint32_t kJobs = 100;

struct Cost {
  uint64_t jobs, doorbells, interrupts;
};

Cost cost(const drm_npu_counters& before, const drm_npu_counters& after) {
  return {after.jobs - before.jobs, after.device_doorbells - before.device_doorbells,
          after.device_interrupts - before.device_interrupts};
}

TEST(Interrupts, AHundredEmptyJobsInOneSubmit) {
  Device device;
  // What earlier tests had is released later, by commands of the kernel's own queue.
  ASSERT_TRUE(wait_for_counts(device, 0, 0, 0));
  LookupJob lookup(device, 512, 1);
  std::fill(lookup.stream().bytes().begin(), lookup.stream().bytes().end(), uint8_t{0});
  lookup.stream().bytes()[0] = 1;  // one record: a NOP
  lookup.stream().bytes()[2] = NPU_ENGINE_DISPATCH;
  drm_npu_job job = lookup.job();
  job.stream_bytes[0] = 128;
  const std::vector<drm_npu_job> jobs(kJobs, job);
  ASSERT_EQ(device.run(lookup.queue(), jobs), 0);
  const drm_npu_counters before = device.counters();
  ASSERT_EQ(device.run(lookup.queue(), jobs), 0);
  const Cost one = cost(before, device.counters());
  EXPECT_EQ(one.jobs, kJobs);
  EXPECT_EQ(one.doorbells, 1u);
  EXPECT_EQ(one.interrupts, 1u);
}

TEST(Interrupts, CoalescedOverSeparateSubmits) {
  Device device;
  // What earlier tests had is released later, by commands of the kernel's own queue.
  ASSERT_TRUE(wait_for_counts(device, 0, 0, 0));
  LookupJob lookup(device, 512, 1);
  drm_npu_queue_create args = {};
  args.vm_id = lookup.vm();
  args.coalesce_count = 25;
  args.coalesce_us = 10000;
  ASSERT_EQ(device.create_queue(args), 0);
  // All wait for one long job, and are then pushed one right after the other.
  const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  const drm_npu_sync wait = {
      .handle = device.create_syncobj(), .flags = DRM_NPU_SYNC_TIMELINE, .point = 1};
  const drm_npu_job job = lookup.job();
  const drm_npu_counters before = device.counters();
  LookupJob gate(device, kElements, 3, DRM_NPU_PLACEMENT_HOST, 0, kLong / 4);
  const drm_npu_job first = gate.job();
  ASSERT_EQ(device.submit(gate.queue(), {&first, 1}, {}, {&wait, 1}), 0);
  for (uint32_t i = 0; i < kJobs; ++i)
    ASSERT_EQ(device.submit(args.queue_id, {&job, 1}, {&wait, 1}, {&done, 1}), 0);
  // Each 10 ms that they take may cost an interrupt, which on a busy machine is not for the card
  // to choose.
  ASSERT_EQ(device.wait_point(wait.handle, 1, 60), 0);
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(device.wait_syncobj(done.handle, 60), 0);
  const auto periods = static_cast<uint64_t>((std::chrono::steady_clock::now() - begin) /
                                             std::chrono::microseconds(args.coalesce_us));
  const Cost all = cost(before, device.counters());
  EXPECT_EQ(all.jobs, kJobs + 1);
  EXPECT_EQ(all.doorbells, kJobs + 1) << "one for each submit";
  // Without that of the long job.
  EXPECT_LE(all.interrupts - 1, kJobs / 10 + periods);
  EXPECT_TRUE(lookup.correct());
}

}  // namespace
}  // namespace kmd
