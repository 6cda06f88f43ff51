// SPDX-License-Identifier: MIT
//
// What a command asks of the stepped card, taken apart: passes of the array,
// bursts of memory.
#ifndef NPU_ARCH_TESTING_STEPPED_WORK_H_
#define NPU_ARCH_TESTING_STEPPED_WORK_H_

#include <utility>

#include "arch/stream.h"

namespace npu::arch::testing {

inline unsigned quotient_up(uint64_t total, uint64_t limit) {
  return static_cast<unsigned>((total + limit - 1) / limit);
}

// Bytes of an operand's elements.
inline unsigned element_bytes(unsigned types, unsigned operand) {
  const unsigned type = NPU_TYPE_AT(types, operand);
  return type == NPU_TYPE_NONE ? 0 : type == NPU_TYPE_INT32 || type == NPU_TYPE_FP32 ? 4 : 1;
}

// One stay of a set of weights in the array; of a depthwise convolution, pixels
// of one row; of VEC, all.
struct Pass {
  unsigned pixels, products, outputs;     // of a pixel: at most NK and NO
  unsigned bytes;                         // of activations, a cycle
  unsigned shadow = 0, shadow_bytes = 0;  // cycles for the next weights and this block's tables
  bool opens = false;                     // fills a bank from here
  unsigned closes = 0;                    // rows of it that may drain after this
  int lead = 0, pixel_cycles = 1;         // before the first pixel; of each
};

// Of a MAC or VEC command, in their order.
std::vector<Pass> passes_of(const Command& command, const npu_target& target);

// The external side of a DMA command: its granules, each once, in the order of
// addresses.
struct Block {
  std::vector<std::pair<unsigned, size_t>> bursts = {};  // bytes; translations it needs
  std::vector<uint64_t> groups = {};                     // of pages that translate together
  uint64_t external = 0, sram = 0;                       // bytes
};
Block block_of(const Command& command, const npu_target& target);

// Bytes that one TLB entry translates.
inline uint64_t group_bytes(const npu_target& target) {
  return uint64_t{target.dma_granule_bytes} / 8 << 12;
}

}  // namespace npu::arch::testing

#endif  // NPU_ARCH_TESTING_STEPPED_WORK_H_
