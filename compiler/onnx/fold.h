// SPDX-License-Identifier: MIT
//
// Nodes whose operands are constants, computed: the arithmetic on shapes that exporters leave in
// a model (Shape, Gather, Concat, Reshape), and data movement of weights.
#ifndef NPU_COMPILER_ONNX_FOLD_H_
#define NPU_COMPILER_ONNX_FOLD_H_

#include <optional>
#include <vector>

#include "compiler/onnx/tensor.h"

namespace npu::onnx {
class Node;
}

namespace npu::compiler {

// Of one model, in the file and made from others; a small file could name one large constant many
// times.
inline constexpr uint64_t kMaxConstantBytes = uint64_t{4} << 30;

// The one output of a node; operands that are absent are null. nullopt if the node is none of
// these, or wrong: whoever imports it says what is the matter.
std::optional<ConstTensor> fold_constants(const onnx::Node& node,
                                          const std::vector<const ConstTensor*>& operands);

// Shape or Size of a tensor of known shape.
std::optional<ConstTensor> fold_shape(const onnx::Node& node, const Shape& shape);

// Whether the result has the first operand's elements, moved: what is known of them stays true.
bool only_moves(const onnx::Node& node);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_ONNX_FOLD_H_
