// SPDX-License-Identifier: MIT
#include "job.h"

#include <algorithm>

namespace npu::model {
namespace {

constexpr unsigned kLists = NPU_ENGINE_COUNT + 1;  // engines and the sequencer

// Position of the next command of `engine` at or after `from`.
uint32_t find_next(const arch::Stream& stream, unsigned engine, uint32_t from) {
  while (from < stream.size() && stream[from].engine() != engine) ++from;
  return from;
}

}  // namespace

Fault Job::prepare(Mmu& mmu, PreparedCache& cache, uint64_t cycle_limit) {
  const auto fetch = [&](uint64_t va, void* data, size_t bytes) {
    const npu_status_code status = mmu.read(asid, va, data, bytes, NPU_ACCESS_FETCH);
    Fault fault = Fault::of(status, mmu.fault_address());
    fault.access = NPU_ACCESS_FETCH;
    return fault;
  };

  regions.resize(packet.region_count);
  Fault fault = fetch(packet.region_va, regions.data(), regions.size() * sizeof(uint64_t));
  if (!fault.ok()) return fault;

  JobBytes bytes;
  uint64_t va = packet.stream_va;
  for (unsigned core = 0; core < packet.stream_count; ++core) {
    bytes.streams.emplace_back(packet.stream_bytes[core]);
    fault = fetch(va, bytes.streams.back().data(), packet.stream_bytes[core]);
    if (!fault.ok()) return fault;
    va += packet.stream_bytes[core];
  }
  const auto memory_at = [&](uint64_t address) {
    Translation t;
    return mmu.probe(asid, address, t) && t.memory == NPU_MEMORY_HOST ? arch::External::kHost
                                                                      : arch::External::kCard;
  };
  for (uint64_t base : regions) bytes.regions.push_back(memory_at(base));
  bytes.commands = memory_at(packet.stream_va);

  begin_preparation(cache, std::move(bytes), cycle_limit);
  return prepared() ? admit() : fault;
}

void Job::begin_preparation(PreparedCache& cache, JobBytes bytes, uint64_t cycle_limit) {
  cache_ = &cache;
  cycle_limit_ = cycle_limit;
  prepared_ = cache.find(bytes);
  if (!prepared()) preparation_ = cache.begin(std::move(bytes));
}

// True once prepared; false when it is time to pause.
bool Job::continue_preparation(Progress& progress) {
  constexpr uint64_t kSlice = 200'000;  // ns
  while (!preparation_->run(kSlice)) {
    progress.work(kSlice);
    if (progress.pause()) return false;
  }
  prepared_ = preparation_->finish();
  preparation_.reset();
  cache_->keep(prepared_);
  return true;
}

// Whether the job, now prepared, may run.
Fault Job::admit() {
  Fault fault;
  streams.resize(packet.stream_count);
  const arch::StreamError& error = prepared_->error;
  if (error.status != NPU_STATUS_OK) {
    fault = Fault::of(error.status, error.address);
    fault.command = error.command;
    fault.engine = error.engine;
    fault.core = error.core;
    fault.source_op = error.source_op;
    return fault;
  }
  // A job that would run longer than allowed is refused before it has stored
  // anything, and blamed on the first command that ends behind the limit.
  if (cycle_limit_ != 0 && prepared_->timed && prepared_->timing.cycles > cycle_limit_) {
    fault = Fault::of(NPU_STATUS_BUDGET);
    uint64_t earliest = ~0ull;
    for (unsigned core = 0; core < packet.stream_count; ++core) {
      for (uint32_t i = 0; i < prepared_->streams[core].size(); ++i) {
        const uint64_t at = prepared_->retired_at(core, i);
        if (at <= cycle_limit_ || at >= earliest) continue;
        earliest = at;
        fault = command_fault(core, i, NPU_STATUS_BUDGET);
      }
    }
    cycles = cycle_limit_;
  }
  admitted_ = fault.ok();
  return fault;
}

Fault Job::command_fault(unsigned core, uint32_t command, npu_status_code status) const {
  const npu_command_header& header = prepared_->streams[core][command].header();
  Fault fault = Fault::of(status);
  fault.command = command;
  fault.engine = header.engine;
  fault.core = static_cast<uint8_t>(core);
  fault.source_op = header.source_op;
  return fault;
}

Fault Job::hang_fault() const {
  for (unsigned core = 0; core < streams.size(); ++core)
    if (streams[core].current != StreamState::kNone && core == hung_core)
      return command_fault(core, streams[core].current, NPU_STATUS_HANG);
  return Fault::of(NPU_STATUS_HANG);
}

bool Job::waits_met(const npu_command_header& header) const {
  for (uint32_t wait : header.wait) {
    if (wait == 0) continue;
    const uint32_t core = wait >> NPU_WAIT_CORE_SHIFT & 0xf;
    const uint32_t engine = wait >> NPU_WAIT_ENGINE_SHIFT & 0xf;
    if (core >= streams.size() || engine >= NPU_ENGINE_COUNT) return false;
    if (streams[core].retired[engine] < (wait & NPU_WAIT_COUNT_MASK)) return false;
  }
  return true;
}

bool Job::finished(unsigned core) const {
  const arch::Stream& stream = prepared_->streams[core];
  for (unsigned e = 0; e < kLists; ++e)
    if (find_next(stream, e, streams[core].next[e]) < stream.size()) return false;
  return true;
}

// The earliest command of the list that may start now. A YIELD starts when
// everything before it has retired, and nothing behind it starts before.
bool Job::select(unsigned core, uint32_t& command) {
  const arch::Stream& stream = prepared_->streams[core];
  StreamState& s = streams[core];
  const auto size = static_cast<uint32_t>(stream.size());
  uint32_t heads[kLists];
  for (unsigned e = 0; e < kLists; ++e) heads[e] = s.next[e] = find_next(stream, e, s.next[e]);
  const uint32_t barrier = heads[NPU_ENGINE_DISPATCH];
  uint32_t best = size;
  for (unsigned e = 0; e < NPU_ENGINE_COUNT; ++e)
    if (heads[e] < std::min(best, barrier) && waits_met(stream[heads[e]].header())) best = heads[e];
  if (best == size && barrier < size) {
    const bool drained =
        std::all_of(heads, heads + NPU_ENGINE_COUNT, [&](uint32_t head) { return head > barrier; });
    if (drained && waits_met(stream[barrier].header())) best = barrier;
  }
  command = best;
  return best < size;
}

void Job::retire(unsigned core, uint32_t command) {
  StreamState& s = streams[core];
  const unsigned engine = prepared_->streams[core][command].header().engine;
  s.next[engine] = command + 1;
  ++s.retired[engine];
  s.current = StreamState::kNone;
  s.cursor = 0;
  s.op = std::monostate{};
  if (prepared_->timed) cycles = std::max(cycles, prepared_->retired_at(core, command));
}

// Runs the current command of `core` on. True when it ended, well or not.
bool Job::execute(unsigned core, Environment& env, Fault& fault) {
  StreamState& s = streams[core];
  const arch::Command& command = prepared_->streams[core][s.current];
  CoreMemory& memory = *env.memories[cores[core]];
  if (!env.functional || command.engine() == NPU_ENGINE_DISPATCH) return true;

  const bool fresh = std::holds_alternative<std::monostate>(s.op);
  bool known = true;
  bool ended = false;
  switch (command.engine()) {
    case NPU_ENGINE_LOAD:
    case NPU_ENGINE_STORE: {
      if (fresh) {
        const npu_command_dma& dma = command.dma();
        const bool external = command.opcode() == NPU_OP_LOAD || command.opcode() == NPU_OP_STORE;
        s.op.emplace<DmaOp>().begin(command, external ? regions[dma.region] : 0, asid, memory);
      }
      Fault moved;
      ended = std::get<DmaOp>(s.op).run(s.cursor, env.mmu, env.progress, moved);
      if (!moved.ok()) {
        fault = command_fault(core, s.current, moved.status);
        fault.access = moved.access;
        fault.address = moved.address;
      }
      break;
    }
    case NPU_ENGINE_MAC:
      if (fresh) known = s.op.emplace<MacOp>().begin(command, memory);
      if (known) ended = std::get<MacOp>(s.op).run(s.cursor, env.progress);
      break;
    default:
      if (fresh) known = s.op.emplace<VecOp>().begin(command, memory);
      if (known) ended = std::get<VecOp>(s.op).run(s.cursor, env.progress);
      break;
  }
  if (known) return ended;
  fault = command_fault(core, s.current, NPU_STATUS_BAD_COMMAND);
  return true;
}

Job::Step Job::step(Environment& env, uint64_t& budget, Fault& fault) {
  if (hung) return Step::kBlocked;
  if (!admitted()) {
    env.progress.begin_slice(cores[0], queue);
    if (!prepared() && !continue_preparation(env.progress)) return Step::kMore;
    fault = admit();
    if (!fault.ok()) return Step::kDone;
  }
  bool progressed = true;
  bool any_left = true;
  while (progressed) {
    progressed = false;
    any_left = false;
    for (unsigned core = 0; core < streams.size(); ++core) {
      StreamState& s = streams[core];
      env.progress.begin_slice(cores[core], queue);
      while (budget > 0) {
        if (s.current == StreamState::kNone) {
          uint32_t command;
          if (!select(core, command)) break;
          s.current = command;
          env.shared.cores[cores[core]].command.store(command, std::memory_order_relaxed);
          if (env.injector.strikes_at(NPU_INJECT_HANG, queue, command)) {
            hung = true;
            hung_core = core;
            env.shared.cores[cores[core]].state.store(kCoreHung | queue << 8);
            return Step::kBlocked;
          }
        }
        if (!execute(core, env, fault)) return Step::kMore;  // paused inside the command
        if (!fault.ok()) return Step::kDone;
        retire(core, s.current);
        env.progress.beat();
        env.progress.work(200);
        progressed = true;
        --budget;
        if (env.progress.pause()) return Step::kMore;
      }
      if (budget == 0) return Step::kMore;
      any_left = any_left || !finished(core);
    }
  }
  if (!any_left) return Step::kDone;
  // Nothing can start and nothing is under way. The checks exclude it; should
  // they have missed something, the job must end all the same.
  fault = Fault::of(NPU_STATUS_DEADLOCK);
  return Step::kDone;
}

}  // namespace npu::model
