// SPDX-License-Identifier: MIT
#include "arch/work.h"

#include <algorithm>

namespace npu::arch {

void share_channel(std::span<Work*> active, uint64_t bandwidth) {
  uint64_t left = kOne * bandwidth;
  size_t count = active.size();
  while (count != 0) {
    const uint64_t equal = left / count;
    size_t kept = 0;
    for (size_t i = 0; i < count; ++i) {
      if (active[i]->cap <= equal) {
        active[i]->rate = active[i]->cap;
        left -= active[i]->cap;
      } else {
        active[kept++] = active[i];
      }
    }
    if (kept == count) {
      for (size_t i = 0; i < count; ++i) active[i]->rate = std::max<uint64_t>(equal, 1);
      return;
    }
    count = kept;
  }
}

void limit_sram(std::span<Work*> active, uint64_t bandwidth) {
  // A work alone stays below a few SRAM words per cycle, so the product of rate
  // and bytes per unit, both with a fraction, stays in 64 bits.
  uint64_t demand = 0;
  for (const Work* work : active) demand += work->rate * work->sram_per_unit >> kFraction;
  const uint64_t limit = kOne * bandwidth;
  if (demand <= limit) return;
  for (Work* work : active) work->rate = std::max<uint64_t>(work->rate * limit / demand, 1);
}

}  // namespace npu::arch
