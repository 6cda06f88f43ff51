// SPDX-License-Identifier: MIT
//
// Inner loops with one implementation per instruction set. Everything else in
// compute/ is compiled for the baseline.
//
// The files that implement them are compiled with their own -m flags and must
// not include headers with inline functions: the linker might pick their copy
// for the whole library.
#ifndef NPU_MODEL_COMPUTE_KERNELS_H_
#define NPU_MODEL_COMPUTE_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

namespace npu::model {

enum class Isa { kReference, kScalar, kAvx2, kAvx512Vnni };

// Packed weights of gemm: [tile of 16 columns][k / 4][16][4], zero-filled.
constexpr size_t kGemmColumns = 16;
constexpr size_t kGemmDepth = 4;

struct AddParameters {
  float ra, rb, fix;
  float low, high;  // of the output type's range or narrower
  bool a_signed, b_signed;
};

struct Kernels {
  // acc[m][16 * tiles] += a[m][4 * groups] * b, with a unsigned, b signed, in
  // 32-bit wrap-around. lda and ldb (between tiles) in bytes, ldacc in elements.
  void (*gemm)(const uint8_t* a, size_t lda, size_t rows, const int8_t* b, size_t ldb, size_t tiles,
               size_t groups, int32_t* acc, size_t ldacc);
  // acc[c] += (x[c] - zero) * w[c] for x int8 or uint8.
  void (*depthwise_tap)(const uint8_t* x, bool x_signed, int32_t zero, const int16_t* w, size_t n,
                        int32_t* acc);
  // out[c] = clamp(rint(f32(acc[c]) * scale[c]), low, high) + zero, low byte.
  void (*requantize)(const int32_t* acc, const float* scale, size_t n, float low, float high,
                     int32_t zero, uint8_t* out);
  // out[c] = clamp(rint(fma(a, ra, fma(b, rb, fix))), low, high), low byte.
  void (*add)(const uint8_t* a, const uint8_t* b, size_t n, const AddParameters& p, uint8_t* out);
  // best[c] = max(best[c], x[c])
  void (*maximum)(const uint8_t* x, bool is_signed, size_t n, uint8_t* best);
};

extern const Kernels kScalarKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512VnniKernels;

// The best the processor has, or what a test forced. kReference: every command
// takes the element-by-element path, which the others must equal.
Isa current_isa();
const Kernels& current_kernels();
bool isa_available(Isa isa);
void force_isa_for_test(Isa isa);

}  // namespace npu::model

#endif  // NPU_MODEL_COMPUTE_KERNELS_H_
