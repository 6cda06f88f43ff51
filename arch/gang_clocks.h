// SPDX-License-Identifier: MIT
//
// Vector clocks over the engines of a gang: which commands have retired, on any
// core, before a command starts. Internal to arch.
#ifndef NPU_ARCH_GANG_CLOCKS_H_
#define NPU_ARCH_GANG_CLOCKS_H_

#include <cstdint>
#include <vector>

#include "arch/stream.h"

namespace npu::arch {

class GangClocks {
 public:
  explicit GangClocks(unsigned gang);

  // Takes the next command of `core`, in an order in which every wait refers to
  // commands before it (GangOrder). What follows is about this command.
  void start(const Command& command, unsigned core);
  // How many commands of the engine have retired for certain when it starts.
  uint32_t known(unsigned core, unsigned engine) const {
    return clock_[core * NPU_ENGINE_COUNT + engine];
  }
  // How many its own engine has had, itself included; 0 for the sequencer's.
  uint32_t count() const { return count_; }

 private:
  using Clock = std::vector<uint32_t>;  // retirements, [core * NPU_ENGINE_COUNT + engine]

  void join(unsigned core, unsigned engine, uint32_t count);

  std::vector<Clock> dispatched_;  // per core: what the sequencer has waited for
  // Per core and engine: clocks of its commands, one after the other.
  std::vector<std::vector<uint32_t>> history_;
  Clock counts_;  // of commands taken
  Clock clock_;
  uint32_t count_ = 0;
};

}  // namespace npu::arch

#endif  // NPU_ARCH_GANG_CLOCKS_H_
