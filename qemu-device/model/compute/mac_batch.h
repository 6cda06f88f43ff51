// SPDX-License-Identifier: MIT
//
// A MAC command with its batch loop: MacOp once for each repetition. Units of
// the repetitions follow each other.
#ifndef NPU_MODEL_COMPUTE_MAC_BATCH_H_
#define NPU_MODEL_COMPUTE_MAC_BATCH_H_

#include <cstdint>

#include "arch/stream.h"
#include "compute/mac.h"

namespace npu::model {

class MacBatch {
 public:
  // A command that has been decoded.
  void begin(const arch::Command& command, CoreMemory& memory);
  // Continues at unit `cursor`. True when the command is complete.
  bool run(uint64_t& cursor, Progress& progress);

 private:
  void begin_repetition(uint32_t repetition);

  arch::Command command_;
  CoreMemory* memory_ = nullptr;
  uint32_t count_ = 1;
  uint32_t current_ = 0;  // repetition that op_ has begun
  MacOp op_;
};

}  // namespace npu::model

#endif  // NPU_MODEL_COMPUTE_MAC_BATCH_H_
