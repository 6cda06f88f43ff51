// SPDX-License-Identifier: MIT
#include "compute/mac_batch.h"

#include <cstring>

#include "arch/mac_shape.h"

namespace npu::model {

void MacBatch::begin(const arch::Command& command, CoreMemory& memory) {
  command_ = command;
  memory_ = &memory;
  count_ = arch::mac_batch(command.extension());
  begin_repetition(0);
}

void MacBatch::begin_repetition(uint32_t repetition) {
  current_ = repetition;
  if (count_ == 1) {
    op_.begin(command_, *memory_);
    return;
  }
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
  op_.begin(once, *memory_);
}

bool MacBatch::run(uint64_t& cursor, Progress& progress) {
  const uint64_t units = op_.units();
  while (cursor < count_ * units) {
    const auto repetition = static_cast<uint32_t>(cursor / units);
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
