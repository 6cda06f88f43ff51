// SPDX-License-Identifier: MIT
//
// Packets: arbitration between queues, execution, completion.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <new>
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

uint32_t core_mask(const std::vector<unsigned>& cores) {
  uint32_t mask = 0;
  for (unsigned core : cores) mask |= 1u << core;
  return mask;
}

}  // namespace

void Card::trace(npu_model_trace what, uint32_t queue, uint64_t packet, uint64_t value) {
  if (host_.trace != nullptr) host_.trace(host_.opaque, what, queue, packet, value);
}

void Card::set_state(uint32_t index, npu_queue_state state) {
  queues_[index].state = state;
  shared_.queues[index].state.store(state);
}

void Card::set_core(unsigned core, uint32_t queue) {
  core_queue_[core] = queue;
  shared_.cores[core].state.store(queue == kFree ? kCoreIdle : kCoreRunning | queue << 8);
  const bool busy =
      std::any_of(core_queue_.begin(), core_queue_.end(), [](uint32_t q) { return q != kFree; });
  telemetry_.set_busy(busy, now());
}

void Card::publish(uint32_t index) {
  shared_.queues[index].producer.store(queues_[index].producer);
  shared_.queues[index].consumer.store(queues_[index].consumer);
}

// Serves one packet, or one portion of a transfer: of the highest priority
// that can do something, and of equal ones the next in turn.
bool Card::dispatch(uint64_t& budget) {
  const auto count = static_cast<uint32_t>(queues_.size());
  uint32_t blocked_cores = 0;  // wanted by a job that is ahead but does not fit yet
  for (int priority = 3; priority >= 0; --priority) {
    for (uint32_t i = 1; i <= count; ++i) {
      const uint32_t index = (last_served_[priority] + i) % count;
      Queue& q = queues_[index];
      if (!q.has_packets() || q.job != nullptr ||
          q.context.priority != static_cast<uint32_t>(priority))
        continue;
      if (!try_head(index, blocked_cores, budget)) continue;
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
  q.moved = 0;
  q.fence_started = false;
  return true;
}

bool Card::try_head(uint32_t index, uint32_t& blocked_cores, uint64_t& budget) {
  Queue& q = queues_[index];
  if (!fetch_head(q, index)) return true;
  const uint64_t before = q.consumer;
  bool served = true;
  if (q.chain_failed) {
    finish_packet(index, Fault::of(NPU_STATUS_ABORTED));
  } else if (check_packet(q.head, index, q.context.core_mask, shared_.target) != NPU_STATUS_OK) {
    finish_packet(index, Fault::of(NPU_STATUS_BAD_COMMAND));
  } else {
    switch (q.head.opcode) {
      case NPU_PACKET_JOB:
        served = try_job(index, blocked_cores);
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

bool Card::try_job(uint32_t index, uint32_t& blocked_cores) {
  Queue& q = queues_[index];
  const auto packet = body<npu_packet_job>(q.head);
  const uint32_t all = (1u << shared_.target.cores) - 1;
  const uint32_t mask =
      (packet.core_mask == 0 ? q.context.core_mask : packet.core_mask & q.context.core_mask) & all;
  std::vector<unsigned> cores;
  uint32_t usable = 0;  // cores that will become free: hung ones will not
  for (unsigned core = 0; core < shared_.target.cores; ++core) {
    if ((mask >> core & 1) == 0) continue;
    if ((shared_.cores[core].state.load() & 0xff) != kCoreHung) ++usable;
    if (core_queue_[core] == kFree && (blocked_cores >> core & 1) == 0 &&
        cores.size() < packet.stream_count)
      cores.push_back(core);
  }
  if (cores.size() < packet.stream_count) {
    // A gang must not starve because smaller jobs keep taking its cores.
    if (usable >= packet.stream_count) blocked_cores |= mask;
    if (q.state != NPU_QUEUE_WAITING) set_state(index, NPU_QUEUE_WAITING);
    return false;
  }

  for (unsigned core : cores) {
    memories_[core]->clear();
    shared_.cores[core].command.store(0);
    set_core(core, index);
  }
  q.job = std::make_unique<Job>(next_job_id_++, index, static_cast<uint16_t>(q.context.asid),
                                q.consumer, packet, cores);
  q.job->start_ns = now();
  q.job->throttled = telemetry_.throttled();
  shared_.queues[index].cycles.store(0);
  set_state(index, NPU_QUEUE_RUNNING);
  shared_.counters.jobs.fetch_add(1);
  trace(NPU_MODEL_TRACE_JOB_START, index, q.consumer, core_mask(cores));
  bus_.set_client(index);
  Fault fault;
  try {
    JobBytes bytes;
    fault = q.job->fetch(mmu_, bytes);
    if (fault.ok())
      q.job->begin(std::move(bytes), prepared_, shared_.target, mode_ != NPU_MODEL_FUNCTION_ONLY);
  } catch (const std::bad_alloc&) {
    fault = out_of_memory();
  }
  bus_.set_client(Bus::kDevice);
  if (!fault.ok()) finish_job(index, fault);
  return true;
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

bool Card::step_jobs(uint64_t& budget) {
  bool progress = false;
  for (uint32_t index = 0; index < queues_.size() && budget > 0; ++index) {
    Queue& q = queues_[index];
    if (q.job == nullptr || (q.job->hung && q.job->checked())) continue;
    Job::Environment env{mmu_,
                         prepared_,
                         injector_,
                         progress_,
                         memories_,
                         shared_,
                         mode_ != NPU_MODEL_TIMING_ONLY,
                         q.context.cycle_limit};
    Fault fault;
    bus_.set_client(index);
    Job::Step step = Job::Step::kDone;
    try {
      step = q.job->step(env, budget, fault);
    } catch (const std::bad_alloc&) {
      fault = out_of_memory();
    }
    bus_.set_client(Bus::kDevice);
    shared_.queues[index].cycles.store(q.job->cycles);
    if (step == Job::Step::kDone) finish_job(index, fault);
    progress = progress || step != Job::Step::kBlocked;
  }
  return progress;
}

// The process that models the card is short of memory: not the job's fault.
Fault Card::out_of_memory() {
  log("out of memory, a job is dropped");
  return Fault::of(NPU_STATUS_VICTIM);
}

void Card::release_cores(const Job& job) {
  for (unsigned core : job.cores) set_core(core, kFree);
}

void Card::finish_job(uint32_t index, Fault fault) {
  Queue& q = queues_[index];
  Job& job = *q.job;
  if (!fault.ok() && job.checked() && !job.plan().error.text.empty())
    log(job.plan().error.text.c_str());
  npu_completion c = {};
  c.start_ns = job.start_ns;
  c.end_ns = now();
  if (job.timed()) {
    const arch::JobTiming& t = job.plan().timing;
    const uint64_t slow_down = job.throttled ? 2 : 1;  // a lowered clock is half the nominal one
    c.flags = NPU_COMPLETION_CYCLES_VALID;
    c.cycles_solo = fault.ok() ? t.cycles : job.cycles;
    c.cycles_observed = c.cycles_solo * slow_down;
    if (fault.ok()) {
      c.macs = t.macs;
      c.card_bytes = t.card_bytes;
      c.pcie_bytes = t.pcie_bytes;
      c.energy_pj = t.energy_pj;
      c.mac_cycles = t.mac_cycles;
      c.vec_cycles = t.vec_cycles;
      c.dma_cycles = t.dma_cycles;
      const uint64_t idle_pj = t.cycles * uint64_t{shared_.target.energy_static_cycle_fj} / 1000;
      telemetry_.add_work(t.energy_pj - std::min(t.energy_pj, idle_pj), t.cycles, c.end_ns);
      count_engines(job);
    } else {
      telemetry_.add_work(0, job.cycles, c.end_ns);
    }
  }
  if (fault.ok() && (job.packet.flags & NPU_PACKET_PROFILE) != 0) fault = write_profile(job, c);
  release_cores(job);
  q.job.reset();
  finish_packet(index, fault, c);
}

void Card::count_engines(const Job& job) {
  const auto& timing = job.plan().timing.engines;
  for (unsigned i = 0; i < job.cores.size(); ++i) {
    for (unsigned e = 0; e < NPU_ENGINE_COUNT; ++e) {
      const arch::EngineTiming& t = timing[i][e];
      const uint64_t values[] = {t.commands, t.busy_cycles, t.stall_cycles, t.wait_cycles, t.bytes};
      static_assert(std::size(values) == EngineRegisters::kFields);
      for (unsigned f = 0; f < EngineRegisters::kFields; ++f)
        shared_.cores[job.cores[i]].engines[e].field[f].fetch_add(values[f],
                                                                  std::memory_order_relaxed);
    }
  }
}

Fault Card::write_profile(const Job& job, npu_completion completion) {
  npu_profile profile = {};
  const bool commands = (job.packet.flags & NPU_PACKET_PROFILE_COMMANDS) != 0;
  const std::vector<npu_profile_command>& trace = job.plan().trace;
  completion.sequence = 0;
  completion.command = NPU_NO_COMMAND;
  completion.engine = NPU_ENGINE_PACKET;
  profile.completion = completion;
  profile.commands = commands ? static_cast<uint32_t>(trace.size()) : 0;
  profile.sram_peak_bytes = job.plan().timing.sram_peak_bytes;
  const uint64_t va = job.packet.profile_va;
  const uint64_t sequence = job.packet_index + 1;
  bus_.set_client(job.queue);
  npu_status_code status = mmu_.write(job.asid, va, &profile, sizeof(profile));
  if (status == NPU_STATUS_OK && commands)
    status =
        mmu_.write(job.asid, va + sizeof(profile), trace.data(), trace.size() * sizeof(trace[0]));
  if (status == NPU_STATUS_OK) status = mmu_.write(job.asid, va, &sequence, sizeof(sequence));
  bus_.set_client(Bus::kDevice);
  Fault fault = Fault::of(status, status == NPU_STATUS_OK ? 0 : mmu_.fault_address());
  fault.access = NPU_ACCESS_WRITE;
  return fault;
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
  q.chain_failed = (head.flags & NPU_PACKET_CHAIN) != 0 && !fault.ok();
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
