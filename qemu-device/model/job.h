// SPDX-License-Identifier: MIT
//
// A job on its way through the card: fetched and prepared, then executed
// command by command, resumable at any unit of a command.
#ifndef NPU_MODEL_JOB_H_
#define NPU_MODEL_JOB_H_

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "compute/mac.h"
#include "compute/vec.h"
#include "core.h"
#include "dma.h"
#include "fault.h"
#include "injector.h"
#include "mmu.h"
#include "npu/queue.h"
#include "prepared.h"
#include "progress.h"

namespace npu::model {

// Execution of one stream on one core. Commands of an engine run in order, a
// command once its waits are met; list order wherever waits allow it.
struct StreamState {
  static constexpr uint32_t kNone = 0xffffffffu;

  uint32_t next[NPU_ENGINE_COUNT + 1] = {};              // list position to look from, per engine
  uint32_t retired[NPU_ENGINE_COUNT + 1] = {};           // retirement counts
  uint32_t current = kNone;                              // command in execution, not complete
  uint64_t cursor = 0;                                   // its units done
  std::variant<std::monostate, DmaOp, MacOp, VecOp> op;  // its working state, can be rebuilt
};

class Job {
 public:
  enum class Step { kMore, kBlocked, kDone };

  Job(uint64_t id, uint32_t queue, uint16_t asid, uint64_t packet_index,
      const npu_packet_job& packet, std::vector<unsigned> cores)
      : id(id),
        queue(queue),
        asid(asid),
        packet_index(packet_index),
        packet(packet),
        cores(std::move(cores)) {}

  // Fetches region table and streams. A fault ends the job. Streams that are
  // not known yet are decoded, checked and timed by step(), before anything
  // else. `cache` outlives the job.
  Fault prepare(Mmu& mmu, PreparedCache& cache, uint64_t cycle_limit);
  // The same without the fetch, for a job that is loaded in that state.
  void begin_preparation(PreparedCache& cache, JobBytes bytes, uint64_t cycle_limit);

  struct Environment {
    Mmu& mmu;
    Injector& injector;
    Progress& progress;
    std::vector<std::unique_ptr<CoreMemory>>& memories;
    Shared& shared;
    bool functional;  // false: commands retire without doing anything
  };
  // Executes up to `budget` commands, decrementing it, or until the slice is
  // used up. kBlocked: hung, or stopped by a request. kDone: `fault` tells how.
  Step step(Environment& env, uint64_t& budget, Fault& fault);

  // How a hung job is reported once its core is reset.
  Fault hang_fault() const;

  bool prepared() const { return prepared_ != nullptr; }
  const JobBytes& bytes() const { return prepared() ? prepared_->bytes : preparation_->bytes(); }
  const Prepared& plan() const { return *prepared_; }
  bool timed() const { return prepared_ != nullptr && prepared_->timed; }

  const uint64_t id;
  const uint32_t queue;
  const uint16_t asid;
  const uint64_t packet_index;
  const npu_packet_job packet;
  const std::vector<unsigned> cores;  // physical, by position in the gang
  uint64_t start_ns = 0;
  bool hung = false;
  unsigned hung_core = 0;  // position in the gang
  bool throttled = false;  // the clock was lowered at some time
  uint64_t cycles = 0;     // modelled, reached so far

  std::vector<StreamState> streams;
  std::vector<uint64_t> regions;
  // A job that is loaded while it runs.
  void set_admitted(std::shared_ptr<const Prepared> p) {
    prepared_ = std::move(p);
    admitted_ = true;
  }
  // Checked and found valid; executing.
  bool admitted() const { return admitted_; }

 private:
  bool select(unsigned core, uint32_t& command);
  bool waits_met(const npu_command_header& header) const;
  bool execute(unsigned core, Environment& env, Fault& fault);
  Fault command_fault(unsigned core, uint32_t command, npu_status_code status) const;
  void retire(unsigned core, uint32_t command);
  bool finished(unsigned core) const;

  bool continue_preparation(Progress& progress);
  Fault admit();

  std::shared_ptr<const Prepared> prepared_;
  std::unique_ptr<Preparation> preparation_;  // until prepared
  PreparedCache* cache_ = nullptr;
  uint64_t cycle_limit_ = 0;
  bool admitted_ = false;
};

}  // namespace npu::model

#endif  // NPU_MODEL_JOB_H_
