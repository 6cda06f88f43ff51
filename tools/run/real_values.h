// SPDX-License-Identifier: MIT
//
// Between the 8-bit tensors of a compiled model and the real numbers they stand
// for, by ONNX's QuantizeLinear and DequantizeLinear (docs/numerics.md).
#ifndef NPU_TOOLS_RUN_REAL_VALUES_H_
#define NPU_TOOLS_RUN_REAL_VALUES_H_

#include <string>

#include "tools/common/tensor_file.h"

namespace npu::tools {

// Whether values of the tensor may be given and shown as float32.
bool is_quantized(const npu_tensor_info& tensor);

// `real` (float32) in the tensor's type. Throws ToolError, naming `file`, where a
// value is no number and, with `exact`, where one is not a value that the tensor can have.
Tensor quantize(const npu_tensor_info& tensor, const Tensor& real, bool exact,
                const std::string& file);

// float32 from values of the tensor's type.
Tensor dequantize(const npu_tensor_info& tensor, const Tensor& stored);

}  // namespace npu::tools

#endif  // NPU_TOOLS_RUN_REAL_VALUES_H_
