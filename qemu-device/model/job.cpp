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

Fault Job::fetch(Mmu& mmu, JobBytes& bytes) {
  const auto read = [&](uint64_t va, void* data, size_t size) {
    const npu_status_code status = mmu.read(asid, va, data, size, NPU_ACCESS_FETCH);
    Fault fault = Fault::of(status, status == NPU_STATUS_OK ? 0 : mmu.fault_address());
    fault.access = NPU_ACCESS_FETCH;
    return fault;
  };
  regions.resize(packet.region_count);
  Fault fault = read(packet.region_va, regions.data(), regions.size() * sizeof(uint64_t));
  if (!fault.ok()) return fault;

  uint64_t va = packet.stream_va;
  for (unsigned core = 0; core < packet.stream_count; ++core) {
    bytes.streams.emplace_back(packet.stream_bytes[core]);
    fault = read(va, bytes.streams.back().data(), packet.stream_bytes[core]);
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
  return fault;
}

void Job::begin(JobBytes bytes, PreparedCache& cache, const npu_target& target, bool timed) {
  streams.resize(packet.stream_count);
  plan_ = cache.find(bytes);
  if (plan_ == nullptr)
    preparation_ = std::make_unique<Preparation>(std::move(bytes), target, timed);
}

// Goes on checking, for a slice.
void Job::check(Environment& env) {
  env.progress.begin_slice(cores[0], queue);
  while (!preparation_->run(Progress::kPollWork)) {
    env.progress.work(Progress::kPollWork);
    if (env.progress.pause()) return;
  }
  plan_ = preparation_->result();
  preparation_.reset();
  if (plan_->error.status == NPU_STATUS_OK) env.prepared.add(plan_);
}

// The outcome of the check. A job that would run longer than allowed is refused
// before it has stored anything, and blamed on the first command that ends
// behind the limit.
Fault Job::judge(uint64_t cycle_limit) {
  const arch::StreamError& error = plan_->error;
  Fault fault;
  if (error.status != NPU_STATUS_OK) {
    fault = Fault::of(error.status, error.address);
    fault.command = error.command;
    fault.engine = error.engine;
    fault.core = error.core;
    fault.source_op = error.source_op;
    return fault;
  }
  // Of a restored job: positions that its streams have.
  for (unsigned core = 0; core < streams.size(); ++core) {
    const size_t size = plan_->streams[core].size();
    const StreamState& s = streams[core];
    if ((s.current != StreamState::kNone && s.current >= size) ||
        std::any_of(s.next, s.next + kLists, [size](uint32_t next) { return next > size; }))
      return Fault::of(NPU_STATUS_VICTIM);
  }
  if (cycle_limit == 0 || !plan_->timed || plan_->timing.cycles <= cycle_limit) return fault;
  fault = Fault::of(NPU_STATUS_BUDGET);
  uint64_t earliest = ~0ull;
  for (unsigned core = 0; core < streams.size(); ++core) {
    for (uint32_t i = 0; i < plan_->streams[core].size(); ++i) {
      const uint64_t at = plan_->retired_at(core, i);
      if (at <= cycle_limit || at >= earliest) continue;
      earliest = at;
      fault = command_fault(core, i, NPU_STATUS_BUDGET);
    }
  }
  cycles = cycle_limit;
  return fault;
}

const npu_command_yield* Job::yield_of(unsigned core) const {
  const uint32_t current = streams[core].current;
  if (current == StreamState::kNone) return nullptr;
  const arch::Command& command = plan_->streams[core][current];
  return command.opcode() == NPU_OP_YIELD ? &command.yield() : nullptr;
}

uint64_t Job::save_bytes() const {
  uint64_t bytes = sizeof(npu_save_header);
  for (unsigned core = 0; core < streams.size(); ++core)
    if (const npu_command_yield* yield = yield_of(core))
      for (uint32_t i = 0; i < yield->range_count; ++i) bytes += yield->live[i].bytes;
  return bytes;
}

bool Job::finished() const {
  for (unsigned core = 0; core < streams.size(); ++core)
    if (!finished(core)) return false;
  return true;
}

// Which of its list's YIELDs, counted from 0, the core is at.
size_t Job::yield_number(unsigned core) const {
  const std::vector<uint32_t>& yields = plan_->yields[core];
  const auto at = std::ranges::lower_bound(yields, streams[core].current);
  return static_cast<size_t>(at - yields.begin());
}

bool Job::all_at_yield() const {
  for (unsigned core = 0; core < streams.size(); ++core)
    if (yield_of(core) == nullptr || yield_number(core) != yield_number(0)) return false;
  return true;
}

bool Job::can_leave(size_t number, const Environment& env) const {
  return plan_->all_yield(number) && plan_->save_bytes(number) <= env.save_bytes;
}

// Whether the YIELDs of this number are where the job should leave its cores: none
// must have gone on from there.
bool Job::gives_way(size_t number, const Environment& env) const {
  if (!can_leave(number, env)) return false;
  for (unsigned core = 0; core < streams.size(); ++core)
    if (streams[core].next[NPU_ENGINE_DISPATCH] > plan_->yields[core][number]) return false;
  return env.rivals.higher ||
         (env.rivals.equal && plan_->timed && cycles - resumed_at >= env.quantum);
}

uint64_t Job::put_aside() {
  uint64_t first = ~uint64_t{0};
  for (unsigned core = 0; core < streams.size(); ++core) {
    if (yield_of(core) == nullptr || !plan_->timed) continue;
    const uint64_t at = plan_->retired_at(core, streams[core].current);
    first = std::min(first, at);
    cycles = std::max(cycles, at);
  }
  cores.clear();
  aside = kAside;
  ++preemptions;
  return first;
}

// False if no stream is at one.
bool Job::pass_yields() {
  bool any = false;
  for (unsigned core = 0; core < streams.size(); ++core) {
    streams[core].passing = yield_of(core) != nullptr;
    any |= streams[core].passing;
  }
  return any;
}

void Job::restored() {
  aside = kNotAside;
  pass_yields();
}

void Job::resume(std::vector<unsigned> on) {
  cores = std::move(on);
  aside = kReturning;
  resumed_at = cycles;
  for (StreamState& stream : streams) stream.yielded_at = std::max(stream.yielded_at, cycles);
}

// When the job could last be put aside; of a gang, when all of it could.
uint64_t Job::last_yield() const {
  uint64_t at = ~uint64_t{0};
  for (unsigned core = 0; core < streams.size(); ++core)
    if (!finished(core)) at = std::min(at, streams[core].yielded_at);
  return std::max(at, resumed_at);
}

// Whether the command would keep something more urgent waiting for longer than
// the quantum.
bool Job::overdue(unsigned core, uint32_t command, const Environment& env, Fault& fault) {
  if (!env.rivals.higher || !plan_->timed) return false;
  // Of a gang that has been put aside, some cores are behind the others.
  const uint64_t since = last_yield(), at = plan_->retired_at(core, command);
  if (at <= since || at - since <= env.quantum) return false;
  fault = command_fault(core, command, NPU_STATUS_BUDGET);
  cycles = std::max(cycles, since + env.quantum);
  return true;
}

Fault Job::command_fault(unsigned core, uint32_t command, npu_status_code status) const {
  const npu_command_header& header = plan_->streams[core][command].header();
  Fault fault = Fault::of(status);
  fault.command = command;
  fault.engine = header.engine;
  fault.core = static_cast<uint8_t>(core);
  fault.source_op = header.source_op;
  return fault;
}

bool Job::waits_met(const npu_command_header& header) const {
  for (uint32_t wait : header.wait) {
    if (wait == 0) continue;
    const uint32_t core = wait >> NPU_WAIT_CORE_SHIFT & 0xf;
    const uint32_t engine = wait >> NPU_WAIT_ENGINE_SHIFT & 0xf;
    if (streams[core].retired[engine] < (wait & NPU_WAIT_COUNT_MASK)) return false;
  }
  return true;
}

bool Job::finished(unsigned core) const {
  const arch::Stream& stream = plan_->streams[core];
  for (unsigned e = 0; e < kLists; ++e)
    if (find_next(stream, e, streams[core].next[e]) < stream.size()) return false;
  return true;
}

// The earliest command of the list that may start now. A YIELD starts when
// everything before it has retired, and nothing behind it starts before.
bool Job::select(unsigned core, uint32_t& command) {
  const arch::Stream& stream = plan_->streams[core];
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
  const unsigned engine = plan_->streams[core][command].header().engine;
  s.next[engine] = command + 1;
  ++s.retired[engine];
  s.current = StreamState::kNone;
  s.cursor = 0;
  s.op = std::monostate{};
  // Without time, the cores of a gang take turns.
  s.reached = plan_->timed ? std::max(s.reached, plan_->retired_at(core, command)) : s.reached + 1;
  if (plan_->timed) cycles = std::max(cycles, s.reached);
}

// Runs the current command of `core` on. True when it ended, well or not.
bool Job::execute(unsigned core, Environment& env, Fault& fault) {
  StreamState& s = streams[core];
  const arch::Command& command = plan_->streams[core][s.current];
  CoreMemory& memory = *env.memories[cores[core]];
  if (!env.functional || command.engine() == NPU_ENGINE_DISPATCH) return true;

  const bool fresh = std::holds_alternative<std::monostate>(s.op);
  switch (command.engine()) {
    case NPU_ENGINE_LOAD:
    case NPU_ENGINE_STORE: {
      if (fresh) {
        const npu_command_dma& dma = command.dma();
        const bool external = command.opcode() == NPU_OP_LOAD || command.opcode() == NPU_OP_STORE;
        CoreMemory* gang[NPU_MAX_CORES];
        for (size_t i = 0; i < cores.size(); ++i) gang[i] = env.memories[cores[i]].get();
        s.op.emplace<DmaOp>().begin(command, external ? regions[dma.region] : 0, asid,
                                    {gang, cores.size()}, core);
      }
      Fault moved;
      const bool ended = std::get<DmaOp>(s.op).run(s.cursor, env.mmu, env.progress, moved);
      if (!moved.ok()) {
        fault = command_fault(core, s.current, moved.status);
        fault.access = moved.access;
        fault.address = moved.address;
      }
      return ended;
    }
    case NPU_ENGINE_MAC:
      if (fresh) s.op.emplace<MacBatch>().begin(command, memory);
      return std::get<MacBatch>(s.op).run(s.cursor, env.progress);
    default:
      if (fresh) s.op.emplace<VecOp>().begin(command, memory);
      return std::get<VecOp>(s.op).run(s.cursor, env.progress);
  }
}

// Of the cores not in `skip`, the one that is furthest behind in modelled time;
// as many as there are streams if there is none.
unsigned Job::next_core(uint32_t skip) const {
  unsigned best = static_cast<unsigned>(streams.size());
  for (unsigned core = 0; core < streams.size(); ++core)
    if ((skip >> core & 1) == 0 &&
        (best == streams.size() || streams[core].reached < streams[best].reached))
      best = core;
  return best;
}

Job::Step Job::step(Environment& env, uint64_t& budget, Fault& fault) {
  if (preparation_ != nullptr) {
    check(env);
    return Step::kMore;
  }
  if (hung) return Step::kBlocked;
  if (!judged_) {
    fault = judge(env.cycle_limit);
    if (!fault.ok()) return Step::kDone;
    judged_ = true;
  }
  if (aside == kReturning) return Step::kRestore;
  env.progress.begin_slice(cores[0], queue);
  uint32_t stuck = 0;  // mask of streams that cannot go on until another does
  while (budget > 0) {
    const unsigned core = next_core(stuck);
    if (core == streams.size()) {
      if (finished()) return Step::kDone;
      if (all_at_yield()) return Step::kYield;
      // Others of the gang need what comes behind the YIELDs, at which the job thus can
      // never leave: all try at their next.
      stuck = 0;
      if (pass_yields()) continue;
      // Nothing can start and nothing is under way. The checks exclude it; should
      // they have missed something, the job must end all the same.
      fault = Fault::of(NPU_STATUS_DEADLOCK);
      return Step::kDone;
    }
    StreamState& s = streams[core];
    env.progress.on_core(cores[core]);
    if (s.current == StreamState::kNone) {
      uint32_t command;
      if (!select(core, command)) {
        stuck |= 1u << core;
        continue;
      }
      s.current = command;
      env.shared.cores[cores[core]].command.store(command, std::memory_order_relaxed);
      if (env.injector.strikes_at(NPU_INJECT_HANG, queue, command)) {
        hung = true;
        hang = command_fault(core, command, NPU_STATUS_HANG);
        env.shared.cores[cores[core]].state.store(kCoreHung | queue << 8);
        return Step::kBlocked;
      }
    }
    if (yield_of(core) != nullptr) {
      // Who has asked for something meanwhile has a say here.
      if (env.shared.attention.load(std::memory_order_relaxed)) return Step::kMore;
      const size_t number = yield_number(core);
      if (!s.passing && gives_way(number, env)) {
        stuck |= 1u << core;
        continue;
      }
      if (!s.passing && plan_->timed && can_leave(number, env))
        s.yielded_at = plan_->yields_at(number);
      s.passing = false;
    } else if (overdue(core, s.current, env, fault)) {
      return Step::kDone;
    }
    if (!execute(core, env, fault)) return Step::kMore;  // paused inside the command
    if (!fault.ok()) return Step::kDone;
    retire(core, s.current);
    stuck = 0;
    env.progress.beat();
    env.progress.work(200);
    --budget;
    if (env.progress.pause()) return Step::kMore;
  }
  return Step::kMore;
}

}  // namespace npu::model
