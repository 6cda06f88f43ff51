// SPDX-License-Identifier: MIT
//
// What tools see of a card at work: fdinfo, hwmon, sysfs, trace points.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <map>
#include <sstream>
#include <string>
#include <thread>

#include "device.h"
#include "streams.h"
#include "tracing.h"

namespace kmd {
namespace {

constexpr uint64_t kMiB = 1 << 20;

// The keys of Documentation/gpu/drm-usage-stats.rst; sizes in bytes.
std::map<std::string, std::string> fdinfo(const Device& device) {
  std::map<std::string, std::string> keys;
  std::istringstream lines(read_file("/proc/self/fdinfo/" + std::to_string(device.fd())));
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    const size_t value = line.find_first_not_of(" \t", colon + 1);
    if (colon != std::string::npos && value != std::string::npos)
      keys[line.substr(0, colon)] = line.substr(value);
  }
  return keys;
}

uint64_t number(const std::string& text) {
  char* end = nullptr;
  const uint64_t value = std::strtoull(text.c_str(), &end, 10);
  const std::string unit = end;
  return unit == " KiB" ? value << 10 : unit == " MiB" ? value << 20 : value;
}

uint64_t key(const Device& device, const std::string& name) {
  const auto keys = fdinfo(device);
  const auto found = keys.find(name);
  EXPECT_NE(found, keys.end()) << "no " << name;
  return found == keys.end() ? 0 : number(found->second);
}

TEST(Fdinfo, SaysWhoseFileItIs) {
  Device a, b;
  const auto mine = fdinfo(a), other = fdinfo(b);
  EXPECT_EQ(mine.at("drm-driver"), "npu");
  const std::string pci = first_match("/sys/bus/pci/drivers/npu/*:*");
  EXPECT_EQ(mine.at("drm-pdev"), pci.substr(pci.rfind('/') + 1));
  EXPECT_NE(mine.at("drm-client-id"), other.at("drm-client-id"));
  EXPECT_EQ(number(mine.at("drm-engine-capacity-npu")), a.target().cores);
  EXPECT_EQ(mine.at("drm-engine-npu"), "0 ns");
  EXPECT_EQ(mine.count("drm-maxfreq-npu"), 0u) << "excludes drm-total-cycles-npu";
  const uint64_t before = number(mine.at("drm-total-cycles-npu"));
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_GE(key(a, "drm-total-cycles-npu"), before + 10'000ull * a.target().clock_mhz);
}

TEST(Fdinfo, TwoClientsAddUpToTheCard) {
  Device a, b;
  const drm_npu_telemetry before = a.telemetry();
  {
    LookupJob first(a, 4096, 1), second(b, 30000, 2, DRM_NPU_PLACEMENT_CARD);
    for (uint8_t i = 0; i < 10; ++i) {
      ASSERT_EQ(first.run_checked(i), 0);
      ASSERT_EQ(second.run_checked(i), 0);
    }
    const drm_npu_telemetry after = a.telemetry();
    const uint64_t cycles_a = key(a, "drm-cycles-npu"), cycles_b = key(b, "drm-cycles-npu");
    EXPECT_GT(cycles_a, 0u);
    EXPECT_GT(cycles_b, 0u);
    EXPECT_EQ(cycles_a + cycles_b, after.cycles - before.cycles);
    // One at a time: the card was busy for both, and for fetching packets.
    const uint64_t busy = key(a, "drm-engine-npu") + key(b, "drm-engine-npu");
    EXPECT_GT(busy, 0u);
    EXPECT_LE(busy, after.busy_ns - before.busy_ns);

    EXPECT_EQ(key(a, "drm-resident-card") + key(b, "drm-resident-card"), after.card_memory_used);
    EXPECT_EQ(key(a, "drm-resident-host") + key(b, "drm-resident-host"), after.host_memory_used);
  }
}

TEST(Fdinfo, MemoryPerRegion) {
  Device device;
  Buffer card(device, 3 * kMiB, DRM_NPU_PLACEMENT_CARD),
      host(device, 2 * kMiB, DRM_NPU_PLACEMENT_HOST);
  EXPECT_EQ(key(device, "drm-total-card"), 3 * kMiB);
  EXPECT_EQ(key(device, "drm-resident-card"), 3 * kMiB);
  EXPECT_EQ(key(device, "drm-shared-card"), 0u);
  EXPECT_EQ(key(device, "drm-active-card"), 0u);
  EXPECT_EQ(key(device, "drm-total-host"), 2 * kMiB);
  std::ranges::fill(host.bytes(), uint8_t{1});
  EXPECT_EQ(key(device, "drm-resident-host"), 2 * kMiB);
}

TEST(Fdinfo, BuffersOfARunningJobAreActive) {
  Device device;
  LookupJob lookup(device, 60000, 1, DRM_NPU_PLACEMENT_CARD, 0, 3000);
  const drm_npu_job job = lookup.job();
  const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  ASSERT_EQ(device.submit(lookup.queue(), {&job, 1}, {}, {&done, 1}), 0);
  EXPECT_EQ(key(device, "drm-active-card"), key(device, "drm-resident-card"));
  ASSERT_EQ(device.wait_syncobj(done.handle), 0);
  for (int i = 0; i < 100 && key(device, "drm-active-card") != 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(key(device, "drm-active-card"), 0u);
}

// ---- hwmon and sysfs ----

std::string line_of(const std::string& path) {
  std::string text = read_file(path);
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

class Sensors : public testing::Test {
 protected:
  void TearDown() override { inject("kind=clear"); }
  uint64_t hwmon(const std::string& name) const { return number(line_of(folder_ + name)); }
  uint64_t sysfs(const std::string& name) const {
    const std::string path = first_match("/sys/class/accel/accel*/device/npu_busy_time_us");
    return number(line_of(path.substr(0, path.rfind('/') + 1) + name));
  }

  const std::string folder_ = first_match("/sys/bus/pci/drivers/npu/*:*/hwmon/hwmon*") + "/";
  Device device_;
};

TEST_F(Sensors, AreTheCardsOwnValues) {
  const npu_target target = device_.target();
  EXPECT_EQ(line_of(folder_ + "name"), "npu");
  EXPECT_EQ(line_of(folder_ + "temp1_label"), "die");
  EXPECT_EQ(hwmon("temp1_max"), target.throttle_mc);
  const uint64_t temperature = hwmon("temp1_input");
  EXPECT_GE(temperature, target.ambient_mc);
  EXPECT_LT(temperature, target.throttle_mc);
  EXPECT_EQ(hwmon("power1_input") / 1000, device_.telemetry().power_mw);
  EXPECT_EQ(hwmon("freq1_input"), target.clock_mhz * 1'000'000ull);
  EXPECT_EQ(line_of(folder_ + "freq1_label"), "clock");
  const uint64_t energy = device_.telemetry().energy_nj / 1000;
  const uint64_t shown = hwmon("energy1_input");
  EXPECT_GE(shown, energy);
  EXPECT_LE(shown, device_.telemetry().energy_nj / 1000);
}

TEST_F(Sensors, HeatIsSeenAndLowersTheClock) {
  const npu_target target = device_.target();
  ASSERT_EQ(sysfs("npu_max_frequency_mhz"), target.clock_mhz);
  ASSERT_TRUE(inject("kind=thermal_trip arg=" + std::to_string(target.throttle_mc + 20'000)));
  EXPECT_GT(hwmon("temp1_input"), target.throttle_mc);
  EXPECT_EQ(hwmon("freq1_input"), target.clock_mhz * 500'000ull);
  EXPECT_EQ(sysfs("npu_current_frequency_mhz"), target.clock_mhz / 2);
  EXPECT_EQ(sysfs("npu_max_frequency_mhz"), target.clock_mhz);
  ASSERT_TRUE(inject("kind=thermal_trip arg=" + std::to_string(target.ambient_mc)));
  EXPECT_EQ(sysfs("npu_current_frequency_mhz"), target.clock_mhz);
}

TEST_F(Sensors, BusyTimeAndMemoryUnderTheUsualNames) {
  // Buffers of a closed file go a moment after it.
  ASSERT_TRUE(wait_for_counts(device_, 0, 0, 0));
  const uint64_t busy = sysfs("npu_busy_time_us"), used = sysfs("npu_memory_utilization");
  LookupJob lookup(device_, 60000, 1, DRM_NPU_PLACEMENT_CARD, 0, 100);
  ASSERT_EQ(lookup.run_checked(2), 0);
  EXPECT_GT(sysfs("npu_busy_time_us"), busy);
  EXPECT_EQ(sysfs("npu_busy_time_us"), device_.telemetry().busy_ns / 1000);
  EXPECT_EQ(sysfs("npu_memory_utilization"),
            used + key(device_, "drm-resident-card") + key(device_, "drm-resident-host"));
}

// ---- Trace points ----

TEST(TracePoints, OnePerStageOfAJob) {
  const std::string root = tracing_folder();
  if (read_file(root + "available_tracers").empty()) GTEST_SKIP() << "this kernel has no tracer";
  ASSERT_TRUE(write_file(root + "trace", "\n"));
  ASSERT_TRUE(write_file(root + "events/npu/enable", "1"));
  {
    Device device;
    LookupJob lookup(device, 4096, 1);
    const drm_npu_job job = lookup.job();
    const std::array<drm_npu_job, 2> both = {job, job};
    ASSERT_EQ(device.run(lookup.queue(), both), 0);
    lookup.regions()[kOutput] = 0x4444'0000'0000;
    ASSERT_EQ(device.run(lookup.queue(), {&job, 1}), -EFAULT);
    ASSERT_EQ(device.unmap(lookup.vm(), LookupJob::kBase, kPage), 0);
    ASSERT_TRUE(write_file(first_match("/sys/kernel/debug/accel/*:*/reset"), "card"));
  }
  ASSERT_TRUE(write_file(root + "events/npu/enable", "0"));
  const std::string text = read_file(root + "trace");
  // Each after the one before it.
  size_t at = 0;
  for (const char* expected :
       {"npu_bind: 0000:", " map va=0x10000000 size=0x1000", "npu_submit: 0000:", " job=0 count=2",
        "npu_run: 0000:", " packet=0 count=2", "npu_complete: 0000:",
        " packet=0 job=0 status=OK start=", " packet=1 job=1 status=OK start=", " job=2 count=1",
        " packet=2 count=1", " packet=2 job=2 status=MMU_FAULT start=", "npu_fault: 0000:",
        " job=2 status=MMU_FAULT command=3 engine=1 core=0 access=1 address=0x444400000000",
        " unmap va=0x10000000 size=0x1000", "npu_reset: 0000:", " rung=card hwq=-1"}) {
    const size_t found = text.find(expected, at);
    ASSERT_NE(found, std::string::npos) << "no '" << expected << "' in\n" << text;
    at = found;
  }
}

}  // namespace
}  // namespace kmd
