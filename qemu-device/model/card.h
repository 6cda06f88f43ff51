// SPDX-License-Identifier: MIT
//
// The card: owns every part and is what npu_model_run() drives.
#ifndef NPU_MODEL_CARD_H_
#define NPU_MODEL_CARD_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "arbiter.h"
#include "bus.h"
#include "core.h"
#include "events.h"
#include "injector.h"
#include "interrupts.h"
#include "job.h"
#include "mmu.h"
#include "npu_model.h"
#include "prepared.h"
#include "progress.h"
#include "queue.h"
#include "registers.h"
#include "shared.h"
#include "telemetry.h"
#include "timeline.h"

namespace npu::model {

// Zeroed pages that cost memory only once they are touched: a card's memory may
// be larger than the host's. Null when the host refuses even that.
struct Unmap {
  size_t bytes;
  void operator()(uint8_t* memory) const;
};
using OwnedMemory = std::unique_ptr<uint8_t, Unmap>;
OwnedMemory map_zeroed(size_t bytes);

class Archive;

class Card {
 public:
  // card_memory is the caller's or own_memory's.
  Card(const npu_model_config& config, const npu_model_host& host, uint8_t* card_memory,
       OwnedMemory own_memory);

  Registers& registers() { return registers_; }
  uint8_t* card_memory() { return card_memory_; }

  npu_model_run_result run(uint64_t budget);
  uint64_t deadline() const;
  void reset(npu_model_reset_kind kind);

  std::vector<uint8_t> save();
  bool load(const uint8_t* data, size_t bytes);

 private:
  static constexpr size_t kTransferBytes = Bus::kMaxHostBytes;
  static constexpr unsigned kPacketsPerRound = 16;

  uint64_t now() const { return host_.now_ns(host_.opaque); }

  void log(const char* line);
  void trace(npu_model_trace what, uint32_t queue, uint64_t packet, uint64_t value);

  // card.cpp: the run loop and what software asks for
  void service_requests();
  void apply(uint32_t queue, const QueueRequest& request);
  void start_queue(uint32_t index);
  void stop_queue(uint32_t index);
  void abort_packet(uint32_t index, uint64_t packet);
  void ring_doorbell(uint32_t index, uint32_t value);
  void reset_core(uint32_t core);
  void reset_card();
  void drop_everything();
  void watch_temperature(uint64_t now_ns);

  void clear();  // everything that a reset of any kind clears, without card memory

  // card_packets.cpp: from a queue's head to its completion
  bool dispatch(uint64_t& budget);
  bool try_head(uint32_t index, uint64_t& budget);
  bool fetch_head(Queue& queue, uint32_t index);
  bool step_transfer(uint32_t index);
  bool try_fence(uint32_t index);
  void finish_packet(uint32_t index, const Fault& fault, npu_completion completion = {});
  void queue_error(uint32_t index, npu_status_code status, uint64_t address);
  void set_state(uint32_t index, npu_queue_state state);
  void publish(uint32_t index);

  // card_jobs.cpp: from a job's cores to its end
  void set_core(unsigned core, uint32_t queue);
  void release_cores(const Job& job);
  void catch_up();
  std::vector<unsigned> request_cores(uint32_t index, const npu_packet_job& packet);
  bool try_job(uint32_t index);
  bool try_resume(uint32_t index);
  void put_aside(uint32_t index);
  void restore(uint32_t index);
  void count_saved(uint64_t bytes);
  bool step_jobs(uint64_t& budget);
  bool step_job(uint32_t index, uint64_t& budget);
  void finish_job(uint32_t index, Fault fault);
  void count_engines(const Job& job);
  Fault write_profile(const Job& job, npu_completion completion);
  Fault out_of_memory();

  // card_state.cpp
  void visit_state(Archive& ar);
  void visit_registers(Archive& ar);
  void visit_interrupts(Archive& ar);
  void visit_queue(Archive& ar, uint32_t index);
  void visit_job(Archive& ar, uint32_t index);
  void visit_core(Archive& ar, CoreMemory& memory);

  const npu_model_host host_;
  const uint32_t mode_;
  Shared shared_;
  Injector injector_;
  Telemetry telemetry_;
  uint8_t* const card_memory_;
  OwnedMemory own_memory_;
  Bus bus_;
  Mmu mmu_;
  Interrupts interrupts_;
  EventRing events_;
  Registers registers_;
  Progress progress_;
  PreparedCache prepared_;

  std::vector<Queue> queues_;
  std::vector<bool> stop_when_reset_;  // STOP found a hung job
  std::vector<std::unique_ptr<CoreMemory>> memories_;
  Arbiter arbiter_;
  Timeline timeline_;
  uint32_t last_served_[4] = {};  // per priority, for round robin
  uint64_t next_job_id_ = 1;
  uint64_t thermal_checked_ns_ = 0;
  bool thermal_reported_ = false;
  uint64_t log_window_ns_ = 0;
  unsigned log_lines_ = 0;
  std::vector<uint8_t> bounce_;
};

}  // namespace npu::model

#endif  // NPU_MODEL_CARD_H_
