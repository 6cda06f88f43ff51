// SPDX-License-Identifier: MIT
//
// In which order layers run, what stays in SRAM between them and what goes
// through external memory.
#ifndef NPU_COMPILER_SCHEDULE_SCHEDULE_H_
#define NPU_COMPILER_SCHEDULE_SCHEDULE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "compiler/schedule/plan_cache.h"

namespace npu::compiler {

// Steps [first, last) that run together: one, with any tiling, or several in stripes.
struct Segment {
  size_t first = 0, last = 0;
  Split split = Split::kNone;        // between the cores
  const Stripes* stripes = nullptr;  // of the cache; null for one step
  std::vector<StepPlan> plans;       // of its steps
  Estimate estimate;
  bool operator==(const Segment&) const = default;
};

struct Schedule {
  std::vector<Segment> segments;
  std::vector<bool> resident;  // by storage: lies in SRAM
  // By storage: resident in the place of another one, which ends where this begins; or -1.
  std::vector<int> in_place_of;
  bool operator==(const Schedule&) const = default;
};

struct ScheduleOptions {
  bool residency = true;  // tensors stay in SRAM between layers
  bool stripes = true;    // several layers run together, stripe by stripe
  // SRAM to plan with; less than there is leaves room for what does not pack well.
  uint32_t sram_bytes = 0;
  std::function<void()> poll = {};  // called for every layer; may throw
};

// Refers to what the cache holds. nullopt and the reason in `error`, with the step it is about in
// `step`, if a layer alone does not fit.
std::optional<Schedule> make_schedule(PlanCache& cache, const ScheduleOptions& options,
                                      std::string& error, size_t& step);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_SCHEDULE_SCHEDULE_H_
