// SPDX-License-Identifier: MIT
//
// ONNX file -> Graph: quantized models in QDQ form (DequantizeLinear, float
// operator, QuantizeLinear), in QOperator form (QLinearConv and its kin) or a
// mixture. docs/compiler.md says what the result means.
#ifndef NPU_COMPILER_IMPORT_IMPORT_H_
#define NPU_COMPILER_IMPORT_IMPORT_H_

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

namespace npu::compiler {

struct ImportOptions {
  InputShapes shapes = {};
  // Called for every node; may throw.
  std::function<void()> poll = {};
};

// The file's bytes are untrusted. Returns nullopt with every problem in
// `diagnostics`, or a graph that keeps the promises of graph.h.
std::optional<Graph> import_onnx(std::span<const std::byte> file, const ImportOptions& options,
                                 Diagnostics& diagnostics);

// One supported operator, for --list-ops.
struct SupportedOperator {
  std::string domain;  // empty: ai.onnx
  std::string type;
  std::string constraints;
};
std::vector<SupportedOperator> supported_operators();

}  // namespace npu::compiler

#endif  // NPU_COMPILER_IMPORT_IMPORT_H_
