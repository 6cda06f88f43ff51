// SPDX-License-Identifier: MIT
//
// Where the elements of ONNX's Resize look, in the runtime's own arithmetic (docs/numerics.md).
#ifndef NPU_COMPILER_ONNX_RESIZE_RULES_H_
#define NPU_COMPILER_ONNX_RESIZE_RULES_H_

#include <optional>
#include <string>
#include <vector>

#include "compiler/ir/graph.h"
#include "compiler/onnx/attributes.h"
#include "compiler/onnx/shape_rules.h"

namespace npu::compiler {

// Names as in ONNX.
struct ResizeMode {
  bool linear = false;
  std::string coordinates, nearest;
};

// Extents of one axis, and the scale by which positions are computed.
struct ResizeAxis {
  int64_t in = 1, out = 1;
  float scale = 1;
  bool moves() const { return scale != 1.0f || in != out; }
};

// Of a Resize before opset 11, and of Upsample, scales are the second input, later the third.
inline bool has_roi(const std::string& type, int64_t opset) {
  return type == "Resize" && opset >= 11;
}

// nullopt with the reason in `broken`. `modern`: has_roi().
std::optional<ResizeMode> resize_mode(Attributes& attributes, bool modern, RuleBreak& broken);

// One for every axis of `in`. Either `scales` or `sizes` is empty.
std::optional<std::vector<ResizeAxis>> resize_axes(Attributes& attributes, const Shape& in,
                                                   const std::vector<float>& scales,
                                                   const std::vector<int64_t>& sizes,
                                                   RuleBreak& broken);

// For every element along the axis; at most kMostResized of them.
inline constexpr int64_t kMostResized = 65535;  // a field of a command
std::vector<ResizeEntry> resize_entries(const ResizeAxis& axis, const ResizeMode& mode);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_ONNX_RESIZE_RULES_H_
