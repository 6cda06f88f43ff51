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
#include "compiler/diagnostics.h"
#include "compiler/onnx/tensor.h"
#include "onnx_subset.pb.h"

namespace npu::compiler {

struct FloatModel {
  onnx::Model header;  // all of the model but its nodes and constants
  int64_t opset = 0;
  std::vector<onnx::Node> nodes;
  std::unordered_map<std::string, FloatTensor> constants;
  std::unordered_map<std::string, ConstTensor> other_constants;  // shapes, axes
  struct Input {
    std::string name;
    Shape shape;
  };
  std::vector<Input> inputs;
  std::unordered_set<std::string> names;         // of all tensors
  std::unordered_map<std::string, int> numbers;  // the last one behind each stem of fresh_name

  bool is_constant(const std::string& name) const {
    return constants.count(name) > 0 || other_constants.count(name) > 0;
  }
  bool is_output(const std::string& name) const;
  // `stem`, or with a number behind if a tensor has that name already; taken from now on.
  std::string fresh_name(const std::string& stem);
  // How many nodes and graph outputs read each tensor.
  std::unordered_map<std::string, size_t> use_counts() const;
};

// `batch` stands for a symbolic first dimension unless it is 0. The bytes are untrusted. A model
// may come with problems in `diagnostics`: it is good for finding more of them, and no more.
std::optional<FloatModel> read_float_model(std::span<const std::byte> file, int64_t batch,
                                           Diagnostics& diagnostics);

// Called for every graph input and computed tensor.
using TensorVisitor = std::function<void(const std::string& name, const FloatTensor& tensor)>;

// Computes the model once. Tensors are freed after their last use. `poll` is called between nodes
// and may throw. False: a problem was reported.
bool execute(const FloatModel& model, const std::vector<FloatTensor>& inputs,
             const TensorVisitor& visit, const std::function<void()>& poll,
             Diagnostics& diagnostics);

// ---- simplify.cpp

using ShapesByName = std::unordered_map<std::string, Shape>;

// Folds BatchNormalization and factors of Gemm into weights, rewrites what has a quantized form
// by another name, and brings the nodes to operator set 13 at least, the first in which
// DequantizeLinear has an axis. `shapes`: as far as they are known.
void simplify(FloatModel& model, const ShapesByName& shapes, Diagnostics& diagnostics);

// ---- layer_norm.cpp

// LayerNormalization that is written as its parts becomes one node. Whether there was one.
bool join_layer_norms(FloatModel& model, const ShapesByName& shapes);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_CALIBRATE_FLOAT_MODEL_H_
