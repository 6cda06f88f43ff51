// SPDX-License-Identifier: MIT
//
// Tensors in files: NumPy's .npy (versions 1 to 3, little endian, C order) and
// ONNX's TensorProto (.pb). Everything in a file is checked; what is wrong
// throws ToolError with the file's name.
#ifndef NPU_TOOLS_TENSOR_FILE_H_
#define NPU_TOOLS_TENSOR_FILE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libnpu/npu.h"

namespace npu::tools {

struct Tensor {
  npu_type type = NPU_ELEMENT_NONE;
  std::vector<uint64_t> shape;  // row major
  std::vector<std::byte> bytes;
  std::string name;  // in the file; usually empty

  uint64_t elements() const;
};

// Bytes of an element of a tensor in a file or a buffer; 0 for types that
// files cannot hold.
size_t element_bytes(npu_type type);
const char* type_name(npu_type type);  // "uint8"

// By extension: .npy or .pb.
Tensor read_tensor(const std::string& path);
void write_npy(const std::string& path, const Tensor& tensor);

// From memory, for tests; `name` is what messages call it.
Tensor parse_npy(std::span<const std::byte> data, const std::string& name);
Tensor parse_tensor_proto(std::span<const std::byte> data, const std::string& name);

// A tensor's name as the name of a file, without extension: '/' and ':' become '_'.
std::string file_stem(const std::string& tensor_name);

}  // namespace npu::tools

#endif  // NPU_TOOLS_TENSOR_FILE_H_
