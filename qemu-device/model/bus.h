// SPDX-License-Identifier: MIT
//
// Physical memory as the card sees it: the host's bus and its own memory.
// Used by the run thread only.
#ifndef NPU_MODEL_BUS_H_
#define NPU_MODEL_BUS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "injector.h"
#include "npu/queue.h"
#include "npu/status.h"
#include "npu_model.h"
#include "shared.h"

namespace npu::model {

// Equally long pieces of memory, equally far apart.
struct Rows {
  size_t count = 0;
  size_t bytes = 0;
  uint64_t stride = 0;
};

// Moves rows within this process.
void copy_rows(uint8_t* to, size_t to_stride, const uint8_t* from, size_t from_stride, size_t count,
               size_t bytes);

class Bus {
 public:
  static constexpr size_t kMaxHostBytes = 256 * 1024;
  static constexpr uint32_t kDevice = 0xfffffffeu;  // no queue: injected bus faults do not strike

  Bus(const npu_model_host& host, Shared& shared, Injector& injector, uint8_t* card_memory,
      uint64_t card_bytes, unsigned dma_bits)
      : host_(host),
        shared_(shared),
        injector_(injector),
        card_memory_(card_memory),
        card_bytes_(card_bytes),
        last_address_(~uint64_t{0} >> (64 - dma_bits)) {}

  // OK, DMA_ERROR or ECC. After a failure, fault_address() is where it
  // happened; bytes before it have been transferred.
  npu_status_code read(npu_memory memory, uint64_t address, void* data, size_t bytes);
  npu_status_code write(npu_memory memory, uint64_t address, const void* data, size_t bytes);
  // Rows, at most kMaxHostBytes from the first to the last, that are
  // `data_stride` apart at `data`. Reading may touch what lies between them.
  npu_status_code read_rows(npu_memory memory, uint64_t address, const Rows& rows, uint8_t* data,
                            size_t data_stride);
  npu_status_code write_rows(npu_memory memory, uint64_t address, const Rows& rows,
                             const uint8_t* data, size_t data_stride);
  uint64_t fault_address() const { return fault_address_; }

  // For whom the following accesses are: a queue, or kDevice.
  void set_client(uint32_t queue) { client_ = queue; }
  uint32_t client() const { return client_; }

  // Bytes of card memory at `address` that may be accessed directly; null when
  // the range is not all card memory or a fault is to be injected.
  uint8_t* card_range(uint64_t address, size_t bytes);

  uint64_t card_bytes() const { return card_bytes_; }

 private:
  npu_status_code fail(npu_status_code status, uint64_t address) {
    fault_address_ = address;
    return status;
  }

  // Has the card address lines for it?
  bool reaches(uint64_t address, size_t bytes) const {
    return address <= last_address_ && bytes - 1 <= last_address_ - address;
  }

  const npu_model_host& host_;
  Shared& shared_;
  Injector& injector_;
  uint8_t* const card_memory_;
  const uint64_t card_bytes_;
  const uint64_t last_address_;  // of the bus
  uint32_t client_ = kDevice;
  uint64_t fault_address_ = 0;
  std::vector<uint8_t> staging_;
};

}  // namespace npu::model

#endif  // NPU_MODEL_BUS_H_
