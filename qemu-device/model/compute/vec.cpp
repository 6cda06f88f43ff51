// SPDX-License-Identifier: MIT
#include "compute/vec.h"

#include <algorithm>
#include <cstring>

#include "arch/numerics.h"
#include "arch/vec_shape.h"
#include "compute/tensor.h"

namespace npu::model {

void VecOp::begin(const arch::Command& command, CoreMemory& memory) {
  vec_ = command.vec();
  sram_ = memory.sram();
  kernels_ = current_isa() == Isa::kReference ? &kScalarKernels : &current_kernels();
  const unsigned a = NPU_TYPE_AT(vec_.types, 0);
  const unsigned out = NPU_TYPE_AT(vec_.types, 2);
  a_signed_ = a == NPU_TYPE_INT8;
  b_signed_ = NPU_TYPE_AT(vec_.types, 1) == NPU_TYPE_INT8;
  out_signed_ = out == NPU_TYPE_INT8;
  p0_ = arch::f32_from_bits(vec_.p0_f32);
  p1_ = arch::f32_from_bits(vec_.p1_f32);
  p2_ = arch::f32_from_bits(vec_.p2_f32);
  result_.resize(vec_.channels);
  switch (vec_.function) {
    case NPU_VEC_POOL_MAX:
      best_.resize(vec_.channels);
      break;
    case NPU_VEC_POOL_AVERAGE:
      sum_.resize(vec_.channels);
      break;
    case NPU_VEC_POOL_GLOBAL:
    case NPU_VEC_REDUCE:
      total_.resize(vec_.channels);
      best_.resize(vec_.channels);
      break;
    default:
      break;
  }
  table_.assign(sram_ + vec_.table, sram_ + vec_.table + arch::vec_table_bytes(vec_));
  memory.note_sram(vec_.out.address,
                   tensor_end(vec_.out, vec_.out_h, vec_.out_w, arch::vec_out_channels(vec_)));
}

bool VecOp::run(uint64_t& cursor, Progress& progress) {
  const uint64_t units = uint64_t{vec_.out_h} * vec_.out_w;
  while (cursor < units) {
    if (progress.pause()) return false;
    const auto y = static_cast<uint32_t>(cursor / vec_.out_w);
    const auto x = static_cast<uint32_t>(cursor % vec_.out_w);
    bool done = true;
    switch (vec_.function) {
      case NPU_VEC_POOL_MAX:
      case NPU_VEC_POOL_AVERAGE:
        done = pool(y, x, progress);
        break;
      case NPU_VEC_POOL_GLOBAL:
      case NPU_VEC_REDUCE:
        done = reduce(y, x, progress);
        break;
      case NPU_VEC_SOFTMAX:
        softmax(sram_ + tensor_offset(vec_.a, y, x), sram_ + tensor_offset(vec_.out, y, x));
        progress.work(vec_.channels * 4 + 10);
        break;
      case NPU_VEC_LAYER_NORM:
        layer_norm(sram_ + tensor_offset(vec_.a, y, x), sram_ + tensor_offset(vec_.out, y, x));
        progress.work(vec_.channels * 4 + 50);
        break;
      case NPU_VEC_RESIZE:
        resize(y, x);
        progress.work(vec_.channels * 2 + 10);
        break;
      default:
        element_wise(y, x);
        progress.work(vec_.channels / 2 + 10);
    }
    if (!done) return false;
    ++cursor;
  }
  return true;
}

int32_t VecOp::clamp8(float value) const {
  return static_cast<int32_t>(
      arch::clamp_f32(value, static_cast<float>(vec_.low), static_cast<float>(vec_.high)));
}

void VecOp::element_wise(uint32_t y, uint32_t x) {
  const uint8_t* a = sram_ + tensor_offset(vec_.a, y, x);
  uint8_t* out = sram_ + tensor_offset(vec_.out, y, x);
  const unsigned n = vec_.channels;
  if (vec_.function == NPU_VEC_LUT) {
    for (unsigned c = 0; c < n; ++c) out[c] = table_[a[c]];
    return;
  }
  if (vec_.function == NPU_VEC_CAST) {
    const bool floats = NPU_TYPE_AT(vec_.types, 0) == NPU_TYPE_FP32;
    for (unsigned c = 0; c < n; ++c) {
      const float value = floats ? load_as<float>(a + size_t{c} * 4)
                                 : static_cast<float>(load_as<int32_t>(a + size_t{c} * 4));
      result_[c] = static_cast<uint8_t>(
          clamp8(std::nearbyintf(value * p0_) + static_cast<float>(vec_.out_zero)));
    }
    std::memcpy(out, result_.data(), n);
    return;
  }
  const bool broadcast = (vec_.flags & NPU_VEC_BROADCAST_B) != 0;
  const uint8_t* b = sram_ + tensor_offset(vec_.b, broadcast ? 0 : y, broadcast ? 0 : x);
  if (vec_.function == NPU_VEC_ADD) {
    const AddParameters p{
        p0_,       p1_,      p2_, static_cast<float>(vec_.low), static_cast<float>(vec_.high),
        a_signed_, b_signed_};
    kernels_->add(a, b, n, p, out);
    return;
  }
  for (unsigned c = 0; c < n; ++c)
    out[c] = static_cast<uint8_t>(
        arch::multiply(value_of(a[c], a_signed_), value_of(b[c], b_signed_), vec_.a_zero,
                       vec_.b_zero, p0_, vec_.out_zero, vec_.low, vec_.high));
}

bool VecOp::pool(uint32_t y, uint32_t x, Progress& progress) {
  const bool average = vec_.function == NPU_VEC_POOL_AVERAGE;
  const unsigned n = vec_.channels;
  std::fill(sum_.begin(), sum_.end(), 0.0f);
  int32_t taps = 0;
  for (unsigned ky = 0; ky < vec_.kernel_h; ++ky) {
    const int64_t iy = int64_t{y} * vec_.stride_y - vec_.pad_top + ky;
    if (iy < 0 || iy >= vec_.in_h) continue;
    for (unsigned kx = 0; kx < vec_.kernel_w; ++kx) {
      const int64_t ix = int64_t{x} * vec_.stride_x - vec_.pad_left + kx;
      if (ix < 0 || ix >= vec_.in_w) continue;
      const uint8_t* a =
          sram_ + tensor_offset(vec_.a, static_cast<uint64_t>(iy), static_cast<uint64_t>(ix));
      if (average) {
        for (unsigned c = 0; c < n; ++c)
          sum_[c] += arch::average_tap(value_of(a[c], a_signed_), vec_.a_zero, p0_);
      } else if (taps == 0) {
        std::memcpy(best_.data(), a, n);
      } else {
        kernels_->maximum(a, a_signed_, n, best_.data());
      }
      ++taps;
      if (!progress.work(n / 4 + 5)) return false;
    }
  }
  uint8_t* out = sram_ + tensor_offset(vec_.out, y, x);
  if (!average) {
    std::memcpy(out, best_.data(), n);
    return true;
  }
  const int32_t count =
      (vec_.flags & NPU_VEC_COUNT_PAD) != 0 ? vec_.kernel_h * vec_.kernel_w : std::max(taps, 1);
  for (unsigned c = 0; c < n; ++c)
    out[c] = static_cast<uint8_t>(
        arch::average(sum_[c], count, p1_, vec_.out_zero, vec_.low, vec_.high));
  return true;
}

}  // namespace npu::model
