// SPDX-License-Identifier: MIT
//
// LOAD and STORE commands from boxes of tensors.
#ifndef NPU_COMPILER_EMIT_TRANSFER_H_
#define NPU_COMPILER_EMIT_TRANSFER_H_

#include <array>
#include <cstdint>

#include "npu/command.h"

namespace npu::compiler {

// An operand in external memory, as seen by one layer: where its first element
// lies and how far apart neighbours are, in bytes.
struct External {
  uint8_t region = 0;
  uint64_t offset = 0;
  int64_t stride[3] = {0, 0, 0};  // rows, columns, channels; 0 repeats
};

// Extents of a piece of it: rows, columns, channels.
using Extent = std::array<int64_t, 3>;

// A LOAD (or STORE) of the box that starts at `begin`, to (from) a dense block
// [rows][columns][channels] of bytes in SRAM at `address`.
npu_command_dma box_transfer(npu_opcode opcode, const External& external, const Extent& begin,
                             const Extent& size, uint32_t address);

// A LOAD of contiguous bytes.
npu_command_dma linear_load(uint8_t region, uint64_t offset, uint32_t bytes, uint32_t address);

// External bytes that box_transfer moves, rounded to granules run by run.
uint64_t transfer_bytes(const External& external, const Extent& size, uint32_t granule);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_TRANSFER_H_
