// SPDX-License-Identifier: MIT
#include "compiler/candidate.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "arch/stream.h"
#include "compiler/emit/emit_schedule.h"
#include "compiler/emit/yields.h"
#include "compiler/report/measure.h"
#include "npu/compiled_model.h"

namespace npu::compiler {
namespace {

// What libnpu submits at once.
constexpr size_t kMaxJobs = 128;
// Schedules that are tried with less and less SRAM until one packs.
constexpr int kPackRounds = 8;

std::string fused_type(const Op& op) {
  std::string out = kind_name(op);
  if (const MacOp* mac = op.as<MacOp>()) {
    if (mac->chain.lut1) out += "+Lut";
    if (mac->chain.residual) out += "+Add";
    if (mac->chain.lut2) out += "+Lut";
    if (mac->chain.pool) {
      out += mac->chain.pool->arithmetic.kind == PoolKind::kMax ? "+MaxPool" : "+AveragePool";
    }
  }
  return out;
}

// Names of the nodes whose work each node does too.
std::vector<std::vector<std::string>> absorbed_nodes(const Graph& graph) {
  std::vector<std::vector<std::string>> out(graph.sources.size());
  for (size_t i = 0; i < graph.sources.size(); ++i)
    if (const uint32_t owner = graph.owner(static_cast<uint32_t>(i)); owner != i)
      out[owner].push_back(graph.sources[i].name);
  return out;
}

// Weights, tables and parameters that an operator has to be given.
uint64_t constant_bytes_of(const Op& op) {
  if (op.as<LutOp>() != nullptr) return sizeof(Lut);
  if (const SoftmaxOp* softmax = op.as<SoftmaxOp>()) return sizeof(softmax->table);
  if (const LayerNormOp* norm = op.as<LayerNormOp>())
    return (norm->gamma.size() + norm->beta.size()) * sizeof(float);
  if (const ResizeOp* resize = op.as<ResizeOp>())
    return (resize->rows.size() + resize->columns.size()) * sizeof(npu_resize_entry);
  const MacOp* mac = op.as<MacOp>();
  if (mac == nullptr) return 0;
  uint64_t bytes = mac->weights.size() + mac->bias.size() * 4;
  if (mac->scales.size() > 1) bytes += mac->scales.size() * 4;
  if (mac->weight_zeros.size() > 1) bytes += mac->weight_zeros.size();
  return bytes + (mac->chain.lut1 ? sizeof(Lut) : 0) + (mac->chain.lut2 ? sizeof(Lut) : 0);
}

class Maker {
 public:
  Maker(const CandidateInput& input, Diagnostics& diagnostics)
      : graph_(input.graph),
        cache_(input.plans),
        attempts_(input.attempts),
        steps_(input.plans.steps()),
        plan_(input.plans.memory()),
        options_(input.options),
        target_(input.options.target),
        images_(input.plans.images()),
        diagnostics_(diagnostics) {}

  std::optional<Candidate> run(const ScheduleOptions& options) {
    // Must succeed on all of the SRAM, or the network cannot be compiled.
    const bool plain = !options.residency && options.sram_bytes == target_.sram_bytes;
    ScheduleOptions attempt = options;
    for (int round = 0; round < (options.residency ? kPackRounds : 1); ++round) {
      std::string error;
      size_t step = 0;
      const std::optional<Schedule> schedule = make_schedule(cache_, attempt, error, step);
      if (!schedule) {
        if (plain) resources(graph_.ops[steps_[step].op], error);
        return std::nullopt;
      }
      if (const auto map = map_sram(*schedule, steps_, plan_, options.sram_bytes)) {
        if (!attempts_.add(*schedule, *map) && !plain) return std::nullopt;
        return emit(*schedule, *map, plain);
      }
      // Leave more room for gaps.
      attempt.sram_bytes -= attempt.sram_bytes / 16;
    }
    if (plain) diagnostics_.internal("a layer alone does not pack into SRAM");
    return std::nullopt;
  }

 private:
  void resources(const Op& op, std::string rule) {
    const Source& source = graph_.sources[op.source];
    diagnostics_.add({.status = Status::kResources,
                      .node = source.name,
                      .op = source.type,
                      .rule = std::move(rule),
                      .value = {},
                      .suggestion = {}});
  }

  std::optional<Candidate> emit(const Schedule& schedule, const SramMap& map, bool plain) {
    MemoryPlan plan = plan_;
    for (size_t s = 0; s < plan.storages.size(); ++s)
      plan.storages[s].on_chip = schedule.resident[s];
    for (const Segment& segment : schedule.segments) {
      if (!segment.stripes) continue;
      for (const Ring& ring : segment.stripes->rings) {
        Storage& storage = plan.storages[static_cast<size_t>(ring.storage)];
        // What is joined has parts that others write and read elsewhere.
        const bool inside = cache_.first_use(ring.storage) >= segment.first &&
                            cache_.last_use(ring.storage) < segment.last;
        if (!ring.load && !ring.store && inside) storage.on_chip = true;
        // All of a segment's steps run at once.
        storage.first_op = std::min(storage.first_op, steps_[segment.first].op);
        storage.last_op = std::max(storage.last_op, steps_[segment.last - 1].op);
      }
    }
    pack_scratch(plan);
    Emitter emitter(target_, options_.cores);
    const uint64_t scratch_bytes =
        (plan.scratch_bytes + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
    for (unsigned core = 1; images_ && core < options_.cores; ++core) {
      emitter.set_region_base(core, NPU_REGION_SCRATCH, core * scratch_bytes);
      for (const Storage& storage : plan.storages)
        if (storage.region >= NPU_REGION_TENSORS)
          emitter.set_region_base(core, storage.region, core * storage.bytes);
    }
    Constants constants(plan.constants);
    size_t step = 0;
    if (!emit_schedule({graph_, steps_, plan, target_, options_.cores, options_.poll}, schedule,
                       map, constants, emitter, step)) {
      if (plain)
        resources(graph_.ops[steps_[step].op], "the network needs more than 1 GiB of commands");
      return std::nullopt;
    }
    ModelParts parts;
    parts.jobs = emitter.take_jobs();
    parts.scratch_bytes = images_ ? options_.cores * scratch_bytes : plan.scratch_bytes;
    if (!plain) {
      for (const Job& job : parts.jobs)
        for (const JobStream& stream : job.streams)
          if (stream.bytes.size() >
              std::min<size_t>(NPU_STREAM_MAX_BYTES, target_.max_stream_bytes))
            return std::nullopt;
    }
    return measure(std::move(parts), std::move(constants), layers_of(schedule, plan), plain);
  }

  // What is known of the layers before they are measured.
  std::vector<LayerReport> layers_of(const Schedule& schedule, const MemoryPlan& plan) const {
    std::vector<LayerReport> out;
    const std::vector<std::vector<std::string>> absorbed = absorbed_nodes(graph_);
    std::vector<bool> counted(plan.storages.size(), false);
    for (size_t g = 0; g < schedule.segments.size(); ++g) {
      const Segment& segment = schedule.segments[g];
      for (size_t i = segment.first; i < segment.last; ++i) {
        if (i > 0 && steps_[i].op == steps_[i - 1].op) continue;
        const Op& op = graph_.ops[steps_[i].op];
        const uint64_t macs = macs_of(graph_, op) * (images_ ? options_.cores : 1);
        const std::string tiling = tiling_of(steps_[i].layer, segment.plans[i - segment.first]);
        // Several of one node, such as a ConvTranspose's, are one layer, as their commands are.
        if (!out.empty() && out.back().source == op.source && out.back().type == fused_type(op)) {
          LayerReport& layer = out.back();
          layer.macs += macs;
          if (layer.tiling != tiling) layer.tiling += ", " + tiling;
          describe_operands(op, plan, counted, layer);
          continue;
        }
        LayerReport layer;
        layer.source = op.source;
        layer.nodes = absorbed[op.source];
        layer.name = graph_.sources[op.source].name;
        layer.type = fused_type(op);
        layer.macs = macs;
        layer.tiling = tiling;
        layer.segment = static_cast<uint32_t>(g);
        if (segment.stripes)
          layer.stripe_rows = static_cast<uint32_t>(segment.stripes->step_rows[i - segment.first]);
        layer.output_on_chip =
            plan.storages[static_cast<size_t>(steps_[i].output_storage())].on_chip;
        describe_operands(op, plan, counted, layer);
        out.push_back(std::move(layer));
      }
    }
    return out;
  }

  static std::string tiling_of(const Layer& layer, const StepPlan& plan) {
    const auto* tiles = std::get_if<MacPlan>(&plan);
    if (tiles == nullptr) return {};
    std::string out = fmt::format("{}x{}x{}", tiles->tile_h, tiles->tile_w, tiles->tile_c);
    if (tiles->splits_sum(std::get<MacLayer>(layer)))
      out += fmt::format(" sum {}x{}x{}", tiles->step_h, tiles->step_w, tiles->step_c);
    return out;
  }

  // Shapes and places of what the operator reads and writes, and the bytes of it that no
  // schedule can avoid to move. `counted`: by storage, seen already.
  void describe_operands(const Op& op, const MemoryPlan& plan, std::vector<bool>& counted,
                         LayerReport& layer) const {
    const auto add = [&](const char* what, ValueId id) {
      const Placement& placement = plan.values[id];
      const auto index = static_cast<size_t>(placement.storage);
      const Storage& storage = plan.storages[index];
      const bool constant = storage.region == NPU_REGION_CONSTANTS;
      const bool foreign = constant || storage.region >= NPU_REGION_TENSORS;
      if (foreign && !counted[index]) {
        counted[index] = true;
        layer.least_bytes += storage.bytes;
      }
      layer.operands.push_back(fmt::format("{} {} in {}", what, to_text(graph_.value(id).shape),
                                           constant          ? "constants"
                                           : foreign         ? "host memory"
                                           : storage.on_chip ? "SRAM"
                                                             : "card memory"));
    };
    for (const ValueId id : op.inputs) add("input", id);
    if (const MacOp* mac = op.as<MacOp>(); mac != nullptr && mac->chain.residual)
      add("residual", mac->chain.residual->value);
    layer.least_bytes += constant_bytes_of(op);
    add("output", op.output);
  }

  std::optional<Candidate> measure(ModelParts parts, Constants constants,
                                   std::vector<LayerReport> layers, bool plain) {
    CompileReport report;
    report.constant_bytes = constants.size();
    report.scratch_bytes = parts.scratch_bytes;
    report.jobs = static_cast<uint32_t>(parts.jobs.size());
    report.cores = options_.cores;
    for (const Source& source : graph_.sources) report.macs += source.macs;
    if (parts.jobs.size() > kMaxJobs) {
      if (!plain) return std::nullopt;
      diagnostics_.add({.status = Status::kResources,
                        .node = {},
                        .op = {},
                        .rule = fmt::format("a run has at most {} jobs", kMaxJobs),
                        .value = fmt::format("commands for {}", parts.jobs.size()),
                        .suggestion = "Choose a target with more SRAM or longer streams"});
      return std::nullopt;
    }
    if (options_.max_yield_gap != 0) {
      for (Job& job : parts.jobs) {
        const YieldReport added =
            add_yields(job, options_.max_yield_gap, target_, memory_of_region);
        report.yields += added.yields;
        report.longest_yield_gap = std::max(report.longest_yield_gap, added.longest_gap);
        report.yield_live_bytes = std::max(report.yield_live_bytes, added.most_live_bytes);
      }
    }
    for (const Job& job : parts.jobs)
      for (const JobStream& stream : job.streams) report.command_bytes += stream.bytes.size();
    std::optional<std::vector<JobTrace>> trace = trace_jobs(parts.jobs, target_, diagnostics_);
    if (!trace) return std::nullopt;
    add_totals(*trace, report);
    const double peak = static_cast<double>(target_.mac_outputs) * target_.mac_inputs *
                        options_.cores * static_cast<double>(std::max<uint64_t>(1, report.cycles));
    report.utilization = static_cast<double>(report.macs) / peak;
    report.layers = std::move(layers);
    return Candidate{std::move(parts), std::move(constants), std::move(report), std::move(*trace)};
  }

  const Graph& graph_;
  PlanCache& cache_;
  Attempts& attempts_;
  const std::vector<Step>& steps_;
  const MemoryPlan& plan_;
  const CompileOptions& options_;
  const npu_target& target_;
  const bool images_;
  Diagnostics& diagnostics_;
};

}  // namespace

bool Attempts::add(const Schedule& schedule, const SramMap& map) {
  const std::lock_guard lock(mutex_);
  for (const auto& [made, where] : made_)
    if (made == schedule && where == map) return false;
  made_.emplace_back(schedule, map);
  return true;
}

std::optional<Candidate> make_candidate(const CandidateInput& input,
                                        const ScheduleOptions& schedule, Diagnostics& diagnostics) {
  return Maker(input, diagnostics).run(schedule);
}

}  // namespace npu::compiler
