// SPDX-License-Identifier: MIT
//
// Which node's data lies where in SRAM, and when: a picture in rows of addresses and
// columns of time.
#ifndef NPU_COMPILER_REPORT_OCCUPANCY_H_
#define NPU_COMPILER_REPORT_OCCUPANCY_H_

#include <cstdint>
#include <vector>

#include "compiler/report/trace.h"
#include "npu/target.h"

namespace npu::compiler {

struct Occupancy {
  static constexpr int32_t kFree = -1;
  unsigned rows = 0, columns = 0;
  uint64_t row_bytes = 0;
  uint64_t cycles = 0;         // all columns together
  std::vector<int32_t> nodes;  // [row][column], of core 0: who wrote what is read later
};

// Data counts from its first write to its last read. A row that holds data of several
// nodes shows the one that wrote last.
Occupancy sram_occupancy(const std::vector<JobTrace>& traces, const npu_target& target,
                         unsigned rows = 256, unsigned columns = 1000);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_REPORT_OCCUPANCY_H_
