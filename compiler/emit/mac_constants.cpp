// SPDX-License-Identifier: MIT
#include "compiler/emit/mac_constants.h"

#include <cstddef>

#include "arch/numerics.h"

namespace npu::compiler {
namespace {

void append32(std::vector<uint8_t>& out, uint32_t value) {
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

}  // namespace

void MacConstants::append_parameters(const ChannelTile& channels, std::vector<uint8_t>& out) const {
  for (int64_t c = channels.begin; c < channels.end && !op_.bias.empty(); ++c)
    append32(out, static_cast<uint32_t>(op_.bias[static_cast<size_t>(c)]));
  for (int64_t c = channels.begin; c < channels.end && scales_; ++c)
    append32(out, arch::f32_bits(op_.scales[static_cast<size_t>(c)]));
  for (int64_t c = channels.begin; c < channels.end && zeros_; ++c)
    out.push_back(static_cast<uint8_t>(op_.weight_zeros[static_cast<size_t>(c)]));
}

void MacConstants::append_weights(const ChannelTile& channels, const SumStep& step,
                                  std::vector<uint8_t>& out) const {
  const int64_t kernel_h = op_.window.kernel[0], kernel_w = op_.window.kernel[1];
  for (int64_t o = channels.begin; o < channels.end; ++o) {
    for (int64_t y = step.ky0; y < step.ky1; ++y) {
      for (int64_t x = step.kx0; x < step.kx1; ++x) {
        const auto row = op_.weights.begin() + ((o * kernel_h + y) * kernel_w + x) * depth_;
        out.insert(out.end(), row + step.c0, row + step.c1);
      }
    }
  }
}

}  // namespace npu::compiler
