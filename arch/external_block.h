// SPDX-License-Identifier: MIT
//
// The external side of a LOAD or STORE, as memory sees it: which aligned units
// (granules, translation groups) it touches; internal to arch.
#ifndef NPU_ARCH_EXTERNAL_BLOCK_H_
#define NPU_ARCH_EXTERNAL_BLOCK_H_

#include <cstdint>

#include "npu/command.h"

namespace npu::arch {

// Runs of `bytes` at `start` + multiples of the strides, by growing stride.
// Runs between which no whole unit lies are joined.
struct ExternalRuns {
  uint64_t start = 0;
  uint64_t bytes = 0;
  unsigned dimensions = 0;
  uint64_t stride[4] = {};
  uint32_t count[4] = {};

  uint64_t runs() const {
    uint64_t product = 1;
    for (unsigned i = 0; i < dimensions; ++i) product *= count[i];
    return product;
  }
};

// `unit` is a power of two. Requires a command that passed its checks.
ExternalRuns external_runs(const npu_command_dma& dma, uint64_t unit);

// Units that the runs touch; `unit` is at most 256. Each unit counts once as
// long as every dimension steps over all of what it repeats; runs of
// dimensions that interleave count by themselves.
uint64_t touched_granules(const ExternalRuns& runs, uint32_t unit);

// Calls visit(unit index) run after run.
template <typename Visit>
void for_each_unit(const ExternalRuns& runs, uint64_t unit, Visit visit) {
  uint32_t index[4] = {};
  for (;;) {
    uint64_t address = runs.start;
    for (unsigned i = 0; i < runs.dimensions; ++i) address += runs.stride[i] * index[i];
    const uint64_t last = (address + runs.bytes - 1) / unit;
    for (uint64_t at = address / unit; at <= last; ++at) visit(at);
    unsigned i = 0;
    while (i < runs.dimensions && ++index[i] == runs.count[i]) index[i++] = 0;
    if (i == runs.dimensions) return;
  }
}

}  // namespace npu::arch

#endif  // NPU_ARCH_EXTERNAL_BLOCK_H_
