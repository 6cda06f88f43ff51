// SPDX-License-Identifier: MIT
#include "compiler/report/report.h"

#include <fmt/format.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "arch/text.h"

namespace npu::compiler {
namespace {

using Json = nlohmann::ordered_json;

// Names come from the file and need not be UTF-8.
std::string json_text(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

double utilization(const LayerReport& layer, double lanes) {
  return layer.cycles == 0
             ? 0
             : static_cast<double>(layer.macs) / (lanes * static_cast<double>(layer.cycles));
}

}  // namespace

std::string report_json(const CompiledModel& model, const Graph& graph, const npu_target& target) {
  const CompileReport& report = model.report;
  const double lanes = static_cast<double>(target.mac_outputs) * target.mac_inputs * report.cores;
  Json out;
  out["schema"] = "npu-compile-report/2";
  out["network"] = graph.name;
  out["target"] = std::string(target.name, strnlen(target.name, sizeof(target.name)));
  out["peak_macs_per_cycle"] = lanes;
  out["card_bytes_per_cycle"] = target.card_bytes_per_cycle;
  out["modelled_cycles"] = report.cycles;
  out["overhead_cycles"] = report.overhead_cycles;
  out["macs"] = report.macs;
  out["mac_utilization"] = report.utilization;
  out["external_bytes"] = report.external_bytes;
  uint64_t least = 0;
  for (const LayerReport& layer : report.layers) least += layer.least_bytes;
  out["least_external_bytes"] = least;
  out["energy_j"] = static_cast<double>(report.energy_pj) * 1e-12;
  out["sram_peak_bytes"] = report.sram_peak_bytes;
  out["sram_bytes"] = target.sram_bytes;
  out["constant_bytes"] = report.constant_bytes;
  out["scratch_bytes"] = report.scratch_bytes;
  out["command_bytes"] = report.command_bytes;
  out["commands"] = report.commands;
  out["jobs"] = report.jobs;
  out["cores"] = report.cores;
  out["yields"] = report.yields;
  out["longest_yield_gap_cycles"] =
      report.longest_yield_gap == 0 ? Json(nullptr) : Json(report.longest_yield_gap);
  out["yield_live_bytes"] = report.yield_live_bytes;
  Json layers = Json::array();
  for (const LayerReport& layer : report.layers) {
    Json entry;
    entry["node"] = layer.name;
    entry["node_index"] = layer.source;
    entry["operation"] = layer.type;
    entry["does_also"] = layer.nodes;
    entry["operands"] = layer.operands;
    entry["tile"] = layer.tiling.empty() ? Json(nullptr) : Json(layer.tiling);
    entry["segment"] = layer.segment;
    entry["stripe_rows"] = layer.stripe_rows == 0 ? Json(nullptr) : Json(layer.stripe_rows);
    entry["output_on_chip"] = layer.output_on_chip;
    entry["commands"] = layer.commands;
    entry["modelled_cycles"] = layer.cycles;
    entry["execute_cycles"] = layer.execute_cycles;
    entry["memory_cycles"] = layer.memory_cycles;
    entry["wait_cycles"] = layer.wait_cycles;
    entry["first_cycle"] = layer.first_cycle;
    entry["last_cycle"] = layer.last_cycle;
    entry["mac_stage_cycles"] = layer.mac_cycles;
    entry["macs"] = layer.macs;
    entry["mac_utilization"] = layer.macs == 0 ? Json(nullptr) : Json(utilization(layer, lanes));
    entry["external_bytes"] = layer.external_bytes;
    entry["least_external_bytes"] = layer.least_bytes;
    layers.push_back(std::move(entry));
  }
  out["layers"] = std::move(layers);
  return json_text(out);
}

std::string report_table(const CompileReport& report, const npu_target& target) {
  const double lanes = static_cast<double>(target.mac_outputs) * target.mac_inputs * report.cores;
  constexpr const char* kRow =
      "{:<32.32} {:<22.22} {:>7} {:>7} {:>18} {:>7} {:>8} {:>12} {:>12} {:>11} {:>11} {:>7} {:>12} "
      "{:>12}\n";
  std::string out =
      fmt::format(kRow, "node", "operation", "segment", "stripe", "tile", "output", "commands",
                  "cycles", "execute", "memory", "wait", "util", "bytes", "least");
  for (const LayerReport& layer : report.layers) {
    const std::string util =
        layer.macs == 0 ? "-" : fmt::format("{:.1f} %", 100 * utilization(layer, lanes));
    out += fmt::format(kRow, arch::printable(layer.name), layer.type, layer.segment,
                       layer.stripe_rows == 0 ? "-" : std::to_string(layer.stripe_rows),
                       layer.tiling.empty() ? "-" : layer.tiling,
                       layer.output_on_chip ? "SRAM" : "memory", layer.commands, layer.cycles,
                       layer.execute_cycles, layer.memory_cycles, layer.wait_cycles, util,
                       layer.external_bytes, layer.least_bytes);
  }
  if (report.overhead_cycles != 0)
    out += fmt::format("behind the last command of each job: {} cycles\n", report.overhead_cycles);
  out += fmt::format(
      "\ncycles {} (modelled), MACs {}, utilisation {:.1f} % of {} core{}, external bytes {}\n"
      "constants {} bytes, scratch {} bytes, commands {} in {} job{} ({} bytes), SRAM {} of {} "
      "bytes\n",
      report.cycles, report.macs, 100 * report.utilization, report.cores,
      report.cores == 1 ? "" : "s", report.external_bytes, report.constant_bytes,
      report.scratch_bytes, report.commands, report.jobs, report.jobs == 1 ? "" : "s",
      report.command_bytes, report.sram_peak_bytes, target.sram_bytes);
  if (report.longest_yield_gap != 0)
    out += fmt::format("yield points {}, longest gap {} cycles, at most {} bytes live\n",
                       report.yields, report.longest_yield_gap, report.yield_live_bytes);
  return out;
}

}  // namespace npu::compiler
