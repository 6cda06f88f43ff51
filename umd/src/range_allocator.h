// SPDX-License-Identifier: MIT
//
// First-fit allocation of ranges of numbers: virtual addresses, card memory.
#ifndef NPU_UMD_RANGE_ALLOCATOR_H_
#define NPU_UMD_RANGE_ALLOCATOR_H_

#include <cstdint>
#include <map>
#include <optional>

namespace npu::umd {

// Not thread safe.
class RangeAllocator {
 public:
  RangeAllocator(uint64_t start, uint64_t end);

  // `size` > 0 numbers from a multiple of `alignment`, a power of two.
  std::optional<uint64_t> allocate(uint64_t size, uint64_t alignment);
  // Exactly what one allocate() returned.
  void release(uint64_t start, uint64_t size);

  uint64_t free_total() const { return free_total_; }

 private:
  std::map<uint64_t, uint64_t> free_;  // start -> end, neither adjacent nor overlapping
  uint64_t free_total_;
};

}  // namespace npu::umd

#endif  // NPU_UMD_RANGE_ALLOCATOR_H_
