// SPDX-License-Identifier: MIT
//
// Executes one VEC command. A unit is one output pixel with all channels.
#ifndef NPU_MODEL_COMPUTE_VEC_H_
#define NPU_MODEL_COMPUTE_VEC_H_

#include <cstdint>
#include <vector>

#include "arch/stream.h"
#include "compute/kernels.h"
#include "core.h"
#include "progress.h"

namespace npu::model {

class VecOp {
 public:
  // A command that has been decoded.
  void begin(const arch::Command& command, CoreMemory& memory);
  // Continues at unit `cursor`. True when the command is complete.
  bool run(uint64_t& cursor, Progress& progress);

 private:
  void element_wise(uint32_t y, uint32_t x);
  bool pool(uint32_t y, uint32_t x, Progress& progress);
  bool reduce(uint32_t y, uint32_t x, Progress& progress);
  int32_t largest(const uint8_t* values, unsigned count) const;
  void softmax(const uint8_t* a, uint8_t* out);
  void layer_norm(const uint8_t* a, uint8_t* out);
  void resize(uint32_t y, uint32_t x);
  int32_t clamp8(float value) const;

  uint8_t* sram_ = nullptr;
  npu_command_vec vec_;
  const Kernels* kernels_ = nullptr;
  bool a_signed_, b_signed_, out_signed_;
  float p0_, p1_, p2_;
  std::vector<uint8_t> table_;  // LUT or parameters
  std::vector<uint8_t> best_;
  std::vector<float> sum_;
  std::vector<uint32_t> total_;
  std::vector<uint8_t> result_;
};

}  // namespace npu::model

#endif  // NPU_MODEL_COMPUTE_VEC_H_
