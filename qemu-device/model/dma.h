// SPDX-License-Identifier: MIT
//
// Executes LOAD, STORE, FILL, SRAM_COPY and PEER_LOAD. The block is taken apart into
// runs: dimensions that are contiguous on both sides are merged, and a run
// along a dimension whose external stride is one element is moved at once,
// whatever its stride in SRAM. A unit is one run, or a piece of a run whose
// elements lie apart.
#ifndef NPU_MODEL_DMA_H_
#define NPU_MODEL_DMA_H_

#include <cstdint>
#include <span>
#include <vector>

#include "arch/stream.h"
#include "core.h"
#include "fault.h"
#include "mmu.h"
#include "progress.h"

namespace npu::model {

class DmaOp {
 public:
  // `gang`: the memories of the job's cores, of which `core` executes.
  void begin(const arch::Command& command, uint64_t region_base, uint16_t asid,
             std::span<CoreMemory* const> gang, unsigned core);
  // Continues at unit `cursor`. Returns true when it ended: complete, or with
  // `fault` set (status, access and address).
  bool run(uint64_t& cursor, Mmu& mmu, Progress& progress, Fault& fault);

 private:
  struct Dimension {
    uint32_t size = 1;
    uint64_t external = 0;  // strides
    uint64_t sram = 0;
    bool row = false;  // the ring's dimension
  };

  void fill(uint8_t* sram, uint64_t unit, uint64_t rows) const;
  uint64_t sram_offset(uint64_t row, uint64_t rest) const;
  npu_status_code move(Mmu& mmu, uint64_t va, uint64_t sram, uint32_t count);

  npu_command_dma dma_;
  npu_opcode opcode_;
  uint8_t* sram_ = nullptr;
  const uint8_t* source_ = nullptr;  // SRAM_COPY, PEER_LOAD
  std::vector<uint8_t*> copies_;     // SRAMs that a multicast writes as well
  uint64_t base_ = 0;
  uint16_t asid_ = 0;
  uint32_t element_ = 1;
  uint64_t fill_rows_ = 0;  // units that write the padded block before the data
  Dimension inner_;         // the run
  Dimension outer_[3];      // slowest first
  uint64_t run_bytes_ = 0;  // per run element: element_, or merged bytes
  uint32_t piece_ = 1;      // elements of a unit
  uint64_t pieces_ = 1;     // units of a run
  uint64_t element_ns_ = 0;
  uint64_t units_ = 0;
};

}  // namespace npu::model

#endif  // NPU_MODEL_DMA_H_
