// SPDX-License-Identifier: MIT
//
// Appends commands to the streams of a job, one for each core, and gives each
// the waits that its SRAM and memory accesses need. Whoever emits decides what
// happens where and in which order; ordering between engines, of one core or of
// several, is decided here and nowhere else.
#ifndef NPU_COMPILER_EMIT_EMITTER_H_
#define NPU_COMPILER_EMIT_EMITTER_H_

#include <cstdint>
#include <map>
#include <vector>

#include "arch/stream.h"
#include "compiler/emit/dependency.h"
#include "npu/target.h"

namespace npu::compiler {

// The commands of one job for one core.
struct JobStream {
  std::vector<std::byte> bytes;
  uint32_t commands = 0;
};

struct Job {
  std::vector<JobStream> streams;  // by position in the gang
};

class Emitter {
 public:
  explicit Emitter(const npu_target& target, unsigned cores = 1);

  // Core that the commands from here on are for. A command waits only for commands that were
  // emitted before it, on whatever core: so the streams of a gang cannot deadlock.
  void set_core(unsigned core) { core_ = core; }
  unsigned core() const { return core_; }

  // Where a core's part of a region begins, for those that each have their own.
  void set_region_base(unsigned core, uint8_t region, uint64_t offset) {
    cores_[core].region_base[region] = offset;
  }

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
  std::vector<Job> take_jobs();
  uint64_t total_bytes() const;

 private:
  void wait_and_append(arch::Command& command, bool extended);
  // Waits for what lacks in the engine's own counts; what does not fit a command goes to a NOP
  // before it.
  void add_waits(npu_command_header& header, npu_engine engine, const Counts& need);
  size_t longest_stream() const;
  void finish_job();

  const npu_target& target_;
  uint32_t source_ = 0;
  uint32_t generation_ = 0;
  bool held_ = false;
  struct Core {
    arch::StreamBuilder builder;
    DependencyTracker sram;
    // Counts an engine has waited for already; its later commands need not.
    Counts waited[NPU_ENGINE_COUNT];
    std::map<uint8_t, uint64_t> region_base;
  };
  std::vector<Core> cores_;
  unsigned core_ = 0;
  std::map<uint8_t, DependencyTracker> regions_;
  std::vector<Job> jobs_;
};

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_EMITTER_H_
