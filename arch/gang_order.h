// SPDX-License-Identifier: MIT
//
// The order in which the commands of a gang can be taken one at a time.
#ifndef NPU_ARCH_GANG_ORDER_H_
#define NPU_ARCH_GANG_ORDER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "arch/stream.h"

namespace npu::arch {

// Merges the lists of a gang into one, each in its own order, in which every
// wait refers to commands before it. Executing in this order is right whatever
// the timing, and if it exists no depth of the engines' queues can deadlock.
// YIELDs come as late as possible, those of one number in their lists together:
// what is before and behind them in this order is what has and what has not been
// executed when the gang is put aside there. If the lists depend on each other so
// that it cannot be, they come one by one.
// The streams have been decoded with these positions in the gang.
class GangOrder {
 public:
  explicit GangOrder(std::span<const Stream> streams);

  // Takes the next command; false at the end, and when none can be taken.
  bool next(unsigned& core, uint32_t& index);

  // After next() returned false: whether all commands have been taken.
  bool at_end() const;
  // If not: fills `error` with a wait that can never be met.
  void report_deadlock(StreamError& error) const;

 private:
  static constexpr uint32_t kNone = ~0u;

  bool met(uint32_t wait) const;
  bool ready(const Command& command) const;
  // Whether the next command of `core` can be taken and is a YIELD, or none.
  bool can_take(size_t core, bool yield) const;
  void take(size_t from, unsigned& core, uint32_t& index);
  bool next_yield(unsigned& core, uint32_t& index);

  std::span<const Stream> streams_;
  std::vector<uint32_t> next_;  // per core: index of its next command
  uint32_t counts_[NPU_MAX_CORES][NPU_ENGINE_COUNT + 1] = {};
  uint32_t yields_[NPU_MAX_CORES] = {};  // taken
  uint32_t crossing_ = kNone;            // number of the YIELDs that are being taken
  unsigned core_ = 0;
};

}  // namespace npu::arch

#endif  // NPU_ARCH_GANG_ORDER_H_
