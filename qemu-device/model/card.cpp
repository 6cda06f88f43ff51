// SPDX-License-Identifier: MIT
#include "card.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <utility>

namespace npu::model {

void Unmap::operator()(uint8_t* memory) const {
  munmap(memory, bytes);
}

OwnedMemory map_zeroed(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return {memory == MAP_FAILED ? nullptr : static_cast<uint8_t*>(memory), Unmap{bytes}};
}
namespace {

uint64_t features(uint32_t mode) {
  uint64_t bits =
      NPU_FEATURE_HAZARDS | NPU_FEATURE_INJECT | NPU_FEATURE_PREEMPT | NPU_FEATURE_COALESCE;
  if (mode != NPU_MODEL_FUNCTION_ONLY) bits |= NPU_FEATURE_TIMING;
  return bits;
}

unsigned dma_bits(const npu_model_config& config) {
  return config.dma_bits != 0 ? config.dma_bits : 64;
}

// Zeroes memory without touching pages that are zero already: most of a large
// card memory has never been written, and writing would allocate it.
void wipe(uint8_t* memory, uint64_t bytes) {
  constexpr uint64_t kBlock = 4096;
  static const uint8_t zeros[kBlock] = {};
  for (uint64_t at = 0; at < bytes; at += kBlock)
    if (std::memcmp(memory + at, zeros, kBlock) != 0) std::memset(memory + at, 0, kBlock);
}

}  // namespace

Card::Card(const npu_model_config& config, const npu_model_host& host, uint8_t* card_memory,
           OwnedMemory own_memory)
    : host_(host),
      mode_(config.mode),
      shared_(config.target),
      telemetry_(config.target),
      card_memory_(card_memory),
      own_memory_(std::move(own_memory)),
      bus_(host_, shared_, injector_, card_memory_, uint64_t{config.target.card_memory_mib} << 20,
           dma_bits(config)),
      mmu_(bus_, shared_),
      interrupts_(host_, shared_, injector_),
      events_(bus_, shared_, interrupts_),
      registers_(host_, shared_, injector_, telemetry_, config.serial, features(config.mode),
                 dma_bits(config)),
      progress_(host_, shared_),
      queues_(config.target.queues),
      stop_when_reset_(config.target.queues),
      arbiter_(config.target.cores),
      timeline_(config.target) {
  for (unsigned core = 0; core < config.target.cores; ++core)
    memories_.push_back(std::make_unique<CoreMemory>(config.target));
  telemetry_.reset(now());
}

// A guest must not be able to fill its host's log.
void Card::log(const char* line) {
  constexpr uint64_t kWindowNs = 1'000'000'000;
  constexpr unsigned kLines = 10;
  if (host_.log == nullptr) return;
  const uint64_t now_ns = now();
  if (now_ns - log_window_ns_ >= kWindowNs) {
    log_window_ns_ = now_ns;
    log_lines_ = 0;
  }
  if (++log_lines_ <= kLines) host_.log(host_.opaque, line);
}

npu_model_run_result Card::run(uint64_t budget) {
  uint64_t left = budget == 0 ? ~uint64_t{0} : budget;
  for (;;) {
    if (host_.cancelled(host_.opaque)) return NPU_MODEL_MORE;
    service_requests();
    if (shared_.gone.load()) {
      drop_everything();
      return NPU_MODEL_IDLE;
    }
    const uint64_t now_ns = now();
    interrupts_.poll(now_ns);
    watch_temperature(now_ns);
    if (!shared_.enabled()) return NPU_MODEL_IDLE;

    bool progress = false;
    for (unsigned i = 0; i < kPacketsPerRound && left > 0 && dispatch(left); ++i) progress = true;
    if (left > 0 && step_jobs(left)) progress = true;
    if (left == 0) return NPU_MODEL_MORE;
    if (!progress && !shared_.attention.load()) return NPU_MODEL_IDLE;
  }
}

// Hosts have signed clocks and add to them: a time that a guest chose, and that none of
// them can hold, would be in their past for ever.
uint64_t Card::deadline() const {
  constexpr uint64_t kLongestNs = 3'600'000'000'000;
  const uint64_t at = interrupts_.deadline(), now_ns = now();
  return at > now_ns && at - now_ns > kLongestNs ? now_ns + kLongestNs : at;
}

void Card::service_requests() {
  if (!shared_.attention.exchange(false)) return;
  thermal_checked_ns_ = 0;
  uint32_t reset_cores;
  bool card;
  std::vector<std::pair<uint32_t, QueueRequest>> requests;
  {
    std::lock_guard lock(shared_.mutex);
    Requests& r = shared_.requests;
    shared_.urgent.store(false);
    reset_cores = std::exchange(r.reset_cores, 0);
    card = std::exchange(r.reset_card, false);
    for (uint32_t queue : r.touched)
      requests.emplace_back(queue, std::exchange(r.queue[queue], QueueRequest{}));
    r.touched.clear();
  }
  for (uint32_t core = 0; core < shared_.target.cores; ++core)
    if ((reset_cores >> core & 1) != 0) reset_core(core);
  if (card) reset_card();
  for (const auto& [queue, request] : requests) apply(queue, request);
}

void Card::apply(uint32_t queue, const QueueRequest& request) {
  if (request.stop) stop_queue(queue);
  if (request.start) start_queue(queue);
  if (request.abort) abort_packet(queue, request.abort_packet);
  if (request.doorbell) ring_doorbell(queue, request.doorbell_value);
}

void Card::start_queue(uint32_t index) {
  Queue& q = queues_[index];
  bus_.set_client(Bus::kDevice);
  if (q.active()) {
    // Already started: as a doorbell, with the index that memory holds.
    uint64_t producer;
    if (bus_.read(NPU_MEMORY_HOST, q.context.indices, &producer, sizeof(producer)) == NPU_STATUS_OK)
      ring_doorbell(index, static_cast<uint32_t>(producer));
    else
      queue_error(index, NPU_STATUS_DMA_ERROR, q.context.indices);
    return;
  }
  const Settings s = shared_.settings_copy();
  if (index >= s.queue_count) {
    queue_error(index, NPU_STATUS_BAD_COMMAND, 0);
    return;
  }
  const uint64_t at = s.queue_table + uint64_t{index} * sizeof(npu_queue_context);
  npu_queue_context context;
  npu_queue_indices indices;
  if (bus_.read(NPU_MEMORY_HOST, at, &context, sizeof(context)) != NPU_STATUS_OK) {
    queue_error(index, NPU_STATUS_DMA_ERROR, at);
    return;
  }
  if (const char* field = check_context(context, shared_.target)) {
    char line[96];
    std::snprintf(line, sizeof(line), "queue %u: bad %s in its context", index, field);
    log(line);
    queue_error(index, NPU_STATUS_BAD_COMMAND, at);
    return;
  }
  if (bus_.read(NPU_MEMORY_HOST, context.indices, &indices, sizeof(indices)) != NPU_STATUS_OK) {
    queue_error(index, NPU_STATUS_DMA_ERROR, context.indices);
    return;
  }
  if (indices.producer - indices.consumer > 1ull << context.ring_log2) {
    queue_error(index, NPU_STATUS_BAD_COMMAND, context.indices);
    return;
  }
  const uint64_t failed_chain = q.failed_chain;
  q = {};
  q.failed_chain = failed_chain;
  q.context = context;
  q.producer = indices.producer;
  q.consumer = indices.consumer;
  publish(index);
  set_state(index, q.consumer != q.producer ? NPU_QUEUE_WAITING : NPU_QUEUE_IDLE);
}

void Card::stop_queue(uint32_t index) {
  Queue& q = queues_[index];
  if (q.job != nullptr && q.job->hung) {
    // Only a core reset ends a hung job; the queue stops with it.
    stop_when_reset_[index] = true;
    return;
  }
  if (q.job != nullptr) finish_job(index, Fault::of(NPU_STATUS_ABORTED));
  interrupts_.drop(index);
  stop_when_reset_[index] = false;
  q = {};
  publish(index);
  set_state(index, NPU_QUEUE_DISABLED);
}

void Card::abort_packet(uint32_t index, uint64_t packet) {
  Queue& q = queues_[index];
  if (!q.has_packets() || q.consumer != packet) return;
  if (q.job != nullptr) {
    if (!q.job->hung) finish_job(index, Fault::of(NPU_STATUS_ABORTED));
    return;
  }
  if (fetch_head(q, index)) finish_packet(index, Fault::of(NPU_STATUS_ABORTED));
}

void Card::ring_doorbell(uint32_t index, uint32_t value) {
  Queue& q = queues_[index];
  if (!q.active()) return;
  const uint32_t more = value - static_cast<uint32_t>(q.producer);
  // Behind: START has read the index of a later doorbell, which is still to come.
  if (more >> 31 != 0) return;
  const uint64_t producer = q.producer + more;
  if (producer - q.consumer > q.ring_size()) {
    queue_error(index, NPU_STATUS_BAD_COMMAND, value);
    return;
  }
  q.producer = producer;
  publish(index);
  if (q.state == NPU_QUEUE_IDLE && q.has_packets()) set_state(index, NPU_QUEUE_WAITING);
}

void Card::reset_core(uint32_t core) {
  if (injector_.strikes(NPU_INJECT_DROP_RESET, 0)) return;
  const uint32_t index = arbiter_.core(core).queue;
  if (index != Arbiter::kFree) {
    const Job& job = *queues_[index].job;
    finish_job(index, job.hung ? job.hang : Fault::of(NPU_STATUS_ABORTED));
    if (stop_when_reset_[index]) stop_queue(index);
  }
  memories_[core]->clear();
  npu_event event = {};
  event.type = NPU_EVENT_RESET;
  event.queue = index;
  event.timebase_ns = now();
  event.value = NPU_RESET_KIND_CORE | core << 8;
  events_.push(event);
  shared_.resets.fetch_add(1);
}

void Card::reset_card() {
  if (injector_.strikes(NPU_INJECT_DROP_RESET, 0)) return;
  for (uint32_t index = 0; index < queues_.size(); ++index) {
    Queue& q = queues_[index];
    if (q.job != nullptr)
      finish_job(index, q.job->hung ? q.job->hang : Fault::of(NPU_STATUS_VICTIM));
    const uint64_t failed_chain = stop_when_reset_[index] ? 0 : q.failed_chain;
    stop_when_reset_[index] = false;
    q = {};
    q.failed_chain = failed_chain;
    set_state(index, NPU_QUEUE_DISABLED);
  }
  for (auto& memory : memories_) memory->clear();
  mmu_.clear();
  npu_event event = {};
  event.type = NPU_EVENT_RESET;
  event.timebase_ns = now();
  event.value = NPU_RESET_KIND_CARD;
  events_.push(event);
  shared_.resets.fetch_add(1);
}

// Silently: nothing of this reaches the host.
void Card::drop_everything() {
  for (uint32_t index = 0; index < queues_.size(); ++index) {
    if (queues_[index].job != nullptr) release_cores(*queues_[index].job);
    queues_[index] = {};
    stop_when_reset_[index] = false;
    publish(index);
    set_state(index, NPU_QUEUE_DISABLED);
  }
  timeline_.clear();
  interrupts_.clear();
  mmu_.clear();
}

void Card::watch_temperature(uint64_t now_ns) {
  constexpr uint64_t kIntervalNs = 1'000'000;
  if (thermal_checked_ns_ != 0 && now_ns - thermal_checked_ns_ < kIntervalNs) return;
  thermal_checked_ns_ = std::max<uint64_t>(now_ns, 1);
  const Telemetry::Values v = telemetry_.values(now_ns);
  if (v.throttled && !thermal_reported_) {
    npu_event event = {};
    event.type = NPU_EVENT_THERMAL;
    event.timebase_ns = now_ns;
    event.value = v.temperature_mc;
    events_.push(event);
  }
  if (v.throttled != thermal_reported_) catch_up();
  thermal_reported_ = v.throttled;
  timeline_.set_throttled(v.throttled);
}

void Card::clear() {
  drop_everything();
  {
    std::lock_guard lock(shared_.mutex);
    Requests& r = shared_.requests;
    for (uint32_t queue : r.touched) r.queue[queue] = {};
    r.touched.clear();
    r.reset_cores = 0;
    r.reset_card = false;
    shared_.settings = {};
  }
  shared_.attention.store(false);
  shared_.urgent.store(false);
  shared_.control.store(0);
  shared_.event_tail.store(0);
  shared_.event_lost.store(0);
  injector_.clear();
  for (auto& memory : memories_) memory->clear();
  for (QueueRegisters& q : shared_.queues) {
    q.heartbeat.store(0);
    q.cycles.store(0);
    q.interrupts.store(0);
    q.preemptions.store(0);
    q.saved_bytes.store(0);
    q.waited.store(0);
  }
  for (CoreRegisters& core : shared_.cores) {
    core.heartbeat.store(0);
    core.command.store(0);
  }
  std::fill(std::begin(last_served_), std::end(last_served_), 0u);
  thermal_reported_ = false;
}

void Card::reset(npu_model_reset_kind kind) {
  clear();
  if (kind == NPU_MODEL_RESET_POWER) {
    registers_.set_gone(false);
    shared_.resets.store(0);
    Counters& c = shared_.counters;
    for (auto* counter : {&c.mmio_reads, &c.mmio_writes, &c.doorbells, &c.interrupts, &c.packets,
                          &c.jobs, &c.faults})
      counter->store(0);
    for (CoreRegisters& core : shared_.cores)
      for (EngineRegisters& engine : core.engines)
        for (auto& field : engine.field) field.store(0);
    telemetry_.reset(now());
  }
  wipe(card_memory_, bus_.card_bytes());
}

}  // namespace npu::model
