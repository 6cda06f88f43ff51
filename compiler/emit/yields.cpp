// SPDX-License-Identifier: MIT
#include "compiler/emit/yields.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
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

class Yields {
 public:
  Yields(const arch::Stream& stream, const std::vector<npu_profile_command>& trace,
         const npu_target& target)
      : stream_(stream) {
    // Until when all commands before one have retired.
    uint64_t reached = 0;
    for (const npu_profile_command& record : trace) {
      reached_.push_back(reached);
      reached = std::max(reached, record.start_cycle + record.execute_cycles);
    }
    find_open_sums();
    find_live_bytes();
    find_reload_bytes(target);
  }

  // Commands before which a YIELD is to stand, in order.
  std::vector<uint32_t> choose(uint64_t max_gap) const {
    std::vector<uint32_t> chosen;
    uint64_t last = 0;
    uint32_t from = 1;
    while (from < stream_.size()) {
      uint32_t best = kNone;
      for (uint32_t i = from; i < stream_.size(); ++i) {
        if (reached_[i] > last + max_gap && best != kNone) break;
        if (sums_open_[i] || reached_[i] < last + max_gap / 2) continue;
        // The latest of the cheapest.
        if (best == kNone || cost(i) <= cost(best)) best = i;
      }
      if (best == kNone || reached_[best] == reached_.back()) break;
      // What would end within a gap anyway needs none.
      if (end_ - last <= max_gap) break;
      chosen.push_back(best);
      last = reached_[best];
      from = best + 1;
    }
    return chosen;
  }

  // The stream with YIELDs before these commands.
  JobStream apply(const std::vector<uint32_t>& before, uint64_t& most_live) const {
    std::vector<npu_command_yield> yields = live_at(before);
    arch::StreamBuilder builder;
    size_t next = 0;
    for (uint32_t i = 0; i < stream_.size(); ++i) {
      const arch::Command& command = stream_[i];
      if (next < before.size() && before[next] == i) {
        npu_command_yield yield = yields[next++];
        uint64_t live = 0;
        for (uint32_t r = 0; r < yield.range_count; ++r) live += yield.live[r].bytes;
        most_live = std::max(most_live, live);
        yield.header.source_op = command.header().source_op;
        builder.append(yield);
      }
      append(builder, command);
    }
    return {builder.bytes(), builder.commands()};
  }

  void set_end(uint64_t cycles) { end_ = cycles; }

 private:
  static constexpr uint32_t kNone = ~0u;

  // In bytes: what a preemption saves, and what must be loaded before the engines have work again,
  // which costs time whether or not anybody preempts.
  uint64_t cost(uint32_t i) const { return live_bytes_[i] + kReloadWeight * reload_bytes_[i]; }
  static constexpr uint64_t kReloadWeight = 8;

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

  // Sums do not survive a YIELD.
  void find_open_sums() {
    bool open[2] = {};
    for (const arch::Command& command : stream_) {
      sums_open_.push_back(open[0] || open[1]);
      if (command.engine() != NPU_ENGINE_MAC) continue;
      const npu_command_mac& mac = command.mac();
      open[mac.accumulator_base != 0 ? 1 : 0] = (mac.accumulate & NPU_ACCUMULATE_KEEP) != 0;
    }
  }

  // Backwards: what a command reads is live before it, unless it is written first.
  template <typename Visit>
  void walk_back(Visit visit) const {
    ByteSet live;
    std::vector<arch::SramAccess> accesses;
    for (auto i = static_cast<uint32_t>(stream_.size()); i-- > 0;) {
      accesses.clear();
      arch::append_sram_accesses(stream_[i], 0, accesses);
      for (const bool write : {true, false}) {
        for (const arch::SramAccess& access : accesses) {
          if (access.write != write) continue;
          for_each_block(
              access,
              [&](uint64_t begin, uint64_t end) {
                if (write)
                  live.remove(begin, end);
                else
                  live.add(begin, end);
              },
              !write);
        }
      }
      visit(i, live);
    }
  }
  // Backwards: what is loaded before the next command of the array or the vector unit.
  void find_reload_bytes(const npu_target& target) {
    reload_bytes_.resize(stream_.size());
    uint64_t bytes = 0;
    for (auto i = static_cast<uint32_t>(stream_.size()); i-- > 0;) {
      const npu_engine engine = stream_[i].engine();
      if (engine == NPU_ENGINE_MAC || engine == NPU_ENGINE_VEC) bytes = 0;
      if (engine == NPU_ENGINE_LOAD) bytes += arch::external_bytes(stream_[i], target);
      reload_bytes_[i] = bytes;
    }
  }
  void find_live_bytes() {
    live_bytes_.resize(stream_.size());
    walk_back([&](uint32_t i, const ByteSet& live) { live_bytes_[i] = live.bytes(); });
  }
  std::vector<npu_command_yield> live_at(const std::vector<uint32_t>& before) const {
    std::vector<npu_command_yield> out(before.size());
    size_t left = before.size();
    walk_back([&](uint32_t i, const ByteSet& live) {
      if (left != 0 && before[left - 1] == i) out[--left] = live.as_yield();
    });
    return out;
  }

  const arch::Stream& stream_;
  std::vector<uint64_t> reached_;
  std::vector<bool> sums_open_;
  std::vector<uint64_t> live_bytes_;
  std::vector<uint64_t> reload_bytes_;
  uint64_t end_ = 0;
};

}  // namespace

YieldReport add_yields(JobStream& job, uint64_t max_gap, const npu_target& target,
                       const std::function<arch::External(unsigned)>& region_memory) {
  const auto simulate = [&](const std::vector<std::byte>& bytes, std::vector<arch::Stream>& streams,
                            std::vector<npu_profile_command>& trace) {
    arch::StreamError error;
    streams.assign(1, {});
    // A stream that is refused here is refused, with its text, when it is checked.
    if (!arch::decode_stream(bytes, target, 0, 1, streams[0], error)) return uint64_t{0};
    arch::TimingInput input;
    input.streams = streams;
    input.region_memory = region_memory;
    return arch::simulate_job(input, target, &trace).cycles;
  };
  YieldReport report;
  std::vector<arch::Stream> streams;
  std::vector<npu_profile_command> trace;
  const uint64_t cycles = simulate(job.bytes, streams, trace);
  if (cycles == 0) return report;
  Yields yields(streams[0], trace, target);
  yields.set_end(cycles);
  report.longest_gap = cycles;
  // A YIELD makes what is around it slower, so that a gap may come out longer than
  // planned: then all are planned shorter.
  JobStream best;
  uint64_t planned = max_gap;
  constexpr int kAttempts = 4;
  for (int attempt = 0; attempt < kAttempts && report.longest_gap > max_gap; ++attempt) {
    const std::vector<uint32_t> before = yields.choose(planned);
    if (before.empty()) break;
    uint64_t live = 0;
    JobStream with = yields.apply(before, live);
    if (with.bytes.size() > target.max_stream_bytes) break;
    std::vector<arch::Stream> new_streams;
    std::vector<npu_profile_command> new_trace;
    const uint64_t end = simulate(with.bytes, new_streams, new_trace);
    uint64_t last = 0, gap = 0;
    for (size_t i = 0; i < new_trace.size(); ++i) {
      if (new_trace[i].opcode != NPU_OP_YIELD) continue;
      gap = std::max(gap, new_trace[i].start_cycle - last);
      last = new_trace[i].start_cycle;
    }
    gap = std::max(gap, end - std::min(end, last));
    if (gap < report.longest_gap) {
      best = std::move(with);
      report = {static_cast<uint32_t>(before.size()), gap, live};
    }
    planned = planned * 7 / 8;
  }
  if (report.yields != 0) job = std::move(best);
  return report;
}

}  // namespace npu::compiler
