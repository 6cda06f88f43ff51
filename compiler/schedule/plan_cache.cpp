// SPDX-License-Identifier: MIT
#include "compiler/schedule/plan_cache.h"

#include <algorithm>
#include <span>
#include <utility>

namespace npu::compiler {

uint32_t constant_bytes(const StepPlan& plan) {
  return std::visit([](const auto& p) { return p.constant_bytes(); }, plan);
}
uint32_t data_bytes(const StepPlan& plan) {
  return std::visit([](const auto& p) { return p.data_bytes(); }, plan);
}
const Estimate& estimate_of(const StepPlan& plan) {
  return std::visit([](const auto& p) -> const Estimate& { return p.estimate; }, plan);
}

PlanCache::PlanCache(const std::vector<Step>& steps, const MemoryPlan& plan,
                     const npu_target& target, unsigned cores, bool images)
    : steps_(steps),
      plan_(plan),
      target_(target),
      cores_(cores),
      images_(images),
      first_(plan.storages.size(), steps.size()),
      last_(plan.storages.size(), 0) {
  // Memory is shared; that all use it at once is the usual case.
  target_.card_bytes_per_cycle = std::max(1u, target.card_bytes_per_cycle / cores);
  target_.pcie_bytes_per_cycle = std::max(1u, target.pcie_bytes_per_cycle / cores);
  for (size_t i = 0; i < steps_.size(); ++i) {
    for_each_operand(steps_[i].layer, [&](const Operand& operand, bool) {
      const auto s = static_cast<size_t>(operand.storage);
      first_[s] = std::min(first_[s], i);
      last_[s] = std::max(last_[s], i);
    });
  }
}

const StepPlans& PlanCache::plans_of(size_t at, const std::vector<bool>& on_chip,
                                     int64_t stripe_rows, Split split, uint32_t sram_bytes) {
  unsigned flags = 0, bit = 1;
  for_each_operand(steps_[at].layer, [&](const Operand& operand, bool) {
    if (on_chip[static_cast<size_t>(operand.storage)]) flags |= bit;
    bit <<= 1;
  });
  Entry<StepPlans>* entry = nullptr;
  {
    const std::lock_guard lock(mutex_);
    entry = &plans_[{at, flags, stripe_rows, split, sram_bytes}];
  }
  std::call_once(entry->once,
                 [&] { entry->value = make_plans(at, on_chip, stripe_rows, split, sram_bytes); });
  return entry->value;
}

StepPlans PlanCache::make_plans(size_t at, const std::vector<bool>& on_chip, int64_t stripe_rows,
                                Split split, uint32_t sram_bytes) const {
  Layer layer = placed(steps_[at].layer, on_chip, std::vector<uint32_t>(on_chip.size(), 0), plan_);
  layer = reduced(layer, split, part_of(layer, split, target_, 0, cores_), cores_);
  StepPlans out;
  const auto add = [&](const std::optional<VecPlan>& plan) {
    if (plan && (out.all.empty() || plan->sram_bytes() > compiler::sram_bytes(out.all.back())))
      out.all.emplace_back(*plan);
  };
  if (auto* mac = std::get_if<MacLayer>(&layer)) {
    mac->stripe_rows = stripe_rows;
    for (const MacPlan& plan : plan_mac(*mac, target_, sram_bytes, out.error))
      out.all.emplace_back(plan);
  } else {
    if (auto* pool = std::get_if<PoolLayer>(&layer)) pool->stripe_rows = stripe_rows;
    // Less room means smaller tiles.
    for (unsigned halvings = 7; halvings-- > 0;)
      if (const uint32_t room = sram_bytes >> halvings; room > 0)
        add(plan_vec(layer, room, out.error));
  }
  for (const StepPlan& plan : out.all)
    out.costs.push_back(
        {compiler::sram_bytes(plan), static_cast<double>(score(estimate_of(plan)))});
  return out;
}

std::optional<VecPlan> PlanCache::plan_vec(const Layer& layer, uint32_t room,
                                           std::string& error) const {
  if (const auto* pool = std::get_if<PoolLayer>(&layer))
    return plan_pool(*pool, target_, room, error);
  if (const auto* global = std::get_if<GlobalLayer>(&layer))
    return plan_global(*global, target_, room);
  if (const auto* resize = std::get_if<ResizeLayer>(&layer))
    return plan_resize(*resize, target_, room, error);
  return plan_elements(std::get<ElementLayer>(layer), target_, room, error);
}

const Stripes* PlanCache::stripes_of(size_t first, size_t last, int64_t rows, bool lag,
                                     const std::vector<bool>& resident) {
  const std::span<const Step> steps = std::span(steps_).subspan(first, last - first);
  std::vector<int> on_chip;
  for (const Step& step : steps) {
    for_each_operand(step.layer, [&](const Operand& operand, bool) {
      if (resident[static_cast<size_t>(operand.storage)]) on_chip.push_back(operand.storage);
    });
  }
  std::sort(on_chip.begin(), on_chip.end());
  on_chip.erase(std::unique(on_chip.begin(), on_chip.end()), on_chip.end());
  Entry<std::optional<Stripes>>* entry = nullptr;
  {
    const std::lock_guard lock(mutex_);
    entry = &stripes_[{first, last, rows, lag, std::move(on_chip)}];
  }
  std::call_once(entry->once, [&] {
    std::vector<bool> later(last_.size());
    for (size_t s = 0; s < later.size(); ++s) later[s] = last_[s] >= last;
    entry->value = make_stripes(steps, rows, resident, later, cores_, images_, lag);
  });
  return entry->value ? &*entry->value : nullptr;
}

}  // namespace npu::compiler
