// SPDX-License-Identifier: MIT
#include "device.h"

#include <algorithm>
#include <cstring>

#include "queue.h"
#include "structs.h"

namespace npu::umd {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kBlock = 2u << 20;

// Address space of an allocation: a page more, so that running over its end
// faults instead of reaching a neighbour.
uint64_t reserved_size(const Allocation& allocation) {
  return allocation.size + kPage;
}

}  // namespace

Memory::~Memory() {
  device_->retire(allocation_, va_);
}

Result<std::byte*> Memory::map() {
  auto pointer = device_->backend().map(allocation_.handle);
  if (!pointer.ok()) return pointer.error();
  return static_cast<std::byte*>(*pointer);
}

Result<int> Memory::export_fd() {
  return device_->backend().export_buffer(allocation_.handle);
}

Device::Device(std::unique_ptr<Backend> backend, const npu_device_info& info)
    : backend_(std::move(backend)),
      info_(info),
      addresses_(backend_->caps().va_start, backend_->caps().va_end) {
  describe_card(backend_->caps(), info_);
  copy_text(info_.driver_version, backend_->driver_version());
}

// No queue is left that could use what is retired: queues keep their device.
Device::~Device() {
  for (const Retired& retired : retired_) release(retired.allocation, retired.va);
}

Result<std::unique_ptr<Memory>> Device::allocate(uint64_t size, drm_npu_placement placement,
                                                 bool read_only) {
  collect();
  auto allocation = backend_->create_buffer(size, placement);
  if (!allocation.ok()) return allocation.error();
  return place(*allocation, size, read_only);
}

Result<std::unique_ptr<Memory>> Device::import_fd(int fd, uint64_t size) {
  collect();
  auto allocation = backend_->import_buffer(fd);
  if (!allocation.ok()) return allocation.error();
  if (size > allocation->size) {
    const uint64_t there = allocation->size;
    backend_->destroy_buffer(allocation->handle);
    return fail(NPU_ERROR_INVALID, "the imported buffer has " + std::to_string(there) +
                                       " bytes, not " + std::to_string(size));
  }
  return place(*allocation, size != 0 ? size : allocation->size, false);
}

Result<std::unique_ptr<Memory>> Device::place(Allocation allocation, uint64_t size,
                                              bool read_only) {
  std::optional<uint64_t> va;
  {
    std::lock_guard lock(mutex_);
    va = addresses_.allocate(reserved_size(allocation), allocation.size >= kBlock ? kBlock : kPage);
  }
  if (!va) {
    backend_->destroy_buffer(allocation.handle);
    return fail(NPU_ERROR_NO_MEMORY, "the device's address space is full; destroy buffers");
  }
  if (auto status = backend_->bind(allocation.handle, 0, *va, allocation.size, read_only);
      !status.ok()) {
    backend_->destroy_buffer(allocation.handle);
    std::lock_guard lock(mutex_);
    addresses_.release(*va, reserved_size(allocation));
    return status.error();
  }
  return std::unique_ptr<Memory>(new Memory(shared_from_this(), allocation, size, *va));
}

void Device::release(Allocation allocation, uint64_t va) {
  // If unbinding fails the device is gone or broken; the address is not used
  // again then, so that nothing can be reached through a stale mapping.
  const bool unbound = backend_->unbind(va, allocation.size).ok();
  backend_->destroy_buffer(allocation.handle);
  if (!unbound) return;
  std::lock_guard lock(mutex_);
  addresses_.release(va, reserved_size(allocation));
}

void Device::retire(Allocation allocation, uint64_t va) {
  collect();
  std::vector<Backend::Point> until;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, weak] : queues_) {
      // The object is not kept: ending it here would take this mutex again.
      until.push_back({static_cast<uint32_t>(id), 0});
    }
  }
  for (Backend::Point& point : until) {
    if (auto queue = find_queue(point.queue)) point.value = queue->submitted();
  }
  std::erase_if(until, [](const Backend::Point& point) { return point.value == 0; });
  if (idle(until)) {
    release(allocation, va);
    return;
  }
  std::lock_guard lock(mutex_);
  retired_.push_back({allocation, va, std::move(until)});
}

bool Device::idle(const std::vector<Backend::Point>& points) {
  return std::all_of(points.begin(), points.end(), [&](const Backend::Point& point) {
    const auto completed = backend_->completed(point.queue);
    return !completed.ok() || completed.value() >= point.value;
  });
}

void Device::collect() {
  std::vector<Retired> candidates;
  {
    std::lock_guard lock(mutex_);
    if (retired_.empty()) return;
    candidates.swap(retired_);
  }
  std::erase_if(candidates, [&](const Retired& retired) {
    if (!idle(retired.until)) return false;
    release(retired.allocation, retired.va);
    return true;
  });
  std::lock_guard lock(mutex_);
  retired_.insert(retired_.end(), candidates.begin(), candidates.end());
}

void Device::add_queue(uint64_t id, const std::shared_ptr<Queue>& queue) {
  std::lock_guard lock(mutex_);
  queues_.emplace(id, queue);
}

void Device::remove_queue(uint64_t id) {
  std::lock_guard lock(mutex_);
  queues_.erase(id);
}

std::shared_ptr<Queue> Device::find_queue(uint64_t id) {
  std::lock_guard lock(mutex_);
  const auto it = queues_.find(id);
  return it != queues_.end() ? it->second.lock() : nullptr;
}

Status Device::wait(const npu_fence* fences, uint32_t count, bool any, uint64_t deadline_ns,
                    uint32_t* first) {
  struct Waited {
    std::shared_ptr<Queue> queue;
    uint32_t fence;
  };
  std::vector<Waited> waited;
  std::vector<Backend::Point> points;
  waited.reserve(count);
  points.reserve(count);
  for (uint32_t i = 0; i < count; i++) {
    if (fences[i].queue == 0 || fences[i].queue > UINT32_MAX) {
      return fail(NPU_ERROR_INVALID, "wait: fence " + std::to_string(i) + " is not a fence");
    }
    auto queue = find_queue(fences[i].queue);
    if (queue != nullptr && fences[i].point > queue->submitted()) {
      return fail(NPU_ERROR_INVALID,
                  "wait: fence " + std::to_string(i) + " is for a submit that has not been made");
    }
    if (queue == nullptr || queue->ended_well(fences[i].point)) {
      if (!any) continue;
      if (first != nullptr) *first = i;
      return {};
    }
    waited.push_back({std::move(queue), i});
    points.push_back({static_cast<uint32_t>(fences[i].queue), fences[i].point});
  }
  if (first != nullptr) *first = 0;
  if (points.empty()) return {};
  auto reached = backend_->wait(points, any, deadline_ns);
  if (!reached.ok()) return reached.error();
  if (any) waited = {waited[*reached]};
  for (const auto& [queue, fence] : waited) {
    if (first != nullptr) *first = any ? fence : 0;
    if (auto status = queue->outcome(fences[fence].point); !status.ok()) {
      if (first != nullptr) *first = fence;
      return status;
    }
  }
  return {};
}

void describe_card(const drm_npu_caps& caps, npu_device_info& info) {
  npu_target target;
  std::memcpy(&target, caps.target, sizeof target);
  copy_text(info.name, std::string_view(target.name, strnlen(target.name, sizeof target.name)));
  info.serial = caps.serial;
  info.interface_version = caps.interface_version;
  info.features = caps.features;
  static_assert(sizeof info.target == sizeof caps.target);
  std::memcpy(info.target, caps.target, sizeof info.target);
}

}  // namespace npu::umd
