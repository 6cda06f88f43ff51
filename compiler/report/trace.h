// SPDX-License-Identifier: MIT
//
// A finished network on the card's clock, command by command: what every report
// is made from.
#ifndef NPU_COMPILER_REPORT_TRACE_H_
#define NPU_COMPILER_REPORT_TRACE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "arch/timing.h"
#include "compiler/diagnostics.h"
#include "compiler/emit/emitter.h"

namespace npu::compiler {

struct JobTrace {
  uint64_t start = 0;  // cycle; jobs follow each other without a gap
  std::vector<arch::Stream> streams;
  // Of all commands, core by core; start_cycle counts from the job's start.
  std::vector<npu_profile_command> records;
  arch::JobTiming timing;

  const arch::Command& command(const npu_profile_command& record) const {
    return streams[record.core][record.command];
  }
  // Cycles from the network's start.
  uint64_t begin(const npu_profile_command& record) const { return start + record.start_cycle; }
  uint64_t end(const npu_profile_command& record) const {
    return begin(record) + record.execute_cycles;
  }
};

// As libnpu loads a model: all in card memory but the network's inputs and outputs.
arch::External memory_of_region(unsigned region);

// Checks the streams as the card will and times them. nullopt, with a diagnostic, if the
// target's streams are too short, or if one is refused, which is an error of the compiler.
std::optional<std::vector<JobTrace>> trace_jobs(const std::vector<Job>& jobs,
                                                const npu_target& target, Diagnostics& diagnostics);

// A stretch of the network's time that belongs to one node: while the array works for it;
// while the array rests and the vector unit works for it; and of the time in which neither
// works, by how much later that ends because of its commands.
struct Stretch {
  uint64_t begin, end;  // cycles
  uint32_t source;
};
// By time, side by side; together all cycles but those behind each job's last command.
std::vector<Stretch> stretches(const std::vector<JobTrace>& traces);

// How the cycles of some stretches were spent, as the mean of the cores.
struct CycleSplit {
  double execute = 0;  // the array or the vector unit at work
  double memory = 0;   // neither, or held up by an SRAM port, and a transfer under way
  double wait = 0;     // nothing under way: dispatch, synchronization, latency
};
// By node.
std::vector<CycleSplit> split_cycles(const std::vector<JobTrace>& traces,
                                     const std::vector<Stretch>& parts, size_t nodes);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_REPORT_TRACE_H_
