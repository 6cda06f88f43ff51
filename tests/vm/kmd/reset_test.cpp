// SPDX-License-Identifier: MIT
//
// The function is reset, or its bus reports errors, while programs use the card:
// card memory is lost, the process goes on.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "device.h"
#include "streams.h"

namespace kmd {
namespace {

std::string pci_device() {
  return first_match("/sys/bus/pci/drivers/npu/*:*");
}

// One line "NAME N" of an AER statistics file.
unsigned long aer_count(const std::string& kind, const std::string& name) {
  const std::string text = read_file(pci_device() + "/aer_dev_" + kind);
  const size_t at = text.find(name + " ");
  return at == std::string::npos ? 0 : std::strtoul(text.c_str() + at + name.size(), nullptr, 10);
}

bool eventually(const auto& done) {
  for (int i = 0; i < 1500 && !done(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return done();
}

class FunctionReset : public testing::Test {
 protected:
  FunctionReset() : done_{.handle = device_.create_syncobj(), .flags = 0, .point = 0} {}

  void start_long_job(uint32_t repeats) {
    long_ = std::make_unique<LookupJob>(device_, 60000, 1, DRM_NPU_PLACEMENT_CARD, 0, repeats);
    const drm_npu_job job = long_->job();
    ASSERT_EQ(device_.submit(long_->queue(), {&job, 1}, {}, {&done_, 1}), 0);
    ASSERT_TRUE(wait_for_queues(NPU_QUEUE_RUNNING));
  }
  void expect_memory_lost(const LookupJob& lookup) {
    EXPECT_EQ(device_.queue_state(lookup.queue()).health,
              static_cast<uint32_t>(DRM_NPU_QUEUE_MEMORY_LOST));
    const drm_npu_job job = lookup.job();
    EXPECT_EQ(device_.submit(lookup.queue(), {&job, 1}), -EIO);
    EXPECT_TRUE(std::ranges::all_of(lookup.output().bytes(), [](uint8_t b) { return b == 0; }));
  }
  // The same address space and buffers, loaded anew, on a new queue.
  void expect_a_new_queue_works(LookupJob& lookup) {
    uint32_t queue = 0;
    ASSERT_EQ(device_.create_queue(lookup.vm(), queue), 0);
    lookup.prepare(77);
    const drm_npu_job job = lookup.job();
    EXPECT_EQ(device_.run(queue, {&job, 1}), 0);
    EXPECT_TRUE(lookup.correct());
    EXPECT_EQ(device_.queue_state(queue).health, static_cast<uint32_t>(DRM_NPU_QUEUE_HEALTHY));
    EXPECT_EQ(device_.destroy_queue(queue), 0);
  }

  Device device_;
  drm_npu_sync done_;
  std::unique_ptr<LookupJob> long_;
};

TEST_F(FunctionReset, LosesCardMemoryButNotTheProcess) {
  LookupJob idle(device_, 4096, 2, DRM_NPU_PLACEMENT_CARD);
  ASSERT_EQ(idle.run_checked(3), 0);
  for (int round = 0; round < 3; ++round) {
    ASSERT_NO_FATAL_FAILURE(start_long_job(3000));
    ASSERT_TRUE(write_file(pci_device() + "/reset", "1"));
    ASSERT_EQ(device_.wait_syncobj(done_.handle), 0);
    EXPECT_EQ(device_.fence_status(done_.handle), -ECANCELED);
    EXPECT_EQ(device_.queue_state(long_->queue()).fault.status,
              static_cast<uint32_t>(NPU_STATUS_VICTIM));
    expect_memory_lost(*long_);
    expect_a_new_queue_works(*long_);
    ASSERT_EQ(device_.reset_syncobj(done_.handle), 0);
  }
  expect_memory_lost(idle);
  expect_a_new_queue_works(idle);
}

// Binds, clears and moves go through the kernel's queue, which survives.
TEST_F(FunctionReset, RacesWithBindsAndNewBuffers) {
  std::atomic<bool> stop = false;
  std::thread resetter([&] {
    for (int i = 0; i < 6; ++i) {
      EXPECT_TRUE(write_file(pci_device() + "/reset", "1"));
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    stop = true;
  });
  do {
    LookupJob lookup(device_, 4096, 5, DRM_NPU_PLACEMENT_CARD);
    const drm_npu_job job = lookup.job();
    const int ret = device_.run(lookup.queue(), {&job, 1});
    // OK, lost while it ran, or lost before it was submitted.
    EXPECT_TRUE(ret == 0 || ret == -ECANCELED || ret == -EIO || ret == -EINVAL || ret == -EFAULT)
        << ret;
  } while (!stop);
  resetter.join();
  LookupJob lookup(device_, 4096, 6, DRM_NPU_PLACEMENT_CARD);
  EXPECT_EQ(lookup.run_checked(9), 0);
}

TEST_F(FunctionReset, CorrectableErrorIsCountedAndNothingElse) {
  const unsigned long before = aer_count("correctable", "RxErr");
  ASSERT_NO_FATAL_FAILURE(start_long_job(3000));
  ASSERT_TRUE(inject("kind=aer arg=32"));
  EXPECT_TRUE(eventually([&] { return aer_count("correctable", "RxErr") == before + 1; }));
  ASSERT_EQ(device_.wait_syncobj(done_.handle), 0);
  EXPECT_EQ(device_.fence_status(done_.handle), 1);
  EXPECT_TRUE(long_->correct());
}

TEST_F(FunctionReset, NonFatalErrorEndsNoJob) {
  const unsigned long before = aer_count("nonfatal", "CmpltAbrt");
  ASSERT_NO_FATAL_FAILURE(start_long_job(3000));
  ASSERT_TRUE(inject("kind=aer arg=15"));
  EXPECT_TRUE(eventually([&] { return aer_count("nonfatal", "CmpltAbrt") == before + 1; }));
  ASSERT_EQ(device_.wait_syncobj(done_.handle), 0);
  EXPECT_EQ(device_.fence_status(done_.handle), 1);
  EXPECT_TRUE(long_->correct());
  EXPECT_EQ(device_.queue_state(long_->queue()).health,
            static_cast<uint32_t>(DRM_NPU_QUEUE_HEALTHY));
}

// What the kernel's own injector, /dev/aer_inject, is told (drivers/pci/pcie/aer_inject.c).
struct AerInjection {
  uint8_t bus = 0, device = 0, function = 0;
  uint32_t uncorrectable = 0, correctable = 0;
  uint32_t header_log[4] = {};
  uint32_t domain = 0;
};

bool inject_by_kernel(AerInjection error) {
  const std::string path = std::filesystem::canonical(pci_device()).filename();
  unsigned domain = 0, bus = 0, device = 0, function = 0;
  if (std::sscanf(path.c_str(), "%x:%x:%x.%x", &domain, &bus, &device, &function) != 4)
    return false;
  error.domain = domain;
  error.bus = static_cast<uint8_t>(bus);
  error.device = static_cast<uint8_t>(device);
  error.function = static_cast<uint8_t>(function);
  std::ofstream file("/dev/aer_inject", std::ios::binary);
  file.write(reinterpret_cast<const char*>(&error), sizeof(error));
  return static_cast<bool>(file.flush());
}

// The card does not know of these errors: the kernel makes its error registers say so.
TEST_F(FunctionReset, ErrorsOfTheKernelsInjector) {
  if (std::system("modprobe -q aer_inject") != 0) GTEST_SKIP() << "this kernel has no aer_inject";
  ASSERT_NO_FATAL_FAILURE(start_long_job(6000));
  const unsigned long correctable = aer_count("correctable", "BadTLP");
  ASSERT_TRUE(inject_by_kernel({.correctable = 1u << 6}));
  EXPECT_TRUE(eventually([&] { return aer_count("correctable", "BadTLP") == correctable + 1; }));
  const unsigned long nonfatal = aer_count("nonfatal", "CmpltTO");
  ASSERT_TRUE(inject_by_kernel({.uncorrectable = 1u << 14}));
  EXPECT_TRUE(eventually([&] { return aer_count("nonfatal", "CmpltTO") == nonfatal + 1; }));
  ASSERT_EQ(device_.wait_syncobj(done_.handle), 0);
  EXPECT_EQ(device_.fence_status(done_.handle), 1);
  EXPECT_TRUE(long_->correct());
  EXPECT_EQ(device_.queue_state(long_->queue()).health,
            static_cast<uint32_t>(DRM_NPU_QUEUE_HEALTHY));
  // While it is loaded it stands before the root port's registers.
  EXPECT_EQ(std::system("modprobe -r aer_inject"), 0);
}

// The root port resets the link: power-on for the card.
TEST_F(FunctionReset, FatalErrorResetsTheSlot) {
  // Of the port: after a fatal error the card is not asked for its own.
  const auto count = [] {
    const std::string text = read_file(pci_device() + "/../aer_rootport_total_err_fatal");
    return std::strtoul(text.c_str(), nullptr, 10);
  };
  const unsigned long before = count();
  ASSERT_NO_FATAL_FAILURE(start_long_job(3000));
  ASSERT_TRUE(inject("kind=aer arg=4"));
  ASSERT_EQ(device_.wait_syncobj(done_.handle), 0);
  EXPECT_EQ(device_.fence_status(done_.handle), -ECANCELED);
  EXPECT_EQ(count(), before + 1);
  expect_memory_lost(*long_);
  expect_a_new_queue_works(*long_);
}

}  // namespace
}  // namespace kmd
