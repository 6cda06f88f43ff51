// SPDX-License-Identifier: MIT
//
// Two processes at once: right results for both, and what one does wrong is
// its own affair.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "device.h"
#include "processes.h"
#include "streams.h"

namespace kmd {
namespace {

int work(uint8_t seed, uint32_t placement, int rounds) {
  Device device;
  LookupJob lookup(device, 30000, seed, placement, 0, 4);
  for (int i = 0; i < rounds; ++i)
    if (lookup.run_checked(static_cast<uint8_t>(seed + i)) != 0) return 1;
  return testing::Test::HasFailure() ? 2 : 0;
}

TEST(TwoProcesses, BothGetTheirResults) {
  const pid_t a = spawn([] { return work(3, DRM_NPU_PLACEMENT_CARD, 60); });
  const pid_t b = spawn([] { return work(150, DRM_NPU_PLACEMENT_HOST, 60); });
  EXPECT_EQ(join(a), 0);
  EXPECT_EQ(join(b), 0);
}

// The same virtual addresses in both: only one of them has the output mapped.
TEST(TwoProcesses, AStrayAddressFaultsAndKillsOnlyItsJob) {
  const pid_t good = spawn([] { return work(9, DRM_NPU_PLACEMENT_HOST, 60); });
  const pid_t bad = spawn([] {
    Device device;
    LookupJob lookup(device, 4096, 5);
    const drm_npu_job job = lookup.job();
    for (int i = 0; i < 20; ++i) {
      lookup.regions()[kOutput] = 0x6666'0000'0000 + i * kPage;
      if (device.run(lookup.queue(), {&job, 1}) != -EFAULT) return 1;
      const drm_npu_fault fault = device.queue_state(lookup.queue()).fault;
      if (fault.status != NPU_STATUS_MMU_FAULT || fault.access != NPU_ACCESS_WRITE ||
          fault.address != 0x6666'0000'0000 + i * kPage)
        return 2;
      lookup.regions()[kOutput] = LookupJob::kBase + kOutput * LookupJob::kStep;
      if (lookup.run_checked(static_cast<uint8_t>(i)) != 0) return 3;
    }
    return 0;
  });
  EXPECT_EQ(join(good), 0);
  EXPECT_EQ(join(bad), 0);
}

// Memory that one has given back is another's at once. The job that still has its
// address, and whose translation the card has just used, must not reach it:
// tests/vm/isolation_is_real.sh shows that this test fails if the card keeps it.
TEST(TwoProcesses, MemoryGivenBackIsOutOfReach) {
  Device device;
  constexpr uint64_t kOutputVa = LookupJob::kBase + kOutput * LookupJob::kStep;
  LookupJob lookup(device, 8192, 3, DRM_NPU_PLACEMENT_CARD);
  for (int round = 0; round < 5; ++round) {
    auto mine = std::make_unique<Buffer>(device, lookup.output().size(), DRM_NPU_PLACEMENT_CARD);
    ASSERT_EQ(device.map(lookup.vm(), mine->handle(), kOutputVa, mine->size()), 0);
    const drm_npu_job job = lookup.job();
    ASSERT_EQ(device.run(lookup.queue(), {&job, 1}), 0);
    ASSERT_EQ(device.unmap(lookup.vm(), kOutputVa, mine->size()), 0);
    mine.reset();
    const pid_t other = spawn([&] {
      Device theirs;
      Buffer buffer(theirs, lookup.output().size(), DRM_NPU_PLACEMENT_CARD);
      for (uint8_t& byte : buffer.bytes()) byte = 0x5a;
      if (device.run(lookup.queue(), {&job, 1}) != -EFAULT) return 1;
      for (const uint8_t byte : buffer.bytes())
        if (byte != 0x5a) return 2;
      return 0;
    });
    ASSERT_EQ(join(other), 0) << "1: the job did not fault, 2: it overwrote another's memory";
  }
}

TEST(TwoProcesses, HandlesOfOneMeanNothingToTheOther) {
  Device mine;
  LookupJob lookup(mine, 256, 1);
  const drm_npu_job job = lookup.job();
  const pid_t other = spawn([&] {
    Device device;
    if (device.submit(lookup.queue(), {&job, 1}) != -ENOENT) return 1;
    if (device.map(lookup.vm(), lookup.output().handle(), 0x100000, kPage) != -ENOENT) return 2;
    uint32_t vm = 0;
    if (device.create_vm(vm) != 0) return 3;
    if (device.map(vm, lookup.output().handle(), 0x100000, kPage) != -ENOENT) return 4;
    if (device.destroy_queue(lookup.queue()) != -ENOENT) return 5;
    return 0;
  });
  EXPECT_EQ(join(other), 0);
  EXPECT_EQ(lookup.run_checked(2), 0);
}

// The kernel closes the file; a mapping would keep it open as long as it exists.
TEST(TwoProcesses, AnExitWithJobsInFlightLeavesNothing) {
  const pid_t leaver = spawn([] {
    auto* device = new Device;
    auto* lookup = new LookupJob(*device, 60000, 1, DRM_NPU_PLACEMENT_CARD, 0, 500);
    const std::vector<drm_npu_job> jobs(device->caps().max_jobs, lookup->job());
    for (int i = 0; i < 8; ++i)
      if (device->submit(lookup->queue(), jobs) != 0) return 1;
    return 0;
  });
  EXPECT_EQ(join(leaver), 0);
  Device device;
  EXPECT_TRUE(wait_for_counts(device, 0, 0, 0));
}

TEST(TwoProcesses, AKilledOneLeavesNothing) {
  const pid_t victim = spawn([] {
    Device device;
    LookupJob lookup(device, 60000, 1, DRM_NPU_PLACEMENT_CARD, 0, 1000);
    const std::vector<drm_npu_job> jobs(device.caps().max_jobs, lookup.job());
    for (;;) {
      if (device.submit(lookup.queue(), jobs) == -EBUSY) usleep(1000);
    }
    return 0;
  });
  usleep(500'000);
  kill(victim, SIGKILL);
  EXPECT_EQ(join(victim), -1);
  Device device;
  EXPECT_TRUE(wait_for_counts(device, 0, 0, 0));
  LookupJob lookup(device, 4096, 5);
  EXPECT_EQ(lookup.run_checked(6), 0);
}

}  // namespace
}  // namespace kmd
