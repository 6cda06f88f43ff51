// SPDX-License-Identifier: MIT
#include "queue.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>

#include "npu/command.h"

namespace npu::model {
namespace {

uint32_t all_cores(const npu_target& target) {
  return (1u << target.cores) - 1;
}

template <typename T>
T as(const npu_packet& packet) {
  static_assert(sizeof(T) == sizeof(packet));
  T value;
  std::memcpy(&value, &packet, sizeof(value));
  return value;
}

template <typename T, size_t N>
bool all_zero(const T (&values)[N]) {
  return std::all_of(std::begin(values), std::end(values), [](T v) { return v == 0; });
}

bool good_job(const npu_packet_job& job, uint32_t core_mask, const npu_target& target) {
  constexpr uint8_t kFlags = NPU_PACKET_IRQ | NPU_PACKET_CHAIN | NPU_PACKET_RESTARTABLE |
                             NPU_PACKET_PROFILE | NPU_PACKET_PROFILE_COMMANDS;
  if ((job.flags & ~kFlags) != 0) return false;
  const bool profile = (job.flags & NPU_PACKET_PROFILE) != 0;
  if (!profile && ((job.flags & NPU_PACKET_PROFILE_COMMANDS) != 0 || job.profile_va != 0))
    return false;
  if (job.stream_count < 1 || job.stream_count > target.cores) return false;
  if (job.region_count > NPU_MAX_REGIONS) return false;
  if (job.stream_va % NPU_RECORD_BYTES != 0 || job.region_va % 8 != 0 || job.profile_va % 128 != 0)
    return false;
  if ((job.core_mask & ~all_cores(target)) != 0) return false;
  const uint32_t mask = job.core_mask == 0 ? core_mask : job.core_mask & core_mask;
  if (std::popcount(mask & all_cores(target)) < job.stream_count) return false;
  const uint32_t longest = std::min<uint32_t>(target.max_stream_bytes, NPU_STREAM_MAX_BYTES);
  for (unsigned i = 0; i < NPU_MAX_CORES; ++i) {
    const uint32_t bytes = job.stream_bytes[i];
    if (i >= job.stream_count ? bytes != 0 : bytes % NPU_RECORD_BYTES != 0 || bytes > longest)
      return false;
  }
  return true;
}

bool good_copy(const npu_packet_copy& copy) {
  return copy.source_memory <= NPU_MEMORY_CARD && copy.destination_memory <= NPU_MEMORY_CARD &&
         copy.reserved0 == 0 && all_zero(copy.reserved) && copy.bytes <= ~copy.source &&
         copy.bytes <= ~copy.destination;
}

bool good_fill(const npu_packet_fill& fill) {
  return fill.destination_memory <= NPU_MEMORY_CARD && fill.reserved0 == 0 &&
         all_zero(fill.reserved) && fill.bytes % 4 == 0 && fill.destination % 4 == 0 &&
         fill.bytes <= ~fill.destination;
}

bool good_invalidate(const npu_packet_tlb_invalidate& packet, const npu_target& target) {
  constexpr uint64_t kPage = 1ull << 12;
  return packet.asid < target.asids && packet.reserved0 == 0 && all_zero(packet.reserved) &&
         packet.va % kPage == 0 && packet.bytes % kPage == 0;
}

}  // namespace

const char* check_context(const npu_queue_context& c, const npu_target& target) {
  if (c.ring_log2 < NPU_RING_LOG2_MIN || c.ring_log2 > NPU_RING_LOG2_MAX) return "ring_log2";
  if (c.ring % sizeof(npu_packet) != 0) return "ring";
  if (c.completions % sizeof(npu_completion) != 0) return "completions";
  if (c.indices % 16 != 0) return "indices";
  if (c.asid >= target.asids) return "asid";
  if (c.priority > 3) return "priority";
  if (target.vectors > 1 ? c.vector < 1 || c.vector >= target.vectors : c.vector != 0)
    return "vector";
  if ((c.core_mask & all_cores(target)) == 0) return "core_mask";
  if (c.flags != 0) return "flags";
  if (c.save_area % 64 != 0 || c.save_bytes > ~c.save_area) return "save_area";
  if (!all_zero(c.reserved)) return "reserved";
  return nullptr;
}

npu_status_code check_packet(const npu_packet& packet, uint32_t queue, uint32_t core_mask,
                             const npu_target& target) {
  constexpr uint8_t kPlainFlags = NPU_PACKET_IRQ | NPU_PACKET_CHAIN;
  const bool kernel = queue == 0;
  const bool plain = (packet.flags & ~kPlainFlags) == 0;
  bool good = false;
  switch (packet.opcode) {
    case NPU_PACKET_NOP:
      good = plain && all_zero(packet.body);
      break;
    case NPU_PACKET_JOB:
      good = good_job(as<npu_packet_job>(packet), core_mask, target);
      break;
    case NPU_PACKET_COPY:
      good = kernel && plain && good_copy(as<npu_packet_copy>(packet));
      break;
    case NPU_PACKET_FILL:
      good = kernel && plain && good_fill(as<npu_packet_fill>(packet));
      break;
    case NPU_PACKET_TLB_INVALIDATE:
      good = kernel && plain && good_invalidate(as<npu_packet_tlb_invalidate>(packet), target);
      break;
    case NPU_PACKET_FENCE:
      good = kernel && plain && all_zero(packet.body);
      break;
    default:
      break;
  }
  return good ? NPU_STATUS_OK : NPU_STATUS_BAD_COMMAND;
}

}  // namespace npu::model
