// SPDX-License-Identifier: MIT
//
// A quick look at a job that finds most without hazard: commands that no wait
// orders are few at any time, so each is compared with those before it that it
// may overlap in time. What does not pass is HazardDetector's to judge. Internal
// to arch.
#ifndef NPU_ARCH_HAZARD_SCREEN_H_
#define NPU_ARCH_HAZARD_SCREEN_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "arch/gang_clocks.h"
#include "arch/granule_set.h"
#include "arch/sram_access.h"
#include "arch/stream.h"

namespace npu::arch {

// What the YIELDs so far have not kept of one SRAM, written or not, and no write
// since has made good.
class LostSram {
 public:
  explicit LostSram(uint64_t granules) : granules_(granules), lost_(granules) {}

  void yield(const npu_command_yield& yield);
  void write(SramAccess access);
  bool reads_lost(SramAccess access);
  // Blocks of bytes looked at so far: the work done.
  uint64_t visited() const { return visited_; }

 private:
  bool any(uint64_t begin, uint64_t end) const {
    return lost_.at_or_after(begin / kHazardGranule) <= (end - 1) / kHazardGranule;
  }
  void make_good(const SramAccess& access);

  uint64_t granules_;
  GranuleSet lost_;
  // A write that has not been made good yet: columns of a tensor, to which the
  // next write may add its neighbours. All columns together are one block.
  std::optional<SramAccess> columns_;
  uint64_t visited_ = 0;
};

class HazardScreen {
 public:
  HazardScreen(unsigned gang, const npu_target& target);

  // As HazardDetector::add, but false means that there may be a hazard. Commands
  // must stay where they are.
  bool add(const Command& command, unsigned core);
  // Comparisons so far: the work done. Of one command at most kMostCompared and
  // those of its own operands.
  uint64_t compared() const;
  static constexpr uint64_t kMostCompared = 4096;

 private:
  static constexpr uint32_t kNone = ~0u;

  struct Past {
    const Command* command;
    uint32_t count;        // of its engine, itself included
    uint32_t previous;     // the engine's read or write of this SRAM before it, or kNone
    uint32_t first, last;  // granules
    uint32_t which;        // of the command's accesses

    bool overlaps(const Past& other) const { return first <= other.last && other.first <= last; }
  };
  // Of an engine's accesses to an SRAM, the last ones in past_.
  struct Last {
    uint32_t read = kNone, write = kNone;
  };

  Last& last(unsigned sram, unsigned core, unsigned engine) {
    return last_[(sram * gang_ + core) * NPU_ENGINE_COUNT + engine];
  }
  bool free_of_conflict(const SramAccess& access, const Past& now, unsigned core, unsigned engine);
  bool free_of_conflict(const SramAccess& access, const Past& now, uint32_t last, unsigned core,
                        unsigned engine);
  bool free_of_own_conflict(std::span<const Past> own);
  bool finds_nothing_lost();

  const unsigned gang_;
  const uint64_t granules_;  // of one SRAM
  GangClocks clocks_;
  std::vector<Past> past_;
  std::vector<Last> last_;
  std::vector<std::optional<LostSram>> lost_;  // per SRAM, once it sees a YIELD
  std::vector<SramAccess> accesses_, others_;
  uint64_t compared_ = 0, compared_before_ = 0;
};

}  // namespace npu::arch

#endif  // NPU_ARCH_HAZARD_SCREEN_H_
