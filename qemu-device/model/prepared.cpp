// SPDX-License-Identifier: MIT
#include "prepared.h"

#include <span>
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

Preparation::Preparation(JobBytes bytes, const npu_target& target, bool timed)
    : result_(std::make_shared<Prepared>()), timed_(timed) {
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
  if (!check_->run(nanoseconds)) return false;
  Prepared& p = *result_;
  p.error = check_->error;
  p.streams = std::move(check_->streams);
  if (p.error.status != NPU_STATUS_OK || !check_regions(p.streams, p.bytes.regions.size(), p.error))
    return true;
  p.timing = check_->timing;
  p.trace = std::move(check_->trace);
  p.timed = timed_;
  size_t begin = 0;
  for (const arch::Stream& stream : p.streams) {
    p.trace_begin.push_back(begin);
    begin += stream.size();
  }
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
