// SPDX-License-Identifier: MIT
//
// One guilty client beside seven innocent ones, each a process: up to the core
// reset nobody else notices; what each higher rung of recovery costs the others
// is what docs/kernel.md says, and everybody goes on in the same process.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "device.h"
#include "processes.h"
#include "streams.h"

namespace kmd {
namespace {

constexpr unsigned kInnocents = 7;
constexpr char kHangTimeout[] = "/sys/module/npu/parameters/hang_timeout_ms";

enum Exit { kFine = 0, kJobFailed = 1, kWrongResult = 2, kUnhealthy = 3, kTestFailed = 4 };

struct Stage {
  std::atomic<unsigned> working = 0;  // innocents that have a result
  std::atomic<unsigned> rounds = 0;   // results of all of them
  std::atomic<unsigned> lost = 0;     // clients that were told MEMORY_LOST
  std::atomic<bool> stop = false;
};

// Jobs, each checked, until told to stop. Nothing may fail.
int innocent(Stage* stage, uint8_t seed) {
  Device device;
  LookupJob lookup(device, 20000, seed, seed % 2 ? DRM_NPU_PLACEMENT_CARD : DRM_NPU_PLACEMENT_HOST,
                   0, 20);
  for (uint8_t key = seed; !stage->stop; ++key) {
    const int ret = lookup.run_checked(key);
    if (ret != 0) return ret > 0 ? kWrongResult : kJobFailed;
    if (key == seed) ++stage->working;
    ++stage->rounds;
  }
  const drm_npu_queue_state state = device.queue_state(lookup.queue());
  if (state.health != DRM_NPU_QUEUE_HEALTHY || state.first_failed != 0) return kUnhealthy;
  return testing::Test::HasFailure() ? kTestFailed : kFine;
}

bool eventually(const auto& done, double seconds = 60) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!done() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return done();
}

class Recovery : public testing::Test {
 protected:
  void SetUp() override {
    timeout_ = read_file(kHangTimeout);
    ASSERT_TRUE(write_file(kHangTimeout, "1000"));
    ASSERT_TRUE(wait_for_counts(device_, 0, 0, 0));
  }
  void TearDown() override {
    inject("kind=clear");
    write_file(kHangTimeout, timeout_);
  }

  std::unique_ptr<LookupJob> guilty(uint64_t cycle_limit = 0, uint32_t repeats = 1) {
    auto lookup = std::make_unique<LookupJob>(device_, 20000, 1, DRM_NPU_PLACEMENT_HOST,
                                              cycle_limit, repeats);
    const std::vector<HardwareQueue> queues = hardware_queues();
    EXPECT_EQ(queues.size(), 1u);
    if (!queues.empty()) queue_ = std::to_string(queues.front().id);
    return lookup;
  }
  void start_innocents() {
    for (unsigned i = 0; i < kInnocents; ++i)
      children_.push_back(
          spawn([this, i] { return innocent(stage_.operator->(), static_cast<uint8_t>(20 * i)); }));
    ASSERT_TRUE(eventually([this] { return stage_->working == kInnocents; }));
  }
  void expect_all_fine() {
    stage_->stop = true;
    for (const pid_t child : children_) EXPECT_EQ(join(child), kFine);
    children_.clear();
  }
  // The guilty fails `times` times beside the innocents, each of whom goes on.
  void expect_nobody_else_notices(LookupJob& lookup, const drm_npu_job& job, int error,
                                  npu_status_code status, const std::string& fault = {},
                                  uint32_t times = 2) {
    ASSERT_NO_FATAL_FAILURE(start_innocents());
    const drm_npu_counters before = device_.counters();
    for (uint32_t i = 0; i < times; ++i) {
      if (!fault.empty()) {
        ASSERT_TRUE(inject(fault));
      }
      const unsigned rounds = stage_->rounds;
      EXPECT_EQ(device_.run(lookup.queue(), {&job, 1}), error);
      EXPECT_EQ(device_.queue_state(lookup.queue()).fault.status, static_cast<uint32_t>(status));
      EXPECT_TRUE(eventually([&] { return stage_->rounds > rounds; }));
    }
    const drm_npu_counters after = device_.counters();
    EXPECT_EQ(after.core_resets - before.core_resets, status == NPU_STATUS_HANG ? times : 0);
    EXPECT_EQ(after.card_resets, before.card_resets);
    EXPECT_EQ(after.function_resets, before.function_resets);
    EXPECT_EQ(after.faults - before.faults, times);
    expect_all_fine();
  }

  Device device_;
  Shared<Stage> stage_;
  std::string queue_;  // hardware queue of the guilty
  std::string timeout_;
  std::vector<pid_t> children_;
};

TEST_F(Recovery, AHangBesideSevenInnocents) {
  const auto lookup = guilty();
  expect_nobody_else_notices(*lookup, lookup->job(), -ETIME, NPU_STATUS_HANG,
                             "kind=hang count=1 queue=" + queue_);
  EXPECT_EQ(device_.queue_state(lookup->queue()).health,
            static_cast<uint32_t>(DRM_NPU_QUEUE_GUILTY));
  EXPECT_EQ(lookup->run_checked(2), 0);
}

TEST_F(Recovery, AFaultBesideSevenInnocents) {
  const auto lookup = guilty();
  lookup->regions()[kOutput] = 0x6666'0000'0000;
  expect_nobody_else_notices(*lookup, lookup->job(), -EFAULT, NPU_STATUS_MMU_FAULT, {}, 10);
}

TEST_F(Recovery, AJobOverItsLimitBesideSevenInnocents) {
  const auto lookup = guilty(1000, 50);
  expect_nobody_else_notices(*lookup, lookup->job(), -ETIME, NPU_STATUS_BUDGET, {}, 10);
}

TEST_F(Recovery, ADeadlockBesideSevenInnocents) {
  const auto lookup = guilty();
  const std::vector<std::byte> commands = deadlock_stream();
  memcpy(lookup->stream().bytes().data(), commands.data(), commands.size());
  drm_npu_job job = lookup->job();
  job.stream_bytes[0] = static_cast<uint32_t>(commands.size());
  expect_nobody_else_notices(*lookup, job, -EINVAL, NPU_STATUS_DEADLOCK, {}, 10);
}

// The core reset does not help: the card is reset, which restarts what may be.
TEST_F(Recovery, TheCardResetCostsOthersTheirRunningJobs) {
  const auto lookup = guilty();
  LookupJob other(device_, 60000, 2, DRM_NPU_PLACEMENT_CARD, 0, 200);
  drm_npu_job again = other.job();
  again.flags = DRM_NPU_JOB_RESTARTABLE;
  const drm_npu_job job = lookup->job();
  const drm_npu_sync hung = {.handle = device_.create_syncobj(), .flags = 0, .point = 0};
  const drm_npu_counters before = device_.counters();
  ASSERT_TRUE(inject("kind=drop_reset count=1"));
  ASSERT_TRUE(inject("kind=hang count=1 queue=" + queue_));
  ASSERT_EQ(device_.submit(lookup->queue(), {&job, 1}, {}, {&hung, 1}), 0);
  while (device_.wait_syncobj(hung.handle, 0) == -ETIME) {
    EXPECT_EQ(device_.run(other.queue(), {&again, 1}), 0);
    EXPECT_TRUE(other.correct());
  }
  EXPECT_EQ(device_.fence_status(hung.handle), -ETIME);
  EXPECT_EQ(device_.queue_state(lookup->queue()).health,
            static_cast<uint32_t>(DRM_NPU_QUEUE_GUILTY));
  EXPECT_EQ(device_.queue_state(other.queue()).health,
            static_cast<uint32_t>(DRM_NPU_QUEUE_HEALTHY));
  const drm_npu_counters after = device_.counters();
  EXPECT_EQ(after.job_aborts - before.job_aborts, 1u);
  EXPECT_EQ(after.core_resets - before.core_resets, 1u);
  EXPECT_EQ(after.card_resets - before.card_resets, 1u);
  EXPECT_EQ(after.function_resets, before.function_resets);
  EXPECT_EQ(lookup->run_checked(3), 0);
}

// Works until the queue is told that its memory is lost; then, in the same
// process and with the same buffers, fills them again and goes on with a new queue.
int survivor(Stage* stage, uint8_t seed) {
  Device device;
  LookupJob lookup(device, 20000, seed, DRM_NPU_PLACEMENT_CARD, 0, 20);
  const drm_npu_job job = lookup.job();
  int ret = 0;
  for (uint8_t key = seed; ret == 0; ++key) {
    ret = lookup.run_checked(key);
    if (ret == 0 && key == seed) ++stage->working;
  }
  // In flight at that moment, or refused after it, or its output was wiped; that one
  // may see it before the queue is told.
  if (ret != -ECANCELED && ret != -EIO && ret != 1) return kJobFailed;
  if (!eventually(
          [&] { return device.queue_state(lookup.queue()).health == DRM_NPU_QUEUE_MEMORY_LOST; }))
    return kUnhealthy;
  if (device.submit(lookup.queue(), {&job, 1}) != -EIO) return kUnhealthy;
  ++stage->lost;
  uint32_t queue = 0;
  if (device.create_queue(lookup.vm(), queue) != 0) return kJobFailed;
  for (uint8_t key = seed; !stage->stop; ++key) {
    lookup.prepare(key);
    if (device.run(queue, {&job, 1}) != 0) return kJobFailed;
    if (!lookup.correct()) return kWrongResult;
    ++stage->rounds;
  }
  if (device.queue_state(queue).health != DRM_NPU_QUEUE_HEALTHY) return kUnhealthy;
  return testing::Test::HasFailure() ? kTestFailed : kFine;
}

// Nothing but a reset of the function helps: everybody's memory is lost, the
// guilty is told who it was, and all go on.
TEST_F(Recovery, AFunctionResetCostsEverybodyTheirMemoryButNotTheProcess) {
  const auto lookup = guilty();
  for (unsigned i = 0; i < kInnocents; ++i)
    children_.push_back(
        spawn([this, i] { return survivor(stage_.operator->(), static_cast<uint8_t>(20 * i)); }));
  ASSERT_TRUE(eventually([this] { return stage_->working == kInnocents; }));

  const drm_npu_counters before = device_.counters();
  ASSERT_TRUE(inject("kind=drop_reset count=2"));
  ASSERT_TRUE(inject("kind=hang count=1 queue=" + queue_));
  const drm_npu_job job = lookup->job();
  EXPECT_EQ(device_.run(lookup->queue(), {&job, 1}), -ETIME);
  const drm_npu_queue_state state = device_.queue_state(lookup->queue());
  EXPECT_EQ(state.health, static_cast<uint32_t>(DRM_NPU_QUEUE_MEMORY_LOST));
  EXPECT_EQ(state.fault.status, static_cast<uint32_t>(NPU_STATUS_HANG));
  const drm_npu_counters after = device_.counters();
  EXPECT_EQ(after.card_resets - before.card_resets, 1u);
  EXPECT_EQ(after.function_resets - before.function_resets, 1u);

  EXPECT_TRUE(eventually([this] { return stage_->lost == kInnocents; }));
  EXPECT_TRUE(eventually([this] { return stage_->rounds > 5 * kInnocents; }));
  expect_all_fine();
  uint32_t queue = 0;
  ASSERT_EQ(device_.create_queue(lookup->vm(), queue), 0);
  lookup->prepare(9);
  EXPECT_EQ(device_.run(queue, {&job, 1}), 0);
  EXPECT_TRUE(lookup->correct());
  EXPECT_EQ(device_.destroy_queue(queue), 0);
}

}  // namespace
}  // namespace kmd
