// SPDX-License-Identifier: MIT
//
// An ONNX file as messages: bounded, parsed, its nodes in an order of execution.
#ifndef NPU_COMPILER_ONNX_MODEL_H_
#define NPU_COMPILER_ONNX_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compiler/diagnostics.h"
#include "compiler/ir/graph.h"
#include "compiler/onnx/input_shapes.h"
#include "onnx_subset.pb.h"

namespace npu::compiler {

// The file's bytes are untrusted. A model that is returned has nodes, not too many, and an
// operator set that is supported; nullopt: the problem is in `diagnostics`. Its inputs have the
// dimensions that `shapes` gives them.
std::optional<onnx::Model> parse_model(std::span<const std::byte> file, const InputShapes& shapes,
                                       Diagnostics& diagnostics);

// The version of ai.onnx; 0: the model names none.
int64_t operator_set(const onnx::Model& model);

// Node indices so that operands precede their users, in the file's order wherever that is one.
// `is_given`: tensors that no node may produce.
std::optional<std::vector<int>> node_order(const onnx::Graph& graph,
                                           const std::function<bool(const std::string&)>& is_given,
                                           Diagnostics& diagnostics);

// The shape of a graph input; nullopt, with the problem reported, if it is not known or absurd.
std::optional<Shape> input_shape(const onnx::ValueInfo& info, Diagnostics& diagnostics);

// A node's name, or of one without its first output's.
std::string display_name(const onnx::Node& node);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_ONNX_MODEL_H_
