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
      if (g + 1 < schedule_.segments.size() && !schedule_.segments[g + 1].stripes)
        next_ = prepare(schedule_.segments[g + 1]);
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
    std::vector<std::vector<std::unique_ptr<LayerLowering>>> steps(network_.cores);
    for (size_t i = segment.first; i < segment.last; ++i) {
      const Layer& whole = network_.steps[i].layer;
      Layer layer = placed(whole, schedule_.resident, map_.storages, network_.plan);
      if (segment.split == Split::kRows) bring_rows(layer, i, stripes, i - segment.first);
      for_each_operand(layer, [&](Operand& operand, bool) {
        for (const Operand& ring : chip)
          if (ring.storage == operand.storage) operand = ring;
      });
      if (auto* mac = std::get_if<MacLayer>(&layer))
        mac->stripe_rows = stripes.step_rows[i - segment.first];
      for (auto& of_core : steps) {
        of_core.push_back(lowering(layer, segment.plans[i - segment.first], i));
        if (&of_core != steps.data())
          of_core.back()->share_weights(*steps[0].back(), network_.cores);
      }
    }
    // In turns: what the cores compute of a step at the same time, they do with the same weights.
    std::vector<size_t> next(network_.cores, 0), step_of(network_.cores, 0);
    for (bool more = true; more;) {
      more = false;
      std::vector<size_t> pieces(network_.cores, 0);
      std::vector<LayerLowering*> now(network_.cores, nullptr);
      for (unsigned core = 0; core < network_.cores; ++core) {
        const std::vector<StripeAction>& actions = stripes.work[core].actions;
        emitter_.set_core(core);
        for (; next[core] < actions.size() && now[core] == nullptr; ++next[core]) {
          const StripeAction& action = actions[next[core]];
          if (action.kind == StripeAction::Kind::kCompute) {
            now[core] = steps[core][action.index].get();
            pieces[core] = now[core]->pieces(action.begin, action.end);
            step_of[core] = segment.first + action.index;
          } else {
            move(action, stripes.rings[action.index], external[action.index], chip[action.index],
                 segment);
          }
        }
        more = more || next[core] < actions.size() || now[core] != nullptr;
      }
      const size_t most = *std::max_element(pieces.begin(), pieces.end());
      for (size_t i = 0; i < most; ++i) {
        for (unsigned core = 0; core < network_.cores; ++core) {
          if (i >= pieces[core]) continue;
          emitter_.set_core(core);
          set_source(step_of[core]);
          now[core]->emit_piece(i);
        }
      }
    }
    tail_cycles_ = 0;
    if (segment.split != Split::kRows) return;
    const Layer last = placed(network_.steps[segment.last - 1].layer, schedule_.resident,
                              map_.storages, network_.plan);
    std::vector<Box> parts;
    for (const StripeWork& work : stripes.work)
      parts.push_back(rows_of(last, work.computed.back()));
    Box unit = parts[0];
    unit.row_end = stripes.step_rows.back();
    unit.channel_end = unit.channel_end - unit.channel_begin;
    exchange_.made(last, segment.split, parts, unit);
  }

  static Box rows_of(const Layer& layer, const std::pair<int64_t, int64_t>& rows) {
    Box box = output_box(layer);
    box.row_begin = rows.first;
    box.row_end = rows.second;
    return box;
  }

  // What a step of a segment in stripes reads of tensors that lie in SRAM as a whole.
  void bring_rows(const Layer& layer, size_t step, const Stripes& stripes, size_t index) {
    set_source(step);
    for (unsigned core = 0; core < network_.cores; ++core) {
      emitter_.set_core(core);
      exchange_.bring(layer, Split::kRows, rows_of(layer, stripes.work[core].computed[index]), core,
                      emitter_);
    }
  }

  // Rows between a ring and external memory.
  void move(const StripeAction& action, const Ring& ring, const Operand& external,
            const Operand& chip, const Segment& segment) {
    const bool load = action.kind == StripeAction::Kind::kLoad;
    set_source(load ? segment.first : segment.last - 1);
    // A ring's rows wrap; a transfer's do not.
    for (int64_t row = action.begin; row < action.end;) {
      const int64_t end = std::min(action.end, row - row % ring.rows + ring.rows);
      emitter_.emit(move_rows(load ? NPU_OP_LOAD : NPU_OP_STORE, external, chip, {row, 0, 0},
                              {end - row, ring.width, ring.channels}));
      row = end;
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
