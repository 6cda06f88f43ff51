// SPDX-License-Identifier: MIT
//
// Packets: from a queue's head to its completion. Jobs are in card_jobs.cpp.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "card.h"

namespace npu::model {
namespace {

template <typename T>
T body(const npu_packet& packet) {
  static_assert(sizeof(T) == sizeof(packet));
  T value;
  std::memcpy(&value, &packet, sizeof(value));
  return value;
}

}  // namespace

void Card::trace(npu_model_trace what, uint32_t queue, uint64_t packet, uint64_t value) {
  if (host_.trace != nullptr) host_.trace(host_.opaque, what, queue, packet, value);
}

void Card::set_state(uint32_t index, npu_queue_state state) {
  queues_[index].state = state;
  shared_.queues[index].state.store(state);
}

void Card::publish(uint32_t index) {
  shared_.queues[index].producer.store(queues_[index].producer);
  shared_.queues[index].consumer.store(queues_[index].consumer);
}

// Serves one packet, or one portion of a transfer, or puts a job on cores: of the
// highest priority that can do something, and of equal ones the next in turn.
bool Card::dispatch(uint64_t& budget) {
  const auto count = static_cast<uint32_t>(queues_.size());
  arbiter_.begin_round();
  for (int priority = 3; priority >= 0; --priority) {
    for (uint32_t i = 1; i <= count; ++i) {
      const uint32_t index = (last_served_[priority] + i) % count;
      Queue& q = queues_[index];
      if (!q.has_packets() || (q.job != nullptr && q.job->aside != Job::kAside) ||
          q.context.priority != static_cast<uint32_t>(priority))
        continue;
      if (q.job != nullptr ? !try_resume(index) : !try_head(index, budget)) continue;
      last_served_[priority] = index;
      return true;
    }
  }
  return false;
}

bool Card::fetch_head(Queue& q, uint32_t index) {
  if (q.head_fetched) return true;
  const uint64_t slot = q.consumer % q.ring_size();
  const uint64_t at = q.context.ring + slot * sizeof(npu_packet);
  bus_.set_client(Bus::kDevice);
  if (bus_.read(NPU_MEMORY_HOST, at, &q.head, sizeof(q.head)) != NPU_STATUS_OK) {
    queue_error(index, NPU_STATUS_DMA_ERROR, at);
    return false;
  }
  q.head_fetched = true;
  q.head_start_ns = now();
  catch_up();
  q.head_at_cycle = timeline_.now();
  q.moved = 0;
  q.fence_started = false;
  return true;
}

bool Card::try_head(uint32_t index, uint64_t& budget) {
  Queue& q = queues_[index];
  if (!fetch_head(q, index)) return true;
  const uint64_t before = q.consumer;
  bool served = true;
  if (q.failed_chain != 0 && q.failed_chain == q.consumer) {
    finish_packet(index, Fault::of(NPU_STATUS_ABORTED));
  } else if (check_packet(q.head, index, q.context.core_mask, shared_.target) != NPU_STATUS_OK) {
    finish_packet(index, Fault::of(NPU_STATUS_BAD_COMMAND));
  } else {
    switch (q.head.opcode) {
      case NPU_PACKET_JOB:
        served = try_job(index);
        break;
      case NPU_PACKET_COPY:
      case NPU_PACKET_FILL:
        served = step_transfer(index);
        break;
      case NPU_PACKET_FENCE:
        served = try_fence(index);
        break;
      case NPU_PACKET_TLB_INVALIDATE: {
        const auto packet = body<npu_packet_tlb_invalidate>(q.head);
        if (!injector_.strikes(NPU_INJECT_DROP_TLB_INVALIDATE, index))
          mmu_.invalidate(packet.asid, packet.va, packet.bytes);
        finish_packet(index, {});
        break;
      }
      default:
        finish_packet(index, {});
        break;
    }
  }
  if (q.consumer != before && budget > 0) --budget;
  return served;
}

bool Card::step_transfer(uint32_t index) {
  Queue& q = queues_[index];
  set_state(index, NPU_QUEUE_RUNNING);
  const bool copy = q.head.opcode == NPU_PACKET_COPY;
  const auto source = body<npu_packet_copy>(q.head);
  const auto fill = body<npu_packet_fill>(q.head);
  const uint64_t bytes = copy ? source.bytes : fill.bytes;
  const auto to_memory =
      static_cast<npu_memory>(copy ? source.destination_memory : fill.destination_memory);
  const uint64_t to = copy ? source.destination : fill.destination;
  const auto chunk = static_cast<size_t>(std::min<uint64_t>(bytes - q.moved, kTransferBytes));

  Fault fault;
  if (chunk > 0) {
    bounce_.resize(kTransferBytes);
    bus_.set_client(index);
    if (copy) {
      fault.status = bus_.read(static_cast<npu_memory>(source.source_memory),
                               source.source + q.moved, bounce_.data(), chunk);
    } else {
      for (size_t i = 0; i < chunk; i += 4) std::memcpy(bounce_.data() + i, &fill.pattern, 4);
    }
    if (fault.ok()) {
      fault.status = bus_.write(to_memory, to + q.moved, bounce_.data(), chunk);
      fault.access = NPU_ACCESS_WRITE;
    }
    fault.address = fault.ok() ? 0 : bus_.fault_address();
    bus_.set_client(Bus::kDevice);
    q.moved += chunk;
    shared_.queues[index].heartbeat.fetch_add(1, std::memory_order_relaxed);
    const npu_target& t = shared_.target;
    const auto energy = [&](uint64_t memory) {
      return memory == NPU_MEMORY_CARD ? t.energy_card_byte_fj : t.energy_pcie_byte_fj;
    };
    uint64_t femto = chunk * uint64_t{energy(to_memory)};
    if (copy) femto += chunk * uint64_t{energy(source.source_memory)};
    telemetry_.add_work(femto / 1000, 0, now());
  }
  if (!fault.ok() || q.moved == bytes) finish_packet(index, fault);
  return true;
}

bool Card::try_fence(uint32_t index) {
  Queue& q = queues_[index];
  if (!q.fence_started) {
    q.fence_started = true;
    q.fence_jobs.clear();
    for (const Queue& other : queues_)
      if (other.job != nullptr) q.fence_jobs.push_back(other.job->id);
  }
  std::erase_if(q.fence_jobs, [&](uint64_t id) {
    return std::none_of(queues_.begin(), queues_.end(), [id](const Queue& other) {
      return other.job != nullptr && other.job->id == id;
    });
  });
  if (!q.fence_jobs.empty()) {
    if (q.state != NPU_QUEUE_WAITING) set_state(index, NPU_QUEUE_WAITING);
    return false;
  }
  finish_packet(index, {});
  return true;
}

// The completion, its sequence last, then the consumer index, the event and
// the interrupt.
void Card::finish_packet(uint32_t index, const Fault& fault, npu_completion c) {
  Queue& q = queues_[index];
  const bool failing = q.state == NPU_QUEUE_ERROR;
  c.sequence = q.consumer + 1;
  c.status = fault.status;
  c.command = fault.command;
  c.engine = fault.engine;
  c.core = fault.core;
  c.access = fault.access;
  c.source_op = fault.source_op;
  c.address = fault.address;
  if (c.end_ns == 0) {
    c.start_ns = q.head_start_ns;
    c.end_ns = now();
  }
  const uint64_t at = q.context.completions + q.consumer % q.ring_size() * sizeof(npu_completion);
  const auto* bytes = reinterpret_cast<const uint8_t*>(&c);
  constexpr size_t kAfter = offsetof(npu_completion, status);
  const uint64_t consumer = q.consumer + 1;
  bus_.set_client(Bus::kDevice);
  const bool written =
      bus_.write(NPU_MEMORY_HOST, at + kAfter, bytes + kAfter, sizeof(c) - kAfter) ==
          NPU_STATUS_OK &&
      bus_.write(NPU_MEMORY_HOST, at, &c.sequence, sizeof(c.sequence)) == NPU_STATUS_OK &&
      bus_.write(NPU_MEMORY_HOST, q.context.indices + offsetof(npu_queue_indices, consumer),
                 &consumer, sizeof(consumer)) == NPU_STATUS_OK;
  const uint64_t failed_at = bus_.fault_address();

  const npu_packet head = q.head;
  const uint64_t packet = q.consumer;
  trace(NPU_MODEL_TRACE_PACKET_END, index, packet, fault.status);
  q.consumer = consumer;
  q.head_fetched = false;
  q.fence_started = false;
  q.failed_chain = (head.flags & NPU_PACKET_CHAIN) != 0 && !fault.ok() ? q.consumer : 0;
  publish(index);
  set_state(index, q.consumer == q.producer ? NPU_QUEUE_IDLE : NPU_QUEUE_WAITING);
  shared_.counters.packets.fetch_add(1);
  if (!fault.ok()) shared_.counters.faults.fetch_add(1);

  if (!fault.ok() && fault.status != NPU_STATUS_ABORTED) {
    npu_event event = {};
    event.type = NPU_EVENT_JOB_FAULT;
    event.queue = index;
    event.status = fault.status;
    event.command = fault.command;
    event.packet = packet;
    event.address = fault.address;
    event.timebase_ns = c.end_ns;
    events_.push(event);
  }
  if (!written && !failing) {
    queue_error(index, NPU_STATUS_DMA_ERROR, failed_at);
    return;
  }
  if (written && (head.flags & NPU_PACKET_IRQ) != 0)
    interrupts_.packet_done(index, q.context, c.end_ns);
}

void Card::queue_error(uint32_t index, npu_status_code status, uint64_t address) {
  Queue& q = queues_[index];
  set_state(index, NPU_QUEUE_ERROR);
  if (q.job != nullptr) finish_job(index, Fault::of(NPU_STATUS_ABORTED));
  const uint64_t packet = q.consumer;
  q = {};
  set_state(index, NPU_QUEUE_ERROR);
  npu_event event = {};
  event.type = NPU_EVENT_QUEUE_ERROR;
  event.queue = index;
  event.status = status;
  event.command = NPU_NO_COMMAND;
  event.packet = packet;
  event.address = address;
  event.timebase_ns = now();
  events_.push(event);
}

}  // namespace npu::model
