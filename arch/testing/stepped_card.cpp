// SPDX-License-Identifier: MIT
#include "arch/testing/stepped_card.h"

#include <algorithm>
#include <coroutine>
#include <deque>
#include <map>
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

// ---- What a command asks of array and vector unit -----------------------------------

// Bytes of an operand's elements.
unsigned element_bytes(unsigned types, unsigned operand) {
  const unsigned type = NPU_TYPE_AT(types, operand);
  return type == NPU_TYPE_NONE ? 0 : type == NPU_TYPE_INT32 || type == NPU_TYPE_FP32 ? 4 : 1;
}

// Sizes of the pieces that `total` falls into when each has at most `limit`.
std::vector<unsigned> pieces(unsigned total, unsigned limit) {
  std::vector<unsigned> sizes(quotient_up(total, limit), limit);
  sizes.back() -= static_cast<unsigned>(sizes.size()) * limit - total;
  return sizes;
}

// As even as possible, in as few pieces as possible, small ones first.
std::vector<unsigned> even_pieces(unsigned total, unsigned limit) {
  std::vector<unsigned> sizes(quotient_up(total, limit));
  for (unsigned i = 0; i < total; ++i) ++sizes[sizes.size() - 1 - i % sizes.size()];
  return sizes;
}

// One stay of a set of weights in the array.
struct Pass {
  unsigned first, pixels;         // of the command
  unsigned products, outputs;     // of a pixel
  unsigned bytes;                 // of activations, a cycle
  unsigned cycles, row_cycles;    // of a pixel; before the first one of a row
  unsigned shadow, shadow_bytes;  // cycles for the next weights and this block's tables
  bool closes = false;            // the bank may drain after this
};

std::vector<Pass> passes_of(const Command& command, const npu_target& t) {
  const npu_command_mac& mac = command.mac();
  const bool product = command.opcode() == NPU_OP_MATMUL;
  const bool depthwise = command.opcode() == NPU_OP_DEPTHWISE;
  const unsigned groups = product || depthwise ? 1 : mac.groups;
  const unsigned table_bytes = (mac.flags & NPU_MAC_BIAS ? 4 : 0) +
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
        unsigned tables = quotient_up(table_bytes * outputs, t.sram_word_bytes);
        for (unsigned i = 0; i < runs; ++i)
          for (unsigned n : pieces(run, step))
            passes.push_back({first, pixels, n, outputs, depthwise ? t.sram_word_bytes : n, cycles,
                              row_cycles, load + std::exchange(tables, 0),
                              quotient_up(outputs * n, load)});
        passes.back().closes = true;
      }
    first += pixels;
  }
  return passes;
}

// Cycles, and bytes of each.
std::pair<unsigned, unsigned> vector_work(const npu_command_vec& vec, const npu_target& t) {
  const uint64_t in = uint64_t{vec.in_h} * vec.in_w * vec.channels;
  const uint64_t out = uint64_t{vec.out_h} * vec.out_w * vec.channels;
  const bool window = vec.function == NPU_VEC_POOL_MAX || vec.function == NPU_VEC_POOL_AVERAGE;
  const uint64_t taps = window ? out * vec.kernel_h * vec.kernel_w : in;
  const uint64_t b = vec.flags & NPU_VEC_BROADCAST_B ? vec.channels : in;
  const uint64_t bytes[] = {taps * element_bytes(vec.types, 0), b * element_bytes(vec.types, 1),
                            out * element_bytes(vec.types, 2)};
  const unsigned cycles = std::max(quotient_up(taps, t.mac_outputs),
                                   quotient_up(std::ranges::max(bytes), t.sram_word_bytes));
  return {cycles, quotient_up(bytes[0] + bytes[1] + bytes[2], cycles)};
}

// ---- What a command asks of memory -------------------------------------------------

// Granules that the entries of one granule of the page table translate.
constexpr unsigned kGroup = (1 << NPU_MMU_PAGE_SHIFT) / sizeof(uint64_t);

// A command of LOAD or STORE, and how far it is.
struct Transfer {
  std::vector<size_t> granules = {};  // by address, each once; the translations it needs
  std::vector<uint64_t> groups = {};  // to be translated
  bool host = false;
  uint64_t asked = 0, answered = 0;  // granules
  uint64_t sram = 0, moved = 0;      // bytes
};

Transfer transfer_of(const Command& command, const npu_target& t) {
  const npu_command_dma& dma = command.dma();
  const uint64_t element = 1u << dma.element_log2;
  Transfer out;
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
    granules.insert(granules.end(), at / t.dma_granule_bytes);
  }
  for (const uint64_t granule : granules) {
    const uint64_t group = uint64_t{dma.region} << 32 | granule / kGroup;
    if (out.groups.empty() || out.groups.back() != group) out.groups.push_back(group);
    out.granules.push_back(out.groups.size());
  }
  return out;
}

// ---- Memory ------------------------------------------------------------------------

struct Granule {
  uint64_t* counter;  // of those that have arrived
  uint64_t ready;     // when it can move
  bool write;         // arrives a latency later
};

// Who uses memory: a DMA engine, a fetcher.
struct Requester {
  std::deque<Granule> card = {}, host = {}, walks = {};
  std::deque<uint64_t> groups = {};  // translated in order
  size_t translated = 0;
};

// Moves `width` bytes a cycle; round robin, `turn_granules` at a time.
struct Channel {
  unsigned width, latency, granule, turn_granules;
  std::vector<std::deque<Granule>*> users = {};
  size_t turn = 0;
  unsigned left = 0, credit = 0;  // granules of the turn; bytes of the next granule
  uint64_t moved = 0;
  std::multimap<uint64_t, uint64_t*> arrivals = {};

  void tick(uint64_t now) {
    const auto idle = [&] { return users[turn]->empty() || users[turn]->front().ready > now; };
    for (credit += width;; credit -= granule, --left, moved += granule) {
      for (size_t i = 0; i < users.size() && (left == 0 || idle()); ++i) {
        turn = (turn + 1) % users.size();
        left = turn_granules;
      }
      if (idle()) credit = 0;
      if (credit < granule) break;
      const Granule& next = users[turn]->front();
      arrivals.emplace(now + (next.write ? latency : 0), next.counter);
      users[turn]->pop_front();
    }
    for (; !arrivals.empty() && arrivals.begin()->first <= now; arrivals.erase(arrivals.begin()))
      ++*arrivals.begin()->second;
  }
};

// ---- The card ----------------------------------------------------------------------

// Reads a list of commands ahead of its use, or the region table.
struct Fetcher : Requester {
  uint64_t region = 0;                            // beyond those of the job
  uint64_t total = 0, fetched = 0, consumed = 0;  // granules
};

struct Engine : Requester {
  std::vector<size_t> list = {};  // dispatched
  size_t started = 0, retired = 0;
  std::deque<Transfer> transfers = {{}};  // begins with one that is over

  bool idle() const { return retired == list.size(); }
};

struct Port {
  unsigned want = 0, credit = 0;  // bytes; want is 0 again once they have moved
};

struct Drain {
  unsigned bank, cycles, bytes;  // bytes a cycle
  bool last;                     // of its command
};

struct Core {
  const Stream& stream;
  unsigned index;
  std::vector<SteppedJob::Span> spans = std::vector<SteppedJob::Span>(stream.size());
  Fetcher fetcher = {};
  Engine engines[NPU_ENGINE_COUNT + 1] = {};  // the last: DISPATCH
  Port ports[NPU_ENGINE_COUNT + 1] = {};      // the last: of the output stage
  std::deque<Drain> drains = {};
};

class Card {
 public:
  Card(std::span<const Stream> streams, const npu_target& t,
       const std::function<bool(unsigned)>& in_host)
      : t_(t), in_host_(in_host) {
    add(table_, 1);
    for (const Stream& stream : streams) {
      Core& core = cores_.emplace_back(Core{stream, static_cast<unsigned>(cores_.size())});
      uint64_t records = 0;
      for (const Command& command : stream) records += command.header().records;
      add(core.fetcher, records * record_granules_);
      for (unsigned e : {NPU_ENGINE_LOAD, NPU_ENGINE_STORE}) {
        connect(core.engines[e]);
        processes_.insert(processes_.end(), {transfer(core, e, 0), transfer(core, e, 1)});
      }
      processes_.insert(processes_.end(),
                        {sequence(core), output(core), array(core), vector_unit(core)});
    }
  }
  ~Card() {
    for (Process& process : processes_) process.handle.destroy();
  }

  SteppedJob run() {
    now_ = t_.pcie_latency_cycles + quotient_up(sizeof(npu_packet), t_.pcie_bytes_per_cycle);
    const auto over = [](const Core& core) {
      return core.fetcher.consumed == core.fetcher.total &&
             std::ranges::all_of(core.engines, &Engine::idle);
    };
    while (table_.fetched == 0 || !std::ranges::all_of(cores_, over)) {
      for (Process& process : processes_)
        if (!process.handle.done()) process.handle.resume();
      for (Core& core : cores_) arbitrate(core);
      ++now_;
      for (Channel& channel : channels_) channel.tick(now_);
    }
    for (Core& core : cores_) job_.commands.push_back(std::move(core.spans));
    job_.cycles = now_ + quotient_up(sizeof(npu_completion), t_.pcie_bytes_per_cycle);
    job_.card_bytes = channels_[0].moved;
    job_.pcie_bytes = channels_[1].moved + sizeof(npu_packet) + sizeof(npu_completion);
    return std::move(job_);
  }

 private:
  void connect(Requester& requester) {
    channels_[0].users.insert(channels_[0].users.end(), {&requester.card, &requester.walks});
    channels_[1].users.push_back(&requester.host);
    processes_.push_back(walk(requester));
  }
  void add(Fetcher& fetcher, uint64_t granules) {
    fetcher.total = granules;
    fetcher.region = 256 + processes_.size();
    connect(fetcher);
    processes_.push_back(fetch(fetcher));
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

  // Whether the engine's command `k` is dispatched and its waits are met and paid
  // for. `due` is 0 at first.
  bool ready(const Core& core, unsigned e, size_t k, uint64_t& due) const {
    if (core.engines[e].list.size() <= k) return false;
    uint64_t cycles = 0;
    for (const uint32_t wait : core.stream[core.engines[e].list[k]].header().wait) {
      const unsigned on_core = wait >> NPU_WAIT_CORE_SHIFT;
      const unsigned on = wait >> NPU_WAIT_ENGINE_SHIFT & 0xf;
      if (cores_[on_core].engines[on].retired < (wait & NPU_WAIT_COUNT_MASK)) return false;
      if (wait != 0)
        cycles += on_core != core.index ? t_.wait_cycles_core
                  : on != e             ? t_.wait_cycles_engine
                                        : t_.wait_cycles_same;
    }
    if (due == 0) due = now_ + cycles;
    return now_ >= due;
  }
  const Command& start(Core& core, unsigned e) {
    const size_t index = core.engines[e].list[core.engines[e].started++];
    core.spans[index].start = now_;
    return core.stream[index];
  }
  void retire(Core& core, unsigned e) {
    core.spans[core.engines[e].list[core.engines[e].retired++]].retired = now_;
  }

  // Reads the levels of the page table one after another.
  Process walk(Requester& r) {
    for (;; ++r.translated) {
      while (r.translated == r.groups.size()) co_await kCycle;
      const uint64_t group = r.groups[r.translated];
      uint64_t read = 0;
      if (std::erase(tlb_, group) == 0)
        for (unsigned level = 1; level <= NPU_MMU_LEVELS; ++level) {
          r.walks.push_back({&read, now_ + channels_[0].latency, false});
          while (read < level) co_await kCycle;
        }
      tlb_.push_front(group);  // most recent first
      if (tlb_.size() > t_.tlb_entries) tlb_.pop_back();
    }
  }
  Process fetch(Fetcher& f) {
    for (uint64_t asked = 0; asked < f.total; ++asked) {
      while (asked == f.consumed + 8192 / t_.dma_granule_bytes) co_await kCycle;
      if (asked % kGroup == 0) f.groups.push_back(f.region << 32 | asked / kGroup);
      while (f.translated < f.groups.size()) co_await kCycle;
      f.card.push_back({&f.fetched, now_ + channels_[0].latency, false});
    }
  }
  Process sequence(Core& core) {
    for (const Command& command : core.stream) {
      const unsigned e = command.engine();
      const uint64_t end = core.fetcher.consumed + command.header().records * record_granules_;
      while (core.fetcher.fetched < end) co_await kCycle;
      for (unsigned n = t_.dispatch_cycles; n > 0; --n) co_await kCycle;
      while (
          core.engines[e].list.size() - core.engines[e].started == t_.fifo_depth ||
          (command.opcode() == NPU_OP_YIELD && !std::ranges::all_of(core.engines, &Engine::idle)))
        co_await kCycle;
      core.engines[e].list.push_back(static_cast<size_t>(&command - core.stream.data()));
      if (e == NPU_ENGINE_DISPATCH) {
        uint64_t due = 0;
        while (!ready(core, e, core.engines[e].started, due)) co_await kCycle;
        start(core, e);
        retire(core, e);
      }
      core.fetcher.consumed = end;
    }
  }

  // LOAD and STORE look one command ahead: of two lanes each takes every other.
  Process transfer(Core& core, unsigned e, size_t lane) {
    Engine& engine = core.engines[e];
    Port& port = core.ports[e];
    const bool store = e == NPU_ENGINE_STORE;
    const uint64_t burst = t_.dma_burst_bytes / t_.dma_granule_bytes;
    const uint64_t window = t_.dma_outstanding * burst;
    for (size_t k = lane;; k += 2) {
      while (engine.list.size() <= k || engine.started < k || table_.fetched == 0) co_await kCycle;
      const Command& command = core.stream[engine.list[k]];
      const Transfer& before = engine.transfers[k];
      Transfer& t = engine.transfers.emplace_back(transfer_of(command, t_));
      t.host = in_host_(command.dma().region);
      const size_t walked = engine.groups.size(), external = t.granules.size();
      engine.groups.insert(engine.groups.end(), t.groups.begin(), t.groups.end());
      uint64_t due = 0;
      while (!ready(core, e, k, due)) co_await kCycle;
      const auto may_ask = [&] {
        // Answers come in order, so only one memory is asked at a time.
        const uint64_t in_flight = t.asked - t.answered + before.granules.size() - before.answered;
        return t.asked < external && before.asked == before.granules.size() &&
               (before.host == t.host || before.answered == before.asked) &&
               engine.translated >= walked + t.granules[t.asked] &&
               (t.asked % burst != 0 || in_flight + burst <= window) &&
               (!store || t.moved * external >= t.sram * (t.asked + 1));
      };
      for (uint64_t moving = 0;; co_await kCycle) {
        if (engine.started == k && engine.retired == k) start(core, e);
        if (port.want == 0 && before.moved == before.sram) {
          t.moved += moving;
          uint64_t most = t.sram;
          if (external != 0) most = (t.answered + (store ? window : 0)) * t.sram / external;
          moving = std::min<uint64_t>(std::min(most, t.sram) - t.moved, t_.sram_word_bytes);
          port.want = static_cast<unsigned>(moving << (command.opcode() == NPU_OP_SRAM_COPY));
        }
        for (; may_ask(); ++t.asked)
          (t.host ? engine.host : engine.card)
              .push_back({&t.answered, now_ + (store ? 0 : channels_[t.host].latency), store});
        if (engine.started > k && t.moved == t.sram && t.answered == external) break;
      }
      retire(core, e);
    }
  }

  Process vector_unit(Core& core) {
    for (size_t k = 0;; ++k) {
      uint64_t due = 0;
      while (!ready(core, NPU_ENGINE_VEC, k, due)) co_await kCycle;
      const auto [cycles, bytes] = vector_work(start(core, NPU_ENGINE_VEC).vec(), t_);
      for (unsigned n = cycles; n > 0; --n) {
        core.ports[NPU_ENGINE_VEC].want = bytes;
        while (core.ports[NPU_ENGINE_VEC].want != 0) co_await kCycle;
      }
      retire(core, NPU_ENGINE_VEC);
    }
  }
  Process array(Core& core) {
    Port& port = core.ports[NPU_ENGINE_MAC];
    unsigned bank = 1;
    for (size_t k = 0;; ++k) {
      uint64_t due = 0;
      while (!ready(core, NPU_ENGINE_MAC, k, due)) co_await kCycle;
      const Command& command = start(core, NPU_ENGINE_MAC);
      const npu_command_mac& mac = command.mac();
      for (unsigned n = t_.decode_cycles + t_.pipeline_cycles +
                        t_.mac_outputs * t_.mac_inputs / t_.sram_word_bytes;
           n > 0; --n)
        co_await kCycle;
      const unsigned element = element_bytes(mac.types, 2);
      const unsigned row_cycles =
          quotient_up(t_.mac_outputs * element, std::max(t_.sram_word_bytes, t_.mac_outputs));
      const uint64_t begin = now_;
      unsigned rows = 0;
      bool open = false;
      const std::vector<Pass> passes = passes_of(command, t_);
      for (const Pass& pass : passes) {
        if (!open) {
          bank = mac.accumulate != 0 ? mac.accumulator_base != 0 : bank ^ 1;
          while (std::ranges::find(core.drains, bank, &Drain::bank) != core.drains.end())
            co_await kCycle;
        }
        open = !pass.closes;
        for (unsigned pixel = 0, cycle = 0, shadow = 0;
             pixel < pass.pixels || shadow < pass.shadow;) {
          port.want = (pixel < pass.pixels ? pass.bytes : 0) +
                      (shadow < pass.shadow ? pass.shadow_bytes : 0);
          while (port.want != 0) co_await kCycle;
          if (shadow < pass.shadow) ++shadow;
          const bool row = (pass.first + pixel) % mac.out_w == 0;
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
          const bool residual = command.extension().flags & NPU_EXT_RESIDUAL;
          core.drains.push_back(
              {bank, rows * row_cycles, pass.outputs * (element + residual) / row_cycles, last});
          rows = 0;
        }
      }
      job_.array_cycles += now_ - begin;
    }
  }
  // The output stage empties one bank after the other.
  Process output(Core& core) {
    Port& port = core.ports[NPU_ENGINE_COUNT];
    for (;; core.drains.pop_front()) {
      // If it waits, the first row goes out in the cycle that closed the bank.
      const bool waits = core.drains.empty();
      while (core.drains.empty()) co_await kCycle;
      for (unsigned n = core.drains.front().cycles; n > waits; --n) {
        port.want = core.drains.front().bytes;
        while (port.want != 0) co_await kCycle;
      }
      if (core.drains.front().last) retire(core, NPU_ENGINE_MAC);
    }
  }

  const npu_target& t_;
  const std::function<bool(unsigned)>& in_host_;
  const unsigned burst_ = t_.dma_burst_bytes / t_.dma_granule_bytes;  // granules
  const unsigned record_granules_ = NPU_RECORD_BYTES / t_.dma_granule_bytes;
  Channel channels_[2] = {
      {t_.card_bytes_per_cycle, t_.card_latency_cycles, t_.dma_granule_bytes, burst_},
      {t_.pcie_bytes_per_cycle, t_.pcie_latency_cycles, t_.dma_granule_bytes, burst_}};
  std::deque<Core> cores_;
  std::deque<uint64_t> tlb_;
  Fetcher table_;
  uint64_t now_ = 0;
  std::vector<Process> processes_;
  SteppedJob job_;
};

}  // namespace

SteppedJob step_job(std::span<const Stream> streams, const npu_target& target,
                    const std::function<bool(unsigned region)>& in_host) {
  return Card(streams, target, in_host).run();
}

}  // namespace npu::arch::testing
