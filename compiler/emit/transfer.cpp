// SPDX-License-Identifier: MIT
#include "compiler/emit/transfer.h"

#include <algorithm>

namespace npu::compiler {
namespace {

struct Dim {
  int64_t size, external, sram;
};

// Nested dimensions, innermost first, neighbours merged where both sides allow.
// Innermost is what lies closest together outside: that is what the memory
// channel likes.
int nest(const int64_t (&external)[3], const int64_t (&sram)[3], const Extent& size,
         Dim (&dims)[3]) {
  Dim all[3];
  int count = 0;
  for (int i = 2; i >= 0; --i) {
    if (size[static_cast<size_t>(i)] == 1) continue;
    // Inserted in order, behind its equals: this runs for every tiling that is tried.
    int at = count++;
    for (; at > 0 && external[i] < all[at - 1].external; --at) all[at] = all[at - 1];
    all[at] = {size[static_cast<size_t>(i)], external[i], sram[i]};
  }
  int merged = 0;
  for (int i = 0; i < count; ++i) {
    if (merged > 0 && all[i].external == dims[merged - 1].external * dims[merged - 1].size &&
        all[i].sram == dims[merged - 1].sram * dims[merged - 1].size &&
        dims[merged - 1].external != 0) {
      dims[merged - 1].size *= all[i].size;
    } else {
      dims[merged++] = all[i];
    }
  }
  return merged;
}

uint64_t offset_at(const Operand& operand, const Extent& begin) {
  uint64_t offset = operand.offset;
  for (size_t i = 0; i < 3; ++i) offset += static_cast<uint64_t>(begin[i] * operand.stride[i]);
  return offset;
}

// `external` are the strides of the side that `external_stride` describes.
npu_command_dma transfer(npu_opcode opcode, const int64_t (&external)[3], const int64_t (&sram)[3],
                         const Extent& size, uint32_t address) {
  npu_command_dma dma = {};
  dma.header.opcode = static_cast<uint8_t>(opcode);
  dma.sram_address = address;
  Dim dims[3] = {};
  const int count = nest(external, sram, size, dims);
  // Unused dimensions have size 1 and a stride that steps over the rest, so
  // that no two elements of the block seem to share a place.
  uint32_t extent = 1;
  for (int i = 0; i < 4; ++i) {
    if (i < count) {
      dma.size[i] = static_cast<uint32_t>(dims[i].size);
      dma.external_stride[i] = static_cast<uint32_t>(dims[i].external);
      dma.sram_stride[i] = static_cast<uint32_t>(dims[i].sram);
      extent = std::max(extent, static_cast<uint32_t>(dims[i].size * dims[i].sram));
    } else {
      dma.size[i] = 1;
      dma.sram_stride[i] = extent;
    }
  }
  return dma;
}

}  // namespace

npu_sram_tensor sram_view(const Operand& operand, const Extent& begin) {
  npu_sram_tensor view = {};
  const bool ring = operand.ring_rows != 0;
  view.address =
      static_cast<uint32_t>(offset_at(operand, {ring ? 0 : begin[0], begin[1], begin[2]}));
  view.row_stride = static_cast<uint32_t>(operand.stride[0]);
  view.pixel_stride = static_cast<uint32_t>(operand.stride[1]);
  view.ring_rows = static_cast<uint16_t>(operand.ring_rows);
  if (ring) view.ring_first = static_cast<uint16_t>(begin[0] % operand.ring_rows);
  return view;
}

npu_command_dma fetch(const Operand& operand, const Extent& begin, const Extent& size,
                      uint32_t address) {
  const int64_t dense[3] = {size[1] * size[2], size[2], 1};
  npu_command_dma dma = transfer(operand.on_chip() ? NPU_OP_SRAM_COPY : NPU_OP_LOAD, operand.stride,
                                 dense, size, address);
  if (operand.on_chip()) {
    dma.source_address = static_cast<uint32_t>(offset_at(operand, begin));
  } else {
    dma.region = operand.region;
    dma.external_offset = offset_at(operand, begin);
  }
  return dma;
}

npu_command_dma put(const Operand& operand, const Extent& begin, const Extent& size,
                    uint32_t address) {
  const int64_t dense[3] = {size[1] * size[2], size[2], 1};
  if (operand.on_chip()) {
    npu_command_dma dma = transfer(NPU_OP_SRAM_COPY, dense, operand.stride, size,
                                   static_cast<uint32_t>(offset_at(operand, begin)));
    dma.source_address = address;
    return dma;
  }
  npu_command_dma dma = transfer(NPU_OP_STORE, operand.stride, dense, size, address);
  dma.region = operand.region;
  dma.external_offset = offset_at(operand, begin);
  return dma;
}

npu_command_dma move_rows(npu_opcode opcode, const Operand& external, const Operand& chip,
                          const Extent& begin, const Extent& size) {
  const uint64_t row = chip.ring_rows == 0 ? static_cast<uint64_t>(begin[0])
                                           : static_cast<uint64_t>(begin[0]) % chip.ring_rows;
  npu_command_dma dma = transfer(
      opcode, external.stride, chip.stride, size,
      static_cast<uint32_t>(offset_at(chip, {static_cast<int64_t>(row), begin[1], begin[2]})));
  dma.region = external.region;
  dma.external_offset = offset_at(external, begin);
  return dma;
}

npu_command_dma bring_from(unsigned peer, const Operand& chip, const Extent& begin,
                           const Extent& size) {
  const auto address = static_cast<uint32_t>(offset_at(chip, begin));
  npu_command_dma dma = transfer(NPU_OP_PEER_LOAD, chip.stride, chip.stride, size, address);
  dma.source_address = address;
  dma.peer_core = static_cast<uint8_t>(peer);
  return dma;
}

npu_command_dma linear_load(uint8_t region, uint64_t offset, uint32_t bytes, uint32_t address) {
  Operand external;
  external.region = region;
  external.offset = offset;
  external.stride[2] = 1;
  return fetch(external, {0, 0, 0}, {1, 1, bytes}, address);
}

uint64_t transfer_bytes(const Operand& operand, const Extent& size, uint32_t granule) {
  if (operand.on_chip()) return 0;
  const int64_t dense[3] = {size[1] * size[2], size[2], 1};
  Dim dims[3] = {};
  const int count = nest(operand.stride, dense, size, dims);
  uint64_t run = 1, runs = 1;
  int first = 0;
  if (count > 0 && dims[0].external <= 1) {
    run = dims[0].external == 0 ? 1 : static_cast<uint64_t>(dims[0].size);
    first = 1;
  }
  for (int i = first; i < count; ++i) runs *= static_cast<uint64_t>(dims[i].size);
  // A run that starts anywhere touches on average half a granule more.
  const uint64_t touched = run % granule == 0 ? run : run + granule / 2;
  return runs * std::max<uint64_t>(touched / granule * granule, granule);
}

}  // namespace npu::compiler
