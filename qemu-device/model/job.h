// SPDX-License-Identifier: MIT
//
// A job on its way through the card: fetched, checked and timed in slices, then
// executed command by command, resumable at any unit of a command; it can leave
// its cores at a YIELD and go on elsewhere.
#ifndef NPU_MODEL_JOB_H_
#define NPU_MODEL_JOB_H_

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "arbiter.h"
#include "compute/mac_batch.h"
#include "compute/vec.h"
#include "core.h"
#include "dma.h"
#include "fault.h"
#include "injector.h"
#include "mmu.h"
#include "npu/queue.h"
#include "prepared.h"
#include "progress.h"
#include "timeline.h"

namespace npu::model {

// Execution of one stream on one core. Commands of an engine run in order, a
// command once its waits are met; list order wherever waits allow it.
struct StreamState {
  static constexpr uint32_t kNone = 0xffffffffu;

  uint32_t next[NPU_ENGINE_COUNT + 1] = {};     // list position to look from, per engine
  uint32_t retired[NPU_ENGINE_COUNT + 1] = {};  // retirement counts
  uint32_t current = kNone;                     // command in execution, not complete
  uint64_t cursor = 0;                          // its units done
  uint64_t reached = 0;                         // cycle of the last retirement
  uint64_t yielded_at = 0;  // cycle at which the job could be put aside at its last YIELD
  bool passing = false;     // goes on from its YIELD, whoever waits
  std::variant<std::monostate, DmaOp, MacBatch, VecOp> op;  // its working state, can be rebuilt
};

class Job {
 public:
  enum class Step { kMore, kBlocked, kRestore, kYield, kDone };

  Job(uint64_t id, uint32_t queue, uint16_t asid, uint64_t packet_index,
      const npu_packet_job& packet, std::vector<unsigned> cores)
      : id(id),
        queue(queue),
        asid(asid),
        packet_index(packet_index),
        packet(packet),
        cores(std::move(cores)) {}

  // Fetches region table and streams. A fault ends the job.
  Fault fetch(Mmu& mmu, JobBytes& bytes);
  // Then, or when a saved job is restored: takes what was fetched.
  void begin(JobBytes bytes, PreparedCache& cache, const npu_target& target, bool timed);

  struct Environment {
    Mmu& mmu;
    PreparedCache& prepared;
    Injector& injector;
    Progress& progress;
    std::vector<std::unique_ptr<CoreMemory>>& memories;
    Shared& shared;
    bool functional;       // false: commands retire without doing anything
    uint64_t cycle_limit;  // of the queue; 0: none
    Arbiter::Rivals rivals;
    uint64_t quantum;     // of the queue
    uint64_t save_bytes;  // of the queue
  };
  // Checks; once that is done, executes up to `budget` commands, decrementing it,
  // or until the slice is used up. kBlocked: hung. kRestore: what put_aside() left must be
  // restored and restored() called. kYield: all cores are where it can be put aside,
  // and it is to be. kDone: `fault` tells how.
  Step step(Environment& env, uint64_t& budget, Fault& fault);

  // After kYield: the job has no cores until resume(). Returns the cycle at which
  // the first of the gang came to its YIELD: from there on they have waited.
  uint64_t put_aside();
  void resume(std::vector<unsigned> cores);
  void restored();
  // Where `core` is at a YIELD: that, else null.
  const npu_command_yield* yield_of(unsigned core) const;
  // Bytes in the save area if the job is put aside now.
  uint64_t save_bytes() const;

  bool checked() const { return plan_ != nullptr; }
  const Prepared& plan() const { return *plan_; }  // if checked
  bool timed() const { return checked() && plan_->timed; }
  const JobBytes& bytes() const { return checked() ? plan_->bytes : preparation_->bytes(); }

  const uint64_t id;
  const uint32_t queue;
  const uint16_t asid;
  const uint64_t packet_index;
  const npu_packet_job packet;
  std::vector<unsigned> cores;  // physical, by position in the gang; none while put aside
  uint64_t start_ns = 0;
  bool hung = false;
  Fault hang;           // how that is reported once the core is reset
  uint64_t cycles = 0;  // modelled, reached so far
  Course course;        // on the card's timeline

  // kReturning: has cores again, its SRAM is not yet restored.
  enum Aside : uint32_t { kNotAside, kAside, kReturning, kAsideStates };
  Aside aside = kNotAside;
  uint64_t preemptions = 0;
  uint64_t resumed_at = 0;  // `cycles` when it last got cores

  std::vector<StreamState> streams;
  std::vector<uint64_t> regions;

 private:
  void check(Environment& env);
  Fault judge(uint64_t cycle_limit);
  bool select(unsigned core, uint32_t& command);
  bool waits_met(const npu_command_header& header) const;
  bool execute(unsigned core, Environment& env, Fault& fault);
  Fault command_fault(unsigned core, uint32_t command, npu_status_code status) const;
  void retire(unsigned core, uint32_t command);
  bool finished(unsigned core) const;
  bool finished() const;
  unsigned next_core(uint32_t skip) const;
  size_t yield_number(unsigned core) const;
  bool can_leave(size_t number, const Environment& env) const;
  bool gives_way(size_t number, const Environment& env) const;
  bool overdue(unsigned core, uint32_t command, const Environment& env, Fault& fault);
  uint64_t last_yield() const;
  bool pass_yields();
  bool all_at_yield() const;

  std::unique_ptr<Preparation> preparation_;  // while it is checked
  std::shared_ptr<const Prepared> plan_;
  bool judged_ = false;
};

}  // namespace npu::model

#endif  // NPU_MODEL_JOB_H_
