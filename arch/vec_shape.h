// SPDX-License-Identifier: MIT
//
// What a VEC command's function makes of its shape: the one place that check,
// footprint, timing and card ask.
#ifndef NPU_ARCH_VEC_SHAPE_H_
#define NPU_ARCH_VEC_SHAPE_H_

#include <cstdint>

#include "npu/command.h"

namespace npu::arch {

inline uint32_t vec_out_channels(const npu_command_vec& vec) {
  const bool reduced = vec.function == NPU_VEC_REDUCE && (vec.flags & NPU_VEC_REDUCE_CHANNELS) != 0;
  return reduced ? 1 : vec.channels;
}

// Bytes at `table`; 0: none.
inline uint64_t vec_table_bytes(const npu_command_vec& vec) {
  switch (vec.function) {
    case NPU_VEC_LUT:
      return 256;
    case NPU_VEC_SOFTMAX:
      return NPU_SOFTMAX_ENTRIES * sizeof(uint32_t);
    case NPU_VEC_LAYER_NORM:
      return uint64_t{vec.channels} * 2 * sizeof(float);
    case NPU_VEC_RESIZE:
      return (uint64_t{vec.out_h} + vec.out_w) * sizeof(npu_resize_entry);
    default:
      return 0;
  }
}

// Whether each output pixel depends on the input pixel in its place alone, so
// that out may be the tensor of an operand.
inline bool vec_in_place(const npu_command_vec& vec) {
  switch (vec.function) {
    case NPU_VEC_ADD:
    case NPU_VEC_MUL:
    case NPU_VEC_LUT:
    case NPU_VEC_SOFTMAX:
    case NPU_VEC_LAYER_NORM:
      return true;
    default:
      return false;
  }
}

// Elements that make one of a REDUCE or POOL_GLOBAL.
inline uint64_t vec_reduced_elements(const npu_command_vec& vec) {
  const uint64_t rows = vec.out_h == 1 ? vec.in_h : 1;
  const uint64_t columns = vec.out_w == 1 ? vec.in_w : 1;
  return rows * columns * (vec.channels / vec_out_channels(vec));
}

}  // namespace npu::arch

#endif  // NPU_ARCH_VEC_SHAPE_H_
