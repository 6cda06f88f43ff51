// SPDX-License-Identifier: MIT
//
// The one loop nest behind convolution, depthwise and matmul, in 64 bits.
#ifndef NPU_ARCH_MAC_SHAPE_H_
#define NPU_ARCH_MAC_SHAPE_H_

#include <cstdint>
#include <initializer_list>

#include "npu/command.h"

namespace npu::arch {

constexpr uint64_t ceil_div(uint64_t a, uint64_t b) {
  return (a + b - 1) / b;
}

// Product that stays at the maximum instead of wrapping.
constexpr uint64_t saturating_product(std::initializer_list<uint64_t> factors) {
  uint64_t product = 1;
  for (const uint64_t factor : factors)
    if (__builtin_mul_overflow(product, factor, &product)) return ~uint64_t{0};
  return product;
}

struct MacShape {
  uint64_t pixels;         // output pixels before pooling; rows of a matmul
  uint64_t groups;         // of a depthwise: 1, its channels are `group_outputs`
  uint64_t group_inputs;   // input channels summed into one output; K
  uint64_t group_outputs;  // N
  uint64_t kernel_h, kernel_w;
  bool depthwise;

  uint64_t taps() const { return kernel_h * kernel_w; }
  uint64_t outputs() const { return groups * group_outputs; }
  // Times the array, which makes `mac_outputs` channels at once, goes over the
  // pixels. Accumulator rows are pixels * passes.
  uint64_t passes(uint32_t mac_outputs) const {
    return groups * ceil_div(group_outputs, mac_outputs);
  }
  uint64_t macs() const {
    return saturating_product({pixels, outputs(), group_inputs, kernel_h, kernel_w});
  }
};

// Times a MAC command repeats itself.
inline uint32_t mac_batch(const npu_mac_extension& extension) {
  return extension.batch_count > 1 ? extension.batch_count : 1;
}

inline MacShape mac_shape(const npu_command_mac& mac) {
  MacShape shape = {};
  shape.pixels = uint64_t{mac.out_h} * mac.out_w;
  shape.groups = 1;
  shape.kernel_h = mac.kernel_h;
  shape.kernel_w = mac.kernel_w;
  shape.group_inputs = mac.in_c;
  shape.group_outputs = mac.out_c;
  switch (mac.header.opcode) {
    case NPU_OP_DEPTHWISE:
      shape.depthwise = true;
      shape.group_inputs = 1;
      break;
    case NPU_OP_MATMUL:
      shape.kernel_h = shape.kernel_w = 1;
      break;
    default:
      if (mac.groups == 1) break;
      shape.groups = mac.groups;
      shape.group_inputs = mac.in_c / mac.groups;
      shape.group_outputs = mac.out_c / mac.groups;
      break;
  }
  return shape;
}

}  // namespace npu::arch

#endif  // NPU_ARCH_MAC_SHAPE_H_
