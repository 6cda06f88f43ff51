// SPDX-License-Identifier: MIT
//
// Fields that mean nothing at the sizes of their command, such as the stride of
// a dimension of size 1. Each may have one value only, so that no two streams
// mean the same and no changed byte goes unnoticed. One list of them serves the
// check, which refuses another value, and StreamBuilder, which sets it.
#ifndef NPU_ARCH_CANONICAL_H_
#define NPU_ARCH_CANONICAL_H_

#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "arch/mac_shape.h"
#include "npu/command.h"

namespace npu::arch {

// To be checked, or to be set.
template <typename T, typename Record>
concept MaybeConst = std::same_as<std::remove_const_t<T>, Record>;

// Calls visit(name, field, value) for every such field of a command whose other
// fields are valid; `value` is the one that is allowed. Visiting stops when it
// returns false, and so does the function then.

// A ring whose rows do not wrap is a plain tensor; so is one row.
template <typename Visit>
bool visit_tensor(const char* name, MaybeConst<npu_sram_tensor> auto& tensor, uint32_t rows,
                  uint32_t columns, Visit&& visit) {
  const uint64_t plain = uint64_t{tensor.address} + uint64_t{tensor.ring_first} * tensor.row_stride;
  if (tensor.ring_rows != 0 && uint32_t{tensor.ring_first} + rows <= tensor.ring_rows &&
      plain <= UINT32_MAX) {
    if (!visit(name, "address", tensor.address, static_cast<uint32_t>(plain)) ||
        !visit(name, "ring_first", tensor.ring_first, uint16_t{0}) ||
        !visit(name, "ring_rows", tensor.ring_rows, uint16_t{0}))
      return false;
  }
  if (rows == 1 && !visit(name, "row_stride", tensor.row_stride, 0u)) return false;
  return columns > 1 || visit(name, "pixel_stride", tensor.pixel_stride, 0u);
}

template <typename Visit>
bool visit_fixed_fields(MaybeConst<npu_command_dma> auto& dma, Visit&& visit) {
  constexpr const char* kSram[] = {"sram_stride[0]", "sram_stride[1]", "sram_stride[2]",
                                   "sram_stride[3]"};
  constexpr const char* kExternal[] = {"external_stride[0]", "external_stride[1]",
                                       "external_stride[2]", "external_stride[3]"};
  const bool has_external = dma.header.opcode != NPU_OP_FILL;  // or a source
  uint32_t padded[4];
  for (int i = 0; i < 4; ++i)
    padded[i] = dma.size[i] + (i < 3 ? uint32_t{dma.pad_before[i]} + dma.pad_after[i] : 0);
  const uint64_t plain = uint64_t{dma.sram_address} + uint64_t{dma.ring_first} * dma.sram_stride[2];
  if (dma.ring_rows != 0 && dma.ring_first + padded[2] <= dma.ring_rows && plain <= UINT32_MAX) {
    if (!visit("", "sram_address", dma.sram_address, static_cast<uint32_t>(plain)) ||
        !visit("", "ring_first", dma.ring_first, uint16_t{0}) ||
        !visit("", "ring_rows", dma.ring_rows, uint16_t{0}))
      return false;
  }
  for (int i = 0; i < 4; ++i) {
    if (padded[i] == 1 && !visit("", kSram[i], dma.sram_stride[i], 0u)) return false;
    if (has_external && dma.size[i] == 1 && !visit("", kExternal[i], dma.external_stride[i], 0u))
      return false;
  }
  return true;
}

template <typename Visit>
bool visit_fixed_fields(MaybeConst<npu_command_mac> auto& mac,
                        MaybeConst<npu_mac_extension> auto& extension, Visit&& visit) {
  if (extension.batch_count == 1 && !visit("", "batch_count", extension.batch_count, uint16_t{0}))
    return false;
  const bool matmul = mac.header.opcode == NPU_OP_MATMUL;
  if (matmul) {
    // It has no window; one of size 1 says the same.
    for (auto* field : {&mac.kernel_h, &mac.kernel_w, &mac.stride_y, &mac.stride_x, &mac.dilation_y,
                        &mac.dilation_x})
      if (*field == 1 && !visit("", "kernel, stride or dilation", *field, uint8_t{0})) return false;
    if (mac.groups == 1 && !visit("", "groups", mac.groups, uint16_t{0})) return false;
  } else {
    // The horizontal stride of a DEPTHWISE decides its time even if there is no second step.
    const bool depthwise = mac.header.opcode == NPU_OP_DEPTHWISE;
    if ((mac.out_h == 1 && !visit("", "stride_y", mac.stride_y, uint8_t{1})) ||
        (mac.out_w == 1 && !depthwise && !visit("", "stride_x", mac.stride_x, uint8_t{1})) ||
        (mac.kernel_h == 1 && !visit("", "dilation_y", mac.dilation_y, uint8_t{1})) ||
        (mac.kernel_w == 1 && !visit("", "dilation_x", mac.dilation_x, uint8_t{1})))
      return false;
  }

  // A command that is not valid has no canonical form.
  if (!matmul && mac.groups == 0) return true;
  const MacShape shape = mac_shape(mac);
  uint64_t rows = shape.outputs();
  uint64_t row_bytes = shape.group_inputs * shape.taps();
  if (mac.flags & NPU_MAC_WEIGHTS_KN) std::swap(rows, row_bytes);
  const uint64_t extent = (rows - 1) * mac.weight_stride + row_bytes;
  // Without the padding that the stride leaves behind the last row.
  if (mac.weight_bytes > extent && mac.weight_bytes <= rows * mac.weight_stride &&
      !visit("", "weight_bytes", mac.weight_bytes, static_cast<uint32_t>(extent)))
    return false;
  if (rows == 1 && !visit("", "weight_stride", mac.weight_stride, 0u)) return false;

  if (!visit_tensor("input", mac.input, mac.in_h, mac.in_w, visit)) return false;
  if (!(mac.accumulate & NPU_ACCUMULATE_KEEP)) {
    const bool pooled = extension.pool_kind != NPU_POOL_NONE;
    if (pooled && (extension.pool_h == 0 || extension.pool_w == 0)) return true;
    if (!visit_tensor("output", mac.output, pooled ? mac.out_h / extension.pool_h : mac.out_h,
                      pooled ? mac.out_w / extension.pool_w : mac.out_w, visit))
      return false;
  }
  return !(extension.flags & NPU_EXT_RESIDUAL) ||
         visit_tensor("residual", extension.residual, mac.out_h, mac.out_w, visit);
}

template <typename Visit>
bool visit_fixed_fields(MaybeConst<npu_command_vec> auto& vec, Visit&& visit) {
  if (vec.function == NPU_VEC_REDUCE && vec.channels == 1) {
    const auto others = static_cast<uint8_t>(vec.flags & ~NPU_VEC_REDUCE_CHANNELS);
    if (!visit("", "flags", vec.flags, others)) return false;
  }
  const bool window = vec.function == NPU_VEC_POOL_MAX || vec.function == NPU_VEC_POOL_AVERAGE;
  if (window && vec.out_h == 1 && !visit("", "stride_y", vec.stride_y, uint8_t{1})) return false;
  if (window && vec.out_w == 1 && !visit("", "stride_x", vec.stride_x, uint8_t{1})) return false;
  if (!visit_tensor("a", vec.a, vec.in_h, vec.in_w, visit) ||
      !visit_tensor("out", vec.out, vec.out_h, vec.out_w, visit))
    return false;
  const bool one = vec.flags & NPU_VEC_BROADCAST_B;
  const bool two = vec.function == NPU_VEC_ADD || vec.function == NPU_VEC_MUL;
  return !two || visit_tensor("b", vec.b, one ? 1 : vec.in_h, one ? 1 : vec.in_w, visit);
}

// Gives all such fields their value.
template <typename... Records>
void make_canonical(Records&... records) {
  visit_fixed_fields(records..., [](const char*, const char*, auto& field, auto value) {
    field = value;
    return true;
  });
}

}  // namespace npu::arch

#endif  // NPU_ARCH_CANONICAL_H_
