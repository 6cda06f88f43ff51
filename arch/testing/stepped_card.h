// SPDX-License-Identifier: MIT
//
// A second opinion on modelled time, for tests: a card stepped cycle by cycle.
// It moves every granule, weight and pixel by itself and shares no code with the
// formulas and the event simulation that it judges; it reads commands through
// the contract's structs alone and computes no data.
#ifndef NPU_ARCH_TESTING_STEPPED_CARD_H_
#define NPU_ARCH_TESTING_STEPPED_CARD_H_

#include <algorithm>
#include <coroutine>
#include <deque>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "arch/stream.h"
#include "npu/mmu.h"
#include "npu/queue.h"

namespace npu::arch::testing {

struct SteppedJob {
  struct Span {
    uint64_t start = 0, retired = 0;  // waits met and paid for; cycles from job start
  };
  uint64_t cycles = 0, card_bytes = 0, pcie_bytes = 0, products = 0;
  uint64_t array_cycles = 0;                // from first step to the next command, all cores
  std::vector<std::vector<Span>> commands;  // by core
};

// Everything that works on its own is a task; each runs once a cycle, up to its
// next co_await.
struct Task {
  struct promise_type {
    Task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { throw; }
  };
  std::coroutine_handle<> handle;
};
inline constexpr std::suspend_always kCycle;

inline constexpr unsigned kElementBytes[] = {0, 0, 0, 1, 1, 2, 4, 2, 2, 4};  // by npu_data_type
// Granules that the entries of one granule of the page table translate.
inline constexpr unsigned kGroup = (1 << NPU_MMU_PAGE_SHIFT) / sizeof(uint64_t);

inline unsigned quotient_up(uint64_t total, uint64_t limit) {
  return static_cast<unsigned>((total + limit - 1) / limit);
}

// How the array takes a MAC command apart.
struct Plan {
  const Command& command;
  const npu_target& t;
  const npu_command_mac& mac = command.mac();
  const bool depthwise = command.opcode() == NPU_OP_DEPTHWISE;
  const unsigned groups = depthwise ? 1 : std::max<unsigned>(1, mac.groups);
  const unsigned outputs = mac.out_c / groups, inputs = depthwise ? 1 : mac.in_c / groups;
  // Products of one output: all, in one run of bytes, in one step. A row of the
  // kernel is one run if its taps and the pixels are neighbours.
  const unsigned taps = std::max(mac.kernel_h * mac.kernel_w, 1), products = taps * inputs;
  const bool row = groups == 1 && mac.dilation_x == 1 && mac.input.pixel_stride == mac.in_c;
  const unsigned run = depthwise ? taps : row ? mac.kernel_w * inputs : inputs;
  const unsigned step = depthwise ? taps : t.mac_inputs;
  // A depthwise filter has a lane of its own; what takes time is bringing in the
  // columns of the window, each once as it moves along a row.
  const unsigned column = depthwise ? mac.kernel_h * t.mac_outputs : 0;  // bytes
  const unsigned fresh = std::min(mac.kernel_w, mac.stride_x), held = mac.kernel_w - fresh;
  const unsigned pixel_cycles = std::max(quotient_up(column * fresh, t.sram_word_bytes), 1u);
  const unsigned row_cycles = quotient_up(column * held, t.sram_word_bytes);
  // Cycles for the weights of a step; bytes of an output in tables.
  const unsigned load = quotient_up(step * t.mac_outputs, t.sram_word_bytes);
  const unsigned tables = (mac.flags & NPU_MAC_BIAS ? 4 : 0) +
                          (mac.flags & NPU_MAC_SCALE_PER_CHANNEL ? 4 : 0) +
                          (command.extension().flags & NPU_EXT_WEIGHT_ZEROS ? 1 : 0);
  // The output stage: cycles of a row of outputs, bytes of one.
  const unsigned element = kElementBytes[NPU_TYPE_AT(mac.types, 2)];
  const unsigned drain_cycles =
      quotient_up(t.mac_outputs * element, std::max(t.sram_word_bytes, t.mac_outputs));
  const unsigned drain_bytes = element + (command.extension().flags & NPU_EXT_RESIDUAL ? 1 : 0);
};

// A command that moves data at a word of SRAM a cycle, and how far it is.
struct Transfer {
  std::vector<uint64_t> granules = {};  // by address, each once; what translates them
  bool host = false;
  uint64_t translated = 0, asked = 0, answered = 0;  // granules
  uint64_t sram = 0, moving = 0, moved = 0;          // bytes
  uint64_t traffic = 0;                              // `sram` as bytes of all ports
};

inline Transfer transfer_of(const Command& command, const npu_target& t) {
  if (command.opcode() == NPU_OP_VEC) {
    const npu_command_vec& vec = command.vec();
    const uint64_t in = uint64_t{vec.in_h} * vec.in_w * vec.channels;
    const uint64_t out = uint64_t{vec.out_h} * vec.out_w * vec.channels;
    const uint64_t taps = vec.kernel_h != 0 ? out * vec.kernel_h * vec.kernel_w : in;
    const uint64_t a = taps * kElementBytes[NPU_TYPE_AT(vec.types, 0)];
    const uint64_t b = (vec.flags & NPU_VEC_BROADCAST_B ? vec.channels : in) *
                       kElementBytes[NPU_TYPE_AT(vec.types, 1)];
    // As long as the lanes or the port of one operand take.
    return {.sram = std::max({taps * t.sram_word_bytes / t.mac_outputs, a, b, out}),
            .traffic = a + b + out};
  }
  const npu_command_dma& dma = command.dma();
  const uint64_t element = 1u << dma.element_log2;
  Transfer x;
  uint64_t bytes = x.sram = element;
  for (const uint32_t n : dma.size) bytes *= n;
  for (int i = 0; i < 4; ++i)
    x.sram *= dma.size[i] + (i < 3 ? dma.pad_before[i] + dma.pad_after[i] : 0u);
  x.traffic = x.sram << (command.opcode() == NPU_OP_SRAM_COPY);
  if (command.opcode() != NPU_OP_LOAD && command.opcode() != NPU_OP_STORE) return x;
  std::set<uint64_t> granules;
  for (uint64_t i = 0; i < bytes; ++i) {
    uint64_t at = dma.external_offset + i % element, rest = i / element;
    for (int d = 0; d < 4; rest /= dma.size[d++]) at += rest % dma.size[d] * dma.external_stride[d];
    granules.insert(granules.end(), at / t.dma_granule_bytes);
  }
  for (const uint64_t granule : granules)
    x.granules.push_back(uint64_t{dma.region} << 32 | granule / kGroup);
  return x;
}

struct Granule {
  uint64_t* counter;  // of those that have arrived
  uint64_t ready;     // when it can move
  bool write;         // arrives a latency later
};

struct Engine {
  std::vector<size_t> list = {};  // commands dispatched
  size_t started = 0, retired = 0;
  std::deque<Transfer> transfers = {{}};  // begins with one that is over
  std::deque<Granule> asked[2][2] = {};   // of card and host memory: data, page table
  uint64_t level = 0, read = 0;           // of the page table: asked for, there
  uint64_t fetched = 0, consumed = 0;     // by DISPATCH: granules, bytes of commands
};

// Moves `width` bytes a cycle; round robin, a burst at a time.
struct Channel {
  const npu_target& t;
  unsigned memory, width, latency;
  size_t turn = 0;
  unsigned left = 0, credit = 0;  // bytes: of the turn, of the next granule
  uint64_t moved = 0;
  std::multimap<uint64_t, uint64_t*> arrivals = {};

  void tick(uint64_t now, const std::vector<Engine*>& users) {
    const auto queue = [&] { return &users[turn / 2]->asked[memory][turn % 2]; };
    const auto idle = [&] { return queue()->empty() || queue()->front().ready > now; };
    for (credit += width;; credit -= t.dma_granule_bytes, left -= t.dma_granule_bytes) {
      for (size_t i = 0; i < 2 * users.size() && (left == 0 || idle()); ++i) {
        turn = (turn + 1) % (2 * users.size());
        left = t.dma_burst_bytes;
      }
      if (idle()) credit = 0;
      if (credit < t.dma_granule_bytes) break;
      const Granule& next = queue()->front();
      arrivals.emplace(now + (next.write ? latency : 0), next.counter);
      queue()->pop_front();
      moved += t.dma_granule_bytes;
    }
    for (; !arrivals.empty() && arrivals.begin()->first <= now; arrivals.erase(arrivals.begin()))
      ++*arrivals.begin()->second;
  }
};

struct Drain {
  unsigned bank, bytes;  // bytes a cycle
  bool last;             // of its command
};

struct Core {
  const Stream& stream;
  std::vector<SteppedJob::Span> spans = {};   // of the commands dispatched
  Engine engines[NPU_ENGINE_COUNT + 1] = {};  // and DISPATCH
  // Bytes that want to pass the engines' ports and the output stage's; then 0.
  unsigned ports[NPU_ENGINE_COUNT + 1] = {}, credit = 0;
  unsigned undrained[3] = {};  // cycles, of each accumulator bank; of none
  std::deque<Drain> drains = {};
  size_t left = stream.size();  // commands that have not retired
};

struct SteppedCard {
  const npu_target& t;
  unsigned host_from = ~0u;  // the first region in host memory
  Channel channels[2] = {{t, 0, t.card_bytes_per_cycle, t.card_latency_cycles},
                         {t, 1, t.pcie_bytes_per_cycle, t.pcie_latency_cycles}};
  std::deque<Core> cores = {};
  std::deque<uint64_t> tlb = {};  // most recent first
  Engine table = {};              // fetches the region table
  uint64_t now = 0;
  SteppedJob job = {};

  SteppedJob run(std::span<const Stream> streams) {
    std::vector<Task> tasks = {fetch(table, 256, 1)};  // regions beyond those of the job
    std::vector<Engine*> users = {&table};
    for (const Stream& stream : streams) {
      Core& core = cores.emplace_back(Core{stream});
      for (Engine& engine : core.engines) users.push_back(&engine);
      uint64_t records = 0;
      for (const Command& command : stream) records += command.header().records;
      Engine& dispatch = core.engines[NPU_ENGINE_DISPATCH];
      tasks.insert(tasks.end(), {fetch(dispatch, 256 + cores.size(), records * NPU_RECORD_BYTES),
                                 sequence(core), array(core), output(core)});
    }
    now = t.pcie_latency_cycles + quotient_up(sizeof(npu_packet), t.pcie_bytes_per_cycle);
    const unsigned limit = 4 * t.sram_word_bytes;
    while (table.fetched == 0 || std::ranges::any_of(cores, &Core::left)) {
      for (Task& task : tasks)
        if (!task.handle.done()) task.handle.resume();
      for (Core& core : cores) {
        for (unsigned e : {NPU_ENGINE_LOAD, NPU_ENGINE_STORE, NPU_ENGINE_VEC})
          for (size_t k = core.engines[e].retired, end = k + 2; k < end; ++k) transfer(core, e, k);
        // All ports move what they want, or all wait in proportion.
        const unsigned total = std::reduce(std::begin(core.ports), std::end(core.ports));
        if ((core.credit += limit) < total) continue;
        core.credit -= std::max(total, limit);
        std::ranges::fill(core.ports, 0);
      }
      ++now;
      for (Channel& channel : channels) channel.tick(now, users);
    }
    for (Task& task : tasks) task.handle.destroy();
    for (Core& core : cores) job.commands.push_back(std::move(core.spans));
    job.cycles = now + quotient_up(sizeof(npu_completion), t.pcie_bytes_per_cycle);
    job.card_bytes = channels[0].moved;
    job.pcie_bytes = channels[1].moved + sizeof(npu_packet) + sizeof(npu_completion);
    return job;
  }

  // Whether an engine's command `k` is dispatched, its waits met and paid for.
  bool ready(Core& core, const Engine& engine, size_t k) {
    if (engine.list.size() <= k) return false;
    const unsigned price[] = {t.wait_cycles_same, t.wait_cycles_engine, t.wait_cycles_core};
    uint64_t cycles = 0;
    for (const uint32_t wait : core.stream[engine.list[k]].header().wait) {
      const Core& there = cores[wait >> NPU_WAIT_CORE_SHIFT];
      const Engine& on = there.engines[wait >> NPU_WAIT_ENGINE_SHIFT & 0xf];
      if (on.retired < (wait & NPU_WAIT_COUNT_MASK)) return false;
      if (wait != 0) cycles += price[(&there != &core) + (&on != &engine)];
    }
    uint64_t& paid = core.spans[engine.list[k]].start;
    if (paid == 0) paid = now + cycles;
    return now >= paid;
  }
  const Command& start(Core& core, Engine& engine) {
    const size_t index = engine.list[engine.started++];
    core.spans[index].start = now;
    return core.stream[index];
  }
  void retire(Core& core, Engine& engine) {
    --core.left;
    core.spans[engine.list[engine.retired++]].retired = now;
  }

  // Whether `key` is translated; if not, reads the page table level by level.
  bool translate(Engine& engine, uint64_t key) {
    if (engine.read < engine.level) return false;
    if (std::erase(tlb, key) == 0 && engine.level++ < NPU_MMU_LEVELS) {
      engine.asked[0][1].push_back({&engine.read, now + channels[0].latency, false});
      return false;
    }
    engine.level = engine.read = 0;
    tlb.push_front(key);
    if (tlb.size() > t.tlb_entries) tlb.pop_back();
    return true;
  }
  Task fetch(Engine& engine, uint64_t region, uint64_t total) {
    for (uint64_t asked = 0; asked * t.dma_granule_bytes < total; ++asked) {
      while (asked * t.dma_granule_bytes == engine.consumed + 8192) co_await kCycle;
      while (!translate(engine, region << 32 | asked / kGroup)) co_await kCycle;
      engine.asked[0][0].push_back({&engine.fetched, now + channels[0].latency, false});
    }
  }
  Task sequence(Core& core) {
    Engine& dispatch = core.engines[NPU_ENGINE_DISPATCH];
    for (const Command& command : core.stream) {
      Engine& engine = core.engines[command.engine()];
      const uint64_t end = dispatch.consumed + command.header().records * NPU_RECORD_BYTES;
      while (dispatch.fetched * t.dma_granule_bytes < end) co_await kCycle;
      for (unsigned n = t.dispatch_cycles; n > 0; --n) co_await kCycle;
      while (engine.list.size() - engine.started == t.fifo_depth) co_await kCycle;
      if (command.opcode() == NPU_OP_YIELD)
        while (core.spans.size() + core.left > core.stream.size()) co_await kCycle;
      engine.list.push_back(core.spans.size());
      core.spans.emplace_back();
      if (&engine == &dispatch) {
        while (!ready(core, engine, engine.started)) co_await kCycle;
        start(core, engine);
        retire(core, engine);
      }
      dispatch.consumed = end;
    }
  }

  // A cycle of command `k` of LOAD or STORE, which look one ahead, or of VEC.
  void transfer(Core& core, unsigned e, size_t k) {
    Engine& engine = core.engines[e];
    const size_t begun = e == NPU_ENGINE_VEC ? engine.retired : engine.started;
    if (engine.list.size() <= k || begun < k || table.fetched == 0) return;
    const Command& command = core.stream[engine.list[k]];
    if (engine.transfers.size() == k + 1) engine.transfers.push_back(transfer_of(command, t));
    const Transfer& before = engine.transfers[k];
    Transfer& x = engine.transfers[k + 1];
    x.host = command.dma().region >= host_from;
    const size_t external = x.granules.size();
    while (before.translated == before.granules.size() && x.translated < external &&
           translate(engine, x.granules[x.translated]))
      ++x.translated;
    if (!ready(core, engine, k)) return;
    if (engine.started == k && engine.retired == k) start(core, engine);
    const bool store = e == NPU_ENGINE_STORE;
    const uint64_t burst = t.dma_burst_bytes / t.dma_granule_bytes;
    const uint64_t window = t.dma_outstanding * burst;
    if (core.ports[e] == 0 && before.moved == before.sram) {
      x.moved += x.moving;
      uint64_t most = x.sram;
      if (external != 0) most = (x.answered + (store ? window : 0)) * x.sram / external;
      x.moving = std::min<uint64_t>(std::min(most, x.sram) - x.moved, t.sram_word_bytes);
      core.ports[e] = quotient_up(x.moving * x.traffic, x.sram);
    }
    // Answers come in order, so only one memory is asked at a time.
    const bool turn = before.asked == before.granules.size() &&
                      (before.host == x.host || before.answered == before.asked);
    const uint64_t answered = x.answered + before.answered - before.asked;
    const uint64_t end = store ? std::min(x.translated, x.moved * external / x.sram) : x.translated;
    for (; turn && x.asked < end && (x.asked % burst != 0 || x.asked + burst <= answered + window);
         ++x.asked)
      engine.asked[x.host][0].push_back(
          {&x.answered, now + (store ? 0 : channels[x.host].latency), store});
    if (engine.started > k && x.moved == x.sram && x.answered == external) retire(core, engine);
  }

  Task array(Core& core) {
    unsigned& port = core.ports[NPU_ENGINE_MAC];
    unsigned bank = 1;
    for (size_t k = 0;; ++k) {
      while (!ready(core, core.engines[NPU_ENGINE_MAC], k)) co_await kCycle;
      const Plan plan = {start(core, core.engines[NPU_ENGINE_MAC]), t};
      const unsigned load = t.mac_outputs * t.mac_inputs / t.sram_word_bytes;
      for (unsigned n = t.decode_cycles + load + t.pipeline_cycles; n > 0; --n) co_await kCycle;
      const uint64_t begin = now;
      unsigned rows = 0;
      // Sub-tiles are as even as possible, small ones first.
      for (unsigned left = plan.mac.out_h * plan.mac.out_w, pixels; left > 0; left -= pixels) {
        pixels = left / quotient_up(left, t.accumulator_rows);
        for (unsigned o = 0, outputs; o < plan.mac.out_c; o += outputs) {
          outputs = std::min(t.mac_outputs, plan.outputs - o % plan.outputs);
          bank = plan.mac.accumulate != 0 ? plan.mac.accumulator_base != 0 : bank ^ 1;
          while (core.undrained[bank] != 0) co_await kCycle;
          unsigned shadow = quotient_up(plan.tables * outputs, t.sram_word_bytes);
          for (unsigned i = 0, products; i < plan.products; i += products) {
            products = std::min(plan.step, plan.run - i % plan.run);
            shadow += plan.load;
            for (unsigned pixel = 0, cycle = 0; pixel < pixels || shadow > 0;) {
              if (pixel < pixels) port = plan.depthwise ? t.sram_word_bytes : products;
              if (shadow > 0) port += quotient_up(outputs * products, plan.load);
              while (port != 0) co_await kCycle;
              if (shadow > 0) --shadow;
              const bool row = (left - pixel) % plan.mac.out_w == 0;
              if (pixel == pixels || ++cycle < plan.pixel_cycles + row * plan.row_cycles) continue;
              job.products += uint64_t{products} * outputs;
              cycle = 0;
              ++pixel;
            }
          }
          rows += pixels;
          if (plan.mac.accumulate != 0 && o + outputs < plan.mac.out_c) continue;
          core.undrained[bank] = std::exchange(rows, 0) * plan.drain_cycles;
          const unsigned bytes = outputs * plan.drain_bytes / std::max(1u, plan.drain_cycles);
          core.drains.push_back({plan.element == 0 ? 2 : bank, bytes, false});
        }
      }
      core.drains.back().last = true;
      job.array_cycles += now - begin;
    }
  }
  // The output stage empties one bank after the other.
  Task output(Core& core) {
    for (;; core.drains.pop_front()) {
      while (core.drains.empty()) co_await kCycle;
      for (unsigned& left = core.undrained[core.drains.front().bank]; left > 0;) {
        --left;
        core.ports[NPU_ENGINE_COUNT] = core.drains.front().bytes;
        while (core.ports[NPU_ENGINE_COUNT] != 0) co_await kCycle;
      }
      if (core.drains.front().last) retire(core, core.engines[NPU_ENGINE_MAC]);
    }
  }
};

}  // namespace npu::arch::testing

#endif  // NPU_ARCH_TESTING_STEPPED_CARD_H_
