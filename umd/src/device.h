// SPDX-License-Identifier: MIT
//
// An open device: its backend, its address space, the memory in it and the
// queues on it.
#ifndef NPU_UMD_DEVICE_H_
#define NPU_UMD_DEVICE_H_

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "backend.h"
#include "range_allocator.h"

namespace npu::umd {

class Device;
class Queue;

// A buffer at an address of the device's address space. Its end is deferred
// until no job can use it any more.
class Memory {
 public:
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  uint64_t va() const { return va_; }
  // As asked for; the allocation is larger: whole pages.
  uint64_t size() const { return size_; }
  Result<std::byte*> map();
  Result<int> export_fd();
  const std::shared_ptr<Device>& device() const { return device_; }

 private:
  friend class Device;
  Memory(std::shared_ptr<Device> device, Allocation allocation, uint64_t size, uint64_t va)
      : device_(std::move(device)), allocation_(allocation), size_(size), va_(va) {}

  const std::shared_ptr<Device> device_;
  const Allocation allocation_;
  const uint64_t size_;
  const uint64_t va_;
};

// Thread safe.
class Device : public std::enable_shared_from_this<Device> {
 public:
  Device(std::unique_ptr<Backend> backend, const npu_device_info& info);
  ~Device();

  Backend& backend() { return *backend_; }
  const npu_target& target() const { return backend_->target(); }
  const npu_device_info& info() const { return info_; }

  Result<std::unique_ptr<Memory>> allocate(uint64_t size, drm_npu_placement placement,
                                           bool read_only = false);
  Result<std::unique_ptr<Memory>> import_fd(int fd, uint64_t size);

  void add_queue(uint64_t id, const std::shared_ptr<Queue>& queue);
  void remove_queue(uint64_t id);
  // nullptr if it has been destroyed.
  std::shared_ptr<Queue> find_queue(uint64_t id);

  Status wait(const npu_fence* fences, uint32_t count, bool any, uint64_t deadline_ns,
              uint32_t* first);

 private:
  friend class Memory;

  // Memory that jobs may still use.
  struct Retired {
    Allocation allocation;
    uint64_t va;
    std::vector<Backend::Point> until;
  };

  Result<std::unique_ptr<Memory>> place(Allocation allocation, uint64_t size, bool read_only);
  void retire(Allocation allocation, uint64_t va);
  void release(Allocation allocation, uint64_t va);
  // Releases what has become idle.
  void collect();
  bool idle(const std::vector<Backend::Point>& points);

  const std::unique_ptr<Backend> backend_;
  npu_device_info info_;

  std::mutex mutex_;  // protects what follows; taken before a queue's mutex never, after it yes
  RangeAllocator addresses_;
  std::map<uint64_t, std::weak_ptr<Queue>> queues_;
  std::vector<Retired> retired_;
};

// Fills the parts of `info` that come from the card.
void describe_card(const drm_npu_caps& caps, npu_device_info& info);

}  // namespace npu::umd

#endif  // NPU_UMD_DEVICE_H_
