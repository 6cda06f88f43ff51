// SPDX-License-Identifier: MIT
//
// Constants of an ONNX model, checked and decoded.
#ifndef NPU_COMPILER_ONNX_TENSOR_H_
#define NPU_COMPILER_ONNX_TENSOR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compiler/ir/graph.h"

namespace npu::onnx {
class Tensor;
}

namespace npu::compiler {

// Element types that constants of supported operators have.
enum class ConstType : uint8_t { kFloat, kInt8, kUint8, kInt32, kInt64, kBool, kOther };

struct ConstTensor {
  ConstType type = ConstType::kOther;
  int onnx_type = 0;
  Shape shape;  // empty: a scalar; a dimension may be 0 here
  // One of these, by type; row major. 8-bit values are their stored bytes.
  std::vector<float> floats;
  std::vector<uint8_t> bytes;
  std::vector<int64_t> ints;  // int32, int64 and bool

  int64_t count() const { return elements(shape); }
  // In memory.
  uint64_t data_bytes() const {
    return floats.size() * sizeof(float) + bytes.size() + ints.size() * sizeof(int64_t);
  }
  bool is_byte() const { return type == ConstType::kInt8 || type == ConstType::kUint8; }
  ByteType byte_type() const {
    return type == ConstType::kInt8 ? ByteType::kInt8 : ByteType::kUint8;
  }
};

// Decodes; on failure returns nullopt and a sentence in `error`.
std::optional<ConstTensor> decode_tensor(const onnx::Tensor& proto, std::string& error);

// Name of an ONNX element type, "float", "int8", ...
std::string onnx_type_name(int type);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_ONNX_TENSOR_H_
