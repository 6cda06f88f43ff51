// SPDX-License-Identifier: MIT
#include "compute/mac_batch.h"

#include <cstring>

#include "arch/mac_shape.h"

namespace npu::model {

bool MacBatch::begin(const arch::Command& command, CoreMemory& memory) {
  command_ = command;
  memory_ = &memory;
  count_ = arch::mac_batch(command.extension());
  return begin_repetition(0);
}

bool MacBatch::begin_repetition(uint32_t repetition) {
  current_ = repetition;
  if (count_ == 1) return op_.begin(command_, *memory_);
  arch::Command once = command_;
  npu_command_mac mac = command_.mac();
  npu_mac_extension extension = command_.extension();
  // The range check has shown that no sum wraps.
  mac.input.address += repetition * extension.batch_input;
  mac.weights += repetition * extension.batch_weights;
  mac.output.address += repetition * extension.batch_output;
  extension.residual.address += repetition * extension.batch_residual;
  std::memcpy(once.records, &mac, sizeof(mac));
  std::memcpy(once.records + NPU_RECORD_BYTES, &extension, sizeof(extension));
  return op_.begin(once, *memory_);
}

bool MacBatch::run(uint64_t& cursor, Progress& progress) {
  const uint64_t units = op_.units();
  while (cursor < count_ * units) {
    const auto repetition = static_cast<uint32_t>(cursor / units);
    // The repetitions differ in nothing that begin() could refuse.
    if (repetition != current_) begin_repetition(repetition);
    uint64_t within = cursor % units;
    const bool done = op_.run(within, progress);
    cursor = repetition * units + within;
    if (!done) return false;
    if (cursor < count_ * units && progress.pause()) return false;
  }
  return true;
}

}  // namespace npu::model
