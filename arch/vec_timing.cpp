// SPDX-License-Identifier: MIT
#include <algorithm>

#include "arch/command_cost.h"
#include "arch/mac_shape.h"
#include "arch/timing.h"

namespace npu::arch {
namespace {

uint64_t elements_in(const npu_command_vec& vec) {
  return uint64_t{vec.in_h} * vec.in_w * vec.channels;
}

uint64_t elements_out(const npu_command_vec& vec) {
  return uint64_t{vec.out_h} * vec.out_w * vec.channels;
}

bool has_window(const npu_command_vec& vec) {
  return vec.function == NPU_VEC_POOL_MAX || vec.function == NPU_VEC_POOL_AVERAGE;
}

// Lane operations: one per element, or per tap of a window.
uint64_t operations(const npu_command_vec& vec) {
  if (has_window(vec)) return elements_out(vec) * vec.kernel_h * vec.kernel_w;
  return elements_in(vec);
}

}  // namespace

uint64_t vec_stage_cycles(const Command& command, const npu_target& target) {
  return ceil_div(operations(command.vec()), target.mac_outputs);
}

CommandCost vec_cost(const Command& command, const npu_target& target) {
  const npu_command_vec& vec = command.vec();
  const auto element = [&](unsigned operand) -> uint64_t {
    return data_type_bits(NPU_TYPE_AT(vec.types, operand)) / 8;
  };
  uint64_t a = operations(vec) * element(0);
  if (vec.function == NPU_VEC_LUT) a += 256;
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
