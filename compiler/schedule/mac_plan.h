// SPDX-License-Identifier: MIT
//
// One convolution or product with its output chain as the card will run it:
// its tiling, what is kept in SRAM, and what that costs.
#ifndef NPU_COMPILER_SCHEDULE_MAC_PLAN_H_
#define NPU_COMPILER_SCHEDULE_MAC_PLAN_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "compiler/emit/transfer.h"
#include "compiler/ir/graph.h"
#include "npu/target.h"

namespace npu::compiler {

// Repeats a layer; the strides apply to each operand's offset.
struct OuterDim {
  int64_t extent = 1;
  int64_t input = 0, weights = 0, output = 0, residual = 0;
};

struct MacLayer {
  const MacOp* op = nullptr;
  uint32_t source = 0;
  ByteType input_type = ByteType::kUint8;
  ByteType residual_type = ByteType::kUint8;
  bool depthwise = false;
  int64_t in_h = 1, in_w = 1, out_h = 1, out_w = 1;  // a product's rows are columns
  Operand input, output, residual;
  // The second operand, if it is computed: rows are its k, columns its n.
  bool dynamic = false;
  Operand weights;
  std::vector<OuterDim> outer;
  // Rows of `output` (after pooling) are made in stripes of so many, and the
  // layer's working memory is kept from one to the next; 0: all rows at once.
  int64_t stripe_rows = 0;
  // Output channels that are made; end 0: all. Whole groups, if there are groups.
  int64_t channel_begin = 0, channel_end = 0;

  // Cores that one LOAD of weights serves.
  unsigned weight_sharers = 1;

  int64_t channels_end() const { return channel_end == 0 ? op->out_channels : channel_end; }
  int64_t channels() const { return channels_end() - channel_begin; }
  int64_t group_inputs() const { return op->in_channels / op->groups; }
  int64_t group_outputs() const { return op->out_channels / op->groups; }
  int64_t pool(int i) const { return op->chain.pool ? op->chain.pool->window[i] : 1; }
  // Output rows and columns that count: whole pooling windows.
  int64_t used_h() const { return out_h / pool(0) * pool(0); }
  int64_t used_w() const { return out_w / pool(1) * pool(1); }
  // Some outputs may see padding only: at either end, or between taps that are further apart than
  // the image is long.
  bool sees_padding_only() const {
    const Window& w = op->window;
    const int64_t size[2] = {in_h, in_w};
    for (int i = 0; i < 2; ++i) {
      if (w.pad_before[i] >= w.span(i) || w.pad_after[i] >= w.span(i)) return true;
      if (w.kernel[i] > 1 && w.dilation[i] > size[i]) return true;
    }
    return false;
  }
  // A computed second operand is used where it lies, its rows of k or of n being contiguous.
  bool direct_weights() const {
    if (!dynamic || !weights.on_chip()) return false;
    const int64_t k = weights.stride[1], n = weights.stride[2];
    return (n == 1 && (op->in_channels == 1 || k >= op->out_channels)) ||
           (k == 1 && (op->out_channels == 1 || n >= op->in_channels));
  }
  bool per_channel_scales() const { return op->scales.size() > 1; }
  bool per_channel_zeros() const { return op->weight_zeros.size() > 1; }
};

// A range of output channels with the input channels it needs.
struct ChannelTile {
  int64_t begin, end;        // output channels
  int64_t in_begin, in_end;  // input channels
  int64_t groups;            // of the command
};

// A piece of the sum: kernel rows, kernel columns, input channels (relative to
// the tile's first).
struct SumStep {
  int64_t ky0, ky1, kx0, kx1, c0, c1;
};

inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

inline constexpr uint32_t kSlotAlignment = 64;
// More than any SRAM has; a few of them still add up in 32 bits.
inline constexpr int64_t kHugeSlot = int64_t{64} << 20;
inline uint32_t slot_size(int64_t bytes) {
  bytes = std::min(bytes, kHugeSlot);
  return static_cast<uint32_t>((bytes + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment);
}

// What a piece of work keeps busy for how long, in cycles, alone.
struct Estimate {
  uint64_t engine = 0;  // MAC array or vector unit
  uint64_t memory = 0;  // the card's memory channel
  uint64_t serial = 0;  // what overlaps with nothing
  uint64_t cycles() const { return std::max(engine, memory) + serial; }
  Estimate& operator+=(const Estimate& other) {
    engine += other.engine;
    memory += other.memory;
    serial += other.serial;
    return *this;
  }
  bool operator==(const Estimate&) const = default;
};

// Cycles that moving bytes of a region keeps its memory's channel busy.
uint64_t channel_cycles(uint64_t bytes, uint8_t region, const npu_target& target);

struct MacPlan {
  int64_t tile_h = 1, tile_w = 1, tile_c = 1;  // output tile, before pooling
  int64_t step_h = 1, step_w = 1, step_c = 1;  // extents of a piece of the sum
  bool channels_outer = true;                  // channel tiles outside, pixels inside
  // Places for pieces of operands. Operands that commands use where they lie
  // on chip have slots of 0 bytes.
  uint32_t input_slots = 1, weight_slots = 1, output_slots = 1;
  // SRAM of one slot of each kind.
  uint32_t input_bytes = 0, weight_bytes = 0, parameter_bytes = 0, output_bytes = 0,
           residual_bytes = 0;
  uint32_t table_bytes = 0;
  Estimate estimate;

  // Working memory: what holds constants, and what holds activations.
  uint32_t constant_bytes() const {
    return table_bytes + weight_slots * weight_bytes + 2 * parameter_bytes;
  }
  uint32_t data_bytes() const {
    return input_slots * input_bytes + output_slots * (output_bytes + residual_bytes);
  }
  uint32_t sram_bytes() const { return slot_size(constant_bytes()) + slot_size(data_bytes()); }

  bool splits_sum(const MacLayer& layer) const {
    return step_h < layer.op->window.kernel[0] || step_w < layer.op->window.kernel[1] ||
           step_c < (layer.depthwise ? 1 : layer.group_inputs());
  }
  bool operator==(const MacPlan&) const = default;
};

std::vector<ChannelTile> channel_tiles(const MacLayer& layer, const MacPlan& plan);
std::vector<SumStep> sum_steps(const MacLayer& layer, const MacPlan& plan);

// Bytes of weights of `channels` output channels for one piece of the sum.
int64_t step_weight_bytes(const MacLayer& layer, int64_t channels, int64_t kh, int64_t kw,
                          int64_t c);
// Bias, scales and zero points of `channels` output channels.
int64_t parameter_bytes(const MacLayer& layer, int64_t channels);

// Tilings that fit `sram_bytes`, by growing need of SRAM and falling cycles; none and the
// smallest need in `error` if nothing fits.
std::vector<MacPlan> plan_mac(const MacLayer& layer, const npu_target& target, uint32_t sram_bytes,
                              std::string& error);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_SCHEDULE_MAC_PLAN_H_
