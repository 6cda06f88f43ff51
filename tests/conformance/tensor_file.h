// SPDX-License-Identifier: MIT
// Tensors in files: NumPy's .npy (version 1-3, C order) and ONNX's TensorProto (.pb).
#ifndef NPU_TESTS_CONFORMANCE_TENSOR_FILE_H_
#define NPU_TESTS_CONFORMANCE_TENSOR_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace conformance {

// The subset of ONNX's TensorProto.DataType that the judge deals in; values are ONNX's own.
enum class ElementType : int {
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kInt32 = 6,
  kInt64 = 7,
};

struct Tensor {
  ElementType type = ElementType::kFloat;
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;  // little endian, C order
};

// 0 for a type that is not in the enum.
size_t element_size(ElementType type);

// All four throw std::runtime_error with the file's name and what is wrong with it.
Tensor read_npy(const std::string& path);
void write_npy(const std::string& path, const Tensor& tensor);
Tensor read_tensor_proto(const std::string& path);
Tensor read_tensor(const std::string& path);  // by the file's extension

}  // namespace conformance

#endif  // NPU_TESTS_CONFORMANCE_TENSOR_FILE_H_
