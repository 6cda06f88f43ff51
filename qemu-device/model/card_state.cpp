// SPDX-License-Identifier: MIT
//
// Saves and restores the card with whatever is under way. A command that was
// interrupted continues at its next unit; its working state (packed weights,
// tables) is rebuilt from SRAM. Card memory is the caller's business.
#include <cstring>
#include <mutex>
#include <utility>

#include "archive.h"
#include "card.h"

namespace npu::model {
namespace {

constexpr uint64_t kMagic = 0x335441545355504eull;  // "NPUSTAT3" read as bytes

// Whether the positions exist in the stream is seen once it is decoded again.
void visit(Archive& ar, StreamState& s) {
  ar.value(s.next);
  ar.value(s.retired);
  ar.value(s.current);
  ar.value(s.cursor);
  ar.value(s.reached);
  ar.value(s.yielded_at);
  ar.flag(s.passing);
}

void visit(Archive& ar, TlbEntry& entry) {
  ar.flag(entry.valid);
  ar.flag(entry.read);
  ar.flag(entry.write);
  ar.flag(entry.card);
  ar.value(entry.shift);
  ar.value(entry.asid);
  ar.value(entry.page);
  ar.value(entry.address);
  ar.require(!entry.valid || entry.shift == NPU_MMU_PAGE_SHIFT ||
             entry.shift == NPU_MMU_BLOCK_SHIFT);
}

void visit(Archive& ar, Fault& fault) {
  ar.enumeration(fault.status, NPU_STATUS_COUNT);
  ar.value(fault.command);
  ar.value(fault.engine);
  ar.value(fault.core);
  ar.value(fault.access);
  ar.value(fault.source_op);
  ar.value(fault.address);
}

// The immutable part of a job: what its constructor and prepare() take.
struct JobSeed {
  Job::Aside aside = Job::kNotAside;
  uint64_t id = 0;
  uint64_t packet_index = 0;
  npu_packet_job packet{};
  std::vector<unsigned> cores;
  JobBytes bytes;
};

void visit(Archive& ar, JobSeed& seed) {
  ar.enumeration(seed.aside, Job::kAsideStates);
  ar.value(seed.id);
  ar.value(seed.packet_index);
  ar.value(seed.packet);
  ar.list(seed.cores, NPU_MAX_CORES);
  uint64_t streams = seed.bytes.streams.size();
  ar.value(streams);
  ar.require(streams >= 1 && streams <= NPU_MAX_CORES);
  seed.bytes.streams.resize(ar.ok() ? streams : 0);
  for (auto& stream : seed.bytes.streams) ar.list(stream, NPU_STREAM_MAX_BYTES);
  ar.list(seed.bytes.regions, NPU_MAX_REGIONS);
  ar.enumeration(seed.bytes.commands, 2);
  for (arch::External& region : seed.bytes.regions)
    ar.require(region == arch::External::kCard || region == arch::External::kHost);
}

}  // namespace

void Card::visit_job(Archive& ar, uint32_t index) {
  Queue& q = queues_[index];
  bool present = q.job != nullptr;
  ar.flag(present);
  if (!present || !ar.ok()) return;

  JobSeed seed;
  if (ar.saving()) {
    const Job& job = *q.job;
    seed = {job.aside, job.id, job.packet_index, job.packet, job.cores, job.bytes()};
  }
  visit(ar, seed);
  if (!ar.saving()) {
    npu_packet packet;
    std::memcpy(&packet, &seed.packet, sizeof(packet));
    ar.require(check_packet(packet, index, q.context.core_mask, shared_.target) == NPU_STATUS_OK);
    const unsigned count = seed.packet.stream_count;
    ar.require(seed.cores.size() == (seed.aside == Job::kAside ? 0 : count) &&
               seed.bytes.streams.size() == count &&
               seed.bytes.regions.size() == seed.packet.region_count);
    uint32_t taken = 0;  // mask
    for (unsigned core : seed.cores) {
      ar.require(core < arbiter_.cores().size() && arbiter_.core(core).queue == Arbiter::kFree &&
                 (taken >> core & 1) == 0);
      if (!ar.ok()) return;
      taken |= 1u << core;
    }
    if (!ar.ok()) return;
    q.job = std::make_unique<Job>(seed.id, index, static_cast<uint16_t>(q.context.asid),
                                  seed.packet_index, seed.packet, seed.cores);
    // With the job, which gives them back if the rest is refused.
    for (unsigned core : seed.cores) set_core(core, index);
    q.job->aside = seed.aside;
    q.job->begin(std::move(seed.bytes), prepared_, shared_.target,
                 mode_ != NPU_MODEL_FUNCTION_ONLY);
  }
  Job& job = *q.job;
  ar.list(job.regions, NPU_MAX_REGIONS);
  ar.require(job.regions.size() == job.packet.region_count);
  ar.value(job.start_ns);
  ar.flag(job.hung);
  visit(ar, job.hang);
  ar.value(job.cycles);
  ar.value(job.course);
  // Far above any job, far below where sums overflow.
  constexpr uint64_t kMostCycles = 1ull << 46;
  ar.require(job.cycles < kMostCycles && job.course.moving >> kCycleFraction < kMostCycles &&
             job.course.position >> kCycleFraction < kMostCycles);
  ar.value(job.preemptions);
  ar.value(job.resumed_at);
  if (!ar.ok()) return;
  for (StreamState& stream : job.streams) visit(ar, stream);
}

void Card::visit_queue(Archive& ar, uint32_t index) {
  Queue& q = queues_[index];
  ar.enumeration(q.state, NPU_QUEUE_ERROR + 1);
  ar.value(q.context);
  ar.value(q.producer);
  ar.value(q.consumer);
  ar.flag(q.head_fetched);
  ar.value(q.head);
  ar.value(q.head_start_ns);
  ar.value(q.head_at_cycle);
  ar.value(q.moved);
  ar.list(q.fence_jobs, NPU_MAX_CORES);
  ar.flag(q.fence_started);
  ar.value(q.failed_chain);
  bool stop = stop_when_reset_[index];
  ar.flag(stop);
  stop_when_reset_[index] = stop;
  if (q.active()) {
    ar.require(check_context(q.context, shared_.target) == nullptr);
    ar.require(q.context.ring_log2 <= NPU_RING_LOG2_MAX &&
               q.producer - q.consumer <= q.ring_size());
  }
  visit_job(ar, index);
  ar.require(q.job == nullptr || (q.active() && q.has_packets() && q.head_fetched));
}

void Card::visit_registers(Archive& ar) {
  std::lock_guard lock(shared_.mutex);
  ar.value(shared_.settings);
  ar.require(shared_.settings.context_count <= shared_.target.asids &&
             shared_.settings.queue_count <= shared_.target.queues &&
             shared_.settings.event_log2 <= 16);
  Requests& r = shared_.requests;
  std::vector<uint32_t> touched = r.touched;
  ar.list(touched, shared_.target.queues);
  for (uint32_t queue : touched) ar.require(queue < r.queue.size());
  if (!ar.ok()) return;
  r.touched = touched;
  for (uint32_t queue : touched) {
    QueueRequest& request = r.queue[queue];
    ar.flag(request.pending);
    ar.flag(request.stop);
    ar.flag(request.start);
    ar.flag(request.abort);
    ar.flag(request.doorbell);
    ar.value(request.doorbell_value);
    ar.value(request.abort_packet);
  }
  ar.value(r.reset_cores);
  ar.flag(r.reset_card);
  ar.value(shared_.control);
  ar.value(shared_.resets);
  ar.value(shared_.event_tail);
  ar.value(shared_.event_lost);
  Counters& c = shared_.counters;
  for (auto* counter :
       {&c.mmio_reads, &c.mmio_writes, &c.doorbells, &c.interrupts, &c.packets, &c.jobs, &c.faults})
    ar.value(*counter);
  for (QueueRegisters& q : shared_.queues) {
    ar.value(q.heartbeat);
    ar.value(q.interrupts);
    ar.value(q.cycles);
    ar.value(q.preemptions);
    ar.value(q.saved_bytes);
    ar.value(q.waited);
  }
  for (CoreRegisters& core : shared_.cores) {
    ar.value(core.state);
    ar.value(core.heartbeat);
    ar.value(core.command);
    for (EngineRegisters& engine : core.engines)
      for (auto& field : engine.field) ar.value(field);
  }
}

void Card::visit_interrupts(Archive& ar) {
  std::vector<Interrupts::Due> late = interrupts_.late();
  std::vector<Interrupts::Coalesced> coalesced = interrupts_.coalesced();
  std::vector<uint32_t> vectors = interrupts_.vectors();
  ar.list(late, Interrupts::kMaxLate);
  ar.list(coalesced, queues_.size());
  ar.list(vectors, queues_.size());
  ar.require(coalesced.size() == queues_.size() && vectors.size() == queues_.size());
  for (const Interrupts::Due& due : late)
    ar.require(due.vector < shared_.target.vectors &&
               (due.queue < queues_.size() || due.queue == Interrupts::kNoQueue));
  for (uint32_t vector : vectors) ar.require(vector < shared_.target.vectors);
  if (!ar.saving() && ar.ok()) interrupts_.restore(std::move(late), std::move(coalesced), vectors);
}

void Card::visit_core(Archive& ar, CoreMemory& memory) {
  uint32_t dirty = memory.dirty_bytes();
  ar.value(dirty);
  ar.require(dirty <= memory.sram_bytes());
  if (!ar.ok()) return;
  memory.note_sram(0, dirty);
  ar.raw(memory.sram(), dirty);
  bool sums = memory.accumulators_dirty();
  ar.flag(sums);
  if (!sums) return;
  memory.note_accumulators();
  ar.raw(memory.accumulators().data(), memory.accumulators().size() * sizeof(int32_t));
}

void Card::visit_state(Archive& ar) {
  uint64_t magic = kMagic;
  npu_target target = shared_.target;
  uint32_t mode = mode_;
  ar.value(magic);
  ar.value(target);
  ar.value(mode);
  ar.require(magic == kMagic && mode == mode_ &&
             std::memcmp(&target, &shared_.target, sizeof(target)) == 0);
  if (!ar.ok()) return;
  visit_registers(ar);
  bool gone = shared_.gone.load();
  ar.flag(gone);
  if (ar.ok()) registers_.set_gone(gone);

  Injector::State faults = injector_.state();
  ar.value(faults);
  Telemetry::State telemetry = telemetry_.state();
  ar.value(telemetry);
  std::vector<TlbEntry> tlb = mmu_.entries();
  uint32_t victim = mmu_.next_victim();
  for (TlbEntry& entry : tlb) visit(ar, entry);
  ar.value(victim);
  visit_interrupts(ar);
  ar.value(last_served_);
  ar.value(next_job_id_);
  uint64_t time = timeline_.now();
  ar.value(time);
  ar.flag(thermal_reported_);
  if (!ar.ok()) return;
  if (!ar.saving()) {
    injector_.set_state(faults);
    timeline_.set_now(time);
    ar.require(telemetry_.set_state(telemetry, now()));
    mmu_.set_entries(tlb, victim);
  }
  for (uint32_t index = 0; index < queues_.size() && ar.ok(); ++index) visit_queue(ar, index);
  for (auto& memory : memories_) visit_core(ar, *memory);
}

std::vector<uint8_t> Card::save() {
  Archive ar;
  visit_state(ar);
  return ar.take();
}

bool Card::load(const uint8_t* data, size_t bytes) {
  clear();
  Archive ar(data, bytes);
  visit_state(ar);
  if (!ar.ok() || !ar.at_end()) {
    reset(NPU_MODEL_RESET_POWER);
    return false;
  }
  for (uint32_t index = 0; index < queues_.size(); ++index) {
    publish(index);
    set_state(index, queues_[index].state);
    if (shared_.requests.queue[index].start) shared_.queues[index].start_asked();
  }
  for (unsigned core = 0; core < arbiter_.cores().size(); ++core) {
    Arbiter::Core& c = arbiter_.core(core);
    if (c.queue != Arbiter::kFree) c.hung = queues_[c.queue].job->hung;
    if (c.hung) shared_.cores[core].state.store(kCoreHung | c.queue << 8);
  }
  // Whatever was asked for is looked at by the next run.
  shared_.urgent.store(false);
  shared_.attention.store(true);
  host_.kick(host_.opaque);
  return true;
}

}  // namespace npu::model
