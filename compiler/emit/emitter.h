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

  // SRAM for a layer that needs `bytes`, a multiple of 64 and at most all of it. Layers take
  // turns around the SRAM, so that one's first loads need not wait for the last
  // commands of the one before.
  uint32_t take_sram(uint32_t bytes);

  void emit(npu_command_dma command);
  void emit(npu_command_mac command, const npu_mac_extension* extension);
  void emit(npu_command_vec command);

  // Between independent pieces of work: starts another job if this one's
  // stream is nearly full. Everything in SRAM is gone if it did, which a caller
  // that keeps things in SRAM sees by the generation.
  void checkpoint();
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
  uint32_t sram_next_ = 0;
  arch::StreamBuilder builder_;
  DependencyTracker sram_;
  std::map<uint8_t, DependencyTracker> regions_;
  // Counts an engine has waited for already; its later commands need not.
  Counts waited_[NPU_ENGINE_COUNT];
  std::vector<JobStream> jobs_;
};

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_EMITTER_H_
