// SPDX-License-Identifier: MIT
#include "compiler/emit/yields.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <map>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "arch/sram_access.h"
#include "arch/stream.h"

namespace npu::compiler {
namespace {

// Disjoint ranges of bytes, first -> end.
class ByteSet {
 public:
  void add(uint64_t begin, uint64_t end) {
    auto it = ranges_.upper_bound(begin);
    if (it != ranges_.begin() && std::prev(it)->second >= begin) it = std::prev(it);
    while (it != ranges_.end() && it->first <= end) {
      begin = std::min(begin, it->first);
      end = std::max(end, it->second);
      bytes_ -= it->second - it->first;
      it = ranges_.erase(it);
    }
    ranges_.emplace(begin, end);
    bytes_ += end - begin;
  }
  void remove(uint64_t begin, uint64_t end) {
    auto it = ranges_.upper_bound(begin);
    if (it != ranges_.begin() && std::prev(it)->second > begin) it = std::prev(it);
    while (it != ranges_.end() && it->first < end) {
      const auto [first, last] = *it;
      bytes_ -= last - first;
      it = ranges_.erase(it);
      if (first < begin) insert(first, begin);
      if (last > end) insert(end, last);
    }
  }
  uint64_t bytes() const { return bytes_; }
  // As at most NPU_YIELD_RANGES ranges: the narrowest gaps are kept, too.
  npu_command_yield as_yield() const {
    std::vector<std::pair<uint64_t, uint64_t>> out(ranges_.begin(), ranges_.end());
    while (out.size() > NPU_YIELD_RANGES) {
      size_t narrowest = 1;
      for (size_t i = 2; i < out.size(); ++i)
        if (out[i].first - out[i - 1].second < out[narrowest].first - out[narrowest - 1].second)
          narrowest = i;
      out[narrowest - 1].second = out[narrowest].second;
      out.erase(out.begin() + static_cast<std::ptrdiff_t>(narrowest));
    }
    npu_command_yield yield = {};
    for (const auto& [begin, end] : out) {
      yield.live[yield.range_count].address = static_cast<uint32_t>(begin);
      yield.live[yield.range_count++].bytes = static_cast<uint32_t>(end - begin);
    }
    return yield;
  }

 private:
  void insert(uint64_t begin, uint64_t end) {
    ranges_.emplace(begin, end);
    bytes_ += end - begin;
  }
  std::map<uint64_t, uint64_t> ranges_;
  uint64_t bytes_ = 0;
};

// Calls visit(begin, end) for the blocks of an access, joined where the gaps are
// shorter than `gap`; more than kMostBlocks blocks become their whole range.
template <typename Visit>
void for_each_block(arch::SramAccess access, Visit visit, bool whole_range_is_right) {
  constexpr uint64_t kMostBlocks = 4096;
  access.simplify();
  uint64_t blocks = 1;
  for (const uint32_t count : access.count) blocks *= count;
  if (blocks > kMostBlocks) {
    if (whole_range_is_right) visit(access.address, access.end());
    return;
  }
  uint32_t index[4] = {};
  for (;;) {
    uint64_t at = access.address;
    for (int i = 0; i < 4; ++i) at += access.stride[i] * index[i];
    visit(at, at + access.bytes);
    int i = 0;
    while (i < 4 && ++index[i] == access.count[i]) index[i++] = 0;
    if (i == 4) return;
  }
}

// A place in the lists of a gang, merged in an order that their waits allow: what is before it
// has been executed when the cores are at the YIELDs that stand there.
struct Place {
  uint64_t first = 0, last = 0;  // cycles until all before has retired, on the first and last core
  uint64_t live_bytes = 0;       // that a preemption saves
  // That must be loaded before the engines have work again, which costs time whether or not
  // anybody preempts.
  uint64_t reload_bytes = 0;
  bool sums_open = false;  // which do not survive a YIELD

  uint64_t cost() const { return live_bytes + kReloadWeight * reload_bytes; }
  static constexpr uint64_t kReloadWeight = 8;
};

class Yields {
 public:
  // `trace`: a record per command, core by core.
  Yields(const std::vector<arch::Stream>& streams, const std::vector<npu_profile_command>& trace,
         uint64_t cycles, const npu_target& target)
      : streams_(streams), end_(cycles) {
    size_t begin = 0;
    for (const arch::Stream& stream : streams) {
      for (size_t i = begin; i < begin + stream.size(); ++i)
        retired_.push_back(trace[i].start_cycle + trace[i].execute_cycles);
      begin_.push_back(begin);
      begin += stream.size();
    }
    merge();
    find_times();
    find_open_sums();
    find_reload_bytes(target);
    walk_back([this](size_t at, const std::vector<ByteSet>& live) {
      for (const ByteSet& of_core : live) places_[at].live_bytes += of_core.bytes();
    });
  }

  // Places in the merged order for YIELDs, in order.
  std::vector<size_t> choose(uint64_t max_gap) const {
    std::vector<size_t> chosen;
    uint64_t last = 0;
    size_t from = 1;
    while (from < order_.size()) {
      size_t best = kNone;
      for (size_t i = from; i < order_.size(); ++i) {
        if (places_[i].last > last + max_gap && best != kNone) break;
        if (places_[i].sums_open || places_[i].last < last + max_gap / 2) continue;
        // The latest of the cheapest.
        if (best == kNone || places_[i].cost() <= places_[best].cost()) best = i;
      }
      if (best == kNone || places_[best].last == places_.back().last) break;
      // What would end within a gap anyway needs none.
      if (end_ - last <= max_gap) break;
      chosen.push_back(best);
      last = std::max(places_[best].first, places_[best].last - waits_over(max_gap));
      from = best + 1;
    }
    return chosen;
  }

  // The streams with YIELDs at these places.
  Job apply(const std::vector<size_t>& at, uint64_t max_gap, uint64_t& most_live) const {
    const std::vector<std::vector<npu_command_yield>> yields = yields_at(at, max_gap);
    for (const auto& of_place : yields) {
      uint64_t live = 0;
      for (const npu_command_yield& yield : of_place)
        for (uint32_t r = 0; r < yield.range_count; ++r) live += yield.live[r].bytes;
      most_live = std::max(most_live, live);
    }
    std::vector<arch::StreamBuilder> builders(streams_.size());
    size_t next = 0;
    for (size_t i = 0; i <= order_.size(); ++i) {
      if (next < at.size() && at[next] == i) {
        for (size_t core = 0; core < builders.size(); ++core)
          builders[core].append(yields[next][core]);
        ++next;
      }
      if (i < order_.size()) append(builders[order_[i].core], command(order_[i]));
    }
    Job job;
    for (const arch::StreamBuilder& builder : builders)
      job.streams.push_back({builder.bytes(), builder.commands()});
    return job;
  }

 private:
  static constexpr size_t kNone = ~size_t{0};

  struct Entry {
    unsigned core;
    uint32_t index;
  };

  // Of a gang, a core that is earlier than the last by more than this waits for it at a YIELD.
  static uint64_t waits_over(uint64_t max_gap) { return max_gap / 8; }

  const arch::Command& command(const Entry& entry) const {
    return streams_[entry.core][entry.index];
  }
  uint64_t retired(const Entry& entry) const { return retired_[begin_[entry.core] + entry.index]; }

  static void append(arch::StreamBuilder& builder, const arch::Command& command) {
    switch (command.engine()) {
      case NPU_ENGINE_MAC:
        if (command.header().records == 2)
          builder.append(command.mac(), command.extension());
        else
          builder.append(command.mac());
        break;
      case NPU_ENGINE_VEC:
        builder.append(command.vec());
        break;
      case NPU_ENGINE_DISPATCH:
        if (command.opcode() == NPU_OP_YIELD)
          builder.append(command.yield());
        else
          builder.append_nop(command.header());
        break;
      default:
        builder.append(command.dma());
        break;
    }
  }

  // Of the commands that can come next, the one behind which its core is least far.
  void merge() {
    const size_t cores = streams_.size();
    std::vector<uint32_t> next(cores, 0);
    std::vector<uint64_t> reached(cores, 0);
    std::vector<std::array<uint32_t, NPU_ENGINE_COUNT + 1>> counts(cores);
    const auto ready = [&](const arch::Command& command) {
      return std::ranges::all_of(command.header().wait, [&](uint32_t wait) {
        return wait == 0 ||
               counts[wait >> NPU_WAIT_CORE_SHIFT & 0xf][wait >> NPU_WAIT_ENGINE_SHIFT & 0xf] >=
                   (wait & NPU_WAIT_COUNT_MASK);
      });
    };
    for (;;) {
      std::optional<Entry> best;
      uint64_t earliest = 0;
      for (unsigned core = 0; core < cores; ++core) {
        const Entry entry = {core, next[core]};
        if (entry.index == streams_[core].size() || !ready(command(entry))) continue;
        const uint64_t at = std::max(reached[core], retired(entry));
        if (best && at >= earliest) continue;
        best = entry;
        earliest = at;
      }
      // All, or a deadlock, which is refused where streams are checked.
      if (!best) break;
      ++next[best->core];
      reached[best->core] = earliest;
      ++counts[best->core][command(*best).engine()];
      order_.push_back(*best);
    }
    places_.resize(order_.size() + 1);
  }

  void find_times() {
    std::vector<uint64_t> reached(streams_.size(), 0);
    for (size_t i = 0; i < places_.size(); ++i) {
      const auto [first, last] = std::ranges::minmax(reached);
      places_[i].first = first;
      places_[i].last = last;
      if (i == order_.size()) break;
      uint64_t& of_core = reached[order_[i].core];
      of_core = std::max(of_core, retired(order_[i]));
    }
  }

  void find_open_sums() {
    std::vector<std::array<bool, 2>> open(streams_.size());
    for (size_t i = 0; i < order_.size(); ++i) {
      places_[i].sums_open =
          std::ranges::any_of(open, [](const auto& banks) { return banks[0] || banks[1]; });
      if (command(order_[i]).engine() != NPU_ENGINE_MAC) continue;
      const npu_command_mac& mac = command(order_[i]).mac();
      open[order_[i].core][mac.accumulator_base != 0 ? 1 : 0] =
          (mac.accumulate & NPU_ACCUMULATE_KEEP) != 0;
    }
  }

  // Backwards: what is loaded before each core's next command of the array or the vector unit.
  void find_reload_bytes(const npu_target& target) {
    std::vector<uint64_t> bytes(streams_.size(), 0);
    for (size_t i = order_.size(); i-- > 0;) {
      const arch::Command& next = command(order_[i]);
      const unsigned core = order_[i].core;
      const npu_engine engine = next.engine();
      if (engine == NPU_ENGINE_MAC || engine == NPU_ENGINE_VEC) bytes[core] = 0;
      if (engine == NPU_ENGINE_LOAD) {
        const uint64_t loaded = arch::external_bytes(next, target);
        for (unsigned other = 0; other < bytes.size(); ++other)
          if (other == core || (next.dma().multicast >> other & 1) != 0) bytes[other] += loaded;
      }
      places_[i].reload_bytes = std::accumulate(bytes.begin(), bytes.end(), uint64_t{0});
    }
  }

  // Backwards: what a command reads, of whichever core's SRAM, is live before it, unless it is
  // written first. visit(place, live by core) for every place.
  template <typename Visit>
  void walk_back(Visit visit) const {
    std::vector<ByteSet> live(streams_.size());
    std::vector<arch::SramAccess> accesses;
    visit(order_.size(), live);
    for (size_t i = order_.size(); i-- > 0;) {
      accesses.clear();
      arch::append_sram_accesses(command(order_[i]), order_[i].core, accesses);
      for (const bool write : {true, false}) {
        for (const arch::SramAccess& access : accesses) {
          if (access.write != write) continue;
          ByteSet& sram = live[access.core];
          for_each_block(
              access,
              [&](uint64_t begin, uint64_t end) {
                if (write)
                  sram.remove(begin, end);
                else
                  sram.add(begin, end);
              },
              !write);
        }
      }
      visit(i, live);
    }
  }

  // By place and core.
  std::vector<std::vector<npu_command_yield>> yields_at(const std::vector<size_t>& at,
                                                        uint64_t max_gap) const {
    std::vector<std::vector<npu_command_yield>> out(at.size());
    size_t left = at.size();
    walk_back([&](size_t place, const std::vector<ByteSet>& live) {
      if (left == 0 || at[left - 1] != place) return;
      --left;
      for (const ByteSet& of_core : live) out[left].push_back(of_core.as_yield());
    });
    // By core: its last command so far, and the one that retires last.
    std::vector<std::optional<Entry>> latest(streams_.size());
    std::vector<uint32_t> next(streams_.size(), 0);
    for (size_t i = 0; left < at.size(); ++i) {
      for (; left < at.size() && at[left] == i; ++left) {
        const auto reached = [&](size_t core) { return latest[core] ? retired(*latest[core]) : 0; };
        size_t last = 0;
        for (size_t core = 1; core < latest.size(); ++core)
          if (reached(core) > reached(last)) last = core;
        for (size_t core = 0; core < latest.size(); ++core) {
          npu_command_header& header = out[left][core].header;
          const size_t of = std::min<size_t>(next[core], streams_[core].size() - 1);
          header.source_op = streams_[core][of].header().source_op;
          if (reached(core) + waits_over(max_gap) < reached(last))
            header.wait[0] = wait_for(*latest[last]);
        }
      }
      if (i == order_.size()) break;
      const Entry& entry = order_[i];
      next[entry.core] = entry.index + 1;
      std::optional<Entry>& of_core = latest[entry.core];
      if (command(entry).engine() < NPU_ENGINE_COUNT &&
          (!of_core || retired(entry) >= retired(*of_core)))
        of_core = entry;
    }
    return out;
  }

  uint32_t wait_for(const Entry& entry) const {
    const npu_engine engine = command(entry).engine();
    uint32_t count = 0;
    for (uint32_t i = 0; i <= entry.index; ++i)
      count += streams_[entry.core][i].engine() == engine ? 1 : 0;
    return arch::encode_wait(engine, count, entry.core);
  }

  const std::vector<arch::Stream>& streams_;
  const uint64_t end_;
  std::vector<uint64_t> retired_;  // of commands, core by core
  std::vector<size_t> begin_;      // of each core there
  std::vector<Entry> order_;
  std::vector<Place> places_;  // before each of them, and at the end
};

// The longest time in which the job cannot be put aside: from where one core goes on at YIELDs of
// one number to where the last comes to those of the next.
uint64_t longest_gap(const std::vector<arch::Stream>& streams,
                     const std::vector<npu_profile_command>& trace, uint64_t cycles) {
  std::vector<std::vector<uint64_t>> yields(streams.size());
  size_t begin = 0;
  for (size_t core = 0; core < streams.size(); begin += streams[core++].size())
    for (size_t i = begin; i < begin + streams[core].size(); ++i)
      if (trace[i].opcode == NPU_OP_YIELD) yields[core].push_back(trace[i].start_cycle);
  uint64_t gap = 0, left = 0;
  for (size_t k = 0; k < yields[0].size(); ++k) {
    uint64_t first = yields[0][k], last = first;
    for (const std::vector<uint64_t>& of_core : yields) {
      first = std::min(first, of_core[k]);
      last = std::max(last, of_core[k]);
    }
    gap = std::max(gap, last - left);
    left = first;
  }
  return std::max(gap, cycles - std::min(cycles, left));
}

}  // namespace

YieldReport add_yields(Job& job, uint64_t max_gap, const npu_target& target,
                       const std::function<arch::External(unsigned)>& region_memory) {
  const auto simulate = [&](const Job& of, std::vector<arch::Stream>& streams,
                            std::vector<npu_profile_command>& trace) {
    arch::StreamError error;
    const auto gang = static_cast<unsigned>(of.streams.size());
    streams.assign(gang, {});
    // A stream that is refused here is refused, with its text, when it is checked.
    for (unsigned core = 0; core < gang; ++core)
      if (!arch::decode_stream(of.streams[core].bytes, target, core, gang, streams[core], error))
        return uint64_t{0};
    arch::TimingInput input;
    input.streams = streams;
    input.region_memory = region_memory;
    return arch::simulate_job(input, target, &trace).cycles;
  };
  YieldReport report;
  std::vector<arch::Stream> streams;
  std::vector<npu_profile_command> trace;
  const uint64_t cycles = simulate(job, streams, trace);
  if (cycles == 0) return report;
  const Yields yields(streams, trace, cycles, target);
  report.longest_gap = cycles;
  // A YIELD makes what is around it slower, so that a gap may come out longer than
  // planned: then all are planned shorter.
  Job best;
  uint64_t planned = max_gap;
  constexpr int kAttempts = 4;
  for (int attempt = 0; attempt < kAttempts && report.longest_gap > max_gap; ++attempt) {
    const std::vector<size_t> places = yields.choose(planned);
    if (places.empty()) break;
    uint64_t live = 0;
    Job with = yields.apply(places, planned, live);
    if (std::ranges::any_of(with.streams, [&](const JobStream& stream) {
          return stream.bytes.size() > target.max_stream_bytes;
        }))
      break;
    std::vector<arch::Stream> new_streams;
    std::vector<npu_profile_command> new_trace;
    const uint64_t end = simulate(with, new_streams, new_trace);
    const uint64_t gap = longest_gap(new_streams, new_trace, end);
    if (gap < report.longest_gap) {
      best = std::move(with);
      report = {static_cast<uint32_t>(places.size()), gap, live};
    }
    planned = planned * 7 / 8;
  }
  if (report.yields != 0) job = std::move(best);
  return report;
}

}  // namespace npu::compiler
