// SPDX-License-Identifier: MIT
//
// Every memory allocation, and every copy from and to user space, of every call
// fails in turn: the call fails cleanly or does without, and afterwards everything
// works and nothing is left over.
// Needs a kernel with CONFIG_FAULT_INJECTION, CONFIG_FAILSLAB and, for the copies,
// CONFIG_FAULT_INJECTION_USERCOPY.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

#include "device.h"
#include "streams.h"

namespace kmd {
namespace {

const char* const kFailNth = "/proc/thread-self/fail-nth";
constexpr int kMostFailures = 2000;

// Calls `body` until it has run once and nothing failed. Returns how many times
// something did, or -1. The file stays open: to open it would count, too.
int fail_each(const std::function<void()>& body) {
  const int file = open(kFailNth, O_RDWR | O_CLOEXEC);
  int failures = -1;
  for (int nth = 1; nth < kMostFailures && failures < 0; ++nth) {
    const std::string text = std::to_string(nth);
    if (pwrite(file, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) break;
    body();
    char left[16] = {};
    // What is left, or this very read is what failed.
    const bool none = pread(file, left, sizeof(left) - 1, 0) > 0 && std::atoi(left) == 0;
    // It may be what fails, once.
    if (pwrite(file, "0", 1, 0) != 1 && pwrite(file, "0", 1, 0) != 1) break;
    if (!none) failures = nth - 1;
  }
  close(file);
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  std::printf("%s: each of %d failures\n", test->name(), failures);
  return failures;
}

bool clean(int ret) {
  return ret == 0 || ret == -ENOMEM || ret == -EFAULT;
}

class MemoryFailure : public testing::Test {
 protected:
  void SetUp() override {
    if (read_file(kFailNth).empty())
      GTEST_SKIP() << "this kernel does not fail allocations (CONFIG_FAULT_INJECTION)";
    // Only what the kernel allocates for the call itself, sleeping or not.
    ASSERT_TRUE(write_file("/sys/kernel/debug/failslab/ignore-gfp-wait", "N"));
    ASSERT_TRUE(write_file("/sys/kernel/debug/failslab/verbose", "0"));
    write_file("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N");
    write_file("/sys/kernel/debug/fail_page_alloc/verbose", "0");
    write_file("/sys/kernel/debug/fail_page_alloc/min-order", "0");
    write_file("/sys/kernel/debug/fail_usercopy/verbose", "0");
  }

  void TearDown() override {
    if (IsSkipped()) return;
    Device device;
    EXPECT_TRUE(wait_for_counts(device, 0, 0, 0));
    LookupJob lookup(device, 4096, 1, DRM_NPU_PLACEMENT_CARD);
    EXPECT_EQ(lookup.run_checked(3), 0);
  }
};

TEST_F(MemoryFailure, Buffers) {
  Device device;
  for (uint32_t placement : {DRM_NPU_PLACEMENT_HOST, DRM_NPU_PLACEMENT_CARD}) {
    const int failed = fail_each([&] {
      drm_npu_bo_create create = {};
      create.size = 64 * kPage;
      create.placement = placement;
      const int ret = device.ioctl(DRM_IOCTL_NPU_BO_CREATE, &create);
      EXPECT_TRUE(clean(ret) || ret == -ENOSPC) << ret;
      if (ret) return;
      drm_gem_close close = {};
      close.handle = create.handle;
      device.ioctl(DRM_IOCTL_GEM_CLOSE, &close);
    });
    EXPECT_GT(failed, 2);
  }
}

TEST_F(MemoryFailure, SpacesAndQueues) {
  Device device;
  EXPECT_GT(fail_each([&] {
              uint32_t vm = 0, queue = 0;
              const int ret = device.create_vm(vm);
              EXPECT_TRUE(clean(ret)) << ret;
              if (ret) return;
              const int queued = device.create_queue(vm, queue);
              EXPECT_TRUE(clean(queued)) << queued;
              if (!queued) device.destroy_queue(queue);
              device.destroy_vm(vm);
            }),
            5);
}

TEST_F(MemoryFailure, Binds) {
  Device device;
  uint32_t vm = 0;
  ASSERT_EQ(device.create_vm(vm), 0);
  Buffer buffer(device, 16 * kPage, DRM_NPU_PLACEMENT_CARD);
  uint64_t va = 1ull << 30;
  EXPECT_GT(fail_each([&] {
              va += 1ull << 40;  // new page tables each time
              int ret = device.map(vm, buffer.handle(), va % (1ull << 47), buffer.size());
              EXPECT_TRUE(clean(ret)) << ret;
              ret = device.unmap(vm, va % (1ull << 47) + kPage, kPage);
              EXPECT_TRUE(clean(ret)) << ret;
            }),
            5);
}

TEST_F(MemoryFailure, Submits) {
  Device device;
  LookupJob lookup(device, 4096, 1);
  const drm_npu_job job = lookup.job();
  const uint32_t wait = device.create_syncobj(true);
  const uint32_t timeline = device.create_syncobj();
  uint64_t point = 0;
  EXPECT_GT(fail_each([&] {
              const drm_npu_sync in = {.handle = wait, .flags = 0, .point = 0};
              const drm_npu_sync out = {
                  .handle = timeline, .flags = DRM_NPU_SYNC_TIMELINE, .point = ++point};
              const int ret = device.submit(lookup.queue(), {&job, 1}, {&in, 1}, {&out, 1});
              EXPECT_TRUE(clean(ret)) << ret;
              if (ret) --point;
            }),
            5);
  ASSERT_GT(point, 0u);
  EXPECT_EQ(device.wait_point(timeline, point), 0);
  EXPECT_EQ(device.queue_state(lookup.queue()).jobs_submitted, point)
      << "a call that failed has changed something";
}

TEST_F(MemoryFailure, Evictions) {
  Device device;
  LookupJob lookup(device, 60000, 1, DRM_NPU_PLACEMENT_CARD);
  ASSERT_EQ(lookup.run_checked(1), 0);
  const uint64_t total = uint64_t{device.target().card_memory_mib} << 20;
  const int failed = fail_each([&] {
    drm_npu_bo_create create = {};
    create.size = total - (64 << 10);
    create.placement = DRM_NPU_PLACEMENT_CARD;
    const int ret = device.ioctl(DRM_IOCTL_NPU_BO_CREATE, &create);
    EXPECT_TRUE(clean(ret) || ret == -ENOSPC) << ret;
    if (!ret) {
      drm_gem_close close = {};
      close.handle = create.handle;
      device.ioctl(DRM_IOCTL_GEM_CLOSE, &close);
    }
  });
  EXPECT_GT(failed, 5);
  EXPECT_EQ(lookup.run_checked(9), 0);
}

}  // namespace
}  // namespace kmd
