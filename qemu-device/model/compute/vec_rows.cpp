// SPDX-License-Identifier: MIT
//
// VEC functions whose output pixel is more than an element-wise function of its
// inputs: reductions, softmax, layer normalization, resize.
#include <algorithm>
#include <cstring>

#include "arch/numerics.h"
#include "arch/vec_shape.h"
#include "compute/tensor.h"
#include "compute/vec.h"

namespace npu::model {

bool VecOp::reduce(uint32_t y, uint32_t x, Progress& progress) {
  const unsigned n = vec_.channels;
  const bool maximum = vec_.function == NPU_VEC_REDUCE && (vec_.flags & NPU_VEC_REDUCE_MAX) != 0;
  const uint32_t rows = vec_.out_h == 1 ? vec_.in_h : 1;
  const uint32_t columns = vec_.out_w == 1 ? vec_.in_w : 1;
  std::fill(total_.begin(), total_.end(), 0u);
  for (uint32_t row = y; row < y + rows; ++row) {
    for (uint32_t column = x; column < x + columns; ++column) {
      const uint8_t* a = sram_ + tensor_offset(vec_.a, row, column);
      if (!maximum) {
        for (unsigned c = 0; c < n; ++c)
          total_[c] += static_cast<uint32_t>(value_of(a[c], a_signed_));
      } else if (row == y && column == x) {
        std::memcpy(best_.data(), a, n);
      } else {
        kernels_->maximum(a, a_signed_, n, best_.data());
      }
      if (!progress.work(n / 8 + 5)) return false;
    }
  }
  const unsigned channels = arch::vec_out_channels(vec_);
  uint8_t* out = sram_ + tensor_offset(vec_.out, y, x);
  if (maximum) {
    if (channels < n) best_[0] = static_cast<uint8_t>(largest(best_.data(), n));
    std::memcpy(out, best_.data(), channels);
    return true;
  }
  for (unsigned c = channels; c < n; ++c) total_[0] += total_[c];
  const auto count = static_cast<int32_t>(arch::vec_reduced_elements(vec_));
  for (unsigned c = 0; c < channels; ++c)
    out[c] = static_cast<uint8_t>(arch::global_average(static_cast<int32_t>(total_[c]), count,
                                                       vec_.a_zero, p0_, vec_.out_zero, vec_.low,
                                                       vec_.high));
  return true;
}

int32_t VecOp::largest(const uint8_t* values, unsigned count) const {
  int32_t result = value_of(values[0], a_signed_);
  for (unsigned c = 1; c < count; ++c) result = std::max(result, value_of(values[c], a_signed_));
  return result;
}

void VecOp::softmax(const uint8_t* a, uint8_t* out) {
  const unsigned n = vec_.channels;
  const int32_t top = largest(a, n);
  const auto entry = [&]<typename T>(T, unsigned c) {
    return load_as<T>(table_.data() +
                      sizeof(T) * arch::softmax_index(value_of(a[c], a_signed_), top));
  };
  if ((vec_.flags & NPU_VEC_SOFTMAX_FP32) != 0) {
    float sum = 0;
    for (unsigned c = 0; c < n; ++c) sum += entry(float{}, c);
    for (unsigned c = 0; c < n; ++c)
      result_[c] = static_cast<uint8_t>(
          arch::softmax_f32(entry(float{}, c), sum, p0_, vec_.out_zero, vec_.low, vec_.high));
  } else {
    uint64_t sum = 0;
    for (unsigned c = 0; c < n; ++c) sum += entry(uint32_t{}, c);
    const auto multiplier = static_cast<uint32_t>(p0_);
    for (unsigned c = 0; c < n; ++c)
      result_[c] = static_cast<uint8_t>(arch::softmax_integer(entry(uint32_t{}, c), sum, multiplier,
                                                              vec_.out_zero, vec_.low, vec_.high));
  }
  std::memcpy(out, result_.data(), n);
}

void VecOp::layer_norm(const uint8_t* a, uint8_t* out) {
  const unsigned n = vec_.channels;
  int64_t sum = 0, squares = 0;
  for (unsigned c = 0; c < n; ++c) {
    const int32_t value = value_of(a[c], a_signed_);
    sum += value;
    squares += value * value;
  }
  const arch::LayerNormRow row =
      arch::layer_norm_row(sum, squares, n, p0_, arch::f32_from_bits(vec_.epsilon_f32));
  const uint8_t* gamma = table_.data();
  const uint8_t* beta = gamma + size_t{n} * sizeof(float);
  for (unsigned c = 0; c < n; ++c)
    out[c] = static_cast<uint8_t>(arch::layer_norm(
        value_of(a[c], a_signed_), row, load_as<float>(gamma + c * sizeof(float)),
        load_as<float>(beta + c * sizeof(float)), p1_, vec_.out_zero, vec_.low, vec_.high));
}

void VecOp::resize(uint32_t y, uint32_t x) {
  const auto entry = [&](size_t index) {
    return load_as<npu_resize_entry>(table_.data() + index * sizeof(npu_resize_entry));
  };
  const npu_resize_entry row = entry(y), column = entry(size_t{vec_.out_h} + x);
  const auto input = [&](uint16_t at_row, uint16_t at_column) {
    return sram_ + tensor_offset(vec_.a, std::min<uint32_t>(at_row, vec_.in_h - 1u),
                                 std::min<uint32_t>(at_column, vec_.in_w - 1u));
  };
  uint8_t* out = sram_ + tensor_offset(vec_.out, y, x);
  const unsigned n = vec_.channels;
  if ((vec_.flags & NPU_VEC_RESIZE_LINEAR) == 0) {
    std::memcpy(out, input(row.first, column.first), n);
    return;
  }
  const uint8_t* from[2][2] = {{input(row.first, column.first), input(row.first, column.second)},
                               {input(row.second, column.first), input(row.second, column.second)}};
  const bool truncated = (vec_.flags & NPU_VEC_RESIZE_TRUNCATE) != 0;
  const int32_t low = out_signed_ ? -128 : 0;
  for (unsigned c = 0; c < n; ++c) {
    int32_t a[2][2];
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j) a[i][j] = value_of(from[i][j][c], a_signed_) - vec_.a_zero;
    const float value = arch::interpolate(a, arch::f32_from_bits(row.weight_f32),
                                          arch::f32_from_bits(column.weight_f32));
    out[c] = static_cast<uint8_t>(
        truncated ? arch::resize_truncated(value, low, low + 255)
                  : arch::resize_linear(value, p0_, vec_.out_zero, vec_.low, vec_.high));
  }
}

}  // namespace npu::model
