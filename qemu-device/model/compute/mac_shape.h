// SPDX-License-Identifier: MIT
//
// A MAC command, normalised: a matrix product is a 1x1 convolution.
#ifndef NPU_MODEL_COMPUTE_MAC_SHAPE_H_
#define NPU_MODEL_COMPUTE_MAC_SHAPE_H_

#include <algorithm>
#include <cstdint>

#include "arch/stream.h"
#include "compute/kernels.h"
#include "compute/tensor.h"

namespace npu::model {

struct Pixel {
  uint32_t y, x;
};

// Output channels of one group.
struct ChannelRange {
  unsigned group, column;  // first one: within the group
  unsigned first, count;   // and within the tensor
};

struct MacShape {
  unsigned kernel_h, kernel_w, stride_y, stride_x, dilation_y, dilation_x;
  unsigned groups, group_in, group_out;
  unsigned depth;  // products per sum
  unsigned in_h, in_w, out_h, out_w, out_c;
  int pad_top, pad_left;
  npu_sram_tensor input;
  int32_t input_zero;
  bool input_signed, weight_signed, weights_kn;

  void set(const arch::Command& command) {
    const npu_command_mac& mac = command.mac();
    const bool matmul = command.opcode() == NPU_OP_MATMUL;
    kernel_h = matmul ? 1 : mac.kernel_h;
    kernel_w = matmul ? 1 : mac.kernel_w;
    stride_y = matmul ? 1 : mac.stride_y;
    stride_x = matmul ? 1 : mac.stride_x;
    dilation_y = matmul ? 1 : mac.dilation_y;
    dilation_x = matmul ? 1 : mac.dilation_x;
    groups = command.opcode() == NPU_OP_DEPTHWISE ? mac.out_c : matmul ? 1u : mac.groups;
    group_in = mac.in_c / groups;
    group_out = mac.out_c / groups;
    depth = kernel_h * kernel_w * group_in;
    in_h = mac.in_h;
    in_w = mac.in_w;
    out_h = mac.out_h;
    out_w = mac.out_w;
    out_c = mac.out_c;
    pad_top = mac.pad_top;
    pad_left = mac.pad_left;
    input = mac.input;
    input_zero = mac.input_zero;
    input_signed = NPU_TYPE_AT(mac.types, 0) == NPU_TYPE_INT8;
    weight_signed = NPU_TYPE_AT(mac.types, 1) == NPU_TYPE_INT8;
    weights_kn = (mac.flags & NPU_MAC_WEIGHTS_KN) != 0;
  }

  bool channel_wise() const { return group_in == 1 && group_out == 1; }

  // How channels are cut into ranges, the same for every way of computing.
  static constexpr unsigned kMaxRange = 256;
  unsigned ranges_per_group() const {
    return static_cast<unsigned>((group_out + kPanelColumns - 1) / kPanelColumns);
  }
  unsigned range_count() const {
    return channel_wise() ? (out_c + kMaxRange - 1) / kMaxRange : groups * ranges_per_group();
  }
  ChannelRange range(unsigned index) const {
    if (channel_wise()) {
      const unsigned first = index * kMaxRange;
      return {first, 0, first, std::min(kMaxRange, out_c - first)};
    }
    const unsigned group = index / ranges_per_group();
    const auto column = static_cast<unsigned>(index % ranges_per_group() * kPanelColumns);
    return {group, column, group * group_out + column,
            std::min(static_cast<unsigned>(kPanelColumns), group_out - column)};
  }

  // Where a tap of an output pixel lies in the input; false: in the padding.
  bool tap(const Pixel& pixel, unsigned ky, unsigned kx, uint64_t& y, uint64_t& x) const {
    const int64_t iy = int64_t{pixel.y} * stride_y - pad_top + int64_t{ky} * dilation_y;
    const int64_t ix = int64_t{pixel.x} * stride_x - pad_left + int64_t{kx} * dilation_x;
    y = static_cast<uint64_t>(iy);
    x = static_cast<uint64_t>(ix);
    return iy >= 0 && iy < in_h && ix >= 0 && ix < in_w;
  }
};

}  // namespace npu::model

#endif  // NPU_MODEL_COMPUTE_MAC_SHAPE_H_
