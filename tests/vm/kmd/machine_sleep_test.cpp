// SPDX-License-Identifier: MIT
//
// The machine sleeps, and takes the power from its cards, whatever they are doing.
// Where the VM cannot (tests/vm/README.md), and to idle (freeze) and to disk, the
// kernel's pm_test goes all the way but for the power, and for writing the image.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "device.h"
#include "streams.h"

namespace kmd {
namespace {

constexpr char kParameters[] = "/sys/module/npu/parameters/";

bool power_goes_off(const std::string& state) {
  return state == "mem" && getenv("NPU_VM_SLEEP") != nullptr;
}

// ICH9's power management, which the VM's firmware does not bring back when the machine
// wakes up: going to sleep again would end at once, with the power on.
class PowerManagement {
 public:
  PowerManagement() {
    EXPECT_EQ(pread(config_, &registers_, sizeof(registers_), kBase), ssize_t{sizeof(registers_)});
    EXPECT_TRUE(registers_[1] & 0x80) << "the machine would not sleep";
  }
  ~PowerManagement() {
    EXPECT_EQ(pwrite(config_, &registers_, sizeof(registers_), kBase), ssize_t{sizeof(registers_)});
    close(config_);
  }

 private:
  static constexpr off_t kBase = 0x40;  // PMBASE, ACPI_CNTL
  const int config_ = open("/sys/bus/pci/devices/0000:00:1f.0/config", O_RDWR | O_CLOEXEC);
  uint32_t registers_[2] = {};
};

// 0, or why the kernel refused. vm-run wakes it up.
int sleep_machine(const std::string& state = "mem") {
  // To idle no processor is turned off: there is no "core".
  const char* const deepest = state == "freeze" ? "platform" : "core";
  EXPECT_TRUE(write_file("/sys/power/pm_test", power_goes_off(state) ? "none" : deepest));
  EXPECT_TRUE(write_file("/sys/module/suspend/parameters/pm_test_delay", "1"));
  const PowerManagement kept;
  errno = 0;
  return write_file("/sys/power/state", state) ? 0 : -errno;
}

// The ways to sleep, as /sys/power/state calls them.
class SleepTo : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (read_file("/sys/power/state").find(GetParam()) == std::string::npos)
      GTEST_SKIP() << "this kernel does not have it";
  }
};

// A buffer of random bytes.
class Random {
 public:
  Random(const Device& device, uint64_t size, uint32_t placement, unsigned seed)
      : buffer_(device, size, placement), seed_(seed) {
    fill(buffer_.bytes());
  }
  size_t wrong_bytes() const {
    std::vector<uint8_t> expected(buffer_.size());
    fill(expected);
    size_t wrong = 0;
    for (size_t i = 0; i < expected.size(); ++i) wrong += buffer_.bytes()[i] != expected[i];
    return wrong;
  }

 private:
  void fill(std::span<uint8_t> bytes) const {
    std::mt19937_64 random(seed_);
    for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
      const uint64_t word = random();
      memcpy(&bytes[i], &word, 8);
    }
  }
  Buffer buffer_;
  unsigned seed_;
};

TEST_P(SleepTo, MemoryOfTwoCardsComesBack) {
  const std::vector<std::string> paths = {"/dev/accel/accel0", "/dev/accel/accel1"};
  std::vector<std::unique_ptr<Device>> devices;
  std::vector<std::unique_ptr<Random>> buffers;
  std::vector<std::unique_ptr<LookupJob>> lookups;
  unsigned seed = 0;
  for (const std::string& path : paths) {
    const Device& device = *devices.emplace_back(std::make_unique<Device>(path));
    // Most of 64 MiB, also behind a small aperture; runs of many lengths.
    for (const uint64_t kib : {4, 8, 12, 100, 1020, 1024, 1028, 3000, 5000, 12000, 20000})
      buffers.push_back(
          std::make_unique<Random>(device, kib << 10, DRM_NPU_PLACEMENT_CARD, ++seed));
    buffers.push_back(std::make_unique<Random>(device, 1 << 20, DRM_NPU_PLACEMENT_HOST, ++seed));
    for (const uint32_t placement : {DRM_NPU_PLACEMENT_CARD, DRM_NPU_PLACEMENT_HOST})
      lookups.push_back(std::make_unique<LookupJob>(device, 4096, 1, placement));
  }
  for (size_t i = 0; i < lookups.size(); ++i)
    ASSERT_EQ(lookups[i]->run_checked(static_cast<uint8_t>(i)), 0);
  const drm_npu_counters before = devices[0]->counters();
  ASSERT_EQ(sleep_machine(GetParam()), 0);
  if (power_goes_off(GetParam())) {
    for (const auto& device : devices)
      EXPECT_EQ(device->telemetry().cycles, 0u) << "counts begin with the power";
  }
  for (const auto& lookup : lookups) {
    // Input and table are what they were before.
    const Device& device = *devices[lookup == lookups[0] || lookup == lookups[1] ? 0 : 1];
    const drm_npu_job job = lookup->job();
    EXPECT_EQ(device.run(lookup->queue(), {&job, 1}), 0);
    EXPECT_TRUE(lookup->correct());
  }
  for (size_t i = 0; i < buffers.size(); ++i) EXPECT_EQ(buffers[i]->wrong_bytes(), 0u) << i;
  const drm_npu_counters after = devices[0]->counters();
  EXPECT_EQ(after.function_resets + after.card_resets, before.function_resets + before.card_resets);
}

// Whatever there is at that moment: a job that runs, jobs behind it in the ring, jobs
// and binds that wait for them.
TEST_P(SleepTo, PendingWorkGoesOn) {
  Device device;
  LookupJob slow(device, 60000, 1, DRM_NPU_PLACEMENT_CARD, 0, 2000);
  LookupJob behind(device, 4096, 2, DRM_NPU_PLACEMENT_CARD), bound(device, 4096, 3);
  const uint32_t timeline = device.create_syncobj();
  const auto point = [&](uint64_t n) {
    return drm_npu_sync{.handle = timeline, .flags = DRM_NPU_SYNC_TIMELINE, .point = n};
  };
  const drm_npu_sync p1 = point(1), p2 = point(2), p3 = point(3), p4 = point(4);
  const std::vector<drm_npu_job> many(3, slow.job());
  ASSERT_EQ(device.submit(slow.queue(), many, {}, {&p1, 1}), 0);
  const drm_npu_job second = behind.job(), third = bound.job();
  ASSERT_EQ(device.submit(behind.queue(), {&second, 1}, {&p1, 1}, {&p2, 1}), 0);
  // The output's mapping, replaced by itself.
  const drm_npu_bind_op op = {.op = DRM_NPU_BIND_MAP,
                              .flags = 0,
                              .handle = bound.output().handle(),
                              .pad = 0,
                              .bo_offset = 0,
                              .va = LookupJob::kBase + LookupJob::kStep,
                              .size = bound.output().size()};
  ASSERT_EQ(device.bind(bound.vm(), {&op, 1}, DRM_NPU_VM_BIND_ASYNC, {&p2, 1}, {&p3, 1}), 0);
  ASSERT_EQ(device.submit(bound.queue(), {&third, 1}, {&p3, 1}, {&p4, 1}), 0);
  ASSERT_TRUE(wait_for_queues(NPU_QUEUE_RUNNING));
  const uint64_t faults = device.counters().faults;

  int waited = -1;
  std::thread waiter([&] { waited = device.wait_point(timeline, 4, 60); });
  EXPECT_EQ(sleep_machine(GetParam()), 0);
  waiter.join();
  EXPECT_EQ(waited, 0);
  EXPECT_TRUE(slow.correct() && behind.correct() && bound.correct());
  for (const uint32_t queue : {slow.queue(), behind.queue(), bound.queue()})
    EXPECT_EQ(device.queue_state(queue).health, static_cast<uint32_t>(DRM_NPU_QUEUE_HEALTHY));
  EXPECT_EQ(device.counters().faults, faults);
}

INSTANTIATE_TEST_SUITE_P(MachineSleep, SleepTo, testing::Values("mem", "freeze", "disk"),
                         [](const auto& info) { return std::string(info.param); });

// A card that sleeps already is woken to save what it has; and falls asleep after.
TEST(MachineSleep, FindsACardAsleep) {
  Device device;
  LookupJob lookup(device, 30000, 1, DRM_NPU_PLACEMENT_CARD);
  ASSERT_EQ(lookup.run_checked(1), 0);
  const std::string status = first_match("/sys/bus/pci/drivers/npu/*:01:*/power/runtime_status");
  const auto asleep = [&] {
    for (int i = 0; i < 500 && read_file(status) != "suspended\n"; ++i) usleep(10000);
    return read_file(status) == "suspended\n";
  };
  ASSERT_TRUE(asleep());
  ASSERT_EQ(sleep_machine(), 0);
  EXPECT_TRUE(asleep());
  EXPECT_TRUE(lookup.correct());
  EXPECT_EQ(lookup.run_checked(2), 0);
}

TEST(MachineSleep, ItsLimitIsTheAdministrators) {
  Device device;
  LookupJob slow(device, 60000, 1, DRM_NPU_PLACEMENT_CARD, 0, 4000);
  const std::string limit = kParameters + std::string("suspend_timeout_ms");
  const std::string before = read_file(limit);
  const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  const drm_npu_job job = slow.job();
  ASSERT_TRUE(write_file(limit, "50"));
  ASSERT_EQ(device.submit(slow.queue(), {&job, 1}, {}, {&done, 1}), 0);
  ASSERT_TRUE(wait_for_queues(NPU_QUEUE_RUNNING));
  EXPECT_EQ(sleep_machine(), -EBUSY);
  EXPECT_EQ(device.wait_syncobj(done.handle, 60), 0);
  EXPECT_EQ(device.fence_status(done.handle), 1);
  EXPECT_TRUE(slow.correct());
  ASSERT_TRUE(write_file(limit, before));
}

// What hangs is ended by the watchdog, not by the power.
TEST(MachineSleep, DoesNotWaitForAHang) {
  Device device;
  LookupJob hung(device, 4096, 1), good(device, 4096, 2, DRM_NPU_PLACEMENT_CARD);
  const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  const drm_npu_job job = hung.job();
  const std::string timeout = kParameters + std::string("hang_timeout_ms");
  ASSERT_TRUE(write_file(timeout, "600"));
  ASSERT_TRUE(inject("kind=hang"));
  ASSERT_EQ(device.submit(hung.queue(), {&job, 1}, {}, {&done, 1}), 0);
  EXPECT_EQ(sleep_machine(), 0);
  EXPECT_EQ(device.wait_syncobj(done.handle), 0);
  EXPECT_EQ(device.fence_status(done.handle), -ETIME);
  EXPECT_EQ(good.run_checked(3), 0);
  ASSERT_TRUE(write_file(timeout, "2000"));
}

}  // namespace
}  // namespace kmd
