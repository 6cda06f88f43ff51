// SPDX-License-Identifier: MIT
//
// The client's memory, as it has been mapped for DMA. Accesses may come from
// another thread than mapping and unmapping; once unmap() has returned, none
// uses the range any more.
//
// The client may shrink a file that it has shared, at any time. What is then
// missing is a bus error of the access, not of this process.
#ifndef NPU_VFIO_USER_GUEST_MEMORY_H_
#define NPU_VFIO_USER_GUEST_MEMORY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <shared_mutex>

#include "channel.h"
#include "npu_model.h"

namespace npu::vfio_user {

class GuestMemory {
 public:
  GuestMemory();
  ~GuestMemory() { unmap_all(); }
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;

  // Both return 0 or an errno. Without a file descriptor the range is known, but
  // the card cannot reach it.
  int map(const DmaMap& request, const UniqueFd* file);
  int unmap(uint64_t address, uint64_t bytes);
  void unmap_all();

  npu_model_bus read(uint64_t address, void* data, size_t bytes);
  npu_model_bus write(uint64_t address, const void* data, size_t bytes);
  // True once: an access has met memory that came without a file.
  bool take_unshared() { return unshared_.exchange(false); }

 private:
  struct Range {
    uint64_t bytes;
    uint8_t* memory;  // null: no file
    bool readable, writable;
  };

  npu_model_bus access(uint64_t address, uint8_t* data, size_t bytes, bool write);

  std::atomic<bool> unshared_{false};
  std::shared_mutex mutex_;
  std::map<uint64_t, Range> ranges_;  // by address; they do not overlap
};

}  // namespace npu::vfio_user

#endif  // NPU_VFIO_USER_GUEST_MEMORY_H_
