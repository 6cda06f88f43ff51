// SPDX-License-Identifier: MIT
#include "tools/run/profile.h"

#include <fmt/format.h>

#include <vector>

#include "arch/stream.h"
#include "tools/common/device.h"
#include "tools/common/files.h"
#include "tools/common/json_output.h"
#include "tools/common/program.h"
#include "tools/common/trace_events.h"

namespace npu::tools {
namespace {

std::vector<TraceRecord> read_records(const Network& network, const Execution& execution) {
  const npu_run_report report = check(execution.report());
  std::vector<TraceRecord> records;
  uint64_t job_start = 0, job_end = 0;
  uint32_t job = 0;
  for (uint64_t i = 0; i < report.command_records; i++) {
    TraceRecord record;
    record.command = check(execution.record(i));
    if (record.command.job != job) {
      job = record.command.job;
      job_start = job_end;
    }
    record.start = job_start + record.command.start_cycle;
    job_end = std::max(job_end, record.start + record.command.execute_cycles);
    if (auto op = network.operator_info(record.command.operator_index); op) {
      record.layer = op.value().name;
      record.type = op.value().type;
    }
    records.push_back(std::move(record));
  }
  return records;
}

// Doubled quotes, as RFC 4180 wants.
std::string csv_text(const std::string& text) {
  std::string out = "\"";
  for (char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

void write_csv(const std::string& path, const std::vector<TraceRecord>& records) {
  std::string text =
      "job,core,engine,command,opcode,operator,operator_type,start_cycle,execute_cycles,"
      "stall_cycles,wait_cycles\n";
  for (const TraceRecord& record : records) {
    const npu_command_report& c = record.command;
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{}\n", c.job, c.core,
                        arch::engine_name(c.engine), c.command, arch::opcode_name(c.opcode),
                        csv_text(record.layer), csv_text(record.type), record.start,
                        c.execute_cycles, c.stall_cycles, c.wait_cycles);
  }
  write_file(path, text.data(), text.size());
}

}  // namespace

void write_profile(const std::string& path, const Network& network, const Execution& execution,
                   uint32_t clock_mhz) {
  const std::vector<TraceRecord> records = read_records(network, execution);
  if (records.empty()) {
    throw ToolError(kExitUnsupported, "the device gave no command records; is time not modelled?");
  }
  if (path.ends_with(".csv")) {
    write_csv(path, records);
  } else {
    write_json(path, trace_events(records, network.info().name, clock_mhz));
  }
}

}  // namespace npu::tools
