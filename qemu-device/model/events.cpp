// SPDX-License-Identifier: MIT
#include "events.h"

#include <cstddef>

namespace npu::model {

void EventRing::push(npu_event event) {
  const Settings s = shared_.settings_copy();
  const uint32_t tail = shared_.event_tail.load();
  const uint32_t size = 1u << s.event_log2;
  const uint32_t client = bus_.client();
  bus_.set_client(Bus::kDevice);
  bool stored = s.event_log2 != 0 && tail - s.event_head < size;
  if (stored) {
    const uint64_t at = s.event_ring + uint64_t{tail % size} * sizeof(event);
    const auto* bytes = reinterpret_cast<const uint8_t*>(&event);
    constexpr size_t kAfter = offsetof(npu_event, type);
    event.sequence = uint64_t{tail} + 1;
    event.reserved = 0;
    stored =
        bus_.write(NPU_MEMORY_HOST, at + kAfter, bytes + kAfter, sizeof(event) - kAfter) ==
            NPU_STATUS_OK &&
        bus_.write(NPU_MEMORY_HOST, at, &event.sequence, sizeof(event.sequence)) == NPU_STATUS_OK;
  }
  bus_.set_client(client);
  if (stored)
    shared_.event_tail.store(tail + 1);
  else
    shared_.event_lost.fetch_add(1);
  if (s.event_log2 != 0) interrupts_.event();
}

}  // namespace npu::model
