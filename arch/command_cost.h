// SPDX-License-Identifier: MIT
//
// What one command costs on its own; the event simulation adds what commands
// cost each other. Internal to arch; docs/timing.md has the rules.
#ifndef NPU_ARCH_COMMAND_COST_H_
#define NPU_ARCH_COMMAND_COST_H_

#include <cstdint>

#include "arch/stream.h"

namespace npu::arch {

struct CommandCost {
  uint64_t macs = 0;          // multiply-accumulates, taps in the padding included
  uint64_t stage_cycles = 0;  // of the array or the vector unit; 0 for DMA
  uint64_t busy_cycles = 0;   // stage, or longer where one SRAM stream is the limit
  uint64_t drain_cycles = 0;  // of the last accumulator bank, behind busy_cycles
  uint64_t sram_bytes = 0;    // through all ports of the own core
  uint32_t peers = 0;         // cores, one bit each, through whose ports sram_bytes go as well
  uint64_t external_bytes = 0;
};

CommandCost mac_cost(const Command& command, const npu_target& target);
CommandCost vec_cost(const Command& command, const npu_target& target);
CommandCost dma_cost(const Command& command, const npu_target& target);

}  // namespace npu::arch

#endif  // NPU_ARCH_COMMAND_COST_H_
