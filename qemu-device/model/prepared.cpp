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

std::shared_ptr<const Prepared> PreparedCache::prepare(JobBytes bytes) {
  for (auto i = entries_.begin(); i != entries_.end(); ++i) {
    if (!same((*i)->bytes, bytes)) continue;
    entries_.splice(entries_.begin(), entries_, i);
    return entries_.front();
  }

  auto prepared = std::make_shared<Prepared>();
  prepared->bytes = std::move(bytes);
  const JobBytes& in = prepared->bytes;
  const auto gang = static_cast<unsigned>(in.streams.size());
  prepared->streams.resize(gang);
  for (unsigned core = 0; core < gang; ++core)
    if (!arch::decode_stream(in.streams[core], target_, core, gang, prepared->streams[core],
                             prepared->error))
      return prepared;
  if (!check_regions(prepared->streams, in.regions.size(), prepared->error)) return prepared;
  if (!arch::check_deadlock(prepared->streams, prepared->error) ||
      !arch::check_hazards(prepared->streams, target_, prepared->error))
    return prepared;

  size_t begin = 0;
  for (const arch::Stream& stream : prepared->streams) {
    prepared->trace_begin.push_back(begin);
    begin += stream.size();
  }
  if (timed_) {
    arch::TimingInput input;
    input.streams = prepared->streams;
    input.region_memory = [&in](unsigned index) {
      if (index == arch::kRegionCommands) return in.commands;
      return index < in.regions.size() ? in.regions[index] : arch::External::kCard;
    };
    prepared->timing = arch::simulate_job(input, target_, &prepared->trace);
    prepared->timed = true;
  }

  const size_t size = total_bytes(in);
  if (size <= kMaxBytes / 2) {
    entries_.push_front(prepared);
    bytes_held_ += size;
    while (entries_.size() > kMaxEntries || bytes_held_ > kMaxBytes) {
      bytes_held_ -= total_bytes(entries_.back()->bytes);
      entries_.pop_back();
    }
  }
  return prepared;
}

}  // namespace npu::model
