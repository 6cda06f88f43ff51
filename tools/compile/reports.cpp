// SPDX-License-Identifier: MIT
#include "tools/compile/reports.h"

#include <fmt/format.h>

#include <filesystem>
#include <vector>

#include "compiler/report/report.h"
#include "tools/common/files.h"
#include "tools/common/program.h"
#include "tools/common/trace_events.h"

namespace npu::tools {
namespace {

std::vector<TraceRecord> trace_records(const compiler::CompiledModel& model,
                                       const compiler::Graph& graph) {
  std::vector<TraceRecord> out;
  for (size_t job = 0; job < model.trace.size(); ++job) {
    const compiler::JobTrace& trace = model.trace[job];
    for (const npu_profile_command& r : trace.records) {
      const compiler::Source& source = graph.sources[r.source_op];
      TraceRecord record = {};
      record.command = {.struct_size = sizeof(record.command),
                        .job = static_cast<uint32_t>(job),
                        .core = r.core,
                        .command = r.command,
                        .engine = r.engine,
                        .opcode = r.opcode,
                        .operator_index = r.source_op,
                        .reserved = 0,
                        .start_cycle = r.start_cycle,
                        .execute_cycles = r.execute_cycles,
                        .stall_cycles = r.stall_cycles,
                        .wait_cycles = r.wait_cycles,
                        .reserved1 = 0};
      record.start = trace.begin(r);
      record.layer = source.name;
      record.type = source.type;
      out.push_back(std::move(record));
    }
  }
  return out;
}

}  // namespace

void write_reports(const std::string& folder, const compiler::CompiledModel& model,
                   const compiler::Graph& graph, const npu_target& target) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    throw ToolError(kExitFailure, fmt::format("cannot make {}: {}", folder, error.message()));
  const auto write = [&](const char* name, const std::string& text) {
    write_file(folder + "/" + name, text.data(), text.size());
  };
  write("report.txt", compiler::report_table(model.report, target));
  write("report.json", compiler::report_json(model, graph, target));
  write("report.html", compiler::report_page(model, graph, target));
  write("trace.json",
        json_text(trace_events(trace_records(model, graph), graph.name, target.clock_mhz)));
}

}  // namespace npu::tools
