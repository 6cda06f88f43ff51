// SPDX-License-Identifier: MIT
#include "interrupts.h"

#include <algorithm>
#include <utility>

namespace npu::model {

void Interrupts::deliver(uint32_t queue, uint32_t vector) {
  if (shared_.gone.load(std::memory_order_relaxed)) return;
  shared_.counters.interrupts.fetch_add(1, std::memory_order_relaxed);
  if (queue != kNoQueue) shared_.queues[queue].interrupts.fetch_add(1);
  host_.raise_irq(host_.opaque, vector);
}

void Interrupts::raise(uint32_t queue, uint32_t vector, uint64_t now_ns) {
  if (injector_.strikes(NPU_INJECT_LOST_INTERRUPT, queue)) return;
  uint64_t delay = 0;
  if (late_.size() < kMaxLate && injector_.strikes(NPU_INJECT_LATE_INTERRUPT, queue, &delay)) {
    // Saturating: an absurd delay must not wrap into the past.
    late_.push_back({now_ns + std::min(delay, ~uint64_t{0} - now_ns), vector, queue});
    deadline_ = deadline_ == 0 ? late_.back().at_ns : std::min(deadline_, late_.back().at_ns);
    return;
  }
  deliver(queue, vector);
}

void Interrupts::packet_done(uint32_t queue, const npu_queue_context& context, uint64_t now_ns) {
  Coalesced& c = queues_[queue];
  vectors_[queue] = context.vector;
  if (context.coalesce_count <= 1 || context.coalesce_ns == 0) {
    raise(queue, context.vector, now_ns);
    return;
  }
  if (c.pending++ == 0) {
    ++coalescing_;
    c.due_ns = now_ns + context.coalesce_ns;
    deadline_ = deadline_ == 0 ? c.due_ns : std::min(deadline_, c.due_ns);
  }
  if (c.pending < context.coalesce_count) return;
  c = {};
  --coalescing_;
  raise(queue, context.vector, now_ns);
}

void Interrupts::event() {
  deliver(kNoQueue, NPU_VECTOR_EVENTS);
}

void Interrupts::drop(uint32_t queue) {
  if (queues_[queue].pending != 0) --coalescing_;
  queues_[queue] = {};
  std::erase_if(late_, [queue](const Due& due) { return due.queue == queue; });
}

void Interrupts::clear() {
  std::fill(queues_.begin(), queues_.end(), Coalesced{});
  late_.clear();
  deadline_ = 0;
  coalescing_ = 0;
}

uint64_t Interrupts::poll(uint64_t now_ns) {
  if (deadline_ == 0) return 0;
  uint64_t next = 0;
  const auto later = [&next](uint64_t at) { next = next == 0 ? at : std::min(next, at); };
  if (coalescing_ != 0) {
    for (uint32_t queue = 0; queue < queues_.size(); ++queue) {
      Coalesced& c = queues_[queue];
      if (c.pending == 0) continue;
      if (c.due_ns > now_ns) {
        later(c.due_ns);
        continue;
      }
      c = {};
      --coalescing_;
      raise(queue, vectors_[queue], now_ns);
    }
  }
  std::vector<Due> due;
  std::erase_if(late_, [&](const Due& entry) {
    if (entry.at_ns > now_ns) return false;
    due.push_back(entry);
    return true;
  });
  for (const Due& entry : due) deliver(entry.queue, entry.vector);
  for (const Due& entry : late_) later(entry.at_ns);
  deadline_ = next;
  return next;
}

void Interrupts::restore(std::vector<Due> late, std::vector<Coalesced> coalesced,
                         const std::vector<uint32_t>& vectors) {
  late_ = std::move(late);
  queues_ = std::move(coalesced);
  vectors_ = vectors;
  deadline_ = 0;
  coalescing_ = 0;
  for (const Coalesced& c : queues_) {
    if (c.pending == 0) continue;
    ++coalescing_;
    deadline_ = deadline_ == 0 ? c.due_ns : std::min(deadline_, c.due_ns);
  }
  for (const Due& due : late_)
    deadline_ = deadline_ == 0 ? due.at_ns : std::min(deadline_, due.at_ns);
}

}  // namespace npu::model
