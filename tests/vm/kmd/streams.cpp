// SPDX-License-Identifier: MIT
#include "streams.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "arch/stream.h"

namespace kmd {
namespace {

using npu::arch::add_wait;
using npu::arch::StreamBuilder;

// SRAM: the table, then the input, then the output.
constexpr uint32_t kTableAddress = 0;
constexpr uint32_t kInputAddress = 256;

npu_command_dma transfer(npu_opcode opcode, uint8_t region, uint32_t address, uint32_t bytes) {
  npu_command_dma dma = {};
  dma.header.opcode = opcode;
  dma.region = region;
  dma.size[0] = bytes;
  dma.size[1] = dma.size[2] = dma.size[3] = 1;
  dma.external_stride[0] = 1;
  dma.sram_stride[0] = 1;
  dma.sram_address = address;
  return dma;
}

npu_sram_tensor row(uint32_t address, uint32_t elements) {
  npu_sram_tensor tensor = {};
  tensor.address = address;
  tensor.row_stride = elements;
  tensor.pixel_stride = 1;
  return tensor;
}

}  // namespace

std::vector<std::byte> lookup_stream(uint32_t elements, uint32_t repeats, bool yields) {
  StreamBuilder builder;
  const uint32_t output = kInputAddress + elements;
  builder.append(transfer(NPU_OP_LOAD, kTable, kTableAddress, 256));
  const uint32_t loaded = builder.append(transfer(NPU_OP_LOAD, kInput, kInputAddress, elements));

  npu_command_vec lookup = {};
  lookup.header.opcode = NPU_OP_VEC;
  lookup.types = NPU_TYPES(NPU_TYPE_UINT8, 0, NPU_TYPE_UINT8, 0);
  lookup.function = NPU_VEC_LUT;
  lookup.a = row(kInputAddress, elements);
  lookup.out = row(output, elements);
  lookup.in_h = lookup.out_h = 1;
  lookup.in_w = lookup.out_w = static_cast<uint16_t>(elements);
  lookup.channels = 1;
  lookup.table = kTableAddress;
  add_wait(lookup.header, NPU_ENGINE_LOAD, loaded);
  uint32_t looked_up = 0;
  npu_command_yield yield = {};
  yield.range_count = 1;
  yield.live[0].bytes = kInputAddress + elements;  // table and input
  for (uint32_t i = 0; i < repeats; ++i) {
    if (yields && i != 0) builder.append(yield);
    looked_up = builder.append(lookup);
  }

  npu_command_dma store = transfer(NPU_OP_STORE, kOutput, output, elements);
  add_wait(store.header, NPU_ENGINE_VEC, looked_up);
  builder.append(store);
  return builder.bytes();
}

std::vector<std::byte> copy_stream(const std::vector<std::pair<uint8_t, uint8_t>>& from_slot,
                                   uint8_t to, uint32_t bytes) {
  StreamBuilder builder;
  uint32_t loaded = 0;
  for (const auto& [from, slot] : from_slot)
    loaded = builder.append(transfer(NPU_OP_LOAD, from, slot * bytes, bytes));
  npu_command_dma store =
      transfer(NPU_OP_STORE, to, 0, static_cast<uint32_t>(from_slot.size()) * bytes);
  add_wait(store.header, NPU_ENGINE_LOAD, loaded);
  builder.append(store);
  return builder.bytes();
}

std::vector<std::byte> deadlock_stream() {
  StreamBuilder builder;
  builder.append(transfer(NPU_OP_LOAD, kInput, kInputAddress, 64));
  npu_command_dma store = transfer(NPU_OP_STORE, kOutput, kInputAddress, 64);
  add_wait(store.header, NPU_ENGINE_LOAD, 2);
  builder.append(store);
  return builder.bytes();
}

LookupJob::LookupJob(const Device& device, uint32_t elements, uint8_t key, uint32_t placement,
                     uint64_t cycle_limit, uint32_t repeats, bool yields)
    : device_(device), elements_(elements) {
  EXPECT_EQ(device.create_vm(vm_), 0);
  EXPECT_EQ(device.create_queue(vm_, queue_, cycle_limit), 0);
  const std::vector<std::byte> commands = lookup_stream(elements, repeats, yields);

  input_ = std::make_unique<Buffer>(device, elements, placement);
  output_ = std::make_unique<Buffer>(device, elements, placement);
  table_ = std::make_unique<Buffer>(device, 256, placement);
  stream_ = std::make_unique<Buffer>(device, commands.size(), DRM_NPU_PLACEMENT_HOST);
  regions_ = std::make_unique<Buffer>(device, kRegions * 8, DRM_NPU_PLACEMENT_HOST);

  uint64_t va = kBase;
  for (Buffer* buffer :
       {input_.get(), output_.get(), table_.get(), stream_.get(), regions_.get()}) {
    EXPECT_EQ(device.map(vm_, buffer->handle(), va, buffer->size()), 0);
    va += kStep;
  }
  memcpy(stream_->bytes().data(), commands.data(), commands.size());
  for (int i = 0; i < kRegions; ++i) regions()[i] = kBase + i * kStep;

  job_.stream_va = kBase + 3 * kStep;
  job_.region_va = kBase + 4 * kStep;
  job_.stream_count = 1;
  job_.region_count = kRegions;
  job_.stream_bytes[0] = static_cast<uint32_t>(commands.size());
  prepare(key);
}

LookupJob::~LookupJob() {
  // -ENODEV: the device is gone, and close() gives back what is left.
  for (const int ret : {device_.destroy_queue(queue_), device_.destroy_vm(vm_)})
    EXPECT_TRUE(ret == 0 || ret == -ENODEV) << ret;
}

void LookupJob::prepare(uint8_t key) {
  expected_.resize(elements_);
  for (uint32_t i = 0; i < 256; ++i) table_->bytes()[i] = static_cast<uint8_t>((i * 7) ^ key);
  for (uint32_t i = 0; i < elements_; ++i) {
    const uint8_t value = static_cast<uint8_t>(i * 31 + (i >> 8) + key);
    input_->bytes()[i] = value;
    expected_[i] = static_cast<uint8_t>((value * 7) ^ key);
  }
  std::ranges::fill(output_->bytes(), uint8_t{0xee});
}

bool LookupJob::correct() const {
  return std::equal(expected_.begin(), expected_.end(), output_->bytes().begin());
}

int LookupJob::run_checked(uint8_t key) {
  prepare(key);
  const int ret = device_.run(queue_, {&job_, 1});
  return ret ? ret : !correct();
}

}  // namespace kmd
