// SPDX-License-Identifier: MIT
#include "arch/gang_clocks.h"

#include <algorithm>

namespace npu::arch {

GangClocks::GangClocks(unsigned gang)
    : dispatched_(gang, Clock(gang * NPU_ENGINE_COUNT, 0)),
      history_(gang * NPU_ENGINE_COUNT),
      counts_(gang * NPU_ENGINE_COUNT, 0),
      clock_(gang * NPU_ENGINE_COUNT, 0) {
  // Not to grow there in many small steps: more than a short job needs.
  for (std::vector<uint32_t>& clocks : history_) clocks.reserve(256);
}

// What is known once command `count` of an engine has retired: what was known
// at its start, and the command itself.
void GangClocks::join(unsigned core, unsigned engine, uint32_t count) {
  if (count == 0) return;
  const unsigned at = core * NPU_ENGINE_COUNT + engine;
  count = std::min(count, counts_[at]);
  if (count <= clock_[at]) return;
  const uint32_t* start = history_[at].data() + size_t{count - 1} * clock_.size();
  for (size_t i = 0; i < clock_.size(); ++i) clock_[i] = std::max(clock_[i], start[i]);
  clock_[at] = count;
}

void GangClocks::start(const Command& command, unsigned core) {
  clock_ = dispatched_[core];
  const unsigned engine = command.engine();
  if (engine < NPU_ENGINE_COUNT) join(core, engine, counts_[core * NPU_ENGINE_COUNT + engine]);
  for (const uint32_t wait : command.header().wait)
    join(wait >> NPU_WAIT_CORE_SHIFT & 0xf, wait >> NPU_WAIT_ENGINE_SHIFT & 0xf,
         wait & NPU_WAIT_COUNT_MASK);
  if (engine < NPU_ENGINE_COUNT) {
    const unsigned at = core * NPU_ENGINE_COUNT + engine;
    count_ = ++counts_[at];
    history_[at].insert(history_[at].end(), clock_.begin(), clock_.end());
    return;
  }
  if (command.opcode() == NPU_OP_YIELD)
    for (unsigned e = 0; e < NPU_ENGINE_COUNT; ++e)
      join(core, e, counts_[core * NPU_ENGINE_COUNT + e]);
  count_ = 0;
  dispatched_[core] = clock_;
}

}  // namespace npu::arch
