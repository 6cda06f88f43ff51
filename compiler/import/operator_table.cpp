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
  static constexpr const char* kView = "moves no data where strides can express it";
  static const OperatorEntry kEntries[] = {
      {"", "Add", &Importer::add, "two quantized operands with numpy broadcasting"},
      {"", "AveragePool", &Importer::average_pool,
       "1-D or 2-D; kernels up to 255, strides and pads up to 255; no dilation; not ceil_mode with "
       "count_include_pad"},
      {"", "Clip", &Importer::clip,
       "constant bounds; behind any operator: folded into its output; "
       "alone: a 256-entry table; also on 8-bit tensors"},
      {"", "Concat", &Importer::concat, "any axis; inputs are requantized where scales differ"},
      {"", "Constant", &Importer::constant, "tensor values"},
      {"", "Conv", &Importer::conv,
       "1-D or 2-D; any groups; kernels, strides, dilations and pads up to 255; int8 or uint8 "
       "weights "
       "per tensor or per output channel with zero points; bias int32 with scale sx*sw, or float"},
      {"", "DequantizeLinear", &Importer::dequantize_linear,
       "uint8, int8; int32 for biases; activations per tensor, weights per tensor or per axis"},
      {"", "Div", &Importer::divide,
       "by a constant; of functions of one 8-bit value: a 256-entry table"},
      {"", "Dropout", &Importer::dropout, "inference: the identity"},
      {"", "Erf", &Importer::erf, kUnary},
      {"", "Flatten", &Importer::flatten, kView},
      {"", "Gelu", &Importer::gelu, kUnary},
      {"", "Gemm", &Importer::gemm,
       "alpha = beta = 1, transA = 0; constant B; C absent or one value per column"},
      {"", "GlobalAveragePool", &Importer::global_average_pool, "1-D or 2-D"},
      {"", "HardSigmoid", &Importer::hard_sigmoid, kUnary},
      {"", "HardSwish", &Importer::hard_swish, kUnary},
      {"", "Identity", &Importer::identity, "any tensor"},
      {"", "LayerNormalization", &Importer::layer_normalization,
       "constant scale and bias; one output; rows that fit in SRAM"},
      {"", "LeakyRelu", &Importer::leaky_relu, kUnary},
      {"", "MatMul", &Importer::matmul,
       "constant B of 2 dimensions, an Add of a constant per column behind it being its bias; or "
       "two "
       "computed operands with equal batch dimensions"},
      {"", "MaxPool", &Importer::max_pool,
       "1-D or 2-D; kernels, strides and pads up to 255; no dilation; one output"},
      {"", "Mul", &Importer::multiply,
       "two quantized operands with numpy broadcasting; x * Sigmoid(x) and the like become a "
       "table"},
      {"", "Pow", &Importer::power, "constant exponent; as Sigmoid"},
      {"", "QLinearConv", &Importer::qlinear_conv, "as Conv; constant scales and zero points"},
      {"", "QLinearMatMul", &Importer::qlinear_matmul,
       "as MatMul; constant scales and zero points"},
      {"", "QuantizeLinear", &Importer::quantize_linear,
       "to uint8 or int8, one scale (weights: per axis)"},
      {"", "ReduceMean", &Importer::reduce_mean, "over all spatial axes of [n, c, h, w]"},
      {"", "Relu", &Importer::relu, kClamp},
      {"", "Reshape", &Importer::reshape,
       "constant shape; moves no data where strides can express it"},
      {"", "Sigmoid", &Importer::sigmoid, kUnary},
      {"", "Slice", &Importer::slice, "constant bounds, steps of 1"},
      {"", "Softmax", &Importer::softmax,
       "any axis; rows that fit in SRAM; output scale at most 1"},
      {"", "Split", &Importer::split, "constant sizes; of an 8-bit or dequantized tensor"},
      {"", "Sqrt", &Importer::square_root, kUnary},
      {"", "Squeeze", &Importer::squeeze, "constant axes"},
      {"", "Sub", &Importer::subtract,
       "constants and functions of one 8-bit value: a 256-entry table"},
      {"", "Tanh", &Importer::tanh, kUnary},
      {"", "Transpose", &Importer::transpose, kView},
      {"", "Unsqueeze", &Importer::unsqueeze, "constant axes"},
      {kMs, "FastGelu", &Importer::gelu, "no bias; a 256-entry table"},
      {kMs, "Gelu", &Importer::gelu, kUnary},
      {kMs, "QGemm", &Importer::qgemm, "as Gemm; constant scales and zero points"},
      {kMs, "QLinearAdd", &Importer::qlinear_add, "as Add; constant scales and zero points"},
      {kMs, "QLinearAveragePool", &Importer::qlinear_average_pool,
       "as AveragePool; channels first"},
      {kMs, "QLinearConcat", &Importer::qlinear_concat,
       "as Concat; constant scales and zero points"},
      {kMs, "QLinearGlobalAveragePool", &Importer::qlinear_global_average_pool,
       "as GlobalAveragePool; channels first"},
      {kMs, "QLinearLeakyRelu", &Importer::qlinear_leaky_relu, "a 256-entry table"},
      {kMs, "QLinearMul", &Importer::qlinear_mul, "as Mul; constant scales and zero points"},
      {kMs, "QLinearSigmoid", &Importer::qlinear_sigmoid, "a 256-entry table"},
      {kMs, "QLinearSoftmax", &Importer::qlinear_softmax, "as Softmax"},
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
