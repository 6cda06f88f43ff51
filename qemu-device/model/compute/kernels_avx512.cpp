// SPDX-License-Identifier: MIT
//
// Compiled with -mavx512f and friends and -mavx512vnni; see kernels.h about
// what may be included here.
#include <immintrin.h>

#include "compute/kernels.h"

namespace npu::model {
namespace {

// A block of kRows pixels by kTiles * 16 columns, held in registers. All loop
// bounds are constants, so that the accumulators never leave them.
template <int kRows, int kTiles>
void gemm_block(const uint8_t* a, size_t lda, const int8_t* b, size_t ldb, size_t groups,
                int32_t* acc, size_t ldacc) {
  __m512i sum[kRows][kTiles];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t)
      sum[r][t] = _mm512_loadu_si512(acc + static_cast<size_t>(r) * ldacc +
                                     static_cast<size_t>(t) * kGemmColumns);
  for (size_t g = 0; g < groups; ++g) {
    __m512i w[kTiles];
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t)
      w[t] = _mm512_loadu_si512(b + static_cast<size_t>(t) * ldb + g * 64);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      int word;
      __builtin_memcpy(&word, a + static_cast<size_t>(r) * lda + g * 4, 4);
      const __m512i x = _mm512_set1_epi32(word);
#pragma GCC unroll 4
      for (int t = 0; t < kTiles; ++t) sum[r][t] = _mm512_dpbusd_epi32(sum[r][t], x, w[t]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t)
      _mm512_storeu_si512(
          acc + static_cast<size_t>(r) * ldacc + static_cast<size_t>(t) * kGemmColumns, sum[r][t]);
}

template <int kTiles>
void gemm_rows(const uint8_t* a, size_t lda, size_t rows, const int8_t* b, size_t ldb,
               size_t groups, int32_t* acc, size_t ldacc) {
  size_t r = 0;
  for (; r + 6 <= rows; r += 6)
    gemm_block<6, kTiles>(a + r * lda, lda, b, ldb, groups, acc + r * ldacc, ldacc);
  for (; r + 2 <= rows; r += 2)
    gemm_block<2, kTiles>(a + r * lda, lda, b, ldb, groups, acc + r * ldacc, ldacc);
  if (r < rows) gemm_block<1, kTiles>(a + r * lda, lda, b, ldb, groups, acc + r * ldacc, ldacc);
}

void gemm(const uint8_t* a, size_t lda, size_t rows, const int8_t* b, size_t ldb, size_t tiles,
          size_t groups, int32_t* acc, size_t ldacc) {
  for (; tiles >= 4; tiles -= 4, b += 4 * ldb, acc += 4 * kGemmColumns)
    gemm_rows<4>(a, lda, rows, b, ldb, groups, acc, ldacc);
  if (tiles == 3) gemm_rows<3>(a, lda, rows, b, ldb, groups, acc, ldacc);
  if (tiles == 2) gemm_rows<2>(a, lda, rows, b, ldb, groups, acc, ldacc);
  if (tiles == 1) gemm_rows<1>(a, lda, rows, b, ldb, groups, acc, ldacc);
}

__mmask16 first(size_t n) {
  return n >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << n) - 1);
}

__m512i widen(__mmask16 mask, const uint8_t* x, bool is_signed) {
  const __m128i bytes = _mm_maskz_loadu_epi8(mask, x);
  return is_signed ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
}

void depthwise_tap(const uint8_t* x, bool x_signed, int32_t zero, const int16_t* w, size_t n,
                   int32_t* acc) {
  const __m512i zeros = _mm512_set1_epi32(zero);
  for (size_t c = 0; c < n; c += 16) {
    const __mmask16 mask = first(n - c);
    const __m512i weight = _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(mask, w + c));
    const __m512i value = _mm512_sub_epi32(widen(mask, x + c, x_signed), zeros);
    const __m512i old = _mm512_maskz_loadu_epi32(mask, acc + c);
    _mm512_mask_storeu_epi32(acc + c, mask,
                             _mm512_add_epi32(old, _mm512_mullo_epi32(value, weight)));
  }
}

__m512 clamp(__m512 v, __m512 low, __m512 high) {
  return _mm512_min_ps(_mm512_max_ps(v, low), high);
}

void requantize(const int32_t* acc, const float* scale, size_t n, float low, float high,
                int32_t zero, uint8_t* out) {
  const __m512 lows = _mm512_set1_ps(low), highs = _mm512_set1_ps(high);
  const __m512i zeros = _mm512_set1_epi32(zero);
  for (size_t c = 0; c < n; c += 16) {
    const __mmask16 mask = first(n - c);
    const __m512 sum = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(mask, acc + c));
    const __m512 scaled =
        clamp(_mm512_mul_ps(sum, _mm512_maskz_loadu_ps(mask, scale + c)), lows, highs);
    _mm512_mask_cvtepi32_storeu_epi8(out + c, mask,
                                     _mm512_add_epi32(_mm512_cvtps_epi32(scaled), zeros));
  }
}

void add(const uint8_t* a, const uint8_t* b, size_t n, const AddParameters& p, uint8_t* out) {
  const __m512 ra = _mm512_set1_ps(p.ra), rb = _mm512_set1_ps(p.rb), fix = _mm512_set1_ps(p.fix);
  const __m512 lows = _mm512_set1_ps(p.low), highs = _mm512_set1_ps(p.high);
  for (size_t c = 0; c < n; c += 16) {
    const __mmask16 mask = first(n - c);
    const __m512 va = _mm512_cvtepi32_ps(widen(mask, a + c, p.a_signed));
    const __m512 vb = _mm512_cvtepi32_ps(widen(mask, b + c, p.b_signed));
    const __m512 sum = _mm512_fmadd_ps(va, ra, _mm512_fmadd_ps(vb, rb, fix));
    const __m512 rounded = _mm512_roundscale_ps(sum, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm512_mask_cvtepi32_storeu_epi8(out + c, mask,
                                     _mm512_cvtps_epi32(clamp(rounded, lows, highs)));
  }
}

void maximum(const uint8_t* x, bool is_signed, size_t n, uint8_t* best) {
  for (size_t c = 0; c < n; c += 64) {
    const size_t left = n - c;
    const __mmask64 mask = left >= 64 ? ~0ull : (1ull << left) - 1;
    const __m512i v = _mm512_maskz_loadu_epi8(mask, x + c);
    const __m512i old = _mm512_maskz_loadu_epi8(mask, best + c);
    _mm512_mask_storeu_epi8(best + c, mask,
                            is_signed ? _mm512_max_epi8(v, old) : _mm512_max_epu8(v, old));
  }
}

}  // namespace

const Kernels kAvx512VnniKernels = {gemm, depthwise_tap, requantize, add, maximum};

}  // namespace npu::model
