// SPDX-License-Identifier: MIT
//
// SRAM tensors as the compute code sees them.
#ifndef NPU_MODEL_COMPUTE_TENSOR_H_
#define NPU_MODEL_COMPUTE_TENSOR_H_

#include <cstdint>
#include <cstring>

#include "npu/command.h"

namespace npu::model {

// Address of row y, column x, channel 0. Offsets are 64-bit: the range check
// has shown that what is accessed lies in the SRAM.
inline uint64_t tensor_offset(const npu_sram_tensor& t, uint64_t y, uint64_t x) {
  const uint64_t row = t.ring_rows == 0 ? y : (t.ring_first + y) % t.ring_rows;
  return uint64_t{t.address} + row * t.row_stride + x * t.pixel_stride;
}

// First byte behind a tensor, or behind the whole ring that holds it.
inline uint64_t tensor_end(const npu_sram_tensor& t, uint64_t rows, uint64_t columns,
                           uint64_t pixel_bytes) {
  const uint64_t last_row = (t.ring_rows == 0 ? rows : t.ring_rows) - 1;
  return t.address + last_row * t.row_stride + (columns - 1) * t.pixel_stride + pixel_bytes;
}

inline int32_t value_of(uint8_t byte, bool is_signed) {
  return is_signed ? static_cast<int8_t>(byte) : byte;
}

template <typename T>
T load_as(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

}  // namespace npu::model

#endif  // NPU_MODEL_COMPUTE_TENSOR_H_
