// SPDX-License-Identifier: MIT
#include "prepared.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

namespace npu::model {
namespace {

size_t total_bytes(const JobBytes& bytes) {
  size_t total = 0;
  for (const auto& stream : bytes.streams) total += stream.size();
  return total;
}

// (The library compares std::byte one by one.)
bool same(const JobBytes& a, const JobBytes& b) {
  return a.commands == b.commands && a.regions == b.regions &&
         std::ranges::equal(a.streams, b.streams, [](const auto& x, const auto& y) {
           return x.size() == y.size() &&
                  (x.empty() || std::memcmp(x.data(), y.data(), x.size()) == 0);
         });
}

// The one rule that needs the packet: regions must exist.
bool check_regions(const std::vector<arch::Stream>& streams, size_t regions,
                   arch::StreamError& error) {
  for (unsigned core = 0; core < streams.size(); ++core) {
    for (uint32_t i = 0; i < streams[core].size(); ++i) {
      const arch::Command& command = streams[core][i];
      const npu_opcode opcode = command.opcode();
      if (opcode != NPU_OP_LOAD && opcode != NPU_OP_STORE) continue;
      if (command.dma().region < regions) continue;
      error.status = NPU_STATUS_BAD_COMMAND;
      error.command = i;
      error.engine = command.header().engine;
      error.core = static_cast<uint8_t>(core);
      error.source_op = command.header().source_op;
      error.text = "a command uses a region that the job does not have";
      return false;
    }
  }
  return true;
}

}  // namespace

uint64_t Prepared::retired_at(unsigned core, uint32_t command) const {
  const size_t at = trace_begin[core] + command;
  return at < trace.size() ? trace[at].start_cycle + trace[at].execute_cycles : 0;
}

bool Prepared::all_yield(size_t number) const {
  return std::ranges::all_of(yields, [number](const auto& of) { return number < of.size(); });
}

uint64_t Prepared::save_bytes(size_t number) const {
  uint64_t bytes = sizeof(npu_save_header);
  for (size_t core = 0; core < streams.size(); ++core) {
    const npu_command_yield& yield = streams[core][yields[core][number]].yield();
    for (uint32_t i = 0; i < yield.range_count; ++i) bytes += yield.live[i].bytes;
  }
  return bytes;
}

uint64_t Prepared::yields_at(size_t number) const {
  uint64_t first = ~uint64_t{0};
  for (unsigned core = 0; core < streams.size(); ++core)
    first = std::min(first, retired_at(core, yields[core][number]));
  return first;
}

Preparation::Preparation(JobBytes bytes, const npu_target& target, bool timed)
    : result_(std::make_shared<Prepared>()), target_(target), timed_(timed) {
  result_->bytes = std::move(bytes);
  const JobBytes& in = result_->bytes;
  std::vector<std::span<const std::byte>> streams(in.streams.begin(), in.streams.end());
  check_ = std::make_unique<arch::JobCheck>(std::move(streams), target);
  if (!timed_) return;
  check_->request_timing([&in](unsigned index) {
    if (index == arch::kRegionCommands) return in.commands;
    return index < in.regions.size() ? in.regions[index] : arch::External::kCard;
  });
}

bool Preparation::run(uint64_t nanoseconds) {
  if (!checked_) {
    if (!check_->run(nanoseconds)) return false;
    checked_ = true;
    take_result();
  }
  return !result_->timed || spread_traffic(nanoseconds);
}

void Preparation::take_result() {
  constexpr uint64_t kWindows = 4096;
  constexpr uint64_t kShortest = 1024;
  Prepared& p = *result_;
  p.error = check_->error;
  p.streams = std::move(check_->streams);
  if (p.error.status != NPU_STATUS_OK || !check_regions(p.streams, p.bytes.regions.size(), p.error))
    return;
  p.timing = check_->timing;
  p.trace = std::move(check_->trace);
  p.timed = timed_;
  size_t begin = 0;
  for (const arch::Stream& stream : p.streams) {
    p.trace_begin.push_back(begin);
    begin += stream.size();
    std::vector<uint32_t>& yields = p.yields.emplace_back();
    for (uint32_t i = 0; i < stream.size(); ++i)
      if (stream[i].opcode() == NPU_OP_YIELD) yields.push_back(i);
  }
  p.window_cycles = std::max(kShortest, (p.timing.cycles + kWindows - 1) / kWindows);
  p.traffic.resize((p.timing.cycles + p.window_cycles - 1) / p.window_cycles);
  rest_[NPU_MEMORY_HOST] = p.timing.pcie_bytes;
  rest_[NPU_MEMORY_CARD] = p.timing.card_bytes;
}

void Preparation::spread(uint64_t from, uint64_t to, uint64_t bytes, unsigned memory) {
  Prepared& p = *result_;
  to = std::max(to, from + 1);
  if (const uint64_t window = from / p.window_cycles;
      window == (to - 1) / p.window_cycles && window < p.traffic.size()) {
    p.traffic[window].bytes[memory] += bytes;
    return;
  }
  const uint64_t cycles = to - from;
  for (uint64_t at = from; at < to && at / p.window_cycles < p.traffic.size();) {
    const uint64_t until = std::min(to, (at / p.window_cycles + 1) * p.window_cycles);
    const auto share = static_cast<unsigned __int128>(bytes) * (until - at) / cycles;
    p.traffic[at / p.window_cycles].bytes[memory] += static_cast<uint64_t>(share);
    at = until;
  }
}

// A command's traffic evenly over the time between its start and its
// retirement; that of fetch and page walks evenly over the whole job.
bool Preparation::spread_traffic(uint64_t nanoseconds) {
  constexpr uint64_t kCommandNs = 500;
  Prepared& p = *result_;
  for (uint64_t left = nanoseconds / kCommandNs + 1; core_ < p.streams.size(); --left) {
    if (left == 0) return false;
    if (command_ == p.streams[core_].size()) {
      ++core_;
      command_ = 0;
      continue;
    }
    const arch::Command& command = p.streams[core_][command_];
    if (const uint64_t bytes = arch::external_bytes(command, target_); bytes != 0) {
      const bool host = p.bytes.regions[command.dma().region] == arch::External::kHost;
      const unsigned memory = host ? NPU_MEMORY_HOST : NPU_MEMORY_CARD;
      spread(p.trace[p.trace_begin[core_] + command_].start_cycle, p.retired_at(core_, command_),
             bytes, memory);
      rest_[memory] -= std::min(rest_[memory], bytes);
    }
    ++command_;
  }
  for (const unsigned memory : {NPU_MEMORY_HOST, NPU_MEMORY_CARD})
    spread(0, p.timing.cycles, rest_[memory], memory);
  return true;
}

std::shared_ptr<const Prepared> PreparedCache::find(const JobBytes& bytes) {
  for (auto i = entries_.begin(); i != entries_.end(); ++i) {
    if (!same((*i)->bytes, bytes)) continue;
    entries_.splice(entries_.begin(), entries_, i);
    return entries_.front();
  }
  return nullptr;
}

void PreparedCache::add(std::shared_ptr<const Prepared> prepared) {
  const size_t size = total_bytes(prepared->bytes);
  if (size > kMaxBytes / 2) return;
  entries_.push_front(std::move(prepared));
  bytes_held_ += size;
  while (entries_.size() > kMaxEntries || bytes_held_ > kMaxBytes) {
    bytes_held_ -= total_bytes(entries_.back()->bytes);
    entries_.pop_back();
  }
}

}  // namespace npu::model
