// SPDX-License-Identifier: MIT
//
// ONNX's operators on float tensors, one node at a time, in plain binary32 loops. Unlike the
// interpreter of reference/ they promise no bits: they tell what values a network takes.
#ifndef NPU_COMPILER_CALIBRATE_OPERATORS_H_
#define NPU_COMPILER_CALIBRATE_OPERATORS_H_

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "compiler/calibrate/float_tensor.h"
#include "compiler/onnx/attributes.h"
#include "compiler/onnx/shape_rules.h"
#include "compiler/onnx/tensor.h"

namespace npu::compiler {

// What a node reads: a float tensor, computed or constant, or a constant of another type;
// neither: an optional input that is absent.
struct FloatOperand {
  const FloatTensor* real = nullptr;
  const ConstTensor* constant = nullptr;
  bool present() const { return real != nullptr || constant != nullptr; }
};

// One node about to be computed.
class FloatNode {
 public:
  FloatNode(const onnx::Node& node, std::vector<FloatOperand> operands, int64_t opset)
      : attributes(node), node_(node), operands_(std::move(operands)), opset_(opset) {}

  Attributes attributes;
  int output = 0;  // that is computed

  const std::string& type() const { return node_.op_type(); }
  int64_t opset() const { return opset_; }
  int output_count() const { return node_.output_size(); }
  size_t operand_count() const { return operands_.size(); }
  bool has(size_t i) const { return i < operands_.size() && operands_[i].present(); }
  // nullptr, with the problem noted, if it is not a float tensor.
  const FloatTensor* real(size_t i);
  // A list of integers, nullopt if it is absent or, with the problem noted, something else.
  std::optional<std::vector<int64_t>> integers(size_t i);
  // Axes of Squeeze and its like: an attribute first, an input later.
  std::optional<std::vector<int64_t>> axes(size_t input);
  // One float; the fallback if it is absent.
  float scalar(size_t i, float fallback);

  // The node computed as one of constants; nullopt if it is none.
  std::optional<ConstTensor> folded() const;

  // The result's place if it is not too large.
  std::optional<FloatTensor> result(const Shape& shape);

  void malformed(std::string rule, std::string value = {});
  void unsupported(std::string rule, std::string value = {});
  bool failed() const { return !broken.rule.empty(); }
  RuleBreak broken;

 private:
  const onnx::Node& node_;
  std::vector<FloatOperand> operands_;
  int64_t opset_;
};

using FloatResult = std::optional<FloatTensor>;

// One output of the node. nullopt: `node.broken` says why.
FloatResult evaluate(FloatNode& node);

// Whether evaluate knows the operator.
bool can_evaluate(const std::string& domain, const std::string& type);

// One family of operators each.
FloatResult evaluate_conv(FloatNode& node);
FloatResult evaluate_gemm(FloatNode& node);
FloatResult evaluate_matmul(FloatNode& node);
FloatResult evaluate_batch_norm(FloatNode& node);
FloatResult evaluate_pool(FloatNode& node);
FloatResult evaluate_mean(FloatNode& node);
FloatResult evaluate_softmax(FloatNode& node);
FloatResult evaluate_layer_norm(FloatNode& node);
FloatResult evaluate_unary(FloatNode& node);
FloatResult evaluate_binary(FloatNode& node);
FloatResult evaluate_view(FloatNode& node);
FloatResult evaluate_transpose(FloatNode& node);
FloatResult evaluate_slice(FloatNode& node);
FloatResult evaluate_split(FloatNode& node);
FloatResult evaluate_concat(FloatNode& node);
FloatResult evaluate_resize(FloatNode& node);
FloatResult evaluate_pad(FloatNode& node);
FloatResult evaluate_moved(FloatNode& node);
FloatResult evaluate_blocks(FloatNode& node);
FloatResult evaluate_global_max(FloatNode& node);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_CALIBRATE_OPERATORS_H_
