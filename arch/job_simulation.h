// SPDX-License-Identifier: MIT
//
// Event simulation of a job, interruptible; internal to arch. simulate_job() is
// this in one go. Time advances from event to event; between events every
// active command progresses at a constant rate.
#ifndef NPU_ARCH_JOB_SIMULATION_H_
#define NPU_ARCH_JOB_SIMULATION_H_

#include <cstdint>
#include <vector>

#include "arch/timing.h"
#include "arch/tlb_model.h"
#include "arch/work.h"

namespace npu::arch {

inline constexpr uint32_t kAnyBank = ~0u;  // whichever is free

enum class Phase : uint8_t {
  kIdle,     // nothing at the head of the FIFO, or not looked at yet
  kWaiting,  // head's waits are not met
  kPrelude,  // waits' cost, latency, decode, ...
  kWorking,
  kHolding,  // MAC: done, but the bank before it has not drained
};

// A command that an engine has.
struct Queued {
  uint32_t index;  // in the stream
  uint64_t dispatched_at;
};

struct Engine {
  // By count, modulo their number, which is more than an engine can have at a time.
  std::vector<Queued> queue;
  uint32_t dispatched = 0;
  uint32_t started = 0;
  uint32_t retired = 0;
  Phase phase = Phase::kIdle;
  // Something has happened elsewhere that it waited for; else nothing does
  // before then.
  bool poked = false;
  uint64_t wakes_at = kNever;
  EngineTiming* timing = nullptr;
  uint64_t retired_at = 0;  // the last time
  uint64_t head_since = 0;
  uint32_t unmet = 0;          // a wait of the first command not started, when last looked at;
                               // 0: none
  uint64_t ready_at = kNever;  // its waits were met
  uint64_t started_at = 0;
  uint64_t translated_at = 0;  // DMA: end of its page walks
  uint64_t until = 0;          // end of kPrelude
  Via memory = Via::kNone;     // of the DMA command before
  uint64_t done_at = 0;        // end of kWorking
  // Behind kWorking, beside the next command: a MAC command's last bank drains,
  // a STORE is acknowledged.
  uint64_t drain_cycles = 0;
  uint64_t drained_at = kNever;
  uint32_t bank = kAnyBank;  // MAC: first row of the bank that the command accumulates in
  uint32_t draining_bank = kAnyBank;
  uint64_t drain_started_at = 0;
  uint64_t drain_ideal = 0;
  uint64_t ideal_cycles = 0;
  Work work;

  Queued& at(uint32_t count) { return queue[count & (queue.size() - 1)]; }
};

struct Sequencer {
  uint32_t next = 0;  // command
  bool dispatching = false;
  uint64_t until = 0;
  uint64_t consumed_bytes = 0;
  uint64_t head_since = 0;
};

struct Fetcher {
  uint64_t total_bytes = 0;
  uint64_t fetched_bytes = 0;
  uint64_t chunk_bytes = 0;  // under way
  bool waiting = false;      // for latency
  uint64_t until = 0;
  Work work;
};

struct Core {
  Engine engines[NPU_ENGINE_COUNT];
  Sequencer sequencer;
  Fetcher fetcher;
};

// References must outlive the simulation.
class JobSimulation {
 public:
  JobSimulation(const TimingInput& input, const npu_target& target,
                std::vector<npu_profile_command>* trace);
  JobSimulation(const JobSimulation&) = delete;
  JobSimulation& operator=(const JobSimulation&) = delete;

  // Goes on for up to `events` points in time; true once the job is over.
  bool run(uint64_t events);
  // Valid once run() has returned true. Without sram_peak_bytes, which is no
  // matter of time.
  const JobTiming& timing() const { return timing_; }
  // Points in time so far: the work done.
  uint64_t events() const { return events_; }

 private:
  Via memory_of(unsigned region) const;
  uint64_t latency(Via via) const {
    return via == Via::kHost ? target_.pcie_latency_cycles : target_.card_latency_cycles;
  }
  uint64_t bandwidth(Via via) const {
    return via == Via::kHost ? target_.pcie_bytes_per_cycle : target_.card_bytes_per_cycle;
  }
  void count_external(Via via, uint64_t bytes) {
    (via == Via::kHost ? timing_.pcie_bytes : timing_.card_bytes) += bytes;
  }
  void begin_job();
  void end_job();
  // Counts the walks' reads and returns their time, one after the other.
  uint64_t walk_cycles(uint64_t walks);

  void step(unsigned core);  // whatever can happen at `now_`
  bool step_fetcher(Core& core);
  bool step_sequencer(unsigned core);
  bool step_engine(unsigned core, unsigned engine);
  bool execute_in_sequencer(unsigned core, const Command& command, uint32_t index);
  void start(unsigned core, unsigned engine);
  void start_dma(Engine& engine, const Command& command, uint64_t ready, uint64_t previous);
  void retire(unsigned core, unsigned engine, uint64_t started_at, uint64_t ideal_cycles);
  // A wait that is not met; 0: all are.
  uint32_t unmet_wait(const npu_command_header& header) const;
  bool met(uint32_t wait) const;
  bool head_may_start(unsigned core, Engine& engine);
  uint64_t wait_cost(const npu_command_header& header, unsigned core, unsigned engine) const;
  npu_profile_command* record(unsigned core, uint32_t index);
  void begin_fetch_chunk(Fetcher& fetcher);

  void set_rates();
  void settle();
  uint64_t next_event() const;

  const TimingInput& input_;
  const npu_target& target_;
  std::vector<npu_profile_command>* trace_;
  std::vector<size_t> trace_base_;
  std::vector<Core> cores_;
  TlbModel tlb_;
  JobTiming timing_;
  bool begun_ = false, over_ = false;
  uint64_t now_ = 0;
  uint64_t tables_ready_ = 0;
  Via tables_;
  uint64_t events_ = 0;
  bool rates_valid_ = false;
  bool woken_ = false;  // something happened that others may wait for
};

}  // namespace npu::arch

#endif  // NPU_ARCH_JOB_SIMULATION_H_
