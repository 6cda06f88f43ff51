// SPDX-License-Identifier: MIT
//
// What the run thread knows of one queue.
#ifndef NPU_MODEL_QUEUE_H_
#define NPU_MODEL_QUEUE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "fault.h"
#include "job.h"
#include "npu/queue.h"
#include "npu/registers.h"

namespace npu::model {

struct Queue {
  npu_queue_state state = NPU_QUEUE_DISABLED;
  npu_queue_context context{};
  uint64_t producer = 0;
  uint64_t consumer = 0;

  // The oldest unretired packet, fetched once.
  bool head_fetched = false;
  npu_packet head{};
  uint64_t head_start_ns = 0;
  uint64_t head_at_cycle = 0;        // when its turn came, on the card's timeline
  uint64_t moved = 0;                // bytes of a COPY or FILL done
  std::vector<uint64_t> fence_jobs;  // jobs a FENCE waits for
  bool fence_started = false;

  // Index of the packet that continues a chain which has failed; 0: none. Kept
  // through a card reset for a driver that goes on where it was, forgotten by
  // STOP; a driver that starts a ring anew has other indices.
  uint64_t failed_chain = 0;

  std::unique_ptr<Job> job;  // of the head, on its cores or put aside

  bool active() const { return state != NPU_QUEUE_DISABLED && state != NPU_QUEUE_ERROR; }
  bool has_packets() const { return active() && consumer != producer; }
  uint64_t ring_size() const { return 1ull << context.ring_log2; }
};

// Checks a context as START does; empty if good, else what is wrong with it.
const char* check_context(const npu_queue_context& context, const npu_target& target);

// Checks the reserved fields and ranges of a packet on queue `queue`, whose
// jobs may use the cores of `core_mask`. OK or BAD_COMMAND.
npu_status_code check_packet(const npu_packet& packet, uint32_t queue, uint32_t core_mask,
                             const npu_target& target);

}  // namespace npu::model

#endif  // NPU_MODEL_QUEUE_H_
