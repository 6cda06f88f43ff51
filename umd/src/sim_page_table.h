// SPDX-License-Identifier: MIT
//
// The page table of the simulator's one address space, as npu/mmu.h describes
// it, kept in simulated bus memory.
#ifndef NPU_UMD_SIM_PAGE_TABLE_H_
#define NPU_UMD_SIM_PAGE_TABLE_H_

#include <cstdint>

#include "npu/mmu.h"
#include "sim_bus.h"

namespace npu::umd {

// Not thread safe on the writing side; the card may walk it at any time.
class SimPageTable {
 public:
  explicit SimPageTable(SimBus& bus) : bus_(bus) {}

  Status init();
  // Entry of the context table that makes an ASID use this table.
  uint64_t root_entry() const { return NPU_PTE_VALID | root_; }

  // Maps [va, +size) to memory at `address` with `flags` (NPU_PTE_READ,
  // NPU_PTE_WRITE, NPU_PTE_CARD), replacing what is there. All page aligned.
  Status map(uint64_t va, uint64_t size, uint64_t address, uint64_t flags);
  // The TLB must be invalidated after it.
  Status unmap(uint64_t va, uint64_t size);

 private:
  // Sets or clears [va, +size); address + flags per page, or 0 entries.
  Status change(uint64_t va, uint64_t size, uint64_t address, uint64_t flags, bool present);
  // The table that `entry` of level `level` points to; makes it, splitting a
  // 2 MiB leaf, if there is none.
  Result<uint64_t*> descend(uint64_t* entry, int level);
  Result<uint64_t> new_table();

  SimBus& bus_;
  uint64_t root_ = 0;
};

}  // namespace npu::umd

#endif  // NPU_UMD_SIM_PAGE_TABLE_H_
