// SPDX-License-Identifier: MIT
//
// One schedule of a network, made into streams and put to the card's clock. The compiler
// makes several and keeps the fastest.
#ifndef NPU_COMPILER_CANDIDATE_H_
#define NPU_COMPILER_CANDIDATE_H_

#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "compiler/compile.h"
#include "compiler/emit/constants.h"
#include "compiler/emit/model_file.h"
#include "compiler/schedule/schedule.h"
#include "compiler/schedule/sram_map.h"

namespace npu::compiler {

// Schedules of one network that have been made into streams: with less SRAM, or less that is
// allowed, the same often comes out again. Threads may ask at once.
class Attempts {
 public:
  // False if the same has been there.
  bool add(const Schedule& schedule, const SramMap& map);

 private:
  std::mutex mutex_;
  std::vector<std::pair<Schedule, SramMap>> made_;
};

struct CandidateInput {
  const Graph& graph;
  PlanCache& plans;  // of the graph; with images(), that is one core's share of them
  Attempts& attempts;
  const CompileOptions& options;
};

struct Candidate {
  ModelParts parts;      // without constants
  Constants constants;   // as long as the graph and the steps are there
  CompileReport report;  // layers without what costs_by_node() finds out
  std::vector<JobTrace> trace;
};

// nullopt if the schedule cannot be packed, does not fit one job or was an earlier attempt's, or
// with diagnostics. The plainest on all of the SRAM is always made, if it is possible at all.
// Threads may make candidates of one input at once.
std::optional<Candidate> make_candidate(const CandidateInput& input,
                                        const ScheduleOptions& schedule, Diagnostics& diagnostics);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_CANDIDATE_H_
