// SPDX-License-Identifier: MIT
//
// A schedule with its addresses -> commands.
#ifndef NPU_COMPILER_EMIT_EMIT_SCHEDULE_H_
#define NPU_COMPILER_EMIT_EMIT_SCHEDULE_H_

#include <vector>

#include "compiler/schedule/sram_map.h"

namespace npu::compiler {

struct Network {
  const Graph& graph;
  const std::vector<Step>& steps;
  const MemoryPlan& plan;
  const npu_target& target;
  unsigned cores = 1;
  std::function<void()> poll = {};  // called for every segment; may throw
};

// Far above any network that fits the card; stops a hopeless tiling early.
inline constexpr uint64_t kMaxCommandBytes = uint64_t{1} << 30;

// False if the commands are too many; the network's step that went beyond is in `step`.
bool emit_schedule(const Network& network, const Schedule& schedule, const SramMap& map,
                   Constants& constants, Emitter& emitter, size_t& step);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_EMIT_SCHEDULE_H_
