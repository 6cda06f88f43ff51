// SPDX-License-Identifier: MIT
//
// The compiler's graph: 8-bit tensors and the integer operators between them,
// after quantization has been folded into constants. Shapes are the ONNX
// model's own; where a tensor lies and in what order is decided later.
#ifndef NPU_COMPILER_IR_GRAPH_H_
#define NPU_COMPILER_IR_GRAPH_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "npu/command.h"

namespace npu::compiler {

using Shape = std::vector<int64_t>;  // every dimension is at least 1

// Product of the dimensions, at most kMaxElements, or nullopt.
inline constexpr int64_t kMaxElements = int64_t{1} << 36;
std::optional<int64_t> checked_elements(const Shape& shape);
int64_t elements(const Shape& shape);  // of a shape that has been checked
std::string to_text(const Shape& shape);
std::vector<int64_t> strides_of(const Shape& shape);  // row major, in elements

// The 8-bit types of activations and weights.
enum class ByteType : uint8_t { kInt8, kUint8 };
inline int byte_low(ByteType type) {
  return type == ByteType::kInt8 ? -128 : 0;
}
inline int byte_high(ByteType type) {
  return type == ByteType::kInt8 ? 127 : 255;
}
inline npu_data_type command_type(ByteType type) {
  return type == ByteType::kInt8 ? NPU_TYPE_INT8 : NPU_TYPE_UINT8;
}
// The value of a stored byte.
inline int byte_value(ByteType type, uint8_t byte) {
  return type == ByteType::kInt8 ? static_cast<int8_t>(byte) : byte;
}

struct Quantization {
  float scale = 0;  // 0: unknown, as for an integer graph input that nothing dequantizes
  int32_t zero = 0;
  bool operator==(const Quantization&) const = default;
};

using ValueId = uint32_t;
inline constexpr ValueId kNoValue = ~0u;

struct Value {
  std::string name;
  ByteType type = ByteType::kUint8;
  Shape shape;
  Quantization quantization;
  // Row-major bytes of a constant; empty otherwise.
  std::vector<uint8_t> constant;
};

// A table for all 256 stored bytes.
using Lut = std::array<uint8_t, 256>;

// Bounds of stored values.
struct Clamp {
  int low = 0;
  int high = 255;
};

// An addition with folded scales (arch::add); clamp is the final saturation.
struct AddArithmetic {
  float ra = 0, rb = 0, fix = 0;
  Clamp clamp;
};

enum class PoolKind : uint8_t { kMax, kAverage };

struct PoolArithmetic {
  PoolKind kind = PoolKind::kMax;
  // Averages only.
  float in_scale = 0, out_scale = 0;
  int in_zero = 0, out_zero = 0;
  Clamp clamp;
  bool count_pads = false;
};

// Spatial extents, vertical first.
struct Window {
  int64_t kernel[2] = {1, 1};
  int64_t stride[2] = {1, 1};
  int64_t dilation[2] = {1, 1};
  int64_t pad_before[2] = {0, 0};
  int64_t pad_after[2] = {0, 0};
  // Extent of the dilated kernel.
  int64_t span(int i) const { return (kernel[i] - 1) * dilation[i] + 1; }
};

// The steps of the output stage after the requantization, in its order.
struct OutputChain {
  std::optional<Lut> lut1;
  struct Residual {
    ValueId value = kNoValue;
    AddArithmetic add;
    bool first = false;  // the residual is operand a
  };
  std::optional<Residual> residual;
  std::optional<Lut> lut2;
  struct Pool {
    PoolArithmetic arithmetic;
    int64_t window[2] = {1, 1};  // = stride; no pads, incomplete windows are dropped
  };
  std::optional<Pool> pool;
};

// Convolution or matrix product with requantization.
struct MacOp {
  // A product treats its input as [rows, in_channels] and every axis but the
  // last as rows; a convolution's input is [n, c, w] or [n, c, h, w].
  bool matmul = false;
  Window window;
  int64_t groups = 1;
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  // Of a part of a transposed convolution, whose window has taps that the node has not: how many
  // products the node makes there of one element of the input.
  std::optional<int64_t> input_products;
  ByteType weight_type = ByteType::kInt8;
  // [out channel][ky][kx][in channel of the group]; empty if the second
  // operand is computed: then inputs[1] is [in_channels, out_channels].
  std::vector<uint8_t> weights;
  std::vector<int32_t> weight_zeros;  // one, or one per output channel
  std::vector<int32_t> bias;          // empty, or one per output channel
  std::vector<float> scales;          // one, or one per output channel
  int input_zero = 0;
  int output_zero = 0;                   // of the requantization, before the chain
  Clamp clamp;                           // same
  ByteType mac_type = ByteType::kUint8;  // type of the requantized byte
  OutputChain chain;
};

struct PoolOp {
  Window window;  // dilation 1
  PoolArithmetic arithmetic;
};

struct GlobalAverageOp {
  float scale = 0;  // f32(sx / f32(sy * n))
  int in_zero = 0, out_zero = 0;
  Clamp clamp;
};

struct AddOp {
  AddArithmetic arithmetic;
};

struct MulOp {
  float scale = 0;
  int a_zero = 0, b_zero = 0, out_zero = 0;
  Clamp clamp;
};

struct LutOp {
  Lut table{};
};

// Over the last axis, in binary32 (arch::softmax_f32).
struct SoftmaxOp {
  std::array<float, 256> table{};  // arch::softmax_f32_entry()
  float multiplier = 1;            // floor(1 / output scale)
  int out_zero = 0;
  Clamp clamp;
};

// Over the last axis (arch::layer_norm); gamma and beta have its length.
struct LayerNormOp {
  std::vector<float> gamma, beta;
  float in_scale = 0, out_scale = 0, epsilon = 0;
  int out_zero = 0;
  Clamp clamp;
};

struct ReshapeOp {};  // the output's shape says all

struct TransposeOp {
  std::vector<int> permutation;  // output axis i is input axis permutation[i]
};

struct ConcatOp {
  int axis = 0;
};

// A piece of the input, from `start` with the output's shape.
struct SliceOp {
  std::vector<int64_t> start;
  std::vector<int64_t> step;  // at least 1; empty: 1 along every axis
};

// The same bytes at another place, in another order; repeated along axes of which the input has
// one element and the output more.
struct CopyOp {};

// The first input inside a frame of the second one's bytes, which is broadcast to the output.
struct PadOp {
  std::vector<int64_t> before;  // elements of the frame in front of each axis
};

enum class Interpolation : uint8_t {
  kNearest,    // copies
  kLinear,     // of real values
  kTruncated,  // linear of stored values, cut (arch::resize_truncated)
};

// What an output row or column of a resize is made of: rows or columns of the input, and the
// second one's weight.
struct ResizeEntry {
  int64_t first = 0, second = 0;
  float weight = 0;
};

// Of the space of [n, c, w], which has one row, or [n, c, h, w].
struct ResizeOp {
  Interpolation interpolation = Interpolation::kNearest;
  std::vector<ResizeEntry> rows, columns;
  // kLinear only.
  float scale = 0;  // f32(sx / sy)
  int in_zero = 0, out_zero = 0;
  Clamp clamp;
};

using OpDetail =
    std::variant<MacOp, PoolOp, GlobalAverageOp, AddOp, MulOp, LutOp, SoftmaxOp, LayerNormOp,
                 ReshapeOp, TransposeOp, ConcatOp, SliceOp, CopyOp, PadOp, ResizeOp>;

struct Op {
  uint32_t source = 0;  // index in Graph::sources
  std::vector<ValueId> inputs;
  ValueId output = kNoValue;
  OpDetail detail;

  template <typename T>
  const T* as() const {
    return std::get_if<T>(&detail);
  }
  template <typename T>
  T* as() {
    return std::get_if<T>(&detail);
  }
  // Moves bytes or renames them; computes nothing.
  bool is_view() const {
    return as<ReshapeOp>() != nullptr || as<TransposeOp>() != nullptr || as<SliceOp>() != nullptr;
  }
  // Makes each element of the last axis from all of that axis.
  bool is_over_last_axis() const {
    return as<SoftmaxOp>() != nullptr || as<LayerNormOp>() != nullptr;
  }
  // Every value it reads, a fused residual included.
  std::vector<ValueId> operands() const;
};

// A node of the ONNX model, for messages and reports.
struct Source {
  std::string name;
  std::string type;
  uint64_t macs = 0;
  // Node, by index, whose operators do this one's work as well.
  std::optional<uint32_t> absorbed_by = {};
};

struct Graph {
  std::string name;
  std::vector<Value> values;
  std::vector<Op> ops;  // in an order in which operands precede their users
  std::vector<ValueId> inputs;
  std::vector<std::string> input_names;
  std::vector<ValueId> outputs;
  std::vector<std::string> output_names;
  std::vector<Source> sources;

  const Value& value(ValueId id) const { return values[id]; }
  Value& value(ValueId id) { return values[id]; }
  ValueId add_value(Value value);
  // From here on operators of node `by` do the work of node `source`.
  void absorb(uint32_t source, uint32_t by);
  // The node whose operators do the work of `source` in the end.
  uint32_t owner(uint32_t source) const;
  // How many operators and graph outputs use each value.
  std::vector<uint32_t> use_counts() const;
};

// Multiply-accumulates of an operator from its shapes, taps in the padding
// included, those that a transposed convolution has not left away; 0 for
// those without a MAC array.
uint64_t macs_of(const Graph& graph, const Op& op);

// "Conv", "MaxPool", ...
const char* kind_name(const Op& op);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_IR_GRAPH_H_
