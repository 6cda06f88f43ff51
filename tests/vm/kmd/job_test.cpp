// SPDX-License-Identifier: MIT
//
// SUBMIT: results, order, fences in and out, many jobs in flight.
#include <gtest/gtest.h>
#include <linux/sync_file.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <thread>

#include "device.h"
#include "npu/queue.h"
#include "streams.h"

namespace kmd {
namespace {

TEST(Job, ComputesInHostMemory) {
  Device device;
  LookupJob lookup(device, 4096, 1);
  for (uint8_t key = 1; key < 20; ++key) ASSERT_EQ(lookup.run_checked(key), 0) << int{key};
  const drm_npu_queue_state state = device.queue_state(lookup.queue());
  EXPECT_EQ(state.jobs_submitted, 19u);
  EXPECT_EQ(state.jobs_completed, 19u);
  EXPECT_EQ(state.health, static_cast<uint32_t>(DRM_NPU_QUEUE_HEALTHY));
  EXPECT_EQ(state.first_failed, 0u);
}

TEST(Job, ComputesInCardMemory) {
  Device device;
  LookupJob lookup(device, 60000, 1, DRM_NPU_PLACEMENT_CARD);
  for (uint8_t key = 1; key < 5; ++key) ASSERT_EQ(lookup.run_checked(key), 0) << int{key};
}

TEST(Job, WritesItsProfile) {
  Device device;
  LookupJob lookup(device, 4096, 1);
  Buffer profile(device, 4096, DRM_NPU_PLACEMENT_HOST);
  ASSERT_EQ(device.map(lookup.vm(), profile.handle(), 0x8000'0000, profile.size()), 0);
  drm_npu_job job = lookup.job();
  job.flags = DRM_NPU_JOB_PROFILE | DRM_NPU_JOB_PROFILE_COMMANDS;
  job.profile_va = 0x8000'0000;
  ASSERT_EQ(device.run(lookup.queue(), {&job, 1}), 0);
  EXPECT_TRUE(lookup.correct());
  const npu_profile* record = profile.as<npu_profile>();
  EXPECT_EQ(record->commands, 4u);
  EXPECT_EQ(record->completion.status, static_cast<uint32_t>(NPU_STATUS_OK));
  EXPECT_GT(record->completion.cycles_solo, 0u);
}

TEST(Job, ManyInOneSubmitAndManySubmits) {
  Device device;
  LookupJob lookup(device, 512, 1);
  const std::vector<drm_npu_job> jobs(device.caps().max_jobs, lookup.job());
  const uint32_t timeline = device.create_syncobj();
  uint64_t point = 0;
  // More than a ring holds, without waiting in between.
  for (int i = 0; i < 20; ++i) {
    const drm_npu_sync signal = {
        .handle = timeline, .flags = DRM_NPU_SYNC_TIMELINE, .point = ++point};
    ASSERT_EQ(device.submit(lookup.queue(), jobs, {}, {&signal, 1}), 0);
  }
  ASSERT_EQ(device.wait_point(timeline, point, 60), 0);
  EXPECT_TRUE(lookup.correct());
  const drm_npu_queue_state state = device.queue_state(lookup.queue());
  EXPECT_EQ(state.jobs_completed, 20u * jobs.size());
  EXPECT_EQ(state.fault.status, 0u);
}

TEST(Job, WaitsForItsFences) {
  Device device;
  LookupJob first(device, 60000, 1, DRM_NPU_PLACEMENT_HOST, 0, 200);
  LookupJob second(device, 512, 2);
  // The second queue waits for the long job on the first.
  const drm_npu_sync link = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  const drm_npu_job a = first.job(), b = second.job();
  ASSERT_EQ(device.submit(first.queue(), {&a, 1}, {}, {&link, 1}), 0);
  ASSERT_EQ(device.submit(second.queue(), {&b, 1}, {&link, 1}, {&done, 1}), 0);
  ASSERT_EQ(device.wait_syncobj(done.handle), 0);
  EXPECT_EQ(device.wait_syncobj(link.handle, 0), 0) << "ran before what it waits for";
  EXPECT_TRUE(first.correct());
  EXPECT_TRUE(second.correct());
}

TEST(Job, FirstFailureEndsTheSubmit) {
  Device device;
  LookupJob lookup(device, 512, 1);
  std::vector<drm_npu_job> jobs(4, lookup.job());
  jobs[1].stream_va = 0x7fff'0000'0000;
  EXPECT_EQ(device.run(lookup.queue(), jobs), -EFAULT);
  drm_npu_queue_state state = device.queue_state(lookup.queue());
  EXPECT_EQ(state.jobs_completed, 4u);
  EXPECT_EQ(state.fault.job, 1u);
  EXPECT_EQ(state.fault.status, static_cast<uint32_t>(NPU_STATUS_MMU_FAULT));
  EXPECT_EQ(state.fault.access, NPU_ACCESS_FETCH);
  EXPECT_EQ(state.first_failed, 2u);

  EXPECT_EQ(lookup.run_checked(9), 0);
  state = device.queue_state(lookup.queue());
  EXPECT_EQ(state.fault.job, 1u);
  EXPECT_EQ(state.jobs_completed, 5u);
}

TEST(Job, DestroyingAQueueCancelsWhatIsLeft) {
  Device device;
  uint32_t queue = 0;
  LookupJob lookup(device, 60000, 1, DRM_NPU_PLACEMENT_HOST, 0, 2000);
  ASSERT_EQ(device.create_queue(lookup.vm(), queue), 0);
  const std::vector<drm_npu_job> jobs(device.caps().max_jobs, lookup.job());
  const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  for (int i = 0; i < 8; ++i) ASSERT_EQ(device.submit(queue, jobs, {}, {&done, 1}), 0);
  ASSERT_EQ(device.destroy_queue(queue), 0);
  EXPECT_EQ(device.wait_syncobj(done.handle), 0);
  EXPECT_EQ(device.fence_status(done.handle), -ECANCELED);
  EXPECT_EQ(lookup.run_checked(4), 0) << "another queue of the space";
}

// A sync file asks its fence for names at any time later.
// Behind an IOMMU: the card looks at no ring that is freed before it has got to the
// START of its queue.
TEST(Job, QueuesComeAndGo) {
  Device device;
  LookupJob lookup(device, 4096, 1);
  for (int i = 0; i < 500; ++i) {
    uint32_t queue = 0;
    ASSERT_EQ(device.create_queue(lookup.vm(), queue), 0);
    ASSERT_EQ(device.destroy_queue(queue), 0);
  }
  EXPECT_EQ(lookup.run_checked(4), 0);
}

TEST(Job, SyncFilesOutliveTheirQueue) {
  Device device;
  std::vector<int> files;
  const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  for (uint8_t i = 0; i < 8; ++i) {
    LookupJob lookup(device, 512, i);
    const drm_npu_job job = lookup.job();
    ASSERT_EQ(device.submit(lookup.queue(), {&job, 1}, {}, {&done, 1}), 0);
    ASSERT_EQ(device.wait_syncobj(done.handle), 0);
    files.push_back(device.export_fence(done.handle));
    const drm_npu_bind_op unmap = {.op = DRM_NPU_BIND_UNMAP,
                                   .flags = 0,
                                   .handle = 0,
                                   .pad = 0,
                                   .bo_offset = 0,
                                   .va = LookupJob::kBase,
                                   .size = kPage};
    ASSERT_EQ(device.bind(lookup.vm(), {&unmap, 1}, DRM_NPU_VM_BIND_ASYNC, {}, {&done, 1}), 0);
    ASSERT_EQ(device.wait_syncobj(done.handle), 0);
    files.push_back(device.export_fence(done.handle));
  }
  ASSERT_TRUE(wait_for_counts(device, 0, 0, 0));
  for (size_t i = 0; i < files.size(); ++i) {
    sync_fence_info fence = {};
    sync_file_info info = {};
    info.num_fences = 1;
    info.sync_fence_info = reinterpret_cast<uint64_t>(&fence);
    ASSERT_EQ(ioctl(files[i], SYNC_IOC_FILE_INFO, &info), 0);
    // Newer kernels forget the timeline of a fence that has signalled.
    const std::string name = fence.obj_name;
    EXPECT_TRUE(name == (i % 2 ? "npu-bind" : "npu") || name == "signaled-timeline") << name;
    close(files[i]);
  }
}

TEST(Job, ThreadsShareAFile) {
  Device device;
  std::vector<std::thread> threads;
  for (uint8_t t = 0; t < 4; ++t)
    threads.emplace_back([&device, t] {
      LookupJob lookup(device, 2000, t);
      for (uint8_t i = 0; i < 25; ++i)
        EXPECT_EQ(lookup.run_checked(static_cast<uint8_t>(t * 50 + i)), 0);
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(Job, FdinfoCountsCycles) {
  Device device;
  LookupJob lookup(device, 4096, 1);
  ASSERT_EQ(lookup.run_checked(1), 0);
  const std::string text = read_file("/proc/self/fdinfo/" + std::to_string(device.fd()));
  EXPECT_NE(text.find("drm-driver:\tnpu"), std::string::npos) << text;
  const size_t at = text.find("drm-cycles-npu:\t");
  ASSERT_NE(at, std::string::npos) << text;
  EXPECT_GT(std::stoull(text.substr(at + 16)), 0u);
}

}  // namespace
}  // namespace kmd
