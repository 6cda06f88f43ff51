// SPDX-License-Identifier: MIT
#include "device.h"

#include <fcntl.h>
#include <glob.h>
#include <gtest/gtest.h>
#include <linux/sync_file.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

namespace kmd {
namespace {

int64_t deadline(double seconds) {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000ll + now.tv_nsec + static_cast<int64_t>(seconds * 1e9);
}

}  // namespace

Device::Device(const std::string& path) {
  fd_ = open(path.c_str(), O_RDWR | O_CLOEXEC);
  EXPECT_GE(fd_, 0) << path << ": " << strerror(errno);
}

Device::~Device() {
  if (fd_ >= 0) close(fd_);
}

int Device::ioctl(unsigned long request, void* argument) const {
  int ret;
  do {
    ret = ::ioctl(fd_, request, argument);
  } while (ret < 0 && errno == EINTR);
  return ret < 0 ? -errno : 0;
}

template <typename T>
static T query(const Device& device, uint32_t type) {
  T block = {};
  drm_npu_dev_query args = {
      .type = type, .size = sizeof(block), .pointer = reinterpret_cast<uint64_t>(&block)};
  EXPECT_EQ(device.ioctl(DRM_IOCTL_NPU_DEV_QUERY, &args), 0) << "query " << type;
  return block;
}

drm_npu_caps Device::caps() const {
  return query<drm_npu_caps>(*this, DRM_NPU_QUERY_CAPS);
}

npu_target Device::target() const {
  const drm_npu_caps block = caps();
  npu_target target;
  static_assert(sizeof(target) == sizeof(block.target));
  memcpy(&target, block.target, sizeof(target));
  return target;
}

drm_npu_counters Device::counters() const {
  return query<drm_npu_counters>(*this, DRM_NPU_QUERY_COUNTERS);
}

drm_npu_telemetry Device::telemetry() const {
  return query<drm_npu_telemetry>(*this, DRM_NPU_QUERY_TELEMETRY);
}

drm_npu_fault Device::last_fault() const {
  return query<drm_npu_fault>(*this, DRM_NPU_QUERY_LAST_FAULT);
}

int Device::create_vm(uint32_t& id) const {
  drm_npu_vm_create args = {};
  const int ret = ioctl(DRM_IOCTL_NPU_VM_CREATE, &args);
  id = args.vm_id;
  return ret;
}

int Device::create_queue(uint32_t vm, uint32_t& id, uint64_t cycle_limit) const {
  drm_npu_queue_create args = {};
  args.vm_id = vm;
  args.cycle_limit = cycle_limit;
  const int ret = create_queue(args);
  id = args.queue_id;
  return ret;
}

int Device::create_queue(drm_npu_queue_create& args) const {
  return ioctl(DRM_IOCTL_NPU_QUEUE_CREATE, &args);
}

int Device::destroy_vm(uint32_t id) const {
  drm_npu_vm_destroy args = {.vm_id = id, .pad = 0};
  return ioctl(DRM_IOCTL_NPU_VM_DESTROY, &args);
}

int Device::destroy_queue(uint32_t id) const {
  drm_npu_queue_destroy args = {.queue_id = id, .pad = 0};
  return ioctl(DRM_IOCTL_NPU_QUEUE_DESTROY, &args);
}

drm_npu_queue_state Device::queue_state(uint32_t id) const {
  drm_npu_queue_state args = {};
  args.queue_id = id;
  EXPECT_EQ(ioctl(DRM_IOCTL_NPU_QUEUE_STATE, &args), 0);
  return args;
}

int Device::bind(uint32_t vm, std::span<const drm_npu_bind_op> ops, uint32_t flags,
                 std::span<const drm_npu_sync> waits, std::span<const drm_npu_sync> signals) const {
  drm_npu_vm_bind args = {.vm_id = vm,
                          .flags = flags,
                          .ops = array_of(ops),
                          .waits = array_of(waits),
                          .signals = array_of(signals)};
  return ioctl(DRM_IOCTL_NPU_VM_BIND, &args);
}

int Device::map(uint32_t vm, uint32_t handle, uint64_t va, uint64_t size, uint64_t offset,
                uint32_t flags) const {
  const drm_npu_bind_op op = {.op = DRM_NPU_BIND_MAP,
                              .flags = flags,
                              .handle = handle,
                              .pad = 0,
                              .bo_offset = offset,
                              .va = va,
                              .size = size};
  return bind(vm, {&op, 1});
}

int Device::unmap(uint32_t vm, uint64_t va, uint64_t size) const {
  drm_npu_bind_op op = {};
  op.op = DRM_NPU_BIND_UNMAP;
  op.va = va;
  op.size = size;
  return bind(vm, {&op, 1});
}

int Device::submit(uint32_t queue, std::span<const drm_npu_job> jobs,
                   std::span<const drm_npu_sync> waits,
                   std::span<const drm_npu_sync> signals) const {
  drm_npu_submit args = {.queue_id = queue,
                         .flags = 0,
                         .jobs = array_of(jobs),
                         .waits = array_of(waits),
                         .signals = array_of(signals)};
  return ioctl(DRM_IOCTL_NPU_SUBMIT, &args);
}

uint32_t Device::create_syncobj(bool signalled) const {
  drm_syncobj_create args = {};
  args.flags = signalled ? DRM_SYNCOBJ_CREATE_SIGNALED : 0;
  EXPECT_EQ(ioctl(DRM_IOCTL_SYNCOBJ_CREATE, &args), 0);
  return args.handle;
}

void Device::destroy_syncobj(uint32_t handle) const {
  drm_syncobj_destroy args = {};
  args.handle = handle;
  EXPECT_EQ(ioctl(DRM_IOCTL_SYNCOBJ_DESTROY, &args), 0);
}

int Device::reset_syncobj(uint32_t handle) const {
  drm_syncobj_array args = {};
  args.handles = reinterpret_cast<uint64_t>(&handle);
  args.count_handles = 1;
  return ioctl(DRM_IOCTL_SYNCOBJ_RESET, &args);
}

int Device::signal_syncobj(uint32_t handle) const {
  drm_syncobj_array args = {};
  args.handles = reinterpret_cast<uint64_t>(&handle);
  args.count_handles = 1;
  return ioctl(DRM_IOCTL_SYNCOBJ_SIGNAL, &args);
}

int Device::signal_point(uint32_t handle, uint64_t point) const {
  drm_syncobj_timeline_array args = {};
  args.handles = reinterpret_cast<uint64_t>(&handle);
  args.points = reinterpret_cast<uint64_t>(&point);
  args.count_handles = 1;
  return ioctl(DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, &args);
}

int Device::wait_syncobj(uint32_t handle, double seconds) const {
  drm_syncobj_wait args = {};
  args.handles = reinterpret_cast<uint64_t>(&handle);
  args.count_handles = 1;
  args.timeout_nsec = deadline(seconds);
  args.flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT;
  return ioctl(DRM_IOCTL_SYNCOBJ_WAIT, &args);
}

int Device::wait_point(uint32_t handle, uint64_t point, double seconds) const {
  drm_syncobj_timeline_wait args = {};
  args.handles = reinterpret_cast<uint64_t>(&handle);
  args.points = reinterpret_cast<uint64_t>(&point);
  args.count_handles = 1;
  args.timeout_nsec = deadline(seconds);
  args.flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT;
  return ioctl(DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &args);
}

int Device::export_fence(uint32_t handle) const {
  drm_syncobj_handle args = {};
  args.handle = handle;
  args.flags = DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE;
  args.fd = -1;
  const int ret = ioctl(DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &args);
  return ret ? ret : args.fd;
}

uint32_t Device::import_fence(int sync_file) const {
  drm_syncobj_handle args = {};
  args.handle = create_syncobj();
  args.flags = DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE;
  args.fd = sync_file;
  EXPECT_EQ(ioctl(DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, &args), 0);
  return args.handle;
}

int Device::fence_status(uint32_t handle) const {
  const int fd = export_fence(handle);
  if (fd < 0) return fd;
  const int status = sync_file_status(fd, 0);
  close(fd);
  return status;
}

int Device::export_buffer(uint32_t handle) const {
  drm_prime_handle args = {.handle = handle, .flags = DRM_CLOEXEC | DRM_RDWR, .fd = -1};
  const int ret = ioctl(DRM_IOCTL_PRIME_HANDLE_TO_FD, &args);
  return ret ? ret : args.fd;
}

int Device::import_buffer(int fd, uint32_t& handle) const {
  drm_prime_handle args = {.handle = 0, .flags = 0, .fd = fd};
  const int ret = ioctl(DRM_IOCTL_PRIME_FD_TO_HANDLE, &args);
  handle = args.handle;
  return ret;
}

void Device::close_buffer(uint32_t handle) const {
  drm_gem_close args = {.handle = handle, .pad = 0};
  EXPECT_EQ(ioctl(DRM_IOCTL_GEM_CLOSE, &args), 0);
}

int Device::run(uint32_t queue, std::span<const drm_npu_job> jobs) const {
  const uint32_t done = create_syncobj();
  const drm_npu_sync signal = {.handle = done, .flags = 0, .point = 0};
  int ret = submit(queue, jobs, {}, {&signal, 1});
  if (!ret) ret = wait_syncobj(done);
  if (!ret) {
    ret = fence_status(done);
    if (ret == 1) ret = 0;
  }
  destroy_syncobj(done);
  return ret;
}

int sync_file_status(int fd, double seconds) {
  pollfd item = {.fd = fd, .events = POLLIN, .revents = 0};
  poll(&item, 1, static_cast<int>(seconds * 1000));
  sync_file_info info = {};
  EXPECT_EQ(::ioctl(fd, SYNC_IOC_FILE_INFO, &info), 0) << strerror(errno);
  return info.status;
}

Buffer::Buffer(const Device& device, uint64_t size, uint32_t placement) : device_(device) {
  drm_npu_bo_create create = {};
  create.size = size;
  create.placement = placement;
  EXPECT_EQ(device.ioctl(DRM_IOCTL_NPU_BO_CREATE, &create), 0);
  handle_ = create.handle;
  size_ = create.size;
  drm_npu_bo_mmap_offset offset = {};
  offset.handle = handle_;
  EXPECT_EQ(device.ioctl(DRM_IOCTL_NPU_BO_MMAP_OFFSET, &offset), 0);
  void* data = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, device.fd(),
                    static_cast<off_t>(offset.offset));
  EXPECT_NE(data, MAP_FAILED) << strerror(errno);
  data_ = data == MAP_FAILED ? nullptr : static_cast<uint8_t*>(data);
}

Buffer::~Buffer() {
  if (data_) munmap(data_, size_);
  if (handle_) {
    drm_gem_close args = {};
    args.handle = handle_;
    device_.ioctl(DRM_IOCTL_GEM_CLOSE, &args);
  }
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

bool write_file(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC);
  if (fd < 0) return false;
  const bool ok = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  close(fd);
  return ok;
}

std::string first_match(const char* pattern) {
  glob_t found = {};
  std::string path;
  if (glob(pattern, 0, nullptr, &found) == 0 && found.gl_pathc > 0) path = found.gl_pathv[0];
  globfree(&found);
  return path;
}

std::string node() {
  return first_match("/dev/accel/accel*");
}

bool inject(const std::string& text) {
  return write_file(first_match("/sys/kernel/debug/accel/*:*/inject"), text);
}

std::string driver_state() {
  return read_file(first_match("/sys/kernel/debug/accel/*:*/state"));
}

std::vector<HardwareQueue> hardware_queues() {
  std::vector<HardwareQueue> queues;
  std::istringstream lines(driver_state());
  for (std::string line; std::getline(lines, line);) {
    HardwareQueue queue = {};
    if (sscanf(line.c_str(), "queue %u: state %u ", &queue.id, &queue.state) != 2) continue;
    if (const size_t at = line.find(" preempted "); at != std::string::npos)
      queue.preemptions = strtoul(line.c_str() + at + strlen(" preempted "), nullptr, 10);
    if (queue.id != 0) queues.push_back(queue);
  }
  return queues;
}

bool wait_for_queues(npu_queue_state state, unsigned count) {
  const auto in_state = [&] {
    return std::ranges::count(hardware_queues(), uint32_t{state}, &HardwareQueue::state);
  };
  for (int i = 0; i < 3000; ++i) {
    if (in_state() >= count) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

bool wait_for_counts(const Device& device, uint32_t buffers, uint32_t vms, uint32_t queues) {
  for (int i = 0; i < 500; ++i) {
    const drm_npu_counters now = device.counters();
    if (now.buffers == buffers && now.vms == vms && now.queues == queues && now.fences == 0)
      return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace kmd
