// SPDX-License-Identifier: MIT
#include <algorithm>

#include "arch/command_cost.h"
#include "arch/mac_shape.h"
#include "arch/timing.h"
#include "arch/vec_shape.h"

namespace npu::arch {
namespace {

uint64_t elements_in(const npu_command_vec& vec) {
  return uint64_t{vec.in_h} * vec.in_w * vec.channels;
}

uint64_t elements_out(const npu_command_vec& vec) {
  return uint64_t{vec.out_h} * vec.out_w * vec_out_channels(vec);
}

uint64_t pixels_in(const npu_command_vec& vec) {
  return uint64_t{vec.in_h} * vec.in_w;
}

// Cycles per pixel beyond the lanes' operations: square root and division.
constexpr uint64_t kLayerNormPixelCycles = 32;

// Of one command: lane operations, and elements of a that pass the port.
struct Operations {
  uint64_t lane, read;
};

Operations operations(const npu_command_vec& vec) {
  const uint64_t in = elements_in(vec), out = elements_out(vec);
  switch (vec.function) {
    case NPU_VEC_POOL_MAX:
    case NPU_VEC_POOL_AVERAGE: {
      const uint64_t taps = out * vec.kernel_h * vec.kernel_w;
      return {taps, taps};
    }
    case NPU_VEC_SOFTMAX:  // largest, sum, quotient: each reads again
      return {6 * in, 3 * in};
    case NPU_VEC_LAYER_NORM:  // both sums, result
      return {3 * in, 2 * in};
    case NPU_VEC_RESIZE: {
      const uint64_t neighbours = (vec.flags & NPU_VEC_RESIZE_LINEAR) != 0 ? 4 : 1;
      return {neighbours * out, neighbours * out};
    }
    default:
      return {in, in};
  }
}

// The lanes take as many pixels at a time, and with them one pair of gamma and
// beta after the other; other tables are read once.
uint64_t table_bytes(const npu_command_vec& vec, const npu_target& target) {
  const uint64_t bytes = vec_table_bytes(vec);
  if (vec.function != NPU_VEC_LAYER_NORM) return bytes;
  return bytes * ceil_div(pixels_in(vec), target.mac_outputs);
}

}  // namespace

uint64_t vec_stage_cycles(const Command& command, const npu_target& target) {
  const npu_command_vec& vec = command.vec();
  const uint64_t cycles = ceil_div(operations(vec).lane, target.mac_outputs);
  if (vec.function != NPU_VEC_LAYER_NORM) return cycles;
  return cycles + kLayerNormPixelCycles * pixels_in(vec);
}

CommandCost vec_cost(const Command& command, const npu_target& target) {
  const npu_command_vec& vec = command.vec();
  const auto element = [&](unsigned operand) -> uint64_t {
    return data_type_bits(NPU_TYPE_AT(vec.types, operand)) / 8;
  };
  const uint64_t a = operations(vec).read * element(0) + table_bytes(vec, target);
  // A broadcast operand is read once and held.
  const uint64_t b =
      (vec.flags & NPU_VEC_BROADCAST_B ? vec.channels : elements_in(vec)) * element(1);
  const uint64_t out = elements_out(vec) * element(2);
  CommandCost cost;
  cost.stage_cycles = vec_stage_cycles(command, target);
  cost.busy_cycles =
      std::max(cost.stage_cycles, ceil_div(std::max({a, b, out}), target.sram_word_bytes));
  cost.sram_bytes = a + b + out;
  return cost;
}

}  // namespace npu::arch
