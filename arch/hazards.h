// SPDX-License-Identifier: MIT
//
// Finds accesses to the same SRAM bytes, one of them a write, that no wait
// orders, and reads of what a YIELD does not keep. Incremental, so that a card
// can check as it executes.
#ifndef NPU_ARCH_HAZARDS_H_
#define NPU_ARCH_HAZARDS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "arch/gang_clocks.h"
#include "arch/granule_set.h"
#include "arch/sram_access.h"
#include "arch/stream.h"

namespace npu::arch {

class HazardDetector {
 public:
  // For one job: a gang of `gang` cores.
  HazardDetector(unsigned gang, const npu_target& target);

  // Takes the next command of `core`; index is for the report. Call it in an
  // order in which every wait refers to commands before it (GangOrder), with
  // commands that have been decoded for this gang. Returns false and fills
  // `error` at a hazard; the detector is then of no more use. Work is bounded
  // by the bytes of SRAM that the command touches.
  bool add(const Command& command, unsigned core, uint32_t index, StreamError& error);
  // Runs of granules looked at so far: the work done.
  uint64_t touched() const { return touched_; }

 private:
  // Engines that can reach one SRAM: the own four, and LOAD of the others.
  static constexpr unsigned kSlots = NPU_ENGINE_COUNT + NPU_MAX_CORES;

  // Last accesses to some granules, as retirement counts of the slot's engine;
  // 0 is none.
  struct Cell {
    uint32_t write = 0;
    uint16_t writer = 0;   // slot
    uint16_t readers = 0;  // slots with a read since the write, one bit each
    uint32_t read[kSlots] = {};
  };
  // Granules from one boundary to the next share a cell.
  struct Sram {
    explicit Sram(uint64_t granules);

    GranuleSet boundaries;
    std::unique_ptr<uint32_t[]> cell_at;  // index, at boundaries
    std::vector<Cell> cells;
    std::vector<uint32_t> unused;  // indices
    // Granules with something that a YIELD did not keep. Written, they are as
    // good as any.
    GranuleSet lost;
  };
  struct Conflict {
    bool found = false, other_writes = false;
    bool lost = false;  // at a YIELD
    unsigned slot = 0;
    uint32_t count = 0;
    uint64_t address = 0;
  };

  void access(const SramAccess& access, unsigned slot, Conflict& conflict);
  void lose(Sram& sram, uint64_t first, uint64_t last);
  void meet_lost(Sram& sram, const SramAccess& access, Conflict& conflict);
  void touch_run(Sram& sram, uint64_t first, uint64_t last, const SramAccess& access, unsigned slot,
                 Conflict& conflict);
  bool ordered(unsigned sram_core, unsigned slot, uint32_t count) const;
  bool update(Cell& cell, const SramAccess& access, unsigned slot, Conflict& conflict) const;
  static void split(Sram& sram, uint64_t granule);
  void report(const Command& command, unsigned core, uint32_t index, const SramAccess& access,
              const Conflict& conflict, StreamError& error) const;

  const uint64_t granules_;  // of one SRAM
  std::vector<Sram> srams_;
  GangClocks clocks_;
  uint64_t touched_ = 0;
  std::vector<SramAccess> accesses_;
};

}  // namespace npu::arch

#endif  // NPU_ARCH_HAZARDS_H_
