// SPDX-License-Identifier: MIT
//
// What shapes ONNX's operators make of their operands' shapes and attributes.
#ifndef NPU_COMPILER_ONNX_SHAPE_RULES_H_
#define NPU_COMPILER_ONNX_SHAPE_RULES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compiler/ir/graph.h"
#include "compiler/onnx/attributes.h"

namespace npu::compiler {

// A rule that a node breaks.
struct RuleBreak {
  bool malformed = false;  // it contradicts ONNX; else it is beyond the compiler
  std::string rule;
  std::string value;
  std::string suggestion = {};
};

// All of these return nullopt (false) with the reason in `broken`.

std::optional<Shape> broadcast_shape(const Shape& a, const Shape& b, RuleBreak& broken);

// Fills the window from kernel_shape, strides, dilations, pads and auto_pad, and `spatial` with
// the output's extents. `in` is [n, c, spatial...]; `kernel` the spatial kernel, empty: attribute.
bool read_window(Attributes& attributes, const Shape& in, const Shape& kernel, bool ceil_mode,
                 bool pads_below_kernel, Window& window, Shape& spatial, RuleBreak& broken);

// ConvTranspose along one axis: element i of the input and tap t of the kernel meet in element
// i * stride + t * dilation - crop of the result.
struct TransposedAxis {
  int64_t kernel = 1, stride = 1, dilation = 1;
  int64_t crop = 0;
  int64_t size = 1;  // of the result
};
struct TransposedWindow {
  int64_t groups = 1;
  std::vector<TransposedAxis> axes;
  Shape shape;  // of the result
};
// `weights` are [ic, oc/group, kernel...].
std::optional<TransposedWindow> transposed_window(Attributes& attributes, const Shape& in,
                                                  const Shape& weights, RuleBreak& broken);

std::optional<Shape> reshaped(const Shape& in, std::vector<int64_t> wanted, bool allow_zero,
                              RuleBreak& broken);
std::optional<Shape> flattened(const Shape& in, int64_t axis, RuleBreak& broken);
// Without axes: all of length 1.
std::optional<Shape> squeezed(const Shape& in, const std::optional<std::vector<int64_t>>& axes,
                              RuleBreak& broken);
std::optional<Shape> unsqueezed(const Shape& in, const std::vector<int64_t>& axes,
                                RuleBreak& broken);
// Without a permutation: the axes reversed.
std::optional<std::vector<int>> permutation_of(const Shape& in,
                                               const std::optional<std::vector<int64_t>>& wanted,
                                               RuleBreak& broken);
Shape permuted(const Shape& in, const std::vector<int>& permutation);

struct SliceBounds {
  std::vector<int64_t> start;  // of every axis
  Shape shape;
  std::vector<int64_t> step;  // not 0; empty: 1 along every axis
};
std::optional<SliceBounds> sliced(const Shape& in, const std::vector<int64_t>& starts,
                                  const std::vector<int64_t>& ends,
                                  const std::optional<std::vector<int64_t>>& axes,
                                  const std::optional<std::vector<int64_t>>& steps,
                                  RuleBreak& broken);

struct GatherPlaces {
  size_t axis = 0;
  std::vector<int64_t> indices;  // none negative
  Shape shape;
};
// `shape` is the indices'.
std::optional<GatherPlaces> gathered(const Shape& in, int64_t axis, const Shape& shape,
                                     const std::vector<int64_t>& indices, RuleBreak& broken);

struct PadBounds {
  SliceBounds inner;            // what is left of the input
  std::vector<int64_t> before;  // in front of that
  Shape shape;
};
// `pads` are those in front of the axes (all, if none are given), then those behind them; negative
// ones cut. `mode` as in ONNX.
std::optional<PadBounds> padded(const Shape& in, const std::string& mode,
                                const std::vector<int64_t>& pads,
                                const std::optional<std::vector<int64_t>>& axes, RuleBreak& broken);
// Which elements of an axis of `size` a frame of mode edge, reflect or wrap repeats, and the axis
// itself between.
std::vector<int64_t> framed_indices(const std::string& mode, int64_t size, int64_t before,
                                    int64_t after);

// DepthToSpace and SpaceToDepth: a reshape to `cut`, a transposition, a reshape to `shape`.
struct BlockMove {
  Shape cut;
  std::vector<int> permutation;
  Shape shape;
};
std::optional<BlockMove> block_move(const std::string& type, Attributes& attributes,
                                    const Shape& in, RuleBreak& broken);

struct SplitParts {
  size_t axis = 0;
  std::vector<SliceBounds> bounds;  // of every output
};
// `count` is what the node says, `outputs` what it has; without sizes: equal parts, the last one
// smaller if they do not divide the axis.
std::optional<SplitParts> split_parts(const Shape& in, int64_t axis, int64_t count, int64_t outputs,
                                      std::optional<std::vector<int64_t>> sizes, RuleBreak& broken);

// `axis` is made positive.
std::optional<Shape> concatenated(const std::vector<Shape>& parts, int64_t& axis,
                                  RuleBreak& broken);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_ONNX_SHAPE_RULES_H_
