// SPDX-License-Identifier: MIT
//
// How a packet fails inside the card, before it becomes a completion.
#ifndef NPU_MODEL_FAULT_H_
#define NPU_MODEL_FAULT_H_

#include <cstdint>

#include "npu/status.h"

namespace npu::model {

struct Fault {
  npu_status_code status = NPU_STATUS_OK;
  uint32_t command = NPU_NO_COMMAND;
  uint8_t engine = NPU_ENGINE_PACKET;
  uint8_t core = 0;  // position in the gang
  uint8_t access = NPU_ACCESS_READ;
  uint32_t source_op = 0;
  uint64_t address = 0;

  bool ok() const { return status == NPU_STATUS_OK; }
  static Fault of(npu_status_code status, uint64_t address = 0) {
    Fault fault;
    fault.status = status;
    fault.address = address;
    return fault;
  }
};

}  // namespace npu::model

#endif  // NPU_MODEL_FAULT_H_
