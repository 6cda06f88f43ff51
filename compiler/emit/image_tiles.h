// SPDX-License-Identifier: MIT
//
// Tiles of layers of the vector unit that make an image from windows of another one: pools and
// resizes.
#ifndef NPU_COMPILER_EMIT_IMAGE_TILES_H_
#define NPU_COMPILER_EMIT_IMAGE_TILES_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "compiler/emit/lower.h"

namespace npu::compiler {

struct ImageLayer {
  Extent out;  // rows, columns, channels of what is made
  const Operand& input;
  const Operand& output;
  const std::vector<OuterDim>& outer;
  uint64_t operations = 0;   // of the vector unit, for one image
  int64_t rows_at_once = 0;  // of a tile, at most; 0: what seems best
  uint32_t entry_bytes =
      0;  // of the tables a command needs, for each row and each column of its tile
  // The most rows (0) or columns (1) of the input that so many of the output read.
  std::function<int64_t(int axis, int64_t count)> reach;
};

// The largest tile that fits with two places each, else with one: whole rows and channels as long
// as possible, and a few tiles rather than one, so that loading, or the end of the layer before,
// overlaps. nullopt and the need in `error` if there is none.
std::optional<VecPlan> plan_image(const ImageLayer& layer, const npu_target& target,
                                  uint32_t sram_bytes, std::string& error);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_IMAGE_TILES_H_
