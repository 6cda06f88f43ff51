// SPDX-License-Identifier: MIT
//
// Raises MSI-X vectors: at once, coalesced per queue, late or never.
// Used by the run thread only.
#ifndef NPU_MODEL_INTERRUPTS_H_
#define NPU_MODEL_INTERRUPTS_H_

#include <cstdint>
#include <vector>

#include "injector.h"
#include "npu/queue.h"
#include "npu_model.h"
#include "shared.h"

namespace npu::model {

class Interrupts {
 public:
  struct Due {
    uint64_t at_ns;
    uint32_t vector;
    uint32_t queue;  // kNoQueue: events
  };
  struct Coalesced {
    uint32_t pending = 0;
    uint64_t due_ns = 0;
  };
  static constexpr uint32_t kNoQueue = 0xffffffffu;

  Interrupts(const npu_model_host& host, Shared& shared, Injector& injector)
      : host_(host), shared_(shared), injector_(injector), queues_(shared.target.queues) {}

  // A packet with NPU_PACKET_IRQ completed.
  void packet_done(uint32_t queue, const npu_queue_context& context, uint64_t now_ns);
  void event();
  void drop(uint32_t queue);  // the queue stops: nothing is raised for it any more
  void clear();

  // Raises what is due. Returns the time of the next, 0 if none.
  uint64_t poll(uint64_t now_ns);
  uint64_t deadline() const { return deadline_; }

  const std::vector<Due>& late() const { return late_; }
  const std::vector<Coalesced>& coalesced() const { return queues_; }
  const std::vector<uint32_t>& vectors() const { return vectors_; }
  void restore(std::vector<Due> late, std::vector<Coalesced> coalesced,
               const std::vector<uint32_t>& vectors);
  static constexpr size_t kMaxLate = 256;

 private:
  void raise(uint32_t queue, uint32_t vector, uint64_t now_ns);
  void deliver(uint32_t queue, uint32_t vector);

  const npu_model_host& host_;
  Shared& shared_;
  Injector& injector_;
  std::vector<Coalesced> queues_;
  std::vector<uint32_t> vectors_ = std::vector<uint32_t>(queues_.size());
  std::vector<Due> late_;
  uint64_t deadline_ = 0;
  uint32_t coalescing_ = 0;  // queues with something pending
};

}  // namespace npu::model

#endif  // NPU_MODEL_INTERRUPTS_H_
