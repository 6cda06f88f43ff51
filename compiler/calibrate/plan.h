// SPDX-License-Identifier: MIT
//
// Which tensors of a float model are quantized, and which of them alike: the pattern of QDQ nodes
// that the import takes (docs/compiler.md) and that ONNX Runtime computes in integers.
#ifndef NPU_COMPILER_CALIBRATE_PLAN_H_
#define NPU_COMPILER_CALIBRATE_PLAN_H_

#include <limits>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "compiler/calibrate/float_model.h"
#include "compiler/calibrate/ranges.h"
#include "compiler/import/importer.h"

namespace npu::compiler {

inline constexpr size_t kGraphInput = ~size_t{0};

struct PlannedTensor {
  std::string name;
  size_t node = kGraphInput;  // what makes it
  // A copy of another tensor's values, which has its quantization.
  bool is_copy = false;
  // Index of that tensor; or of a concatenation that holds this one, whose quantization this one
  // takes if its clamp allows.
  std::optional<size_t> like;
  // Of a probability: the quantization is not from the values.
  bool unit_range = false;
  // Bounds of a clamp that makes it. The quantization must imply them, or the runtime computes
  // the operator before it in float.
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();
};

struct QuantizationPlan {
  std::vector<PlannedTensor> tensors;  // in the order in which they are made
  std::unordered_map<std::string, size_t> index;
  // By node: makes a function of one quantized value, so that constants stay as they are.
  std::vector<bool> is_function;
  // By node, an Add that is the bias of a product: which of its inputs is the constant.
  std::unordered_map<size_t, int> bias_behind_product;

  const PlannedTensor* find(const std::string& name) const {
    const auto it = index.find(name);
    return it == index.end() ? nullptr : &tensors[it->second];
  }
};

QuantizationPlan plan_quantization(const FloatModel& model);

enum class ActivationType : uint8_t {
  kUint8,
  kInt8,
  kInt8Symmetric,  // zero points are 0
};

// One for each planned tensor, from the range of each (ranges of copies are not looked at).
std::vector<OutputQuantization> choose_quantizations(const QuantizationPlan& plan,
                                                     const std::vector<ValueRange>& ranges,
                                                     ActivationType type);

// Of a range alone; the stored values stand for nothing above `high`.
OutputQuantization quantization_for(const ValueRange& range, ActivationType type,
                                    float high = std::numeric_limits<float>::infinity());

}  // namespace npu::compiler

#endif  // NPU_COMPILER_CALIBRATE_PLAN_H_
