// SPDX-License-Identifier: MIT
//
// ONNX's functions of one float, as binary32 has them. Where ONNX Runtime approximates a function
// the import has its approximation instead (docs/numerics.md).
#ifndef NPU_COMPILER_ONNX_FUNCTIONS_H_
#define NPU_COMPILER_ONNX_FUNCTIONS_H_

#include <functional>
#include <string>

#include "compiler/onnx/attributes.h"

namespace npu::compiler {

// Of an operator without attributes; nullptr if there is no such one.
float (*plain_function_of(const std::string& type))(float);

// Elu, Celu or Selu.
std::function<float(float)> exponential_unit_of(const std::string& type, Attributes& attributes);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_ONNX_FUNCTIONS_H_
