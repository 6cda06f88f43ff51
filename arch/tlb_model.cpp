// SPDX-License-Identifier: MIT
#include "arch/tlb_model.h"

#include <algorithm>
#include <utility>

#include "npu/mmu.h"

namespace npu::arch {
namespace {

constexpr uint64_t kNoKey = ~uint64_t{0};

}  // namespace

TlbModel::TlbModel(const npu_target& target)
    : group_bytes_(uint64_t{target.dma_granule_bytes / sizeof(uint64_t)} << NPU_MMU_PAGE_SHIFT),
      keys_(target.tlb_entries, kNoKey) {
  for (uint32_t i = 0; i <= target.tlb_entries; ++i)
    links_.push_back({i == 0 ? target.tlb_entries : i - 1, i == target.tlb_entries ? 0 : i + 1});
}

TlbModel::Walks TlbModel::walks(uint32_t region, const npu_command_dma& dma) {
  const ExternalRuns runs = external_runs(dma, group_bytes_);
  // A block that does not fit the TLB misses everywhere and leaves nothing
  // useful behind.
  const uint64_t count = runs.runs();
  const uint64_t groups = count * (runs.bytes / group_bytes_ + 1);
  if (groups > keys_.size()) {
    std::ranges::fill(keys_, kNoKey);
    return {groups, true};
  }
  Walks walks = {};
  bool first = true;
  for_each_unit(runs, group_bytes_, [&](uint64_t group) {
    const bool missed = miss(region, group);
    if (std::exchange(first, false)) walks.first = missed;
    walks.count += missed;
  });
  return walks;
}

uint64_t TlbModel::walks(uint32_t region, uint64_t offset) {
  return miss(region, offset / group_bytes_);
}

void TlbModel::use(uint32_t entry) {
  const auto nobody = static_cast<uint32_t>(keys_.size());
  Link& link = links_[entry];
  links_[link.newer].older = link.older;
  links_[link.older].newer = link.newer;
  link = {nobody, links_[nobody].older};
  links_[link.older].newer = entry;
  links_[nobody].older = entry;
}

bool TlbModel::miss(uint32_t region, uint64_t group) {
  if (region >= beyond_.size()) beyond_.resize(region + 1, 0);
  const uint64_t key = uint64_t{region} << 40 | group;
  auto found = keys_.end();
  if (group < beyond_[region]) found = std::ranges::find(keys_, key);
  beyond_[region] = std::max(beyond_[region], group + 1);
  const bool missed = found == keys_.end();
  const uint32_t entry =
      missed ? links_.back().newer : static_cast<uint32_t>(found - keys_.begin());
  keys_[entry] = key;
  use(entry);
  return missed;
}

}  // namespace npu::arch
