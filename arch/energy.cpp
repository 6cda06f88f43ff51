// SPDX-License-Identifier: MIT
#include "arch/timing.h"

namespace npu::arch {

uint64_t job_energy_pj(const JobTiming& timing, const npu_target& target) {
  using Wide = unsigned __int128;
  const Wide femtojoules = Wide{timing.macs} * target.energy_mac_fj +
                           Wide{timing.sram_bytes} * target.energy_sram_byte_fj +
                           Wide{timing.card_bytes} * target.energy_card_byte_fj +
                           Wide{timing.pcie_bytes} * target.energy_pcie_byte_fj +
                           Wide{timing.cycles} * target.energy_static_cycle_fj;
  const Wide picojoules = femtojoules / 1000;
  return picojoules > ~uint64_t{0} ? ~uint64_t{0} : static_cast<uint64_t>(picojoules);
}

}  // namespace npu::arch
