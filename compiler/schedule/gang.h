// SPDX-License-Identifier: MIT
//
// One network on several cores at once: each makes a part of every layer's
// output.
#ifndef NPU_COMPILER_SCHEDULE_GANG_H_
#define NPU_COMPILER_SCHEDULE_GANG_H_

#include <cstdint>
#include <limits>
#include <vector>

#include "compiler/schedule/steps.h"
#include "npu/target.h"

namespace npu::compiler {

// By what a layer's output is divided. Rows need the least exchanged, channels the fewest
// weights per core; where neither is possible the first core makes everything (kNone). With
// kImages the layer is that of one image, and every core makes all of its own. kRepeats divides
// one of the dimensions that repeat a product of two computed operands, such as the heads of
// attention, or one of those of an element-wise layer, a softmax or a normalization.
enum class Split : uint8_t { kNone, kRows, kChannels, kImages, kRepeats };

// Every core needs all of the weights.
inline bool same_weights(Split split) {
  return split == Split::kRows || split == Split::kImages;
}

// Rows and channels [begin, end) of an image, of all repetitions or, with kRepeats, of these.
struct Box {
  int64_t row_begin = 0, row_end = 0, channel_begin = 0, channel_end = 0;
  int64_t repeat_begin = 0, repeat_end = std::numeric_limits<int64_t>::max();
  bool empty() const {
    return row_begin >= row_end || channel_begin >= channel_end || repeat_begin >= repeat_end;
  }
};

// The dimension that kRepeats divides: an index in MacLayer::outer or ElementLayer::dims, or -1.
int divided_dim(const Layer& layer, unsigned cores);

// The whole of what a layer makes: rows behind its pool, 1 for what has none.
Box output_box(const Layer& layer);

// What can be tried, with work for every core; kNone alone if the layer cannot be divided.
std::vector<Split> splits_of(const Layer& layer, const npu_target& target, unsigned cores);

// The part of a layer's output that `core` of `cores` makes; the first one's is the largest.
Box part_of(const Layer& layer, Split split, const npu_target& target, unsigned core,
            unsigned cores);

// The layer as the core that makes `part` sees it: with no more than its channels and repetitions.
// Rows remain an argument of LayerLowering::rows().
Layer narrowed(const Layer& layer, Split split, const Box& part, unsigned cores);

// For planning: the layer with no more than the part's rows and channels.
Layer reduced(const Layer& layer, Split split, const Box& part, unsigned cores);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_SCHEDULE_GANG_H_
