// SPDX-License-Identifier: MIT
//
// Names of the contract's enumerations.
#include <cstddef>

#include "arch/stream.h"

namespace npu::arch {
namespace {

template <size_t kCount>
const char* at(const char* const (&names)[kCount], unsigned index) {
  return index < kCount && names[index] != nullptr ? names[index] : "?";
}

}  // namespace

const char* engine_name(unsigned engine) {
  static constexpr const char* kNames[] = {"LOAD", "STORE", "MAC", "VEC", "DISPATCH", "PACKET"};
  return at(kNames, engine);
}

const char* opcode_name(unsigned opcode) {
  switch (opcode) {
    case NPU_OP_NOP:
      return "NOP";
    case NPU_OP_YIELD:
      return "YIELD";
    case NPU_OP_LOAD:
      return "LOAD";
    case NPU_OP_FILL:
      return "FILL";
    case NPU_OP_SRAM_COPY:
      return "SRAM_COPY";
    case NPU_OP_PEER_LOAD:
      return "PEER_LOAD";
    case NPU_OP_STORE:
      return "STORE";
    case NPU_OP_CONV:
      return "CONV";
    case NPU_OP_DEPTHWISE:
      return "DEPTHWISE";
    case NPU_OP_MATMUL:
      return "MATMUL";
    case NPU_OP_VEC:
      return "VEC";
    default:
      return "?";
  }
}

const char* status_name(unsigned status) {
  static constexpr const char* kNames[] = {"OK",     "BAD_COMMAND", "MMU_FAULT", "SRAM_RANGE",
                                           "HAZARD", "DEADLOCK",    "BUDGET",    "HANG",
                                           "ECC",    "DMA_ERROR",   "ABORTED",   "VICTIM"};
  static_assert(std::size(kNames) == NPU_STATUS_COUNT);
  return at(kNames, status);
}

const char* data_type_name(unsigned type) {
  static constexpr const char* kNames[] = {"none",  "int4",  "uint4", "int8", "uint8",
                                           "int16", "int32", "fp16",  "bf16", "fp32"};
  return at(kNames, type);
}

unsigned data_type_bits(unsigned type) {
  static constexpr unsigned kBits[] = {0, 4, 4, 8, 8, 16, 32, 16, 16, 32};
  return type < std::size(kBits) ? kBits[type] : 0;
}

const char* vec_function_name(unsigned function) {
  static constexpr const char* kNames[] = {"ADD",          "MUL",         "LUT",    "POOL_MAX",
                                           "POOL_AVERAGE", "POOL_GLOBAL", "REDUCE", "SOFTMAX",
                                           "LAYER_NORM",   "RESIZE",      "CAST"};
  return at(kNames, function);
}

bool opcode_engine(unsigned opcode, npu_engine& engine) {
  switch (opcode) {
    case NPU_OP_NOP:
    case NPU_OP_YIELD:
      engine = NPU_ENGINE_DISPATCH;
      return true;
    case NPU_OP_LOAD:
    case NPU_OP_FILL:
    case NPU_OP_SRAM_COPY:
    case NPU_OP_PEER_LOAD:
      engine = NPU_ENGINE_LOAD;
      return true;
    case NPU_OP_STORE:
      engine = NPU_ENGINE_STORE;
      return true;
    case NPU_OP_CONV:
    case NPU_OP_DEPTHWISE:
    case NPU_OP_MATMUL:
      engine = NPU_ENGINE_MAC;
      return true;
    case NPU_OP_VEC:
      engine = NPU_ENGINE_VEC;
      return true;
    default:
      return false;
  }
}

}  // namespace npu::arch
