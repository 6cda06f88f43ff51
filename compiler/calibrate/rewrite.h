// SPDX-License-Identifier: MIT
//
// A float model and a quantization of its tensors -> a QDQ model.
#ifndef NPU_COMPILER_CALIBRATE_REWRITE_H_
#define NPU_COMPILER_CALIBRATE_REWRITE_H_

#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "compiler/calibrate/float_model.h"
#include "compiler/calibrate/plan.h"
#include "compiler/diagnostics.h"

namespace npu::compiler {

struct QdqModel {
  std::string file;                 // serialized
  std::vector<std::string> stored;  // by planned tensor: the name of its 8-bit form
};

// Problems are in `diagnostics`; nullopt if there is no file at all. `poll` is called now and then,
// and may throw.
std::optional<QdqModel> write_qdq(const FloatModel& model, const QuantizationPlan& plan,
                                  const std::vector<OutputQuantization>& quantizations,
                                  const std::function<void()>& poll, Diagnostics& diagnostics);

// Symmetric int8 weights, a scale for each index of `axis`. Scales are wide enough for the bias
// (nullptr: none), which may have their number of values several times, in 32 bits at x_scale *
// scale.
struct Int8Weights {
  std::vector<int8_t> values;
  std::vector<float> scales;
};
Int8Weights quantize_weights(const FloatTensor& weights, int axis, const FloatTensor* bias,
                             float x_scale);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_CALIBRATE_REWRITE_H_
