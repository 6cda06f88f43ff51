// SPDX-License-Identifier: MIT
//
// A few equal places in SRAM that hold pieces of one operand. A piece that is
// still there is not loaded again; otherwise the place used longest ago is
// taken. With two places, loading the next piece overlaps with computing.
#ifndef NPU_COMPILER_EMIT_SLOTS_H_
#define NPU_COMPILER_EMIT_SLOTS_H_

#include <array>
#include <cstdint>
#include <vector>

namespace npu::compiler {

class SlotPool {
 public:
  using Key = std::array<int64_t, 4>;

  SlotPool(uint32_t base, uint32_t slot_bytes, uint32_t count)
      : base_(base), slot_bytes_(slot_bytes), slots_(count) {}

  // First byte behind the slots.
  uint32_t end() const { return address(slots_.size()); }

  struct Place {
    uint32_t address;
    bool present;  // holds the piece already
  };
  // `generation`: of the emitter; a change means that SRAM was lost.
  Place acquire(const Key& key, uint32_t generation) {
    if (generation != generation_) {
      for (Slot& slot : slots_) slot.valid = false;
      generation_ = generation;
    }
    ++clock_;
    size_t oldest = 0;
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].valid && slots_[i].key == key) {
        slots_[i].used = clock_;
        return {address(i), true};
      }
      if (slots_[i].used < slots_[oldest].used) oldest = i;
    }
    slots_[oldest] = {key, clock_, true};
    return {address(oldest), false};
  }
  // A place whose content is written, not loaded.
  uint32_t next() {
    ++clock_;
    size_t oldest = 0;
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].used < slots_[oldest].used) oldest = i;
    }
    slots_[oldest].used = clock_;
    slots_[oldest].valid = false;
    return address(oldest);
  }

 private:
  struct Slot {
    Key key{};
    uint64_t used = 0;
    bool valid = false;
  };
  uint32_t address(size_t i) const { return base_ + static_cast<uint32_t>(i) * slot_bytes_; }

  uint32_t base_, slot_bytes_;
  std::vector<Slot> slots_;
  uint64_t clock_ = 0;
  uint32_t generation_ = 0;
};

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_SLOTS_H_
