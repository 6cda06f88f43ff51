// SPDX-License-Identifier: MIT
//
// The C ABI. No exception leaves it: the only one that can occur is shortage of
// memory, which ends the job at hand.
#include "npu_model.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "arch/target.h"
#include "card.h"

struct npu_model {
  npu::model::Card card;
};

namespace {

using npu::model::OwnedMemory;
using npu::model::Unmap;

// Of the first version of struct npu_model_host; a caller's older one lacks
// optional operations, no more.
constexpr size_t kFirstHostBytes = offsetof(npu_model_host, function_event);

const char* check(const npu_model_config* config, const npu_model_host* host) {
  if (config == nullptr || config->struct_size < sizeof(npu_model_config))
    return "config.struct_size is smaller than this library expects";
  if (config->abi != NPU_MODEL_ABI) return "config.abi is not the version of this library";
  if (config->mode > NPU_MODEL_TIMING_ONLY) return "config.mode is unknown";
  if (config->dma_bits != 0 && (config->dma_bits < 32 || config->dma_bits > 64))
    return "config.dma_bits is not 32 to 64";
  if (host == nullptr || host->struct_size < kFirstHostBytes)
    return "host.struct_size is smaller than this library expects";
  if (host->read == nullptr || host->write == nullptr || host->raise_irq == nullptr ||
      host->kick == nullptr || host->now_ns == nullptr || host->cancelled == nullptr)
    return "host: only log, function_event, trace and write_rows may be NULL";
  static thread_local std::string text;  // outlives the call
  text = npu::arch::validate_target(config->target);
  if (text.empty()) return nullptr;
  text = "config.target: " + text;
  return text.c_str();
}

npu_model* create(const npu_model_config* config, const npu_model_host* host, const char** error) {
  if (const char* text = check(config, host)) {
    *error = text;
    return nullptr;
  }
  auto* memory = static_cast<uint8_t*>(config->card_memory);
  OwnedMemory own(nullptr, Unmap{0});
  if (memory == nullptr) {
    own = npu::model::map_zeroed(size_t{config->target.card_memory_mib} << 20);
    memory = own.get();
    if (memory == nullptr) throw std::bad_alloc();
  }
  npu_model_host operations = {};
  std::memcpy(&operations, host, std::min<size_t>(host->struct_size, sizeof(operations)));
  return new npu_model{{*config, operations, memory, std::move(own)}};
}

}  // namespace

npu_model* npu_model_create(const npu_model_config* config, const npu_model_host* host,
                            const char** error) {
  const char* ignored;
  if (error == nullptr) error = &ignored;
  *error = nullptr;
  try {
    return create(config, host, error);
  } catch (const std::bad_alloc&) {
    *error = "out of memory";
    return nullptr;
  }
}

void npu_model_destroy(npu_model* model) {
  delete model;
}

uint64_t npu_model_read(npu_model* model, uint64_t offset, unsigned size) {
  return model->card.registers().read(offset, size);
}

void npu_model_write(npu_model* model, uint64_t offset, uint64_t value, unsigned size) {
  model->card.registers().write(offset, value, size);
}

void* npu_model_card_memory(npu_model* model) {
  return model->card.card_memory();
}

npu_model_run_result npu_model_run(npu_model* model, uint64_t budget) {
  return model->card.run(budget);
}

uint64_t npu_model_deadline(npu_model* model) {
  return model->card.deadline();
}

void npu_model_reset(npu_model* model, npu_model_reset_kind kind) {
  model->card.reset(kind);
}

bool npu_model_inject(npu_model* model, uint32_t kind, uint32_t queue, uint32_t skip,
                      uint32_t count, uint64_t argument) {
  return model->card.registers().inject(kind, {count, skip, queue, argument});
}

size_t npu_model_save(npu_model* model, void* data, size_t bytes) {
  try {
    const std::vector<uint8_t> state = model->card.save();
    if (data == nullptr) return state.size();
    if (bytes < state.size()) return 0;
    std::memcpy(data, state.data(), state.size());
    return state.size();
  } catch (const std::bad_alloc&) {
    return 0;
  }
}

bool npu_model_load(npu_model* model, const void* data, size_t bytes) {
  try {
    return model->card.load(static_cast<const uint8_t*>(data), bytes);
  } catch (const std::bad_alloc&) {
    model->card.reset(NPU_MODEL_RESET_POWER);
    return false;
  }
}
