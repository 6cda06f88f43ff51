// SPDX-License-Identifier: MIT
#include "save_area.h"

#include <cstring>

namespace npu::model {

// move(SRAM, bytes, bus address)
template <typename Move>
npu_status_code SaveArea::for_each_range(const Job& job, const Memories& memories, Move move) {
  uint64_t at = address_ + sizeof(npu_save_header);
  for (unsigned core = 0; data_ && core < job.cores.size(); ++core) {
    const npu_command_yield* yield = job.yield_of(core);
    if (yield == nullptr) continue;
    CoreMemory& memory = *memories[job.cores[core]];
    for (uint32_t i = 0; i < yield->range_count; ++i) {
      const auto& range = yield->live[i];
      const npu_status_code status = move(memory, range.address, range.bytes, at);
      if (status != NPU_STATUS_OK) return status;
      at += range.bytes;
    }
  }
  return NPU_STATUS_OK;
}

// The first stream's YIELD stands for all.
Fault SaveArea::fault_of(const Job& job, npu_status_code status, npu_access access) const {
  Fault fault = Fault::of(status, status == NPU_STATUS_OK ? 0 : bus_.fault_address());
  if (fault.ok()) return fault;
  fault.access = access;
  fault.engine = NPU_ENGINE_DISPATCH;
  for (unsigned core = 0; core < job.streams.size(); ++core) {
    const npu_command_yield* yield = job.yield_of(core);
    if (yield == nullptr) continue;
    fault.command = job.streams[core].current;
    fault.core = static_cast<uint8_t>(core);
    fault.source_op = yield->header.source_op;
    break;
  }
  return fault;
}

npu_save_header SaveArea::header_of(const Job& job, uint64_t preemption) const {
  npu_save_header header = {};
  header.magic = NPU_SAVE_MAGIC;
  header.packet = job.packet_index;
  header.preemption = preemption;
  header.bytes = job.save_bytes() - sizeof(header);
  return header;
}

Fault SaveArea::save(const Job& job, const Memories& memories) {
  npu_status_code status = for_each_range(
      job, memories, [this](CoreMemory& memory, uint32_t sram, uint32_t bytes, uint64_t at) {
        return bus_.write(NPU_MEMORY_HOST, at, memory.sram() + sram, bytes);
      });
  const npu_save_header header = header_of(job, job.preemptions);
  if (status == NPU_STATUS_OK)
    status = bus_.write(NPU_MEMORY_HOST, address_, &header, sizeof(header));
  return fault_of(job, status, NPU_ACCESS_WRITE);
}

Fault SaveArea::restore(const Job& job, const Memories& memories) {
  for (const unsigned core : job.cores) memories[core]->clear();
  npu_save_header found;
  const npu_save_header expected = header_of(job, job.preemptions - 1);
  npu_status_code status = bus_.read(NPU_MEMORY_HOST, address_, &found, sizeof(found));
  if (status == NPU_STATUS_OK && std::memcmp(&found, &expected, sizeof(found)) != 0) {
    Fault fault = fault_of(job, NPU_STATUS_DMA_ERROR, NPU_ACCESS_READ);
    fault.address = address_;
    return fault;
  }
  if (status == NPU_STATUS_OK)
    status = for_each_range(job, memories,
                            [this](CoreMemory& memory, uint32_t sram, uint32_t bytes, uint64_t at) {
                              memory.note_sram(sram, uint64_t{sram} + bytes);
                              return bus_.read(NPU_MEMORY_HOST, at, memory.sram() + sram, bytes);
                            });
  return fault_of(job, status, NPU_ACCESS_READ);
}

}  // namespace npu::model
