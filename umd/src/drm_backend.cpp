// SPDX-License-Identifier: MIT
//
// The kernel driver as a backend. One timeline syncobj per queue carries its
// points; syncobjs outlive their queue for those who wait.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xf86drm.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "backend.h"
#include "npu/registers.h"

namespace npu::umd {
namespace {

constexpr char kDriverName[] = "npu";
constexpr int kDriverMajor = 1;

std::string reason(int error) {
  return std::strerror(error);
}

// A failed call, in the words of the one who must do something about it.
Error os_error(const std::string& what, int error) {
  switch (error) {
    case ENODEV:
    case ENXIO:
      return fail(NPU_ERROR_DEVICE_GONE, what + ": the device has been removed", error);
    case EIO:
      return fail(NPU_ERROR_DEVICE_RESET,
                  what +
                      ": the card was reset and its memory is lost, or it has failed; close the "
                      "device, open it again and load the models again (see the kernel log)",
                  error);
    case EACCES:
    case EPERM:
      return fail(NPU_ERROR_PERMISSION, what + ": permission denied", error);
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
      return fail(NPU_ERROR_NO_MEMORY,
                  what + ": " + reason(error) + "; free buffers or queues and try again", error);
    case EAGAIN:
    case EBUSY:
      return fail(NPU_ERROR_AGAIN, what + ": the driver is busy; try again", error);
    case ETIME:
    case ETIMEDOUT:
      return fail(NPU_ERROR_TIMEOUT, "the deadline passed; the jobs go on", error);
    case EOPNOTSUPP:
    case ENOTTY:
    case ENOSYS:
      return fail(NPU_ERROR_UNSUPPORTED, what + ": this driver cannot do it; update it", error);
    case EINVAL:
    case ENOENT:
    case E2BIG:
      return fail(NPU_ERROR_INVALID, what + ": the driver refuses the arguments", error);
    default:
      return fail(NPU_ERROR_INTERNAL, what + ": " + reason(error), error);
  }
}

class DrmBackend final : public Backend {
 public:
  explicit DrmBackend(int fd) : fd_(fd) {}
  ~DrmBackend() override;
  Status init(const char* node);

  const drm_npu_caps& caps() const override { return caps_; }
  std::string driver_version() const override { return version_; }
  Status telemetry(drm_npu_telemetry& out) override {
    return query(DRM_NPU_QUERY_TELEMETRY, &out, sizeof out, "reading telemetry");
  }
  Status counters(drm_npu_counters& out) override {
    return query(DRM_NPU_QUERY_COUNTERS, &out, sizeof out, "reading counters");
  }
  Status engines(drm_npu_engines& out) override {
    return query(DRM_NPU_QUERY_ENGINES, &out, sizeof out, "reading the engines' counters");
  }
  Status clock(drm_npu_clock& out) override {
    return query(DRM_NPU_QUERY_CLOCK, &out, sizeof out, "reading the clock");
  }

  Result<Allocation> create_buffer(uint64_t size, drm_npu_placement placement) override;
  void destroy_buffer(uint32_t handle) override;
  Result<void*> map(uint32_t handle) override;
  Result<Allocation> import_buffer(int fd) override;
  Result<int> export_buffer(uint32_t handle) override;
  Status bind(uint32_t handle, uint64_t offset, uint64_t va, uint64_t size,
              bool read_only) override;
  Status unbind(uint64_t va, uint64_t size) override;

  Result<uint32_t> create_queue(const QueueOptions& options) override;
  void destroy_queue(uint32_t queue) override;
  Status queue_state(uint32_t queue, drm_npu_queue_state& out) override;
  Status submit(uint32_t queue, std::span<const drm_npu_job> jobs,
                std::span<const Point> waits) override;
  Result<uint64_t> completed(uint32_t queue) override;
  Result<uint32_t> wait(std::span<const Point> points, bool any, uint64_t deadline_ns) override;
  Result<int> export_point(Point point) override;

 private:
  struct Buffer {
    uint64_t size = 0;
    void* memory = nullptr;  // MAP_FAILED never; nullptr: not mapped
  };
  // A queue's timeline.
  struct Timeline {
    Timeline(int fd, uint32_t handle) : fd(fd), handle(handle) {}
    ~Timeline() { drmSyncobjDestroy(fd, handle); }
    const int fd;
    const uint32_t handle;
  };
  struct KernelQueue {
    uint32_t id = 0;
    std::shared_ptr<Timeline> timeline;
    uint64_t submits = 0;
  };

  Status call(unsigned long request, void* argument, const char* what);
  Status query(uint32_t type, void* out, uint32_t size, const char* what);
  Status change_binding(const drm_npu_bind_op& op, const char* what);
  // Copy of a queue's entry; timeline is nullptr if it has been destroyed.
  KernelQueue find_queue(uint32_t queue);

  const int fd_;
  drm_npu_caps caps_ = {};
  std::string version_;
  uint32_t vm_ = 0;

  std::mutex mutex_;  // protects what follows
  std::map<uint32_t, Buffer> buffers_;
  std::map<uint32_t, KernelQueue> queues_;
  uint32_t next_queue_ = 1;
};

DrmBackend::~DrmBackend() {
  for (auto& [handle, buffer] : buffers_) {
    if (buffer.memory != nullptr) munmap(buffer.memory, buffer.size);
  }
  queues_.clear();
  close(fd_);  // ends everything else
}

Status DrmBackend::call(unsigned long request, void* argument, const char* what) {
  if (drmIoctl(fd_, request, argument) != 0) return os_error(what, errno);
  return {};
}

Status DrmBackend::query(uint32_t type, void* out, uint32_t size, const char* what) {
  std::memset(out, 0, size);
  drm_npu_dev_query argument = {};
  argument.type = type;
  argument.size = size;
  argument.pointer = reinterpret_cast<uintptr_t>(out);
  return call(DRM_IOCTL_NPU_DEV_QUERY, &argument, what);
}

Status DrmBackend::init(const char* node) {
  drmVersionPtr version = drmGetVersion(fd_);
  if (version == nullptr) {
    return fail(NPU_ERROR_NO_DEVICE, std::string(node) + ": this is not a device of a DRM driver");
  }
  const std::string name(version->name, version->name_len);
  const int major = version->version_major;
  version_ = std::to_string(major) + "." + std::to_string(version->version_minor) + "." +
             std::to_string(version->version_patchlevel);
  drmFreeVersion(version);
  if (name != kDriverName) {
    return fail(NPU_ERROR_NO_DEVICE,
                std::string(node) + ": belongs to driver '" + name + "', not to an NPU");
  }
  if (major != kDriverMajor) {
    return fail(NPU_ERROR_VERSION, std::string(node) + ": the driver has interface " +
                                       std::to_string(major) + ", this library needs " +
                                       std::to_string(kDriverMajor) +
                                       "; install driver and library of one release");
  }
  if (auto status = query(DRM_NPU_QUERY_CAPS, &caps_, sizeof caps_, node); !status.ok()) {
    return status;
  }
  if (caps_.interface_version >> 16 != NPU_VERSION_MAJOR) {
    return fail(NPU_ERROR_VERSION, std::string(node) + ": the card has interface " +
                                       std::to_string(caps_.interface_version >> 16) +
                                       ", this library needs " + std::to_string(NPU_VERSION_MAJOR));
  }
  drm_npu_vm_create vm = {};
  if (auto status = call(DRM_IOCTL_NPU_VM_CREATE, &vm, node); !status.ok()) return status;
  vm_ = vm.vm_id;
  return {};
}

Result<Allocation> DrmBackend::create_buffer(uint64_t size, drm_npu_placement placement) {
  drm_npu_bo_create argument = {};
  argument.size = size;
  argument.placement = placement;
  if (auto status = call(DRM_IOCTL_NPU_BO_CREATE, &argument, "creating a buffer"); !status.ok()) {
    return status.error();
  }
  std::lock_guard lock(mutex_);
  buffers_[argument.handle] = {argument.size, nullptr};
  return Allocation{argument.handle, argument.size};
}

void DrmBackend::destroy_buffer(uint32_t handle) {
  std::lock_guard lock(mutex_);
  const auto it = buffers_.find(handle);
  if (it == buffers_.end()) return;
  if (it->second.memory != nullptr) munmap(it->second.memory, it->second.size);
  buffers_.erase(it);
  drmCloseBufferHandle(fd_, handle);
}

Result<void*> DrmBackend::map(uint32_t handle) {
  std::lock_guard lock(mutex_);
  const auto it = buffers_.find(handle);
  if (it == buffers_.end()) return fail(NPU_ERROR_INVALID, "no such buffer on this device");
  Buffer& buffer = it->second;
  if (buffer.memory != nullptr) return buffer.memory;
  drm_npu_bo_mmap_offset argument = {};
  argument.handle = handle;
  if (auto status = call(DRM_IOCTL_NPU_BO_MMAP_OFFSET, &argument, "mapping a buffer");
      !status.ok()) {
    return status.error();
  }
  void* memory = mmap(nullptr, buffer.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_,
                      static_cast<off_t>(argument.offset));
  if (memory == MAP_FAILED) return os_error("mapping a buffer", errno);
  buffer.memory = memory;
  return memory;
}

Result<Allocation> DrmBackend::import_buffer(int fd) {
  const off_t size = lseek(fd, 0, SEEK_END);
  if (size <= 0) return fail(NPU_ERROR_INVALID, "the descriptor is not a dma-buf", errno);
  uint32_t handle = 0;
  std::lock_guard lock(mutex_);
  if (drmPrimeFDToHandle(fd_, fd, &handle) != 0) return os_error("importing a buffer", errno);
  if (buffers_.contains(handle)) {
    // The kernel gives a buffer of this very device its old handle back.
    return fail(NPU_ERROR_INVALID, "the buffer is already open on this device handle");
  }
  buffers_[handle] = {static_cast<uint64_t>(size), nullptr};
  return Allocation{handle, static_cast<uint64_t>(size)};
}

Result<int> DrmBackend::export_buffer(uint32_t handle) {
  int fd = -1;
  if (drmPrimeHandleToFD(fd_, handle, DRM_CLOEXEC | DRM_RDWR, &fd) != 0) {
    return os_error("exporting a buffer", errno);
  }
  return fd;
}

Status DrmBackend::change_binding(const drm_npu_bind_op& op, const char* what) {
  drm_npu_vm_bind argument = {};
  argument.vm_id = vm_;
  argument.ops = {sizeof op, 1, reinterpret_cast<uintptr_t>(&op)};
  return call(DRM_IOCTL_NPU_VM_BIND, &argument, what);
}

Status DrmBackend::bind(uint32_t handle, uint64_t offset, uint64_t va, uint64_t size,
                        bool read_only) {
  drm_npu_bind_op op = {};
  op.op = DRM_NPU_BIND_MAP;
  op.flags = read_only ? DRM_NPU_BIND_READONLY : 0;
  op.handle = handle;
  op.bo_offset = offset;
  op.va = va;
  op.size = size;
  return change_binding(op, "binding a buffer");
}

Status DrmBackend::unbind(uint64_t va, uint64_t size) {
  drm_npu_bind_op op = {};
  op.op = DRM_NPU_BIND_UNMAP;
  op.va = va;
  op.size = size;
  return change_binding(op, "unbinding a buffer");
}

DrmBackend::KernelQueue DrmBackend::find_queue(uint32_t queue) {
  std::lock_guard lock(mutex_);
  const auto it = queues_.find(queue);
  return it != queues_.end() ? it->second : KernelQueue{};
}

Result<uint32_t> DrmBackend::create_queue(const QueueOptions& options) {
  uint32_t syncobj = 0;
  if (drmSyncobjCreate(fd_, 0, &syncobj) != 0) return os_error("creating a queue", errno);
  auto timeline = std::make_shared<Timeline>(fd_, syncobj);
  drm_npu_queue_create argument = {};
  argument.vm_id = vm_;
  argument.priority = options.priority;
  argument.cycle_limit = options.cycle_limit;
  argument.core_mask = options.core_mask;
  argument.quantum = options.quantum;
  argument.coalesce_count = options.coalesce_count;
  argument.coalesce_us = options.coalesce_us;
  if (auto status = call(DRM_IOCTL_NPU_QUEUE_CREATE, &argument, "creating a queue"); !status.ok()) {
    if (status.error().code == NPU_ERROR_PERMISSION) {
      return fail(NPU_ERROR_PERMISSION,
                  "creating a queue: high priority needs the capability CAP_SYS_NICE",
                  status.error().os_errno);
    }
    return status.error();
  }
  std::lock_guard lock(mutex_);
  queues_[next_queue_] = {argument.queue_id, std::move(timeline), 0};
  return next_queue_++;
}

void DrmBackend::destroy_queue(uint32_t queue) {
  KernelQueue entry;
  {
    std::lock_guard lock(mutex_);
    const auto it = queues_.find(queue);
    if (it == queues_.end()) return;
    entry = std::move(it->second);
    queues_.erase(it);
  }
  drm_npu_queue_destroy argument = {};
  argument.queue_id = entry.id;
  // Only fails if the device is gone, and then the queue is too.
  (void)call(DRM_IOCTL_NPU_QUEUE_DESTROY, &argument, "destroying a queue");
}

Status DrmBackend::queue_state(uint32_t queue, drm_npu_queue_state& out) {
  const KernelQueue entry = find_queue(queue);
  if (entry.timeline == nullptr) return fail(NPU_ERROR_INVALID, "no such queue on this device");
  out = {};
  out.queue_id = entry.id;
  return call(DRM_IOCTL_NPU_QUEUE_STATE, &out, "reading a queue's state");
}

Status DrmBackend::submit(uint32_t queue, std::span<const drm_npu_job> jobs,
                          std::span<const Point> waits) {
  const KernelQueue entry = find_queue(queue);
  if (entry.timeline == nullptr) return fail(NPU_ERROR_INVALID, "no such queue on this device");
  std::vector<drm_npu_sync> wait_syncs;
  std::vector<std::shared_ptr<Timeline>> kept;
  for (const Point& point : waits) {
    KernelQueue other = find_queue(point.queue);
    if (other.timeline == nullptr || point.value == 0) continue;
    if (point.value > other.submits) {
      return fail(NPU_ERROR_INVALID, "submit: a wait is for a point that nothing will reach");
    }
    wait_syncs.push_back({other.timeline->handle, DRM_NPU_SYNC_TIMELINE, point.value});
    kept.push_back(std::move(other.timeline));
  }
  const drm_npu_sync done = {entry.timeline->handle, DRM_NPU_SYNC_TIMELINE, entry.submits + 1};
  drm_npu_submit argument = {};
  argument.queue_id = entry.id;
  argument.jobs = {sizeof(drm_npu_job), static_cast<uint32_t>(jobs.size()),
                   reinterpret_cast<uintptr_t>(jobs.data())};
  argument.waits = {sizeof(drm_npu_sync), static_cast<uint32_t>(wait_syncs.size()),
                    reinterpret_cast<uintptr_t>(wait_syncs.data())};
  argument.signals = {sizeof done, 1, reinterpret_cast<uintptr_t>(&done)};
  if (auto status = call(DRM_IOCTL_NPU_SUBMIT, &argument, "submitting a run"); !status.ok()) {
    return status;
  }
  std::lock_guard lock(mutex_);
  if (const auto it = queues_.find(queue); it != queues_.end()) it->second.submits++;
  return {};
}

Result<uint64_t> DrmBackend::completed(uint32_t queue) {
  const KernelQueue entry = find_queue(queue);
  if (entry.timeline == nullptr) {
    return fail(NPU_ERROR_INVALID, "no such queue on this device");
  }
  uint32_t handle = entry.timeline->handle;
  uint64_t point = 0;
  if (drmSyncobjQuery(fd_, &handle, &point, 1) != 0) return os_error("reading a fence", errno);
  return point;
}

Result<uint32_t> DrmBackend::wait(std::span<const Point> points, bool any, uint64_t deadline_ns) {
  std::vector<uint32_t> handles;
  std::vector<uint64_t> values;
  std::vector<std::shared_ptr<Timeline>> kept;
  for (uint32_t i = 0; i < points.size(); i++) {
    KernelQueue entry = find_queue(points[i].queue);
    if (entry.timeline == nullptr || points[i].value == 0) {
      if (any) return i;
      continue;
    }
    if (points[i].value > entry.submits) {
      return fail(NPU_ERROR_INVALID, "wait: a fence that no submit will reach");
    }
    handles.push_back(entry.timeline->handle);
    values.push_back(points[i].value);
    kept.push_back(std::move(entry.timeline));
  }
  if (handles.empty()) return uint32_t{0};
  const int64_t deadline = deadline_ns > uint64_t(INT64_MAX) ? INT64_MAX : int64_t(deadline_ns);
  uint32_t first = 0;
  const int result =
      drmSyncobjTimelineWait(fd_, handles.data(), values.data(), uint32_t(handles.size()), deadline,
                             any ? 0 : DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL, &first);
  if (result != 0) return os_error("waiting", result < -1 ? -result : errno);
  // With `any` no point was left out above.
  return any ? first : 0;
}

Result<int> DrmBackend::export_point(Point point) {
  const KernelQueue entry = find_queue(point.queue);
  uint32_t binary = 0;
  const bool past = entry.timeline == nullptr || point.value == 0;
  if (!past && point.value > entry.submits) {
    return fail(NPU_ERROR_INVALID, "export: a fence that no submit will reach");
  }
  if (drmSyncobjCreate(fd_, past ? DRM_SYNCOBJ_CREATE_SIGNALED : 0, &binary) != 0) {
    return os_error("exporting a fence", errno);
  }
  int file = -1;
  int error = 0;
  if ((!past && drmSyncobjTransfer(fd_, binary, 0, entry.timeline->handle, point.value, 0) != 0) ||
      drmSyncobjExportSyncFile(fd_, binary, &file) != 0) {
    error = errno;
  }
  drmSyncobjDestroy(fd_, binary);
  if (error != 0) return os_error("exporting a fence", error);
  return file;
}

}  // namespace

Result<std::unique_ptr<Backend>> open_drm(const char* node) {
  const int fd = open(node, O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    const int error = errno;
    const std::string name(node);
    switch (error) {
      case ENOENT:
        return fail(NPU_ERROR_NO_DEVICE,
                    name + ": no such device; is the card there and the module npu loaded?", error);
      case EACCES:
      case EPERM:
        return fail(NPU_ERROR_PERMISSION,
                    name +
                        ": permission denied; add yourself to the group of the node, usually "
                        "render (usermod -aG render USER), and log in again",
                    error);
      case ENODEV:
      case ENXIO:
        return fail(NPU_ERROR_DEVICE_GONE, name + ": the device has been removed", error);
      default:
        return fail(NPU_ERROR_NO_DEVICE, name + ": " + reason(error), error);
    }
  }
  auto backend = std::make_unique<DrmBackend>(fd);
  if (auto status = backend->init(node); !status.ok()) return status.error();
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace npu::umd
