// SPDX-License-Identifier: MIT
//
// LOAD and STORE commands from boxes of tensors.
#ifndef NPU_COMPILER_EMIT_TRANSFER_H_
#define NPU_COMPILER_EMIT_TRANSFER_H_

#include <array>
#include <cstdint>

#include "npu/command.h"

namespace npu::compiler {

// Instead of a region's index: the operand lies in the core's SRAM.
inline constexpr uint8_t kOnChip = 0xff;

// An operand as one layer sees it: where its first element lies and how far
// apart neighbours are, in bytes.
struct Operand {
  uint8_t region = 0;
  uint64_t offset = 0;            // in the region, or SRAM address; in the storage while planning
  int64_t stride[3] = {0, 0, 0};  // rows, columns, channels; 0 repeats
  int storage = -1;               // index in MemoryPlan::storages
  // On chip: row y lies where row y mod ring_rows does; 0: every row has a place.
  uint32_t ring_rows = 0;

  bool on_chip() const { return region == kOnChip; }
  // Commands can work on it where it lies.
  bool direct() const { return on_chip() && stride[2] == 1; }
};

// Extents of a piece of it: rows, columns, channels.
using Extent = std::array<int64_t, 3>;

// The piece of a direct operand that starts at `begin`, for a command.
npu_sram_tensor sram_view(const Operand& operand, const Extent& begin);

// Brings the box that starts at `begin` to a dense block [rows][columns][channels] of bytes in
// SRAM at `address`: a LOAD, or an SRAM_COPY of what is on chip already.
npu_command_dma fetch(const Operand& operand, const Extent& begin, const Extent& size,
                      uint32_t address);
// The other way round: a STORE or an SRAM_COPY.
npu_command_dma put(const Operand& operand, const Extent& begin, const Extent& size,
                    uint32_t address);

// Moves rows of an operand in external memory to (LOAD) or from (STORE) a direct
// operand of the same shape. `begin` and `size` as above; the rows do not wrap.
npu_command_dma move_rows(npu_opcode opcode, const Operand& external, const Operand& chip,
                          const Extent& begin, const Extent& size);

// A PEER_LOAD of a box of an operand that lies at the same place in every core's SRAM.
npu_command_dma bring_from(unsigned peer, const Operand& chip, const Extent& begin,
                           const Extent& size);

// A LOAD of contiguous bytes.
npu_command_dma linear_load(uint8_t region, uint64_t offset, uint32_t bytes, uint32_t address);

// External bytes of a fetch or put, rounded to granules run by run; 0 on chip.
uint64_t transfer_bytes(const Operand& operand, const Extent& size, uint32_t granule);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_TRANSFER_H_
