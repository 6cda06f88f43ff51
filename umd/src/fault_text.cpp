// SPDX-License-Identifier: MIT
#include "fault_text.h"

#include <cstdio>

#include "npu/status.h"
#include "structs.h"

namespace npu::umd {
namespace {

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

const char* access_name(uint32_t access) {
  switch (access) {
    case NPU_ACCESS_READ:
      return "read";
    case NPU_ACCESS_WRITE:
      return "write";
    default:
      return "fetch";
  }
}

// What happened, and what to do about it.
std::string cause(const drm_npu_fault& fault) {
  const std::string at = hex(fault.address);
  switch (fault.status) {
    case NPU_STATUS_BAD_COMMAND:
      return "the command is invalid; compile the model again";
    case NPU_STATUS_MMU_FAULT:
      return std::string(access_name(fault.access)) + " of address " + at +
             ", which is not mapped for it; check the bindings, or compile the model again";
    case NPU_STATUS_SRAM_RANGE:
      return "an operand reaches beyond the SRAM at " + at + "; compile the model for this card";
    case NPU_STATUS_HAZARD:
      return "accesses to SRAM address " + at +
             " are not ordered by waits; this is a fault of the compiler";
    case NPU_STATUS_DEADLOCK:
      return "a wait can never be met; this is a fault of the compiler";
    case NPU_STATUS_BUDGET:
      return "the job exceeded its queue's cycle limit, or ran too long without a yield point "
             "while "
             "something more urgent waited; raise the limit, make the job smaller or compile it "
             "with more yield points";
    case NPU_STATUS_HANG:
      return "the engine made no progress and was reset; create a new queue and try again";
    case NPU_STATUS_ECC:
      return "uncorrectable memory error at " + at + "; load the model again";
    case NPU_STATUS_DMA_ERROR:
      return "a bus transaction at " + at + " was refused; see the kernel log";
    case NPU_STATUS_ABORTED:
      return "the job was aborted";
    case NPU_STATUS_VICTIM:
      return "the job was lost in a reset that something else caused; submit it again";
    default:
      return "unknown status";
  }
}

}  // namespace

npu_result result_of_status(uint32_t status) {
  switch (status) {
    case NPU_STATUS_OK:
      return NPU_OK;
    case NPU_STATUS_BUDGET:
    case NPU_STATUS_HANG:
      return NPU_ERROR_JOB_HUNG;
    case NPU_STATUS_ABORTED:
      return NPU_ERROR_JOB_ABORTED;
    case NPU_STATUS_VICTIM:
      return NPU_ERROR_VICTIM;
    default:
      return NPU_ERROR_JOB_FAULT;
  }
}

npu_fault describe_fault(const drm_npu_fault& fault, const Network* network) {
  npu_fault out = {};
  out.status = fault.status;
  out.command = fault.command;
  out.engine = fault.engine;
  out.core = fault.core;
  out.access = fault.access;
  out.operator_index = fault.source_op;
  out.job = fault.job;
  out.address = fault.address;
  out.timebase_ns = fault.timebase_ns;

  std::string text = "job " + std::to_string(fault.job);
  if (network != nullptr && network->info().name[0] != '\0') {
    text += std::string(" (") + network->info().name + ")";
  }
  text += std::string(" failed with ") + arch::status_name(fault.status);
  if (fault.command != NPU_NO_COMMAND) {
    npu_operator_info op = {};
    if (network != nullptr && network->operator_info(fault.source_op, op).ok()) {
      text += std::string(" in layer '") + op.name + "' (" + op.type + ")";
    }
    text += ", command " + std::to_string(fault.command) + " (" + arch::engine_name(fault.engine) +
            ") on core " + std::to_string(fault.core);
  }
  copy_text(out.text, text + ": " + cause(fault));
  return out;
}

}  // namespace npu::umd
