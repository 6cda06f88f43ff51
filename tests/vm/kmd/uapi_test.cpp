// SPDX-License-Identifier: MIT
//
// The interface beyond single wrong members, which uapi_fields_test.cpp has: what
// belongs together, negotiated sizes, permissions, limits.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "device.h"
#include "streams.h"

namespace kmd {
namespace {

constexpr uint64_t kVa = 0x10'0000;

TEST(DevQuery, SizeIsNegotiated) {
  Device device;
  drm_npu_dev_query args = {.type = DRM_NPU_QUERY_CAPS, .size = 0, .pointer = 0};
  ASSERT_EQ(device.ioctl(DRM_IOCTL_NPU_DEV_QUERY, &args), 0);
  EXPECT_EQ(args.size, sizeof(drm_npu_caps));

  std::vector<uint8_t> longer(sizeof(drm_npu_caps) + 16, 0xaa);
  args = {.type = DRM_NPU_QUERY_CAPS,
          .size = static_cast<uint32_t>(longer.size()),
          .pointer = reinterpret_cast<uint64_t>(longer.data())};
  ASSERT_EQ(device.ioctl(DRM_IOCTL_NPU_DEV_QUERY, &args), 0);
  EXPECT_EQ(args.size, sizeof(drm_npu_caps));
  for (size_t i = sizeof(drm_npu_caps); i < longer.size(); ++i) EXPECT_EQ(longer[i], 0);

  std::vector<uint8_t> shorter(16, 0xaa);
  args = {
      .type = DRM_NPU_QUERY_CAPS, .size = 8, .pointer = reinterpret_cast<uint64_t>(shorter.data())};
  ASSERT_EQ(device.ioctl(DRM_IOCTL_NPU_DEV_QUERY, &args), 0);
  EXPECT_EQ(memcmp(shorter.data(), longer.data(), 8), 0);
  EXPECT_EQ(shorter[8], 0xaa) << "wrote beyond the caller's size";
}

TEST(DevQuery, BadArguments) {
  Device device;
  drm_npu_dev_query args = {.type = 99, .size = 8, .pointer = 0};
  EXPECT_EQ(device.ioctl(DRM_IOCTL_NPU_DEV_QUERY, &args), -EINVAL);
  args = {.type = DRM_NPU_QUERY_CAPS, .size = 64, .pointer = 8};
  EXPECT_EQ(device.ioctl(DRM_IOCTL_NPU_DEV_QUERY, &args), -EFAULT);
}

TEST(DevQuery, BlocksMakeSense) {
  Device device;
  const drm_npu_caps caps = device.caps();
  const npu_target target = device.target();
  EXPECT_EQ(caps.interface_version >> 16, 1u);
  EXPECT_GE(target.cores, 1u);
  EXPECT_LT(caps.va_start, caps.va_end);
  EXPECT_GT(caps.max_jobs, 0u);
  EXPECT_GT(caps.max_queues, 0u);

  drm_npu_clock before = {}, after = {};
  for (drm_npu_clock* clock : {&before, &after}) {
    drm_npu_dev_query args = {.type = DRM_NPU_QUERY_CLOCK,
                              .size = sizeof(*clock),
                              .pointer = reinterpret_cast<uint64_t>(clock)};
    ASSERT_EQ(device.ioctl(DRM_IOCTL_NPU_DEV_QUERY, &args), 0);
  }
  EXPECT_GT(after.timebase_ns, before.timebase_ns);
  EXPECT_GT(after.monotonic_ns, before.monotonic_ns);

  drm_npu_telemetry telemetry = {};
  drm_npu_dev_query args = {.type = DRM_NPU_QUERY_TELEMETRY,
                            .size = sizeof(telemetry),
                            .pointer = reinterpret_cast<uint64_t>(&telemetry)};
  ASSERT_EQ(device.ioctl(DRM_IOCTL_NPU_DEV_QUERY, &args), 0);
  EXPECT_EQ(telemetry.card_memory_total, uint64_t{target.card_memory_mib} << 20);
  EXPECT_GT(telemetry.clock_mhz, 0u);

  drm_npu_engines engines = {};
  args = {.type = DRM_NPU_QUERY_ENGINES,
          .size = sizeof(engines),
          .pointer = reinterpret_cast<uint64_t>(&engines)};
  ASSERT_EQ(device.ioctl(DRM_IOCTL_NPU_DEV_QUERY, &args), 0);
  EXPECT_EQ(args.size, sizeof(engines));
  for (uint32_t i = target.cores * DRM_NPU_ENGINES; i < std::size(engines.engine); ++i)
    EXPECT_EQ(engines.engine[i].commands, 0u) << "a core that is not there";
}

TEST(Vm, BadArguments) {
  Device device;
  drm_npu_vm_create create = {.flags = 1, .vm_id = 0};
  EXPECT_EQ(device.ioctl(DRM_IOCTL_NPU_VM_CREATE, &create), -EINVAL);
  EXPECT_EQ(device.destroy_vm(0), -ENOENT);
  EXPECT_EQ(device.destroy_vm(5), -ENOENT);
  uint32_t vm = 0;
  ASSERT_EQ(device.create_vm(vm), 0);
  drm_npu_vm_destroy destroy = {.vm_id = vm, .pad = 1};
  EXPECT_EQ(device.ioctl(DRM_IOCTL_NPU_VM_DESTROY, &destroy), -EINVAL);
  EXPECT_EQ(device.destroy_vm(vm), 0);
  EXPECT_EQ(device.destroy_vm(vm), -ENOENT);
}

TEST(Vm, LimitOfOneFile) {
  Device device;
  std::vector<uint32_t> vms;
  uint32_t vm = 0;
  int ret;
  while ((ret = device.create_vm(vm)) == 0 && vms.size() < 1000) vms.push_back(vm);
  EXPECT_EQ(ret, -ENOSPC);
  EXPECT_GE(vms.size(), 4u);
  // The limit is the file's, not the card's.
  Device other;
  EXPECT_EQ(other.create_vm(vm), 0);
  EXPECT_EQ(device.destroy_vm(vms.back()), 0);
  EXPECT_EQ(device.create_vm(vm), 0);
}

class VmBind : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(device_.create_vm(vm_), 0); }

  drm_npu_bind_op good() const {
    return {.op = DRM_NPU_BIND_MAP,
            .flags = 0,
            .handle = buffer_.handle(),
            .pad = 0,
            .bo_offset = 0,
            .va = kVa,
            .size = 4 * kPage};
  }
  int bind(const drm_npu_bind_op& op) const { return device_.bind(vm_, {&op, 1}); }

  Device device_;
  Buffer buffer_{device_, 4 * kPage, DRM_NPU_PLACEMENT_HOST};
  uint32_t vm_ = 0;
};

TEST_F(VmBind, GoodOneWorks) {
  EXPECT_EQ(bind(good()), 0);
}

TEST_F(VmBind, BadCalls) {
  const drm_npu_bind_op op = good();
  drm_npu_vm_bind args = {};
  args.vm_id = vm_;
  EXPECT_EQ(device_.ioctl(DRM_IOCTL_NPU_VM_BIND, &args), -EINVAL) << "no operation";
  args.ops = array_of(std::span(&op, 1));
  args.vm_id = 15;
  EXPECT_EQ(device_.ioctl(DRM_IOCTL_NPU_VM_BIND, &args), -ENOENT);
  args.vm_id = vm_;
  args.flags = 2;
  EXPECT_EQ(device_.ioctl(DRM_IOCTL_NPU_VM_BIND, &args), -EINVAL);
  args.flags = 0;
  args.ops.stride = 8;
  EXPECT_EQ(device_.ioctl(DRM_IOCTL_NPU_VM_BIND, &args), -EINVAL);
  args.ops.stride = sizeof(op) + 4;
  EXPECT_EQ(device_.ioctl(DRM_IOCTL_NPU_VM_BIND, &args), -EINVAL);
  args.ops.stride = sizeof(op);
  args.ops.count = ~0u;
  EXPECT_EQ(device_.ioctl(DRM_IOCTL_NPU_VM_BIND, &args), -EINVAL);
  args.ops.count = 1;
  args.ops.array = 16;
  EXPECT_EQ(device_.ioctl(DRM_IOCTL_NPU_VM_BIND, &args), -EFAULT);

  // Waiting belongs to ASYNC.
  const drm_npu_sync wait = {.handle = device_.create_syncobj(true), .flags = 0, .point = 0};
  EXPECT_EQ(device_.bind(vm_, {&op, 1}, 0, {&wait, 1}), -EINVAL);
  EXPECT_EQ(device_.bind(vm_, {&op, 1}, DRM_NPU_VM_BIND_ASYNC, {&wait, 1}), 0);
}

TEST_F(VmBind, LongerElementsOfALaterVersion) {
  struct {
    drm_npu_bind_op op;
    uint64_t more;
  } later = {.op = good(), .more = 0};
  drm_npu_vm_bind args = {};
  args.vm_id = vm_;
  args.ops = {.stride = sizeof(later), .count = 1, .array = reinterpret_cast<uint64_t>(&later)};
  EXPECT_EQ(device_.ioctl(DRM_IOCTL_NPU_VM_BIND, &args), 0);
  later.more = 1;
  EXPECT_EQ(device_.ioctl(DRM_IOCTL_NPU_VM_BIND, &args), -EINVAL);
}

TEST_F(VmBind, FailureKeepsEarlierOperations) {
  drm_npu_bind_op ops[2] = {good(), good()};
  ops[1].va = 0x7fff'0000'0000;
  ops[1].op = 9;
  EXPECT_EQ(device_.bind(vm_, ops), -EINVAL);
}

TEST(QueueCreate, BadArguments) {
  Device device;
  uint32_t vm = 0;
  ASSERT_EQ(device.create_vm(vm), 0);
  drm_npu_queue_create good = {};
  good.vm_id = vm;
  const auto wrong = [&](auto change, int expected) {
    drm_npu_queue_create args = good;
    change(args);
    EXPECT_EQ(device.create_queue(args), expected);
  };
  wrong([](auto& q) { q.vm_id = 0; }, -ENOENT);
  wrong([](auto& q) { q.vm_id = 9; }, -ENOENT);
  wrong([](auto& q) { q.priority = 3; }, -EINVAL);
  wrong([](auto& q) { q.cycle_limit = ~0ull; }, -EINVAL);
  wrong([](auto& q) { q.core_mask = 0x8000'0000; }, -EINVAL);
  wrong([](auto& q) { q.flags = 1; }, -EINVAL);
  wrong([](auto& q) { q.pad = 1; }, -EINVAL);
  wrong([](auto& q) { q.quantum = ~0ull; }, -EINVAL);
  wrong([](auto& q) { q.coalesce_count = 8; }, -EINVAL);
  wrong([](auto& q) { q.coalesce_us = 8; }, -EINVAL);
  wrong([](auto& q) { q.coalesce_count = 129, q.coalesce_us = 8; }, -EINVAL);
  wrong([](auto& q) { q.coalesce_count = 8, q.coalesce_us = 10001; }, -EINVAL);
  EXPECT_TRUE(wait_for_counts(device, 0, 1, 0));
  for (uint32_t priority : {DRM_NPU_PRIORITY_NORMAL, DRM_NPU_PRIORITY_LOW, DRM_NPU_PRIORITY_HIGH})
    wrong([&](auto& q) { q.priority = priority; }, 0);
  EXPECT_EQ(device.destroy_queue(99), -ENOENT);
}

// A program built before the struct grew passes a shorter one.
TEST(QueueCreate, FirstVersionOfTheStruct) {
  Device device;
  uint32_t vm = 0;
  ASSERT_EQ(device.create_vm(vm), 0);
  drm_npu_queue_create args = {};
  args.vm_id = vm;
  args.quantum = ~0ull;  // behind what is passed
  constexpr size_t kFirst = offsetof(drm_npu_queue_create, quantum);
  const unsigned long request =
      _IOC(_IOC_READ | _IOC_WRITE, DRM_IOCTL_BASE, DRM_COMMAND_BASE + DRM_NPU_QUEUE_CREATE, kFirst);
  EXPECT_EQ(device.ioctl(request, &args), 0);
  EXPECT_NE(args.queue_id, 0u);
}

TEST(QueueCreate, HighPriorityNeedsCapability) {
  Device device;
  uint32_t vm = 0;
  ASSERT_EQ(device.create_vm(vm), 0);
  fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    // The open file is inherited, the capability is not.
    if (setgid(1000) != 0 || setuid(1000) != 0) _exit(1);
    drm_npu_queue_create args = {};
    args.vm_id = vm;
    args.priority = DRM_NPU_PRIORITY_HIGH;
    if (device.create_queue(args) != -EACCES) _exit(2);
    args.priority = DRM_NPU_PRIORITY_NORMAL;
    _exit(device.create_queue(args) != 0 ? 3 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(QueueCreate, LimitOfOneFile) {
  Device device;
  uint32_t vm = 0, queue = 0, count = 0;
  int ret;
  ASSERT_EQ(device.create_vm(vm), 0);
  while ((ret = device.create_queue(vm, queue)) == 0 && count < 1000) ++count;
  EXPECT_EQ(ret, -ENOSPC);
  EXPECT_EQ(count, device.caps().max_queues);
}

TEST(Submit, BadCalls) {
  Device device;
  LookupJob lookup(device, 256, 1);
  const drm_npu_job job = lookup.job();
  drm_npu_submit args = {};
  args.queue_id = lookup.queue();
  EXPECT_EQ(device.ioctl(DRM_IOCTL_NPU_SUBMIT, &args), -EINVAL) << "no job";
  args.jobs = array_of(std::span(&job, 1));
  args.flags = 1;
  EXPECT_EQ(device.ioctl(DRM_IOCTL_NPU_SUBMIT, &args), -EINVAL);
  args.flags = 0;
  args.queue_id = 12;
  EXPECT_EQ(device.ioctl(DRM_IOCTL_NPU_SUBMIT, &args), -ENOENT);
  args.queue_id = lookup.queue();
  args.jobs.count = device.caps().max_jobs + 1;
  EXPECT_EQ(device.ioctl(DRM_IOCTL_NPU_SUBMIT, &args), -EINVAL);
  args.jobs.count = 1;

  drm_npu_sync sync = {.handle = 42, .flags = 0, .point = 0};
  EXPECT_EQ(device.submit(lookup.queue(), {&job, 1}, {&sync, 1}), -ENOENT);
  EXPECT_EQ(device.submit(lookup.queue(), {&job, 1}, {}, {&sync, 1}), -ENOENT);
  sync.handle = device.create_syncobj(true);
  sync.flags = 2;
  EXPECT_EQ(device.submit(lookup.queue(), {&job, 1}, {&sync, 1}), -EINVAL);
  sync.flags = 0, sync.point = 1;
  EXPECT_EQ(device.submit(lookup.queue(), {&job, 1}, {&sync, 1}), -EINVAL);
  sync.flags = DRM_NPU_SYNC_TIMELINE, sync.point = 0;
  EXPECT_EQ(device.submit(lookup.queue(), {&job, 1}, {}, {&sync, 1}), -EINVAL);
  EXPECT_EQ(device.queue_state(lookup.queue()).jobs_submitted, 0u);
}

TEST(File, ClosingWithEverythingAliveLeavesNothing) {
  {
    Device device;
    uint32_t vm = 0, queue = 0;
    ASSERT_EQ(device.create_vm(vm), 0);
    ASSERT_EQ(device.create_queue(vm, queue), 0);
    drm_npu_bo_create create = {};
    create.size = 8 * kPage;
    create.placement = DRM_NPU_PLACEMENT_CARD;
    ASSERT_EQ(device.ioctl(DRM_IOCTL_NPU_BO_CREATE, &create), 0);
    ASSERT_EQ(device.map(vm, create.handle, kVa, create.size), 0);
  }
  Device device;
  EXPECT_TRUE(wait_for_counts(device, 0, 0, 0));
}

}  // namespace
}  // namespace kmd
