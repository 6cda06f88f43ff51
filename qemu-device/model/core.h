// SPDX-License-Identifier: MIT
//
// Storage of one core: SRAM and accumulators, and what is derived from them.
#ifndef NPU_MODEL_CORE_H_
#define NPU_MODEL_CORE_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "compute/packed_weights.h"
#include "npu/target.h"

namespace npu::model {

class CoreMemory {
 public:
  explicit CoreMemory(const npu_target& target)
      : sram_(target.sram_bytes),
        accumulators_(size_t{2} * target.accumulator_rows * target.mac_outputs),
        lanes_(target.mac_outputs) {}

  uint8_t* sram() { return sram_.data(); }
  uint32_t sram_bytes() const { return static_cast<uint32_t>(sram_.size()); }
  // Row of NO sums: accumulator_rows per bank, bank 1 behind bank 0.
  int32_t* accumulator_row(uint32_t row) { return accumulators_.data() + size_t{row} * lanes_; }
  uint32_t accumulator_rows() const { return static_cast<uint32_t>(accumulators_.size() / lanes_); }
  uint32_t lanes() const { return lanes_; }

  // Whoever writes calls these before, so that what was derived from the old
  // contents is dropped and clearing costs nothing where nothing was written.
  void note_sram(uint64_t begin, uint64_t end) {
    dirty_ = std::max(dirty_, static_cast<uint32_t>(std::min<uint64_t>(end, sram_.size())));
    packed_weights_.invalidate(begin, end);
  }
  void note_accumulators() { accumulators_dirty_ = true; }

  void clear() {
    std::fill(sram_.begin(), sram_.begin() + dirty_, uint8_t{0});
    dirty_ = 0;
    packed_weights_.clear();
    clear_accumulators();
  }
  void clear_accumulators() {
    if (!accumulators_dirty_) return;
    std::fill(accumulators_.begin(), accumulators_.end(), 0);
    accumulators_dirty_ = false;
  }

  PackedWeightsCache& packed_weights() { return packed_weights_; }
  // Working memory of the command in execution, kept for the next one.
  std::vector<uint8_t>& panel() { return panel_; }
  std::vector<int32_t>& sums() { return sums_; }

  uint32_t dirty_bytes() const { return dirty_; }
  bool accumulators_dirty() const { return accumulators_dirty_; }
  std::vector<int32_t>& accumulators() { return accumulators_; }

 private:
  std::vector<uint8_t> sram_;
  std::vector<int32_t> accumulators_;
  uint32_t lanes_;
  uint32_t dirty_ = 0;
  bool accumulators_dirty_ = false;
  PackedWeightsCache packed_weights_;
  std::vector<uint8_t> panel_;
  std::vector<int32_t> sums_;
};

}  // namespace npu::model

#endif  // NPU_MODEL_CORE_H_
