// SPDX-License-Identifier: MIT
//
// Dynamic programming over the list of layers. A state is the set of tensors
// that lie in SRAM between two layers; from each, either one layer runs alone
// or several run in stripes, and what they make stays in SRAM or leaves it.
#include "compiler/schedule/schedule.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "npu/compiled_model.h"

namespace npu::compiler {
namespace {

// States kept between two layers, and layers in a segment.
constexpr size_t kMaxStates = 12;
constexpr size_t kMaxSegment = 16;
constexpr uint32_t kMostWeightSlots = 64;

using Set = std::vector<int>;  // of storages, sorted

bool contains(const Set& set, int storage) {
  return std::binary_search(set.begin(), set.end(), storage);
}

class Scheduler {
 public:
  Scheduler(PlanCache& cache, const ScheduleOptions& options)
      : cache_(cache),
        steps_(cache.steps()),
        plan_(cache.memory()),
        target_(cache.target()),
        options_(options) {}

  std::optional<Schedule> run(std::string& error, size_t& failed) {
    states_.assign(steps_.size() + 1, {});
    states_[0][{}] = {};
    for (size_t at = 0; at < steps_.size(); ++at) {
      if (options_.poll) options_.poll();
      prune(states_[at]);
      for (const auto& [set, state] : states_[at]) {
        alone(at, set, state.cost);
        if (options_.stripes) striped(at, set, state.cost);
      }
      if (states_[at + 1].empty() && !reachable_behind(at)) {
        error = error_.empty() ? "it fits in no way beside what lies in SRAM" : error_;
        failed = at;
        return std::nullopt;
      }
    }
    return collect();
  }

 private:
  struct State {
    uint64_t cost = 0;
    size_t from = 0;  // boundary before
    Set from_set;
    Segment segment;
    int output = -1;       // resident output, or -1
    int in_place_of = -1;  // whose place it takes
  };

  bool reachable_behind(size_t at) const {
    for (size_t k = at + 2; k <= steps_.size(); ++k)
      if (!states_[k].empty()) return true;
    return false;
  }

  static void prune(std::map<Set, State>& states) {
    while (states.size() > kMaxStates) {
      auto worst = states.begin();
      for (auto it = states.begin(); it != states.end(); ++it)
        if (it->second.cost > worst->second.cost) worst = it;
      states.erase(worst);
    }
  }

  // Whether what step `at` writes can stay in SRAM from here on: all of it, so that no step before
  // may have written a part.
  bool may_stay(int storage, size_t at) const {
    const Storage& s = plan_.storages[static_cast<size_t>(storage)];
    return options_.residency && s.region == NPU_REGION_SCRATCH && s.bytes <= options_.sram_bytes &&
           cache_.first_use(storage) >= at;
  }

  uint64_t bytes_of(int storage) const {
    return slot_size(static_cast<int64_t>(plan_.storages[static_cast<size_t>(storage)].bytes));
  }

  uint64_t bytes_of(const Set& set) const {
    uint64_t sum = 0;
    for (const int storage : set) sum += bytes_of(storage);
    return sum;
  }

  // What of `set` is still needed behind step `last` - 1.
  Set survivors(const Set& set, size_t last) const {
    Set out;
    for (const int storage : set)
      if (cache_.last_use(storage) >= last) out.push_back(storage);
    return out;
  }

  static Set with(Set set, int storage) {
    if (!contains(set, storage))
      set.insert(std::upper_bound(set.begin(), set.end(), storage), storage);
    return set;
  }

  std::vector<bool> mask(const Set& set) const {
    std::vector<bool> out(plan_.storages.size(), false);
    for (const int storage : set) out[static_cast<size_t>(storage)] = true;
    return out;
  }

  void reach(size_t to, Set set, State state) {
    auto [it, fresh] = states_[to].try_emplace(std::move(set));
    if (fresh || state.cost < it->second.cost) it->second = std::move(state);
  }

  // ---- one layer --------------------------------------------------------------

  void alone(size_t at, const Set& set, uint64_t cost) {
    const int output = steps_[at].output_storage();
    for (const bool keep : {false, true}) {
      if (keep && !may_stay(output, at)) continue;
      const Set during = keep ? with(set, output) : set;
      const int replaced = keep ? replaceable(at, set, output) : -1;
      const uint64_t held = bytes_of(during) - (replaced >= 0 ? bytes_of(output) : 0);
      if (held > options_.sram_bytes) continue;
      for (const Split split : cache_.images()
                                   ? std::vector<Split>{Split::kImages}
                                   : splits_of(steps_[at].layer, target_, cache_.cores())) {
        const StepPlan* plan =
            best_plan(at, mask(during), split, static_cast<uint32_t>(options_.sram_bytes - held));
        if (plan == nullptr) continue;
        State next;
        next.from = at;
        next.from_set = set;
        next.segment.first = at;
        next.segment.last = at + 1;
        next.segment.split = split;
        next.segment.plans = {*plan};
        next.segment.estimate = estimate_of(*plan);
        if (cache_.cores() > 1) {
          more_weight_slots(next.segment.plans[0],
                            static_cast<uint32_t>(options_.sram_bytes - held));
        }
        if (keep) next.segment.estimate.serial += exchange_cycles(steps_[at].layer, split);
        next.cost = cost + score(next.segment.estimate);
        next.output = keep ? output : -1;
        next.in_place_of = replaced;
        reach(at + 1, survivors(during, at + 1), std::move(next));
      }
    }
  }

  // A quarter of the room that is left goes to weights that can be loaded while the layer before
  // leaves memory idle, if this one waits for memory.
  static void more_weight_slots(StepPlan& step, uint32_t room) {
    auto* plan = std::get_if<MacPlan>(&step);
    if (plan == nullptr || plan->weight_bytes == 0 || plan->weight_slots < 2 ||
        plan->estimate.memory <= plan->estimate.engine) {
      return;
    }
    const uint32_t more = (room - plan->sram_bytes()) / 4 / plan->weight_bytes;
    plan->weight_slots = std::min(plan->weight_slots + more, kMostWeightSlots);
  }

  // What the cores wait until they have each other's part of an output: of rows a halo, of
  // channels the piece that is ready last.
  uint64_t exchange_cycles(const Layer& layer, Split split) const {
    if (split == Split::kNone || split == Split::kImages || split == Split::kRepeats) return 0;
    const Box part = part_of(layer, split, target_, 0, cache_.cores());
    uint64_t bytes = static_cast<uint64_t>(part.channel_end - part.channel_begin);
    if (const auto* mac = std::get_if<MacLayer>(&layer))
      bytes *= static_cast<uint64_t>(mac->out_w / mac->pool(1));
    if (split == Split::kChannels) bytes *= static_cast<uint64_t>(part.row_end) / 4 + 1;
    return bytes / target_.sram_word_bytes + 2 * target_.wait_cycles_core;
  }

  // A resident operand whose last reader is this step and whose place the output may take: the
  // residual of a product, an operand of an element-wise layer.
  int replaceable(size_t at, const Set& set, int output) const {
    std::vector<const Operand*> candidates;
    const Operand* out = nullptr;
    if (const auto* mac = std::get_if<MacLayer>(&steps_[at].layer)) {
      out = &mac->output;
      const bool same = std::ranges::all_of(
          mac->outer, [](const OuterDim& dim) { return dim.residual == dim.output; });
      if (mac->op->chain.residual && !mac->op->chain.pool && same) candidates = {&mac->residual};
    } else if (const auto* elements = std::get_if<ElementLayer>(&steps_[at].layer)) {
      out = &elements->out;
      const auto same = [&](int64_t ElementLayer::Dim::*stride) {
        return std::all_of(elements->dims.begin(), elements->dims.end(),
                           [&](const auto& dim) { return dim.*stride == dim.out; });
      };
      if (!elements->copy() && same(&ElementLayer::Dim::a)) candidates.push_back(&elements->a);
      if (elements->two() && same(&ElementLayer::Dim::b)) candidates.push_back(&elements->b);
    }
    const auto bytes = [&](int storage) {
      return plan_.storages[static_cast<size_t>(storage)].bytes;
    };
    for (const Operand* operand : candidates) {
      const int storage = operand->storage;
      int uses = 0;
      for_each_operand(steps_[at].layer,
                       [&](const Operand& other, bool) { uses += other.storage == storage; });
      if (contains(set, storage) && uses == 1 && cache_.last_use(storage) == at &&
          std::equal(operand->stride, operand->stride + 3, out->stride) && operand->offset == 0 &&
          out->offset == 0 && bytes(storage) == bytes(output) && operand->stride[2] == 1) {
        return storage;
      }
    }
    return -1;
  }

  // ---- several layers -----------------------------------------------------------

  void striped(size_t at, const Set& set, uint64_t cost) {
    if (!can_stripe(steps_[at])) return;
    for (size_t last = at + 1; last <= std::min(steps_.size(), at + kMaxSegment); ++last) {
      if (!can_stripe(steps_[last - 1])) break;
      const int output = steps_[last - 1].output_storage();
      for (const bool keep : {false, true}) {
        if (keep && !may_stay(output, last - 1)) continue;
        const Set during = keep ? with(set, output) : set;
        const uint64_t held = bytes_of(during);
        if (held > options_.sram_bytes) continue;
        const bool may_lag = can_lag(std::span(steps_).subspan(at, last - at));
        std::vector<std::pair<int64_t, bool>> ways;  // rows, and whether some steps lag
        for (const int64_t rows : stripe_heights(steps_[last - 1].layer)) {
          ways.emplace_back(rows, false);
          if (may_lag) ways.emplace_back(rows, true);
        }
        for (const auto& [rows, lag] : ways) {
          const std::optional<Segment>& segment = striped_segment(
              at, last, rows, lag, during, static_cast<uint32_t>(options_.sram_bytes - held));
          if (!segment) continue;
          State next;
          next.from = at;
          next.from_set = set;
          next.segment = *segment;
          next.cost = cost + score(segment->estimate);
          next.output = keep ? output : -1;
          reach(last, survivors(during, last), std::move(next));
        }
      }
    }
  }

  static std::vector<int64_t> stripe_heights(const Layer& layer) {
    const auto* mac = std::get_if<MacLayer>(&layer);
    const int64_t height =
        mac != nullptr ? mac->out_h / mac->pool(0) : std::get<PoolLayer>(layer).out_h;
    std::set<int64_t> out;
    for (int64_t pieces = 2; pieces <= height * 2; pieces *= 2)
      out.insert((height + pieces - 1) / pieces);
    return {out.begin(), out.end()};
  }

  std::optional<Segment> striped_segment(size_t first, size_t last, int64_t rows, bool lag,
                                         const Set& during, uint32_t room) {
    const std::vector<bool> resident = mask(during);
    const Stripes* stripes = cache_.stripes_of(first, last, rows, lag, resident);
    if (stripes == nullptr || stripes->ring_bytes > room) return std::nullopt;
    Segment segment;
    segment.first = first;
    segment.last = last;
    if (cache_.cores() > 1) segment.split = cache_.images() ? Split::kImages : Split::kRows;
    uint64_t used = stripes->ring_bytes;
    // Everything between the steps is on chip.
    std::vector<bool> on_chip = resident;
    for (const Ring& ring : stripes->rings) on_chip[static_cast<size_t>(ring.storage)] = true;
    std::vector<const StepPlans*> choices;
    std::vector<size_t> chosen(last - first, 0);
    for (size_t i = first; i < last; ++i) {
      const StepPlans& plans = plans_of(i, on_chip, stripes->step_rows[i - first], segment.split);
      if (plans.all.empty()) return std::nullopt;
      choices.push_back(&plans);
      used += plans.costs[0].bytes;
      if (used > room) return std::nullopt;
    }
    // Room that is left goes where it saves most per byte.
    for (;;) {
      double best = 0;
      size_t which = 0, to = 0;
      for (size_t i = 0; i < choices.size(); ++i) {
        const std::vector<StepPlans::Cost>& costs = choices[i]->costs;
        const StepPlans::Cost& now = costs[chosen[i]];
        for (size_t j = chosen[i] + 1; j < costs.size(); ++j) {
          const uint32_t more = costs[j].bytes - now.bytes;
          if (used + more > room) break;
          const double saved = now.score - costs[j].score;
          if (saved / (more + 1) > best) {
            best = saved / (more + 1);
            which = i;
            to = j;
          }
        }
      }
      if (best <= 0) break;
      used += choices[which]->costs[to].bytes - choices[which]->costs[chosen[which]].bytes;
      chosen[which] = to;
    }
    uint64_t pools = 0;
    for (size_t i = 0; i < choices.size(); ++i) {
      segment.plans.push_back(choices[i]->all[chosen[i]]);
      Estimate estimate = estimate_of(segment.plans.back());
      if (segment.split == Split::kRows) add_overlap(estimate, first + i, *stripes, i);
      segment.estimate += estimate;
      if (std::holds_alternative<PoolLayer>(steps_[first + i].layer)) pools += estimate.engine;
    }
    // Beside what the array does.
    if (lag) segment.estimate.engine -= std::min(pools, segment.estimate.engine / 2);
    for (size_t r = 0; r < stripes->rings.size(); ++r) {
      const Ring& ring = stripes->rings[r];
      const int64_t rows =
          segment.split == Split::kRows ? rows_moved(stripes->work[0], r) : ring.height;
      const auto bytes = static_cast<uint64_t>(rows * ring.width * ring.channels);
      if (ring.load || ring.store)
        segment.estimate.memory += channel_cycles(bytes, ring.external.region, target_);
    }
    segment.estimate.serial +=
        channel_cycles(stripes->first_load_bytes, NPU_REGION_SCRATCH, target_) +
        target_.card_latency_cycles;
    segment.stripes = stripes;
    return segment;
  }

  // Rows of a step that cores compute beside their share, as they need them.
  void add_overlap(Estimate& estimate, size_t at, const Stripes& stripes, size_t step) const {
    const Box part = part_of(steps_[at].layer, Split::kRows, target_, 0, cache_.cores());
    int64_t most = 0;
    for (const StripeWork& work : stripes.work)
      most = std::max(most, work.computed[step].second - work.computed[step].first);
    const auto own = static_cast<uint64_t>(part.row_end - part.row_begin);
    estimate.engine = estimate.engine * std::max(own, static_cast<uint64_t>(most)) / own;
  }

  static int64_t rows_moved(const StripeWork& work, size_t ring) {
    int64_t rows = 0;
    for (const StripeAction& action : work.actions)
      if (action.kind != StripeAction::Kind::kCompute && action.index == ring)
        rows += action.end - action.begin;
    return rows;
  }

  const StepPlans& plans_of(size_t at, const std::vector<bool>& on_chip, int64_t stripe_rows,
                            Split split) {
    const StepPlans& plans = cache_.plans_of(at, on_chip, stripe_rows, split, options_.sram_bytes);
    if (!plans.error.empty()) error_ = plans.error;
    return plans;
  }

  // The fastest plan within `room`.
  const StepPlan* best_plan(size_t at, const std::vector<bool>& on_chip, Split split,
                            uint32_t room) {
    const StepPlans& plans = plans_of(at, on_chip, 0, split);
    for (size_t i = plans.all.size(); i-- > 0;)
      if (plans.costs[i].bytes <= room) return &plans.all[i];
    return nullptr;
  }

  Schedule collect() {
    Schedule schedule;
    schedule.resident.assign(plan_.storages.size(), false);
    schedule.in_place_of.assign(plan_.storages.size(), -1);
    size_t at = steps_.size();
    Set set;
    while (at > 0) {
      State& state = states_[at].at(set);
      if (state.output >= 0) {
        schedule.resident[static_cast<size_t>(state.output)] = true;
        schedule.in_place_of[static_cast<size_t>(state.output)] = state.in_place_of;
      }
      schedule.segments.push_back(std::move(state.segment));
      at = state.from;
      set = state.from_set;
    }
    std::reverse(schedule.segments.begin(), schedule.segments.end());
    return schedule;
  }

  PlanCache& cache_;
  const std::vector<Step>& steps_;
  const MemoryPlan& plan_;
  const npu_target& target_;  // as one of the cores sees it
  const ScheduleOptions& options_;
  std::vector<std::map<Set, State>> states_;
  std::string error_;
};

}  // namespace

std::optional<Schedule> make_schedule(PlanCache& cache, const ScheduleOptions& options,
                                      std::string& error, size_t& step) {
  return Scheduler(cache, options).run(error, step);
}

}  // namespace npu::compiler
