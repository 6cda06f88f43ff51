// SPDX-License-Identifier: MIT
#include "arch/tlb_model.h"

#include <utility>

#include "npu/mmu.h"

namespace npu::arch {

TlbModel::TlbModel(const npu_target& target)
    : group_bytes_(uint64_t{target.dma_granule_bytes / sizeof(uint64_t)} << NPU_MMU_PAGE_SHIFT),
      entries_(target.tlb_entries) {}

TlbModel::Walks TlbModel::walks(uint32_t region, const npu_command_dma& dma) {
  const ExternalRuns runs = external_runs(dma, group_bytes_);
  // A block that does not fit the TLB misses everywhere and leaves nothing
  // useful behind.
  const uint64_t count = runs.runs();
  const uint64_t groups = count * (runs.bytes / group_bytes_ + 1);
  if (groups > entries_.size()) {
    for (Entry& entry : entries_) entry = {};
    return {groups, true};
  }
  Walks walks = {};
  bool first = true;
  for_each_unit(runs, group_bytes_, [&](uint64_t group) {
    const bool missed = miss(uint64_t{region} << 40 | group);
    if (std::exchange(first, false)) walks.first = missed;
    walks.count += missed;
  });
  return walks;
}

uint64_t TlbModel::walks(uint32_t region, uint64_t offset) {
  return miss(uint64_t{region} << 40 | offset / group_bytes_);
}

// Least recently used entry goes.
bool TlbModel::miss(uint64_t key) {
  Entry* oldest = &entries_[0];
  for (Entry& entry : entries_) {
    if (entry.key == key) {
      entry.used = ++clock_;
      return false;
    }
    if (entry.used < oldest->used) oldest = &entry;
  }
  *oldest = {key, ++clock_};
  return true;
}

}  // namespace npu::arch
