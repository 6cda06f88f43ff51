// SPDX-License-Identifier: MIT
//
// Fields of LOAD, STORE, FILL, SRAM_COPY and PEER_LOAD.
#include "arch/command_check.h"
#include "arch/mac_shape.h"
#include "arch/sram_access.h"
#include "npu/mmu.h"
#include "npu/queue.h"

namespace npu::arch {
namespace {

constexpr const char* kSize[] = {"size[0]", "size[1]", "size[2]", "size[3]"};

bool check_block(const npu_command_dma& dma, const npu_target& target, bool sram_is_written,
                 Violation& v) {
  if (!v.range("element_log2", dma.element_log2, 0, 2)) return false;
  const uint32_t element = 1u << dma.element_log2;
  uint64_t bytes = element;
  for (int i = 0; i < 4; ++i) {
    if (dma.size[i] == 0) return v.fail("%s is 0, must be at least 1", kSize[i]);
    const uint64_t padded =
        uint64_t{dma.size[i]} + (i < 3 ? dma.pad_before[i] + dma.pad_after[i] : 0);
    bytes = saturating_product({bytes, padded});
  }
  if (bytes > target.sram_bytes)
    return v.fail("the block has %llu bytes, more than the SRAM, %u",
                  static_cast<unsigned long long>(bytes), target.sram_bytes);
  if (dma.element_log2 < 2 && (dma.pad_value >> (8 * element)) != 0)
    return v.fail("pad_value is %#x, does not fit an element of %u bytes", dma.pad_value, element);

  const uint32_t rows = dma.size[2] + dma.pad_before[2] + dma.pad_after[2];
  if (dma.ring_rows == 0) {
    if (!v.zero("ring_first", dma.ring_first)) return false;
  } else {
    if (dma.ring_first >= dma.ring_rows)
      return v.fail("ring_first is %u, must be less than ring_rows, %u", dma.ring_first,
                    dma.ring_rows);
    if (rows > dma.ring_rows)
      return v.fail("the block has %u rows, more than ring_rows, %u", rows, dma.ring_rows);
  }
  if (sram_is_written) {
    SramAccess access;
    access.bytes = element;
    for (int i = 0; i < 4; ++i) {
      access.count[i] = dma.size[i] + (i < 3 ? dma.pad_before[i] + dma.pad_after[i] : 0);
      access.stride[i] = dma.sram_stride[i];
    }
    // The rows may be any of the ring.
    if (dma.ring_rows != 0) access.count[2] = dma.ring_rows;
    if (!access.disjoint()) return v.fail("sram_stride: the block overlaps itself in SRAM");
  }
  return true;
}

bool has_padding(const npu_command_dma& dma) {
  for (int i = 0; i < 3; ++i)
    if (dma.pad_before[i] != 0 || dma.pad_after[i] != 0) return true;
  return false;
}

// Behind check_block(): external_extent() does not overflow.
bool check_external(const npu_command_dma& dma, Violation& v) {
  if (!v.range("region", dma.region, 0, NPU_MAX_REGIONS - 1)) return false;
  const uint64_t extent = external_extent(dma);
  const uint64_t limit = uint64_t{1} << NPU_VA_BITS;
  return (extent <= limit && dma.external_offset <= limit - extent) ||
         v.fail("external_offset %#llx and external_stride reach beyond 2^%d",
                static_cast<unsigned long long>(dma.external_offset), NPU_VA_BITS);
}

bool check_stored_once(const npu_command_dma& dma, Violation& v) {
  SramAccess access;
  access.bytes = uint64_t{1} << dma.element_log2;
  for (int i = 0; i < 4; ++i) {
    access.count[i] = dma.size[i];
    access.stride[i] = dma.external_stride[i];
  }
  return access.disjoint() || v.fail("external_stride: the block overlaps itself in memory");
}

bool no_external(const npu_command_dma& dma, bool strides_used, Violation& v) {
  if (!v.zero("region", dma.region) || !v.zero("external_offset", dma.external_offset))
    return false;
  return strides_used || v.reserved("external_stride", dma.external_stride);
}

bool no_padding(const npu_command_dma& dma, Violation& v) {
  return v.reserved("pad_before", dma.pad_before) && v.reserved("pad_after", dma.pad_after);
}

// The other cores that a command names.
bool check_peers(const npu_command_dma& dma, unsigned core, unsigned gang, Violation& v) {
  const unsigned opcode = dma.header.opcode;
  if (opcode == NPU_OP_PEER_LOAD) {
    if (dma.peer_core >= gang)
      return v.fail("peer_core is %u, outside the gang of %u", dma.peer_core, gang);
    if (dma.peer_core == core)
      return v.fail("peer_core is %u, the own core: that is SRAM_COPY", dma.peer_core);
  } else if (!v.zero("peer_core", dma.peer_core)) {
    return false;
  }
  if (opcode != NPU_OP_LOAD) return v.zero("multicast", dma.multicast);
  if (dma.multicast >> gang != 0)
    return v.fail("multicast is %#x, names cores outside the gang of %u", dma.multicast, gang);
  return (dma.multicast >> core & 1) == 0 ||
         v.fail("multicast is %#x, names the own core, %u, which is written anyway", dma.multicast,
                core);
}

}  // namespace

bool check_dma(const npu_command_dma& dma, const npu_target& target, unsigned core, unsigned gang,
               Violation& v) {
  const unsigned opcode = dma.header.opcode;
  if (!v.zero("reserved0", dma.reserved0) || !v.zero("reserved1", dma.reserved1) ||
      !v.reserved("reserved2", dma.reserved2) || !check_peers(dma, core, gang, v))
    return false;
  // Padding first: check_block computes with it.
  if (opcode != NPU_OP_LOAD && !no_padding(dma, v)) return false;
  if (!check_block(dma, target, opcode != NPU_OP_STORE, v)) return false;
  const bool copies = opcode == NPU_OP_SRAM_COPY || opcode == NPU_OP_PEER_LOAD;
  if (!copies && !v.zero("source_address", dma.source_address)) return false;
  const bool pads = opcode == NPU_OP_FILL || has_padding(dma);
  if (!pads && !v.zero("pad_value", dma.pad_value)) return false;
  switch (opcode) {
    case NPU_OP_LOAD:
      return check_external(dma, v);
    case NPU_OP_STORE:
      return check_external(dma, v) && check_stored_once(dma, v);
    case NPU_OP_FILL:
      return no_external(dma, false, v);
    default:
      return no_external(dma, true, v);
  }
}

}  // namespace npu::arch
