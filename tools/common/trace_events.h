// SPDX-License-Identifier: MIT
//
// Commands of a run as Chrome trace events, which Perfetto and chrome://tracing show.
#ifndef NPU_TOOLS_COMMON_TRACE_EVENTS_H_
#define NPU_TOOLS_COMMON_TRACE_EVENTS_H_

#include <libnpu/npu.h>

#include <string>
#include <vector>

#include "tools/common/json_output.h"

namespace npu::tools {

struct TraceRecord {
  npu_command_report command;
  uint64_t start;           // cycles from the start of the run: jobs follow each other
  std::string layer, type;  // of the operator
};

// A process for each core, a thread for each engine. Times are modelled, in microseconds, or in
// cycles if `clock_mhz` is 0.
Json trace_events(const std::vector<TraceRecord>& records, const std::string& model,
                  uint32_t clock_mhz);

}  // namespace npu::tools

#endif  // NPU_TOOLS_COMMON_TRACE_EVENTS_H_
