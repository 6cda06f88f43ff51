// SPDX-License-Identifier: MIT
#include "range_allocator.h"

#include <iterator>

namespace npu::umd {

RangeAllocator::RangeAllocator(uint64_t start, uint64_t end) : free_total_(end - start) {
  if (start < end) free_.emplace(start, end);
}

std::optional<uint64_t> RangeAllocator::allocate(uint64_t size, uint64_t alignment) {
  if (size == 0) return std::nullopt;
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    const auto [start, end] = *it;
    const uint64_t aligned = (start + alignment - 1) & ~(alignment - 1);
    if (aligned < start || aligned >= end || end - aligned < size) continue;
    if (aligned == start) {
      it = free_.erase(it);
    } else {
      it->second = aligned;
    }
    if (aligned + size < end) free_.emplace(aligned + size, end);
    free_total_ -= size;
    return aligned;
  }
  return std::nullopt;
}

void RangeAllocator::release(uint64_t start, uint64_t size) {
  uint64_t end = start + size;
  free_total_ += size;
  auto next = free_.lower_bound(start);
  if (next != free_.end() && next->first == end) {
    end = next->second;
    next = free_.erase(next);
  }
  if (next != free_.begin()) {
    auto previous = std::prev(next);
    if (previous->second == start) {
      previous->second = end;
      return;
    }
  }
  free_.emplace(start, end);
}

}  // namespace npu::umd
