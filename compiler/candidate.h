// SPDX-License-Identifier: MIT
//
// One schedule of a network, made into streams and put to the card's clock. The compiler
// makes several and keeps the fastest.
#ifndef NPU_COMPILER_CANDIDATE_H_
#define NPU_COMPILER_CANDIDATE_H_

#include <optional>
#include <vector>

#include "compiler/compile.h"
#include "compiler/emit/constants.h"
#include "compiler/emit/model_file.h"
#include "compiler/schedule/schedule.h"

namespace npu::compiler {

struct CandidateInput {
  const Graph& graph;
  PlanCache& plans;  // of the graph; with images(), that is one core's share of them
  const CompileOptions& options;
};

struct Candidate {
  ModelParts parts;      // without constants
  Constants constants;   // as long as the graph and the steps are there
  CompileReport report;  // layers without what costs_by_node() finds out
  std::vector<JobTrace> trace;
};

// nullopt if the schedule cannot be packed or does not fit one job, which the plainest on all of
// the SRAM always does, or with diagnostics. Threads may make candidates of one input at once.
std::optional<Candidate> make_candidate(const CandidateInput& input,
                                        const ScheduleOptions& schedule, Diagnostics& diagnostics);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_CANDIDATE_H_
