// SPDX-License-Identifier: MIT
#include "testing/streams.h"

#include "npu/compiled_model.h"

namespace npu::umd::testing {

npu_command_dma transfer(npu_opcode opcode, unsigned region, uint64_t offset, uint32_t sram,
                         uint32_t bytes, uint32_t source_op) {
  npu_command_dma command = {};
  command.header.opcode = static_cast<uint8_t>(opcode);
  command.header.source_op = source_op;
  command.region = static_cast<uint8_t>(region);
  command.external_offset = offset;
  command.size[0] = bytes;
  command.size[1] = command.size[2] = command.size[3] = 1;
  command.external_stride[0] = 1;
  command.sram_stride[0] = 1;
  command.sram_address = sram;
  return command;
}

std::vector<std::byte> copy_stream(unsigned from, unsigned to, uint32_t bytes) {
  arch::StreamBuilder builder;
  const uint32_t loaded = builder.append(transfer(NPU_OP_LOAD, from, 0, 0, bytes));
  npu_command_dma store = transfer(NPU_OP_STORE, to, 0, 0, bytes);
  store.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, loaded);
  builder.append(store);
  return builder.bytes();
}

std::vector<std::byte> nop_stream() {
  npu_command_header header = {};
  header.records = 1;
  header.opcode = NPU_OP_NOP;
  header.engine = NPU_ENGINE_DISPATCH;
  std::vector<std::byte> stream(NPU_RECORD_BYTES);
  const auto* bytes = reinterpret_cast<const std::byte*>(&header);
  std::copy(bytes, bytes + sizeof header, stream.begin());
  return stream;
}

ModelDescription copy_model(const npu_target& target, uint32_t bytes, unsigned jobs) {
  ModelDescription model;
  model.name = "copy";
  model.target = target;
  model.inputs = {{"in", NPU_TYPE_UINT8, {bytes}, bytes}};
  model.outputs = {{"out", NPU_TYPE_UINT8, {bytes}, bytes}};
  model.operators = {{"copy_0", "Identity", 0}};
  constexpr unsigned in = NPU_REGION_TENSORS, out = NPU_REGION_TENSORS + 1;
  for (unsigned job = 0; job < jobs; job++) {
    const unsigned from = job == 0 ? in : NPU_REGION_SCRATCH;
    const unsigned to = job + 1 == jobs ? out : NPU_REGION_SCRATCH;
    model.jobs.push_back({{copy_stream(from, to, bytes)}, true});
  }
  model.scratch_bytes = jobs > 1 ? bytes : 0;
  model.constants.resize(64);
  return model;
}

}  // namespace npu::umd::testing
