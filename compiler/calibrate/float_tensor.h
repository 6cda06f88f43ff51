// SPDX-License-Identifier: MIT
#ifndef NPU_COMPILER_CALIBRATE_FLOAT_TENSOR_H_
#define NPU_COMPILER_CALIBRATE_FLOAT_TENSOR_H_

#include <vector>

#include "compiler/ir/graph.h"

namespace npu::compiler {

struct FloatTensor {
  Shape shape;
  std::vector<float> data;  // row major; empty where only the shape is known
};

}  // namespace npu::compiler

#endif  // NPU_COMPILER_CALIBRATE_FLOAT_TENSOR_H_
