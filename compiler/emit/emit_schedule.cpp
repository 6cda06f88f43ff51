// SPDX-License-Identifier: MIT
#include "compiler/emit/emit_schedule.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "compiler/emit/exchange.h"

namespace npu::compiler {
namespace {

// What a plan finishes at once: all of the channels, or all of the rows, of a tile.
Box finished_at_once(const StepPlan& plan, const Layer& layer, const Box& part, unsigned cores) {
  Box unit = {0, part.row_end - part.row_begin, 0, part.channel_end - part.channel_begin};
  if (const auto* mac = std::get_if<MacPlan>(&plan)) {
    if (mac->channels_outer)
      unit.channel_end = mac->tile_c;
    else
      unit.row_end = std::max<int64_t>(1, mac->tile_h / std::get<MacLayer>(layer).pool(0));
  } else {
    const auto& tile = std::get<VecPlan>(plan);
    unit.channel_end = tile.tile_c;
    if (const auto* elements = std::get_if<ElementLayer>(&layer)) {
      const int64_t of[3] = {tile.tile_h, tile.tile_w, tile.tile_c};
      const auto inner = static_cast<size_t>(divided_dim(layer, cores)) + 3 - elements->dims.size();
      unit.repeat_end = inner < 3 ? of[inner] : 1;
    }
  }
  return unit;
}

class ScheduleEmission {
 public:
  ScheduleEmission(const Network& network, const Schedule& schedule, const SramMap& map,
                   Constants& constants, Emitter& emitter)
      : network_(network),
        schedule_(schedule),
        map_(map),
        constants_(constants),
        emitter_(emitter),
        exchange_(network.cores) {}

  bool run(size_t& step) {
    for (size_t g = 0; g < schedule_.segments.size(); ++g) {
      const Segment& segment = schedule_.segments[g];
      if (network_.poll) network_.poll();
      // The cores of a gang begin and end a job together.
      emitter_.hold_sram(map_.holds[g] || network_.cores > 1);
      if (segment.stripes) {
        striped(g, segment);
      } else {
        alone(g, segment);
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
    if (const auto* resize = std::get_if<ResizeLayer>(&layer))
      return resize_lowering(*resize, std::get<VecPlan>(plan), memory, constants_, emitter_);
    return element_lowering(std::get<ElementLayer>(layer), std::get<VecPlan>(plan), memory,
                            constants_, emitter_);
  }

  // A layer that runs alone, on the cores that share it.
  struct Work {
    Layer layer;
    std::vector<Box> parts;  // by core, as the others
    std::vector<std::unique_ptr<LayerLowering>> lowerings;
    std::vector<size_t> pieces;
  };

  Work prepare(const Segment& segment) {
    const size_t step = segment.first;
    Work work;
    work.layer =
        placed(network_.steps[step].layer, schedule_.resident, map_.storages, network_.plan);
    for (unsigned core = 0; core < network_.cores; ++core) {
      const Box part = part_of(work.layer, segment.split, network_.target, core, network_.cores);
      work.parts.push_back(part);
      work.lowerings.push_back(lowering(narrowed(work.layer, segment.split, part, network_.cores),
                                        segment.plans[0], step));
      work.pieces.push_back(
          part.empty() ? 0 : work.lowerings[core]->pieces(part.row_begin, part.row_end));
    }
    const bool same = std::equal(work.pieces.begin() + 1, work.pieces.end(), work.pieces.begin());
    if (same_weights(segment.split) && same)
      for (unsigned core = 1; core < network_.cores; ++core)
        work.lowerings[core]->share_weights(*work.lowerings[0], network_.cores);
    return work;
  }

  void prefetch(const Work& work, size_t step, uint64_t cycles) {
    set_source(step);
    for (unsigned core = 0; core < network_.cores; ++core) {
      emitter_.set_core(core);
      if (work.pieces[core] > 0) work.lowerings[core]->prefetch(cycles);
    }
  }

  void alone(size_t g, const Segment& segment) {
    Work work = next_ ? std::move(*next_) : prepare(segment);
    next_.reset();
    const size_t most = *std::max_element(work.pieces.begin(), work.pieces.end());
    const Estimate& estimate = segment.estimate;
    if (network_.cores > 1) {
      // Weights go first: what others make may be late.
      prefetch(work, segment.first, std::max<uint64_t>(1, tail_cycles_));
      for (unsigned core = 0; core < network_.cores && segment.split != Split::kImages; ++core) {
        emitter_.set_core(core);
        exchange_.bring(work.layer, segment.split, work.parts[core], core, emitter_);
      }
      if (g + 1 < schedule_.segments.size()) next_ = prepare(schedule_.segments[g + 1]);
    }
    // Time in which memory would be idle goes to the next layer's weights.
    const uint64_t idle =
        (estimate.engine - std::min(estimate.engine, estimate.memory)) / network_.cores / most;
    for (size_t i = 0; i < most; ++i) {
      set_source(segment.first);
      for (unsigned core = 0; core < network_.cores; ++core) {
        emitter_.set_core(core);
        if (i < work.pieces[core]) work.lowerings[core]->emit_piece(i);
      }
      if (next_ && map_.early_constants[segment.last]) prefetch(*next_, segment.last, idle);
    }
    // Behind its last load, a layer that waits for memory has next to nothing left to do.
    tail_cycles_ = estimate.memory < estimate.engine ? estimate.engine / most : 0;
    if (segment.split != Split::kImages)
      exchange_.made(work.layer, segment.split, work.parts,
                     finished_at_once(segment.plans[0], work.layer, work.parts[0], network_.cores));
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
  Exchange exchange_;
  uint64_t tail_cycles_ = 0;  // that the layer before computes behind its last load, about
  std::optional<Work> next_;  // if weights for it may have been loaded
};

}  // namespace

bool emit_schedule(const Network& network, const Schedule& schedule, const SramMap& map,
                   Constants& constants, Emitter& emitter, size_t& step) {
  return ScheduleEmission(network, schedule, map, constants, emitter).run(step);
}

}  // namespace npu::compiler
