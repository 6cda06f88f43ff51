// SPDX-License-Identifier: MIT
//
// Compiled with -mavx2 -mfma; see kernels.h about what may be included here.
#include <immintrin.h>

#include "compute/kernels.h"

namespace npu::model {
namespace {

// Two partial sums per column: products k, k+1 and k+2, k+3 of each group. The
// last dimension of an accumulator holds four columns.
template <size_t kRows>
void gemm_tile(const GemmTask& t, size_t row, size_t column) {
  __m256i sum[kRows][4];
  for (size_t r = 0; r < kRows; ++r)
    for (int c = 0; c < 4; ++c) sum[r][c] = _mm256_setzero_si256();
  const __m128i flips = _mm_set1_epi8(static_cast<char>(t.flip));
  const int8_t* b = t.panel + column * kGemmDepth;
  for (size_t p = 0; p < t.pieces; ++p) {
    const uint8_t* const* inputs = t.inputs + p * t.piece_stride + row;
    for (size_t g = 0; g < t.groups; ++g, b += t.columns * kGemmDepth) {
      __m256i x[kRows];
      for (size_t r = 0; r < kRows; ++r) {
        int word;
        __builtin_memcpy(&word, inputs[r] + t.offset + g * kGemmDepth, 4);
        x[r] = _mm256_cvtepu8_epi16(_mm_xor_si128(_mm_set1_epi32(word), flips));
      }
      for (int c = 0; c < 4; ++c) {
        const __m256i w = _mm256_cvtepi8_epi16(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(b + static_cast<ptrdiff_t>(c) * 16)));
        for (size_t r = 0; r < kRows; ++r)
          sum[r][c] = _mm256_add_epi32(sum[r][c], _mm256_madd_epi16(x[r], w));
      }
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    const int32_t* start = t.start + (row + r) * t.start_stride + column;
    int32_t* out = t.sums + (row + r) * t.sums_stride + column;
    for (int c = 0; c < 4; c += 2) {
      // hadd works per 128-bit half: columns 0 1 | 4 5 | 2 3 | 6 7.
      const __m256i pairs = _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[r][c], sum[r][c + 1]),
                                                     _MM_SHUFFLE(3, 1, 2, 0));
      const __m256i from = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(start + c * 4));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + c * 4), _mm256_add_epi32(from, pairs));
    }
  }
}

void gemm(const GemmTask& t) {
  for (size_t column = 0; column < t.columns; column += kGemmColumns) {
    size_t row = 0;
    for (; row + 2 <= t.rows; row += 2) gemm_tile<2>(t, row, column);
    if (row < t.rows) gemm_tile<1>(t, row, column);
  }
}

void pack(const PackTask& task) {
  kScalarKernels.pack(task);
}

__m256i widen(const uint8_t* x, bool is_signed) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(x));
  return is_signed ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes);
}

// Low bytes of eight integers.
void store_bytes(__m256i values, uint8_t* out) {
  const __m256i pick =
      _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1,
                       -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const __m256i packed = _mm256_shuffle_epi8(values, pick);
  const int low = _mm256_extract_epi32(packed, 0);
  const int high = _mm256_extract_epi32(packed, 4);
  __builtin_memcpy(out, &low, 4);
  __builtin_memcpy(out + 4, &high, 4);
}

void depthwise(const DepthwiseTask& t) {
  const size_t whole = t.channels / 8 * 8;
  for (size_t m = 0; m < t.rows; ++m) {
    const uint8_t* const* taps = t.taps + m;
    for (size_t c = 0; c < whole; c += 8) {
      __m256i sum = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.start + c));
      for (size_t p = 0; p < t.pairs; ++p) {
        const auto load = [&](size_t tap) {
          return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(taps[tap * t.tap_stride] + c));
        };
        const __m128i bytes = _mm_unpacklo_epi8(load(2 * p), load(2 * p + 1));
        const __m256i x = t.is_signed ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes);
        const __m256i w = _mm256_loadu_si256(
            reinterpret_cast<const __m256i*>(t.weights + (p * t.weight_stride + c) * 2));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
      }
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(t.sums + m * t.sums_stride + c), sum);
    }
    for (size_t c = whole; c < t.channels; ++c) {
      auto sum = static_cast<uint32_t>(t.start[c]);
      for (size_t tap = 0; tap < 2 * t.pairs; ++tap) {
        const uint8_t byte = taps[tap * t.tap_stride][c];
        const int x = t.is_signed ? static_cast<int8_t>(byte) : byte;
        sum += static_cast<uint32_t>(x * t.weights[(tap / 2 * t.weight_stride + c) * 2 + tap % 2]);
      }
      t.sums[m * t.sums_stride + c] = static_cast<int32_t>(sum);
    }
  }
}

__m256 clamp(__m256 v, __m256 low, __m256 high) {
  return _mm256_min_ps(_mm256_max_ps(v, low), high);
}

void requantize(const RequantizeTask& t) {
  const __m256 lows = _mm256_set1_ps(t.low), highs = _mm256_set1_ps(t.high);
  const __m256i zeros = _mm256_set1_epi32(t.zero);
  const size_t whole = t.channels / 8 * 8;
  for (size_t m = 0; m < t.rows; ++m) {
    const int32_t* sums = t.sums + m * t.sums_stride;
    for (size_t c = 0; c < whole; c += 8) {
      const __m256 sum =
          _mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + c)));
      const __m256 scaled = clamp(_mm256_mul_ps(sum, _mm256_loadu_ps(t.scale + c)), lows, highs);
      store_bytes(_mm256_add_epi32(_mm256_cvtps_epi32(scaled), zeros), t.out[m] + c);
    }
    if (whole == t.channels) continue;
    RequantizeTask rest = t;
    uint8_t* out = t.out[m] + whole;
    rest.sums = sums + whole;
    rest.rows = 1;
    rest.channels = t.channels - whole;
    rest.scale = t.scale + whole;
    rest.out = &out;
    kScalarKernels.requantize(rest);
  }
}

void add(const uint8_t* a, const uint8_t* b, size_t n, const AddParameters& p, uint8_t* out) {
  const __m256 ra = _mm256_set1_ps(p.ra), rb = _mm256_set1_ps(p.rb), fix = _mm256_set1_ps(p.fix);
  const __m256 lows = _mm256_set1_ps(p.low), highs = _mm256_set1_ps(p.high);
  size_t c = 0;
  for (; c + 8 <= n; c += 8) {
    const __m256 va = _mm256_cvtepi32_ps(widen(a + c, p.a_signed));
    const __m256 vb = _mm256_cvtepi32_ps(widen(b + c, p.b_signed));
    const __m256 sum = _mm256_fmadd_ps(va, ra, _mm256_fmadd_ps(vb, rb, fix));
    store_bytes(
        _mm256_cvtps_epi32(clamp(
            _mm256_round_ps(sum, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), lows, highs)),
        out + c);
  }
  if (c < n) kScalarKernels.add(a + c, b + c, n - c, p, out + c);
}

void maximum(const uint8_t* x, bool is_signed, size_t n, uint8_t* best) {
  size_t c = 0;
  for (; c + 32 <= n; c += 32) {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + c));
    auto* at = reinterpret_cast<__m256i*>(best + c);
    const __m256i old = _mm256_loadu_si256(at);
    _mm256_storeu_si256(at, is_signed ? _mm256_max_epi8(v, old) : _mm256_max_epu8(v, old));
  }
  if (c < n) kScalarKernels.maximum(x + c, is_signed, n - c, best + c);
}

}  // namespace

const Kernels kAvx2Kernels = {gemm, pack, depthwise, nullptr, requantize, add, maximum};

}  // namespace npu::model
