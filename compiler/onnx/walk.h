// SPDX-License-Identifier: MIT
//
// Steps through the elements of a tensor in the order of another one.
#ifndef NPU_COMPILER_ONNX_WALK_H_
#define NPU_COMPILER_ONNX_WALK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "compiler/ir/graph.h"

namespace npu::compiler {

// Strides of a walk through `operand` in the order of `result`, which it is broadcast to.
inline std::vector<int64_t> broadcast_strides(const Shape& operand, const Shape& result) {
  const std::vector<int64_t> dense = strides_of(operand);
  std::vector<int64_t> out(result.size(), 0);
  const size_t missing = result.size() - operand.size();
  for (size_t d = 0; d < operand.size(); ++d)
    if (operand[d] > 1) out[missing + d] = dense[d];
  return out;
}

// Calls f(place in the result, offset) for every element of `shape`; the offset advances by
// strides[d] along axis d.
template <typename F>
void walk(const Shape& shape, const std::vector<int64_t>& strides, F&& f) {
  std::vector<int64_t> index(shape.size(), 0);
  const auto count = static_cast<size_t>(elements(shape));
  int64_t offset = 0;
  for (size_t at = 0; at < count; ++at) {
    f(at, offset);
    for (size_t d = shape.size(); d-- > 0;) {
      offset += strides[d];
      if (++index[d] < shape[d]) break;
      offset -= strides[d] * shape[d];
      index[d] = 0;
    }
  }
}

}  // namespace npu::compiler

#endif  // NPU_COMPILER_ONNX_WALK_H_
