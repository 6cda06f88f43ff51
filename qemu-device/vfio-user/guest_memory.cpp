// SPDX-License-Identifier: MIT
#include "guest_memory.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstring>
#include <mutex>

namespace npu::vfio_user {
namespace {

thread_local sigjmp_buf* bus_error_return = nullptr;

void on_bus_error(int signal) {
  if (bus_error_return != nullptr) siglongjmp(*bus_error_return, 1);
  std::signal(signal, SIG_DFL);  // somebody else's: it happens again
}

// False when a page of either side is not there.
bool copy_or_fail(uint8_t* to, const uint8_t* from, size_t bytes) {
  sigjmp_buf here;
  if (sigsetjmp(here, 0) != 0) {
    bus_error_return = nullptr;
    // The handler did not return: what was blocked for it still is.
    sigset_t bus_error;
    sigemptyset(&bus_error);
    sigaddset(&bus_error, SIGBUS);
    pthread_sigmask(SIG_UNBLOCK, &bus_error, nullptr);
    return false;
  }
  bus_error_return = &here;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  // Words that a driver polls (sequences, indices) appear at once.
  if (bytes == sizeof(uint64_t) && reinterpret_cast<uintptr_t>(to) % sizeof(uint64_t) == 0) {
    uint64_t word;
    std::memcpy(&word, from, sizeof(word));
    std::atomic_ref(*reinterpret_cast<uint64_t*>(to)).store(word, std::memory_order_release);
  } else {
    std::memcpy(to, from, bytes);
  }
  std::atomic_signal_fence(std::memory_order_seq_cst);
  bus_error_return = nullptr;
  return true;
}

}  // namespace

GuestMemory::GuestMemory() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_handler = on_bus_error;
    sigaction(SIGBUS, &action, nullptr);
  });
}

int GuestMemory::map(const DmaMap& request, const UniqueFd* file) {
  constexpr uint64_t kPage = 4096;
  if (request.bytes == 0 || request.bytes > ~request.address ||
      (request.address | request.bytes | request.offset) % kPage != 0 ||
      (request.flags & ~uint32_t{kDmaReadable | kDmaWritable}) != 0)
    return EINVAL;
  std::unique_lock lock(mutex_);
  if (ranges_.size() >= kMaxDmaMaps) return ENOSPC;
  const auto next = ranges_.lower_bound(request.address);
  if (next != ranges_.end() && next->first - request.address < request.bytes) return EEXIST;
  if (next != ranges_.begin()) {
    const auto& [address, range] = *std::prev(next);
    if (request.address - address < range.bytes) return EEXIST;
  }
  Range range = {.bytes = request.bytes,
                 .memory = nullptr,
                 .readable = (request.flags & kDmaReadable) != 0,
                 .writable = (request.flags & kDmaWritable) != 0};
  if (file != nullptr) {
    struct stat status;
    if (fstat(file->get(), &status) != 0) return errno;
    const auto size = static_cast<uint64_t>(status.st_size);
    if (!S_ISREG(status.st_mode) || request.offset > size || request.bytes > size - request.offset)
      return EINVAL;
    const int protection = PROT_READ | (range.writable ? PROT_WRITE : 0);
    void* memory = mmap(nullptr, request.bytes, protection, MAP_SHARED | MAP_NORESERVE, file->get(),
                        static_cast<off_t>(request.offset));
    if (memory == MAP_FAILED) return errno;
    range.memory = static_cast<uint8_t*>(memory);
  }
  ranges_.emplace(request.address, range);
  return 0;
}

int GuestMemory::unmap(uint64_t address, uint64_t bytes) {
  std::unique_lock lock(mutex_);
  const auto it = ranges_.find(address);
  if (it == ranges_.end() || it->second.bytes != bytes) return ENOENT;
  if (it->second.memory != nullptr) munmap(it->second.memory, bytes);
  ranges_.erase(it);
  return 0;
}

void GuestMemory::unmap_all() {
  std::unique_lock lock(mutex_);
  for (const auto& [address, range] : ranges_)
    if (range.memory != nullptr) munmap(range.memory, range.bytes);
  ranges_.clear();
}

npu_model_bus GuestMemory::access(uint64_t address, uint8_t* data, size_t bytes, bool write) {
  std::shared_lock lock(mutex_);
  while (bytes > 0) {
    auto it = ranges_.upper_bound(address);
    if (it == ranges_.begin()) return NPU_BUS_DECODE_ERROR;
    const auto& [start, range] = *--it;
    const uint64_t offset = address - start;
    if (offset >= range.bytes) return NPU_BUS_DECODE_ERROR;
    if (range.memory == nullptr) {
      unshared_ = true;
      return NPU_BUS_DECODE_ERROR;
    }
    if (write ? !range.writable : !range.readable) return NPU_BUS_IOMMU_FAULT;
    const size_t part = std::min<uint64_t>(bytes, range.bytes - offset);
    uint8_t* memory = range.memory + offset;
    if (!(write ? copy_or_fail(memory, data, part) : copy_or_fail(data, memory, part)))
      return NPU_BUS_DECODE_ERROR;
    address += part;
    data += part;
    bytes -= part;
  }
  return NPU_BUS_OK;
}

npu_model_bus GuestMemory::read(uint64_t address, void* data, size_t bytes) {
  return access(address, static_cast<uint8_t*>(data), bytes, false);
}

npu_model_bus GuestMemory::write(uint64_t address, const void* data, size_t bytes) {
  return access(address, static_cast<uint8_t*>(const_cast<void*>(data)), bytes, true);
}

}  // namespace npu::vfio_user
