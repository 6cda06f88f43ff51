// SPDX-License-Identifier: MIT
#include "compiler/onnx/model.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>

#include <algorithm>
#include <limits>
#include <queue>
#include <unordered_map>

namespace npu::compiler {
namespace {

// Bounds on what a file may ask for; far above any real network.
constexpr int kMaxNodes = 20000;
constexpr int64_t kMaxOpset = 25;
constexpr int64_t kMinOpset = 9;  // float models; QuantizeLinear is of 10

void unsupported(Diagnostics& diagnostics, std::string rule, std::string value,
                 std::string suggestion = {}) {
  diagnostics.add({.status = Status::kUnsupported,
                   .node = {},
                   .op = {},
                   .rule = std::move(rule),
                   .value = std::move(value),
                   .suggestion = std::move(suggestion)});
}

}  // namespace

int64_t operator_set(const onnx::Model& model) {
  int64_t out = 0;
  for (const onnx::OperatorSet& set : model.opset_import()) {
    if (set.domain().empty() || set.domain() == "ai.onnx") out = std::max(out, set.version());
  }
  return out;
}

std::optional<onnx::Model> parse_model(std::span<const std::byte> file, Diagnostics& diagnostics) {
  onnx::Model model;
  if (file.empty() || file.size() > std::numeric_limits<int>::max()) {
    diagnostics.malformed("an ONNX file has between 1 byte and 2 GiB",
                          fmt::format("{} bytes", file.size()));
    return std::nullopt;
  }
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const uint8_t*>(file.data()),
                                                static_cast<int>(file.size()));
  stream.SetTotalBytesLimit(std::numeric_limits<int>::max());
  stream.SetRecursionLimit(32);
  if (!model.ParseFromCodedStream(&stream) || !stream.ConsumedEntireMessage()) {
    diagnostics.malformed("the file is not an ONNX model, or is truncated or damaged");
    return std::nullopt;
  }
  if (!model.has_graph() || model.graph().node_size() == 0) {
    diagnostics.malformed("the file holds no graph, or one without nodes");
    return std::nullopt;
  }
  if (model.graph().node_size() > kMaxNodes) {
    unsupported(diagnostics, fmt::format("at most {} nodes", kMaxNodes),
                std::to_string(model.graph().node_size()));
    return std::nullopt;
  }
  const int64_t opset = operator_set(model);
  // Old runtimes write models of com.microsoft operators only.
  if (opset == 0) {
    diagnostics.malformed("the model does not say which operator set it uses (opset_import)");
    return std::nullopt;
  }
  if (opset < kMinOpset || opset > kMaxOpset) {
    unsupported(diagnostics,
                fmt::format("operator sets {} to {} are supported", kMinOpset, kMaxOpset),
                fmt::format("opset {}", opset), "Convert the model with onnx.version_converter");
    return std::nullopt;
  }
  return model;
}

// Kahn's algorithm that keeps the file's order wherever it is a valid one.
std::optional<std::vector<int>> node_order(const onnx::Graph& graph,
                                           const std::function<bool(const std::string&)>& is_given,
                                           Diagnostics& diagnostics) {
  std::unordered_map<std::string, int> producer;
  for (int i = 0; i < graph.node_size(); ++i) {
    for (const std::string& name : graph.node(i).output()) {
      if (name.empty()) continue;
      if (!producer.emplace(name, i).second || is_given(name)) {
        diagnostics.malformed(fmt::format("tensor '{}' is produced twice", name));
        return std::nullopt;
      }
    }
  }
  std::vector<std::vector<int>> users(static_cast<size_t>(graph.node_size()));
  std::vector<int> missing(static_cast<size_t>(graph.node_size()), 0);
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (int i = 0; i < graph.node_size(); ++i) {
    for (const std::string& name : graph.node(i).input()) {
      const auto it = producer.find(name);
      if (it == producer.end()) continue;
      users[static_cast<size_t>(it->second)].push_back(i);
      ++missing[static_cast<size_t>(i)];
    }
    if (missing[static_cast<size_t>(i)] == 0) ready.push(i);
  }
  std::vector<int> order;
  order.reserve(static_cast<size_t>(graph.node_size()));
  while (!ready.empty()) {
    const int node = ready.top();
    ready.pop();
    order.push_back(node);
    for (const int user : users[static_cast<size_t>(node)]) {
      if (--missing[static_cast<size_t>(user)] == 0) ready.push(user);
    }
  }
  if (order.size() != static_cast<size_t>(graph.node_size())) {
    diagnostics.malformed("the graph has a cycle");
    return std::nullopt;
  }
  return order;
}

std::optional<Shape> input_shape(const onnx::ValueInfo& info, int64_t batch,
                                 Diagnostics& diagnostics) {
  const auto problem = [&](std::string rule, std::string value, std::string fix) {
    diagnostics.add({.status = Status::kUnsupported,
                     .node = info.name(),
                     .op = "graph input",
                     .rule = std::move(rule),
                     .value = std::move(value),
                     .suggestion = std::move(fix)});
    return std::nullopt;
  };
  if (!info.type().has_tensor_type()) return problem("inputs are tensors", "another type", "");
  const onnx::TensorType& type = info.type().tensor_type();
  Shape shape;
  bool complete = type.has_shape();
  for (const onnx::Dimension& dim : type.shape().dim()) {
    if (dim.has_dim_value() && dim.dim_value() > 0) {
      shape.push_back(dim.dim_value());
    } else if (shape.empty() && batch > 0) {
      shape.push_back(batch);
    } else {
      complete = false;
      break;
    }
  }
  if (!complete) {
    return problem("every dimension of an input is a positive number", "a symbolic or missing one",
                   "Give the batch with --batch N, or fix the shape in the model");
  }
  if (shape.size() > 6 || !checked_elements(shape)) {
    return problem("an input has at most 6 dimensions and 2^36 elements", to_text(shape), "");
  }
  return shape;
}

std::string display_name(const onnx::Node& node) {
  if (!node.name().empty() || node.output_size() == 0) return node.name();
  return node.output(0);
}

}  // namespace npu::compiler
