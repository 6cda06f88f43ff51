// SPDX-License-Identifier: MIT
//
// In which order layers run, what stays in SRAM between them and what goes
// through external memory.
#ifndef NPU_COMPILER_SCHEDULE_SCHEDULE_H_
#define NPU_COMPILER_SCHEDULE_SCHEDULE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "compiler/passes/placement.h"
#include "compiler/schedule/gang.h"
#include "compiler/schedule/steps.h"
#include "compiler/schedule/stripes.h"

namespace npu::compiler {

using StepPlan = std::variant<MacPlan, VecPlan>;
uint32_t constant_bytes(const StepPlan& plan);
uint32_t data_bytes(const StepPlan& plan);
inline uint32_t sram_bytes(const StepPlan& plan) {
  return slot_size(constant_bytes(plan)) + slot_size(data_bytes(plan));
}
const Estimate& estimate_of(const StepPlan& plan);

// Steps [first, last) that run together: one, with any tiling, or several in stripes.
struct Segment {
  size_t first = 0, last = 0;
  Split split = Split::kNone;              // between the cores
  std::shared_ptr<const Stripes> stripes;  // null for one step
  std::vector<StepPlan> plans;             // of its steps
  Estimate estimate;
};

struct Schedule {
  std::vector<Segment> segments;
  std::vector<bool> resident;  // by storage: lies in SRAM
  // By storage: resident in the place of another one, which ends where this begins; or -1.
  std::vector<int> in_place_of;
};

struct ScheduleOptions {
  bool residency = true;  // tensors stay in SRAM between layers
  bool stripes = true;    // several layers run together, stripe by stripe
  unsigned cores = 1;     // that every layer is divided among
  bool images = false;    // by images: each runs all of the network
  // SRAM to plan with; less than there is leaves room for what does not pack well.
  uint32_t sram_bytes = 0;
  std::function<void()> poll = {};  // called for every layer; may throw
};

// nullopt and the reason in `error`, with the step it is about in `step`, if a layer alone does
// not fit.
std::optional<Schedule> make_schedule(const std::vector<Step>& steps, const MemoryPlan& plan,
                                      const npu_target& target, const ScheduleOptions& options,
                                      std::string& error, size_t& step);

// The layer with its operands where their storages lie: on chip at `address`, both by storage,
// or in external memory.
Layer placed(const Layer& layer, const std::vector<bool>& on_chip,
             const std::vector<uint32_t>& address, const MemoryPlan& plan);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_SCHEDULE_SCHEDULE_H_
