// SPDX-License-Identifier: MIT
//
// Modelled time. The card reports what these functions compute and the
// compiler searches with them: there is one cost model. docs/timing.md gives
// the rules and where each number comes from.
#ifndef NPU_ARCH_TIMING_H_
#define NPU_ARCH_TIMING_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "arch/stream.h"
#include "npu/queue.h"

namespace npu::arch {

// Cycles of the array for one MAC command, without decode, weight preload and
// pipeline overhead ("MAC-stage cycles").
uint64_t mac_stage_cycles(const Command& command, const npu_target& target);

// Cycles of the vector unit for one VEC command.
uint64_t vec_stage_cycles(const Command& command, const npu_target& target);

// Multiply-accumulates of a MAC command, taps in the padding included.
uint64_t mac_count(const Command& command);

// External bytes of a LOAD or STORE: granules touched times their size, for a
// block whose region starts on a granule; 0 for other commands.
uint64_t external_bytes(const Command& command, const npu_target& target);

// Cycles that `bytes`, header included, take from SRAM to a queue's save area, or
// back, with the bus to themselves.
uint64_t save_cycles(uint64_t bytes, const npu_target& target);

// Where an external access goes; decides bandwidth and latency.
enum class External : uint8_t { kCard, kHost };

struct TimingInput {
  std::span<const Stream> streams;  // one per core of the gang
  // Memory of region `index` of the job; commands and tables: kRegionCommands.
  std::function<External(unsigned index)> region_memory;  // empty: all card memory
};
inline constexpr unsigned kRegionCommands = ~0u;

// What one engine did; stall and wait as in npu_profile_command, summed.
struct EngineTiming {
  uint64_t commands = 0;
  uint64_t busy_cycles = 0;  // with a command between start and retirement
  uint64_t stall_cycles = 0;
  uint64_t wait_cycles = 0;
  uint64_t bytes = 0;  // LOAD, STORE: external, in granules; MAC, VEC: through SRAM ports
};

struct JobTiming {
  uint64_t cycles = 0;  // from packet fetch to completion: cycles_solo
  uint64_t macs = 0;
  uint64_t card_bytes = 0;  // commands, page walks and tables included
  uint64_t pcie_bytes = 0;
  uint64_t sram_bytes = 0;  // through the ports; for energy
  // Summed over cores: MAC-stage and VEC-stage cycles, and cycles of LOAD and
  // STORE between start and retirement.
  uint64_t mac_cycles = 0;
  uint64_t vec_cycles = 0;
  uint64_t dma_cycles = 0;
  uint64_t energy_pj = 0;
  uint32_t sram_peak_bytes = 0;
  EngineTiming engines[NPU_MAX_CORES][NPU_ENGINE_COUNT] = {};  // by position in the gang
};

// Energy of the job's counters, in picojoules, rounded down.
uint64_t job_energy_pj(const JobTiming& timing, const npu_target& target);

// Simulates a job on an idle card with a cold TLB. The streams have been
// decoded and checked (a gang that deadlocks ends where it does). With `trace`,
// one record per command, in stream order, core by core. Deterministic, in
// integers; work is bounded by the number of commands.
JobTiming simulate_job(const TimingInput& input, const npu_target& target,
                       std::vector<npu_profile_command>* trace = nullptr);

}  // namespace npu::arch

#endif  // NPU_ARCH_TIMING_H_
