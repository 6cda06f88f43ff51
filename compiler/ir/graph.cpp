// SPDX-License-Identifier: MIT
#include "compiler/ir/graph.h"

#include <algorithm>
#include <utility>

namespace npu::compiler {

std::optional<int64_t> checked_elements(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t dim : shape) {
    if (dim < 1 || dim > kMaxElements || count > kMaxElements / dim) return std::nullopt;
    count *= dim;
  }
  return count;
}

int64_t elements(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  return count;
}

std::vector<int64_t> strides_of(const Shape& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    strides[d] = stride;
    stride *= shape[d];
  }
  return strides;
}

std::string to_text(const Shape& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) out += ",";
    out += std::to_string(shape[i]);
  }
  return out + "]";
}

std::vector<ValueId> Op::operands() const {
  std::vector<ValueId> out = inputs;
  if (const auto* mac = as<MacOp>(); mac != nullptr && mac->chain.residual) {
    out.push_back(mac->chain.residual->value);
  }
  return out;
}

ValueId Graph::add_value(Value value) {
  values.push_back(std::move(value));
  return static_cast<ValueId>(values.size() - 1);
}

void Graph::absorb(uint32_t source, uint32_t by) {
  if (owner(by) != owner(source)) sources[source].absorbed_by = by;
}

uint32_t Graph::owner(uint32_t source) const {
  while (sources[source].absorbed_by) source = *sources[source].absorbed_by;
  return source;
}

std::vector<uint32_t> Graph::use_counts() const {
  std::vector<uint32_t> counts(values.size(), 0);
  for (const Op& op : ops) {
    for (const ValueId id : op.operands()) ++counts[id];
  }
  for (const ValueId id : outputs) ++counts[id];
  return counts;
}

uint64_t macs_of(const Graph& graph, const Op& op) {
  const auto* mac = op.as<MacOp>();
  if (mac == nullptr) return 0;
  const Shape& in = graph.value(op.inputs[0]).shape;
  if (mac->matmul) {
    return static_cast<uint64_t>(elements(in)) * static_cast<uint64_t>(mac->out_channels);
  }
  // From the input's extents: a fused pool has shrunk the output.
  uint64_t pixels = static_cast<uint64_t>(in[0]);
  const size_t spatial = in.size() - 2;
  for (size_t i = 0; i < spatial; ++i) {
    const int d = static_cast<int>(i + 2 - spatial);
    const Window& w = mac->window;
    pixels *= static_cast<uint64_t>(
        (in[i + 2] + w.pad_before[d] + w.pad_after[d] - w.span(d)) / w.stride[d] + 1);
  }
  const uint64_t computed = pixels * static_cast<uint64_t>(mac->out_channels) *
                            static_cast<uint64_t>(mac->in_channels / mac->groups) *
                            static_cast<uint64_t>(mac->window.kernel[0] * mac->window.kernel[1]);
  if (!mac->input_products) return computed;
  return std::min(
      computed, static_cast<uint64_t>(elements(in)) * static_cast<uint64_t>(*mac->input_products));
}

const char* kind_name(const Op& op) {
  struct Name {
    const char* operator()(const MacOp& mac) const { return mac.matmul ? "MatMul" : "Conv"; }
    const char* operator()(const PoolOp& pool) const {
      return pool.arithmetic.kind == PoolKind::kMax ? "MaxPool" : "AveragePool";
    }
    const char* operator()(const GlobalAverageOp&) const { return "GlobalAveragePool"; }
    const char* operator()(const AddOp&) const { return "Add"; }
    const char* operator()(const MulOp&) const { return "Mul"; }
    const char* operator()(const LutOp&) const { return "Lut"; }
    const char* operator()(const SoftmaxOp&) const { return "Softmax"; }
    const char* operator()(const LayerNormOp&) const { return "LayerNormalization"; }
    const char* operator()(const ReshapeOp&) const { return "Reshape"; }
    const char* operator()(const TransposeOp&) const { return "Transpose"; }
    const char* operator()(const ConcatOp&) const { return "Concat"; }
    const char* operator()(const SliceOp&) const { return "Slice"; }
    const char* operator()(const CopyOp&) const { return "Copy"; }
    const char* operator()(const PadOp&) const { return "Pad"; }
    const char* operator()(const ResizeOp&) const { return "Resize"; }
  };
  return std::visit(Name{}, op.detail);
}

}  // namespace npu::compiler
