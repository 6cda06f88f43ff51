// SPDX-License-Identifier: MIT
#include "compiler/import/operator_table.h"

namespace npu::compiler {

// A friend of Importer, so that the table can name its handlers.
struct OperatorTable {
  static std::span<const OperatorEntry> entries();
};

std::span<const OperatorEntry> OperatorTable::entries() {
  static constexpr const char* kMs = "com.microsoft";
  static constexpr const char* kUnary =
      "alone between DequantizeLinear and QuantizeLinear: a 256-entry table";
  static constexpr const char* kClamp =
      "behind any operator: folded into its output; alone: a 256-entry table";
  static constexpr const char* kExtremum = "of one tensor and constants of one element: as Clip";
  static constexpr const char* kConstants = "of constants: computed by the compiler";
  static constexpr const char* kView = "moves no data where strides can express it";
  static const OperatorEntry kEntries[] = {
      {"", "Abs", &Importer::plain_function, kUnary},
      {"", "Add", &Importer::add, "two quantized operands with numpy broadcasting"},
      {"", "AveragePool", &Importer::average_pool,
       "1-D or 2-D; kernels up to 255, strides and pads up to 255; no dilation; with "
       "count_include_pad no window of ceil_mode that reaches beyond the padding"},
      {"", "Cast", &Importer::constants_only, kConstants},
      {"", "Ceil", &Importer::plain_function, kUnary},
      {"", "Celu", &Importer::exponential_unit, kUnary},
      {"", "Clip", &Importer::clip,
       "constant bounds; behind any operator: folded into its output; "
       "alone: a 256-entry table; also on 8-bit tensors"},
      {"", "Concat", &Importer::concat, "any axis; inputs are requantized where scales differ"},
      {"", "Constant", &Importer::constant, "tensors, integers and floats"},
      {"", "ConstantOfShape", &Importer::constants_only, kConstants},
      {"", "Conv", &Importer::conv,
       "1-D or 2-D; any groups; kernels, strides, dilations and pads up to 255; int8 or uint8 "
       "weights "
       "per tensor or per output channel with zero points; bias int32 with scale sx*sw, or float"},
      {"", "ConvTranspose", &Importer::conv_transpose,
       "1-D or 2-D; any groups; kernels, strides and dilations up to 255, at most 1024 strides "
       "high times wide; weights and bias as Conv's; becomes convolutions of stride 1"},
      {"", "DepthToSpace", &Importer::depth_to_space, kView},
      {"", "DequantizeLinear", &Importer::dequantize_linear,
       "uint8, int8; int32 for biases; activations per tensor, weights per tensor or per axis"},
      {"", "Div", &Importer::divide,
       "by a constant; of functions of one 8-bit value: a 256-entry table"},
      {"", "Dropout", &Importer::dropout, "inference: the identity"},
      {"", "Elu", &Importer::exponential_unit, kUnary},
      {"", "Erf", &Importer::plain_function, kUnary},
      {"", "Exp", &Importer::plain_function, kUnary},
      {"", "Expand", &Importer::expand, "constant shape"},
      {"", "Flatten", &Importer::flatten, kView},
      {"", "Floor", &Importer::plain_function, kUnary},
      {"", "Gather", &Importer::gather,
       "constant indices that form at most 1024 evenly spaced runs: slices, joined"},
      {"", "Gelu", &Importer::gelu, kUnary},
      {"", "Gemm", &Importer::gemm,
       "alpha = beta = 1, transA = 0; constant B; C absent or one value per column"},
      {"", "GlobalAveragePool", &Importer::global_average_pool, "1-D or 2-D"},
      {"", "GlobalMaxPool", &Importer::global_max_pool, "1-D or 2-D; up to 255 x 255"},
      {"", "HardSigmoid", &Importer::hard_sigmoid, kUnary},
      {"", "HardSwish", &Importer::hard_swish, kUnary},
      {"", "Identity", &Importer::identity, "any tensor"},
      {"", "LayerNormalization", &Importer::layer_normalization,
       "constant scale and bias; one output; rows that fit in SRAM"},
      {"", "LeakyRelu", &Importer::leaky_relu, kUnary},
      {"", "Log", &Importer::plain_function, kUnary},
      {"", "MatMul", &Importer::matmul,
       "constant B of 2 dimensions, an Add of a constant per column behind it being its bias; or "
       "two "
       "computed operands with equal batch dimensions"},
      {"", "Max", &Importer::extremum, kExtremum},
      {"", "MaxPool", &Importer::max_pool,
       "1-D or 2-D; kernels, strides and pads up to 255; no dilation; one output"},
      {"", "Min", &Importer::extremum, kExtremum},
      {"", "Mish", &Importer::plain_function, kUnary},
      {"", "Mod", &Importer::constants_only, kConstants},
      {"", "Mul", &Importer::multiply,
       "two quantized operands with numpy broadcasting; x * Sigmoid(x) and the like become a "
       "table"},
      {"", "Neg", &Importer::plain_function, kUnary},
      {"", "PRelu", &Importer::prelu,
       "constant slope of one element, or one per channel of [n, c, ...]"},
      {"", "Pad", &Importer::pad,
       "constant pads; constant, edge, reflect and wrap; becomes padding of a Conv or pool behind "
       "it where that is exact"},
      {"", "Pow", &Importer::power, "constant exponent; as Sigmoid"},
      {"", "QLinearConv", &Importer::qlinear_conv, "as Conv; constant scales and zero points"},
      {"", "QLinearMatMul", &Importer::qlinear_matmul,
       "as MatMul; constant scales and zero points"},
      {"", "QuantizeLinear", &Importer::quantize_linear,
       "to uint8 or int8, one scale (weights: per axis)"},
      {"", "Range", &Importer::constants_only, kConstants},
      {"", "Reciprocal", &Importer::plain_function, kUnary},
      {"", "ReduceMean", &Importer::reduce_mean,
       "over any constant axes, of at most 2^23 elements together"},
      {"", "ReduceProd", &Importer::constants_only, kConstants},
      {"", "Relu", &Importer::relu, kClamp},
      {"", "Reshape", &Importer::reshape,
       "constant shape; moves no data where strides can express it"},
      {"", "Resize", &Importer::resize,
       "nearest and linear, of the space of [n, c, h, w], [n, c, w] or [n, h, w, c] with at most "
       "65535 rows and columns; constant scales or sizes; all coordinates but tf_crop_and_resize"},
      {"", "Round", &Importer::plain_function, kUnary},
      {"", "Selu", &Importer::exponential_unit, kUnary},
      {"", "Shape", &Importer::constants_only, "of a tensor whose shape is known: a constant"},
      {"", "Sigmoid", &Importer::sigmoid, kUnary},
      {"", "Sign", &Importer::plain_function, kUnary},
      {"", "Size", &Importer::constants_only, "of a tensor whose shape is known: a constant"},
      {"", "Slice", &Importer::slice,
       "constant bounds and steps; moves no data unless it goes backwards"},
      {"", "Softmax", &Importer::softmax,
       "any axis; rows that fit in SRAM; output scale at most 1"},
      {"", "Softplus", &Importer::plain_function, kUnary},
      {"", "Softsign", &Importer::plain_function, kUnary},
      {"", "SpaceToDepth", &Importer::depth_to_space, kView},
      {"", "Split", &Importer::split, "constant sizes; of an 8-bit or dequantized tensor"},
      {"", "Sqrt", &Importer::plain_function, kUnary},
      {"", "Squeeze", &Importer::squeeze, "constant axes"},
      {"", "Sub", &Importer::subtract,
       "constants and functions of one 8-bit value: a 256-entry table"},
      {"", "Swish", &Importer::swish, kUnary},
      {"", "Tanh", &Importer::tanh, kUnary},
      {"", "ThresholdedRelu", &Importer::thresholded_relu, kUnary},
      {"", "Transpose", &Importer::transpose, kView},
      {"", "Unsqueeze", &Importer::unsqueeze, "constant axes"},
      {"", "Upsample", &Importer::resize, "as Resize; asymmetric, floor"},
      {kMs, "FastGelu", &Importer::gelu, "no bias; a 256-entry table"},
      {kMs, "Gelu", &Importer::gelu, kUnary},
      {kMs, "NhwcMaxPool", &Importer::nhwc_max_pool, "as MaxPool, of [n, h, w, c]"},
      {kMs, "QGemm", &Importer::qgemm, "as Gemm; constant scales and zero points"},
      {kMs, "QLinearAdd", &Importer::qlinear_add, "as Add; constant scales and zero points"},
      {kMs, "QLinearAveragePool", &Importer::qlinear_average_pool,
       "as AveragePool; channels_last too"},
      {kMs, "QLinearConcat", &Importer::qlinear_concat,
       "as Concat; constant scales and zero points"},
      {kMs, "QLinearConv", &Importer::qlinear_conv, "as QLinearConv of ai.onnx; channels_last too"},
      {kMs, "QLinearGlobalAveragePool", &Importer::qlinear_global_average_pool,
       "as GlobalAveragePool; channels_last too"},
      {kMs, "QLinearLeakyRelu", &Importer::qlinear_leaky_relu, "a 256-entry table"},
      {kMs, "QLinearMul", &Importer::qlinear_mul, "as Mul; constant scales and zero points"},
      {kMs, "QLinearSigmoid", &Importer::qlinear_sigmoid, "a 256-entry table"},
      {kMs, "QLinearSoftmax", &Importer::qlinear_softmax, "as Softmax"},
      {kMs, "QuickGelu", &Importer::swish, kUnary},
      // Written by ONNX Runtime's quantizer for 16-bit types; the same operators.
      {kMs, "DequantizeLinear", &Importer::dequantize_linear, "as DequantizeLinear of ai.onnx"},
      {kMs, "QuantizeLinear", &Importer::quantize_linear, "as QuantizeLinear of ai.onnx"},
  };
  return kEntries;
}

const OperatorEntry* find_operator(const std::string& domain, const std::string& type) {
  const std::string_view wanted = domain == "ai.onnx" ? std::string_view() : domain;
  for (const OperatorEntry& entry : OperatorTable::entries()) {
    if (wanted == entry.domain && type == entry.type) return &entry;
  }
  return nullptr;
}

std::vector<SupportedOperator> supported_operators() {
  std::vector<SupportedOperator> out;
  for (const OperatorEntry& entry : OperatorTable::entries()) {
    out.push_back({entry.domain, entry.type, entry.constraints});
  }
  return out;
}

}  // namespace npu::compiler
