// SPDX-License-Identifier: MIT
#include "arch/hazard_screen.h"

#include <algorithm>

namespace npu::arch {
namespace {

constexpr uint64_t kOperandCost = 8;  // of a comparison that needs the operands, beside ranges

// May granules of both be the same?
bool granules_meet(SramAccess a, SramAccess b) {
  a.simplify(kHazardGranule - 1);
  b.simplify(kHazardGranule - 1);
  return !a.apart(b, kHazardGranule);
}

}  // namespace

void LostSram::yield(const npu_command_yield& yield) {
  if (columns_) make_good(*columns_);
  columns_.reset();
  visit_lost(yield, granules_, kHazardGranule,
             [this](uint64_t first, uint64_t last) { lost_.insert(first, last); });
}

void LostSram::make_good(const SramAccess& access) {
  access.visit_blocks([this](uint64_t begin, uint64_t end) { return any(begin, end); },
                      [this](uint64_t begin, uint64_t end) {
                        ++visited_;
                        lost_.erase(begin / kHazardGranule, (end - 1) / kHazardGranule);
                        return true;
                      });
}

void LostSram::write(SramAccess access) {
  if (!any(access.address, access.end())) return;
  access.simplify(kHazardGranule - 1);
  if (access.count[0] == 1) {
    make_good(access);
    return;
  }
  if (columns_ && columns_->address + columns_->bytes == access.address &&
      std::ranges::equal(columns_->stride, access.stride) &&
      std::ranges::equal(columns_->count, access.count)) {
    columns_->bytes += access.bytes;
    columns_->simplify(kHazardGranule - 1);
    if (columns_->count[0] != 1) return;
    make_good(*columns_);
    columns_.reset();
    return;
  }
  if (columns_) make_good(*columns_);
  columns_ = access;
}

bool LostSram::reads_lost(SramAccess access) {
  if (!any(access.address, access.end())) return false;
  access.simplify(kHazardGranule - 1);
  if (columns_) make_good(*columns_);
  columns_.reset();
  return !access.visit_blocks([this](uint64_t begin, uint64_t end) { return any(begin, end); },
                              [this](uint64_t begin, uint64_t end) {
                                ++visited_;
                                return !any(begin, end);
                              });
}

HazardScreen::HazardScreen(unsigned gang, const npu_target& target)
    : gang_(gang),
      granules_((uint64_t{target.sram_bytes} + kHazardGranule - 1) / kHazardGranule),
      clocks_(gang),
      last_(size_t{gang} * gang * NPU_ENGINE_COUNT),
      lost_(gang) {
  past_.reserve(512);
  accesses_.reserve(16);
}

uint64_t HazardScreen::compared() const {
  uint64_t work = compared_;
  for (const auto& sram : lost_)
    if (sram) work += sram->visited();
  return work;
}

bool HazardScreen::add(const Command& command, unsigned core) {
  clocks_.start(command, core);
  if (command.opcode() == NPU_OP_YIELD) {
    if (!lost_[core]) lost_[core].emplace(granules_);
    lost_[core]->yield(command.yield());
    return true;
  }
  accesses_.clear();
  append_sram_accesses(command, core, accesses_);
  compared_before_ = compared_;
  for (uint32_t which = 0; which < accesses_.size(); ++which) {
    const SramAccess& access = accesses_[which];
    Last& own = last(access.core, core, command.engine());
    uint32_t& before = access.write ? own.write : own.read;
    const Past now = {.command = &command,
                      .count = clocks_.count(),
                      .previous = before,
                      .first = static_cast<uint32_t>(access.address / kHazardGranule),
                      .last = static_cast<uint32_t>((access.end() - 1) / kHazardGranule),
                      .which = which};
    if (!free_of_conflict(access, now, core, command.engine())) return false;
    before = static_cast<uint32_t>(past_.size());
    past_.push_back(now);
  }
  return free_of_own_conflict(std::span(past_).last(accesses_.size())) && finds_nothing_lost();
}

// With the engines that can reach the SRAM: the own four, and LOAD of the others.
bool HazardScreen::free_of_conflict(const SramAccess& access, const Past& now, unsigned core,
                                    unsigned engine) {
  for (unsigned other_core = 0; other_core < gang_; ++other_core) {
    static_assert(NPU_ENGINE_LOAD == 0);
    const unsigned engines = other_core == access.core ? NPU_ENGINE_COUNT : NPU_ENGINE_LOAD + 1;
    for (unsigned other = 0; other < engines; ++other) {
      if (other == engine && other_core == core) continue;
      const Last& before = last(access.core, other_core, other);
      if (!free_of_conflict(access, now, before.write, other_core, other) ||
          (access.write && !free_of_conflict(access, now, before.read, other_core, other)))
        return false;
    }
  }
  return true;
}

// With one engine's accesses from `last` back to the first that has retired by now.
bool HazardScreen::free_of_conflict(const SramAccess& access, const Past& now, uint32_t last,
                                    unsigned core, unsigned engine) {
  const uint32_t known = clocks_.known(core, engine);
  for (uint32_t at = last; at != kNone && past_[at].count > known; at = past_[at].previous) {
    if (++compared_ - compared_before_ > kMostCompared) return false;
    const Past& past = past_[at];
    if (!now.overlaps(past)) continue;
    compared_ += kOperandCost;
    others_.clear();
    append_sram_accesses(*past.command, core, others_);
    if (granules_meet(access, others_[past.which])) return false;
  }
  return true;
}

// What the command itself reads must not lie in what it writes, unless it is
// replaced in place.
bool HazardScreen::free_of_own_conflict(std::span<const Past> own) {
  for (size_t w = 0; w < own.size(); ++w) {
    if (!accesses_[w].write) continue;
    for (size_t r = 0; r < own.size(); ++r) {
      const SramAccess& read = accesses_[r];
      if (read.write || read.in_place || read.core != accesses_[w].core) continue;
      ++compared_;
      if (own[r].overlaps(own[w]) && granules_meet(read, accesses_[w])) return false;
    }
  }
  return true;
}

bool HazardScreen::finds_nothing_lost() {
  for (const SramAccess& access : accesses_)
    if (!access.write && lost_[access.core] && lost_[access.core]->reads_lost(access)) return false;
  for (const SramAccess& access : accesses_)
    if (access.write && lost_[access.core]) lost_[access.core]->write(access);
  return true;
}

}  // namespace npu::arch
