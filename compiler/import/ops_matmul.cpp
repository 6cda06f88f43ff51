// SPDX-License-Identifier: MIT
//
// Gemm, MatMul and their quantized forms.
#include <fmt/format.h>

#include "compiler/import/importer.h"

namespace npu::compiler {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kMaxDepth = 1 << 24;  // products per output

}  // namespace

// x is [..., K]; b is [K, N], or [N, K] if transposed.
bool Importer::matmul_parts(MacParts& parts, Weights& b) {
  const bool transposed = parts.transposed;
  const Shape& in = value(parts.x).shape;
  const Shape& w = b.data->shape;
  if (w.size() != 2 || !checked_elements(w)) {
    unsupported("a constant second operand has 2 dimensions", to_text(w));
    return false;
  }
  const int64_t depth = transposed ? w[1] : w[0];
  if (in.empty() || in.back() != depth) {
    malformed_node("the operands' inner dimensions agree",
                   fmt::format("{} times {}", to_text(in), to_text(w)));
    return false;
  }
  if (depth > kMaxDepth) {
    unsupported("the inner dimension is at most 2^24", std::to_string(depth));
    return false;
  }
  if (b.axis < 0) b.axis += 2;
  if (const std::string error = check_weight_quantization(b, transposed ? 0 : 1); !error.empty()) {
    unsupported(error,
                fmt::format("{} scales along axis {} of {}", b.scales.size(), b.axis, to_text(w)));
    return false;
  }
  parts.weights = b;
  parts.out_shape = in;
  parts.out_shape.back() = transposed ? w[0] : w[1];
  if (!checked_elements(parts.out_shape)) {
    unsupported("a tensor has at most 2^36 elements", to_text(parts.out_shape));
    return false;
  }
  return true;
}

ValueId Importer::emit_matmul(uint32_t source, const MacParts& parts, const OutputQuantization& out,
                              const Clamp& clamp) {
  MacOp mac;
  mac.matmul = true;
  const bool transposed = parts.transposed;
  const Shape& w = parts.weights.data->shape;
  mac.out_channels = transposed ? w[0] : w[1];
  mac.in_channels = transposed ? w[1] : w[0];
  if (transposed) {
    mac.weights = parts.weights.data->bytes;
  } else {
    mac.weights.resize(parts.weights.data->bytes.size());
    for (int64_t k = 0; k < w[0]; ++k) {
      for (int64_t n = 0; n < w[1]; ++n) {
        mac.weights[static_cast<size_t>(n * w[0] + k)] =
            parts.weights.data->bytes[static_cast<size_t>(k * w[1] + n)];
      }
    }
  }
  return emit_mac(source, parts, std::move(mac), out, clamp);
}

std::optional<Shape> Importer::dynamic_matmul_shape(const Shape& a, const Shape& b) {
  if (a.size() < 2 || a.size() != b.size() || a.back() != b[b.size() - 2] ||
      !std::equal(a.begin(), a.end() - 2, b.begin())) {
    unsupported("two computed operands have equal batch dimensions and agreeing inner ones",
                fmt::format("{} times {}", to_text(a), to_text(b)));
    return std::nullopt;
  }
  Shape out = a;
  out.back() = b.back();
  if (a.back() > kMaxDepth) {
    unsupported("the inner dimension is at most 2^24", std::to_string(a.back()));
    return std::nullopt;
  }
  if (!checked_elements(out)) {
    unsupported("a tensor has at most 2^36 elements", to_text(out));
    return std::nullopt;
  }
  return out;
}

ValueId Importer::emit_dynamic_matmul(uint32_t source, const RealTensor& a, const RealTensor& b,
                                      const Shape& out_shape, const OutputQuantization& out,
                                      const Clamp& clamp) {
  if (!check_scales(a.q.scale, {b.q.scale}, out)) return kNoValue;
  MacOp mac;
  mac.matmul = true;
  mac.in_channels = value(a.value).shape.back();
  mac.out_channels = out_shape.back();
  mac.weight_type = value(b.value).type;
  mac.weight_zeros = {b.q.zero};
  mac.scales = {requantization_scale(a.q.scale, b.q.scale, out.q.scale)};
  mac.input_zero = a.q.zero;
  mac.output_zero = out.q.zero;
  mac.clamp = clamp;
  mac.mac_type = out.type;
  Value result;
  result.type = out.type;
  result.shape = out_shape;
  result.quantization = out.q;
  return add_op(source, {a.value, b.value}, std::move(result), std::move(mac));
}

void Importer::define_product(const onnx::Node& node, MacParts parts) {
  const auto shared = std::make_shared<const MacParts>(std::move(parts));
  auto pending = std::make_shared<Pending>();
  pending->source = source_;
  pending->shape = shared->out_shape;
  pending->emit = [this, shared, source = source_](const OutputQuantization& out,
                                                   const Clamp& clamp) {
    return emit_matmul(source, *shared, out, clamp);
  };
  if (shared->bias.empty()) pending->product = shared;
  RealTensor result;
  result.shape = shared->out_shape;
  result.pending = std::move(pending);
  define(node, 0, std::move(result));
}

bool Importer::bias_behind_product(const onnx::Node& node) {
  for (int i = 0; i < 2; ++i) {
    const Tensor* tensor = input(node, i);
    const Tensor* other = input(node, 1 - i);
    if (tensor == nullptr || other == nullptr) return false;
    const auto* real = std::get_if<RealTensor>(tensor);
    const auto* constant = std::get_if<ConstantTensor>(other);
    if (real == nullptr || constant == nullptr || !real->pending || !real->pending->product ||
        !real->pending->after.empty() || real->pending->low > -kInfinity ||
        real->pending->high < kInfinity) {
      continue;
    }
    MacParts parts = *real->pending->product;
    const Shape& shape = constant->data->shape;
    if (shape.size() > parts.out_shape.size() ||
        constant->data->count() != parts.out_shape.back() || shape.empty() ||
        shape.back() != parts.out_shape.back()) {
      continue;
    }
    std::optional<std::vector<int32_t>> bias =
        bias_input(node, 1 - i, parts.xq.scale, parts.weights, parts.out_shape.back(), false);
    if (!bias) return true;
    parts.bias = std::move(*bias);
    define_product(node, std::move(parts));
    return true;
  }
  return false;
}

void Importer::gemm(const onnx::Node& node, Attributes& attributes) {
  const std::optional<RealTensor> x = real_operand(node, 0);
  std::optional<Weights> b = real_weights(node, 1);
  const bool transposed = attributes.integer("transB", 0) != 0;
  const float alpha = attributes.real("alpha", 1), beta = attributes.real("beta", 1);
  if (attributes.integer("transA", 0) != 0 || alpha != 1 || (beta != 1 && has_input(node, 2))) {
    unsupported(
        "alpha and beta are 1 and transA is 0",
        fmt::format("alpha {}, beta {}, transA {}", alpha, beta, attributes.integer("transA", 0)));
  }
  if (!x || !b || node_failed_) return;
  MacParts parts;
  parts.transposed = transposed;
  parts.x = x->value;
  parts.xq = x->q;
  if (value(parts.x).shape.size() != 2) {
    malformed_node("the operands of Gemm have 2 dimensions", to_text(value(parts.x).shape));
    return;
  }
  if (!matmul_parts(parts, *b)) return;
  std::optional<std::vector<int32_t>> bias =
      bias_input(node, 2, parts.xq.scale, parts.weights, parts.out_shape.back(), false);
  if (!bias) return;
  parts.bias = std::move(*bias);
  define_product(node, std::move(parts));
}

void Importer::matmul(const onnx::Node& node, Attributes&) {
  const std::optional<RealTensor> a = real_operand(node, 0);
  if (!a) return;
  const Tensor* second = input(node, 1);
  if (second == nullptr) return;
  if (std::holds_alternative<ConstantTensor>(*second)) {
    std::optional<Weights> b = real_weights(node, 1);
    if (!b) return;
    MacParts parts;
    parts.x = a->value;
    parts.xq = a->q;
    if (matmul_parts(parts, *b)) define_product(node, std::move(parts));
    return;
  }
  const std::optional<RealTensor> b = real_operand(node, 1);
  if (!b) return;
  const std::optional<Shape> shape = dynamic_matmul_shape(a->shape, b->shape);
  if (!shape) return;
  define_pending(node, *shape,
                 [this, a = *a, b = *b, shape = *shape, source = source_](
                     const OutputQuantization& out, const Clamp& clamp) {
                   return emit_dynamic_matmul(source, a, b, shape, out, clamp);
                 });
}

void Importer::qlinear_matmul(const onnx::Node& node, Attributes&) {
  const std::optional<ValueId> a = quantized_input(node, 0, 2);
  const std::optional<OutputQuantization> aq = quantization_inputs(node, 1, 2);
  const std::optional<OutputQuantization> yq = quantization_inputs(node, 6, 7);
  const Tensor* second = a && aq && yq ? input(node, 3) : nullptr;
  if (second == nullptr) return;
  const Clamp full{byte_low(yq->type), byte_high(yq->type)};
  ValueId id = kNoValue;
  if (std::holds_alternative<ConstantTensor>(*second)) {
    std::optional<Weights> b = weight_inputs(node, 3, 4, 5, 1);
    if (!b) return;
    MacParts parts;
    parts.x = *a;
    parts.xq = aq->q;
    if (!matmul_parts(parts, *b)) return;
    id = emit_matmul(source_, parts, *yq, full);
  } else {
    const std::optional<ValueId> b = quantized_input(node, 3, 5);
    const std::optional<OutputQuantization> bq = quantization_inputs(node, 4, 5);
    if (!b || !bq) return;
    const std::optional<Shape> shape = dynamic_matmul_shape(value(*a).shape, value(*b).shape);
    if (!shape) return;
    RealTensor left, right;
    left.value = *a;
    left.q = aq->q;
    right.value = *b;
    right.q = bq->q;
    id = emit_dynamic_matmul(source_, left, right, *shape, *yq, full);
  }
  if (graph_.value(*a).quantization.scale == 0) graph_.value(*a).quantization = aq->q;
  if (id == kNoValue) return;
  graph_.value(id).name = node.output(0);
  define(node, 0, QuantizedTensor{id});
}

// A, a_scale, a_zero, B, b_scale, b_zero, C, y_scale, y_zero.
void Importer::qgemm(const onnx::Node& node, Attributes& attributes) {
  const std::optional<ValueId> x = quantized_input(node, 0, 2);
  const std::optional<OutputQuantization> xq = quantization_inputs(node, 1, 2);
  const bool transposed = attributes.integer("transB", 0) != 0;
  std::optional<Weights> b = weight_inputs(node, 3, 4, 5, transposed ? 0 : 1);
  if (attributes.integer("transA", 0) != 0 || attributes.real("alpha", 1) != 1) {
    unsupported("alpha is 1 and transA is 0");
  }
  if (!has_input(node, 7)) {
    unsupported("QGemm has an output scale: float results are not computed on the card");
  }
  if (!x || !xq || !b || node_failed_) return;
  const std::optional<OutputQuantization> yq = quantization_inputs(node, 7, 8);
  if (!yq) return;
  MacParts parts;
  parts.transposed = transposed;
  parts.x = *x;
  parts.xq = xq->q;
  if (value(*x).shape.size() != 2) {
    malformed_node("the operands of QGemm have 2 dimensions", to_text(value(*x).shape));
    return;
  }
  if (!matmul_parts(parts, *b)) return;
  std::optional<std::vector<int32_t>> bias =
      bias_input(node, 6, parts.xq.scale, parts.weights, parts.out_shape.back(), true);
  if (!bias) return;
  parts.bias = std::move(*bias);
  if (graph_.value(*x).quantization.scale == 0) graph_.value(*x).quantization = xq->q;
  const Clamp full{byte_low(yq->type), byte_high(yq->type)};
  const ValueId id = emit_matmul(source_, parts, *yq, full);
  if (id == kNoValue) return;
  graph_.value(id).name = node.output(0);
  define(node, 0, QuantizedTensor{id});
}

}  // namespace npu::compiler
