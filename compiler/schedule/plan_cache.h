// SPDX-License-Identifier: MIT
//
// The ways in which a network's layers can run: tilings of each, stripes of several. They depend
// on what of their operands lies in SRAM and on how much of it there is, not on the rest of a
// schedule, so all schedules of a network share what is found once.
#ifndef NPU_COMPILER_SCHEDULE_PLAN_CACHE_H_
#define NPU_COMPILER_SCHEDULE_PLAN_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
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

// What plans are compared by: least cycles first, but traffic costs energy and others' time.
inline uint64_t score(const Estimate& estimate) {
  return estimate.cycles() + estimate.memory / 8;
}

// Plans of which none is beaten in both SRAM and time by another one; the smallest first.
struct StepPlans {
  struct Cost {
    uint32_t bytes;
    double score;
  };
  std::vector<StepPlan> all;
  std::vector<Cost> costs;  // of each
  std::string error;        // why there is none, or no larger one
};

// Threads may ask at once; what they get stays as long as the cache.
class PlanCache {
 public:
  // Of a network on `cores` cores; with `images`, each of them runs all of it. Keeps the
  // references.
  PlanCache(const std::vector<Step>& steps, const MemoryPlan& plan, const npu_target& target,
            unsigned cores, bool images);

  const std::vector<Step>& steps() const { return steps_; }
  const MemoryPlan& memory() const { return plan_; }
  // As one of the cores sees it, while all use the memory.
  const npu_target& target() const { return target_; }
  unsigned cores() const { return cores_; }
  bool images() const { return images_; }
  // Steps that use a storage; of one that none uses the first is behind the last.
  size_t first_use(int storage) const { return first_[static_cast<size_t>(storage)]; }
  size_t last_use(int storage) const { return last_[static_cast<size_t>(storage)]; }

  // Plans of one step on a core of those that divide it, with at most `sram_bytes`. `on_chip`: by
  // storage. `stripe_rows`: rows of the output at a time, or 0 for any.
  const StepPlans& plans_of(size_t at, const std::vector<bool>& on_chip, int64_t stripe_rows,
                            Split split, uint32_t sram_bytes);
  // Steps [first, last) as make_stripes() makes them. Null: not possible.
  const Stripes* stripes_of(size_t first, size_t last, int64_t rows, bool lag,
                            const std::vector<bool>& resident);

 private:
  template <typename T>
  struct Entry {
    std::once_flag once;
    T value;
  };
  template <typename Key, typename T>
  using Entries = std::map<Key, Entry<T>>;

  StepPlans make_plans(size_t at, const std::vector<bool>& on_chip, int64_t stripe_rows,
                       Split split, uint32_t sram_bytes) const;
  std::optional<VecPlan> plan_vec(const Layer& layer, uint32_t room, std::string& error) const;

  const std::vector<Step>& steps_;
  const MemoryPlan& plan_;
  npu_target target_;
  const unsigned cores_;
  const bool images_;
  std::vector<size_t> first_, last_;  // by storage
  std::mutex mutex_;                  // of the maps, not of their entries
  Entries<std::tuple<size_t, unsigned, int64_t, Split, uint32_t>, StepPlans> plans_;
  Entries<std::tuple<size_t, size_t, int64_t, bool, std::vector<int>>, std::optional<Stripes>>
      stripes_;
};

}  // namespace npu::compiler

#endif  // NPU_COMPILER_SCHEDULE_PLAN_CACHE_H_
