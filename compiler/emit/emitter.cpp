// SPDX-License-Identifier: MIT
#include "compiler/emit/emitter.h"

#include <algorithm>
#include <cstring>
#include <utility>

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

// The blocks of an access, or its whole range if there are many of them.
template <typename Visit>
void for_each_block(arch::SramAccess& access, Visit visit) {
  constexpr uint64_t kMostBlocks = 64;
  access.simplify();
  uint64_t blocks = 1;
  for (const uint32_t count : access.count) blocks *= count;
  if (blocks > kMostBlocks) {
    visit(access.address, access.end());
    return;
  }
  for (uint64_t i = 0; i < blocks; ++i) {
    uint64_t at = access.address, left = i;
    for (int d = 0; d < 4; ++d) {
      at += access.stride[d] * (left % access.count[d]);
      left /= access.count[d];
    }
    visit(at, at + access.bytes);
  }
}

}  // namespace

Emitter::Emitter(const npu_target& target, unsigned cores) : target_(target), cores_(cores) {}

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
  arch::append_sram_accesses(command, core_, sram);
  for (arch::SramAccess& access : sram) {
    DependencyTracker& tracker = cores_[access.core].sram;
    for_each_block(access, [&](uint64_t begin, uint64_t end) {
      accesses.push_back({&tracker, granule_down(begin), granule_up(end), access.write});
    });
  }
  if (header.opcode == NPU_OP_LOAD || header.opcode == NPU_OP_STORE) {
    npu_command_dma dma = command.dma();
    const auto& bases = cores_[core_].region_base;
    if (const auto base = bases.find(dma.region); base != bases.end()) {
      dma.external_offset += base->second;
      std::memcpy(command.records, &dma, sizeof(dma));
    }
    arch::SramAccess external;  // as a shape: the same blocks and strides
    external.address = dma.external_offset;
    external.bytes = uint64_t{1} << dma.element_log2;
    for (int i = 0; i < 4; ++i) {
      external.count[i] = dma.size[i];
      external.stride[i] = dma.external_stride[i];
    }
    for_each_block(external, [&](uint64_t begin, uint64_t end) {
      accesses.push_back({&regions_[dma.region], begin, end, header.opcode == NPU_OP_STORE});
    });
  }

  Counts need;
  for (const Access& access : accesses) {
    access.tracker->collect(access.begin, access.end, access.write, need);
  }
  add_waits(header, engine, need);
  std::memcpy(command.records, &header, sizeof(header));

  arch::StreamBuilder& builder = cores_[core_].builder;
  uint32_t count = 0;
  if (engine == NPU_ENGINE_MAC) {
    count = extended ? builder.append(command.mac(), command.extension())
                     : builder.append(command.mac());
  } else if (engine == NPU_ENGINE_VEC) {
    count = builder.append(command.vec());
  } else {
    count = builder.append(command.dma());
  }
  for (const Access& access : accesses) {
    access.tracker->record(access.begin, access.end, access.write, {core_, engine}, count);
  }
}

void Emitter::add_waits(npu_command_header& header, npu_engine engine, const Counts& need) {
  Counts& waited = cores_[core_].waited[engine];
  const unsigned self = Executor{core_, engine}.index();
  npu_command_header barrier = {};
  int waits = 0, barrier_waits = 0;
  for (unsigned core = 0; core < cores_.size(); ++core) {
    for (unsigned other = 0; other < NPU_ENGINE_COUNT; ++other) {
      const unsigned index = Executor{core, static_cast<npu_engine>(other)}.index();
      // An engine's own commands retire in order.
      if (index == self || need.of[index] <= waited.of[index]) continue;
      waited.of[index] = need.of[index];
      const uint32_t wait = arch::encode_wait(static_cast<npu_engine>(other), need.of[index], core);
      if (waits < NPU_WAITS) {
        header.wait[waits++] = wait;
        continue;
      }
      if (barrier_waits == NPU_WAITS) {
        cores_[core_].builder.append_nop(barrier);
        barrier = {};
        barrier_waits = 0;
      }
      barrier.source_op = source_;
      barrier.wait[barrier_waits++] = wait;
    }
  }
  if (barrier_waits > 0) cores_[core_].builder.append_nop(barrier);
}

size_t Emitter::longest_stream() const {
  size_t bytes = 0;
  for (const Core& core : cores_) bytes = std::max(bytes, core.builder.bytes().size());
  return bytes;
}

void Emitter::checkpoint() {
  if (held_) return;
  const size_t limit = std::min<size_t>(NPU_STREAM_MAX_BYTES, target_.max_stream_bytes);
  const size_t reserve = std::min(kStreamReserve, limit / 2);
  if (longest_stream() + reserve > limit) finish_job();
}

void Emitter::finish_job() {
  if (longest_stream() == 0) return;
  Job job;
  for (Core& core : cores_) {
    if (core.builder.commands() == 0) core.builder.append_nop();  // a core without work
    job.streams.push_back({core.builder.bytes(), core.builder.commands()});
    core.builder = {};
    core.sram.clear();
    for (Counts& counts : core.waited) counts = {};
  }
  jobs_.push_back(std::move(job));
  regions_.clear();
  ++generation_;
}

std::vector<Job> Emitter::take_jobs() {
  finish_job();
  return std::move(jobs_);
}

uint64_t Emitter::total_bytes() const {
  uint64_t bytes = 0;
  for (const Core& core : cores_) bytes += core.builder.bytes().size();
  for (const Job& job : jobs_)
    for (const JobStream& stream : job.streams) bytes += stream.bytes.size();
  return bytes;
}

}  // namespace npu::compiler
