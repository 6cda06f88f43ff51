// SPDX-License-Identifier: MIT
#include "bus.h"

#include <algorithm>
#include <cstring>

namespace npu::model {

uint8_t* Bus::card_range(uint64_t address, size_t bytes) {
  if (address > card_bytes_ || bytes > card_bytes_ - address) return nullptr;
  return card_memory_ + address;
}

npu_status_code Bus::read(npu_memory memory, uint64_t address, void* data, size_t bytes) {
  if (shared_.gone.load(std::memory_order_relaxed)) return fail(NPU_STATUS_DMA_ERROR, address);
  if (memory == NPU_MEMORY_CARD) {
    const uint8_t* source = card_range(address, bytes);
    if (source == nullptr) return fail(NPU_STATUS_DMA_ERROR, address);
    if (client_ != kDevice && injector_.strikes(NPU_INJECT_ECC, client_))
      return fail(NPU_STATUS_ECC, address);
    std::memcpy(data, source, bytes);
    return NPU_STATUS_OK;
  }
  auto* out = static_cast<uint8_t*>(data);
  while (bytes > 0) {
    const size_t chunk = std::min(bytes, kMaxHostBytes);
    if (client_ != kDevice && injector_.strikes(NPU_INJECT_DMA_ERROR, client_))
      return fail(NPU_STATUS_DMA_ERROR, address);
    if (host_.read(host_.opaque, address, out, chunk) != NPU_BUS_OK)
      return fail(NPU_STATUS_DMA_ERROR, address);
    address += chunk;
    out += chunk;
    bytes -= chunk;
  }
  return NPU_STATUS_OK;
}

npu_status_code Bus::write(npu_memory memory, uint64_t address, const void* data, size_t bytes) {
  if (shared_.gone.load(std::memory_order_relaxed)) return fail(NPU_STATUS_DMA_ERROR, address);
  if (memory == NPU_MEMORY_CARD) {
    uint8_t* destination = card_range(address, bytes);
    if (destination == nullptr) return fail(NPU_STATUS_DMA_ERROR, address);
    std::memcpy(destination, data, bytes);
    return NPU_STATUS_OK;
  }
  const auto* in = static_cast<const uint8_t*>(data);
  while (bytes > 0) {
    const size_t chunk = std::min(bytes, kMaxHostBytes);
    if (client_ != kDevice && injector_.strikes(NPU_INJECT_DMA_ERROR, client_))
      return fail(NPU_STATUS_DMA_ERROR, address);
    if (host_.write(host_.opaque, address, in, chunk) != NPU_BUS_OK)
      return fail(NPU_STATUS_DMA_ERROR, address);
    address += chunk;
    in += chunk;
    bytes -= chunk;
  }
  return NPU_STATUS_OK;
}

}  // namespace npu::model
