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

bool GangOrder::next(unsigned& core, uint32_t& index) {
  // Stays with a core while it can: runs of one list are kinder to caches.
  for (size_t tried = 0; tried < streams_.size(); ++tried) {
    const Stream& stream = streams_[core_];
    if (next_[core_] < stream.size() && ready(stream[next_[core_]])) {
      core = core_;
      index = next_[core_]++;
      ++counts_[core][stream[index].engine()];
      return true;
    }
    core_ = core_ + 1 < streams_.size() ? core_ + 1 : 0;
  }
  return false;
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
