// SPDX-License-Identifier: MIT
#include "compiler/compile.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>

#include "arch/stream.h"
#include "arch/target.h"
#include "compiler/candidate.h"
#include "compiler/emit/model_file.h"
#include "compiler/parallel.h"
#include "compiler/passes/copy_inputs.h"
#include "compiler/passes/fold_pads.h"
#include "compiler/passes/fold_tables.h"
#include "compiler/passes/fuse.h"
#include "compiler/passes/order.h"
#include "compiler/passes/placement.h"
#include "compiler/passes/share_batch.h"
#include "compiler/report/measure.h"
#include "compiler/schedule/schedule.h"
#include "compiler/schedule/steps.h"
#include "npu/compiled_model.h"

namespace npu::compiler {
namespace {

// Residency and stripes, from the most ambitious schedule to the plainest.
constexpr std::pair<bool, bool> kVariants[] = {{true, true}, {true, false}, {false, false}};
// SRAM below which no schedule is tried that a card with more could use.
constexpr uint32_t kLeastSram = 64 << 10;

class Compilation {
 public:
  Compilation(const Graph& graph, const CompileOptions& options, Diagnostics& diagnostics)
      : model_(graph),
        graph_(graph),
        options_(options),
        target_(options.target),
        diagnostics_(diagnostics) {
    if (options.cores < 2) return;
    if (std::optional<Graph> share = share_of_batch(graph, options.cores)) {
      graph_ = std::move(*share);
      images_ = true;
    }
  }

  // smaller: also with halves of the SRAM.
  std::optional<CompiledModel> run(bool smaller) {
    const std::string bad = arch::validate_target(target_);
    if (!bad.empty()) {
      diagnostics_.add({.status = Status::kTarget,
                        .node = {},
                        .op = {},
                        .rule = "target: " + bad,
                        .value = {},
                        .suggestion = {}});
      return std::nullopt;
    }
    if (graph_.inputs.size() + graph_.outputs.size() + NPU_REGION_TENSORS > NPU_MAX_REGIONS) {
      diagnostics_.add({.status = Status::kUnsupported,
                        .node = {},
                        .op = {},
                        .rule = fmt::format("at most {} graph inputs and outputs",
                                            NPU_MAX_REGIONS - NPU_REGION_TENSORS),
                        .value = {},
                        .suggestion = {}});
      return std::nullopt;
    }
    if (options_.cores < 1 || options_.cores > target_.cores) {
      diagnostics_.add(
          {.status = Status::kTarget,
           .node = {},
           .op = {},
           .rule = fmt::format("a network runs on 1 to {} cores of this target", target_.cores),
           .value = fmt::format("{} cores", options_.cores),
           .suggestion = {}});
      return std::nullopt;
    }
    if (options_.fuse) {
      const std::vector<size_t> before = kinds();
      fold_pads(graph_);
      fold_tables(graph_);
      fuse_output_chains(graph_, target_);
      fused_ = kinds() != before;
    }
    reorder_flattened_weights(graph_);
    fill_array_gaps(graph_);
    if (options_.residency) copy_repeated_inputs(graph_);
    std::optional<MemoryPlan> plan = plan_memory(graph_, diagnostics_);
    if (!plan || !check_memory(*plan)) return std::nullopt;
    plan_ = std::move(*plan);
    steps_ = make_steps(graph_, plan_, target_);
    cache_.emplace(steps_, plan_, target_, options_.cores, images_);
    // With everything that may help, and with less, on all of the SRAM and on halves of it: what
    // estimates promised counts only once the card's clock has confirmed it, and a larger SRAM
    // offers all that a smaller one does.
    std::vector<ScheduleOptions> variants = variants_of(target_.sram_bytes);
    for (uint32_t bytes = target_.sram_bytes / 2;
         smaller && bytes >= kLeastSram && options_.keep_fastest; bytes /= 2)
      for (const ScheduleOptions& variant : variants_of(bytes)) variants.push_back(variant);
    std::optional<Candidate> best = options_.keep_fastest ? fastest(variants) : first(variants);
    // Nothing fits: with less and less.
    for (uint32_t bytes = variants.back().sram_bytes / 2; !best && diagnostics_.ok() && bytes > 0;
         bytes /= 2)
      best = first(variants_of(bytes));
    if (!best) return std::nullopt;
    return finish(std::move(*best));
  }

  // Whether fusion made a difference.
  bool fused() const { return fused_; }

 private:
  std::vector<size_t> kinds() const {
    std::vector<size_t> out;
    for (const Op& op : graph_.ops) out.push_back(op.detail.index());
    return out;
  }

  // From the most ambitious to the plainest.
  std::vector<ScheduleOptions> variants_of(uint32_t sram_bytes) const {
    std::vector<ScheduleOptions> out;
    for (const auto& [residency, stripes] : kVariants) {
      if ((residency && !options_.residency) || (stripes && !options_.stripes)) continue;
      out.push_back({residency, stripes, sram_bytes, options_.poll});
    }
    return out;
  }

  // The first that works. Null: none, or with diagnostics.
  std::optional<Candidate> first(const std::vector<ScheduleOptions>& variants) {
    for (const ScheduleOptions& variant : variants) {
      std::optional<Candidate> candidate = make_candidate(input(), variant, diagnostics_);
      if (candidate || !diagnostics_.ok()) return candidate;
    }
    return std::nullopt;
  }

  // The fastest, of equal ones the first, whatever the threads do.
  std::optional<Candidate> fastest(const std::vector<ScheduleOptions>& variants) {
    std::vector<Diagnostics> diagnostics(variants.size());
    std::atomic<size_t> done = 0;
    std::mutex mutex;
    std::optional<Candidate> best;
    size_t best_index = 0;
    for_each_index(variants.size(), [&](size_t i) {
      if (options_.progress) options_.progress(done, variants.size());
      std::optional<Candidate> candidate = make_candidate(input(), variants[i], diagnostics[i]);
      ++done;
      if (!candidate) return;
      const std::lock_guard lock(mutex);
      const auto better = [&] {
        const uint64_t cycles = candidate->report.cycles, least = best->report.cycles;
        return cycles < least || (cycles == least && i < best_index);
      };
      if (best && !better()) return;
      best = std::move(candidate);
      best_index = i;
    });
    for (const Diagnostics& problems : diagnostics) {
      if (problems.ok()) continue;
      diagnostics_ = problems;
      return std::nullopt;
    }
    return best;
  }

  CandidateInput input() { return {graph_, *cache_, attempts_, options_}; }

  // Before anything is emitted: tensors that do not fit would make tiles
  // without end.
  bool check_memory(const MemoryPlan& plan) {
    const unsigned copies = images_ ? options_.cores : 1;
    uint64_t bytes = plan.constants.size() + plan.scratch_bytes * copies;
    for (const Storage& storage : plan.storages) {
      if (storage.region >= NPU_REGION_TENSORS) bytes += storage.bytes * copies;
    }
    for (const Op& op : graph_.ops) {
      if (const MacOp* mac = op.as<MacOp>()) bytes += mac->weights.size();
    }
    return check_memory(bytes);
  }

  bool check_memory(uint64_t bytes) {
    const uint64_t memory = uint64_t{target_.card_memory_mib} << 20;
    if (bytes <= memory) return true;
    diagnostics_.add(
        {.status = Status::kResources,
         .node = {},
         .op = {},
         .rule = fmt::format("the network needs {} MiB of card memory for weights and tensors",
                             (bytes >> 20) + 1),
         .value = fmt::format("a target with {} MiB", target_.card_memory_mib),
         .suggestion = "Choose a target with more memory, or a smaller input or batch"});
    return false;
  }

  std::optional<CompiledModel> finish(Candidate best) {
    if (!check_regions(best)) return std::nullopt;
    CompiledModel out;
    out.report = std::move(best.report);
    out.trace = std::move(best.trace);
    add_costs(out);
    best.parts.constants = best.constants.bytes();
    // What libnpu puts there, which is known only now.
    if (!check_memory(best.parts.constants.size() + best.parts.scratch_bytes +
                      out.report.command_bytes))
      return std::nullopt;
    out.file = write_model(model_, best.parts, out.report, target_);
    if (out.file.empty()) {
      diagnostics_.add({.status = Status::kResources,
                        .node = {},
                        .op = {},
                        .rule = "a compiled model is smaller than 2 GiB",
                        .value = {},
                        .suggestion = {}});
      return std::nullopt;
    }
    return out;
  }

  // Whether every transfer stays within its region, as whoever loads the model will ask.
  bool check_regions(const Candidate& candidate) {
    std::map<unsigned, uint64_t> bytes = {{NPU_REGION_CONSTANTS, candidate.constants.size()},
                                          {NPU_REGION_SCRATCH, candidate.parts.scratch_bytes}};
    for (const Storage& storage : plan_.storages)
      if (storage.region >= NPU_REGION_TENSORS)
        bytes[storage.region] = storage.bytes * (images_ ? options_.cores : 1);
    for (const JobTrace& trace : candidate.trace) {
      for (const arch::Stream& stream : trace.streams) {
        for (size_t i = 0; i < stream.size(); ++i) {
          const unsigned opcode = stream[i].opcode();
          if (opcode != NPU_OP_LOAD && opcode != NPU_OP_STORE) continue;
          const npu_command_dma& dma = stream[i].dma();
          if (dma.external_offset + arch::external_extent(dma) <= bytes[dma.region]) continue;
          const Source& source = graph_.sources[stream[i].header().source_op];
          diagnostics_.internal(fmt::format("command {} of node '{}' reaches beyond region {}", i,
                                            source.name, dma.region));
          return false;
        }
      }
    }
    return true;
  }

  void add_costs(CompiledModel& model) const {
    const std::vector<LayerReport> costs =
        costs_by_node(model.trace, graph_.sources.size(), target_);
    // Of several operators of one node the one that computes most shows them.
    std::vector<const LayerReport*> shown(graph_.sources.size(), nullptr);
    for (const LayerReport& layer : model.report.layers) {
      const LayerReport*& best = shown[layer.source];
      if (best == nullptr || layer.macs > best->macs) best = &layer;
    }
    for (LayerReport& layer : model.report.layers) {
      if (shown[layer.source] != &layer) continue;
      const LayerReport& cost = costs[layer.source];
      layer.commands = cost.commands;
      layer.first_cycle = cost.first_cycle;
      layer.last_cycle = cost.last_cycle;
      layer.cycles = cost.cycles;
      layer.execute_cycles = cost.execute_cycles;
      layer.memory_cycles = cost.memory_cycles;
      layer.wait_cycles = cost.wait_cycles;
      layer.mac_cycles = cost.mac_cycles;
      layer.external_bytes = cost.external_bytes;
    }
  }

  const Graph& model_;  // as it was given
  Graph graph_;         // as it is compiled: of one core's images, if those are divided
  bool images_ = false;
  bool fused_ = false;
  const CompileOptions& options_;
  const npu_target& target_;
  Diagnostics& diagnostics_;
  MemoryPlan plan_;
  std::vector<Step> steps_;
  std::optional<PlanCache> cache_;
  Attempts attempts_;
};

}  // namespace

std::optional<CompiledModel> compile_graph(const Graph& graph, const CompileOptions& options,
                                           Diagnostics& diagnostics) {
  std::optional<CompiledModel> best;
  {
    Compilation compilation(graph, options, diagnostics);
    best = compilation.run(true);
    if (!best || !compilation.fused() || !options.unfused || !options.keep_fastest) return best;
  }
  // Fusion seldom costs more than it saves, as what is added has to stay in SRAM meanwhile: a look
  // at the network without it, and if that is faster a closer one.
  CompileOptions unfused = options;
  unfused.fuse = false;
  for (const bool smaller : {false, true}) {
    // What is switched off is so for comparison, which may take its time.
    if (!smaller && !(options.residency && options.stripes)) continue;
    Diagnostics problems;  // of no interest, as there is a model, but for mistakes of our own
    std::optional<CompiledModel> other = Compilation(graph, unfused, problems).run(smaller);
    if (problems.status() == Status::kInternal) {
      diagnostics = problems;
      return std::nullopt;
    }
    if (!other || other->report.cycles >= best->report.cycles) break;
    best = std::move(other);
  }
  return best;
}

}  // namespace npu::compiler
