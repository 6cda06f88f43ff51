// SPDX-License-Identifier: MIT
//
// Layers -> commands.
#ifndef NPU_COMPILER_EMIT_LOWER_H_
#define NPU_COMPILER_EMIT_LOWER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "compiler/emit/emitter.h"
#include "compiler/emit/transfer.h"
#include "compiler/ir/graph.h"
#include "compiler/schedule/mac_plan.h"
#include "npu/target.h"

namespace npu::compiler {

// The constants region as it grows.
class Constants {
 public:
  explicit Constants(std::vector<uint8_t> initial) : bytes_(std::move(initial)) {}
  // Appends aligned to a DMA granule; returns the offset.
  uint64_t add(const std::vector<uint8_t>& bytes);
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

// Commands of a convolution or product by its plan.
void lower_mac(const MacLayer& layer, const MacPlan& plan, const npu_target& target,
               Constants& constants, Emitter& emitter);

// A pool over rows and columns of [rows, columns, channels].
struct PoolLayer {
  PoolOp op;
  ByteType input_type = ByteType::kUint8, output_type = ByteType::kUint8;
  int64_t in_h = 1, in_w = 1, channels = 1, out_h = 1, out_w = 1;
  External input, output;
  std::vector<OuterDim> outer;
};
bool lower_pool(const PoolLayer& layer, const npu_target& target, Emitter& emitter,
                std::string& error);

struct GlobalLayer {
  GlobalAverageOp op;
  ByteType input_type = ByteType::kUint8, output_type = ByteType::kUint8;
  int64_t in_h = 1, in_w = 1, channels = 1;
  External input, output;
  std::vector<OuterDim> outer;
};
// False if one channel of the image does not fit the SRAM.
bool lower_global(const GlobalLayer& layer, const npu_target& target, Emitter& emitter);
// The same as a depthwise convolution with weights of 1, whose sum can be split.
MacOp global_as_depthwise(const GlobalLayer& layer);

// Element by element over at most two operands; `kind` null: a plain copy.
struct ElementLayer {
  const AddOp* add = nullptr;
  const MulOp* mul = nullptr;
  const LutOp* lut = nullptr;  // none of the three: a copy
  ByteType a_type = ByteType::kUint8, b_type = ByteType::kUint8, out_type = ByteType::kUint8;
  // Iteration space, outermost first, with each operand's stride (0: broadcast).
  struct Dim {
    int64_t extent;
    int64_t a, b, out;
  };
  std::vector<Dim> dims;
  External a, b, out;  // offsets; strides are those of dims
};
bool lower_elements(ElementLayer layer, const npu_target& target, Constants& constants,
                    Emitter& emitter, std::string& error);

// Calls `body` with the offsets of every repetition of `outer`, in order.
template <typename Body>
void for_each_outer(const std::vector<OuterDim>& outer, Body&& body) {
  std::vector<int64_t> index(outer.size(), 0);
  for (;;) {
    OuterDim sum;
    sum.extent = 0;
    int64_t number = 0;
    for (size_t i = 0; i < outer.size(); ++i) {
      number = number * outer[i].extent + index[i];
      sum.input += index[i] * outer[i].input;
      sum.weights += index[i] * outer[i].weights;
      sum.output += index[i] * outer[i].output;
      sum.residual += index[i] * outer[i].residual;
    }
    body(number, sum);
    size_t d = outer.size();
    while (d-- > 0) {
      if (++index[d] < outer[d].extent) break;
      index[d] = 0;
    }
    if (d == static_cast<size_t>(-1)) return;
  }
}

inline External shifted(External external, int64_t offset) {
  external.offset += static_cast<uint64_t>(offset);
  return external;
}

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_LOWER_H_
