// SPDX-License-Identifier: MIT
#include "arch/testing/stepped_card.h"

#include <algorithm>
#include <coroutine>
#include <deque>
#include <set>
#include <utility>

#include "npu/mmu.h"
#include "npu/queue.h"

namespace npu::arch::testing {
namespace {

// Everything that works on its own is a process; each runs once a cycle, up to
// its next co_await.
struct Process {
  struct promise_type {
    Process get_return_object() {
      return {std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    std::suspend_always initial_suspend() { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { throw; }
  };
  std::coroutine_handle<promise_type> handle;
};
constexpr std::suspend_always kCycle;

unsigned quotient_up(uint64_t total, uint64_t limit) {
  return static_cast<unsigned>((total + limit - 1) / limit);
}

// ---- What a command asks of the array --------------------------------------------

// Bytes of an operand's elements.
unsigned element_bytes(unsigned types, unsigned operand) {
  const unsigned type = NPU_TYPE_AT(types, operand);
  return type == NPU_TYPE_NONE ? 0 : type == NPU_TYPE_INT32 || type == NPU_TYPE_FP32 ? 4 : 1;
}

// Sizes of the pieces that `total` falls into when each has at most `limit`.
std::vector<unsigned> pieces(unsigned total, unsigned limit) {
  std::vector<unsigned> sizes;
  for (; total > limit; total -= limit) sizes.push_back(limit);
  sizes.push_back(total);
  return sizes;
}

// As even as possible, in as few pieces as possible, small ones first.
std::vector<unsigned> even_pieces(unsigned total, unsigned limit) {
  std::vector<unsigned> sizes(quotient_up(total, limit));
  for (unsigned i = 0; i < total; ++i) ++sizes[sizes.size() - 1 - i % sizes.size()];
  return sizes;
}

// One stay of a set of weights in the array; of a VEC command, all.
struct Pass {
  unsigned first, pixels;         // of the command
  unsigned products, outputs;     // of a pixel
  unsigned bytes;                 // of activations, a cycle
  unsigned cycles, row_cycles;    // of a pixel; before the first one of a row
  unsigned shadow, shadow_bytes;  // cycles for the next weights and this block's tables
  bool closes = false;            // the bank may drain after this
};

std::vector<Pass> mac_passes(const Command& command, const npu_target& t) {
  const npu_command_mac& mac = command.mac();
  const bool product = command.opcode() == NPU_OP_MATMUL;
  const bool depthwise = command.opcode() == NPU_OP_DEPTHWISE;
  const unsigned groups = product || depthwise ? 1 : mac.groups;
  const unsigned tables = (mac.flags & NPU_MAC_BIAS ? 4 : 0) +
                          (mac.flags & NPU_MAC_SCALE_PER_CHANNEL ? 4 : 0) +
                          (command.extension().flags & NPU_EXT_WEIGHT_ZEROS ? 1 : 0);
  // Products of one output, in the order the array meets them: a packed row of
  // the kernel is one run of bytes, otherwise each tap is.
  unsigned runs = product ? 1 : mac.kernel_h * mac.kernel_w;
  unsigned run = mac.in_c / groups, step = t.mac_inputs, cycles = 1, row_cycles = 0;
  if (!product && groups == 1 && mac.dilation_x == 1 && mac.input.pixel_stride == mac.in_c)
    runs = mac.kernel_h, run *= mac.kernel_w;
  if (depthwise) {
    // One filter per lane; what takes time is bringing the window's columns in, a
    // word a cycle, each column once as the window moves.
    const auto words = [&](int columns) {
      return quotient_up(columns * mac.kernel_h * t.mac_outputs, t.sram_word_bytes);
    };
    const int held = std::max(0, mac.kernel_w - mac.stride_x);
    runs = 1, run = step = mac.kernel_h * mac.kernel_w;
    cycles = std::max(1u, words(mac.kernel_w - held)), row_cycles = words(held);
  }
  const unsigned load = quotient_up(step * t.mac_outputs, t.sram_word_bytes);
  std::vector<Pass> passes;
  unsigned first = 0;
  for (unsigned pixels : even_pieces(mac.out_h * mac.out_w, t.accumulator_rows)) {
    for (unsigned group = 0; group < groups; ++group)
      for (unsigned outputs : pieces(mac.out_c / groups, t.mac_outputs)) {
        unsigned tables_left = quotient_up(tables * outputs, t.sram_word_bytes);
        for (unsigned i = 0; i < runs; ++i)
          for (unsigned n : pieces(run, step))
            passes.push_back({first, pixels, n, outputs, depthwise ? t.sram_word_bytes : n, cycles,
                              row_cycles, load + std::exchange(tables_left, 0),
                              quotient_up(outputs * n, load)});
        passes.back().closes = true;
      }
    first += pixels;
  }
  return passes;
}

std::vector<Pass> vec_passes(const npu_command_vec& vec, const npu_target& t) {
  const uint64_t in = uint64_t{vec.in_h} * vec.in_w * vec.channels;
  const uint64_t out = uint64_t{vec.out_h} * vec.out_w * vec.channels;
  const bool window = vec.function == NPU_VEC_POOL_MAX || vec.function == NPU_VEC_POOL_AVERAGE;
  const uint64_t taps = window ? out * vec.kernel_h * vec.kernel_w : in;
  const uint64_t b = vec.flags & NPU_VEC_BROADCAST_B ? vec.channels : in;
  const uint64_t bytes[] = {taps * element_bytes(vec.types, 0), b * element_bytes(vec.types, 1),
                            out * element_bytes(vec.types, 2)};
  const unsigned cycles = std::max(quotient_up(taps, t.mac_outputs),
                                   quotient_up(std::ranges::max(bytes), t.sram_word_bytes));
  return {{0, cycles, 0, 0, quotient_up(bytes[0] + bytes[1] + bytes[2], cycles), 1, 0, 0, 0}};
}

// ---- What a command asks of memory -----------------------------------------------

// Bytes that one TLB entry translates.
uint64_t group_bytes(const npu_target& target) {
  return uint64_t{target.dma_granule_bytes} / 8 << 12;
}

// The external side of a LOAD or STORE: its granules, each once, in the order of
// addresses.
struct Block {
  std::vector<std::pair<unsigned, size_t>> bursts = {};  // bytes; translations it needs
  std::vector<uint64_t> groups = {};                     // of pages that translate together
  uint64_t external = 0, sram = 1;                       // bytes
};

Block block_of(const Command& command, const npu_target& t) {
  const npu_command_dma& dma = command.dma();
  const uint64_t granule = t.dma_granule_bytes, element = 1u << dma.element_log2;
  Block out;
  uint64_t bytes = out.sram = element;
  for (int i = 0; i < 4; ++i) {
    bytes *= dma.size[i];
    out.sram *= dma.size[i] + (i < 3 ? dma.pad_before[i] + dma.pad_after[i] : 0u);
  }
  if (command.opcode() != NPU_OP_LOAD && command.opcode() != NPU_OP_STORE) return out;
  std::set<uint64_t> granules;
  for (uint64_t i = 0; i < bytes; ++i) {
    uint64_t at = dma.external_offset + i % element, rest = i / element;
    for (int d = 0; d < 4; rest /= dma.size[d++]) at += rest % dma.size[d] * dma.external_stride[d];
    granules.insert(granules.end(), at / granule);
  }
  for (const uint64_t g : granules) {
    const uint64_t group = uint64_t{dma.region} << 32 | g * granule / group_bytes(t);
    if (out.groups.empty() || out.groups.back() != group) out.groups.push_back(group);
    if (granules.contains(g - 1) && g % (t.dma_burst_bytes / granule) != 0)
      out.bursts.back().first += t.dma_granule_bytes;
    else
      out.bursts.push_back({t.dma_granule_bytes, out.groups.size()});
  }
  out.external = granules.size() * granule;
  return out;
}

// ---- External memory -----------------------------------------------------------

struct Burst {
  unsigned bytes;
  uint64_t ready;                    // when it can move
  uint64_t* served;                  // counts its bytes
  uint64_t* acknowledged = nullptr;  // of a write: the same, a latency later
};

// Moves `width` bytes a cycle; round robin, `turn_bytes` at a time.
struct Channel {
  unsigned width, latency, turn_bytes;
  std::vector<std::deque<Burst>*> users = {};
  size_t turn = 0;
  unsigned left = 0;  // of the turn
  uint64_t moved = 0;
  std::deque<std::pair<uint64_t, uint64_t*>> writes = {};  // one byte each

  void tick(uint64_t now) {
    for (; !writes.empty() && writes[0].first <= now; writes.pop_front()) ++*writes[0].second;
    for (unsigned budget = width; budget > 0; --budget, --left, ++moved) {
      const auto ready = [&] { return !users[turn]->empty() && users[turn]->front().ready <= now; };
      if (left == 0 || !ready()) {
        for (size_t i = 0; i < users.size(); ++i)
          if (turn = (turn + 1) % users.size(); ready()) break;
        if (!ready()) return;
        left = turn_bytes;
      }
      Burst& burst = users[turn]->front();
      ++*burst.served;
      if (burst.acknowledged) writes.push_back({now + latency, burst.acknowledged});
      if (--burst.bytes == 0) users[turn]->pop_front();
    }
  }
};

// Who uses memory: a DMA engine, a fetcher. Translations are walked in order.
struct Requester {
  std::deque<Burst> data[2], walks;  // data in card and host memory
  std::deque<uint64_t> keys;
  size_t translated = 0;
};

struct Transfer : Block {
  bool store, host;
  uint64_t asked = 0, served = 0, moved = 0, acknowledged = 0;  // `moved` through SRAM
  size_t first_key = ~size_t{0} / 2;
  bool ready = false;  // waits met and paid for
};

// ---- The card --------------------------------------------------------------------

struct Engine {
  std::vector<uint32_t> list = {};
  size_t dispatched = 0, started = 0, retired = 0;
};

struct Port {
  unsigned want = 0, credit = 0;  // bytes; want is 0 again once they have moved
};

struct Core {
  Core(const Stream& list, std::vector<SteppedJob::Span>& results, unsigned position)
      : stream(list), spans(results), index(position) {}

  const Stream& stream;
  std::vector<SteppedJob::Span>& spans;
  unsigned index;
  uint64_t total = 0, fetched = 0, consumed = 0;
  size_t sequenced = 0;
  Engine engines[NPU_ENGINE_COUNT];
  Port ports[NPU_ENGINE_COUNT + 1];  // the last: of the output stage
  Requester requesters[3];           // LOAD, STORE, fetcher
  std::vector<Transfer> transfers[2];
  struct Drain {
    unsigned bank, cycles, bytes;  // bytes a cycle
    bool last;                     // of its command
  };
  std::deque<Drain> drains;
};

class Card {
 public:
  Card(std::span<const Stream> streams, const npu_target& t,
       const std::function<bool(unsigned)>& in_host)
      : t_(t) {
    job_.commands.resize(streams.size());
    processes_.push_back(walk(table_));
    processes_.push_back(read_table());
    channels_[0].users = {&table_.walks, &table_.data[0]};
    for (unsigned i = 0; i < streams.size(); ++i) {
      job_.commands[i].resize(streams[i].size());
      Core& core = cores_.emplace_back(streams[i], job_.commands[i], i);
      for (uint32_t c = 0; c < streams[i].size(); ++c) {
        core.total += streams[i][c].header().records * 128u;
        const unsigned e = streams[i][c].engine();
        if (e < NPU_ENGINE_COUNT) core.engines[e].list.push_back(c);
        if (e <= NPU_ENGINE_STORE)
          core.transfers[e].push_back({block_of(streams[i][c], t), e == NPU_ENGINE_STORE,
                                       in_host(streams[i][c].dma().region)});
      }
      for (Requester& r : core.requesters) {
        channels_[0].users.insert(channels_[0].users.end(), {&r.data[0], &r.walks});
        channels_[1].users.push_back(&r.data[1]);
        processes_.push_back(walk(r));
      }
      processes_.push_back(fetch(core));
      processes_.push_back(sequence(core));
      for (unsigned e : {NPU_ENGINE_LOAD, NPU_ENGINE_STORE}) {
        processes_.push_back(look_ahead(core, e));
        processes_.push_back(finish(core, e));
        processes_.push_back(request(core, e));
        processes_.push_back(move(core, e));
      }
      processes_.push_back(drain(core));
      processes_.push_back(compute(core, NPU_ENGINE_MAC));
      processes_.push_back(compute(core, NPU_ENGINE_VEC));
    }
  }
  ~Card() {
    for (Process& process : processes_) process.handle.destroy();
  }

  SteppedJob run() {
    now_ = t_.pcie_latency_cycles + quotient_up(sizeof(npu_packet), t_.pcie_bytes_per_cycle);
    const auto over = [](const Core& core) {
      return core.sequenced == core.stream.size() &&
             std::ranges::all_of(core.engines, [](auto& e) { return e.retired == e.list.size(); });
    };
    for (; table_read_ == 0 || !std::ranges::all_of(cores_, over); ++now_) {
      for (Process& process : processes_)
        if (!process.handle.done()) process.handle.resume();
      for (Core& core : cores_) arbitrate(core);
      for (Channel& channel : channels_) channel.tick(now_);
    }
    job_.cycles = now_ + quotient_up(sizeof(npu_completion), t_.pcie_bytes_per_cycle);
    job_.card_bytes = channels_[0].moved;
    job_.pcie_bytes = channels_[1].moved + sizeof(npu_packet) + sizeof(npu_completion);
    return std::move(job_);
  }

 private:
  void ask(Requester& r, unsigned bytes, bool host, uint64_t& served) {
    r.data[host].push_back({bytes, now_ + channels_[host].latency, &served});
  }
  // All ports of a core move what they want, or all less in proportion.
  void arbitrate(Core& core) {
    unsigned total = 0;
    for (const Port& port : core.ports) total += port.want;
    const unsigned limit = 4 * t_.sram_word_bytes;
    for (Port& port : core.ports) {
      if (port.want == 0 || (port.credit += limit) < std::max(total, limit)) continue;
      port.credit -= std::max(total, limit);
      port.want = 0;
    }
  }
  void retire(Core& core, unsigned e) {
    Engine& engine = core.engines[e];
    core.spans[engine.list[engine.retired++]].retired = now_;
  }
  bool met(const npu_command_header& header) const {
    return std::ranges::all_of(header.wait, [&](uint32_t wait) {
      return wait == 0 || cores_[wait >> NPU_WAIT_CORE_SHIFT]
                                  .engines[wait >> NPU_WAIT_ENGINE_SHIFT & 0xf]
                                  .retired >= (wait & NPU_WAIT_COUNT_MASK);
    });
  }
  unsigned cost(const Core& core, const npu_command_header& header) const {
    unsigned cycles = 0;
    for (const uint32_t wait : header.wait)
      if (wait != 0)
        cycles += wait >> NPU_WAIT_CORE_SHIFT != core.index                ? t_.wait_cycles_core
                  : (wait >> NPU_WAIT_ENGINE_SHIFT & 0xf) != header.engine ? t_.wait_cycles_engine
                                                                           : t_.wait_cycles_same;
    return cycles;
  }

  // Reads the levels of the page table one after another.
  Process walk(Requester& r) {
    for (;; ++r.translated) {
      while (r.translated == r.keys.size()) co_await kCycle;
      const uint64_t key = r.keys[r.translated];
      if (const auto hit = std::ranges::find(tlb_, key); hit != tlb_.end()) {
        std::rotate(tlb_.begin(), hit, hit + 1);  // most recent first
        continue;
      }
      for (int level = 0; level < NPU_MMU_LEVELS; ++level) {
        uint64_t read = 0;
        r.walks.push_back({t_.dma_granule_bytes, now_ + channels_[0].latency, &read});
        while (read < t_.dma_granule_bytes) co_await kCycle;
      }
      tlb_.push_front(key);
      if (tlb_.size() > t_.tlb_entries) tlb_.pop_back();
    }
  }
  Process read_table() {
    table_.keys.push_back(~uint64_t{0});
    while (table_.translated == 0) co_await kCycle;
    ask(table_, t_.dma_granule_bytes, false, table_read_);
  }
  Process fetch(Core& core) {
    Requester& r = core.requesters[2];
    for (uint64_t asked = 0; asked < core.total;) {
      const auto bytes =
          static_cast<unsigned>(std::min<uint64_t>(t_.dma_burst_bytes, core.total - asked));
      while (asked + bytes > core.consumed + 8192) co_await kCycle;
      if (asked % group_bytes_ == 0) r.keys.push_back((uint64_t{64} + core.index) << 32 | asked);
      while (r.translated < r.keys.size()) co_await kCycle;
      ask(r, bytes, false, core.fetched);
      asked += bytes;
      co_await kCycle;
    }
  }
  Process sequence(Core& core) {
    for (; core.sequenced < core.stream.size(); ++core.sequenced) {
      const npu_command_header& header = core.stream[core.sequenced].header();
      while (core.fetched < core.consumed + header.records * 128u) co_await kCycle;
      for (unsigned n = t_.dispatch_cycles; n > 0; --n) co_await kCycle;
      if (header.engine < NPU_ENGINE_COUNT) {
        Engine& engine = core.engines[header.engine];
        while (engine.dispatched - engine.started == t_.fifo_depth) co_await kCycle;
        ++engine.dispatched;
      } else {
        const auto busy = [](const Engine& e) { return e.retired != e.dispatched; };
        while (!met(header) ||
               (header.opcode == NPU_OP_YIELD && std::ranges::any_of(core.engines, busy)))
          co_await kCycle;
        for (unsigned n = cost(core, header); n > 0; --n) co_await kCycle;
        core.spans[core.sequenced] = {now_, now_};
      }
      core.consumed += header.records * 128u;
    }
  }

  // DMA looks ahead one command: translates it and checks its waits.
  Process look_ahead(Core& core, unsigned e) {
    Engine& engine = core.engines[e];
    for (size_t k = 0; k < engine.list.size(); ++k) {
      Transfer& t = core.transfers[e][k];
      while (engine.dispatched <= k || engine.started < k || table_read_ == 0) co_await kCycle;
      std::deque<uint64_t>& keys = core.requesters[e].keys;
      t.first_key = keys.size();
      keys.insert(keys.end(), t.groups.begin(), t.groups.end());
      const npu_command_header& header = core.stream[engine.list[k]].header();
      while (!met(header)) co_await kCycle;
      for (unsigned n = cost(core, header); n > 0; --n) co_await kCycle;
      t.ready = true;
    }
  }
  uint64_t in_flight(const Core& core, unsigned e) const {
    const Engine& engine = core.engines[e];
    uint64_t bytes = 0;
    for (size_t k = engine.retired; k < std::min(engine.retired + 2, engine.list.size()); ++k) {
      const Transfer& t = core.transfers[e][k];
      bytes += t.asked - (t.store ? t.acknowledged : t.moved * t.external / t.sram);
    }
    return bytes;
  }
  Process request(Core& core, unsigned e) {
    Requester& r = core.requesters[e];
    for (size_t k = 0; k < core.engines[e].list.size(); ++k) {
      Transfer& t = core.transfers[e][k];
      // Answers come in order, so only one memory is asked at a time.
      while (!t.ready || (k != 0 && core.transfers[e][k - 1].host != t.host && in_flight(core, e)))
        co_await kCycle;
      if (t.store) core.spans[core.engines[e].list[k]].start = now_;
      for (const auto& [bytes, translations] : t.bursts) {
        while (r.translated < t.first_key + translations ||
               in_flight(core, e) + bytes > t_.dma_outstanding * t_.dma_burst_bytes ||
               (t.store && t.moved * t.external < t.sram * (t.asked + bytes)))
          co_await kCycle;
        if (t.store)
          r.data[t.host].push_back({bytes, now_, &t.served, &t.acknowledged});
        else
          ask(r, bytes, t.host, t.served);
        t.asked += bytes;
        co_await kCycle;
      }
    }
  }
  Process move(Core& core, unsigned e) {
    Port& port = core.ports[e];
    for (size_t k = 0; k < core.engines[e].list.size(); ++k) {
      Transfer& t = core.transfers[e][k];
      while (!t.ready) co_await kCycle;
      const bool copy = core.stream[core.engines[e].list[k]].opcode() == NPU_OP_SRAM_COPY;
      for (uint64_t most = t.sram; t.moved < t.sram;) {
        if (t.external != 0)
          most = (t.store ? t.acknowledged + t_.dma_outstanding * t_.dma_burst_bytes : t.served) *
                 t.sram / t.external;
        const uint64_t bytes =
            std::min<uint64_t>(std::min(most, t.sram) - t.moved, t_.sram_word_bytes);
        port.want = static_cast<unsigned>(bytes << copy);
        do co_await kCycle;
        while (port.want != 0);
        t.moved += bytes;
      }
    }
  }
  Process finish(Core& core, unsigned e) {
    Engine& engine = core.engines[e];
    for (size_t k = 0; k < engine.list.size(); ++k) {
      const Transfer& t = core.transfers[e][k];
      while (!t.ready) co_await kCycle;
      if (!t.store) core.spans[engine.list[k]].start = now_;
      ++engine.started;
      while (t.moved < t.sram || (t.store && t.acknowledged < t.external)) co_await kCycle;
      retire(core, e);
    }
  }

  // The array, or the vector unit.
  Process compute(Core& core, unsigned e) {
    Engine& engine = core.engines[e];
    Port& port = core.ports[e];
    unsigned bank = 1;
    for (const uint32_t index : engine.list) {
      const Command& command = core.stream[index];
      const npu_command_mac& mac = command.mac();
      const unsigned ext_flags = command.extension().flags;
      while (engine.dispatched == engine.started || !met(command.header())) co_await kCycle;
      for (unsigned n = cost(core, command.header()); n > 0; --n) co_await kCycle;
      core.spans[index].start = now_;
      ++engine.started;
      if (e == NPU_ENGINE_MAC)
        for (unsigned n = t_.decode_cycles + t_.pipeline_cycles +
                          t_.mac_outputs * t_.mac_inputs / t_.sram_word_bytes;
             n > 0; --n)
          co_await kCycle;
      const unsigned out = e == NPU_ENGINE_MAC ? element_bytes(mac.types, 2) : 0;
      const unsigned row_cycles =
          quotient_up(t_.mac_outputs * out, std::max(t_.sram_word_bytes, t_.mac_outputs));
      const uint64_t begin = now_;
      unsigned rows = 0;
      bool open = false;
      const std::vector<Pass> passes =
          e == NPU_ENGINE_MAC ? mac_passes(command, t_) : vec_passes(command.vec(), t_);
      for (const Pass& pass : passes) {
        if (!open) {
          bank = mac.accumulate != 0 ? mac.accumulator_base != 0 : bank ^ 1;
          while (std::ranges::any_of(core.drains, [&](auto& d) { return d.bank == bank; }))
            co_await kCycle;
        }
        open = !pass.closes;
        for (unsigned pixel = 0, cycle = 0, shadow = 0;
             pixel < pass.pixels || shadow < pass.shadow;) {
          port.want = (pixel < pass.pixels ? pass.bytes : 0) +
                      (shadow < pass.shadow ? pass.shadow_bytes : 0);
          while (port.want != 0) co_await kCycle;
          if (shadow < pass.shadow) ++shadow;
          const bool row = pass.row_cycles != 0 && (pass.first + pixel) % mac.out_w == 0;
          if (pixel == pass.pixels || ++cycle < pass.cycles + (row ? pass.row_cycles : 0)) continue;
          job_.products += uint64_t{pass.products} * pass.outputs;
          cycle = 0;
          ++pixel;
        }
        if (pass.closes) rows += pass.pixels;
        const bool last = &pass == &passes.back();
        if (last && (mac.accumulate & NPU_ACCUMULATE_KEEP)) {
          core.drains.push_back({2, 0, 0, true});
        } else if (pass.closes && (mac.accumulate == 0 || last)) {
          const unsigned bytes = pass.outputs * (out + (ext_flags & NPU_EXT_RESIDUAL ? 1 : 0));
          core.drains.push_back({bank, rows * row_cycles, bytes / row_cycles, last});
          rows = 0;
        }
      }
      if (e == NPU_ENGINE_VEC)
        retire(core, e);
      else
        job_.array_cycles += now_ - begin;
    }
  }
  // The output stage empties one bank after the other.
  Process drain(Core& core) {
    for (;; core.drains.pop_front()) {
      // If it waits, the first row goes out in the cycle that closed the bank.
      const bool waits = core.drains.empty();
      while (core.drains.empty()) co_await kCycle;
      const Core::Drain drain = core.drains.front();
      for (unsigned n = drain.cycles; n > waits; --n) {
        core.ports[NPU_ENGINE_COUNT].want = drain.bytes;
        do co_await kCycle;
        while (core.ports[NPU_ENGINE_COUNT].want != 0);
      }
      if (drain.last) retire(core, NPU_ENGINE_MAC);
    }
  }

  const npu_target& t_;
  const uint64_t group_bytes_ = group_bytes(t_);
  Channel channels_[2] = {{t_.card_bytes_per_cycle, t_.card_latency_cycles, t_.dma_burst_bytes},
                          {t_.pcie_bytes_per_cycle, t_.pcie_latency_cycles, t_.dma_burst_bytes}};
  std::deque<Core> cores_;
  std::deque<uint64_t> tlb_;
  Requester table_;
  uint64_t table_read_ = 0, now_ = 0;
  std::vector<Process> processes_;
  SteppedJob job_;
};

}  // namespace

SteppedJob step_job(std::span<const Stream> streams, const npu_target& target,
                    const std::function<bool(unsigned region)>& in_host) {
  return Card(streams, target, in_host).run();
}

}  // namespace npu::arch::testing
