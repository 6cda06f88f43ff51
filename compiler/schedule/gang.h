// SPDX-License-Identifier: MIT
//
// One network on several cores at once: each makes a part of every layer's
// output. Every core's SRAM has the same map, with room for whole tensors; what a
// part reads that another core made is brought over first.
#ifndef NPU_COMPILER_SCHEDULE_GANG_H_
#define NPU_COMPILER_SCHEDULE_GANG_H_

#include <cstdint>
#include <map>
#include <vector>

#include "compiler/emit/emitter.h"
#include "compiler/schedule/steps.h"
#include "npu/target.h"

namespace npu::compiler {

// By what a layer's output is divided. Rows need the least exchanged, channels the fewest
// weights per core; where neither is possible the first core makes everything (kNone). With
// kImages the layer is that of one image, and every core makes all of its own.
enum class Split : uint8_t { kNone, kRows, kChannels, kImages };

// Every core needs all of the weights.
inline bool same_weights(Split split) {
  return split == Split::kRows || split == Split::kImages;
}

// Rows and channels [begin, end) of an image.
struct Box {
  int64_t row_begin = 0, row_end = 0, channel_begin = 0, channel_end = 0;
  bool empty() const { return row_begin >= row_end || channel_begin >= channel_end; }
  bool holds(const Box& other) const;
};
Box intersection(const Box& a, const Box& b);

// The whole of what a layer makes: rows behind its pool, 1 for what has none.
Box output_box(const Layer& layer);

// What can be tried, with work for every core; kNone alone if the layer cannot be divided.
std::vector<Split> splits_of(const Layer& layer, const npu_target& target, unsigned cores);

// The part of a layer's output that `core` of `cores` makes; the first one's is the largest.
Box part_of(const Layer& layer, Split split, const npu_target& target, unsigned core,
            unsigned cores);

// The layer as the core that makes `part` sees it: with no more than its channels. Rows remain
// an argument of LayerLowering::rows().
Layer narrowed(const Layer& layer, Split split, const Box& part);

// For planning: the layer with no more than the part's rows and channels.
Layer reduced(const Layer& layer, Split split, const Box& part, unsigned cores);

// Who made what of the tensors in SRAM, and what was brought where.
class Exchange {
 public:
  explicit Exchange(unsigned cores) : cores_(cores) {}

  // Brings to `core` what its `part` of a placed layer reads and others made.
  void bring(const Layer& layer, const Box& part, unsigned core, Emitter& emitter);

  // A placed layer's output, if it stays in SRAM, has been made in `parts`, one for each core;
  // `unit` says in which pieces, one after the other.
  void made(const Layer& layer, const std::vector<Box>& parts, const Box& unit);

 private:
  struct Piece {
    Operand image;
    int64_t width = 1;
    std::vector<OuterDim> outer;
    std::vector<Box> parts;             // by core
    Box unit;                           // extents of what is finished at once
    std::vector<std::vector<Box>> has;  // by core: brought from others
  };
  void bring(const Operand& operand, const Box& need, unsigned core, Emitter& emitter);

  const unsigned cores_;
  std::map<int, std::vector<Piece>> pieces_;  // by storage
};

}  // namespace npu::compiler

#endif  // NPU_COMPILER_SCHEDULE_GANG_H_
