// SPDX-License-Identifier: MIT
//
// Addresses in SRAM for everything a schedule keeps there.
#ifndef NPU_COMPILER_SCHEDULE_SRAM_MAP_H_
#define NPU_COMPILER_SCHEDULE_SRAM_MAP_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "compiler/emit/lower.h"
#include "compiler/schedule/schedule.h"

namespace npu::compiler {

struct SramMap {
  std::vector<uint32_t> storages;            // address of a resident one
  std::vector<std::vector<uint32_t>> rings;  // by segment and ring
  std::vector<WorkMemory> steps;             // by step
  // By step: the place for its constants is free while the segment before runs.
  std::vector<bool> early_constants;
  // By segment: something that an earlier one left is in SRAM, or something will be left.
  std::vector<bool> holds;
  bool operator==(const SramMap&) const = default;
};

// nullopt if it does not pack into `sram_bytes`.
std::optional<SramMap> map_sram(const Schedule& schedule, const std::vector<Step>& steps,
                                const MemoryPlan& plan, uint32_t sram_bytes);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_SCHEDULE_SRAM_MAP_H_
