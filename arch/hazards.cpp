// SPDX-License-Identifier: MIT
//
// Each granule of SRAM remembers its last write and the last read of every engine
// since; because an engine executes in order, and because an unordered pair would
// have been reported already, comparing with those few events is enough.
#include "arch/hazards.h"

#include <algorithm>
#include <bit>

#include "arch/gang_order.h"
#include "arch/hazard_screen.h"
#include "arch/text.h"

namespace npu::arch {

HazardDetector::Sram::Sram(uint64_t granules)
    : boundaries(granules),
      cell_at(std::make_unique_for_overwrite<uint32_t[]>(granules)),
      cells(1),
      lost(granules) {
  boundaries.insert(0);
  cell_at[0] = 0;
}

HazardDetector::HazardDetector(unsigned gang, const npu_target& target)
    : granules_((uint64_t{target.sram_bytes} + kHazardGranule - 1) / kHazardGranule),
      clocks_(gang) {
  for (unsigned core = 0; core < gang; ++core) srams_.emplace_back(granules_);
}

bool HazardDetector::add(const Command& command, unsigned core, uint32_t index,
                         StreamError& error) {
  clocks_.start(command, core);
  const unsigned engine = command.engine();
  if (command.opcode() == NPU_OP_YIELD)
    visit_lost(command.yield(), granules_, kHazardGranule,
               [&](uint64_t first, uint64_t last) { lose(srams_[core], first, last); });

  accesses_.clear();
  append_sram_accesses(command, core, accesses_);
  for (SramAccess& access : accesses_) access.simplify(kHazardGranule - 1);
  // Reads first: what the command itself reads must not lie in what it writes.
  for (const bool write : {false, true}) {
    for (const SramAccess& access : accesses_) {
      if (access.write != write) continue;
      const unsigned slot = access.core == core ? engine : NPU_ENGINE_COUNT + core;
      Conflict conflict;
      this->access(access, slot, conflict);
      if (conflict.found) {
        report(command, core, index, access, conflict, error);
        return false;
      }
    }
  }
  return true;
}

// What has been written of granules first..last.
void HazardDetector::lose(Sram& sram, uint64_t first, uint64_t last) {
  for (uint64_t at = sram.boundaries.at_or_before(first); at <= last;) {
    ++touched_;
    const uint64_t next = sram.boundaries.after(at);
    if (sram.cells[sram.cell_at[at]].write != 0)
      sram.lost.insert(std::max(at, first), std::min(next - 1, last));
    at = next;
  }
}

void HazardDetector::access(const SramAccess& access, unsigned slot, Conflict& conflict) {
  Sram& sram = srams_[access.core];
  const auto touch = [&](uint64_t begin, uint64_t end) {
    touch_run(sram, begin / kHazardGranule, (end - 1) / kHazardGranule, access, slot, conflict);
    return !conflict.found;
  };
  access.visit_blocks([](uint64_t, uint64_t) { return true; }, touch);
  if (!conflict.found) meet_lost(sram, access, conflict);
}

// A write makes good what it touches, a read must not touch any.
void HazardDetector::meet_lost(Sram& sram, const SramAccess& access, Conflict& conflict) {
  const auto find = [&](uint64_t begin, uint64_t end) {
    ++touched_;
    const uint64_t granule = sram.lost.at_or_after(begin / kHazardGranule);
    return granule <= (end - 1) / kHazardGranule ? granule : GranuleSet::kNone;
  };
  const auto any = [&](uint64_t begin, uint64_t end) {
    return find(begin, end) != GranuleSet::kNone;
  };
  if (!any(access.address, access.end())) return;
  if (access.write) {
    access.visit_blocks(any, [&](uint64_t begin, uint64_t end) {
      ++touched_;
      sram.lost.erase(begin / kHazardGranule, (end - 1) / kHazardGranule);
      return true;
    });
    return;
  }
  access.visit_blocks(any, [&](uint64_t begin, uint64_t end) {
    const uint64_t granule = find(begin, end);
    if (granule == GranuleSet::kNone) return true;
    const Cell& cell = sram.cells[sram.cell_at[sram.boundaries.at_or_before(granule)]];
    conflict = {.found = true,
                .other_writes = true,
                .lost = true,
                .slot = cell.writer,
                .count = cell.write,
                .address = std::max(granule * kHazardGranule, access.address)};
    return false;
  });
}

// Granules first..last.
void HazardDetector::touch_run(Sram& sram, uint64_t first, uint64_t last, const SramAccess& access,
                               unsigned slot, Conflict& conflict) {
  const bool records = access.write || !access.in_place;
  if (records) {
    split(sram, first);
    if (last + 1 < granules_) split(sram, last + 1);
  }
  for (uint64_t at = sram.boundaries.at_or_before(first); at <= last;
       at = sram.boundaries.after(at)) {
    ++touched_;
    if (!update(sram.cells[sram.cell_at[at]], access, slot, conflict)) {
      conflict.address = std::max(std::max(at, first) * kHazardGranule, access.address);
      return;
    }
    // All that is written holds the same.
    if (access.write && at != first) {
      sram.unused.push_back(sram.cell_at[at]);
      sram.boundaries.erase(at);
    }
  }
}

// Makes `granule` a boundary.
void HazardDetector::split(Sram& sram, uint64_t granule) {
  if (sram.boundaries.contains(granule)) return;
  const uint32_t whole = sram.cell_at[sram.boundaries.at_or_before(granule)];
  uint32_t part = static_cast<uint32_t>(sram.cells.size());
  if (sram.unused.empty()) {
    sram.cells.push_back(Cell(sram.cells[whole]));
  } else {
    part = sram.unused.back();
    sram.unused.pop_back();
    sram.cells[part] = sram.cells[whole];
  }
  sram.cell_at[granule] = part;
  sram.boundaries.insert(granule);
}

bool HazardDetector::ordered(unsigned sram_core, unsigned slot, uint32_t count) const {
  return slot < NPU_ENGINE_COUNT ? clocks_.known(sram_core, slot) >= count
                                 : clocks_.known(slot - NPU_ENGINE_COUNT, NPU_ENGINE_LOAD) >= count;
}

bool HazardDetector::update(Cell& cell, const SramAccess& access, unsigned slot,
                            Conflict& conflict) const {
  // The two parts of a tensor in a ring may share a granule.
  if (access.write && cell.writer == slot && cell.write == clocks_.count()) return true;
  if (cell.write != 0 && !ordered(access.core, cell.writer, cell.write)) {
    conflict = {true, true, false, cell.writer, cell.write, 0};
    return false;
  }
  if (!access.write) {
    // An operand in place is replaced by the command's own write.
    if (access.in_place) return true;
    cell.read[slot] = clocks_.count();
    cell.readers |= static_cast<uint16_t>(1u << slot);
    return true;
  }
  for (unsigned left = cell.readers; left != 0; left &= left - 1) {
    const unsigned other = static_cast<unsigned>(std::countr_zero(left));
    if (!ordered(access.core, other, cell.read[other])) {
      conflict = {true, false, false, other, cell.read[other], 0};
      return false;
    }
  }
  cell.readers = 0;
  cell.write = clocks_.count();
  cell.writer = static_cast<uint16_t>(slot);
  return true;
}

void HazardDetector::report(const Command& command, unsigned core, uint32_t index,
                            const SramAccess& access, const Conflict& conflict,
                            StreamError& error) const {
  const npu_command_header& header = command.header();
  error = {};
  error.status = NPU_STATUS_HAZARD;
  error.command = index;
  error.engine = header.engine;
  error.core = static_cast<uint8_t>(core);
  error.source_op = header.source_op;
  error.address = conflict.address;
  const unsigned other_core =
      conflict.slot < NPU_ENGINE_COUNT ? access.core : conflict.slot - NPU_ENGINE_COUNT;
  const unsigned other_engine =
      conflict.slot < NPU_ENGINE_COUNT ? conflict.slot : unsigned{NPU_ENGINE_LOAD};
  error.text =
      format_text("core %u, command %u (%s, operator %u) %s SRAM %#llx", core, index,
                  opcode_name(header.opcode), header.source_op, access.write ? "writes" : "reads",
                  static_cast<unsigned long long>(error.address));
  if (other_core == core && other_engine == header.engine && conflict.count == clocks_.count())
    error.text += ", which it also reads";
  else if (conflict.lost)
    error.text += format_text(
        ", which command number %u of %s on core %u writes before a YIELD that does not keep it",
        conflict.count, engine_name(other_engine), other_core);
  else
    error.text += format_text(", which command number %u of %s on core %u %s; no wait orders them",
                              conflict.count, engine_name(other_engine), other_core,
                              conflict.other_writes ? "writes" : "reads");
}

bool check_hazards(std::span<const Stream> streams, const npu_target& target, StreamError& error) {
  const auto gang = static_cast<unsigned>(streams.size());
  const auto all = [streams](const auto& take) {
    GangOrder order(streams);
    unsigned core;
    uint32_t index;
    while (order.next(core, index))
      if (!take(streams[core][index], core, index)) return false;
    return true;
  };
  HazardScreen screen(gang, target);
  if (all([&](const Command& command, unsigned core, uint32_t) {
        return screen.add(command, core);
      }))
    return true;
  HazardDetector detector(gang, target);
  return all([&](const Command& command, unsigned core, uint32_t index) {
    return detector.add(command, core, index, error);
  });
}

}  // namespace npu::arch
