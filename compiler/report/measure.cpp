// SPDX-License-Identifier: MIT
#include "compiler/report/measure.h"

#include <algorithm>
#include <cmath>

namespace npu::compiler {

void add_totals(const std::vector<JobTrace>& traces, CompileReport& report) {
  for (const JobTrace& trace : traces) {
    const arch::JobTiming& timing = trace.timing;
    uint64_t last = trace.start;
    for (const npu_profile_command& record : trace.records)
      last = std::max(last, trace.end(record));
    report.cycles += timing.cycles;
    report.overhead_cycles += trace.start + timing.cycles - last;
    report.external_bytes += timing.card_bytes + timing.pcie_bytes;
    report.energy_pj += timing.energy_pj;
    report.sram_peak_bytes = std::max(report.sram_peak_bytes, timing.sram_peak_bytes);
    report.commands += static_cast<uint32_t>(trace.records.size());
  }
}

std::vector<LayerReport> costs_by_node(const std::vector<JobTrace>& traces, size_t nodes,
                                       const npu_target& target) {
  std::vector<LayerReport> out(nodes);
  for (const JobTrace& trace : traces) {
    for (const npu_profile_command& record : trace.records) {
      const arch::Command& command = trace.command(record);
      LayerReport& layer = out[record.source_op];
      if (layer.commands++ == 0) layer.first_cycle = trace.begin(record);
      layer.first_cycle = std::min(layer.first_cycle, trace.begin(record));
      layer.last_cycle = std::max(layer.last_cycle, trace.end(record));
      layer.external_bytes += arch::external_bytes(command, target);
      if (command.engine() == NPU_ENGINE_MAC)
        layer.mac_cycles += arch::mac_stage_cycles(command, target);
    }
  }
  const std::vector<Stretch> parts = stretches(traces);
  for (const Stretch& part : parts) out[part.source].cycles += part.end - part.begin;
  const std::vector<CycleSplit> splits = split_cycles(traces, parts, nodes);
  for (size_t i = 0; i < nodes; ++i) {
    // Rounded so that the three are the whole.
    LayerReport& layer = out[i];
    layer.execute_cycles =
        std::min(layer.cycles, static_cast<uint64_t>(std::llround(splits[i].execute)));
    layer.memory_cycles = std::min(layer.cycles - layer.execute_cycles,
                                   static_cast<uint64_t>(std::llround(splits[i].memory)));
    layer.wait_cycles = layer.cycles - layer.execute_cycles - layer.memory_cycles;
  }
  return out;
}

}  // namespace npu::compiler
