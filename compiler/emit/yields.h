// SPDX-License-Identifier: MIT
//
// Where a running network can be put aside: YIELDs into finished streams. They
// have no retirement count, so that no wait changes.
#ifndef NPU_COMPILER_EMIT_YIELDS_H_
#define NPU_COMPILER_EMIT_YIELDS_H_

#include <cstdint>
#include <functional>

#include "arch/timing.h"
#include "compiler/emit/emitter.h"
#include "npu/target.h"

namespace npu::compiler {

struct YieldReport {
  uint32_t yields = 0;           // of each stream
  uint64_t longest_gap = 0;      // modelled cycles between them, and to start and end; of a gang,
                                 // from where its first core goes on to where the last one comes
  uint64_t most_live_bytes = 0;  // that a preemption saves, of all cores
};

// Adds YIELDs to the streams of a job so that it runs for at most about `max_gap` modelled
// cycles between two; where the next work has been loaded and little SRAM is live, if there is a
// choice. Of a gang, every stream gets as many, and those of one number stand where all that is
// before them can be executed without anything behind them; a core that would be there long before
// the others waits for them. The longest gap may be more where one command takes longer or sums
// stay in the accumulators.
YieldReport add_yields(Job& job, uint64_t max_gap, const npu_target& target,
                       const std::function<arch::External(unsigned)>& region_memory);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_YIELDS_H_
