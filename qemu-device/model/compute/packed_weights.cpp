// SPDX-License-Identifier: MIT
#include "compute/packed_weights.h"

#include <algorithm>
#include <cstring>

namespace npu::model {
namespace {

// Rows are the depth: four of them interleave into one.
void pack_kn(const PackTask& t) {
  const size_t groups = (t.depth + kGemmDepth - 1) / kGemmDepth;
  std::memset(t.panel, 0, groups * t.padded * kGemmDepth);
  std::fill_n(t.totals, t.padded, 0);
  for (size_t k = 0; k < t.depth; ++k) {
    const uint8_t* from = t.weights + k * t.stride;
    int8_t* to = t.panel + k / kGemmDepth * t.padded * kGemmDepth + k % kGemmDepth;
    for (size_t c = 0; c < t.columns; ++c) {
      const auto w = static_cast<int8_t>(from[c] ^ t.flip);
      to[c * kGemmDepth] = w;
      t.totals[c] += w;
    }
  }
}

void pack(const uint8_t* sram, const Kernels& kernels, PackedWeights& out) {
  const WeightLayout& l = out.layout;
  out.panels.resize(l.packed_bytes());
  out.totals.resize(l.padded_group() * l.groups);
  for (uint32_t group = 0; group < l.groups; ++group) {
    for (uint32_t column = 0; column < l.group_out; column += kPanelColumns) {
      const size_t channel = size_t{group} * l.group_out + column;
      PackTask task;
      task.stride = l.stride;
      task.weights = sram + l.address + (l.kn ? channel : channel * l.stride);
      task.columns = std::min<size_t>(kPanelColumns, l.group_out - column);
      task.depth = l.depth;
      task.flip = l.is_signed ? 0 : 0x80;
      task.padded = std::min<size_t>(kPanelColumns, l.padded_group() - column);
      task.panel = const_cast<int8_t*>(out.panel(group, column));
      task.totals = const_cast<int32_t*>(out.total(group, column));
      if (l.kn)
        pack_kn(task);
      else
        kernels.pack(task);
    }
  }
}

}  // namespace

std::shared_ptr<const PackedWeights> PackedWeightsCache::get(const WeightLayout& layout,
                                                             const uint8_t* sram,
                                                             const Kernels& kernels) {
  const auto known = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const auto& entry) { return entry->layout == layout; });
  if (known != entries_.end()) {
    entries_.splice(entries_.begin(), entries_, known);
    return entries_.front();
  }
  std::shared_ptr<PackedWeights> packed = spare_ != nullptr && spare_.use_count() == 1
                                              ? std::move(spare_)
                                              : std::make_shared<PackedWeights>();
  spare_.reset();
  packed->layout = layout;
  pack(sram, kernels, *packed);
  entries_.push_front(packed);
  bytes_ += layout.packed_bytes();
  while (entries_.size() > 1 && (entries_.size() > kMaxEntries || bytes_ > kMaxBytes))
    drop(std::prev(entries_.end()));
  return packed;
}

void PackedWeightsCache::drop(std::list<std::shared_ptr<PackedWeights>>::iterator entry) {
  bytes_ -= (*entry)->layout.packed_bytes();
  spare_ = std::move(*entry);
  entries_.erase(entry);
}

void PackedWeightsCache::invalidate(uint64_t begin, uint64_t end) {
  for (auto i = entries_.begin(); i != entries_.end();) {
    const auto entry = i++;
    const WeightLayout& layout = (*entry)->layout;
    if (layout.address < end && begin < layout.end()) drop(entry);
  }
}

}  // namespace npu::model
