// SPDX-License-Identifier: MIT
//
// How a job failed, in words.
#ifndef NPU_UMD_FAULT_TEXT_H_
#define NPU_UMD_FAULT_TEXT_H_

#include "network.h"

namespace npu::umd {

// The result code of a job that ended with `status`.
npu_result result_of_status(uint32_t status);

// Fills everything, `text` included. `network`: whose job it was; may be nullptr.
npu_fault describe_fault(const drm_npu_fault& fault, const Network* network);

}  // namespace npu::umd

#endif  // NPU_UMD_FAULT_TEXT_H_
