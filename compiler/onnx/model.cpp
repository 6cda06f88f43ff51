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

Problem input_problem(const onnx::ValueInfo& info, std::string rule, std::string value,
                      std::string suggestion) {
  return {.status = Status::kUnsupported,
          .node = info.name(),
          .op = "graph input",
          .rule = std::move(rule),
          .value = std::move(value),
          .suggestion = std::move(suggestion)};
}

bool is_open(const onnx::Dimension& dim) {
  return !dim.has_dim_value() || dim.dim_value() <= 0;
}

bool pin_input(onnx::ValueInfo& info, const Shape& shape, Diagnostics& diagnostics) {
  onnx::TensorType& type = *info.mutable_type()->mutable_tensor_type();
  bool agrees = !type.has_shape() || static_cast<size_t>(type.shape().dim_size()) == shape.size();
  Shape fixed;
  for (int i = 0; i < type.shape().dim_size(); ++i) {
    const onnx::Dimension& dim = type.shape().dim(i);
    fixed.push_back(is_open(dim) ? -1 : dim.dim_value());
    agrees = agrees && (is_open(dim) || dim.dim_value() == shape[static_cast<size_t>(i)]);
  }
  if (!agrees) {
    diagnostics.add(input_problem(info, "a given shape agrees with the model's",
                                  fmt::format("{} for {}", to_text(shape), to_text(fixed)),
                                  "-1 stands for what is open"));
    return false;
  }
  type.mutable_shape()->clear_dim();
  for (const int64_t extent : shape) type.mutable_shape()->add_dim()->set_dim_value(extent);
  return true;
}

bool pin_inputs(onnx::Graph& graph, const InputShapes& shapes, Diagnostics& diagnostics) {
  size_t found = 0;
  for (onnx::ValueInfo& info : *graph.mutable_input()) {
    if (!info.type().has_tensor_type()) continue;
    if (const auto it = shapes.by_name.find(info.name()); it != shapes.by_name.end()) {
      ++found;
      if (!pin_input(info, it->second, diagnostics)) return false;
      continue;
    }
    onnx::TensorType& type = *info.mutable_type()->mutable_tensor_type();
    if (shapes.batch > 0 && type.shape().dim_size() > 0 && is_open(type.shape().dim(0)))
      type.mutable_shape()->mutable_dim(0)->set_dim_value(shapes.batch);
  }
  if (found >= shapes.by_name.size()) return true;
  constexpr int kMostNames = 8;
  std::string names;
  for (int i = 0; i < std::min(graph.input_size(), kMostNames); ++i)
    names += fmt::format("{}'{}'", i == 0 ? "" : ", ", graph.input(i).name());
  unsupported(
      diagnostics, "shapes are given for inputs of the model", "no input of that name",
      fmt::format("Inputs are {}{}", names, graph.input_size() > kMostNames ? ", ..." : ""));
  return false;
}

}  // namespace

int64_t operator_set(const onnx::Model& model) {
  int64_t out = 0;
  for (const onnx::OperatorSet& set : model.opset_import()) {
    if (set.domain().empty() || set.domain() == "ai.onnx") out = std::max(out, set.version());
  }
  return out;
}

std::optional<onnx::Model> parse_model(std::span<const std::byte> file, const InputShapes& shapes,
                                       Diagnostics& diagnostics) {
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
  if (!pin_inputs(*model.mutable_graph(), shapes, diagnostics)) return std::nullopt;
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

std::optional<Shape> input_shape(const onnx::ValueInfo& info, Diagnostics& diagnostics) {
  const auto problem = [&](std::string rule, std::string value, std::string fix) {
    diagnostics.add(input_problem(info, std::move(rule), std::move(value), std::move(fix)));
    return std::nullopt;
  };
  if (!info.type().has_tensor_type()) return problem("inputs are tensors", "another type", "");
  const onnx::TensorType& type = info.type().tensor_type();
  if (!type.has_shape() || std::ranges::any_of(type.shape().dim(), is_open)) {
    return problem("every dimension of an input is a positive number", "a symbolic or missing one",
                   "Give the first one with --batch N, or all with --input-shape NAME=D,D,...");
  }
  Shape shape;
  for (const onnx::Dimension& dim : type.shape().dim()) shape.push_back(dim.dim_value());
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
