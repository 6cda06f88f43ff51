// SPDX-License-Identifier: MIT
#include "compiler/emit/emitter.h"

#include <algorithm>
#include <cstring>

#include "arch/sram_access.h"

namespace npu::compiler {
namespace {

// Left free at the end of a stream, so that a checkpoint is always in time:
// more than any piece of work between two checkpoints emits.
constexpr size_t kStreamReserve = 2u << 20;

npu_engine engine_of(unsigned opcode) {
  if (opcode == NPU_OP_STORE) return NPU_ENGINE_STORE;
  if (opcode >= NPU_OP_CONV && opcode <= NPU_OP_MATMUL) return NPU_ENGINE_MAC;
  if (opcode == NPU_OP_VEC) return NPU_ENGINE_VEC;
  return NPU_ENGINE_LOAD;
}

uint64_t granule_down(uint64_t address) {
  return address / arch::kHazardGranule * arch::kHazardGranule;
}
uint64_t granule_up(uint64_t address) {
  return granule_down(address + arch::kHazardGranule - 1);
}

}  // namespace

Emitter::Emitter(const npu_target& target) : target_(target) {}

void Emitter::emit(npu_command_dma command) {
  arch::Command record;
  std::memset(record.records, 0, sizeof(record.records));
  std::memcpy(record.records, &command, sizeof(command));
  wait_and_append(record, false);
}

void Emitter::emit(npu_command_mac command, const npu_mac_extension* extension) {
  arch::Command record;
  std::memset(record.records, 0, sizeof(record.records));
  std::memcpy(record.records, &command, sizeof(command));
  if (extension != nullptr) {
    std::memcpy(record.records + NPU_RECORD_BYTES, extension, sizeof(*extension));
  }
  wait_and_append(record, extension != nullptr);
}

void Emitter::emit(npu_command_vec command) {
  command.header.opcode = NPU_OP_VEC;
  arch::Command record;
  std::memset(record.records, 0, sizeof(record.records));
  std::memcpy(record.records, &command, sizeof(command));
  wait_and_append(record, false);
}

void Emitter::wait_and_append(arch::Command& command, bool extended) {
  npu_command_header header = command.header();
  const npu_engine engine = engine_of(header.opcode);
  header.source_op = source_;
  header.engine = engine;
  header.records = extended ? 2 : 1;
  std::memcpy(command.records, &header, sizeof(header));

  struct Access {
    DependencyTracker* tracker;
    uint64_t begin, end;
    bool write;
  };
  std::vector<Access> accesses;
  std::vector<arch::SramAccess> sram;
  arch::append_sram_accesses(command, 0, sram);
  for (const arch::SramAccess& access : sram) {
    accesses.push_back(
        {&sram_, granule_down(access.address), granule_up(access.end()), access.write});
  }
  if (header.opcode == NPU_OP_LOAD || header.opcode == NPU_OP_STORE) {
    const npu_command_dma& dma = command.dma();
    uint64_t end = dma.external_offset + (uint64_t{1} << dma.element_log2);
    for (int i = 0; i < 4; ++i) end += uint64_t{dma.size[i] - 1} * dma.external_stride[i];
    accesses.push_back(
        {&regions_[dma.region], dma.external_offset, end, header.opcode == NPU_OP_STORE});
  }

  Counts need;
  for (const Access& access : accesses) {
    access.tracker->collect(access.begin, access.end, access.write, need);
  }
  int wait = 0;
  for (unsigned other = 0; other < NPU_ENGINE_COUNT; ++other) {
    // An engine's own commands retire in order.
    if (other == engine || need.engine[other] <= waited_[engine].engine[other]) continue;
    waited_[engine].engine[other] = need.engine[other];
    header.wait[wait++] = arch::encode_wait(static_cast<npu_engine>(other), need.engine[other]);
  }
  std::memcpy(command.records, &header, sizeof(header));

  uint32_t count = 0;
  if (engine == NPU_ENGINE_MAC) {
    count = extended ? builder_.append(command.mac(), command.extension())
                     : builder_.append(command.mac());
  } else if (engine == NPU_ENGINE_VEC) {
    count = builder_.append(command.vec());
  } else {
    count = builder_.append(command.dma());
  }
  for (const Access& access : accesses) {
    access.tracker->record(access.begin, access.end, access.write, engine, count);
  }
}

void Emitter::checkpoint() {
  if (held_) return;
  const size_t limit = std::min<size_t>(NPU_STREAM_MAX_BYTES, target_.max_stream_bytes);
  const size_t reserve = std::min(kStreamReserve, limit / 2);
  if (builder_.bytes().size() + reserve > limit) finish_job();
}

void Emitter::finish_job() {
  if (builder_.commands() == 0) return;
  jobs_.push_back({builder_.bytes(), builder_.commands()});
  builder_ = {};
  sram_.clear();
  regions_.clear();
  for (Counts& counts : waited_) counts = {};
  ++generation_;
}

std::vector<JobStream> Emitter::take_jobs() {
  finish_job();
  return std::move(jobs_);
}

uint64_t Emitter::total_bytes() const {
  uint64_t bytes = builder_.bytes().size();
  for (const JobStream& job : jobs_) bytes += job.bytes.size();
  return bytes;
}

}  // namespace npu::compiler
