// SPDX-License-Identifier: MIT
//
// A float ONNX model made ready for calibration: constants known, nodes in order, and only such
// operators left as have a quantized form.
#ifndef NPU_COMPILER_CALIBRATE_FLOAT_MODEL_H_
#define NPU_COMPILER_CALIBRATE_FLOAT_MODEL_H_

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "compiler/calibrate/float_tensor.h"
#include "compiler/calibrate/operators.h"
#include "compiler/diagnostics.h"
#include "compiler/onnx/fold.h"
#include "compiler/onnx/input_shapes.h"
#include "compiler/onnx/tensor.h"
#include "onnx_subset.pb.h"

namespace npu::compiler {

// Names of tensors that are taken.
class Names {
 public:
  bool insert(const std::string& name) { return names_.insert(name).second; }
  // `stem`, or with a number behind if a tensor has that name already; taken from now on.
  std::string fresh(const std::string& stem);

 private:
  std::unordered_set<std::string> names_;
  std::unordered_map<std::string, int> numbers_;  // the last one behind each stem
};

using FloatTensors = std::unordered_map<std::string, FloatTensor>;

struct FloatModel {
  onnx::Model header;  // all of the model but its nodes and constants
  int64_t opset = 0;
  std::vector<onnx::Node> nodes;
  FloatTensors constants;
  std::unordered_map<std::string, ConstTensor> other_constants;  // shapes, axes
  struct Input {
    std::string name;
    Shape shape;
  };
  std::vector<Input> inputs;
  Names names;
  uint64_t foldable_bytes = kMaxConstantBytes;  // that constants made of others may still take

  bool is_constant(const std::string& name) const {
    return constants.count(name) > 0 || other_constants.count(name) > 0;
  }
  bool is_output(const std::string& name) const;
  // Before a node becomes a constant of so many bytes. False, with the problem noted: too many.
  bool count_folded(const onnx::Node& node, uint64_t bytes, Diagnostics& diagnostics);
  // How many nodes and graph outputs read each tensor.
  std::unordered_map<std::string, size_t> use_counts() const;
};

struct FloatReadOptions {
  InputShapes shapes = {};
  uint64_t foldable_bytes = kMaxConstantBytes;  // as in FloatModel; less in tests
  std::function<void()> poll = [] {};           // called now and then; may throw
};

// The bytes are untrusted. A model may come with problems in `diagnostics`: it is good for finding
// more of them, and no more.
std::optional<FloatModel> read_float_model(std::span<const std::byte> file,
                                           const FloatReadOptions& options,
                                           Diagnostics& diagnostics);

// What a node reads of the model's constants and of what was computed before.
std::vector<FloatOperand> operands_of(const FloatModel& model, const FloatTensors& computed,
                                      const onnx::Node& node);

// How many of a node's outputs are computed: the first, of a Split all.
int computed_outputs(const onnx::Node& node);

Problem problem_of(const onnx::Node& node, const RuleBreak& broken);

// ---- execute.cpp

// Called for every graph input and computed tensor.
using TensorVisitor = std::function<void(const std::string& name, const FloatTensor& tensor)>;

// Computes the model once. Tensors are freed after their last use. `poll` is called now and then,
// and may throw. False: a problem was reported.
bool execute(const FloatModel& model, const std::vector<FloatTensor>& inputs,
             const TensorVisitor& visit, const std::function<void()>& poll,
             Diagnostics& diagnostics);

// ---- shapes.cpp

using ShapesByName = std::unordered_map<std::string, Shape>;

// Of all tensors that can be computed; nothing is. Nodes whose results are known from shapes and
// constants of integers, as exporters write them in front of a Reshape, become constants.
ShapesByName find_shapes(FloatModel& model, const FloatReadOptions& options,
                         Diagnostics& diagnostics);

// ---- simplify.cpp

// Folds BatchNormalization and factors of Gemm into weights, rewrites what has a quantized form
// by another name, and brings the nodes to operator set 13 at least, the first in which
// DequantizeLinear has an axis. `shapes`: as far as they are known.
void simplify(FloatModel& model, const ShapesByName& shapes, const FloatReadOptions& options,
              Diagnostics& diagnostics);

// ---- layer_norm.cpp

// LayerNormalization that is written as its parts becomes one node. Whether there was one.
bool join_layer_norms(FloatModel& model, const ShapesByName& shapes);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_CALIBRATE_FLOAT_MODEL_H_
