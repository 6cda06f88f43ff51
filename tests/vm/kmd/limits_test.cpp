// SPDX-License-Identifier: MIT
//
// How much of the kernel's memory a client gets, and what it is told at the limit.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "device.h"
#include "processes.h"
#include "streams.h"

namespace kmd {
namespace {

constexpr uint64_t kBase = 0x1000'0000;
constexpr uint32_t kMappings = 65536;
constexpr uint32_t kTables = 32768;
constexpr uint32_t kBinds = 4096;
constexpr uint64_t kBlock = 2 << 20;

drm_npu_bind_op map_op(uint32_t handle, uint64_t va, uint64_t size = kPage) {
  drm_npu_bind_op op = {};
  op.op = DRM_NPU_BIND_MAP;
  op.handle = handle;
  op.va = va;
  op.size = size;
  return op;
}

// Maps the buffer's first page at addresses `step` apart until the kernel says no.
// Returns how many mappings there are; `ret` is the answer.
uint32_t map_many(const Device& device, uint32_t vm, uint32_t handle, uint64_t step, int& ret,
                  uint32_t most = UINT32_MAX) {
  uint32_t count = 0;
  ret = 0;
  while (count < most && ret == 0) {
    std::vector<drm_npu_bind_op> ops;
    for (uint32_t i = 0; i < std::min(512u, most - count); ++i)
      ops.push_back(map_op(handle, kBase + (count + i) * step));
    ret = device.bind(vm, ops);
    if (ret == 0) count += static_cast<uint32_t>(ops.size());
  }
  // Those of the last call that came before the one that failed.
  while (count < most && device.map(vm, handle, kBase + count * step, kPage) == 0) ++count;
  return count;
}

TEST(Limits, Mappings) {
  Device device;
  uint32_t vm = 0;
  ASSERT_EQ(device.create_vm(vm), 0);
  Buffer buffer(device, 4 * kPage, DRM_NPU_PLACEMENT_HOST);
  // One that can be cut: it counts as one.
  const uint64_t whole = 0x8000'0000;
  ASSERT_EQ(device.map(vm, buffer.handle(), whole, 3 * kPage), 0);
  int ret = 0;
  EXPECT_EQ(map_many(device, vm, buffer.handle(), kPage, ret, kMappings - 1), kMappings - 1);
  ASSERT_EQ(ret, 0);
  const uint64_t next = kBase + (kMappings - 1) * kPage;
  EXPECT_EQ(device.map(vm, buffer.handle(), next, kPage), -ENOSPC);
  EXPECT_EQ(device.unmap(vm, whole + kPage, kPage), -ENOSPC) << "one would become two";
  EXPECT_EQ(device.unmap(vm, whole + 2 * kPage, kPage), 0);
  EXPECT_EQ(device.map(vm, buffer.handle(), next, kPage), -ENOSPC);
  EXPECT_EQ(device.unmap(vm, kBase, kPage), 0);
  EXPECT_EQ(device.map(vm, buffer.handle(), next, kPage), 0);
  EXPECT_EQ(device.map(vm, buffer.handle(), next + kPage, kPage), -ENOSPC);
  EXPECT_EQ(device.unmap(vm, kBase, kMappings * kPage), 0);
  EXPECT_EQ(device.map(vm, buffer.handle(), next, kPage), 0);
  EXPECT_EQ(device.destroy_vm(vm), 0);
}

TEST(Limits, PageTables) {
  Device device;
  uint32_t vm = 0;
  ASSERT_EQ(device.create_vm(vm), 0);
  Buffer buffer(device, kPage, DRM_NPU_PLACEMENT_HOST);
  int ret = 0;
  // Each page in a table of its own, and those in tables of 512.
  const uint32_t count = map_many(device, vm, buffer.handle(), kBlock, ret);
  EXPECT_EQ(ret, -ENOSPC);
  EXPECT_LT(count, kTables);
  EXPECT_GT(count, kTables - kTables / 256);
  // Where there are tables there is room, and another space has its own.
  EXPECT_EQ(device.map(vm, buffer.handle(), kBase + kPage, kPage), 0);
  uint32_t other = 0;
  ASSERT_EQ(device.create_vm(other), 0);
  EXPECT_EQ(device.map(other, buffer.handle(), kBase, kPage), 0);
  EXPECT_EQ(device.destroy_vm(other), 0);
  EXPECT_EQ(device.destroy_vm(vm), 0);
}

TEST(Limits, UnfinishedBinds) {
  Device device;
  LookupJob slow(device, 60000, 1, DRM_NPU_PLACEMENT_HOST, 0, 3000);
  uint32_t queue = 0, vm = 0;
  ASSERT_EQ(device.create_queue(slow.vm(), queue), 0);
  ASSERT_EQ(device.create_vm(vm), 0);
  Buffer buffer(device, kPage, DRM_NPU_PLACEMENT_HOST);
  const drm_npu_sync wait = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  const std::vector<drm_npu_job> jobs(device.caps().max_jobs, slow.job());
  ASSERT_EQ(device.submit(queue, jobs, {}, {&wait, 1}), 0);
  uint32_t count = 0;
  int ret = 0;
  for (; ret == 0 && count <= kBinds; ++count) {
    const drm_npu_bind_op op = map_op(buffer.handle(), kBase + count % 64 * kPage);
    ret = device.bind(vm, {&op, 1}, DRM_NPU_VM_BIND_ASYNC, {&wait, 1}, {&done, 1});
  }
  EXPECT_EQ(ret, -EBUSY);
  EXPECT_EQ(count, kBinds + 1);
  ASSERT_EQ(device.destroy_queue(queue), 0);
  EXPECT_EQ(device.wait_syncobj(done.handle), 0);
  for (int i = 0; i < 1000 && ret == -EBUSY; ++i) {
    ret = device.map(vm, buffer.handle(), kBase, kPage);
    if (ret == -EBUSY) usleep(10000);
  }
  EXPECT_EQ(ret, 0);
  EXPECT_EQ(device.destroy_vm(vm), 0);
}

TEST(Limits, BuffersOfAll) {
  Device device;
  struct sysinfo info = {};
  ASSERT_EQ(sysinfo(&info), 0);
  const uint64_t card = uint64_t{device.target().card_memory_mib} << 20;
  const uint64_t host = info.totalram * info.mem_unit / 4 * 3;
  const auto create = [](const Device& owner, uint64_t size, uint32_t placement) {
    drm_npu_bo_create args = {};
    args.size = size;
    args.placement = placement;
    const int ret = owner.ioctl(DRM_IOCTL_NPU_BO_CREATE, &args);
    if (ret == 0) owner.close_buffer(args.handle);
    return ret;
  };
  EXPECT_EQ(create(device, host + card + kPage, DRM_NPU_PLACEMENT_HOST), -ENOMEM);
  {
    // Half of it is another client's.
    Device other;
    Buffer half(other, (host + card) / 2, DRM_NPU_PLACEMENT_HOST);
    EXPECT_EQ(create(device, (host + card) / 2 + 2 * kPage, DRM_NPU_PLACEMENT_HOST), -ENOMEM);
    EXPECT_EQ(create(device, card, DRM_NPU_PLACEMENT_CARD), 0);
  }
  EXPECT_TRUE(wait_for_counts(device, 0, 0, 0));
  EXPECT_EQ(create(device, (host + card) / 4, DRM_NPU_PLACEMENT_HOST), 0);
}

// The kernel's memory that a process makes the driver use is its cgroup's.
TEST(Limits, MemoryIsCharged) {
  constexpr char kGroups[] = "/sys/fs/cgroup";
  if (mount("none", kGroups, "cgroup2", 0, nullptr) != 0 && errno != EBUSY)
    GTEST_SKIP() << "this kernel has no cgroups";
  if (!write_file(std::string(kGroups) + "/cgroup.subtree_control", "+memory"))
    GTEST_SKIP() << "this kernel has no memory cgroups";
  const std::string group = std::string(kGroups) + "/npu";
  ASSERT_TRUE(mkdir(group.c_str(), 0755) == 0 || errno == EEXIST);
  const auto charged = [&] {
    const std::string text = read_file(group + "/memory.stat");
    const size_t at = text.find("\nkernel ");
    return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + 8, nullptr, 10);
  };
  const auto used = [&](const auto& body) {
    const pid_t pid = spawn([&] {
      if (!write_file(group + "/cgroup.procs", "0")) return 100;
      Device device;
      uint32_t vm = 0;
      if (device.create_vm(vm) != 0) return 101;
      const uint64_t before = charged();
      if (!body(device, vm)) return 102;
      // The statistics are brought up to date now and then.
      uint64_t most = 0;
      for (int i = 0; i < 60; ++i) {
        most = std::max<uint64_t>(most, charged() - before);
        usleep(50000);
      }
      return static_cast<int>(most >> 20);
    });
    return join(pid);
  };
  // 2000 tables of 4 KiB.
  EXPECT_GE(used([](const Device& device, uint32_t vm) {
              Buffer buffer(device, kPage, DRM_NPU_PLACEMENT_HOST);
              int ret = 0;
              return map_many(device, vm, buffer.handle(), kBlock, ret, 2000) == 2000;
            }),
            7);
  // 16 queues, with rings of 48 KiB and save areas.
  EXPECT_GE(used([](const Device& device, uint32_t vm) {
              uint32_t queue = 0;
              for (int i = 0; i < 16; ++i)
                if (device.create_queue(vm, queue) != 0) return false;
              return true;
            }),
            8);
}

// Four processes that each want all of the card.
TEST(Limits, FourTimesTheMemory) {
  struct Stage {
    std::atomic<unsigned> ready = 0;
    std::atomic<unsigned> rounds[4] = {};
    std::atomic<unsigned> finished = 0;
    std::atomic<unsigned> slowest = UINT32_MAX;
  };
  constexpr unsigned kRounds = 30;
  Shared<Stage> stage;
  std::array<pid_t, 4> children;
  for (unsigned c = 0; c < children.size(); ++c)
    children[c] = spawn([&, c] {
      Device device;
      const uint64_t total = uint64_t{device.target().card_memory_mib} << 20;
      // A job on its own small buffers and, in the same space, big ones that have to be
      // where the card sees them whenever it runs.
      LookupJob lookup(device, 30000, static_cast<uint8_t>(c), DRM_NPU_PLACEMENT_CARD);
      constexpr int kBig = 7;
      std::array<std::unique_ptr<Buffer>, kBig> big;
      for (int i = 0; i < kBig; ++i) {
        big[i] = std::make_unique<Buffer>(device, total / 8, DRM_NPU_PLACEMENT_CARD);
        for (uint64_t at = 0; at < big[i]->size(); at += 512 * kPage)
          big[i]->as<uint64_t>()[at / 8] = at * 4 + c * 100 + i;
        EXPECT_EQ(device.map(lookup.vm(), big[i]->handle(), 0x10'0000'0000 + i * total, total / 8),
                  0);
      }
      for (++stage->ready; stage->ready < children.size();) usleep(1000);
      for (unsigned round = 0; round < kRounds; ++round) {
        if (lookup.run_checked(static_cast<uint8_t>(round * 4 + c)) != 0) return 2;
        Buffer& one = *big[round % kBig];
        for (uint64_t at = 0; at < one.size(); at += 512 * kPage)
          if (one.as<uint64_t>()[at / 8] != at * 4 + c * 100 + round % kBig) return 3;
        ++stage->rounds[c];
      }
      if (stage->finished++ == 0) {
        unsigned slowest = UINT32_MAX;
        for (const auto& rounds : stage->rounds) slowest = std::min(slowest, rounds.load());
        stage->slowest = slowest;
      }
      return testing::Test::HasFailure() ? 4 : 0;
    });
  for (const pid_t child : children) EXPECT_EQ(join(child), 0);
  EXPECT_EQ(stage->finished, 4u);
  EXPECT_GT(stage->slowest, 0u) << "one had nothing while another did all";
  Device device;
  EXPECT_TRUE(wait_for_counts(device, 0, 0, 0));
}

}  // namespace
}  // namespace kmd
