// SPDX-License-Identifier: MIT
#include "bus.h"

#include <algorithm>
#include <cstring>

namespace npu::model {
namespace {

template <size_t kBytes>
void copy_elements(uint8_t* to, size_t to_stride, const uint8_t* from, size_t from_stride,
                   size_t count) {
  for (size_t i = 0; i < count; ++i)
    std::memcpy(to + i * to_stride, from + i * from_stride, kBytes);
}

}  // namespace

void copy_rows(uint8_t* to, size_t to_stride, const uint8_t* from, size_t from_stride, size_t count,
               size_t bytes) {
  if (bytes == to_stride && bytes == from_stride) {
    std::memcpy(to, from, count * bytes);
    return;
  }
  switch (bytes) {
    case 1:
      return copy_elements<1>(to, to_stride, from, from_stride, count);
    case 2:
      return copy_elements<2>(to, to_stride, from, from_stride, count);
    case 4:
      return copy_elements<4>(to, to_stride, from, from_stride, count);
    case 64:
      return copy_elements<64>(to, to_stride, from, from_stride, count);
    case 128:
      return copy_elements<128>(to, to_stride, from, from_stride, count);
    default:
      for (size_t i = 0; i < count; ++i)
        std::memcpy(to + i * to_stride, from + i * from_stride, bytes);
  }
}

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
    if (!reaches(address, chunk) || host_.read(host_.opaque, address, out, chunk) != NPU_BUS_OK)
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
    if (!reaches(address, chunk) || host_.write(host_.opaque, address, in, chunk) != NPU_BUS_OK)
      return fail(NPU_STATUS_DMA_ERROR, address);
    address += chunk;
    in += chunk;
    bytes -= chunk;
  }
  return NPU_STATUS_OK;
}

// Host memory: what lies between short rows is cheaper to read than to skip.
npu_status_code Bus::read_rows(npu_memory memory, uint64_t address, const Rows& rows, uint8_t* data,
                               size_t data_stride) {
  constexpr uint64_t kMaxGap = 1024;
  const size_t span = (rows.count - 1) * rows.stride + rows.bytes;
  if (memory == NPU_MEMORY_CARD) {
    const uint8_t* source = card_range(address, span);
    if (source != nullptr && !shared_.gone.load(std::memory_order_relaxed) &&
        injector_.armed() == 0) {
      copy_rows(data, data_stride, source, rows.stride, rows.count, rows.bytes);
      return NPU_STATUS_OK;
    }
  } else if (rows.stride <= rows.bytes + kMaxGap && rows.count > 1 && data_stride != rows.stride) {
    staging_.resize(kMaxHostBytes);
    const npu_status_code status = read(memory, address, staging_.data(), span);
    if (status == NPU_STATUS_OK)
      copy_rows(data, data_stride, staging_.data(), rows.stride, rows.count, rows.bytes);
    return status;
  }
  for (size_t i = 0; i < rows.count; ++i) {
    const npu_status_code status =
        read(memory, address + i * rows.stride, data + i * data_stride, rows.bytes);
    if (status != NPU_STATUS_OK) return status;
  }
  return NPU_STATUS_OK;
}

npu_status_code Bus::write_rows(npu_memory memory, uint64_t address, const Rows& rows,
                                const uint8_t* data, size_t data_stride) {
  const size_t span = (rows.count - 1) * rows.stride + rows.bytes;
  if (memory == NPU_MEMORY_CARD) {
    uint8_t* destination = card_range(address, span);
    if (destination != nullptr && !shared_.gone.load(std::memory_order_relaxed)) {
      copy_rows(destination, rows.stride, data, data_stride, rows.count, rows.bytes);
      return NPU_STATUS_OK;
    }
  } else if (rows.stride == rows.bytes) {
    staging_.resize(kMaxHostBytes);
    copy_rows(staging_.data(), rows.bytes, data, data_stride, rows.count, rows.bytes);
    return write(memory, address, staging_.data(), span);
  } else if (host_.write_rows != nullptr && !shared_.gone.load(std::memory_order_relaxed) &&
             injector_.armed() == 0 && reaches(address, span)) {
    return host_.write_rows(host_.opaque, address, rows.stride, data, data_stride, rows.count,
                            rows.bytes) == NPU_BUS_OK
               ? NPU_STATUS_OK
               : fail(NPU_STATUS_DMA_ERROR, address);
  }
  for (size_t i = 0; i < rows.count; ++i) {
    const npu_status_code status =
        write(memory, address + i * rows.stride, data + i * data_stride, rows.bytes);
    if (status != NPU_STATUS_OK) return status;
  }
  return NPU_STATUS_OK;
}

}  // namespace npu::model
