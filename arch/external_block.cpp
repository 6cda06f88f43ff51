// SPDX-License-Identifier: MIT
#include "arch/external_block.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

namespace npu::arch {

ExternalRuns external_runs(const npu_command_dma& dma, uint64_t unit) {
  std::pair<uint64_t, uint32_t> dimensions[4];
  for (int i = 0; i < 4; ++i) dimensions[i] = {dma.external_stride[i], dma.size[i]};
  std::sort(std::begin(dimensions), std::end(dimensions));
  ExternalRuns runs;
  runs.start = dma.external_offset;
  runs.bytes = uint64_t{1} << dma.element_log2;
  for (const auto& [stride, count] : dimensions) {
    if (count == 1) continue;
    // Joining is only exact while the run is solid, that is while no larger
    // gap has been left inside; sorted strides make gaps grow.
    if (runs.dimensions == 0 && stride < runs.bytes + unit) {
      runs.bytes += stride * (count - 1);
    } else {
      runs.stride[runs.dimensions] = stride;
      runs.count[runs.dimensions] = count;
      ++runs.dimensions;
    }
  }
  return runs;
}

uint64_t touched_granules(const ExternalRuns& runs, uint32_t unit) {
  // How many runs start at each offset within a unit: adding a dimension of n
  // steps of s is a sum over n values along the cycle r, r - s, r - 2s, ...
  std::array<uint64_t, 256> starts = {};
  std::array<uint64_t, 256> sums;
  starts[runs.start % unit] = 1;
  for (unsigned d = 0; d < runs.dimensions; ++d) {
    const uint32_t step = static_cast<uint32_t>(runs.stride[d] % unit);
    const uint64_t n = runs.count[d];
    if (step == 0) {
      for (uint32_t r = 0; r < unit; ++r) starts[r] *= n;
      continue;
    }
    const uint32_t cycles = std::gcd(step, unit);
    const uint32_t length = unit / cycles;
    const uint64_t whole = n / length, rest = n % length;
    for (uint32_t first = 0; first < cycles; ++first) {
      uint64_t cycle_sum = 0, window = 0;
      uint32_t tail = first;  // oldest of the `rest` values in the window
      uint32_t head = first;
      for (uint32_t i = 0; i < length; ++i, head = (head + step) % unit) {
        cycle_sum += starts[head];
        if (i < rest) window += starts[head];
      }
      // The window of `rest` values that ends at the value before `position`.
      uint32_t position = static_cast<uint32_t>((first + (rest + length - 1) * step) % unit);
      for (uint32_t i = 0; i < length; ++i) {
        sums[position] = whole * cycle_sum + window;
        position = (position + step) % unit;
        if (rest != 0) window += starts[position] - starts[tail];
        tail = (tail + step) % unit;
      }
    }
    std::copy_n(sums.begin(), unit, starts.begin());
  }
  uint64_t total = 0;
  for (uint32_t r = 0; r < unit; ++r)
    if (starts[r] != 0) total += starts[r] * ((r + runs.bytes - 1) / unit + 1);
  return total;
}

}  // namespace npu::arch
