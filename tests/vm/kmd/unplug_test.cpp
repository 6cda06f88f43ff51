// SPDX-License-Identifier: MIT
//
// The card goes while programs use it: taken by root, or off the bus. Fences
// signal, calls fail with ENODEV, mappings stay readable, nothing is left over.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>

#include "device.h"
#include "others.h"
#include "streams.h"

namespace kmd {
namespace {

// PCI address of the card that the driver has.
std::string card_address() {
  const std::string path = first_match("/sys/bus/pci/drivers/npu/*:*");
  return path.substr(path.rfind('/') + 1);
}

bool wait_for_node() {
  for (int i = 0; i < 500 && node().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return !node().empty();
}

void expect_gone(const Device& device, const LookupJob& lookup) {
  const drm_npu_job job = lookup.job();
  EXPECT_EQ(device.submit(lookup.queue(), {&job, 1}), -ENODEV);
  uint32_t queue = 0;
  EXPECT_EQ(device.create_queue(lookup.vm(), queue), -ENODEV);
}

TEST(Unplug, UnbindWithJobsInFlight) {
  const std::string address = card_address();
  ASSERT_FALSE(address.empty());
  {
    Device device;
    LookupJob lookup(device, 60000, 1, DRM_NPU_PLACEMENT_CARD, 0, 500);
    Buffer host(device, 1 << 20, DRM_NPU_PLACEMENT_HOST);
    host.bytes()[5] = 5;
    const std::vector<drm_npu_job> jobs(device.caps().max_jobs, lookup.job());
    const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
    for (int i = 0; i < 8; ++i) ASSERT_EQ(device.submit(lookup.queue(), jobs, {}, {&done, 1}), 0);
    const int fence_file = device.export_fence(done.handle);
    ASSERT_GE(fence_file, 0);

    const int memory = open("/proc/self/mem", O_RDONLY);
    uint8_t seen = 0;
    const off_t at = reinterpret_cast<off_t>(&host.bytes()[5]);
    EXPECT_EQ(pread(memory, &seen, 1, at), 1) << "a debugger's way";
    EXPECT_EQ(seen, 5);

    ASSERT_TRUE(write_file("/sys/bus/pci/drivers/npu/unbind", address));
    EXPECT_EQ(sync_file_status(fence_file, 10), -ENODEV);
    close(fence_file);
    expect_gone(device, lookup);
    // No SIGBUS, whatever the value.
    volatile uint8_t byte = host.bytes()[5];
    byte = lookup.output().bytes()[1];
    host.bytes()[7] = byte;
    EXPECT_EQ(pread(memory, &seen, 1, at), -1) << "it would be new memory, mapped for no card";
    close(memory);
  }
  ASSERT_TRUE(node().empty());
  ASSERT_TRUE(write_file("/sys/bus/pci/drivers/npu/bind", address));
  ASSERT_TRUE(wait_for_node());
  Device device;
  EXPECT_TRUE(wait_for_counts(device, 0, 0, 0));
  LookupJob lookup(device, 4096, 1, DRM_NPU_PLACEMENT_CARD);
  EXPECT_EQ(lookup.run_checked(3), 0);
}

// A bind on its way waits for another driver; root need not.
TEST(Unplug, UnbindDoesNotWaitForAnotherDriversFence) {
  const std::string address = card_address();
  {
    Device device;
    LookupJob lookup(device, 4096, 1);
    Gate gate(device);
    drm_npu_bind_op op = {};
    op.op = DRM_NPU_BIND_MAP;
    op.handle = lookup.output().handle();
    op.va = 0x7000'0000;
    op.size = kPage;
    ASSERT_EQ(device.bind(lookup.vm(), {&op, 1}, DRM_NPU_VM_BIND_ASYNC, {&gate.sync, 1}, {}), 0);

    std::atomic<bool> returned = false;
    int ret = 0;
    std::thread binder([&] {
      ret = device.map(lookup.vm(), op.handle, op.va + kPage, kPage);
      returned = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    EXPECT_TRUE(write_file("/sys/bus/pci/drivers/npu/unbind", address));
    EXPECT_FALSE(returned) << "unbind waited until vgem gave up its fence";
    gate.open();
    binder.join();
    EXPECT_EQ(ret, -ENODEV);
  }
  ASSERT_TRUE(write_file("/sys/bus/pci/drivers/npu/bind", address));
  ASSERT_TRUE(wait_for_node());
  Device device;
  EXPECT_TRUE(wait_for_counts(device, 0, 0, 0));
}

// The buffer waits for a job that waits for another driver; the card does not.
TEST(Unplug, UnbindDetachesAlsoFromImportsThatNobodyHas) {
  const std::string address = card_address();
  const auto attached = [&] {
    const std::string buffers = read_file("/sys/kernel/debug/dma_buf/bufinfo");
    EXPECT_FALSE(buffers.empty());
    return buffers.find(address) != std::string::npos;
  };
  {
    Device device;
    LookupJob lookup(device, 4096, 1);
    Gate gate(device);
    Vgem other(kPage);
    uint32_t import = 0;
    ASSERT_EQ(device.import_buffer(other.dma_buf(), import), 0);
    ASSERT_EQ(device.map(lookup.vm(), import, 0x7000'0000, kPage), 0);
    const drm_npu_job job = lookup.job();
    ASSERT_EQ(device.submit(lookup.queue(), {&job, 1}, {&gate.sync, 1}, {}), 0);
    ASSERT_EQ(device.unmap(lookup.vm(), 0x7000'0000, kPage), 0);
    device.close_buffer(import);
    EXPECT_TRUE(attached());
    EXPECT_TRUE(write_file("/sys/bus/pci/drivers/npu/unbind", address));
    EXPECT_FALSE(attached());
    gate.open();
  }
  ASSERT_TRUE(write_file("/sys/bus/pci/drivers/npu/bind", address));
  ASSERT_TRUE(wait_for_node());
  Device device;
  EXPECT_TRUE(wait_for_counts(device, 0, 0, 0));
}

// SYNC_IOC_FILE_INFO asks a fence for its names: they outlive the queue, the file,
// the driver's hold on the card, and keep the module for as long as they live.
TEST(Unplug, FencesOutliveQueueFileAndDevice) {
  const std::string address = card_address();
  const uint64_t kVa = 0x7000'0000;
  int done_file = -1, bound_file = -1, refused_file = -1;
  const auto check = [&] {
    EXPECT_EQ(sync_file_status(done_file, 0), 1);
    EXPECT_EQ(sync_file_status(bound_file, 0), 1);
    EXPECT_LT(sync_file_status(refused_file, 10), 0);
  };
  {
    Device device;
    {
      LookupJob lookup(device, 60000, 1, DRM_NPU_PLACEMENT_CARD, 0, 500);
      const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
      const drm_npu_sync bound = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
      const drm_npu_sync refused = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
      const drm_npu_job job = lookup.job();
      ASSERT_EQ(device.submit(lookup.queue(), {&job, 1}, {}, {&done, 1}), 0);
      ASSERT_EQ(device.wait_syncobj(done.handle), 0);
      drm_npu_bind_op op = {};
      op.op = DRM_NPU_BIND_MAP;
      op.handle = lookup.output().handle();
      op.va = kVa;
      op.size = kPage;
      ASSERT_EQ(device.bind(lookup.vm(), {&op, 1}, DRM_NPU_VM_BIND_ASYNC, {}, {&bound, 1}), 0);
      ASSERT_EQ(device.wait_syncobj(bound.handle), 0);
      // More than a ring: the rest waits in the scheduler, and is refused there.
      const std::vector<drm_npu_job> jobs(device.caps().max_jobs, job);
      for (int i = 0; i < 8; ++i)
        ASSERT_EQ(device.submit(lookup.queue(), jobs, {}, {&refused, 1}), 0);
      done_file = device.export_fence(done.handle);
      bound_file = device.export_fence(bound.handle);
      refused_file = device.export_fence(refused.handle);
    }
    check();  // the queue is gone
  }
  check();  // the file is closed
  ASSERT_TRUE(write_file("/sys/bus/pci/drivers/npu/unbind", address));
  check();
  EXPECT_NE(syscall(SYS_delete_module, "npu", O_NONBLOCK), 0) << "their code would be gone";
  check();
  for (const int fd : {done_file, bound_file, refused_file}) close(fd);
  ASSERT_TRUE(write_file("/sys/bus/pci/drivers/npu/bind", address));
  ASSERT_TRUE(wait_for_node());
}

// Runs while tests/vm/hotplug_*.sh take the card out of its slot.
TEST(Unplug, JobsUntilTheCardIsUnplugged) {
  Device device;
  LookupJob lookup(device, 60000, 1, DRM_NPU_PLACEMENT_CARD, 0, 500);
  const std::vector<drm_npu_job> jobs(device.caps().max_jobs, lookup.job());
  const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  int fence_file = -1;
  int ret = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (ret != -ENODEV) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "nobody unplugs the card";
    ret = device.submit(lookup.queue(), jobs, {}, {&done, 1});
    if (ret == -EBUSY) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    } else if (ret == 0) {
      const int latest = device.export_fence(done.handle);
      if (latest < 0) continue;  // unplugged since
      if (fence_file >= 0) close(fence_file);
      fence_file = latest;
    } else {
      ASSERT_EQ(ret, -ENODEV);
    }
  }
  ASSERT_GE(fence_file, 0) << "unplugged before the first job";
  const int status = sync_file_status(fence_file, 10);
  EXPECT_TRUE(status == 1 || status == -ENODEV) << status;
  close(fence_file);
  expect_gone(device, lookup);
}

// Last: the card does not come back.
TEST(Unplug, XTheCardLeavesTheBus) {
  Device device;
  LookupJob lookup(device, 60000, 1, DRM_NPU_PLACEMENT_CARD, 0, 500);
  const drm_npu_job job = lookup.job();
  const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  ASSERT_EQ(device.submit(lookup.queue(), {&job, 1}, {}, {&done, 1}), 0);
  ASSERT_TRUE(inject("kind=gone"));
  ASSERT_EQ(device.submit(lookup.queue(), {&job, 1}, {}, {&done, 1}), 0);
  ASSERT_EQ(device.wait_syncobj(done.handle, 10), 0);
  EXPECT_EQ(device.fence_status(done.handle), -ENODEV);
  expect_gone(device, lookup);
}

}  // namespace
}  // namespace kmd
