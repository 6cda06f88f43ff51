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
int nest(const External& external, const Extent& size, Dim (&dims)[3]) {
  const int64_t sram[3] = {size[1] * size[2], size[2], 1};
  Dim all[3];
  int count = 0;
  for (int i = 2; i >= 0; --i) {
    if (size[static_cast<size_t>(i)] == 1) continue;
    all[count++] = {size[static_cast<size_t>(i)], external.stride[i], sram[i]};
  }
  std::stable_sort(all, all + count,
                   [](const Dim& a, const Dim& b) { return a.external < b.external; });
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

}  // namespace

npu_command_dma box_transfer(npu_opcode opcode, const External& external, const Extent& begin,
                             const Extent& size, uint32_t address) {
  npu_command_dma dma = {};
  dma.header.opcode = static_cast<uint8_t>(opcode);
  dma.region = external.region;
  dma.external_offset = external.offset;
  for (size_t i = 0; i < 3; ++i) {
    dma.external_offset += static_cast<uint64_t>(begin[i] * external.stride[i]);
  }
  dma.sram_address = address;
  Dim dims[3] = {};
  const int count = nest(external, size, dims);
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

npu_command_dma linear_load(uint8_t region, uint64_t offset, uint32_t bytes, uint32_t address) {
  External external;
  external.region = region;
  external.offset = offset;
  external.stride[2] = 1;
  return box_transfer(NPU_OP_LOAD, external, {0, 0, 0}, {1, 1, bytes}, address);
}

uint64_t transfer_bytes(const External& external, const Extent& size, uint32_t granule) {
  Dim dims[3] = {};
  const int count = nest(external, size, dims);
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
