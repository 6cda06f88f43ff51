// SPDX-License-Identifier: MIT
//
// Which SRAM bytes a command reads and writes: the footprint that the range
// check, the hazard detector and the timing of SRAM ports share.
#ifndef NPU_ARCH_SRAM_ACCESS_H_
#define NPU_ARCH_SRAM_ACCESS_H_

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "arch/stream.h"

namespace npu::arch {

// Blocks of `bytes` contiguous bytes: `count[i]` of them `stride[i]` apart in
// each dimension, from `address` on.
struct SramAccess {
  uint64_t address = 0;
  uint64_t bytes = 0;
  uint64_t stride[4] = {0, 0, 0, 0};
  uint32_t count[4] = {1, 1, 1, 1};
  bool write = false;
  // A read operand that is the very tensor the command writes, element by
  // element; the write may follow without a wait.
  bool in_place = false;
  // Position in the gang whose SRAM is meant, for PEER_LOAD and multicast;
  // otherwise the command's own core.
  uint8_t core = 0;

  // First byte after the highest one touched, in 64 bits without overflow.
  uint64_t end() const;
  // No byte belongs to two blocks. Sufficient, not necessary: true only if each
  // dimension, by growing stride, steps over all of what it repeats.
  bool disjoint() const;
  // Sorts the dimensions by stride and joins blocks with at most `gap` bytes
  // between them. Dimensions of what remains step over what they repeat: a read
  // whose strides interleave becomes its whole range, so that the number of
  // blocks stays bounded by the range they lie in.
  void simplify(uint64_t gap = 0);
  // No unit of `unit` bytes, aligned, has bytes of both. Sufficient, not necessary:
  // true only if their ranges lie apart, or the columns that they take of rows of
  // the same length. Both are simplified with a gap of `unit` - 1.
  bool apart(const SramAccess& other, uint64_t unit) const;
  // Calls visit(begin, end) for the blocks by growing address, if simplified,
  // until it returns false; then it is false, too. Rows, planes and so on of
  // blocks are entered only if enter(begin, end) says so of what they span.
  template <typename Enter, typename Visit>
  bool visit_blocks(const Enter& enter, const Visit& visit) const {
    return visit_blocks(4, address, enter, visit);
  }

 private:
  // Of the first `dimensions` only.
  template <typename Enter, typename Visit>
  bool visit_blocks(int dimensions, uint64_t begin, const Enter& enter, const Visit& visit) const {
    while (dimensions > 0 && count[dimensions - 1] == 1) --dimensions;
    uint64_t end = begin + bytes;
    for (int i = 0; i < dimensions; ++i) end += stride[i] * (count[i] - 1);
    if (dimensions == 0) return visit(begin, end);
    if (!enter(begin, end)) return true;
    const uint64_t step = stride[dimensions - 1];
    for (uint32_t left = count[dimensions - 1]; left != 0; --left, begin += step)
      if (!visit_blocks(dimensions - 1, begin, enter, visit)) return false;
    return true;
  }
};

// Calls visit(first, last) for the runs of units, below `units`, of which the YIELD
// keeps nothing. Of a unit of `unit` bytes that it keeps in part all is kept.
template <typename Visit>
void visit_lost(const npu_command_yield& yield, uint64_t units, uint64_t unit, const Visit& visit) {
  std::pair<uint64_t, uint64_t> kept[NPU_YIELD_RANGES];  // first and last unit
  for (uint32_t i = 0; i < yield.range_count; ++i) {
    const auto& range = yield.live[i];
    kept[i] = {range.address / unit, (uint64_t{range.address} + range.bytes - 1) / unit};
  }
  std::sort(kept, kept + yield.range_count);
  uint64_t next = 0;
  for (uint32_t i = 0; i < yield.range_count; ++i) {
    if (next < kept[i].first) visit(next, kept[i].first - 1);
    next = std::max(next, kept[i].second + 1);
  }
  if (next < units) visit(next, units - 1);
}

// Appends every access of `command`, which runs on gang position `core`. The
// command's operands must have passed the checks that precede the range check.
void append_sram_accesses(const Command& command, unsigned core, std::vector<SramAccess>& out);

}  // namespace npu::arch

#endif  // NPU_ARCH_SRAM_ACCESS_H_
