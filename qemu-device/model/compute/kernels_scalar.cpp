// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstring>

#include "arch/numerics.h"
#include "compute/kernels.h"
#include "compute/tensor.h"

namespace npu::model {
namespace {

void gemm(const GemmTask& t) {
  for (size_t m = 0; m < t.rows; ++m) {
    for (size_t n = 0; n < t.columns; ++n) {
      auto sum = static_cast<uint32_t>(t.start[m * t.start_stride + n]);
      const int8_t* b = t.panel + n * kGemmDepth;
      for (size_t p = 0; p < t.pieces; ++p) {
        const uint8_t* a = t.inputs[p * t.piece_stride + m] + t.offset;
        for (size_t g = 0; g < t.groups; ++g, a += kGemmDepth, b += t.columns * kGemmDepth)
          for (size_t k = 0; k < kGemmDepth; ++k)
            sum += static_cast<uint32_t>((a[k] ^ t.flip) * b[k]);
      }
      t.sums[m * t.sums_stride + n] = static_cast<int32_t>(sum);
    }
  }
}

void pack(const PackTask& t) {
  const size_t groups = (t.depth + kGemmDepth - 1) / kGemmDepth;
  std::memset(t.panel, 0, groups * t.padded * kGemmDepth);
  for (size_t c = 0; c < t.padded; ++c) {
    int32_t total = 0;
    const uint8_t* from = t.weights + c * t.stride;
    for (size_t k = 0; c < t.columns && k < t.depth; ++k) {
      const auto w = static_cast<int8_t>(from[k] ^ t.flip);
      t.panel[(k / kGemmDepth * t.padded + c) * kGemmDepth + k % kGemmDepth] = w;
      total += w;
    }
    t.totals[c] = total;
  }
}

void depthwise(const DepthwiseTask& t) {
  for (size_t m = 0; m < t.rows; ++m) {
    for (size_t c = 0; c < t.channels; ++c) {
      auto sum = static_cast<uint32_t>(t.start[c]);
      for (size_t tap = 0; tap < 2 * t.pairs; ++tap)
        sum += static_cast<uint32_t>(value_of(t.taps[tap * t.tap_stride + m][c], t.is_signed) *
                                     t.weights[(tap / 2 * t.weight_stride + c) * 2 + tap % 2]);
      t.sums[m * t.sums_stride + c] = static_cast<int32_t>(sum);
    }
  }
}

void requantize(const RequantizeTask& t) {
  for (size_t m = 0; m < t.rows; ++m) {
    for (size_t c = 0; c < t.channels; ++c) {
      const float scaled = arch::clamp_f32(
          static_cast<float>(t.sums[m * t.sums_stride + c]) * t.scale[c], t.low, t.high);
      t.out[m][c] = static_cast<uint8_t>(static_cast<int32_t>(std::nearbyintf(scaled)) + t.zero);
    }
  }
}

void add(const uint8_t* a, const uint8_t* b, size_t n, const AddParameters& p, uint8_t* out) {
  for (size_t c = 0; c < n; ++c)
    out[c] = static_cast<uint8_t>(arch::add(value_of(a[c], p.a_signed), value_of(b[c], p.b_signed),
                                            p.ra, p.rb, p.fix, static_cast<int32_t>(p.low),
                                            static_cast<int32_t>(p.high)));
}

void maximum(const uint8_t* x, bool is_signed, size_t n, uint8_t* best) {
  for (size_t c = 0; c < n; ++c)
    if (value_of(x[c], is_signed) > value_of(best[c], is_signed)) best[c] = x[c];
}

}  // namespace

const Kernels kScalarKernels = {gemm, pack, depthwise, nullptr, requantize, add, maximum};

}  // namespace npu::model
