// SPDX-License-Identifier: MIT
//
// Page walks of a job in modelled time; internal to arch. Works on offsets in
// regions, not on addresses, so that modelled time does not depend on where
// the system put a buffer: every region counts as starting on a translation
// group of its own.
#ifndef NPU_ARCH_TLB_MODEL_H_
#define NPU_ARCH_TLB_MODEL_H_

#include <cstdint>
#include <vector>

#include "arch/external_block.h"
#include "npu/target.h"

namespace npu::arch {

class TlbModel {
 public:
  explicit TlbModel(const npu_target& target);

  // Bytes that one TLB entry translates: the 4 KiB pages whose entries arrive
  // with one granule of the page table.
  uint64_t group_bytes() const { return group_bytes_; }

  // Walks that the block causes, and whether its first byte does.
  struct Walks {
    uint64_t count;
    bool first;
  };
  Walks walks(uint32_t region, const npu_command_dma& dma);
  // The same for one byte.
  uint64_t walks(uint32_t region, uint64_t offset);

 private:
  // Neighbours of an entry in a ring by last use. The one behind the last entry
  // is nobody's: its `older` is the most recent, its `newer` the least.
  struct Link {
    uint32_t newer, older;
  };

  bool miss(uint32_t region, uint64_t group);
  void use(uint32_t entry);

  uint64_t group_bytes_;
  std::vector<uint64_t> keys_;  // by entry
  std::vector<Link> links_;
  std::vector<uint64_t> beyond_;  // by region: no group from here on was ever in the TLB
};

}  // namespace npu::arch

#endif  // NPU_ARCH_TLB_MODEL_H_
