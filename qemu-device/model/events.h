// SPDX-License-Identifier: MIT
//
// The event ring. Used by the run thread only.
#ifndef NPU_MODEL_EVENTS_H_
#define NPU_MODEL_EVENTS_H_

#include <cstdint>

#include "bus.h"
#include "interrupts.h"
#include "npu/queue.h"
#include "shared.h"

namespace npu::model {

class EventRing {
 public:
  EventRing(Bus& bus, Shared& shared, Interrupts& interrupts)
      : bus_(bus), shared_(shared), interrupts_(interrupts) {}

  // Stores the event, its sequence last, and raises vector 0. Counts it as
  // lost when there is no room or no ring.
  void push(npu_event event);

 private:
  Bus& bus_;
  Shared& shared_;
  Interrupts& interrupts_;
};

}  // namespace npu::model

#endif  // NPU_MODEL_EVENTS_H_
