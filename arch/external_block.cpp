// SPDX-License-Identifier: MIT
#include "arch/external_block.h"

#include <array>
#include <numeric>
#include <tuple>
#include <utility>

namespace npu::arch {

ExternalRuns external_runs(const npu_command_dma& dma, uint64_t unit) {
  ExternalRuns runs;
  runs.start = dma.external_offset;
  runs.bytes = uint64_t{1} << dma.element_log2;
  // The dimensions that repeat anything, by growing stride.
  for (int i = 0; i < 4; ++i) {
    if (dma.size[i] == 1) continue;
    const std::pair<uint64_t, uint32_t> dimension = {dma.external_stride[i], dma.size[i]};
    unsigned at = runs.dimensions++;
    for (; at > 0 && std::pair(runs.stride[at - 1], runs.count[at - 1]) > dimension; --at)
      runs.stride[at] = runs.stride[at - 1], runs.count[at] = runs.count[at - 1];
    std::tie(runs.stride[at], runs.count[at]) = dimension;
  }
  // The first ones are joined while the run is solid at the grain of units.
  unsigned joined = 0;
  for (; joined < runs.dimensions && runs.stride[joined] < runs.bytes + unit; ++joined)
    runs.bytes += runs.stride[joined] * (runs.count[joined] - 1);
  runs.dimensions -= joined;
  for (unsigned i = 0; joined != 0 && i < 4; ++i) {
    runs.stride[i] = i < runs.dimensions ? runs.stride[i + joined] : 0;
    runs.count[i] = i < runs.dimensions ? runs.count[i + joined] : 0;
  }
  return runs;
}

namespace {

// How many blocks start at each offset within a unit.
using Starts = std::array<uint64_t, 256>;

// Repeats each block n times, `stride` apart. For every offset that is a sum
// over n values along the cycle r, r - stride, r - 2 * stride, ...: a sliding
// window on each cycle.
Starts repeat(const Starts& starts, uint32_t unit, uint64_t stride, uint64_t n) {
  Starts sums = {};
  const uint32_t step = static_cast<uint32_t>(stride % unit);
  if (step == 0) {
    for (uint32_t r = 0; r < unit; ++r) sums[r] = starts[r] * n;
    return sums;
  }
  const uint32_t cycles = std::gcd(step, unit);
  const uint32_t length = unit / cycles;
  const uint64_t whole = n / length, rest = n % length;
  for (uint32_t first = 0; first < cycles; ++first) {
    uint64_t cycle_sum = 0, window = 0;
    for (uint32_t i = 0, at = first; i < length; ++i, at = (at + step) % unit) {
      cycle_sum += starts[at];
      if (i < rest) window += starts[at];
    }
    // The window holds the `rest` values up to and including `head`.
    uint32_t tail = first;
    uint32_t head = static_cast<uint32_t>((first + (rest + length - 1) * step) % unit);
    for (uint32_t i = 0; i < length; ++i) {
      sums[head] = whole * cycle_sum + window;
      head = (head + step) % unit;
      if (rest != 0) window += starts[head] - starts[tail];
      tail = (tail + step) % unit;
    }
  }
  return sums;
}

}  // namespace

uint64_t touched_granules(const ExternalRuns& runs, uint32_t unit) {
  if (runs.dimensions == 0) return (runs.start % unit + runs.bytes - 1) / unit + 1;
  uint64_t extent[5] = {runs.bytes};
  for (unsigned d = 0; d < runs.dimensions; ++d)
    extent[d + 1] = extent[d] + runs.stride[d] * (runs.count[d] - 1);
  Starts starts = {};
  starts[runs.start % unit] = 1;
  uint64_t shared = 0;  // units in which one block ends and the next begins
  for (unsigned d = runs.dimensions; d-- > 0;) {
    const uint64_t stride = runs.stride[d];
    if (stride >= extent[d] && stride < extent[d] + unit) {
      const Starts with_next = repeat(starts, unit, stride, runs.count[d] - 1);
      for (uint32_t r = 0; r < unit; ++r)
        if ((r + extent[d] - 1) / unit == (r + stride) / unit) shared += with_next[r];
    }
    starts = repeat(starts, unit, stride, runs.count[d]);
  }
  uint64_t total = 0;
  for (uint32_t r = 0; r < unit; ++r)
    if (starts[r] != 0) total += starts[r] * ((r + runs.bytes - 1) / unit + 1);
  return total - shared;
}

}  // namespace npu::arch
