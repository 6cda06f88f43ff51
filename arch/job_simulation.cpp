// SPDX-License-Identifier: MIT
#include "arch/job_simulation.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "arch/command_cost.h"
#include "arch/mac_shape.h"
#include "arch/sram_access.h"
#include "npu/mmu.h"

namespace npu::arch {
namespace {

// The sequencer reads ahead of dispatch, a chunk at a time.
constexpr uint64_t kFetchChunkBytes = 1024;
constexpr uint64_t kFetchAheadBytes = 8 * kFetchChunkBytes;

// An engine's commands that have started: one at work and one behind it, whose
// results drain or are acknowledged.
constexpr uint32_t kBeyondFifo = 2;

// Regions in the TLB beyond the job's own: the streams, and the region table.
constexpr unsigned kCommandsKey = NPU_MAX_REGIONS;
constexpr unsigned kTableKey = kCommandsKey + NPU_MAX_CORES;

uint32_t saturated(uint64_t value) {
  return static_cast<uint32_t>(std::min<uint64_t>(value, std::numeric_limits<uint32_t>::max()));
}

}  // namespace

JobSimulation::JobSimulation(const TimingInput& input, const npu_target& target,
                             std::vector<npu_profile_command>* trace)
    : input_(input),
      target_(target),
      trace_(trace),
      cores_(input.streams.size()),
      tlb_(target),
      tables_(memory_of(kRegionCommands)) {
  size_t commands = 0;
  for (size_t c = 0; c < cores_.size(); ++c) {
    trace_base_.push_back(commands);
    commands += input.streams[c].size();
    for (unsigned e = 0; e < NPU_ENGINE_COUNT; ++e) {
      cores_[c].engines[e].timing = &timing_.engines[c][e];
      cores_[c].engines[e].queue.resize(std::bit_ceil(target.fifo_depth + kBeyondFifo));
    }
    for (const Command& command : input.streams[c])
      cores_[c].fetcher.total_bytes += command.header().records * uint64_t{NPU_RECORD_BYTES};
  }
  if (trace_ != nullptr) trace_->assign(commands, {});
}

Via JobSimulation::memory_of(unsigned region) const {
  if (!input_.region_memory) return Via::kCard;
  return input_.region_memory(region) == External::kHost ? Via::kHost : Via::kCard;
}

uint64_t JobSimulation::walk_cycles(uint64_t walks) {
  const uint64_t granule = target_.dma_granule_bytes;
  count_external(tables_, walks * NPU_MMU_LEVELS * granule);
  return walks * NPU_MMU_LEVELS * (latency(tables_) + ceil_div(granule, bandwidth(tables_)));
}

npu_profile_command* JobSimulation::record(unsigned core, uint32_t index) {
  return trace_ == nullptr ? nullptr : &(*trace_)[trace_base_[core] + index];
}

// ---- Command fetch ---------------------------------------------------------

void JobSimulation::begin_fetch_chunk(Fetcher& fetcher) {
  fetcher.chunk_bytes = std::min(kFetchChunkBytes, fetcher.total_bytes - fetcher.fetched_bytes);
  const uint64_t granule = target_.dma_granule_bytes;
  const uint64_t bytes = (fetcher.chunk_bytes + granule - 1) / granule * granule;
  count_external(tables_, bytes);
  fetcher.work.via = tables_;
  fetcher.work.cap = kOne * bandwidth(tables_);
  fetcher.work.begin(bytes);
  fetcher.work.active = true;
  rates_valid_ = false;
}

bool JobSimulation::step_fetcher(Core& core) {
  Fetcher& fetcher = core.fetcher;
  if (fetcher.waiting) {
    if (now_ < fetcher.until) return false;
    fetcher.waiting = false;
    begin_fetch_chunk(fetcher);
    return true;
  }
  if (fetcher.work.active) {
    if (now_ < fetcher.work.ends_at()) return false;
    fetcher.work.active = false;
    rates_valid_ = false;
    fetcher.fetched_bytes += fetcher.chunk_bytes;
    return true;
  }
  if (fetcher.fetched_bytes == fetcher.total_bytes ||
      fetcher.fetched_bytes - core.sequencer.consumed_bytes > kFetchAheadBytes - kFetchChunkBytes)
    return false;
  // Requests run ahead and hide the latency, but behind a walk they start anew.
  const uint64_t offset = fetcher.fetched_bytes;
  const uint64_t walk =
      walk_cycles(tlb_.walks(kCommandsKey + static_cast<uint32_t>(&core - cores_.data()), offset));
  const uint64_t delay = walk == 0 ? 0 : walk + latency(tables_);
  if (delay == 0) {
    begin_fetch_chunk(fetcher);
  } else {
    fetcher.waiting = true;
    fetcher.until = now_ + delay;
  }
  return true;
}

// ---- Sequencer -------------------------------------------------------------

uint32_t JobSimulation::unmet_wait(const npu_command_header& header) const {
  for (const uint32_t wait : header.wait)
    if (wait != 0 && !met(wait)) return wait;
  return 0;
}

bool JobSimulation::met(uint32_t wait) const {
  const Engine& engine =
      cores_[wait >> NPU_WAIT_CORE_SHIFT & 0xf].engines[wait >> NPU_WAIT_ENGINE_SHIFT & 0x3];
  return engine.retired >= (wait & NPU_WAIT_COUNT_MASK);
}

uint64_t JobSimulation::wait_cost(const npu_command_header& header, unsigned core,
                                  unsigned engine) const {
  uint64_t cost = 0;
  for (const uint32_t wait : header.wait) {
    if (wait == 0) continue;
    if ((wait >> NPU_WAIT_CORE_SHIFT & 0xf) != core)
      cost += target_.wait_cycles_core;
    else if ((wait >> NPU_WAIT_ENGINE_SHIFT & 0xf) != engine)
      cost += target_.wait_cycles_engine;
    else
      cost += target_.wait_cycles_same;
  }
  return cost;
}

bool JobSimulation::execute_in_sequencer(unsigned core, const Command& command, uint32_t index) {
  if (unmet_wait(command.header()) != 0) return false;
  if (command.opcode() == NPU_OP_YIELD)
    for (const Engine& engine : cores_[core].engines)
      if (engine.retired != engine.dispatched) return false;
  Sequencer& sequencer = cores_[core].sequencer;
  const uint64_t cost = wait_cost(command.header(), core, NPU_ENGINE_DISPATCH);
  if (npu_profile_command* out = record(core, index)) {
    *out = {.command = index,
            .core = static_cast<uint8_t>(core),
            .engine = NPU_ENGINE_DISPATCH,
            .opcode = command.header().opcode,
            .reserved = 0,
            .source_op = command.header().source_op,
            .wait_cycles = saturated(now_ - sequencer.head_since + cost),
            .start_cycle = now_ + cost,
            .execute_cycles = 0,
            .stall_cycles = 0};
  }
  // The next dispatch begins once the waits' cost is paid.
  sequencer.until = now_ + cost;
  return true;
}

bool JobSimulation::step_sequencer(unsigned core) {
  Sequencer& sequencer = cores_[core].sequencer;
  const Stream& stream = input_.streams[core];
  if (sequencer.next == stream.size()) return false;
  const Command& command = stream[sequencer.next];
  const uint64_t bytes = command.header().records * uint64_t{NPU_RECORD_BYTES};
  if (!sequencer.dispatching) {
    if (cores_[core].fetcher.fetched_bytes < sequencer.consumed_bytes + bytes) return false;
    sequencer.dispatching = true;
    sequencer.until = std::max(now_, sequencer.until) + target_.dispatch_cycles;
    sequencer.head_since = sequencer.until;
  }
  if (now_ < sequencer.until) return false;
  if (command.engine() >= NPU_ENGINE_COUNT) {
    if (!execute_in_sequencer(core, command, sequencer.next)) return false;
  } else {
    Engine& engine = cores_[core].engines[command.engine()];
    if (engine.dispatched - engine.started >= target_.fifo_depth) return false;
    engine.at(engine.dispatched++) = {sequencer.next, now_};
    engine.poked = true;
  }
  sequencer.dispatching = false;
  sequencer.consumed_bytes += bytes;
  ++sequencer.next;
  return true;
}

// ---- Engines ---------------------------------------------------------------

// `ready`: waits met and paid for; `previous`: start of the engine's command
// before.
void JobSimulation::start_dma(Engine& engine, const Command& command, uint64_t ready,
                              uint64_t previous) {
  const npu_command_dma& dma = command.dma();
  const CommandCost cost = dma_cost(command, target_);
  timing_.sram_bytes += cost.sram_bytes * (1 + static_cast<uint64_t>(std::popcount(cost.peers)));
  engine.timing->bytes += cost.external_bytes;
  engine.work.peers = cost.peers;
  if (cost.external_bytes == 0) {  // SRAM_COPY, FILL, PEER_LOAD
    engine.work.via = Via::kNone;
    engine.work.cap = kOne;
    engine.work.sram_per_unit = (cost.sram_bytes << kFraction) / cost.busy_cycles;
    engine.ideal_cycles = cost.busy_cycles;
    if (command.opcode() == NPU_OP_PEER_LOAD) {
      engine.until += target_.wait_cycles_core;
      engine.ideal_cycles += target_.wait_cycles_core;
    }
    engine.memory = Via::kNone;
    engine.work.begin(cost.busy_cycles);
    return;
  }
  const Via via = memory_of(dma.region);
  count_external(via, cost.external_bytes);

  // Translation runs one command ahead and does not wait for the waits; its
  // walks follow each other, ahead of the data if they can.
  const TlbModel::Walks walks = tlb_.walks(dma.region, dma);
  const uint64_t walk = walk_cycles(walks.count) / std::max<uint64_t>(walks.count, 1);
  const uint64_t translation = std::max(
      {engine.at(engine.started).dispatched_at, previous, tables_ready_, engine.translated_at});
  if (walks.count != 0) engine.translated_at = translation + walks.count * walk;
  uint64_t request = std::max(ready, translation + (walks.first ? walk : 0));
  const bool load = command.opcode() == NPU_OP_LOAD;
  if (engine.memory == via) {
    // A LOAD's requests follow the last one of the LOAD before, whose data
    // arrived just now; a STORE's data follow its predecessor's.
    if (load) request = std::max({request, previous, now_ - std::min(now_, latency(via))});
  } else if (engine.memory != Via::kNone) {
    // Answers come in order, so another memory is not asked before the first
    // has answered.
    request = std::max(request, engine.drained_at == kNever ? now_ : engine.drained_at);
  }
  engine.memory = via;
  const uint64_t walking =
      engine.translated_at < request || walks.count == 0 ? 0 : engine.translated_at - request;
  engine.until = request;
  if (load)
    engine.until += latency(via);
  else
    engine.drain_cycles = latency(via);

  // The command alone: the channel, its bursts in flight, the SRAM port, and
  // the walks that are left.
  uint64_t units = cost.external_bytes;
  if (via == tables_ && walking != 0)
    units += ceil_div(walking, walk) * NPU_MMU_LEVELS * target_.dma_granule_bytes;
  // A window of requests, then its answers make room for the next.
  const uint64_t window = uint64_t{target_.dma_outstanding} * target_.dma_burst_bytes;
  const uint64_t round_trip = latency(via) + ceil_div(target_.dma_burst_bytes, bandwidth(via));
  const uint64_t last = (units - 1) % window + 1;
  const uint64_t windows = (units - last) / window * round_trip + ceil_div(last, bandwidth(via));
  uint64_t cap = std::min(kOne * bandwidth(via), (units << kFraction) / windows);
  cap = std::min(cap, (units << kFraction) / cost.busy_cycles);
  if (walking != 0) cap = std::min(cap, (units << kFraction) / walking);
  engine.work.via = via;
  engine.work.cap = std::max<uint64_t>(cap, 1);
  engine.work.sram_per_unit = (cost.sram_bytes << kFraction) / units;
  engine.work.begin(units);
  engine.ideal_cycles = latency(via) + (cost.external_bytes + bandwidth(via) - 1) / bandwidth(via);
}

// The head's waits are met.
void JobSimulation::start(unsigned core, unsigned engine_index) {
  Engine& engine = cores_[core].engines[engine_index];
  const uint32_t index = engine.at(engine.started).index;
  const Command& command = input_.streams[core][index];
  engine.phase = Phase::kPrelude;
  const uint64_t previous = engine.started_at;
  const uint64_t ready =
      std::min(engine.ready_at, now_) + wait_cost(command.header(), core, engine_index);
  engine.ready_at = kNever;
  engine.started_at = std::max(now_, ready);
  engine.until = engine.started_at;
  engine.drain_cycles = 0;
  if (engine_index == NPU_ENGINE_MAC || engine_index == NPU_ENGINE_VEC) {
    const bool is_mac = engine_index == NPU_ENGINE_MAC;
    const CommandCost cost = is_mac ? mac_cost(command, target_) : vec_cost(command, target_);
    uint64_t overhead = 0;
    if (is_mac) {
      overhead = target_.decode_cycles + target_.pipeline_cycles +
                 uint64_t{target_.mac_outputs} * target_.mac_inputs / target_.sram_word_bytes;
      timing_.macs += cost.macs;
      timing_.mac_cycles += cost.stage_cycles;
      engine.drain_cycles = cost.drain_cycles;
      engine.bank = command.mac().accumulate == 0 ? kAnyBank : command.mac().accumulator_base;
    } else {
      timing_.vec_cycles += cost.stage_cycles;
    }
    timing_.sram_bytes += cost.sram_bytes;
    engine.timing->bytes += cost.sram_bytes;
    engine.until += overhead;
    engine.ideal_cycles = overhead + cost.stage_cycles + cost.drain_cycles;
    engine.work.via = Via::kNone;
    engine.work.cap = kOne;
    engine.work.sram_per_unit = (cost.sram_bytes << kFraction) / cost.busy_cycles;
    engine.work.begin(cost.busy_cycles);
  } else {
    start_dma(engine, command, ready, previous);
  }
  engine.timing->wait_cycles += engine.started_at - engine.head_since;

  if (npu_profile_command* out = record(core, index)) {
    *out = {.command = index,
            .core = static_cast<uint8_t>(core),
            .engine = static_cast<uint8_t>(engine_index),
            .opcode = command.header().opcode,
            .reserved = 0,
            .source_op = command.header().source_op,
            .wait_cycles = saturated(engine.started_at - engine.head_since),
            .start_cycle = engine.started_at,
            .execute_cycles = 0,
            .stall_cycles = 0};
  }
  ++engine.started;
}

void JobSimulation::retire(unsigned core, unsigned engine_index, uint64_t started_at,
                           uint64_t ideal_cycles) {
  Engine& engine = cores_[core].engines[engine_index];
  const uint32_t index = engine.at(engine.retired++).index;
  woken_ = true;
  const uint32_t counted = core << NPU_WAIT_CORE_SHIFT | engine_index << NPU_WAIT_ENGINE_SHIFT;
  for (Core& other : cores_)
    for (Engine& waiting : other.engines)
      if (waiting.unmet != 0 && (waiting.unmet & ~NPU_WAIT_COUNT_MASK) == counted &&
          met(waiting.unmet))
        waiting.poked = true;
  const uint64_t cycles = now_ - started_at;
  const uint64_t stall = cycles > ideal_cycles ? cycles - ideal_cycles : 0;
  ++engine.timing->commands;
  engine.timing->busy_cycles += now_ - std::max(started_at, engine.retired_at);
  engine.timing->stall_cycles += stall;
  engine.retired_at = now_;
  if (engine_index == NPU_ENGINE_LOAD || engine_index == NPU_ENGINE_STORE)
    timing_.dma_cycles += cycles;
  if (npu_profile_command* out = record(core, index)) {
    out->execute_cycles = saturated(cycles);
    out->stall_cycles = saturated(stall);
  }
}

// Whether the waits of the first command not started are met.
bool JobSimulation::head_may_start(unsigned core, Engine& engine) {
  engine.unmet = unmet_wait(input_.streams[core][engine.at(engine.started).index].header());
  return engine.unmet == 0;
}

bool JobSimulation::step_engine(unsigned core, unsigned engine_index) {
  Engine& engine = cores_[core].engines[engine_index];
  if (engine.drained_at <= now_) {
    engine.drained_at = kNever;
    retire(core, engine_index, engine.drain_started_at, engine.drain_ideal);
    return true;
  }
  // DMA looks one command ahead.
  if (engine_index <= NPU_ENGINE_STORE && engine.phase >= Phase::kPrelude &&
      engine.ready_at == kNever && engine.started < engine.dispatched &&
      head_may_start(core, engine))
    engine.ready_at = now_;
  switch (engine.phase) {
    case Phase::kIdle:
      if (engine.started == engine.dispatched) return false;
      engine.phase = Phase::kWaiting;
      engine.head_since = now_;
      return true;
    case Phase::kWaiting:
      if (!head_may_start(core, engine)) return false;
      start(core, engine_index);
      return true;
    case Phase::kPrelude:
      if (now_ < engine.until) return false;
      // The bank that the command asks for may still be draining.
      if (engine.drained_at != kNever && engine.bank == engine.draining_bank &&
          engine.bank != kAnyBank)
        return false;
      engine.phase = Phase::kWorking;
      engine.work.active = true;
      rates_valid_ = false;
      return true;
    case Phase::kWorking:
      if (now_ < engine.work.ends_at()) return false;
      engine.work.active = false;
      rates_valid_ = false;
      engine.phase = Phase::kHolding;
      engine.done_at = now_;
      return true;
    case Phase::kHolding:
      if (engine.drained_at != kNever) return false;
      engine.phase = Phase::kIdle;
      if (engine.drain_cycles == 0) {
        retire(core, engine_index, engine.started_at, engine.ideal_cycles);
      } else {
        // One bank drains after the other; acknowledgements come on their own.
        const uint64_t from = engine_index == NPU_ENGINE_MAC ? now_ : engine.done_at;
        engine.drained_at = std::max(now_, from + engine.drain_cycles);
        engine.draining_bank = engine.bank;
        engine.drain_started_at = engine.started_at;
        engine.drain_ideal = engine.ideal_cycles;
      }
      return true;
  }
  return false;
}

void JobSimulation::step(unsigned core) {
  for (unsigned index = 0; index < NPU_ENGINE_COUNT; ++index) {
    Engine& engine = cores_[core].engines[index];
    if (!engine.poked && now_ < engine.wakes_at) continue;
    while (step_engine(core, index)) {
    }
    engine.poked = false;
    engine.wakes_at = engine.drained_at;
    if (engine.phase == Phase::kPrelude && now_ < engine.until)
      engine.wakes_at = std::min(engine.wakes_at, engine.until);
    if (engine.phase == Phase::kWorking)
      engine.wakes_at = std::min(engine.wakes_at, engine.work.ends_at());
  }
  while (step_fetcher(cores_[core])) {
  }
  while (step_sequencer(core)) woken_ = true;
}

// ---- Rates and time --------------------------------------------------------

void JobSimulation::set_rates() {
  Work* active[NPU_MAX_CORES * (NPU_ENGINE_COUNT + 1)];
  for (const Via via : {Via::kCard, Via::kHost}) {
    size_t count = 0;
    for (Core& core : cores_)
      for (Work* work : {&core.engines[NPU_ENGINE_LOAD].work, &core.engines[NPU_ENGINE_STORE].work,
                         &core.fetcher.work})
        if (work->active && work->via == via) active[count++] = work;
    share_channel({active, count}, bandwidth(via));
  }
  for (Core& core : cores_)
    for (Engine& engine : core.engines)
      if (engine.work.active && engine.work.via == Via::kNone) engine.work.rate = engine.work.cap;
  for (size_t c = 0; c < cores_.size(); ++c) {
    size_t count = 0;
    for (Engine& engine : cores_[c].engines)
      if (engine.work.active) active[count++] = &engine.work;
    // What other cores' LOAD engines do in this SRAM.
    for (size_t other = 0; other < cores_.size() && cores_.size() > 1; ++other) {
      Work& work = cores_[other].engines[NPU_ENGINE_LOAD].work;
      if (work.active && (work.peers >> c & 1) != 0) active[count++] = &work;
    }
    limit_sram({active, count}, uint64_t{4} * target_.sram_word_bytes);
  }
  for (Core& core : cores_) {
    for (Engine& engine : core.engines) {
      if (!engine.work.active) continue;
      engine.work.pace(now_);
      engine.wakes_at = std::min(engine.drained_at, engine.work.ends_at());
    }
    if (core.fetcher.work.active) core.fetcher.work.pace(now_);
  }
  rates_valid_ = true;
}

uint64_t JobSimulation::next_event() const {
  uint64_t next = kNever;
  for (const Core& core : cores_) {
    for (const Engine& engine : core.engines) next = std::min(next, engine.wakes_at);
    if (core.fetcher.waiting) next = std::min(next, core.fetcher.until);
    if (core.fetcher.work.active) next = std::min(next, core.fetcher.work.ends_at());
    if (core.sequencer.dispatching && core.sequencer.until > now_)
      next = std::min(next, core.sequencer.until);
  }
  return next;
}

// Everything that can happen at this instant. What a step enables is asked
// behind it, except by retirements and the sequencer: then all are asked again.
void JobSimulation::settle() {
  do {
    woken_ = false;
    for (unsigned core = 0; core < cores_.size(); ++core) step(core);
  } while (woken_);
  if (!rates_valid_) set_rates();
}

void JobSimulation::begin_job() {
  // The packet comes from host memory; then the region table and the streams
  // are read at the same time.
  count_external(Via::kHost, sizeof(npu_packet));
  now_ = target_.pcie_latency_cycles +
         (sizeof(npu_packet) + target_.pcie_bytes_per_cycle - 1) / target_.pcie_bytes_per_cycle;
  const uint64_t walk = walk_cycles(tlb_.walks(kTableKey, uint64_t{0}));
  count_external(tables_, target_.dma_granule_bytes);
  tables_ready_ = now_ + walk + latency(tables_);
}

void JobSimulation::end_job() {
  count_external(Via::kHost, sizeof(npu_completion));
  timing_.cycles =
      std::max(now_, tables_ready_) +
      (sizeof(npu_completion) + target_.pcie_bytes_per_cycle - 1) / target_.pcie_bytes_per_cycle;
  timing_.energy_pj = job_energy_pj(timing_, target_);
}

bool JobSimulation::run(uint64_t events) {
  if (!std::exchange(begun_, true)) begin_job();
  for (; !over_ && events != 0; --events) {
    ++events_;
    settle();
    const uint64_t next = next_event();
    if (next == kNever) {
      end_job();
      over_ = true;
    } else {
      now_ = next;
    }
  }
  return over_;
}

JobTiming simulate_job(const TimingInput& input, const npu_target& target,
                       std::vector<npu_profile_command>* trace) {
  JobSimulation simulation(input, target, trace);
  while (!simulation.run(kNever)) {
  }
  JobTiming timing = simulation.timing();
  std::vector<SramAccess> accesses;
  for (unsigned core = 0; core < input.streams.size(); ++core) {
    for (const Command& command : input.streams[core]) {
      accesses.clear();
      append_sram_accesses(command, core, accesses);
      for (const SramAccess& access : accesses)
        timing.sram_peak_bytes =
            std::max(timing.sram_peak_bytes, static_cast<uint32_t>(access.end()));
    }
  }
  return timing;
}

}  // namespace npu::arch
