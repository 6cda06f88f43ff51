// SPDX-License-Identifier: MIT
#include "testing/harness.h"

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "arch/target.h"

namespace npu::model::testing {
namespace {

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "harness: %s\n", what);
  std::abort();
}

}  // namespace

npu_target HarnessOptions::default_target() {
  npu_target target = *arch::find_target("card");
  target.card_memory_mib = 16;
  return target;
}

Harness::Harness(HarnessOptions options)
    : CardDriver(static_cast<CardPort&>(*this), options.target),
      host_(options.host_bytes),
      vectors_(options.target.vectors) {
  npu_model_host host = {};
  host.struct_size = sizeof(host);
  host.opaque = this;
  host.read = [](void* self, uint64_t address, void* data, size_t bytes) {
    return static_cast<Harness*>(self)->access(address, data, bytes, false);
  };
  host.write = [](void* self, uint64_t address, const void* data, size_t bytes) {
    return static_cast<Harness*>(self)->access(address, const_cast<void*>(data), bytes, true);
  };
  host.raise_irq = [](void* self, uint32_t vector) { static_cast<Harness*>(self)->raise(vector); };
  host.kick = [](void* self) { ++static_cast<Harness*>(self)->kicks; };
  host.now_ns = [](void* self) { return static_cast<Harness*>(self)->clock_ns; };
  host.cancelled = [](void* self) {
    auto& f = static_cast<Harness*>(self)->cancelled;
    return f && f();
  };
  host.log = [](void* self, const char* line) {
    static_cast<Harness*>(self)->log.append(line).append("\n");
  };
  npu_model_config config = {};
  config.struct_size = sizeof(config);
  config.abi = NPU_MODEL_ABI;
  config.target = options.target;
  config.mode = options.mode;
  config.dma_bits = options.dma_bits;
  config.serial = 0x1122334455667788ull;
  const char* error = nullptr;
  model_ = npu_model_create(&config, &host, &error);
  if (model_ == nullptr) die(error);
  program();
}

Harness::~Harness() {
  npu_model_destroy(model_);
}

npu_model_bus Harness::access(uint64_t address, void* data, size_t bytes, bool write) {
  ++bus_accesses;
  if (bytes > 256 * 1024) die("bus access of more than 256 KiB");
  if (!bus_master_) return NPU_BUS_ABORTED;
  if (filter) {
    const npu_model_bus result = filter(address, bytes, write);
    if (result != NPU_BUS_OK) return result;
  }
  if (address > host_.size() || bytes > host_.size() - address) return NPU_BUS_DECODE_ERROR;
  if (write)
    std::memcpy(host(address), data, bytes);
  else
    std::memcpy(data, host(address), bytes);
  return NPU_BUS_OK;
}

void Harness::raise(uint32_t vector) {
  interrupts.push_back(vector);
  if (!bus_master_) return;
  Vector& v = vectors_.at(vector);
  if (v.masked)
    v.pending = true;
  else
    ++v.messages;
}

uint64_t Harness::bar_read(unsigned bar, uint64_t offset, unsigned bytes) {
  if (bar == NPU_BAR_REGISTERS) return npu_model_read(model_, offset, bytes);
  uint64_t value = 0;
  read_card(offset, &value, bytes);
  return value;
}

void Harness::bar_write(unsigned bar, uint64_t offset, uint64_t value, unsigned bytes) {
  if (bar == NPU_BAR_REGISTERS)
    npu_model_write(model_, offset, value, bytes);
  else
    write_card(offset, &value, bytes);
}

void Harness::read_card(uint64_t offset, void* data, size_t bytes) {
  std::memcpy(data, card(offset), bytes);
}

void Harness::write_card(uint64_t offset, const void* data, size_t bytes) {
  std::memcpy(card(offset), data, bytes);
}

void Harness::read_memory(uint64_t address, void* data, size_t bytes) {
  std::memcpy(data, host(address), bytes);
}

void Harness::write_memory(uint64_t address, const void* data, size_t bytes) {
  std::memcpy(host(address), data, bytes);
}

unsigned Harness::take_messages(unsigned vector) {
  return std::exchange(vectors_.at(vector).messages, 0);
}

void Harness::mask_vector(unsigned vector, bool masked) {
  Vector& v = vectors_.at(vector);
  v.masked = masked;
  if (!masked && std::exchange(v.pending, false)) ++v.messages;
}

bool Harness::run_until(const std::function<bool()>& done) {
  while (!done())
    if (run(1) == NPU_MODEL_IDLE) return done();
  return true;
}

void Harness::advance(uint64_t ns) {
  clock_ns += ns;
  run();
}

void Harness::reset(ResetKind kind) {
  npu_model_reset(model_, kind == ResetKind::kPower ? NPU_MODEL_RESET_POWER : NPU_MODEL_RESET_FLR);
  for (Vector& v : vectors_) v.pending = false;
}

void Harness::set_bus_master(bool on) {
  bus_master_ = on;
}

JobBench::JobBench(HarnessOptions options, npu_memory data)
    : harness_(options), space_(harness_, kAsid, data, {1 << 20, kDataBytes}) {
  const uint64_t at = space_.data_address();
  data_ = data == NPU_MEMORY_CARD ? harness_.card(at) : harness_.host(at);
  harness_.start(kQueue, kAsid);
  harness_.run();
}

}  // namespace npu::model::testing
