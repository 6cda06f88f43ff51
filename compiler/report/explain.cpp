// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <algorithm>

#include "arch/text.h"
#include "compiler/report/report.h"

namespace npu::compiler {
namespace {

const LayerReport* layer_of(const CompileReport& report, const std::string& node) {
  for (const LayerReport& layer : report.layers)
    if (layer.name == node ||
        std::find(layer.nodes.begin(), layer.nodes.end(), node) != layer.nodes.end())
      return &layer;
  return nullptr;
}

std::string share(uint64_t part, uint64_t whole) {
  if (whole == 0) return "0";
  return fmt::format("{} ({:.1f} %)", part,
                     100 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string describe(const LayerReport& layer, const CompileReport& report,
                     const npu_target& target) {
  std::string out = fmt::format("{}: {}\n", arch::printable(layer.name), layer.type);
  if (!layer.nodes.empty())
    out += fmt::format("  also does      {}\n",
                       arch::printable(fmt::format("{}", fmt::join(layer.nodes, ", "))));
  for (const std::string& operand : layer.operands)
    out += fmt::format("  operand        {}\n", operand);
  if (!layer.tiling.empty())
    out += fmt::format("  tile           {} (rows x columns x channels of the output)\n",
                       layer.tiling);
  const auto together =
      std::count_if(report.layers.begin(), report.layers.end(),
                    [&](const LayerReport& other) { return other.segment == layer.segment; });
  if (layer.stripe_rows != 0)
    out += fmt::format("  stripes        of {} rows, {} layers together (segment {})\n",
                       layer.stripe_rows, together, layer.segment);
  out += fmt::format("  cycles         {} of {} that the network takes\n", layer.cycles,
                     report.cycles);
  out +=
      fmt::format("    execute      {}\n    memory       {}\n    wait         {}\n",
                  share(layer.execute_cycles, layer.cycles),
                  share(layer.memory_cycles, layer.cycles), share(layer.wait_cycles, layer.cycles));
  out += fmt::format("  from, to       cycle {} to {}\n", layer.first_cycle, layer.last_cycle);
  if (layer.macs != 0) {
    const double peak = static_cast<double>(target.mac_outputs) * target.mac_inputs * report.cores *
                        static_cast<double>(std::max<uint64_t>(1, layer.cycles));
    out += fmt::format("  MACs           {}, {:.1f} % of the peak; array busy for {} cycles\n",
                       layer.macs, 100 * static_cast<double>(layer.macs) / peak, layer.mac_cycles);
  }
  out += fmt::format("  external bytes {}, of which no schedule avoids {}\n", layer.external_bytes,
                     layer.least_bytes);
  return out;
}

}  // namespace

std::optional<std::string> explain_node(const CompiledModel& model, const Graph& graph,
                                        const npu_target& target, const std::string& node,
                                        size_t most_commands) {
  const LayerReport* layer = layer_of(model.report, node);
  if (layer == nullptr) {
    for (const Source& source : graph.sources)
      if (source.name == node)
        return fmt::format(
            "{}: {} needs no commands: constants and views are used where they lie\n",
            arch::printable(node), arch::printable(source.type));
    return std::nullopt;
  }
  std::string out;
  // A node may have become several operators.
  for (const LayerReport& other : model.report.layers)
    if (other.source == layer->source) out += describe(other, model.report, target);
  size_t commands = 0;
  for (size_t job = 0; job < model.trace.size(); ++job) {
    const JobTrace& trace = model.trace[job];
    for (const npu_profile_command& record : trace.records) {
      if (record.source_op != layer->source || commands++ >= most_commands) continue;
      if (commands == 1)
        out += fmt::format("\n{:>3} {:>4} {:>7} {:>10} {:>9} {:>8} {:>8}  command\n", "job", "core",
                           "index", "start", "execute", "stall", "wait");
      out += fmt::format("{:>3} {:>4} {:>7} {:>10} {:>9} {:>8} {:>8}  {}\n", job, record.core,
                         record.command, trace.begin(record), record.execute_cycles,
                         record.stall_cycles, record.wait_cycles,
                         arch::disassemble(trace.command(record)));
    }
  }
  if (commands > most_commands)
    out += fmt::format("... and {} more; npu-objdump shows them all\n", commands - most_commands);
  return out;
}

}  // namespace npu::compiler
