// SPDX-License-Identifier: MIT
//
// Executes one MAC command: convolution, depthwise convolution or matrix
// product, with the output stage. A unit is a tile of output pixels, all
// channels; a tile is computed either element by element from the definition
// (Isa::kReference, and whatever the packed paths cannot hold), or as a
// product of an im2col panel with packed weights.
#ifndef NPU_MODEL_COMPUTE_MAC_H_
#define NPU_MODEL_COMPUTE_MAC_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "arch/stream.h"
#include "compute/kernels.h"
#include "compute/output_stage.h"
#include "core.h"
#include "progress.h"

namespace npu::model {

class MacOp {
 public:
  // False: operand types that this engine does not execute.
  bool begin(const arch::Command& command, CoreMemory& memory);
  // Continues at unit `cursor`. True when the command is complete.
  bool run(uint64_t& cursor, Progress& progress);

 private:
  enum class Path { kReference, kGemm, kDepthwise };

  struct Pixel {
    uint32_t y, x;
  };

  void choose_path();
  void pack_gemm();
  uint32_t pack_row(unsigned oc, uint8_t flip, int8_t* tile) const;
  uint32_t pack_strided(unsigned oc, uint8_t flip, int8_t* tile) const;
  void pack_depthwise();
  uint8_t weight_byte(unsigned oc, unsigned index) const;
  int32_t weight_zero(unsigned oc) const;

  bool plain_unit(uint64_t tile, Progress& progress);
  bool pool_unit(uint64_t tile, Progress& progress);
  // Sums of `count` pixels into sums_, row i at i * sums_stride_.
  bool accumulate(const Pixel* pixels, unsigned count, Progress& progress);
  bool accumulate_reference(const Pixel* pixels, unsigned count, Progress& progress);
  bool accumulate_gemm(const Pixel* pixels, unsigned count, Progress& progress);
  bool accumulate_depthwise(const Pixel* pixels, unsigned count, Progress& progress);
  void gather_panel(const Pixel* pixels, unsigned count, unsigned group);
  void start_sums(const Pixel* pixels, unsigned count);
  int32_t* kept_row(const Pixel& pixel, unsigned lane_tile);
  void compact(unsigned count);

  CoreMemory* memory_ = nullptr;
  uint8_t* sram_ = nullptr;
  npu_command_mac mac_;
  npu_mac_extension ext_;
  OutputStage output_;
  Path path_ = Path::kReference;
  Isa isa_ = Isa::kReference;
  const Kernels* kernels_ = nullptr;

  // The command, normalised: a matrix product is a 1x1 convolution.
  unsigned kernel_h_, kernel_w_, stride_y_, stride_x_, dilation_y_, dilation_x_;
  unsigned groups_, group_in_, group_out_;
  unsigned depth_;  // products per sum
  bool input_signed_, weight_signed_, weights_kn_;
  uint64_t units_;
  unsigned tile_;  // pixels whose sums are held at a time

  std::vector<int32_t> bias_;
  std::vector<int32_t> start_;         // bias and the constant part of the zero points
  std::vector<int32_t> input_factor_;  // multiplies the sum of a pixel's inputs; empty: none
  unsigned padded_group_out_ = 0;      // columns of a group, padded for gemm
  size_t padded_depth_ = 0;
  std::vector<int8_t> packed_;
  std::vector<int16_t> taps_;
  std::vector<uint8_t> panel_;
  std::vector<uint32_t> panel_sum_;
  std::vector<int32_t> sums_;
  size_t sums_stride_ = 0;
  std::vector<uint8_t> bytes_;
  uint64_t per_ns_ = 1;  // products per nanosecond, roughly
};

}  // namespace npu::model

#endif  // NPU_MODEL_COMPUTE_MAC_H_
