// SPDX-License-Identifier: MIT
#include <algorithm>

#include "arch/command_cost.h"
#include "arch/external_block.h"
#include "arch/mac_shape.h"
#include "arch/timing.h"

namespace npu::arch {

uint64_t external_bytes(const Command& command, const npu_target& target) {
  if (command.opcode() != NPU_OP_LOAD && command.opcode() != NPU_OP_STORE) return 0;
  const uint32_t granule = target.dma_granule_bytes;
  return granule * touched_granules(external_runs(command.dma(), granule), granule);
}

CommandCost dma_cost(const Command& command, const npu_target& target) {
  const npu_command_dma& dma = command.dma();
  uint64_t bytes = uint64_t{1} << dma.element_log2;
  for (int i = 0; i < 4; ++i)
    bytes *= uint64_t{dma.size[i]} + (i < 3 ? dma.pad_before[i] + dma.pad_after[i] : 0);
  CommandCost cost;
  cost.busy_cycles = ceil_div(bytes, target.sram_word_bytes);
  cost.sram_bytes = command.opcode() == NPU_OP_SRAM_COPY ? 2 * bytes : bytes;
  if (command.opcode() == NPU_OP_PEER_LOAD) cost.peers = 1u << dma.peer_core;
  if (command.opcode() == NPU_OP_LOAD) cost.peers = dma.multicast;
  cost.external_bytes = external_bytes(command, target);
  return cost;
}

uint64_t save_cycles(uint64_t bytes, const npu_target& target) {
  const auto at_rate = [bytes](uint64_t amount, uint64_t cycles) {
    return (bytes * cycles + amount - 1) / amount;
  };
  const uint64_t in_flight = uint64_t{target.dma_outstanding} * target.dma_burst_bytes;
  return target.pcie_latency_cycles +
         std::max({at_rate(target.pcie_bytes_per_cycle, 1), at_rate(target.sram_word_bytes, 1),
                   at_rate(in_flight, target.pcie_latency_cycles)});
}

}  // namespace npu::arch
