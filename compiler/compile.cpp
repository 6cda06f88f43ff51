// SPDX-License-Identifier: MIT
#include "compiler/compile.h"

#include <fmt/format.h>

#include <algorithm>

#include "arch/stream.h"
#include "arch/target.h"
#include "arch/timing.h"
#include "compiler/emit/lower.h"
#include "compiler/emit/model_file.h"
#include "compiler/passes/fuse.h"
#include "compiler/passes/placement.h"
#include "compiler/schedule/layers.h"
#include "npu/compiled_model.h"

namespace npu::compiler {
namespace {

// What libnpu submits at once.
constexpr size_t kMaxJobs = 64;

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

class Compilation {
 public:
  Compilation(const Graph& graph, const CompileOptions& options, Diagnostics& diagnostics)
      : graph_(graph),
        options_(options),
        target_(options.target),
        diagnostics_(diagnostics),
        emitter_(options.target) {}

  std::optional<CompiledModel> run() {
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
    if (options_.fuse) fuse_output_chains(graph_, target_);
    reorder_flattened_weights(graph_);
    std::optional<MemoryPlan> plan = plan_memory(graph_, diagnostics_);
    if (!plan || !check_memory(*plan)) return std::nullopt;
    plan_ = std::move(*plan);
    constants_.emplace(plan_.constants);
    for (const Op& op : graph_.ops) {
      if (op.is_view()) continue;
      lower(op);
      if (!diagnostics_.ok()) return std::nullopt;
      // Far above any network that fits the card; stops a hopeless tiling early.
      if (emitter_.total_bytes() > (uint64_t{1} << 30)) {
        resources(op, "the network needs more than 1 GiB of commands");
        return std::nullopt;
      }
    }
    return finish();
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

  // Before anything is emitted: tensors that do not fit would make tiles
  // without end.
  bool check_memory(const MemoryPlan& plan) {
    uint64_t bytes = plan.constants.size() + plan.scratch_bytes;
    for (const Storage& storage : plan.storages) {
      if (storage.region >= NPU_REGION_TENSORS) bytes += storage.bytes;
    }
    for (const Op& op : graph_.ops) {
      if (const MacOp* mac = op.as<MacOp>()) bytes += mac->weights.size();
    }
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

  void lower(const Op& op) {
    emitter_.set_source(op.source);
    std::string error;
    LayerNote note;
    note.source = op.source;
    note.type = fused_type(op);
    note.macs = macs_of(graph_, op);
    note.job_generation = emitter_.generation();
    if (op.as<MacOp>() != nullptr) {
      const MacLayer layer = make_mac_layer(graph_, plan_, op);
      lower_planned(op, layer, note);
    } else if (op.as<PoolOp>() != nullptr) {
      if (!lower_pool(make_pool_layer(graph_, plan_, op), target_, emitter_, error))
        resources(op, error);
    } else if (op.as<GlobalAverageOp>() != nullptr) {
      const GlobalLayer layer = make_global_layer(graph_, plan_, op);
      if (!lower_global(layer, target_, emitter_)) {
        // Too large for one piece: a convolution's sum can be split.
        const MacOp mac = global_as_depthwise(layer);
        MacLayer sum;
        sum.op = &mac;
        sum.source = op.source;
        sum.depthwise = true;
        sum.input_type = layer.input_type;
        sum.in_h = layer.in_h;
        sum.in_w = layer.in_w;
        sum.input = layer.input;
        sum.output = layer.output;
        sum.outer = layer.outer;
        lower_planned(op, sum, note);
      }
    } else {
      for (const ElementLayer& layer : make_element_layers(graph_, plan_, op)) {
        if (!lower_elements(layer, target_, *constants_, emitter_, error)) resources(op, error);
      }
    }
    notes_.push_back(std::move(note));
  }

  struct LayerNote {
    uint32_t source = 0;
    std::string type, tiling;
    uint64_t macs = 0;
    uint32_t job_generation = 0;
  };

  void lower_planned(const Op& op, const MacLayer& layer, LayerNote& note) {
    std::string error;
    const std::optional<MacPlan> plan = plan_mac(layer, target_, error);
    if (!plan) {
      resources(op, error);
      return;
    }
    note.tiling = fmt::format("{}x{}x{}", plan->tile_h, plan->tile_w, plan->tile_c);
    if (plan->splits_sum(layer)) {
      note.tiling += fmt::format(" sum {}x{}x{}", plan->step_h, plan->step_w, plan->step_c);
    }
    lower_mac(layer, *plan, target_, *constants_, emitter_);
  }

  std::optional<CompiledModel> finish() {
    ModelParts parts;
    parts.jobs = emitter_.take_jobs();
    parts.constants = constants_->bytes();
    parts.scratch_bytes = plan_.scratch_bytes;
    CompiledModel out;
    CompileReport& report = out.report;
    report.constant_bytes = parts.constants.size();
    report.scratch_bytes = parts.scratch_bytes;
    report.jobs = static_cast<uint32_t>(parts.jobs.size());
    for (const Source& source : graph_.sources) report.macs += source.macs;
    if (parts.jobs.size() > kMaxJobs) {
      diagnostics_.add({.status = Status::kResources,
                        .node = {},
                        .op = {},
                        .rule = fmt::format("a run has at most {} jobs", kMaxJobs),
                        .value = fmt::format("commands for {}", parts.jobs.size()),
                        .suggestion = "Choose a target with more SRAM or longer streams"});
      return std::nullopt;
    }
    if (!simulate(parts.jobs, report)) return std::nullopt;
    const double peak = static_cast<double>(target_.mac_outputs) * target_.mac_inputs *
                        static_cast<double>(std::max<uint64_t>(1, report.cycles));
    report.utilization = static_cast<double>(report.macs) / peak;

    // Tensors are described as imported; planning may have put copies at the
    // outputs, of the same type, shape and quantization.
    out.file = write_model(graph_, parts, report, target_);
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

  // Checks every stream as the card will and measures it with the card's model
  // of time.
  bool simulate(const std::vector<JobStream>& jobs, CompileReport& report) {
    std::vector<LayerReport> by_source(graph_.sources.size());
    uint64_t start = 0;
    for (const JobStream& job : jobs) {
      if (job.bytes.size() > target_.max_stream_bytes) {
        diagnostics_.add(
            {.status = Status::kResources,
             .node = {},
             .op = {},
             .rule = fmt::format("a job's commands take {} bytes", job.bytes.size()),
             .value = fmt::format("a target with streams of {} bytes", target_.max_stream_bytes),
             .suggestion = {}});
        return false;
      }
      std::vector<arch::Stream> streams(1);
      arch::StreamError error;
      if (!arch::decode_stream(job.bytes, target_, 0, 1, streams[0], error) ||
          !arch::check_deadlock(streams, error) || !arch::check_hazards(streams, target_, error)) {
        diagnostics_.internal(fmt::format("command {} of the emitted stream is refused: {}: {}",
                                          error.command, arch::status_name(error.status),
                                          error.text));
        return false;
      }
      arch::TimingInput input;
      input.streams = streams;
      // As libnpu loads a model: all in card memory but the network's inputs and outputs.
      input.region_memory = [](unsigned region) {
        return region >= NPU_REGION_TENSORS && region != arch::kRegionCommands
                   ? arch::External::kHost
                   : arch::External::kCard;
      };
      std::vector<npu_profile_command> trace;
      const arch::JobTiming timing = arch::simulate_job(input, target_, &trace);
      uint64_t end = 0;
      for (size_t i = 0; i < trace.size(); ++i) {
        const npu_profile_command& record = trace[i];
        const arch::Command& command = streams[0][i];
        LayerReport& layer = by_source[record.source_op];
        const uint64_t last = start + record.start_cycle + record.execute_cycles;
        if (layer.commands++ == 0) layer.first_cycle = start + record.start_cycle;
        layer.last_cycle = std::max(layer.last_cycle, last);
        if (last > end) {
          layer.cycles += last - std::max(end, start);
          end = last;
        }
        layer.external_bytes += arch::external_bytes(command, target_);
        if (command.engine() == NPU_ENGINE_MAC) {
          layer.mac_cycles += arch::mac_stage_cycles(command, target_);
        }
      }
      start += timing.cycles;
      report.cycles += timing.cycles;
      report.external_bytes += timing.card_bytes + timing.pcie_bytes;
      report.energy_pj += timing.energy_pj;
      report.sram_peak_bytes = std::max(report.sram_peak_bytes, timing.sram_peak_bytes);
      report.command_bytes += job.bytes.size();
      report.commands += job.commands;
    }
    std::vector<bool> done(graph_.sources.size(), false);
    for (const LayerNote& note : notes_) {
      LayerReport& measured = by_source[note.source];
      LayerReport layer;
      if (!done[note.source]) layer = measured;  // several operators of one node: once
      done[note.source] = true;
      layer.name = graph_.sources[note.source].name;
      layer.type = note.type;
      layer.tiling = note.tiling;
      layer.macs = note.macs;
      report.layers.push_back(std::move(layer));
    }
    return true;
  }

  Graph graph_;
  const CompileOptions& options_;
  const npu_target& target_;
  Diagnostics& diagnostics_;
  MemoryPlan plan_;
  std::optional<Constants> constants_;
  Emitter emitter_;
  std::vector<LayerNote> notes_;
};

}  // namespace

std::optional<CompiledModel> compile_graph(const Graph& graph, const CompileOptions& options,
                                           Diagnostics& diagnostics) {
  return Compilation(graph, options, diagnostics).run();
}

}  // namespace npu::compiler
