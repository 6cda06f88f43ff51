// SPDX-License-Identifier: MIT
#ifndef NPU_COMPILER_ONNX_INPUT_SHAPES_H_
#define NPU_COMPILER_ONNX_INPUT_SHAPES_H_

#include <cstdint>
#include <map>
#include <string>

#include "compiler/ir/graph.h"

namespace npu::compiler {

// What dimensions of a model's inputs become that the model leaves open.
struct InputShapes {
  // Of an input's first dimension; 0: it stays open, which is an error.
  int64_t batch = 0;
  // All dimensions of these inputs. What the model does not leave open has to agree.
  std::map<std::string, Shape> by_name = {};
};

}  // namespace npu::compiler

#endif  // NPU_COMPILER_ONNX_INPUT_SHAPES_H_
