// SPDX-License-Identifier: MIT
//
// Jobs that hang, run too long or can never end, and faults of the hardware:
// each ends with its own status, and the next job is right.
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "device.h"
#include "streams.h"

namespace kmd {
namespace {

class Fault : public testing::Test {
 protected:
  void TearDown() override { inject("kind=clear"); }

  // Runs a job that is to fail; then one that is not.
  void expect_failure(LookupJob& lookup, int error, npu_status_code status) {
    const drm_npu_job job = lookup.job();
    EXPECT_EQ(device_.run(lookup.queue(), {&job, 1}), error);
    const drm_npu_queue_state state = device_.queue_state(lookup.queue());
    EXPECT_EQ(state.fault.status, static_cast<uint32_t>(status));
    EXPECT_EQ(state.jobs_completed, state.jobs_submitted);
    const drm_npu_fault last = device_.last_fault();
    EXPECT_EQ(memcmp(&last, &state.fault, sizeof(last)), 0) << "the file's last fault";
  }

  Device device_;
};

TEST_F(Fault, HangEndsByCoreReset) {
  LookupJob lookup(device_, 4096, 1);
  ASSERT_EQ(lookup.run_checked(1), 0);
  const drm_npu_counters before = device_.counters();
  ASSERT_TRUE(inject("kind=hang count=1"));
  expect_failure(lookup, -ETIME, NPU_STATUS_HANG);
  EXPECT_EQ(device_.counters().core_resets, before.core_resets + 1);
  EXPECT_EQ(device_.counters().card_resets, before.card_resets);
  EXPECT_EQ(device_.queue_state(lookup.queue()).health,
            static_cast<uint32_t>(DRM_NPU_QUEUE_GUILTY));
  EXPECT_EQ(lookup.run_checked(2), 0);
}

TEST_F(Fault, HangOfOneDoesNotHurtAnother) {
  LookupJob victim(device_, 4096, 1), other(device_, 4096, 2);
  ASSERT_EQ(victim.run_checked(1), 0);
  ASSERT_TRUE(inject("kind=hang count=1"));
  const drm_npu_job job = victim.job();
  const drm_npu_sync done = {.handle = device_.create_syncobj(), .flags = 0, .point = 0};
  ASSERT_EQ(device_.submit(victim.queue(), {&job, 1}, {}, {&done, 1}), 0);
  std::thread worker([&] {
    // Meanwhile, while the other's core hangs.
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    for (uint8_t i = 0; i < 10; ++i) EXPECT_EQ(other.run_checked(i), 0);
  });
  ASSERT_EQ(device_.wait_syncobj(done.handle), 0);
  EXPECT_EQ(device_.fence_status(done.handle), -ETIME);
  worker.join();
  EXPECT_EQ(device_.queue_state(other.queue()).health,
            static_cast<uint32_t>(DRM_NPU_QUEUE_HEALTHY));
}

// A job that takes several times the hang timeout, and makes progress all along.
TEST_F(Fault, LongJobIsNoHang) {
  const std::string parameter = "/sys/module/npu/parameters/hang_timeout_ms";
  const std::string normal = read_file(parameter);
  ASSERT_TRUE(write_file(parameter, "300"));
  const drm_npu_counters before = device_.counters();
  double seconds = 0;
  for (uint32_t repeats = 4000; seconds < 1.2 && repeats < 100'000; repeats *= 2) {
    LookupJob lookup(device_, 60000, 1, DRM_NPU_PLACEMENT_HOST, 0, repeats);
    const auto start = std::chrono::steady_clock::now();
    ASSERT_EQ(lookup.run_checked(2), 0);
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  ASSERT_TRUE(write_file(parameter, normal));
  EXPECT_GT(seconds, 0.6) << "not long enough to show anything";
  EXPECT_EQ(device_.counters().core_resets, before.core_resets);
  EXPECT_EQ(device_.counters().card_resets, before.card_resets);
}

TEST_F(Fault, TooManyHangsBanTheQueue) {
  LookupJob lookup(device_, 256, 1);
  const drm_npu_job job = lookup.job();
  ASSERT_TRUE(write_file("/sys/module/npu/parameters/ban_after", "2"));
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(inject("kind=hang count=1"));
    EXPECT_EQ(device_.run(lookup.queue(), {&job, 1}), -ETIME);
  }
  EXPECT_EQ(device_.queue_state(lookup.queue()).health,
            static_cast<uint32_t>(DRM_NPU_QUEUE_BANNED));
  EXPECT_EQ(device_.submit(lookup.queue(), {&job, 1}), -EIO);
  ASSERT_TRUE(write_file("/sys/module/npu/parameters/ban_after", "5"));
  LookupJob fresh(device_, 256, 1);
  EXPECT_EQ(fresh.run_checked(2), 0);
}

TEST_F(Fault, JobOverItsCycleLimit) {
  LookupJob lookup(device_, 60000, 1, DRM_NPU_PLACEMENT_HOST, 1000, 50);
  expect_failure(lookup, -ETIME, NPU_STATUS_BUDGET);
  EXPECT_EQ(device_.queue_state(lookup.queue()).health,
            static_cast<uint32_t>(DRM_NPU_QUEUE_HEALTHY));
  LookupJob unlimited(device_, 60000, 1, DRM_NPU_PLACEMENT_HOST, 0, 50);
  EXPECT_EQ(unlimited.run_checked(2), 0);
}

TEST_F(Fault, WaitThatIsNeverMet) {
  LookupJob lookup(device_, 4096, 1);
  const std::vector<std::byte> commands = deadlock_stream();
  const std::vector<uint8_t> good(lookup.stream().bytes().begin(), lookup.stream().bytes().end());
  memcpy(lookup.stream().bytes().data(), commands.data(), commands.size());
  drm_npu_job job = lookup.job();
  job.stream_bytes[0] = static_cast<uint32_t>(commands.size());
  EXPECT_EQ(device_.run(lookup.queue(), {&job, 1}), -EINVAL);
  const drm_npu_fault fault = device_.queue_state(lookup.queue()).fault;
  EXPECT_EQ(fault.status, static_cast<uint32_t>(NPU_STATUS_DEADLOCK));
  EXPECT_EQ(fault.command, 1u);
  memcpy(lookup.stream().bytes().data(), good.data(), good.size());
  EXPECT_EQ(lookup.run_checked(3), 0);
}

TEST_F(Fault, UnknownOpcode) {
  LookupJob lookup(device_, 4096, 1);
  lookup.stream().bytes()[128 + 1] = 0xff;
  expect_failure(lookup, -EINVAL, NPU_STATUS_BAD_COMMAND);
  EXPECT_EQ(device_.queue_state(lookup.queue()).fault.command, 1u);
}

TEST_F(Fault, UncorrectableMemoryError) {
  LookupJob lookup(device_, 4096, 1, DRM_NPU_PLACEMENT_CARD);
  ASSERT_TRUE(inject("kind=ecc count=1"));
  expect_failure(lookup, -EIO, NPU_STATUS_ECC);
  EXPECT_EQ(lookup.run_checked(2), 0);
}

TEST_F(Fault, LostInterruptIsFoundByTheWatchdog) {
  LookupJob lookup(device_, 4096, 1);
  ASSERT_EQ(lookup.run_checked(1), 0);
  ASSERT_TRUE(inject("kind=lost_interrupt count=1"));
  EXPECT_EQ(lookup.run_checked(2), 0);
  EXPECT_EQ(lookup.run_checked(3), 0);
}

TEST_F(Fault, LateInterruptIsNoFault) {
  LookupJob lookup(device_, 4096, 1);
  const drm_npu_counters before = device_.counters();
  ASSERT_TRUE(inject("kind=late_interrupt count=1 arg=50000000"));
  EXPECT_EQ(lookup.run_checked(2), 0);
  EXPECT_EQ(device_.counters().core_resets, before.core_resets);
  EXPECT_EQ(device_.counters().faults, before.faults);
}

// Whichever transaction it hits, the ring's or the job's, the next job is right.
TEST_F(Fault, RefusedBusTransaction) {
  LookupJob lookup(device_, 4096, 1);
  ASSERT_EQ(lookup.run_checked(1), 0);
  const drm_npu_job job = lookup.job();
  for (int skip = 0; skip < 12; ++skip) {
    ASSERT_TRUE(inject("kind=dma_error count=1 skip=" + std::to_string(skip)));
    const int ret = device_.run(lookup.queue(), {&job, 1});
    EXPECT_TRUE(ret == 0 || ret == -EIO) << "skip " << skip << ": " << ret;
    if (ret) {
      EXPECT_EQ(device_.queue_state(lookup.queue()).fault.status,
                static_cast<uint32_t>(NPU_STATUS_DMA_ERROR));
    }
    ASSERT_TRUE(inject("kind=clear"));
    ASSERT_EQ(lookup.run_checked(static_cast<uint8_t>(skip)), 0) << "after skip " << skip;
  }
}

// A reset of the card, asked for by root in the middle of two jobs: the one that
// may run again does, the other is a victim; card memory stays.
TEST_F(Fault, CardResetRestartsWhatMayRunAgain) {
  LookupJob victim(device_, 60000, 1, DRM_NPU_PLACEMENT_CARD, 0, 8000);
  LookupJob restarted(device_, 60000, 2, DRM_NPU_PLACEMENT_CARD, 0, 8000);
  const drm_npu_counters before = device_.counters();
  const drm_npu_job job = victim.job();
  drm_npu_job again = restarted.job();
  again.flags = DRM_NPU_JOB_RESTARTABLE;
  const drm_npu_sync done = {.handle = device_.create_syncobj(), .flags = 0, .point = 0};
  const drm_npu_sync also = {.handle = device_.create_syncobj(), .flags = 0, .point = 0};
  ASSERT_EQ(device_.submit(victim.queue(), {&job, 1}, {}, {&done, 1}), 0);
  ASSERT_EQ(device_.submit(restarted.queue(), {&again, 1}, {}, {&also, 1}), 0);
  ASSERT_TRUE(wait_for_queues(NPU_QUEUE_RUNNING, 2));

  ASSERT_TRUE(write_file(first_match("/sys/kernel/debug/accel/*:*/reset"), "card"));
  ASSERT_EQ(device_.wait_syncobj(done.handle), 0);
  EXPECT_EQ(device_.fence_status(done.handle), -ECANCELED);
  const drm_npu_queue_state state = device_.queue_state(victim.queue());
  EXPECT_EQ(state.fault.status, static_cast<uint32_t>(NPU_STATUS_VICTIM));
  EXPECT_EQ(state.health, static_cast<uint32_t>(DRM_NPU_QUEUE_VICTIM));
  ASSERT_EQ(device_.wait_syncobj(also.handle, 60), 0);
  EXPECT_EQ(device_.fence_status(also.handle), 1);
  EXPECT_TRUE(restarted.correct());
  EXPECT_EQ(device_.queue_state(restarted.queue()).health,
            static_cast<uint32_t>(DRM_NPU_QUEUE_HEALTHY));
  EXPECT_EQ(device_.counters().card_resets, before.card_resets + 1);
  EXPECT_EQ(device_.run(victim.queue(), {&job, 1}), 0);
  EXPECT_TRUE(victim.correct());
}

// What follows in the SUBMIT runs after the second run, once.
TEST_F(Fault, CardResetRestartsInsideAChain) {
  LookupJob lookup(device_, 60000, 1, DRM_NPU_PLACEMENT_CARD, 0, 3000);
  drm_npu_job job = lookup.job();
  job.flags = DRM_NPU_JOB_RESTARTABLE;
  const std::vector<drm_npu_job> chain(3, job);
  const drm_npu_sync done = {.handle = device_.create_syncobj(), .flags = 0, .point = 0};
  ASSERT_EQ(device_.submit(lookup.queue(), chain, {}, {&done, 1}), 0);
  ASSERT_TRUE(wait_for_queues(NPU_QUEUE_RUNNING));
  ASSERT_TRUE(write_file(first_match("/sys/kernel/debug/accel/*:*/reset"), "card"));
  ASSERT_EQ(device_.wait_syncobj(done.handle, 60), 0);
  EXPECT_EQ(device_.fence_status(done.handle), 1);
  EXPECT_TRUE(lookup.correct());
  const drm_npu_queue_state state = device_.queue_state(lookup.queue());
  EXPECT_EQ(state.health, static_cast<uint32_t>(DRM_NPU_QUEUE_HEALTHY));
  EXPECT_EQ(state.jobs_completed, 3u);
  EXPECT_EQ(state.first_failed, 0u);
}

TEST_F(Fault, InjectRefusesNonsense) {
  EXPECT_FALSE(inject("kind=nonsense"));
  EXPECT_FALSE(inject("queue=1"));
  EXPECT_FALSE(inject("kind=hang queue=x"));
  EXPECT_FALSE(inject("kind"));
  EXPECT_FALSE(inject(std::string(500, 'x')));
  EXPECT_TRUE(inject("kind=clear"));
}

}  // namespace
}  // namespace kmd
