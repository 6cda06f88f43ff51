// SPDX-License-Identifier: MIT
//
// State of one import. Every ONNX tensor is tracked as one of:
//   quantized   an 8-bit tensor of the graph
//   real        a float tensor that stands for 8-bit ones: the result of
//               DequantizeLinear, or of a float operator whose result has not
//               reached its QuantizeLinear yet (pending)
//   constant    data known now
// QuantizeLinear turns what is pending into an operator of the graph. Data
// movement, clamps and max pools commute with quantization, so they may stand
// before the QuantizeLinear of the operator that they follow.
#ifndef NPU_COMPILER_IMPORT_IMPORTER_H_
#define NPU_COMPILER_IMPORT_IMPORTER_H_

#include <array>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "compiler/import/import.h"
#include "compiler/onnx/attributes.h"
#include "compiler/onnx/resize_rules.h"
#include "compiler/onnx/shape_rules.h"
#include "compiler/onnx/tensor.h"
#include "onnx_subset.pb.h"

namespace npu::compiler {

// Where a result is quantized to.
struct OutputQuantization {
  Quantization q;
  ByteType type = ByteType::kUint8;
};

// What one Concat joins at most.
inline constexpr int64_t kMostPieces = 1024;

using RealFunction = std::function<float(float)>;
// What a function makes of an 8-bit value, by its stored byte.
using RealTable = std::array<float, 256>;

// 8-bit weights with their scales, for the MAC array.
struct Weights {
  std::shared_ptr<const ConstTensor> data;
  std::vector<float> scales;
  std::vector<int32_t> zeros;
  int axis = 0;
};

// A convolution or product of an 8-bit tensor and weights, before its output's quantization is
// known.
struct MacParts {
  ValueId x = kNoValue;
  Quantization xq;
  Weights weights;
  bool transposed = false;  // a product's weights are [outputs, inputs]
  std::vector<int32_t> bias;
  Window window;
  int64_t groups = 1;
  std::optional<int64_t> input_products;  // as in MacOp
  Shape out_shape;
};

struct TransposedConv;  // ops_conv_transpose.cpp

// Data movement, a max pool or a frame behind a pending operator.
struct FollowUp {
  // Makes a value of the graph from one; with the real value of a frame's elements.
  std::function<ValueId(ValueId, float)> emit;
  float fill = 0;
};
// Of one operator: all of them are copied to every tensor on the way.
inline constexpr size_t kMostFollowUps = 64;

// A float operator on its way to a QuantizeLinear.
struct Pending {
  uint32_t source = 0;
  Shape shape;  // of the operator's own result, before `after`
  // An element-wise function of one value ...
  ValueId unary_value = kNoValue;
  std::shared_ptr<const RealTable> table;
  // ... or anything else: emits the operator with this output and clamp. Both, if the operator
  // has arithmetic of its own unless more functions follow.
  std::function<ValueId(const OutputQuantization&, const Clamp&)> emit;
  // A product that has no bias yet.
  std::shared_ptr<const MacParts> product;
  // What `emit` makes stands for this many times its value.
  float times = 1, divided_by = 1;
  // Clamp of the real result (Relu, Clip behind the operator), and then steps.
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();
  std::vector<FollowUp> after;
};

struct QuantizedTensor {
  ValueId value = kNoValue;
};

// A float tensor.
struct RealTensor {
  Shape shape;
  // A dequantized value of the graph ...
  ValueId value = kNoValue;
  Quantization q;
  // ... or a pending operator ...
  std::shared_ptr<const Pending> pending;
  // ... or a float graph input, by its index.
  int graph_input = -1;
};

// A constant; dequantized if it has scales.
struct ConstantTensor {
  std::shared_ptr<const ConstTensor> data;
  std::vector<float> scales;
  std::vector<int32_t> zeros;  // as many as scales
  int axis = 0;                // of scales, when there is more than one
};

using Tensor = std::variant<QuantizedTensor, RealTensor, ConstantTensor>;

// What a tensor is a function of, if it is element-wise in one value.
struct UnaryView {
  ValueId value = kNoValue;  // none: a constant
  std::shared_ptr<const RealTable> table;
};

struct ResizePlan {
  ResizeOp op;
  Shape shape;                 // of the result
  bool channels_last = false;  // [n, h, w, c]
};

class Importer {
 public:
  Importer(const ImportOptions& options, Diagnostics& diagnostics)
      : options_(options), diagnostics_(diagnostics) {}

  bool run(const onnx::Model& model);
  Graph take_graph() { return std::move(graph_); }

 private:
  friend struct OperatorTable;
  using Handler = void (Importer::*)(const onnx::Node&, Attributes&);

  // ---- importer.cpp: the driver
  void read_initializers(const onnx::Graph& graph);
  void read_inputs(const onnx::Graph& graph);
  void import_node(const onnx::Node& node);
  // Computes a node whose operands are known now; false if it has to be imported.
  bool fold_node(const onnx::Node& node);
  void note_absorption(const onnx::Node& node);
  void bind_outputs(const onnx::Graph& graph);
  void drop_dead_ops();

  // Problems of the node being imported.
  void unsupported(std::string rule, std::string value = {}, std::string suggestion = {});
  void malformed_node(std::string rule, std::string value = {});
  void broken_rule(const RuleBreak& broken);

  // ---- operands.cpp: operands, results, constants
  bool has_input(const onnx::Node& node, int index) const;
  const Tensor* input(const onnx::Node& node, int index);
  void define(const onnx::Node& node, int index, Tensor tensor);
  // 8-bit operand of a QOperator node. `zero`: input with its zero point, whose type is its own.
  std::optional<ValueId> quantized_input(const onnx::Node& node, int index, int zero = -1);
  const ConstTensor* constant_input(const onnx::Node& node, int index, const char* what);
  std::optional<std::vector<int64_t>> integer_list(const onnx::Node& node, int index,
                                                   const char* what);
  std::optional<float> scalar_input(const onnx::Node& node, int index, const char* what);
  // Scale and zero-point inputs (scalars); zero may be absent.
  std::optional<OutputQuantization> quantization_inputs(const onnx::Node& node, int scale,
                                                        int zero);
  std::optional<Weights> weight_inputs(const onnx::Node& node, int data, int scale, int zero,
                                       int axis);
  // A float operand that is a dequantized 8-bit value (a constant one becomes a value).
  std::optional<RealTensor> real_operand(const onnx::Node& node, int index);
  std::optional<Weights> real_weights(const onnx::Node& node, int index);
  std::optional<ValueId> constant_value(const ConstantTensor& constant, Quantization& q);
  // The real values of a constant, quantized or not.
  std::optional<std::vector<float>> real_constant(const onnx::Node& node, int index,
                                                  const char* what);

  ValueId add_op(uint32_t source, std::vector<ValueId> inputs, Value output, OpDetail detail);
  // The same bytes with another shape or order.
  ValueId add_view(uint32_t source, ValueId x, const Shape& shape, OpDetail detail);
  // The result of a float operator that `emit` makes once its quantization is known.
  void define_pending(const onnx::Node& node, const Shape& shape,
                      std::function<ValueId(const OutputQuantization&, const Clamp&)> emit);
  ValueId materialize(const Pending& pending, const OutputQuantization& out);
  ValueId emit_lut(uint32_t source, ValueId value, const Lut& table, const OutputQuantization& out);
  // The same bytes within bounds; the value itself if they say nothing.
  ValueId emit_clamp(uint32_t source, ValueId value, const Clamp& clamp);
  // False, with the problem reported, once constants are too many.
  bool count_constant(uint64_t bytes);
  std::string fresh_name();
  const Value& value(ValueId id) const { return graph_.values[id]; }

  // ---- quantize.cpp
  void quantize_linear(const onnx::Node& node, Attributes& attributes);
  void dequantize_linear(const onnx::Node& node, Attributes& attributes);
  ValueId requantize(uint32_t source, ValueId value, const Quantization& from,
                     const OutputQuantization& to);

  // ---- ops_mac.cpp, ops_conv.cpp, ops_conv_transpose.cpp, ops_matmul.cpp
  void conv(const onnx::Node& node, Attributes& attributes);
  void qlinear_conv(const onnx::Node& node, Attributes& attributes);
  void conv_transpose(const onnx::Node& node, Attributes& attributes);
  void gemm(const onnx::Node& node, Attributes& attributes);
  void qgemm(const onnx::Node& node, Attributes& attributes);
  void matmul(const onnx::Node& node, Attributes& attributes);
  void qlinear_matmul(const onnx::Node& node, Attributes& attributes);
  bool window_attributes(Attributes& attributes, const Shape& in, const Shape& kernel,
                         bool ceil_mode, bool pads_below_kernel, Window& window, Shape& spatial);
  bool conv_parts(Attributes& attributes, MacParts& parts);
  std::optional<std::vector<int32_t>> bias_input(const onnx::Node& node, int index, float x_scale,
                                                 const Weights& weights, int64_t channels,
                                                 bool quantized_form);
  bool matmul_parts(MacParts& parts, Weights& b);
  void define_product(const onnx::Node& node, MacParts parts);
  // MatMul and an Add that gives each column a constant are one product.
  bool bias_behind_product(const onnx::Node& node);
  ValueId emit_conv(uint32_t source, const MacParts& parts, const OutputQuantization& out,
                    const Clamp& clamp);
  ValueId emit_conv_transpose(uint32_t source, const TransposedConv& conv,
                              const OutputQuantization& out, const Clamp& clamp);
  ValueId emit_matmul(uint32_t source, const MacParts& parts, const OutputQuantization& out,
                      const Clamp& clamp);
  ValueId emit_mac(uint32_t source, const MacParts& parts, MacOp mac, const OutputQuantization& out,
                   const Clamp& clamp);
  ValueId emit_dynamic_matmul(uint32_t source, const RealTensor& a, const RealTensor& b,
                              const Shape& out_shape, const OutputQuantization& out,
                              const Clamp& clamp);
  std::optional<Shape> dynamic_matmul_shape(const Shape& a, const Shape& b);
  bool check_scales(float x_scale, const std::vector<float>& w_scales,
                    const OutputQuantization& out);

  void prelu(const onnx::Node& node, Attributes& attributes);
  ValueId emit_prelu(uint32_t source, const RealTensor& x, const std::vector<float>& slopes,
                     const OutputQuantization& out, const Clamp& clamp);

  // ---- ops_pool.cpp
  void max_pool(const onnx::Node& node, Attributes& attributes);
  void average_pool(const onnx::Node& node, Attributes& attributes);
  void global_average_pool(const onnx::Node& node, Attributes& attributes);
  void reduce_mean(const onnx::Node& node, Attributes& attributes);
  void global_max_pool(const onnx::Node& node, Attributes& attributes);
  void nhwc_max_pool(const onnx::Node& node, Attributes& attributes);
  // `shape`: channels first; `last`: operand and result have them last.
  void finish_max_pool(const onnx::Node& node, const PoolOp& pool, const Shape& shape, bool last);
  void qlinear_average_pool(const onnx::Node& node, Attributes& attributes);
  void qlinear_global_average_pool(const onnx::Node& node, Attributes& attributes);
  std::optional<std::pair<PoolOp, Shape>> pool_parts(Attributes& attributes, const Shape& in,
                                                     PoolKind kind);
  void finish_pool(const onnx::Node& node, const RealTensor& x, PoolOp pool, const Shape& out);
  void finish_global(const onnx::Node& node, const RealTensor& x, const Shape& out_shape);
  ValueId emit_pool(uint32_t source, ValueId x, const Quantization& xq, PoolOp pool,
                    const Shape& shape, const OutputQuantization& out, const Clamp& clamp);
  ValueId emit_global(uint32_t source, ValueId x, const Quantization& xq, const Shape& shape,
                      const OutputQuantization& out, const Clamp& clamp);

  // ---- ops_elementwise.cpp
  void add(const onnx::Node& node, Attributes& attributes);
  void multiply(const onnx::Node& node, Attributes& attributes);
  void qlinear_add(const onnx::Node& node, Attributes& attributes);
  void qlinear_mul(const onnx::Node& node, Attributes& attributes);
  void relu(const onnx::Node& node, Attributes& attributes);
  void clip(const onnx::Node& node, Attributes& attributes);
  void clamp_real(const onnx::Node& node, float low, float high, int operand = 0);
  void clamp_quantized(const onnx::Node& node, ValueId value, int low, int high);
  std::optional<Shape> broadcast(const Shape& a, const Shape& b);
  using BinaryFunction = float (*)(float, float);
  using BinaryEmitter = ValueId (Importer::*)(uint32_t, const RealTensor&, const RealTensor&,
                                              const Shape&, const OutputQuantization&,
                                              const Clamp&);
  // Of two operands: between two quantizations what `emit` makes.
  void arithmetic(const onnx::Node& node, BinaryFunction function, BinaryEmitter emit);
  bool is_dequantized(const onnx::Node& node, int index);
  ValueId emit_with_constant(uint32_t source, const RealTensor& a, const RealTensor& b,
                             const Shape& shape, const OutputQuantization& out,
                             const std::function<int(int, int)>& operation);
  ValueId emit_add(uint32_t source, const RealTensor& a, const RealTensor& b, const Shape& shape,
                   const OutputQuantization& out, const Clamp& clamp);
  ValueId emit_mul(uint32_t source, const RealTensor& a, const RealTensor& b, const Shape& shape,
                   const OutputQuantization& out, const Clamp& clamp);

  // ---- ops_unary.cpp
  void subtract(const onnx::Node& node, Attributes& attributes);
  void divide(const onnx::Node& node, Attributes& attributes);
  void sigmoid(const onnx::Node& node, Attributes& attributes);
  void tanh(const onnx::Node& node, Attributes& attributes);
  void leaky_relu(const onnx::Node& node, Attributes& attributes);
  void hard_sigmoid(const onnx::Node& node, Attributes& attributes);
  void hard_swish(const onnx::Node& node, Attributes& attributes);
  void plain_function(const onnx::Node& node, Attributes& attributes);
  void exponential_unit(const onnx::Node& node, Attributes& attributes);
  void thresholded_relu(const onnx::Node& node, Attributes& attributes);
  void swish(const onnx::Node& node, Attributes& attributes);
  void extremum(const onnx::Node& node, Attributes& attributes);
  void gelu(const onnx::Node& node, Attributes& attributes);
  void power(const onnx::Node& node, Attributes& attributes);
  void qlinear_sigmoid(const onnx::Node& node, Attributes& attributes);
  void qlinear_leaky_relu(const onnx::Node& node, Attributes& attributes);
  void unary(const onnx::Node& node, const RealFunction& function);
  void qlinear_unary(const onnx::Node& node, const RealFunction& function);
  std::optional<UnaryView> unary_view(const RealTensor& real) const;
  std::optional<UnaryView> unary_operand(const onnx::Node& node, int index);
  // Arithmetic on functions of one value and constants: a function of that value. `emit`, if
  // there is one, serves where it is all that happens between two quantizations. False if the
  // operands are something else.
  bool function_of_one_value(
      const onnx::Node& node, BinaryFunction function,
      const std::function<ValueId(const OutputQuantization&, const Clamp&)>& emit);
  // A pending result times a positive constant is the same with another scale.
  bool scaled_result(const onnx::Node& node, bool divide);

  // ---- ops_normalize.cpp
  void softmax(const onnx::Node& node, Attributes& attributes);
  void qlinear_softmax(const onnx::Node& node, Attributes& attributes);
  void layer_normalization(const onnx::Node& node, Attributes& attributes);
  // The shape and view in which the axes that are normalized together are the last one.
  struct RowView {
    Shape shape;
    std::optional<TransposeOp> transpose;  // its own inverse; else a reshape
  };
  std::optional<RowView> row_view(const Shape& in, int64_t axis, bool trailing);
  ValueId emit_by_rows(uint32_t source, ValueId x, const RowView& rows,
                       const OutputQuantization& out, OpDetail detail);
  ValueId emit_softmax(uint32_t source, ValueId x, const Quantization& xq, const RowView& rows,
                       const OutputQuantization& out, const Clamp& clamp);

  // ---- ops_shape.cpp
  void identity(const onnx::Node& node, Attributes& attributes);
  void dropout(const onnx::Node& node, Attributes& attributes);
  void constant(const onnx::Node& node, Attributes& attributes);
  // Operators that are computed here or not at all.
  void constants_only(const onnx::Node& node, Attributes& attributes);
  void reshape(const onnx::Node& node, Attributes& attributes);
  void flatten(const onnx::Node& node, Attributes& attributes);
  void squeeze(const onnx::Node& node, Attributes& attributes);
  void unsqueeze(const onnx::Node& node, Attributes& attributes);
  void transpose(const onnx::Node& node, Attributes& attributes);
  void concat(const onnx::Node& node, Attributes& attributes);
  void qlinear_concat(const onnx::Node& node, Attributes& attributes);
  void slice(const onnx::Node& node, Attributes& attributes);
  void split(const onnx::Node& node, Attributes& attributes);
  // Applies data movement to whatever the input is: value, real or pending. `emit` makes a value
  // of shape `out_shape` with the type and quantization of its operand, which may be the operand.
  using Movement = std::function<ValueId(ValueId)>;
  void apply_movement(const onnx::Node& node, const Shape& out_shape, const Movement& emit,
                      int output = 0);
  void apply_view(const onnx::Node& node, const Shape& out_shape, const OpDetail& detail,
                  int output = 0);
  // One more step behind the pending operator that the first input is.
  void define_follow_up(const onnx::Node& node, const Shape& out_shape, FollowUp step,
                        int output = 0);
  std::optional<Shape> input_shape(const onnx::Node& node, int index);
  ValueId emit_concat(uint32_t source, const std::vector<ValueId>& parts, int axis,
                      const Shape& shape, const OutputQuantization& out);
  std::optional<Shape> concat_shape(const std::vector<Shape>& parts, int64_t& axis);
  // [n, c, ...] from [n, ..., c] and back.
  ValueId channels_first(uint32_t source, ValueId x);
  ValueId channels_last(uint32_t source, ValueId x);

  // ---- ops_gather.cpp
  void gather(const onnx::Node& node, Attributes& attributes);
  void pad(const onnx::Node& node, Attributes& attributes);
  void expand(const onnx::Node& node, Attributes& attributes);
  void depth_to_space(const onnx::Node& node, Attributes& attributes);
  ValueId emit_slice(uint32_t source, ValueId x, const SliceBounds& bounds);
  // The chosen elements of an axis: slices, joined.
  ValueId emit_gather(uint32_t source, ValueId x, size_t axis, const std::vector<int64_t>& indices);
  bool check_gather(const std::vector<int64_t>& indices);
  struct PadParts {
    std::string mode;
    PadBounds bounds;
    float real = 0;                     // of an attribute
    const ConstTensor* fill = nullptr;  // of an input
  };
  std::optional<PadParts> pad_parts(const onnx::Node& node, Attributes& attributes,
                                    const Shape& in);
  // `framed` makes the result from a value and the stored value of the frame.
  void pad_real(const onnx::Node& node, const Shape& shape, float fill,
                const std::function<ValueId(ValueId, uint8_t)>& framed);
  ValueId emit_pad(uint32_t source, ValueId x, const std::vector<int64_t>& before,
                   const Shape& out_shape, uint8_t byte);

  // ---- ops_resize.cpp
  void resize(const onnx::Node& node, Attributes& attributes);
  ValueId emit_resize(uint32_t source, ValueId x, const ResizePlan& plan,
                      const OutputQuantization& out);

  const ImportOptions& options_;
  Diagnostics& diagnostics_;
  Graph graph_;
  int64_t opset_ = 0;
  std::unordered_map<std::string, Tensor> tensors_;
  // Tensors that are not made. True: why is reported, their users are silent about it.
  std::unordered_map<std::string, bool> failed_;

  struct FloatInput {
    std::string name;
    Shape shape;
    ValueId value = kNoValue;  // once quantized
    size_t position = 0;       // in Graph::inputs
  };
  std::vector<FloatInput> float_inputs_;

  const onnx::Node* node_ = nullptr;  // being imported
  uint32_t source_ = 0;
  bool node_failed_ = false;
  uint64_t constant_bytes_ = 0;  // of all operators so far
};

// What is wrong with the scales and zero points of weights whose output
// channels lie along `channel_axis`; empty if nothing.
std::string check_weight_quantization(const Weights& weights, size_t channel_axis);
// f32(f32(sx*sw)/sy).
float requantization_scale(float x_scale, float w_scale, float y_scale);
// The stored value of a real one: saturate(rint(value / scale) + zero).
int quantize_value(float value, const Quantization& q, ByteType type);
// Stored bounds of a real clamp, for an output quantization.
Clamp quantize_clamp(float low, float high, const OutputQuantization& out);
// The runtime's own approximation of the logistic function.
float logistic(float x);
// Likewise of the hyperbolic tangent.
float hyperbolic_tangent(float x);
// What the stored bytes stand for.
RealTable dequantized(const Quantization& q, ByteType type);
RealTable clamped(RealTable table, float low, float high);
Lut tabulate(const RealTable& table, const OutputQuantization& to);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_IMPORT_IMPORTER_H_
