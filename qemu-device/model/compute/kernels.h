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

// A panel of packed weights has 16, 32, 48 or 64 columns (output channels):
// [k / 4][column][4], filled up with zeros.
constexpr size_t kGemmColumns = 16;
constexpr size_t kPanelColumns = 64;
constexpr size_t kGemmDepth = 4;

// sums[m][c] = start[m][c] + the products of row m with column c, in 32-bit
// wrap-around. Inputs are xored with `flip` and then unsigned. Row m consists of `pieces` pieces of
// 4 * groups bytes that lie anywhere, such as the taps of a convolution; the panel has them in
// order.
struct GemmTask {
  const uint8_t* const* inputs;  // [piece][row]
  uint8_t flip;
  size_t piece_stride;  // pointers from piece to piece
  size_t offset;        // bytes from each pointer
  size_t pieces, groups, rows;
  const int8_t* panel;
  size_t columns;
  const int32_t* start;
  size_t start_stride;  // 0: one row for all
  int32_t* sums;
  size_t sums_stride;
};

// Weights of `columns` output channels of `depth` values each, `stride` apart,
// into a panel. Bytes are xored with `flip`. totals[c]: sum of what column c
// became, for `padded` columns.
struct PackTask {
  const uint8_t* weights;
  size_t stride;
  size_t columns, depth;
  uint8_t flip;
  size_t padded;
  int8_t* panel;
  int32_t* totals;
};

// sums[m][c] = start[c] + the products of each tap's channel c with its weight.
struct DepthwiseTask {
  const uint8_t* const* taps;  // [2 * pairs][row]
  size_t tap_stride;           // pointers from tap to tap
  bool is_signed;
  size_t pairs, rows;
  const int16_t* weights;  // [pair][weight_stride channels][2]
  size_t weight_stride;
  size_t channels;
  const int32_t* start;
  int32_t* sums;
  size_t sums_stride;
};

// The same for 8-bit weights, with channels in blocks of kQuadBlock and taps in
// fours: [block][quad][position of the channel][4]. Inputs are xored with `flip`
// and then unsigned.
constexpr size_t kQuadBlock = 64;
struct QuadTask {
  const uint8_t* const* taps;  // [4 * quads][row]
  size_t tap_stride;
  uint8_t flip;
  size_t quads, rows;
  const int8_t* weights;
  size_t channels;
  const int32_t* start;
  int32_t* sums;
  size_t sums_stride;
};
// Within a block: interleaving works per 128 bits.
constexpr size_t quad_position(size_t channel) {
  return channel % 16 / 4 * 16 + channel / 16 * 4 + channel % 4;
}

// out[m][c] = clamp(rint(f32(sums[m][c]) * scale[c]), low, high) + zero, low byte.
struct RequantizeTask {
  const int32_t* sums;
  size_t sums_stride;
  size_t rows, channels;
  const float* scale;
  float low, high;
  int32_t zero;
  uint8_t* const* out;  // [row]
};

struct AddParameters {
  float ra, rb, fix;
  float low, high;  // of the output type's range or narrower
  bool a_signed, b_signed;
};

struct Kernels {
  void (*gemm)(const GemmTask& task);
  void (*pack)(const PackTask& task);
  void (*depthwise)(const DepthwiseTask& task);
  void (*depthwise_quads)(const QuadTask& task);  // null where it has no advantage
  void (*requantize)(const RequantizeTask& task);
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
