// SPDX-License-Identifier: MIT
#include "compiler/emit/emit_schedule.h"

#include <algorithm>
#include <memory>

namespace npu::compiler {
namespace {

int64_t output_rows(const Layer& layer) {
  if (const auto* mac = std::get_if<MacLayer>(&layer)) return mac->out_h / mac->pool(0);
  if (const auto* pool = std::get_if<PoolLayer>(&layer)) return pool->out_h;
  return 1;
}

class ScheduleEmission {
 public:
  ScheduleEmission(const Network& network, const Schedule& schedule, const SramMap& map,
                   Constants& constants, Emitter& emitter)
      : network_(network),
        schedule_(schedule),
        map_(map),
        constants_(constants),
        emitter_(emitter) {}

  bool run(size_t& step) {
    for (size_t g = 0; g < schedule_.segments.size(); ++g) {
      const Segment& segment = schedule_.segments[g];
      emitter_.hold_sram(map_.holds[g]);
      if (segment.stripes) {
        striped(g, segment);
      } else {
        set_source(segment.first);
        const Layer layer = placed(network_.steps[segment.first].layer, schedule_.resident,
                                   map_.storages, network_.plan);
        lowering(layer, segment.plans[0], segment.first)->rows(0, output_rows(layer));
      }
      if (emitter_.total_bytes() > kMaxCommandBytes) {
        step = segment.first;
        return false;
      }
    }
    emitter_.hold_sram(false);
    return true;
  }

 private:
  void set_source(size_t step) {
    emitter_.set_source(network_.graph.ops[network_.steps[step].op].source);
  }

  std::unique_ptr<LayerLowering> lowering(const Layer& layer, const StepPlan& plan, size_t step) {
    const WorkMemory& memory = map_.steps[step];
    if (const auto* mac = std::get_if<MacLayer>(&layer))
      return mac_lowering(*mac, std::get<MacPlan>(plan), memory, network_.target, constants_,
                          emitter_);
    if (const auto* pool = std::get_if<PoolLayer>(&layer))
      return pool_lowering(*pool, std::get<VecPlan>(plan), memory, emitter_);
    if (const auto* global = std::get_if<GlobalLayer>(&layer))
      return global_lowering(*global, std::get<VecPlan>(plan), memory, emitter_);
    return element_lowering(std::get<ElementLayer>(layer), std::get<VecPlan>(plan), memory,
                            constants_, emitter_);
  }

  void striped(size_t g, const Segment& segment) {
    const Stripes& stripes = *segment.stripes;
    std::vector<Operand> chip, external;
    for (size_t r = 0; r < stripes.rings.size(); ++r) {
      const Ring& ring = stripes.rings[r];
      chip.push_back(ring.operand(map_.rings[g][r]));
      external.push_back(ring.external);
      external.back().offset += network_.plan.storages[static_cast<size_t>(ring.storage)].offset;
    }
    std::vector<std::unique_ptr<LayerLowering>> steps;
    for (size_t i = segment.first; i < segment.last; ++i) {
      Layer layer =
          placed(network_.steps[i].layer, schedule_.resident, map_.storages, network_.plan);
      for_each_operand(layer, [&](Operand& operand, bool) {
        for (const Operand& ring : chip)
          if (ring.storage == operand.storage) operand = ring;
      });
      if (auto* mac = std::get_if<MacLayer>(&layer))
        mac->stripe_rows = stripes.step_rows[i - segment.first];
      steps.push_back(lowering(layer, segment.plans[i - segment.first], i));
    }
    for (const StripeAction& action : stripes.actions) {
      if (action.kind == StripeAction::Kind::kCompute) {
        set_source(segment.first + action.index);
        steps[action.index]->rows(action.begin, action.end);
        continue;
      }
      const bool load = action.kind == StripeAction::Kind::kLoad;
      set_source(load ? segment.first : segment.last - 1);
      const Ring& ring = stripes.rings[action.index];
      // A ring's rows wrap; a transfer's do not.
      for (int64_t row = action.begin; row < action.end;) {
        const int64_t end = std::min(action.end, row - row % ring.rows + ring.rows);
        emitter_.emit(move_rows(load ? NPU_OP_LOAD : NPU_OP_STORE, external[action.index],
                                chip[action.index], {row, 0, 0},
                                {end - row, ring.width, ring.channels}));
        row = end;
      }
    }
  }

  const Network& network_;
  const Schedule& schedule_;
  const SramMap& map_;
  Constants& constants_;
  Emitter& emitter_;
};

}  // namespace

bool emit_schedule(const Network& network, const Schedule& schedule, const SramMap& map,
                   Constants& constants, Emitter& emitter, size_t& step) {
  return ScheduleEmission(network, schedule, map, constants, emitter).run(step);
}

}  // namespace npu::compiler
