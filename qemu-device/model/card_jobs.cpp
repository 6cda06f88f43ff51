// SPDX-License-Identifier: MIT
//
// Jobs: cores, slices, putting aside and going on, the end.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <new>
#include <utility>

#include "arch/timing.h"
#include "card.h"
#include "save_area.h"

namespace npu::model {
namespace {

uint32_t core_mask(const std::vector<unsigned>& cores) {
  uint32_t mask = 0;
  for (unsigned core : cores) mask |= 1u << core;
  return mask;
}

}  // namespace

void Card::set_core(unsigned core, uint32_t queue) {
  Arbiter::Core& c = arbiter_.core(core);
  c = {};
  c.queue = queue;
  if (queue != Arbiter::kFree) c.priority = queues_[queue].context.priority;
  shared_.cores[core].state.store(queue == Arbiter::kFree ? kCoreIdle : kCoreRunning | queue << 8);
  const bool busy =
      std::any_of(arbiter_.cores().begin(), arbiter_.cores().end(),
                  [](const Arbiter::Core& any) { return any.queue != Arbiter::kFree; });
  telemetry_.set_busy(busy, now());
}

void Card::release_cores(const Job& job) {
  for (unsigned core : job.cores) set_core(core, Arbiter::kFree);
}

// Modelled time up to what has been executed.
void Card::catch_up() {
  for (const Arbiter::Core& core : arbiter_.cores()) {
    if (core.queue == Arbiter::kFree) continue;
    const Job& job = *queues_[core.queue].job;
    timeline_.reach(job.course, job.cycles);
  }
}

// Cores for a job of the queue, or none; then its queue waits for them.
std::vector<unsigned> Card::request_cores(uint32_t index, const npu_packet_job& packet) {
  const npu_queue_context& context = queues_[index].context;
  const uint32_t mask =
      (packet.core_mask == 0 ? context.core_mask : packet.core_mask & context.core_mask) &
      ((1u << shared_.target.cores) - 1);
  return arbiter_.request(index, context.priority, mask, packet.stream_count);
}

bool Card::try_job(uint32_t index) {
  Queue& q = queues_[index];
  npu_packet_job packet;
  static_assert(sizeof(packet) == sizeof(q.head));
  std::memcpy(&packet, &q.head, sizeof(packet));
  const std::vector<unsigned> cores = request_cores(index, packet);
  if (cores.empty()) {
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
  shared_.queues[index].cycles.store(0);
  shared_.queues[index].waited.store(timeline_.now() - q.head_at_cycle);
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

bool Card::try_resume(uint32_t index) {
  Job& job = *queues_[index].job;
  std::vector<unsigned> cores = request_cores(index, job.packet);
  if (cores.empty()) return false;
  for (unsigned core : cores) set_core(core, index);
  job.resume(std::move(cores));
  set_state(index, NPU_QUEUE_RUNNING);
  return true;
}

// Its cores are free afterwards, whether it could be saved or not.
void Card::put_aside(uint32_t index) {
  Queue& q = queues_[index];
  Job& job = *q.job;
  const uint64_t bytes = job.save_bytes();
  bus_.set_client(index);
  const Fault fault =
      SaveArea(bus_, q.context.save_area, mode_ != NPU_MODEL_TIMING_ONLY).save(job, memories_);
  bus_.set_client(Bus::kDevice);
  if (!fault.ok()) {
    finish_job(index, fault);
    return;
  }
  release_cores(job);
  const uint64_t first = job.put_aside();
  if (job.timed()) {
    timeline_.settle(job.course, job.cycles);
    timeline_.move(job.course, arch::save_cycles(bytes, shared_.target));
    timeline_.leave(job.course, first);
  }
  count_saved(bytes);
  shared_.queues[index].preemptions.fetch_add(1);
  shared_.queues[index].saved_bytes.fetch_add(bytes);
  set_state(index, NPU_QUEUE_PREEMPTED);
}

void Card::restore(uint32_t index) {
  Queue& q = queues_[index];
  Job& job = *q.job;
  const uint64_t bytes = job.save_bytes();
  bus_.set_client(index);
  const Fault fault =
      SaveArea(bus_, q.context.save_area, mode_ != NPU_MODEL_TIMING_ONLY).restore(job, memories_);
  bus_.set_client(Bus::kDevice);
  if (!fault.ok()) {
    finish_job(index, fault);
    return;
  }
  if (job.timed()) timeline_.move(job.course, arch::save_cycles(bytes, shared_.target));
  count_saved(bytes);
  job.restored();
}

void Card::count_saved(uint64_t bytes) {
  telemetry_.add_work(bytes * shared_.target.energy_pcie_byte_fj / 1000, 0, now());
}

// Checks come first: then those who start together are on the timeline together.
bool Card::step_jobs(uint64_t& budget) {
  bool progress = false;
  for (const bool checked : {false, true}) {
    for (uint32_t index = 0; index < queues_.size() && budget > 0; ++index) {
      const Job* job = queues_[index].job.get();
      if (job == nullptr || job->aside == Job::kAside || job->checked() != checked ||
          (job->hung && checked))
        continue;
      progress = step_job(index, budget) || progress;
    }
  }
  return progress;
}

// False if the job cannot go on.
bool Card::step_job(uint32_t index, uint64_t& budget) {
  Queue& q = queues_[index];
  Job& job = *q.job;
  Job::Environment env{mmu_,
                       prepared_,
                       injector_,
                       progress_,
                       memories_,
                       shared_,
                       mode_ != NPU_MODEL_TIMING_ONLY,
                       q.context.cycle_limit,
                       arbiter_.rivals(index),
                       q.context.quantum == 0 ? NPU_QUANTUM_DEFAULT : q.context.quantum,
                       q.context.save_bytes};
  Fault fault;
  bus_.set_client(index);
  Job::Step step = Job::Step::kDone;
  try {
    step = job.step(env, budget, fault);
  } catch (const std::bad_alloc&) {
    fault = out_of_memory();
  }
  bus_.set_client(Bus::kDevice);
  shared_.queues[index].cycles.store(job.cycles);
  if (job.timed()) timeline_.enter(job.course, job.plan());
  switch (step) {
    case Job::Step::kMore:
      break;
    case Job::Step::kBlocked:
      for (unsigned core : job.cores) arbiter_.core(core).hung = true;
      return false;
    case Job::Step::kRestore:
      restore(index);
      break;
    case Job::Step::kYield:
      put_aside(index);
      break;
    case Job::Step::kDone:
      finish_job(index, fault);
      break;
  }
  return true;
}

// The process that models the card is short of memory: not the job's fault.
Fault Card::out_of_memory() {
  log("out of memory, a job is dropped");
  return Fault::of(NPU_STATUS_VICTIM);
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
    c.flags = NPU_COMPLETION_CYCLES_VALID;
    c.cycles_solo = fault.ok() ? t.cycles : job.cycles;
    if (job.aside != Job::kAside) {
      timeline_.settle(job.course, c.cycles_solo);
      timeline_.leave(job.course, c.cycles_solo);
    }
    c.cycles_observed = job.course.active_cycles();
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

}  // namespace npu::model
