// SPDX-License-Identifier: MIT
//
// Compiled with -mavx512f and friends and -mavx512vnni; see kernels.h about
// what may be included here.
#include <immintrin.h>

#include "compute/kernels.h"

namespace npu::model {
namespace {

// A block of kRows rows by kTiles * 16 columns, held in registers. All loop
// bounds within a step are constants, so that the accumulators never leave
// them.
template <size_t kRows, size_t kTiles, bool kFlip>
void gemm_block(const GemmTask& t, size_t row) {
  constexpr size_t kStep = kTiles * kGemmColumns * kGemmDepth;
  __m512i sum[kRows][kTiles];
  // Copies: what is stored below might be the task.
  const size_t start_stride = t.start_stride, sums_stride = t.sums_stride;
  const size_t piece_stride = t.piece_stride, offset = t.offset;
  const size_t bytes = t.groups * kGemmDepth;
  const __m512i flips = _mm512_set1_epi8(static_cast<char>(t.flip));
  const int32_t* start = t.start + row * start_stride;
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (size_t c = 0; c < kTiles; ++c)
      sum[r][c] = _mm512_loadu_si512(start + r * start_stride + c * kGemmColumns);
  const int8_t* b = t.panel;
  const uint8_t* const* inputs = t.inputs + row;
  const uint8_t* const* const end = inputs + t.pieces * piece_stride;
  for (; inputs != end; inputs += piece_stride) {
    const uint8_t* a[kRows];
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) a[r] = inputs[r] + offset;
    for (size_t k = 0; k < bytes; k += kGemmDepth, b += kStep) {
      __m512i w[kTiles];
#pragma GCC unroll 4
      for (size_t c = 0; c < kTiles; ++c) {
        w[c] = _mm512_loadu_si512(b + c * 64);
      }
#pragma GCC unroll 8
      for (size_t r = 0; r < kRows; ++r) {
        int word;
        __builtin_memcpy(&word, a[r] + k, 4);
        __m512i x = _mm512_set1_epi32(word);
        if constexpr (kFlip) x = _mm512_xor_si512(x, flips);
#pragma GCC unroll 4
        for (size_t c = 0; c < kTiles; ++c) sum[r][c] = _mm512_dpbusd_epi32(sum[r][c], x, w[c]);
      }
    }
  }
  int32_t* out = t.sums + row * sums_stride;
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r, out += sums_stride)
#pragma GCC unroll 4
    for (size_t c = 0; c < kTiles; ++c) _mm512_storeu_si512(out + c * kGemmColumns, sum[r][c]);
}

template <size_t kTiles, bool kFlip>
void gemm_rows(const GemmTask& t) {
  size_t row = 0;
  for (; row + 6 <= t.rows; row += 6) gemm_block<6, kTiles, kFlip>(t, row);
  switch (t.rows - row) {
    case 5:
      return gemm_block<5, kTiles, kFlip>(t, row);
    case 4:
      return gemm_block<4, kTiles, kFlip>(t, row);
    case 3:
      return gemm_block<3, kTiles, kFlip>(t, row);
    case 2:
      return gemm_block<2, kTiles, kFlip>(t, row);
    case 1:
      return gemm_block<1, kTiles, kFlip>(t, row);
    default:
      return;
  }
}

template <bool kFlip>
void gemm_columns(const GemmTask& t) {
  switch (t.columns / kGemmColumns) {
    case 1:
      return gemm_rows<1, kFlip>(t);
    case 2:
      return gemm_rows<2, kFlip>(t);
    case 3:
      return gemm_rows<3, kFlip>(t);
    default:
      return gemm_rows<4, kFlip>(t);
  }
}

void gemm(const GemmTask& t) {
  if (t.flip != 0)
    gemm_columns<true>(t);
  else
    gemm_columns<false>(t);
}

// 16 rows of 16 groups become 16 groups of 16 rows.
void transpose(__m512i r[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // r[4 q + j]: of rows 4 q to 4 q + 3 the groups j, j + 4, j + 8, j + 12.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    t[j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
    t[4 + j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
    t[8 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
    t[12 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    r[j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0x88);
    r[8 + j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0xdd);
    r[4 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0x88);
    r[12 + j] = _mm512_shuffle_i32x4(t[4 + j], t[12 + j], 0xdd);
  }
}

// 16 columns of 64 values; fewer where `mask` or `columns` say so, then of
// `groups` groups. Adds what the columns sum up to.
template <bool kWhole>
void pack_block(const uint8_t* weights, size_t stride, size_t columns, __mmask64 mask,
                __m512i flips, size_t groups, int8_t* out, size_t out_stride, __m512i* total) {
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i r[16];
#pragma GCC unroll 16
  for (size_t i = 0; i < 16; ++i) {
    if constexpr (kWhole) {
      r[i] = _mm512_xor_si512(flips, _mm512_loadu_si512(weights + i * stride));
    } else if (i < columns) {
      r[i] = _mm512_maskz_mov_epi8(
          mask, _mm512_xor_si512(flips, _mm512_maskz_loadu_epi8(mask, weights + i * stride)));
    } else {
      r[i] = _mm512_setzero_si512();
    }
  }
  transpose(r);
  __m512i sums[2] = {*total, _mm512_setzero_si512()};
#pragma GCC unroll 16
  for (size_t g = 0; g < 16; ++g) {
    if (!kWhole && g >= groups) break;
    sums[g % 2] = _mm512_dpbusd_epi32(sums[g % 2], ones, r[g]);
    _mm512_storeu_si512(out + g * out_stride, r[g]);
  }
  *total = _mm512_add_epi32(sums[0], sums[1]);
}

void pack(const PackTask& t) {
  const __m512i flips = _mm512_set1_epi8(static_cast<char>(t.flip));
  const size_t groups = (t.depth + kGemmDepth - 1) / kGemmDepth;
  const size_t stride = t.padded * kGemmDepth;
  for (size_t column = 0; column < t.padded; column += 16) {
    __m512i total = _mm512_setzero_si512();
    const uint8_t* weights = t.weights + column * t.stride;
    const size_t columns = t.columns - column;
    int8_t* out = t.panel + column * kGemmDepth;
    size_t k = 0;
    if (columns >= 16)
      for (; k + 64 <= t.depth; k += 64, out += 16 * stride)
        pack_block<true>(weights + k, t.stride, 16, ~0ull, flips, 16, out, stride, &total);
    for (; k < t.depth; k += 64, out += 16 * stride) {
      const size_t left = t.depth - k;
      pack_block<false>(weights + k, t.stride, columns, left >= 64 ? ~0ull : (1ull << left) - 1,
                        flips, groups - k / kGemmDepth, out, stride, &total);
    }
    _mm512_storeu_si512(t.totals + column, total);
  }
}

__mmask16 first(size_t n) {
  return n >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << n) - 1);
}

__m512i widen(__m128i bytes, bool is_signed) {
  return is_signed ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
}

template <bool kSigned>
void depthwise_channels(const DepthwiseTask& t) {
  for (size_t c = 0; c < t.channels; c += 16) {
    const __mmask16 mask = first(t.channels - c);
    const __m512i start = _mm512_maskz_loadu_epi32(mask, t.start + c);
    for (size_t m = 0; m < t.rows; ++m) {
      const uint8_t* const* taps = t.taps + m;
      __m512i sum = start;
      for (size_t p = 0; p < t.pairs; ++p, taps += 2 * t.tap_stride) {
        const __m128i even = _mm_maskz_loadu_epi8(mask, taps[0] + c);
        const __m128i odd = _mm_maskz_loadu_epi8(mask, taps[t.tap_stride] + c);
        const __m256i bytes = _mm256_inserti128_si256(
            _mm256_castsi128_si256(_mm_unpacklo_epi8(even, odd)), _mm_unpackhi_epi8(even, odd), 1);
        const __m512i x = kSigned ? _mm512_cvtepi8_epi16(bytes) : _mm512_cvtepu8_epi16(bytes);
        const __m512i w = _mm512_maskz_loadu_epi32(mask, t.weights + (p * t.weight_stride + c) * 2);
        sum = _mm512_dpwssd_epi32(sum, x, w);
      }
      _mm512_mask_storeu_epi32(t.sums + m * t.sums_stride + c, mask, sum);
    }
  }
}

void depthwise(const DepthwiseTask& t) {
  if (t.is_signed)
    depthwise_channels<true>(t);
  else
    depthwise_channels<false>(t);
}

// Lane i of vector j becomes lane j of vector i.
void transpose_lanes(__m512i v[4]) {
  const __m512i a = _mm512_shuffle_i32x4(v[0], v[1], 0x44),
                b = _mm512_shuffle_i32x4(v[0], v[1], 0xee);
  const __m512i c = _mm512_shuffle_i32x4(v[2], v[3], 0x44),
                d = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
  v[0] = _mm512_shuffle_i32x4(a, c, 0x88);
  v[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
  v[2] = _mm512_shuffle_i32x4(b, d, 0x88);
  v[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
}

// One block of channels, at least one and at most kQuadBlock.
void quad_block(const QuadTask& t, size_t c, const int8_t* weights) {
  const __m512i flips = _mm512_set1_epi8(static_cast<char>(t.flip));
  const size_t left = t.channels - c, tap_stride = t.tap_stride;
  const __mmask64 mask = left >= 64 ? ~0ull : (1ull << left) - 1;
  __mmask16 parts[4];
  __m512i start[4];
#pragma GCC unroll 4
  for (size_t j = 0; j < 4; ++j) {
    parts[j] = 16 * j < left ? first(left - 16 * j) : static_cast<__mmask16>(0);
    start[j] = _mm512_maskz_loadu_epi32(parts[j], t.start + c + 16 * j);
  }
  for (size_t m = 0; m < t.rows; ++m) {
    const uint8_t* const* taps = t.taps + m;
    const int8_t* w = weights;
    __m512i sum[4];
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) sum[j] = _mm512_setzero_si512();
    for (size_t q = 0; q < t.quads; ++q, w += kQuadBlock * 4) {
      __m512i x[4];
#pragma GCC unroll 4
      for (size_t i = 0; i < 4; ++i, taps += tap_stride)
        x[i] = _mm512_xor_si512(flips, _mm512_maskz_loadu_epi8(mask, *taps + c));
      const __m512i low01 = _mm512_unpacklo_epi8(x[0], x[1]);
      const __m512i high01 = _mm512_unpackhi_epi8(x[0], x[1]);
      const __m512i low23 = _mm512_unpacklo_epi8(x[2], x[3]);
      const __m512i high23 = _mm512_unpackhi_epi8(x[2], x[3]);
      sum[0] =
          _mm512_dpbusd_epi32(sum[0], _mm512_unpacklo_epi16(low01, low23), _mm512_loadu_si512(w));
      sum[1] = _mm512_dpbusd_epi32(sum[1], _mm512_unpackhi_epi16(low01, low23),
                                   _mm512_loadu_si512(w + 64));
      sum[2] = _mm512_dpbusd_epi32(sum[2], _mm512_unpacklo_epi16(high01, high23),
                                   _mm512_loadu_si512(w + 128));
      sum[3] = _mm512_dpbusd_epi32(sum[3], _mm512_unpackhi_epi16(high01, high23),
                                   _mm512_loadu_si512(w + 192));
    }
    transpose_lanes(sum);
    int32_t* out = t.sums + m * t.sums_stride + c;
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j)
      _mm512_mask_storeu_epi32(out + 16 * j, parts[j], _mm512_add_epi32(start[j], sum[j]));
  }
}

void depthwise_quads(const QuadTask& t) {
  for (size_t c = 0; c < t.channels; c += kQuadBlock) quad_block(t, c, t.weights + c * t.quads * 4);
}

__m512 clamp(__m512 v, __m512 low, __m512 high) {
  return _mm512_min_ps(_mm512_max_ps(v, low), high);
}

void requantize(const RequantizeTask& t) {
  const __m512 lows = _mm512_set1_ps(t.low), highs = _mm512_set1_ps(t.high);
  const __m512i zeros = _mm512_set1_epi32(t.zero);
  const auto bytes = [&](__m512i sums, __m512 scales) {
    const __m512 scaled = clamp(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), scales), lows, highs);
    return _mm512_cvtepi32_epi8(_mm512_add_epi32(_mm512_cvtps_epi32(scaled), zeros));
  };
  // Column by column, so that scales are loaded once.
  for (size_t c = 0; c < t.channels; c += 16) {
    const size_t left = t.channels - c;
    const __mmask16 mask = first(left);
    const __m512 scales = _mm512_maskz_loadu_ps(mask, t.scale + c);
    const int32_t* sums = t.sums + c;
    if (left >= 16) {
      for (size_t m = 0; m < t.rows; ++m, sums += t.sums_stride)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(t.out[m] + c),
                         bytes(_mm512_loadu_si512(sums), scales));
      continue;
    }
    for (size_t m = 0; m < t.rows; ++m, sums += t.sums_stride)
      _mm_mask_storeu_epi8(t.out[m] + c, mask, bytes(_mm512_maskz_loadu_epi32(mask, sums), scales));
  }
}

void add(const uint8_t* a, const uint8_t* b, size_t n, const AddParameters& p, uint8_t* out) {
  const __m512 ra = _mm512_set1_ps(p.ra), rb = _mm512_set1_ps(p.rb), fix = _mm512_set1_ps(p.fix);
  const __m512 lows = _mm512_set1_ps(p.low), highs = _mm512_set1_ps(p.high);
  const auto bytes = [&](__m128i va, __m128i vb) {
    const __m512 sum =
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(widen(va, p.a_signed)), ra,
                        _mm512_fmadd_ps(_mm512_cvtepi32_ps(widen(vb, p.b_signed)), rb, fix));
    const __m512 rounded = _mm512_roundscale_ps(sum, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(clamp(rounded, lows, highs)));
  };
  size_t c = 0;
  for (; c + 16 <= n; c += 16)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + c),
                     bytes(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a + c)),
                           _mm_loadu_si128(reinterpret_cast<const __m128i*>(b + c))));
  if (c == n) return;
  const __mmask16 mask = first(n - c);
  _mm_mask_storeu_epi8(out + c, mask,
                       bytes(_mm_maskz_loadu_epi8(mask, a + c), _mm_maskz_loadu_epi8(mask, b + c)));
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

const Kernels kAvx512VnniKernels = {gemm,       pack, depthwise, depthwise_quads,
                                    requantize, add,  maximum};

}  // namespace npu::model
