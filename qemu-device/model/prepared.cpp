// SPDX-License-Identifier: MIT
#include "prepared.h"

#include <utility>

namespace npu::model {
namespace {

size_t total_bytes(const JobBytes& bytes) {
  size_t total = 0;
  for (const auto& stream : bytes.streams) total += stream.size();
  return total;
}

bool same(const JobBytes& a, const JobBytes& b) {
  return a.commands == b.commands && a.regions == b.regions && a.streams == b.streams;
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

Preparation::Preparation(JobBytes bytes, const npu_target& target, bool timed)
    : prepared_(std::make_shared<Prepared>(std::move(bytes))),
      check_({prepared_->bytes.streams.begin(), prepared_->bytes.streams.end()}, target),
      timed_(timed) {
  if (!timed) return;
  check_.request_timing([&in = prepared_->bytes](unsigned index) {
    if (index == arch::kRegionCommands) return in.commands;
    return index < in.regions.size() ? in.regions[index] : arch::External::kCard;
  });
}

bool Preparation::run(uint64_t nanoseconds) {
  return check_.run(nanoseconds);
}

std::shared_ptr<const Prepared> Preparation::finish() {
  Prepared& out = *prepared_;
  out.error = std::move(check_.error);
  out.streams = std::move(check_.streams);
  if (out.error.status != NPU_STATUS_OK ||
      !check_regions(out.streams, out.bytes.regions.size(), out.error))
    return std::move(prepared_);
  size_t begin = 0;
  for (const arch::Stream& stream : out.streams) {
    out.trace_begin.push_back(begin);
    begin += stream.size();
  }
  out.timed = timed_;
  out.timing = check_.timing;
  out.trace = std::move(check_.trace);
  return std::move(prepared_);
}

std::shared_ptr<const Prepared> PreparedCache::find(const JobBytes& bytes) {
  for (auto i = entries_.begin(); i != entries_.end(); ++i) {
    if (!same((*i)->bytes, bytes)) continue;
    entries_.splice(entries_.begin(), entries_, i);
    return entries_.front();
  }
  return nullptr;
}

void PreparedCache::keep(const std::shared_ptr<const Prepared>& prepared) {
  const size_t size = total_bytes(prepared->bytes);
  if (prepared->error.status != NPU_STATUS_OK || size > kMaxBytes / 2) return;
  entries_.push_front(prepared);
  bytes_held_ += size;
  while (entries_.size() > kMaxEntries || bytes_held_ > kMaxBytes) {
    bytes_held_ -= total_bytes(entries_.back()->bytes);
    entries_.pop_back();
  }
}

std::shared_ptr<const Prepared> PreparedCache::prepare(JobBytes bytes) {
  if (auto known = find(bytes)) return known;
  const std::unique_ptr<Preparation> work = begin(std::move(bytes));
  while (!work->run(~uint64_t{0})) {
  }
  auto prepared = work->finish();
  keep(prepared);
  return prepared;
}

}  // namespace npu::model
