// SPDX-License-Identifier: MIT
#include <cmath>

#include "arch/numerics.h"
#include "compute/kernels.h"
#include "compute/tensor.h"

namespace npu::model {
namespace {

void gemm(const uint8_t* a, size_t lda, size_t rows, const int8_t* b, size_t ldb, size_t tiles,
          size_t groups, int32_t* acc, size_t ldacc) {
  for (size_t m = 0; m < rows; ++m) {
    for (size_t t = 0; t < tiles; ++t) {
      const int8_t* tile = b + t * ldb;
      for (size_t n = 0; n < kGemmColumns; ++n) {
        uint32_t sum = 0;
        for (size_t g = 0; g < groups; ++g)
          for (size_t k = 0; k < kGemmDepth; ++k)
            sum += static_cast<uint32_t>(a[m * lda + g * kGemmDepth + k] *
                                         tile[(g * kGemmColumns + n) * kGemmDepth + k]);
        int32_t& out = acc[m * ldacc + t * kGemmColumns + n];
        out = static_cast<int32_t>(static_cast<uint32_t>(out) + sum);
      }
    }
  }
}

void depthwise_tap(const uint8_t* x, bool x_signed, int32_t zero, const int16_t* w, size_t n,
                   int32_t* acc) {
  for (size_t c = 0; c < n; ++c)
    acc[c] = static_cast<int32_t>(static_cast<uint32_t>(acc[c]) +
                                  static_cast<uint32_t>((value_of(x[c], x_signed) - zero) * w[c]));
}

void requantize(const int32_t* acc, const float* scale, size_t n, float low, float high,
                int32_t zero, uint8_t* out) {
  for (size_t c = 0; c < n; ++c) {
    const float scaled = arch::clamp_f32(static_cast<float>(acc[c]) * scale[c], low, high);
    out[c] = static_cast<uint8_t>(static_cast<int32_t>(std::nearbyintf(scaled)) + zero);
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

const Kernels kScalarKernels = {gemm, depthwise_tap, requantize, add, maximum};

}  // namespace npu::model
