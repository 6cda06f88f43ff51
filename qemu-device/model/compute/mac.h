// SPDX-License-Identifier: MIT
//
// Executes one MAC command: convolution, depthwise convolution or matrix
// product, with the output stage. A unit is a range of output channels of a
// tile of output pixels, however it is computed: element by element from the
// definition (Isa::kReference, and whatever the other ways cannot hold), as a
// product of rows of inputs with packed weights, or channel by channel.
#ifndef NPU_MODEL_COMPUTE_MAC_H_
#define NPU_MODEL_COMPUTE_MAC_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "arch/stream.h"
#include "compute/input_rows.h"
#include "compute/kernels.h"
#include "compute/mac_shape.h"
#include "compute/output_stage.h"
#include "compute/packed_weights.h"
#include "core.h"
#include "progress.h"

namespace npu::model {

class MacOp {
 public:
  // A command that has been decoded.
  void begin(const arch::Command& command, CoreMemory& memory);
  // Continues at unit `cursor`. True when the command is complete.
  bool run(uint64_t& cursor, Progress& progress);
  uint64_t units() const { return units_; }

 private:
  enum class Path { kReference, kGemm, kDepthwise };

  void choose_path();
  void prepare_gemm();
  void prepare_depthwise();
  uint8_t weight_byte(unsigned oc, unsigned index) const;
  int32_t weight_zero(unsigned oc) const;

  bool plain_unit(uint64_t tile, const ChannelRange& range, Progress& progress);
  bool pool_unit(uint64_t tile, const ChannelRange& range, Progress& progress);
  // key: identifies pixels and group; 0: nothing does.
  void set_input(const Pixel* pixels, unsigned count, const ChannelRange& range, uint64_t key);
  // Where the range lies in the residual of each pixel; null: there is none.
  const uint8_t* const* find_residuals(const Pixel* pixels, unsigned count,
                                       const ChannelRange& range, const uint8_t** out) const;
  // Sums of `count` pixels, row i at i * kMaxRange.
  bool accumulate(const Pixel* pixels, unsigned count, const ChannelRange& range,
                  Progress& progress);
  bool accumulate_reference(const Pixel* pixels, unsigned count, const ChannelRange& range,
                            Progress& progress);
  bool accumulate_gemm(const Pixel* pixels, unsigned count, const ChannelRange& range,
                       Progress& progress);
  bool accumulate_depthwise(const Pixel* pixels, unsigned count, const ChannelRange& range,
                            Progress& progress);
  int32_t* sums(unsigned row) { return memory_->sums().data() + size_t{row} * kSumsStride; }
  // Calls move(accumulators, channel of the range, count) for each stretch.
  template <typename Move>
  void with_kept(const Pixel& pixel, const ChannelRange& range, Move move);

  static constexpr size_t kSumsStride = MacShape::kMaxRange;

  CoreMemory* memory_ = nullptr;
  uint8_t* sram_ = nullptr;
  npu_command_mac mac_;
  npu_mac_extension ext_;
  MacShape shape_;
  OutputStage output_;
  Path path_ = Path::kReference;
  Isa isa_ = Isa::kReference;
  const Kernels* kernels_ = nullptr;
  uint64_t units_;
  unsigned tile_;           // pixels of a unit; with a pool, pooled pixels
  unsigned held_;           // pixels whose sums are held at a time
  uint64_t per_ns_ = 1;     // products per nanosecond, roughly
  size_t depth_block_ = 0;  // bytes of each row between reports of progress

  std::vector<int32_t> bias_;
  // By column as packed, or by channel: bias and the constant part of the zero
  // points; what multiplies the sum of a pixel's inputs (empty: nothing does).
  std::vector<int32_t> start_, input_factor_;
  std::shared_ptr<const PackedWeights> packed_;
  InputRows input_;
  uint64_t input_key_ = 0;  // for which pixels and group input_ is set; 0: for none
  bool quads_ = false;
  std::vector<int16_t> pair_weights_;
  std::vector<int8_t> quad_weights_;
};

template <typename Move>
void MacOp::with_kept(const Pixel& pixel, const ChannelRange& range, Move move) {
  const unsigned lanes = memory_->lanes();
  const uint64_t pixels = uint64_t{mac_.out_h} * mac_.out_w;
  for (unsigned done = 0; done < range.count;) {
    const unsigned channel = range.first + done;
    const unsigned n = std::min(range.count - done, lanes - channel % lanes);
    const uint64_t row =
        mac_.accumulator_base + channel / lanes * pixels + uint64_t{pixel.y} * mac_.out_w + pixel.x;
    // The stream check bounds the row; a wrong one must not leave the array.
    int32_t* kept = memory_->accumulator_row(
        static_cast<uint32_t>(std::min<uint64_t>(row, memory_->accumulator_rows() - 1)));
    move(kept + channel % lanes, done, n);
    done += n;
  }
}

}  // namespace npu::model

#endif  // NPU_MODEL_COMPUTE_MAC_H_
