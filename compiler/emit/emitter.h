// SPDX-License-Identifier: MIT
//
// Appends commands to a job's stream and gives each the waits that its SRAM
// and memory accesses need. Whoever emits decides what happens where and in
// which order; ordering between engines is decided here and nowhere else.
#ifndef NPU_COMPILER_EMIT_EMITTER_H_
#define NPU_COMPILER_EMIT_EMITTER_H_

#include <cstdint>
#include <map>
#include <vector>

#include "arch/stream.h"
#include "compiler/emit/dependency.h"
#include "npu/target.h"

namespace npu::compiler {

// The commands of one job of one core.
struct JobStream {
  std::vector<std::byte> bytes;
  uint32_t commands = 0;
};

class Emitter {
 public:
  explicit Emitter(const npu_target& target);

  // Operator that the commands from here on belong to.
  void set_source(uint32_t source) { source_ = source; }

  void emit(npu_command_dma command);
  void emit(npu_command_mac command, const npu_mac_extension* extension);
  void emit(npu_command_vec command);

  // Between independent pieces of work: starts another job if this one's
  // stream is nearly full. Everything in SRAM is gone if it did, which a caller
  // that keeps things in SRAM sees by the generation.
  void checkpoint();
  // While SRAM is held, checkpoints start no other job; the stream may grow past its limit,
  // which whoever takes the jobs has to see.
  void hold_sram(bool held) { held_ = held; }
  uint32_t generation() const { return generation_; }

  // Ends the last job.
  std::vector<JobStream> take_jobs();
  uint64_t total_bytes() const;

 private:
  void wait_and_append(arch::Command& command, bool extended);
  void finish_job();

  const npu_target& target_;
  uint32_t source_ = 0;
  uint32_t generation_ = 0;
  bool held_ = false;
  arch::StreamBuilder builder_;
  DependencyTracker sram_;
  std::map<uint8_t, DependencyTracker> regions_;
  // Counts an engine has waited for already; its later commands need not.
  Counts waited_[NPU_ENGINE_COUNT];
  std::vector<JobStream> jobs_;
};

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_EMITTER_H_
