// SPDX-License-Identifier: MIT
//
// A second opinion on modelled time, for tests: a card stepped cycle by cycle.
// It moves every burst, weight and pixel by itself and shares no code with the
// formulas and the event simulation that it judges; it reads commands through
// the contract's structs alone and computes no data.
#ifndef NPU_ARCH_TESTING_STEPPED_CARD_H_
#define NPU_ARCH_TESTING_STEPPED_CARD_H_

#include "arch/stream.h"

namespace npu::arch::testing {

struct SteppedJob {
  struct Span {
    uint64_t start = 0, retired = 0;  // waits met and paid for; cycles from job start
  };
  uint64_t cycles = 0, card_bytes = 0, pcie_bytes = 0, products = 0;
  uint64_t array_cycles = 0;                // from first step to the next command, all cores
  std::vector<std::vector<Span>> commands;  // by core
};

// Regions from `host_from` on lie in host memory, all else in card memory.
SteppedJob step_job(std::span<const Stream> streams, const npu_target& target,
                    unsigned host_from = ~0u);

}  // namespace npu::arch::testing

#endif  // NPU_ARCH_TESTING_STEPPED_CARD_H_
