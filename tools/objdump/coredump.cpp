// SPDX-License-Identifier: MIT
#include "tools/objdump/coredump.h"

#include <algorithm>
#include <cstring>

#include "arch/target.h"
#include "tools/common/program.h"

namespace npu::tools {
namespace {

using Bytes = std::span<const std::byte>;

// As many whole T as the bytes hold.
template <typename T>
std::vector<T> array_of(Bytes bytes) {
  std::vector<T> items(bytes.size() / sizeof(T));
  if (!items.empty()) std::memcpy(items.data(), bytes.data(), items.size() * sizeof(T));
  return items;
}

// A struct that a newer driver may have made longer, and an older one shorter.
template <typename T>
T struct_of(Bytes bytes) {
  T item = {};
  std::memcpy(&item, bytes.data(), std::min(sizeof item, bytes.size()));
  return item;
}

Coredump::Ring ring_of(uint64_t hwq, Bytes bytes) {
  const auto raw = struct_of<drm_npu_dump_ring>(bytes);
  Coredump::Ring ring = {.hwq = static_cast<uint32_t>(hwq),
                         .producer = raw.producer,
                         .consumer = raw.consumer,
                         .first = raw.first,
                         .slots = {}};
  constexpr size_t kHead = offsetof(drm_npu_dump_ring, slot);
  if (bytes.size() < kHead) return ring;
  static_assert(sizeof(Coredump::Slot) == sizeof(drm_npu_dump_slot));
  ring.slots = array_of<Coredump::Slot>(bytes.subspan(kHead));
  if (ring.slots.size() > DRM_NPU_DUMP_RING_SLOTS) ring.slots.resize(DRM_NPU_DUMP_RING_SLOTS);
  return ring;
}

void take_section(Coredump& dump, const drm_npu_dump_section& section, Bytes payload) {
  switch (section.type) {
    case DRM_NPU_DUMP_EVENT:
      dump.event = struct_of<drm_npu_dump_event>(payload);
      dump.event.device[sizeof dump.event.device - 1] = '\0';
      dump.event.release[sizeof dump.event.release - 1] = '\0';
      dump.event.comm[sizeof dump.event.comm - 1] = '\0';
      break;
    case DRM_NPU_DUMP_TARGET:
      dump.target = struct_of<npu_target>(payload);
      dump.target->name[sizeof dump.target->name - 1] = '\0';
      break;
    case DRM_NPU_DUMP_REGISTERS: {
      auto offset = static_cast<uint32_t>(section.address);
      for (const uint32_t value : array_of<uint32_t>(payload)) {
        dump.registers.push_back({offset, value});
        offset += 4;
      }
      break;
    }
    case DRM_NPU_DUMP_RING:
      dump.ring = ring_of(section.address, payload);
      break;
    case DRM_NPU_DUMP_WALK:
      dump.walk_va = section.address;
      dump.walk = array_of<uint64_t>(payload);
      break;
    case DRM_NPU_DUMP_REGIONS:
      dump.regions_va = section.address;
      dump.regions = array_of<uint64_t>(payload);
      break;
    case DRM_NPU_DUMP_STREAM:
      dump.stream_va = section.address;
      dump.stream.assign(payload.begin(), payload.end());
      break;
    default:  // a later driver's
      break;
  }
}

}  // namespace

Coredump parse_coredump(Bytes data, const std::string& name) {
  const auto bad = [&](const std::string& text) {
    throw ToolError(kExitBadInput, name + ": " + text);
  };
  const auto header = struct_of<drm_npu_dump_header>(data);
  if (data.size() < sizeof header || header.magic != DRM_NPU_DUMP_MAGIC)
    bad("this is not a coredump of an NPU");
  if (header.version != DRM_NPU_DUMP_VERSION)
    throw ToolError(kExitVersion, name + ": a coredump of version " +
                                      std::to_string(header.version) + "; this program knows " +
                                      std::to_string(DRM_NPU_DUMP_VERSION));
  if (header.bytes > data.size()) bad("the file is cut off");

  Coredump dump;
  data = data.first(header.bytes);
  for (size_t at = sizeof header; at < data.size();) {
    const Bytes rest = data.subspan(at);
    const auto section = struct_of<drm_npu_dump_section>(rest);
    if (rest.size() < sizeof section || section.bytes > rest.size() - sizeof section)
      bad("a section reaches beyond the end of the file");
    if (at == sizeof header && section.type != DRM_NPU_DUMP_EVENT)
      bad("the first section does not say what happened");
    take_section(dump, section, rest.subspan(sizeof section, section.bytes));
    at += sizeof section + (size_t{section.bytes} + 7) / 8 * 8;
  }
  if (dump.event.reason == 0) bad("nothing in it says what happened");
  return dump;
}

std::vector<RawCommand> raw_commands(Bytes stream) {
  std::vector<RawCommand> list;
  for (size_t at = 0; at + NPU_RECORD_BYTES <= stream.size();) {
    RawCommand raw = {.index = static_cast<uint32_t>(list.size()), .command = {}};
    const bool two = static_cast<uint8_t>(stream[at]) == 2;
    const size_t bytes =
        std::min<size_t>(two ? 2 * NPU_RECORD_BYTES : NPU_RECORD_BYTES, stream.size() - at);
    std::memcpy(raw.command.records, &stream[at], bytes);
    list.push_back(raw);
    at += bytes;
  }
  return list;
}

std::string stream_problem(const Coredump& dump) {
  if (!dump.target || dump.stream.empty() || !arch::validate_target(*dump.target).empty())
    return "";
  // The gang's size decides what waits may say; a job's packet has it.
  unsigned gang = dump.target->cores;
  if (dump.ring) {
    const uint64_t slot = dump.event.packet - dump.ring->first;
    if (slot < dump.ring->slots.size()) {
      npu_packet_job job;
      std::memcpy(&job, &dump.ring->slots[slot].packet, sizeof job);
      if (job.opcode == NPU_PACKET_JOB && job.stream_count != 0 && job.stream_count <= gang)
        gang = job.stream_count;
    }
  }
  arch::Stream stream;
  arch::StreamError error;
  const unsigned core = std::min<unsigned>(dump.event.fault.core, gang - 1);
  const size_t whole = dump.stream.size() / NPU_RECORD_BYTES * NPU_RECORD_BYTES;
  bool good =
      arch::decode_stream({dump.stream.data(), whole}, *dump.target, core, gang, stream, error);
  if (good && gang == 1)
    good = arch::check_deadlock({&stream, 1}, error) &&
           arch::check_hazards({&stream, 1}, *dump.target, error);
  if (good) return "";
  return std::string(arch::status_name(error.status)) + ": " + error.text;
}

}  // namespace npu::tools
