// SPDX-License-Identifier: MIT
#include "tools/common/trace_events.h"

#include <fmt/format.h>

#include <set>
#include <utility>

#include "arch/stream.h"

namespace npu::tools {

Json trace_events(const std::vector<TraceRecord>& records, const std::string& model,
                  uint32_t clock_mhz) {
  Json events = Json::array();
  const double us_per_cycle = clock_mhz != 0 ? 1.0 / clock_mhz : 1.0;
  std::set<std::pair<uint32_t, uint32_t>> tracks;
  for (const TraceRecord& record : records) {
    const npu_command_report& c = record.command;
    if (tracks.insert({c.core, c.engine}).second) {
      events.push_back({{"ph", "M"},
                        {"name", "process_name"},
                        {"pid", c.core},
                        {"args", {{"name", fmt::format("core {}", c.core)}}}});
      events.push_back({{"ph", "M"},
                        {"name", "thread_name"},
                        {"pid", c.core},
                        {"tid", c.engine},
                        {"args", {{"name", arch::engine_name(c.engine)}}}});
    }
    events.push_back({{"ph", "X"},
                      {"name", record.layer.empty() ? arch::opcode_name(c.opcode) : record.layer},
                      {"cat", arch::opcode_name(c.opcode)},
                      {"pid", c.core},
                      {"tid", c.engine},
                      {"ts", static_cast<double>(record.start) * us_per_cycle},
                      {"dur", c.execute_cycles * us_per_cycle},
                      {"args",
                       {{"job", c.job},
                        {"command", c.command},
                        {"operator_type", record.type},
                        {"start_cycle", record.start},
                        {"execute_cycles", c.execute_cycles},
                        {"stall_cycles", c.stall_cycles},
                        {"wait_cycles", c.wait_cycles}}}});
  }
  return {{"traceEvents", events},
          {"displayTimeUnit", "ns"},
          {"otherData",
           {{"schema", "npu-trace/1"},
            {"model", model},
            {"time_base", "modelled"},
            {"clock_mhz", clock_mhz}}}};
}

}  // namespace npu::tools
