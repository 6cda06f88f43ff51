// SPDX-License-Identifier: MIT
//
// Weights and parameters of a convolution or product as MAC commands read them.
#ifndef NPU_COMPILER_EMIT_MAC_CONSTANTS_H_
#define NPU_COMPILER_EMIT_MAC_CONSTANTS_H_

#include <cstdint>
#include <vector>

#include "compiler/schedule/mac_plan.h"

namespace npu::compiler {

// Of one operator, which must live as long.
class MacConstants {
 public:
  explicit MacConstants(const MacLayer& layer)
      : op_(*layer.op),
        depth_(layer.depthwise ? 1 : layer.group_inputs()),
        scales_(layer.per_channel_scales()),
        zeros_(layer.per_channel_zeros()) {}

  // Biases, scales and zero points of these output channels, each where there is one per channel:
  // parameter_bytes() of them.
  void append_parameters(const ChannelTile& channels, std::vector<uint8_t>& out) const;
  // [channel][kernel row][kernel column][input channel]: step_weight_bytes() of them.
  void append_weights(const ChannelTile& channels, const SumStep& step,
                      std::vector<uint8_t>& out) const;

 private:
  const MacOp& op_;
  int64_t depth_;
  bool scales_, zeros_;
};

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_MAC_CONSTANTS_H_
