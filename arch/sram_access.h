// SPDX-License-Identifier: MIT
//
// Which SRAM bytes a command reads and writes: the footprint that the range
// check, the hazard detector and the timing of SRAM ports share.
#ifndef NPU_ARCH_SRAM_ACCESS_H_
#define NPU_ARCH_SRAM_ACCESS_H_

#include <cstdint>
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
  // Sorts the dimensions by stride and joins blocks that touch. Dimensions of
  // what remains step over what they repeat: a read whose strides interleave
  // becomes its whole range, so that the number of blocks stays bounded by
  // the range they lie in.
  void simplify();
};

// Appends every access of `command`, which runs on gang position `core`. The
// command's operands must have passed the checks that precede the range check.
void append_sram_accesses(const Command& command, unsigned core, std::vector<SramAccess>& out);

}  // namespace npu::arch

#endif  // NPU_ARCH_SRAM_ACCESS_H_
