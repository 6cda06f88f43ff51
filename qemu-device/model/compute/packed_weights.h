// SPDX-License-Identifier: MIT
//
// A command's weights in the order in which the matrix kernels read them, and
// the packings of recent commands: tiles of a layer use the same weights again
// and again.
#ifndef NPU_MODEL_COMPUTE_PACKED_WEIGHTS_H_
#define NPU_MODEL_COMPUTE_PACKED_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "compute/kernels.h"

namespace npu::model {

// Weights in SRAM. Each group of output channels is cut into panels of
// kPanelColumns, the last one narrower.
struct WeightLayout {
  uint32_t address = 0, stride = 0;
  uint32_t depth = 0;  // values per output channel
  uint32_t groups = 0, group_out = 0;
  bool is_signed = false;
  bool kn = false;  // rows are the depth
  bool operator==(const WeightLayout&) const = default;

  size_t padded_depth() const { return (depth + kGemmDepth - 1) / kGemmDepth * kGemmDepth; }
  size_t padded_group() const {
    return (group_out + kGemmColumns - 1) / kGemmColumns * kGemmColumns;
  }
  size_t packed_bytes() const { return padded_depth() * padded_group() * groups; }
  uint64_t end() const {
    return kn ? address + uint64_t{depth - 1} * stride + uint64_t{groups} * group_out
              : address + (uint64_t{groups} * group_out - 1) * stride + depth;
  }
};

struct PackedWeights {
  WeightLayout layout;
  std::vector<int8_t> panels;   // unsigned weights minus 128
  std::vector<int32_t> totals;  // of each padded column

  // Columns of a group start at a multiple of the padded group.
  const int8_t* panel(unsigned group, unsigned column) const {
    return panels.data() + (size_t{group} * layout.padded_group() + column) * layout.padded_depth();
  }
  const int32_t* total(unsigned group, unsigned column) const {
    return totals.data() + size_t{group} * layout.padded_group() + column;
  }
};

// Belongs to an SRAM. Coherent because whatever writes to that SRAM invalidates
// first, and no command writes what another one reads without waiting for it:
// the hazard check has refused such a job.
class PackedWeightsCache {
 public:
  std::shared_ptr<const PackedWeights> get(const WeightLayout& layout, const uint8_t* sram,
                                           const Kernels& kernels);
  void invalidate(uint64_t begin, uint64_t end);
  void clear() { invalidate(0, UINT64_MAX); }

 private:
  static constexpr size_t kMaxEntries = 32;
  static constexpr size_t kMaxBytes = 8u << 20;

  void drop(std::list<std::shared_ptr<PackedWeights>>::iterator entry);

  std::list<std::shared_ptr<PackedWeights>> entries_;  // most recent first
  size_t bytes_ = 0;
  std::shared_ptr<PackedWeights> spare_;  // its memory is used again
};

}  // namespace npu::model

#endif  // NPU_MODEL_COMPUTE_PACKED_WEIGHTS_H_
