// SPDX-License-Identifier: MIT
#include "arch/gang_order.h"
#include "arch/text.h"

namespace npu::arch {

GangOrder::GangOrder(std::span<const Stream> streams)
    : streams_(streams), next_(streams.size(), 0) {}

bool GangOrder::met(uint32_t wait) const {
  return counts_[wait >> NPU_WAIT_CORE_SHIFT & 0x7][wait >> NPU_WAIT_ENGINE_SHIFT & 0x3] >=
         (wait & NPU_WAIT_COUNT_MASK);
}

bool GangOrder::ready(const Command& command) const {
  for (const uint32_t wait : command.header().wait)
    if (wait != 0 && !met(wait)) return false;
  return true;
}

bool GangOrder::can_take(size_t core, bool yield) const {
  const Stream& stream = streams_[core];
  return next_[core] < stream.size() && (stream[next_[core]].opcode() == NPU_OP_YIELD) == yield &&
         ready(stream[next_[core]]);
}

void GangOrder::take(size_t from, unsigned& core, uint32_t& index) {
  core = static_cast<unsigned>(from);
  index = next_[core]++;
  ++counts_[core][streams_[core][index].engine()];
}

bool GangOrder::next(unsigned& core, uint32_t& index) {
  if (crossing_ != kNone && next_yield(core, index)) return true;
  // Stays with a core while it can: runs of one list are kinder to caches.
  for (size_t tried = 0; tried < streams_.size(); ++tried) {
    if (can_take(core_, false)) {
      take(core_, core, index);
      return true;
    }
    core_ = core_ + 1 < streams_.size() ? core_ + 1 : 0;
  }
  return next_yield(core, index);
}

// Of those that are crossed already, else of the earliest number.
bool GangOrder::next_yield(unsigned& core, uint32_t& index) {
  size_t first = streams_.size();
  for (size_t c = 0; c < streams_.size(); ++c)
    if (can_take(c, true) && (first == streams_.size() || yields_[c] < yields_[first])) first = c;
  if (first == streams_.size() || (crossing_ != kNone && yields_[first] != crossing_)) {
    crossing_ = kNone;
    return false;
  }
  crossing_ = yields_[first]++;
  take(first, core, index);
  return true;
}

bool GangOrder::at_end() const {
  for (size_t core = 0; core < streams_.size(); ++core)
    if (next_[core] < streams_[core].size()) return false;
  return true;
}

void GangOrder::report_deadlock(StreamError& error) const {
  error = {};
  error.status = NPU_STATUS_DEADLOCK;
  for (unsigned core = 0; core < streams_.size(); ++core) {
    const uint32_t index = next_[core];
    if (index >= streams_[core].size()) continue;
    const npu_command_header& header = streams_[core][index].header();
    for (unsigned i = 0; i < NPU_WAITS; ++i) {
      const uint32_t wait = header.wait[i];
      if (wait == 0 || met(wait)) continue;
      error.command = index;
      error.engine = header.engine;
      error.core = static_cast<uint8_t>(core);
      error.source_op = header.source_op;
      error.text = format_text(
          "core %u, command %u (%s, operator %u): wait[%u] for %u commands of %s on core %u can "
          "never be met",
          core, index, opcode_name(header.opcode), header.source_op, i, wait & NPU_WAIT_COUNT_MASK,
          engine_name(wait >> NPU_WAIT_ENGINE_SHIFT & 0xf), wait >> NPU_WAIT_CORE_SHIFT & 0xf);
      return;
    }
  }
}

bool check_deadlock(std::span<const Stream> streams, StreamError& error) {
  // Decoding has proved a single stream free of deadlock.
  if (streams.size() <= 1) return true;
  GangOrder order(streams);
  unsigned core;
  uint32_t index;
  while (order.next(core, index)) {
  }
  if (order.at_end()) return true;
  order.report_deadlock(error);
  return false;
}

}  // namespace npu::arch
