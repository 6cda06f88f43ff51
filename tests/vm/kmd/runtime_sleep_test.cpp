// SPDX-License-Identifier: MIT
//
// An idle card goes to D3hot by itself; whoever needs it wakes it, and nobody
// notices but for the time that takes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/pci_regs.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "device.h"
#include "streams.h"

namespace kmd {
namespace {

// Where the card has its PCI Express capability.
constexpr off_t kPciExpress = 0x80;

class RuntimeSleep : public testing::Test {
 protected:
  RuntimeSleep() { set_delay(20); }
  ~RuntimeSleep() override { set_delay(1000); }

  static std::string pci(const std::string& file) {
    return first_match(("/sys/bus/pci/drivers/npu/*:01:*/" + file).c_str());
  }
  // How long the card is unused before it sleeps.
  static void set_delay(int milliseconds) {
    EXPECT_TRUE(write_file(pci("power/autosuspend_delay_ms"), std::to_string(milliseconds)));
  }
  static bool asleep() {
    return read_file(pci("power/runtime_status")) == "suspended\n" &&
           read_file(pci("power_state")) == "D3hot\n";
  }
  static bool falls_asleep() {
    for (int i = 0; i < 1000 && !asleep(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return asleep();
  }

  Device device_;
};

TEST_F(RuntimeSleep, JobsWakeTheCard) {
  const drm_npu_counters before = device_.counters();
  LookupJob card(device_, 4096, 1, DRM_NPU_PLACEMENT_CARD), host(device_, 4096, 2);
  for (uint8_t round = 0; round < 3; ++round) {
    host.prepare(round);
    ASSERT_TRUE(falls_asleep());
    const drm_npu_job job = host.job();
    EXPECT_EQ(device_.run(host.queue(), {&job, 1}), 0);
    EXPECT_TRUE(host.correct());
    ASSERT_TRUE(falls_asleep());
    EXPECT_EQ(card.run_checked(round), 0);
  }
  const drm_npu_counters after = device_.counters();
  EXPECT_EQ(after.function_resets, before.function_resets);
  EXPECT_EQ(after.faults, before.faults);
}

// The aperture answers in D0 only; the CPU's mappings of it do not go stale.
TEST_F(RuntimeSleep, MappingsOfTheApertureWakeTheCard) {
  Buffer card(device_, 1 << 20, DRM_NPU_PLACEMENT_CARD);
  Buffer host(device_, 1 << 20, DRM_NPU_PLACEMENT_HOST);
  const auto pattern = [](size_t i, int round) {
    return static_cast<uint8_t>(i * 13 + i / 256 + round);
  };
  for (size_t i = 0; i < card.size(); ++i) card.bytes()[i] = pattern(i, 0);
  std::ranges::fill(host.bytes(), uint8_t{1});
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(falls_asleep());
    EXPECT_EQ(host.bytes()[round], 1);
    EXPECT_TRUE(asleep()) << "host memory is there without the card";
    size_t wrong = 0;
    for (size_t i = 0; i < card.size(); ++i) wrong += card.bytes()[i] != pattern(i, round);
    EXPECT_EQ(wrong, 0u);
    ASSERT_TRUE(falls_asleep());
    for (size_t i = 0; i < card.size(); ++i) card.bytes()[i] = pattern(i, round + 1);
  }
}

// Whatever the delay, who faulted gets to its page before the card sleeps again.
TEST_F(RuntimeSleep, AFaultKeepsItAwakeForAMoment) {
  set_delay(0);
  Buffer card(device_, 1 << 20, DRM_NPU_PLACEMENT_CARD);
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(falls_asleep());
    rusage before{}, after{};
    getrusage(RUSAGE_SELF, &before);
    for (size_t i = 0; i < card.size(); i += 4096) card.bytes()[i] = static_cast<uint8_t>(round);
    getrusage(RUSAGE_SELF, &after);
    // The fault handler maps 16 pages at once; a starved machine may take some again.
    EXPECT_LE(after.ru_minflt - before.ru_minflt, 64);
  }
}

TEST_F(RuntimeSleep, MonitorsLetItSleep) {
  LookupJob lookup(device_, 30000, 1, DRM_NPU_PLACEMENT_CARD);
  ASSERT_EQ(lookup.run_checked(1), 0);
  const drm_npu_telemetry before = device_.telemetry();
  ASSERT_TRUE(falls_asleep());
  const auto number = [](const std::string& path) {
    return std::strtoull(read_file(path).c_str(), nullptr, 10);
  };
  EXPECT_EQ(number(pci("npu_busy_time_us")), before.busy_ns / 1000);
  EXPECT_GT(number(pci("npu_memory_utilization")), 60000u);
  EXPECT_EQ(number(pci("npu_current_frequency_mhz")), 0u);
  const std::string hwmon = pci("hwmon/hwmon*");
  EXPECT_EQ(number(hwmon + "/freq1_input"), 0u);
  EXPECT_GE(number(hwmon + "/energy1_input"), before.energy_nj / 1000);
  EXPECT_EQ(read_file(hwmon + "/power1_input"), "") << "unknown: ENODATA";
  EXPECT_EQ(read_file(hwmon + "/temp1_input"), "");
  EXPECT_NE(read_file("/proc/self/fdinfo/" + std::to_string(device_.fd())).find("drm-engine-npu"),
            std::string::npos);
  EXPECT_GT(device_.caps().max_jobs, 0u);
  EXPECT_EQ(device_.queue_state(lookup.queue()).jobs_completed, 1u);
  EXPECT_TRUE(asleep());
  set_delay(60000);
  EXPECT_GT(device_.telemetry().clock_mhz, 0u) << "asked for, it is read from the card";
  EXPECT_FALSE(asleep());
}

TEST_F(RuntimeSleep, AWaitingJobKeepsItAwake) {
  LookupJob slow(device_, 60000, 1, DRM_NPU_PLACEMENT_HOST, 0, 3000), next(device_, 4096, 2);
  const drm_npu_sync slow_done = {.handle = device_.create_syncobj(), .flags = 0, .point = 0};
  const drm_npu_sync next_done = {.handle = device_.create_syncobj(), .flags = 0, .point = 0};
  const drm_npu_job first = slow.job(), second = next.job();
  ASSERT_EQ(device_.submit(slow.queue(), {&first, 1}, {}, {&slow_done, 1}), 0);
  ASSERT_EQ(device_.submit(next.queue(), {&second, 1}, {&slow_done, 1}, {&next_done, 1}), 0);
  while (device_.wait_syncobj(next_done.handle, 0.05) == -ETIME) EXPECT_FALSE(asleep());
  EXPECT_EQ(device_.fence_status(next_done.handle), 1);
  EXPECT_TRUE(slow.correct() && next.correct());
  EXPECT_TRUE(falls_asleep());
}

TEST_F(RuntimeSleep, HundredRounds) {
  set_delay(0);
  {
    LookupJob lookup(device_, 512, 1);
    for (int round = 0; round < 100; ++round) {
      ASSERT_TRUE(falls_asleep()) << round;
      ASSERT_EQ(lookup.run_checked(static_cast<uint8_t>(round)), 0) << round;
    }
  }
  EXPECT_TRUE(wait_for_counts(device_, 0, 0, 0));
  EXPECT_TRUE(falls_asleep());
}

// It falls asleep and wakes while others are on their way in.
TEST_F(RuntimeSleep, SubmitStorm) {
  set_delay(0);
  const std::string slept = pci("power/runtime_suspended_time"), before = read_file(slept);
  std::atomic<unsigned> wrong = 0;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      Device device;
      // A page fault of the fourth one's buffers keeps the card awake for a moment.
      LookupJob lookup(device, 512, 1, t == 3 ? DRM_NPU_PLACEMENT_CARD : DRM_NPU_PLACEMENT_HOST);
      for (unsigned i = 0; i < 20; ++i) {
        wrong += lookup.run_checked(static_cast<uint8_t>(i * 4 + t)) != 0;
        if (i % 3 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5 * i));
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_NE(read_file(slept), before);
  EXPECT_TRUE(falls_asleep());
}

// Behind the driver's back: as after any reset of the function, memory is lost.
TEST_F(RuntimeSleep, ResetInItsSleep) {
  LookupJob lookup(device_, 4096, 1, DRM_NPU_PLACEMENT_CARD);
  ASSERT_EQ(lookup.run_checked(3), 0);
  ASSERT_TRUE(falls_asleep());
  // Initiate Function Level Reset, in Device Control of the PCI Express capability.
  const int config = open(pci("config").c_str(), O_WRONLY | O_CLOEXEC);
  const uint8_t reset = PCI_EXP_DEVCTL_BCR_FLR >> 8;
  ASSERT_EQ(pwrite(config, &reset, 1, kPciExpress + PCI_EXP_DEVCTL + 1), 1);
  close(config);
  EXPECT_TRUE(std::ranges::all_of(lookup.output().bytes(), [](uint8_t b) { return b == 0; }));
  EXPECT_EQ(device_.queue_state(lookup.queue()).health,
            static_cast<uint32_t>(DRM_NPU_QUEUE_MEMORY_LOST));
  LookupJob next(device_, 4096, 1, DRM_NPU_PLACEMENT_CARD);
  EXPECT_EQ(next.run_checked(4), 0);
  EXPECT_TRUE(falls_asleep());
  EXPECT_EQ(next.run_checked(5), 0);
}

}  // namespace
}  // namespace kmd
