// SPDX-License-Identifier: MIT
//
// ONNX's operators on float tensors, one node at a time, in plain binary32 loops. Unlike the
// interpreter of reference/ they promise no bits: they tell what values a network takes.
#ifndef NPU_COMPILER_CALIBRATE_OPERATORS_H_
#define NPU_COMPILER_CALIBRATE_OPERATORS_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "compiler/calibrate/float_tensor.h"
#include "compiler/onnx/attributes.h"
#include "compiler/onnx/shape_rules.h"
#include "compiler/onnx/tensor.h"
#include "compiler/pacer.h"

namespace npu::compiler {

// Whether a tensor of this shape is not too large; else the reason is in `broken`.
bool fits(const Shape& shape, RuleBreak& broken);

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
  // nullptr, with the problem noted, if it is not a float tensor with elements.
  const FloatTensor* real(size_t i);
  // A tensor of integers, nullptr if it is absent or, with the problem noted, something else.
  const ConstTensor* integer_tensor(size_t i);
  // Its elements.
  std::optional<std::vector<int64_t>> integers(size_t i);
  // Axes of Squeeze and its like: an attribute first, an input later.
  std::optional<std::vector<int64_t>> axes(size_t input);
  // Floats that a shape depends on; nullptr, with the problem noted, if they are not known.
  const std::vector<float>* floats(size_t i);
  // One float that no shape depends on; the fallback if it is absent or not known yet.
  float scalar(size_t i, float fallback);

  void malformed(std::string rule, std::string value = {});
  void unsupported(std::string rule, std::string value = {});
  bool failed() const { return !broken.rule.empty(); }
  RuleBreak broken;

 private:
  const onnx::Node& node_;
  std::vector<FloatOperand> operands_;
  int64_t opset_;
};

// What a node makes, found from the shapes of its operands, and how. Each rule of shapes stands
// before the loops that rely on it, and nowhere else.
struct Computation {
  Shape shape;
  // Fills in as many elements, which are 0. The operands now have their data, and are still there.
  std::function<void(std::vector<float>& out, Pacer& pacer)> run;
  int64_t macs = 0;  // multiply-accumulates for each element, or what takes as long
};
using Prepared = std::optional<Computation>;

// One output of the node. nullopt: `node.broken` says why.
Prepared prepare(FloatNode& node);

// `poll` is called now and then, and may throw.
FloatTensor compute(const Computation& computation, const std::function<void()>& poll);

// Whether prepare knows the operator.
bool can_evaluate(const std::string& domain, const std::string& type);

// One family of operators each.
Prepared prepare_conv(FloatNode& node);
Prepared prepare_conv_transpose(FloatNode& node);
Prepared prepare_gemm(FloatNode& node);
Prepared prepare_matmul(FloatNode& node);
Prepared prepare_batch_norm(FloatNode& node);
Prepared prepare_pool(FloatNode& node);
Prepared prepare_mean(FloatNode& node);
Prepared prepare_softmax(FloatNode& node);
Prepared prepare_layer_norm(FloatNode& node);
Prepared prepare_unary(FloatNode& node);
Prepared prepare_binary(FloatNode& node);
Prepared prepare_view(FloatNode& node);
Prepared prepare_transpose(FloatNode& node);
Prepared prepare_slice(FloatNode& node);
Prepared prepare_split(FloatNode& node);
Prepared prepare_concat(FloatNode& node);
Prepared prepare_resize(FloatNode& node);
Prepared prepare_pad(FloatNode& node);
Prepared prepare_expand(FloatNode& node);
Prepared prepare_gather(FloatNode& node);
Prepared prepare_blocks(FloatNode& node);
Prepared prepare_global_max(FloatNode& node);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_CALIBRATE_OPERATORS_H_
