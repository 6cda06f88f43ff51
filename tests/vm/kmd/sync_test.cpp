// SPDX-License-Identifier: MIT
//
// Fences in and out: many at once, points of timelines, errors, and what lives on
// when the queue, the file and the driver are gone.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sync_file.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "device.h"
#include "streams.h"

// Not in the libdrm of Debian 12.
#ifndef DRM_IOCTL_SYNCOBJ_EVENTFD
struct drm_syncobj_eventfd {
  __u32 handle;
  __u32 flags;
  __u64 point;
  __s32 fd;
  __u32 pad;
};
#define DRM_IOCTL_SYNCOBJ_EVENTFD DRM_IOWR(0xCF, struct drm_syncobj_eventfd)
#endif

namespace kmd {
namespace {

drm_npu_sync binary(uint32_t handle) {
  return {.handle = handle, .flags = 0, .point = 0};
}

drm_npu_sync at(uint32_t handle, uint64_t point) {
  return {.handle = handle, .flags = DRM_NPU_SYNC_TIMELINE, .point = point};
}

// What a sync file says of its fence.
std::string file_info(int fd, int& status) {
  sync_fence_info fence = {};
  sync_file_info info = {};
  info.num_fences = 1;
  info.sync_fence_info = reinterpret_cast<uint64_t>(&fence);
  EXPECT_EQ(ioctl(fd, SYNC_IOC_FILE_INFO, &info), 0);
  status = fence.status;
  return std::string(fence.driver_name) + "/" + fence.obj_name;
}

class Sync : public testing::Test {
 protected:
  uint32_t syncobj() { return device_.create_syncobj(); }

  // As fence_status(), of a timeline's point. The point is a container: its own status
  // is 1 or 0, errors are those of the fence inside.
  int point_status(uint32_t timeline, uint64_t point) {
    const uint32_t one = syncobj();
    drm_syncobj_transfer args = {};
    args.src_handle = timeline;
    args.dst_handle = one;
    args.src_point = point;
    const int ret = device_.ioctl(DRM_IOCTL_SYNCOBJ_TRANSFER, &args);
    const int fd = ret != 0 ? ret : device_.export_fence(one);
    device_.destroy_syncobj(one);
    if (fd < 0) return fd;
    int status = 0;
    file_info(fd, status);
    close(fd);
    return status;
  }

  Device device_;
};

TEST_F(Sync, ManyFencesInAndOut) {
  LookupJob a(device_, 60000, 1, DRM_NPU_PLACEMENT_HOST, 0, 200), b(device_, 4096, 2),
      c(device_, 4096, 3);
  const uint32_t x = syncobj(), y = syncobj(), t = syncobj(), u = syncobj();
  const std::array from_a = {binary(x), at(t, 3)};
  const std::array from_b = {binary(y), at(u, 5)};
  // The same one twice is nothing special.
  const std::array into_c = {binary(x), at(t, 3), binary(y), at(u, 5), binary(x)};
  const std::array from_c = {at(t, 4), at(u, 6), binary(x), at(u, 7), binary(y)};
  const drm_npu_job ja = a.job(), jb = b.job(), jc = c.job();
  ASSERT_EQ(device_.submit(a.queue(), {&ja, 1}, {}, from_a), 0);
  ASSERT_EQ(device_.submit(b.queue(), {&jb, 1}, {}, from_b), 0);
  ASSERT_EQ(device_.submit(c.queue(), {&jc, 1}, into_c, from_c), 0);
  EXPECT_EQ(device_.wait_syncobj(x), 0);
  EXPECT_EQ(device_.wait_point(t, 3, 0), 0) << "ran before what it waits for";
  EXPECT_EQ(device_.wait_point(u, 5, 0), 0);
  EXPECT_TRUE(a.correct() && b.correct() && c.correct());
  for (const auto& [handle, point] : {std::pair(t, 4), std::pair(u, 6), std::pair(u, 7)})
    EXPECT_EQ(device_.wait_point(handle, point), 0);
  EXPECT_EQ(device_.wait_syncobj(y), 0);
}

TEST_F(Sync, BindsHaveThemToo) {
  LookupJob lookup(device_, 60000, 1, DRM_NPU_PLACEMENT_HOST, 0, 200), next(device_, 4096, 2);
  const uint32_t x = syncobj(), t = syncobj(), u = syncobj();
  const std::array from_job = {binary(x), at(t, 1)};
  const std::array from_bind = {at(t, 2), at(u, 1), binary(x)};
  const drm_npu_job job = lookup.job(), second = next.job();
  ASSERT_EQ(device_.submit(lookup.queue(), {&job, 1}, {}, from_job), 0);
  const drm_npu_bind_op op = {.op = DRM_NPU_BIND_MAP,
                              .flags = 0,
                              .handle = next.output().handle(),
                              .pad = 0,
                              .bo_offset = 0,
                              .va = LookupJob::kBase + LookupJob::kStep,
                              .size = next.output().size()};
  ASSERT_EQ(device_.bind(next.vm(), {&op, 1}, DRM_NPU_VM_BIND_ASYNC, from_job, from_bind), 0);
  const std::array into_second = {at(t, 2), at(u, 1), binary(x)};
  const drm_npu_sync done = at(u, 2);
  ASSERT_EQ(device_.submit(next.queue(), {&second, 1}, into_second, {&done, 1}), 0);
  EXPECT_EQ(device_.wait_point(u, 2), 0);
  EXPECT_TRUE(lookup.correct() && next.correct());
}

// SUBMIT waits for fences, not for their appearance: that, a thread can do.
TEST_F(Sync, WhatIsNotSubmittedYet) {
  LookupJob first(device_, 4096, 1), second(device_, 4096, 2);
  const uint32_t t = syncobj(), x = syncobj(), done = syncobj();
  const drm_npu_sync point = at(t, 7), missing = binary(x), signal = binary(done);
  const drm_npu_job a = first.job(), b = second.job();
  EXPECT_EQ(device_.submit(second.queue(), {&b, 1}, {&point, 1}, {&signal, 1}), -EINVAL);
  EXPECT_EQ(device_.submit(second.queue(), {&b, 1}, {&missing, 1}, {&signal, 1}), -EINVAL);
  EXPECT_EQ(device_.queue_state(second.queue()).jobs_submitted, 0u);
  EXPECT_EQ(device_.counters().fences, 0u);

  std::thread waiter([&] {
    drm_syncobj_timeline_wait args = {};
    args.handles = reinterpret_cast<uint64_t>(&t);
    args.points = reinterpret_cast<uint64_t>(&point.point);
    args.count_handles = 1;
    args.timeout_nsec = INT64_MAX;
    args.flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT | DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE;
    EXPECT_EQ(device_.ioctl(DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &args), 0);
    EXPECT_EQ(device_.submit(second.queue(), {&b, 1}, {&point, 1}, {&signal, 1}), 0);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  // A later point stands for all before it.
  const drm_npu_sync later = at(t, 9);
  EXPECT_EQ(device_.submit(first.queue(), {&a, 1}, {}, {&later, 1}), 0);
  waiter.join();
  EXPECT_EQ(device_.wait_syncobj(done), 0);
  EXPECT_TRUE(first.correct() && second.correct());
}

TEST_F(Sync, PointsHaveErrors) {
  LookupJob lookup(device_, 4096, 1), next(device_, 4096, 2);
  const uint32_t t = syncobj();
  drm_npu_job bad = lookup.job();
  const drm_npu_job good = next.job();
  bad.stream_va = 0x7fff'0000'0000;
  const drm_npu_sync one = at(t, 1), two = at(t, 2), three = at(t, 3);
  ASSERT_EQ(device_.submit(lookup.queue(), {&bad, 1}, {}, {&one, 1}), 0);
  EXPECT_EQ(device_.wait_point(t, 1), 0);
  EXPECT_EQ(point_status(t, 1), -EFAULT);
  // What waits for it runs: whether that makes sense is the waiter's business.
  ASSERT_EQ(device_.submit(next.queue(), {&good, 1}, {&one, 1}, {&two, 1}), 0);
  EXPECT_EQ(device_.wait_point(t, 2), 0);
  EXPECT_EQ(point_status(t, 2), 1);
  EXPECT_TRUE(next.correct());
  // Cancelled with its queue, behind a long one.
  LookupJob slow(device_, 60000, 3, DRM_NPU_PLACEMENT_HOST, 0, 2000);
  const drm_npu_job job = slow.job();
  uint32_t queue = 0;
  ASSERT_EQ(device_.create_queue(slow.vm(), queue), 0);
  ASSERT_EQ(device_.submit(queue, {&job, 1}, {}, {&three, 1}), 0);
  ASSERT_EQ(device_.destroy_queue(queue), 0);
  EXPECT_EQ(device_.wait_point(t, 3), 0);
  EXPECT_EQ(point_status(t, 3), -ECANCELED);
}

TEST_F(Sync, EventfdsTellOfFences) {
  LookupJob lookup(device_, 60000, 1, DRM_NPU_PLACEMENT_HOST, 0, 500);
  const uint32_t t = syncobj(), x = syncobj();
  struct Watch {
    uint32_t handle;
    uint64_t point;
    uint32_t flags;
    int fd;
  };
  std::array watches = {Watch{t, 4, 0, -1}, Watch{t, 5, 0, -1}, Watch{x, 0, 0, -1},
                        Watch{t, 5, DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE, -1}};
  for (Watch& watch : watches) {
    watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    drm_syncobj_eventfd args = {};
    args.handle = watch.handle;
    args.point = watch.point;
    args.flags = watch.flags;
    args.fd = watch.fd;
    // A binary syncobj has to have a fence already.
    if (watch.point != 0) {
      ASSERT_EQ(device_.ioctl(DRM_IOCTL_SYNCOBJ_EVENTFD, &args), 0);
    }
  }
  const auto fired = [](const Watch& watch, int milliseconds) {
    pollfd item = {.fd = watch.fd, .events = POLLIN, .revents = 0};
    return poll(&item, 1, milliseconds) == 1;
  };
  const std::array signals = {at(t, 5), binary(x)};
  const drm_npu_job job = lookup.job();
  ASSERT_EQ(device_.submit(lookup.queue(), {&job, 1}, {}, signals), 0);
  drm_syncobj_eventfd args = {};
  args.handle = x;
  args.fd = watches[2].fd;
  ASSERT_EQ(device_.ioctl(DRM_IOCTL_SYNCOBJ_EVENTFD, &args), 0);
  EXPECT_TRUE(fired(watches[3], 0)) << "it is there, and need not have signalled";
  for (int i : {0, 1, 2}) EXPECT_TRUE(fired(watches[i], 30000)) << i;
  EXPECT_EQ(device_.wait_point(t, 5, 0), 0);
  EXPECT_TRUE(lookup.correct());
  for (const Watch& watch : watches) close(watch.fd);
}

long unload_module() {
  return syscall(SYS_delete_module, "npu", O_NONBLOCK) == 0 ? 0 : -errno;
}

// Fences of jobs and binds are the driver's code: it stays for as long as somebody may ask
// them. Its cards need not.
TEST(SyncFiles, OutliveTheFileAndHoldTheModule) {
  std::vector<int> files;
  std::vector<int> expected;
  {
    Device device;
    LookupJob lookup(device, 512, 1), slow(device, 60000, 2, DRM_NPU_PLACEMENT_HOST, 0, 3000);
    const drm_npu_sync done = binary(device.create_syncobj());
    const auto keep = [&](int status) {
      files.push_back(device.export_fence(done.handle));
      ASSERT_GE(files.back(), 0);
      expected.push_back(status);
    };
    drm_npu_job job = lookup.job();
    ASSERT_EQ(device.submit(lookup.queue(), {&job, 1}, {}, {&done, 1}), 0);
    ASSERT_EQ(device.wait_syncobj(done.handle), 0);
    keep(1);
    job.stream_va = 0x7fff'0000'0000;
    ASSERT_EQ(device.submit(lookup.queue(), {&job, 1}, {}, {&done, 1}), 0);
    ASSERT_EQ(device.wait_syncobj(done.handle), 0);
    keep(-EFAULT);
    const drm_npu_bind_op unmap = {.op = DRM_NPU_BIND_UNMAP,
                                   .flags = 0,
                                   .handle = 0,
                                   .pad = 0,
                                   .bo_offset = 0,
                                   .va = LookupJob::kBase,
                                   .size = kPage};
    ASSERT_EQ(device.bind(lookup.vm(), {&unmap, 1}, DRM_NPU_VM_BIND_ASYNC, {}, {&done, 1}), 0);
    ASSERT_EQ(device.wait_syncobj(done.handle), 0);
    keep(1);
    const drm_npu_job long_job = slow.job();
    ASSERT_EQ(device.submit(slow.queue(), {&long_job, 1}, {}, {&done, 1}), 0);
    keep(-ECANCELED);
  }
  const auto ask = [&](const std::string& when) {
    for (size_t i = 0; i < files.size(); ++i) {
      int status = 0;
      sync_file_status(files[i], 10);
      const std::string name = file_info(files[i], status);
      EXPECT_EQ(status, expected[i]) << i << when;
      // Newer kernels forget the names of a fence that has signalled.
      EXPECT_TRUE(name == "drm_sched/npu" || name == "drm_sched/npu-bind" ||
                  name.ends_with("/signaled-timeline"))
          << name << when;
    }
  };
  ask(" after the file is closed");
  const std::string card = first_match("/sys/bus/pci/drivers/npu/*:*");
  const std::string address = card.substr(card.rfind('/') + 1);
  ASSERT_TRUE(write_file("/sys/bus/pci/drivers/npu/unbind", address));
  ask(" after the driver has left the card");
  EXPECT_EQ(unload_module(), -EWOULDBLOCK) << "fences are in use";
  ask(" after the attempt to unload it");
  for (const int fd : files) close(fd);
  // Freed after a grace period.
  long ret = -EWOULDBLOCK;
  for (int i = 0; i < 500 && ret == -EWOULDBLOCK; ++i) {
    ret = unload_module();
    if (ret != 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(ret, 0);
  EXPECT_EQ(std::system("modprobe npu"), 0);
  EXPECT_NE(node(), "");
}

}  // namespace
}  // namespace kmd
