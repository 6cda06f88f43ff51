// SPDX-License-Identifier: MIT
#include <cstring>

#include "arch/canonical.h"
#include "arch/stream.h"

namespace npu::arch {

bool add_wait(npu_command_header& header, npu_engine engine, uint32_t count, unsigned core) {
  if (count == 0) return true;
  const uint32_t wait = encode_wait(engine, count, core);
  uint32_t* empty = nullptr;
  for (uint32_t& field : header.wait) {
    if (field == 0) {
      if (empty == nullptr) empty = &field;
    } else if ((field & ~NPU_WAIT_COUNT_MASK) == (wait & ~NPU_WAIT_COUNT_MASK)) {
      if (count > (field & NPU_WAIT_COUNT_MASK)) field = wait;
      return true;
    }
  }
  if (empty == nullptr) return false;
  *empty = wait;
  return true;
}

uint32_t StreamBuilder::append_records(const void* first, const void* second, unsigned opcode) {
  const size_t at = bytes_.size();
  bytes_.resize(at + (second != nullptr ? 2 : 1) * NPU_RECORD_BYTES);
  std::memcpy(bytes_.data() + at, first, NPU_RECORD_BYTES);
  if (second != nullptr)
    std::memcpy(bytes_.data() + at + NPU_RECORD_BYTES, second, NPU_RECORD_BYTES);

  // An unknown opcode keeps whatever engine the caller wrote: decoding names
  // the opcode as what is wrong.
  npu_command_header header;
  std::memcpy(&header, first, sizeof(header));
  npu_engine engine = NPU_ENGINE_DISPATCH;
  if (opcode_engine(opcode, engine)) header.engine = engine;
  header.records = second != nullptr ? 2 : 1;
  std::memcpy(bytes_.data() + at, &header, sizeof(header));
  ++commands_;
  return ++counts_[engine];
}

uint32_t StreamBuilder::append(npu_command_dma command) {
  make_canonical(command);
  return append_records(&command, nullptr, command.header.opcode);
}

uint32_t StreamBuilder::append(npu_command_mac command) {
  npu_mac_extension none = {};
  make_canonical(command, none);
  return append_records(&command, nullptr, command.header.opcode);
}

uint32_t StreamBuilder::append(npu_command_mac command, npu_mac_extension extension) {
  make_canonical(command, extension);
  return append_records(&command, &extension, command.header.opcode);
}

uint32_t StreamBuilder::append(npu_command_vec command) {
  make_canonical(command);
  command.header.opcode = NPU_OP_VEC;
  return append_records(&command, nullptr, command.header.opcode);
}

void StreamBuilder::append(const npu_command_yield& command) {
  npu_command_yield copy = command;
  copy.header.opcode = NPU_OP_YIELD;
  append_records(&copy, nullptr, copy.header.opcode);
}

void StreamBuilder::append_nop(const npu_command_header& header) {
  npu_command_yield record = {};
  record.header = header;
  record.header.opcode = NPU_OP_NOP;
  append_records(&record, nullptr, NPU_OP_NOP);
}

}  // namespace npu::arch
