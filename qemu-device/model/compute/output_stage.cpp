// SPDX-License-Identifier: MIT
#include "compute/output_stage.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "arch/numerics.h"
#include "compute/tensor.h"

namespace npu::model {

void OutputStage::begin(const npu_command_mac& mac, const npu_mac_extension& ext, uint8_t* sram,
                        Isa isa, const Kernels& kernels) {
  ext_ = ext;
  isa_ = isa;
  kernels_ = &kernels;
  output_type_ = NPU_TYPE_AT(mac.types, 2);
  output_signed_ = output_type_ == NPU_TYPE_INT8;
  residual_signed_ = NPU_TYPE_AT(mac.types, 3) == NPU_TYPE_INT8;
  zero_ = mac.output_zero;
  low_ = mac.clamp_low;
  high_ = mac.clamp_high;
  scale_.assign(mac.out_c, arch::f32_from_bits(mac.scale_f32));
  if ((mac.flags & NPU_MAC_SCALE_PER_CHANNEL) != 0)
    std::memcpy(scale_.data(), sram + mac.scales, scale_.size() * sizeof(float));
  if ((ext.flags & NPU_EXT_LUT1) != 0) std::memcpy(lut1_, sram + ext.lut1, sizeof(lut1_));
  if ((ext.flags & NPU_EXT_LUT2) != 0) std::memcpy(lut2_, sram + ext.lut2, sizeof(lut2_));
}

void OutputStage::values(const int32_t* sums, size_t sums_stride, unsigned rows, unsigned first,
                         unsigned count, const uint8_t* const* residuals,
                         uint8_t* const* out) const {
  const Kernels& kernels = isa_ == Isa::kReference ? kScalarKernels : *kernels_;
  // The output may lie on the residual, which is still to be read.
  uint8_t aside[kMaxRows * MacShape::kMaxRange];
  uint8_t* aside_rows[kMaxRows];
  uint8_t* const* bytes = out;
  if (residuals != nullptr) {
    for (unsigned m = 0; m < rows; ++m) aside_rows[m] = aside + size_t{m} * MacShape::kMaxRange;
    bytes = aside_rows;
  }
  if (isa_ == Isa::kReference) {
    for (unsigned m = 0; m < rows; ++m)
      for (unsigned c = 0; c < count; ++c)
        bytes[m][c] = static_cast<uint8_t>(
            arch::requantize(sums[m * sums_stride + c], scale_[first + c], zero_, low_, high_));
  } else {
    kernels.requantize({sums, sums_stride, rows, count, scale_.data() + first,
                        static_cast<float>(low_ - zero_), static_cast<float>(high_ - zero_), zero_,
                        bytes});
  }
  if ((ext_.flags & NPU_EXT_LUT1) != 0)
    for (unsigned m = 0; m < rows; ++m)
      for (unsigned c = 0; c < count; ++c) bytes[m][c] = lut1_[bytes[m][c]];
  if (residuals != nullptr) {
    const bool residual_first = (ext_.flags & NPU_EXT_RESIDUAL_FIRST) != 0;
    const AddParameters p{arch::f32_from_bits(ext_.ra_f32),
                          arch::f32_from_bits(ext_.rb_f32),
                          arch::f32_from_bits(ext_.fix_f32),
                          static_cast<float>(ext_.residual_low),
                          static_cast<float>(ext_.residual_high),
                          residual_first ? residual_signed_ : output_signed_,
                          residual_first ? output_signed_ : residual_signed_};
    for (unsigned m = 0; m < rows; ++m)
      kernels.add(residual_first ? residuals[m] : bytes[m],
                  residual_first ? bytes[m] : residuals[m], count, p, out[m]);
  }
  if ((ext_.flags & NPU_EXT_LUT2) != 0)
    for (unsigned m = 0; m < rows; ++m)
      for (unsigned c = 0; c < count; ++c) out[m][c] = lut2_[out[m][c]];
}

void OutputStage::raw(const int32_t* sums, unsigned first, unsigned count, uint8_t* out) const {
  if (output_type_ == NPU_TYPE_INT32) {
    std::memcpy(out, sums, count * sizeof(int32_t));
    return;
  }
  for (unsigned c = 0; c < count; ++c) {
    const float value = static_cast<float>(sums[c]) * scale_[first + c];
    std::memcpy(out + c * sizeof(float), &value, sizeof(value));
  }
}

void OutputStage::pool_begin() {
  pool_empty_ = true;
  std::fill(std::begin(pool_sum_), std::end(pool_sum_), 0.0f);
}

void OutputStage::pool_add(const uint8_t* values, unsigned count) {
  if (ext_.pool_kind == NPU_POOL_AVERAGE) {
    const float scale = arch::f32_from_bits(ext_.pool_in_scale_f32);
    for (unsigned c = 0; c < count; ++c)
      pool_sum_[c] +=
          arch::average_tap(value_of(values[c], output_signed_), ext_.pool_in_zero, scale);
  } else if (pool_empty_) {
    std::memcpy(pool_max_, values, count);
  } else {
    const Kernels& kernels = isa_ == Isa::kReference ? kScalarKernels : *kernels_;
    kernels.maximum(values, output_signed_, count, pool_max_);
  }
  pool_empty_ = false;
}

void OutputStage::pool_end(unsigned count, uint8_t* out) {
  if (ext_.pool_kind == NPU_POOL_MAX) {
    std::memcpy(out, pool_max_, count);
    return;
  }
  const int32_t window = ext_.pool_h * ext_.pool_w;
  const float scale = arch::f32_from_bits(ext_.pool_out_scale_f32);
  const int32_t low = output_signed_ ? -128 : 0;
  for (unsigned c = 0; c < count; ++c)
    out[c] = static_cast<uint8_t>(
        arch::average(pool_sum_[c], window, scale, ext_.pool_out_zero, low, low + 255));
}

}  // namespace npu::model
