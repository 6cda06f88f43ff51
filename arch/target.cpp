// SPDX-License-Identifier: MIT
#include "arch/target.h"

#include <bit>
#include <cstring>

#include "arch/text.h"
#include "npu/command.h"
#include "npu/mmu.h"
#include "npu_targets_generated.h"

namespace npu::arch {
namespace {

struct Bound {
  const char* name;
  uint32_t npu_target::*field;
  uint32_t low, high;
  bool power_of_two;
};

// The upper bounds keep every product of the checker and of the timing in 64
// bits; see timing.md.
constexpr Bound kBounds[] = {
    {"cores", &npu_target::cores, 1, NPU_MAX_CORES, false},
    {"mac_outputs", &npu_target::mac_outputs, 1, 256, true},
    {"mac_inputs", &npu_target::mac_inputs, 1, 256, true},
    {"accumulator_rows", &npu_target::accumulator_rows, 1, 32768, false},
    {"sram_bytes", &npu_target::sram_bytes, 4096, 16u << 20, false},
    {"sram_word_bytes", &npu_target::sram_word_bytes, 4, 1024, true},
    {"clock_mhz", &npu_target::clock_mhz, 1, 10000, false},
    {"card_memory_mib", &npu_target::card_memory_mib, 1, 65536, false},
    {"card_bytes_per_cycle", &npu_target::card_bytes_per_cycle, 1, 65536, false},
    {"card_latency_cycles", &npu_target::card_latency_cycles, 0, 100000, false},
    {"pcie_bytes_per_cycle", &npu_target::pcie_bytes_per_cycle, 1, 65536, false},
    {"pcie_latency_cycles", &npu_target::pcie_latency_cycles, 0, 100000, false},
    {"dma_granule_bytes", &npu_target::dma_granule_bytes, 8, 256, true},
    {"dma_burst_bytes", &npu_target::dma_burst_bytes, 64, 65536, true},
    {"dma_outstanding", &npu_target::dma_outstanding, 1, 1024, false},
    {"tlb_entries", &npu_target::tlb_entries, 1, 256, false},
    {"fifo_depth", &npu_target::fifo_depth, 1, 1024, false},
    {"dispatch_cycles", &npu_target::dispatch_cycles, 0, 100000, false},
    {"decode_cycles", &npu_target::decode_cycles, 0, 100000, false},
    {"pipeline_cycles", &npu_target::pipeline_cycles, 0, 100000, false},
    {"wait_cycles_same", &npu_target::wait_cycles_same, 0, 100000, false},
    {"wait_cycles_engine", &npu_target::wait_cycles_engine, 0, 100000, false},
    {"wait_cycles_core", &npu_target::wait_cycles_core, 0, 100000, false},
    {"energy_mac_fj", &npu_target::energy_mac_fj, 0, 1000000000, false},
    {"energy_sram_byte_fj", &npu_target::energy_sram_byte_fj, 0, 1000000000, false},
    {"energy_card_byte_fj", &npu_target::energy_card_byte_fj, 0, 1000000000, false},
    {"energy_pcie_byte_fj", &npu_target::energy_pcie_byte_fj, 0, 1000000000, false},
    {"energy_static_cycle_fj", &npu_target::energy_static_cycle_fj, 0, 1000000000, false},
    {"ambient_mc", &npu_target::ambient_mc, 0, 100000, false},
    {"throttle_mc", &npu_target::throttle_mc, 1000, 200000, false},
    {"thermal_resistance_mk_per_w", &npu_target::thermal_resistance_mk_per_w, 0, 1000000, false},
    {"thermal_time_constant_ms", &npu_target::thermal_time_constant_ms, 1, 1000000, false},
    {"queues", &npu_target::queues, 2, 240, false},
    {"vectors", &npu_target::vectors, 1, 64, false},
    {"asids", &npu_target::asids, 2, 65536, false},
    {"va_bits", &npu_target::va_bits, NPU_VA_BITS, NPU_VA_BITS, false},
    {"max_stream_bytes", &npu_target::max_stream_bytes, 4096, NPU_STREAM_MAX_BYTES, false},
};

// Cycles to load the array's weights; bounds MAC-stage cycles by
// NPU_COMMAND_MAX_MACS times this.
constexpr uint32_t kMaxWeightLoadCycles = 1024;

}  // namespace

const npu_target* find_target(std::string_view name) {
  for (const npu_target& target : npu_target_presets)
    if (name == target.name) return &target;
  return nullptr;
}

std::span<const npu_target> all_targets() {
  return npu_target_presets;
}

const npu_target& configured_target() {
  return npu_target_configured;
}

std::string validate_target(const npu_target& target) {
  if (target.name[0] == '\0' || std::memchr(target.name, '\0', sizeof(target.name)) == nullptr)
    return "name must have 1 to 15 characters";
  for (const Bound& bound : kBounds) {
    const uint32_t value = target.*bound.field;
    if (value < bound.low || value > bound.high)
      return format_text("%s is %u, must be %u to %u", bound.name, value, bound.low, bound.high);
    if (bound.power_of_two && !std::has_single_bit(value))
      return format_text("%s is %u, must be a power of two", bound.name, value);
  }
  const uint32_t load =
      target.mac_outputs * target.mac_inputs / target.sram_word_bytes;  // at most 65536/4
  if (load > kMaxWeightLoadCycles)
    return format_text(
        "sram_word_bytes is %u: loading mac_outputs * mac_inputs weights takes %u cycles, "
        "must be at most %u",
        target.sram_word_bytes, load, kMaxWeightLoadCycles);
  for (size_t i = 0; i < std::size(target.reserved); ++i)
    if (target.reserved[i] != 0)
      return format_text("reserved[%zu] is %u, must be 0", i, target.reserved[i]);
  return {};
}

}  // namespace npu::arch
