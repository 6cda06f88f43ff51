// SPDX-License-Identifier: MIT
//
// One hardware queue as the simulator's host side drives it: rings in bus
// memory, submits on their way, and how they ended.
#ifndef NPU_UMD_SIM_QUEUE_H_
#define NPU_UMD_SIM_QUEUE_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "backend.h"
#include "npu/queue.h"
#include "sim_bus.h"

namespace npu::umd {

// Not thread safe.
class SimQueue {
 public:
  static constexpr uint32_t kRingLog2 = 8;
  static constexpr uint32_t kRingSize = 1u << kRingLog2;

  explicit SimQueue(SimBus& bus) : bus_(bus) {}
  ~SimQueue();
  SimQueue(const SimQueue&) = delete;
  SimQueue& operator=(const SimQueue&) = delete;

  // `save_bytes`: of the area for preempted jobs, 0 for none.
  Status init(uint64_t save_bytes);
  // The context that makes the card use these rings.
  npu_queue_context context() const;

  // --- packets
  // Room in the ring, in packets.
  uint64_t room() const { return kRingSize - (producer_ - retired_); }
  // Appends a packet to the ring; announce() makes it visible to the card.
  void push(const void* packet);
  // Stores the producer index; returns what the doorbell takes.
  uint32_t announce();
  uint64_t producer() const { return producer_; }
  // The completion of the oldest packet, once it has one, and forgets it.
  bool pop_completion(npu_completion& out);
  // Gives up the oldest packet, of a queue that the card has stopped. False if
  // there is none.
  bool drop_oldest();

  // --- submits; the backend keeps these up to date
  uint32_t id = 0;  // what callers name it by; never reused, the hardware queue is
  struct Submit {
    std::vector<npu_packet_job> packets;
    std::vector<Backend::Point> waits;
  };
  struct InFlight {
    uint64_t end;  // producer index after its last packet
    bool failed;
  };
  std::deque<Submit> pending;      // not in the ring yet
  std::deque<InFlight> in_flight;  // in the ring
  uint64_t submits = 0;            // accepted: pending, in flight and ended
  uint64_t completed = 0;          // ended
  uint64_t jobs_submitted = 0;
  uint64_t jobs_completed = 0;
  uint64_t retired() const { return retired_; }
  drm_npu_queue_health health = DRM_NPU_QUEUE_HEALTHY;
  drm_npu_fault fault = {};
  uint64_t first_failed = 0;  // job number from 1

 private:
  SimBus& bus_;
  uint64_t save_bytes_ = 0;
  uint64_t address_ = 0;  // of the rings and the save area behind them, one allocation
  npu_packet* ring_ = nullptr;
  npu_completion* completions_ = nullptr;
  npu_queue_indices* indices_ = nullptr;
  uint64_t producer_ = 0;
  uint64_t retired_ = 0;
};

}  // namespace npu::umd

#endif  // NPU_UMD_SIM_QUEUE_H_
