// SPDX-License-Identifier: MIT
//
// The output stage of the MAC engine: from sums to what is stored.
#ifndef NPU_MODEL_COMPUTE_OUTPUT_STAGE_H_
#define NPU_MODEL_COMPUTE_OUTPUT_STAGE_H_

#include <cstdint>
#include <vector>

#include "compute/kernels.h"
#include "compute/mac_shape.h"
#include "npu/command.h"

namespace npu::model {

class OutputStage {
 public:
  // Reads scale table, LUTs and parameters. sram outlives the command.
  void begin(const npu_command_mac& mac, const npu_mac_extension& ext, uint8_t* sram, Isa isa,
             const Kernels& kernels);

  // The 8-bit chain up to the second LUT for `rows` pixels, at most kMaxRows,
  // and `count` channels of each from `first` on: sums to bytes. residuals: those
  // channels of each pixel, or null; may be what is in `out`.
  static constexpr unsigned kMaxRows = 96;
  void values(const int32_t* sums, size_t sums_stride, unsigned rows, unsigned first,
              unsigned count, const uint8_t* const* residuals, uint8_t* const* out) const;
  // INT32 or FP32 output of one pixel.
  void raw(const int32_t* sums, unsigned first, unsigned count, uint8_t* out) const;

  // Pools `count` channels, at most kMaxRange.
  bool pools() const { return ext_.pool_kind != NPU_POOL_NONE; }
  void pool_begin();
  void pool_add(const uint8_t* values, unsigned count);
  void pool_end(unsigned count, uint8_t* out);  // one pooled pixel

  unsigned output_element_bytes() const {
    return output_type_ == NPU_TYPE_INT32 || output_type_ == NPU_TYPE_FP32 ? 4 : 1;
  }
  bool raw_output() const { return output_element_bytes() == 4; }

 private:
  npu_mac_extension ext_;
  Isa isa_ = Isa::kReference;
  const Kernels* kernels_ = nullptr;
  unsigned output_type_ = NPU_TYPE_NONE;
  bool output_signed_ = false;
  bool residual_signed_ = false;
  int32_t zero_ = 0, low_ = 0, high_ = 0;
  std::vector<float> scale_;
  uint8_t lut1_[256], lut2_[256];
  uint8_t pool_max_[MacShape::kMaxRange];
  float pool_sum_[MacShape::kMaxRange];
  bool pool_empty_ = true;
};

}  // namespace npu::model

#endif  // NPU_MODEL_COMPUTE_OUTPUT_STAGE_H_
