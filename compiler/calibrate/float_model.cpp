// SPDX-License-Identifier: MIT
#include "compiler/calibrate/float_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "compiler/onnx/model.h"

namespace npu::compiler {
namespace {

constexpr size_t kMaxInputs = 32;

class Reader {
 public:
  Reader(FloatModel& model, const FloatReadOptions& options, Diagnostics& diagnostics)
      : model_(model), options_(options), diagnostics_(diagnostics) {}

  // `body`: what the header's graph is without.
  bool run(const onnx::Graph& body) {
    const onnx::Graph& graph = model_.header.graph();
    for (const onnx::Tensor& proto : body.initializer()) {
      options_.poll();
      if (!add_constant(proto.name(), proto)) continue;
      if (!model_.names.insert(proto.name()))
        diagnostics_.malformed(fmt::format("two initializers are named '{}'", proto.name()));
    }
    for (const onnx::ValueInfo& info : graph.input()) read_input(info);
    for (const onnx::Node& node : body.node()) {
      for (const std::string& name : node.output()) model_.names.insert(name);
      for (const std::string& name : node.input()) model_.names.insert(name);
    }
    if (graph.output_size() == 0 || graph.output_size() > static_cast<int>(kMaxInputs)) {
      diagnostics_.malformed(fmt::format("a graph has 1 to {} outputs", kMaxInputs),
                             std::to_string(graph.output_size()));
    }
    if (!diagnostics_.ok()) return false;
    const std::optional<std::vector<int>> order = node_order(
        body, [this](const std::string& name) { return is_given(name); }, diagnostics_);
    if (!order) return false;
    for (const int index : *order) {
      options_.poll();
      read_node(body.node(index));
    }
    return diagnostics_.ok();
  }

 private:
  bool is_given(const std::string& name) const {
    return model_.is_constant(name) ||
           std::any_of(model_.inputs.begin(), model_.inputs.end(),
                       [&](const FloatModel::Input& input) { return input.name == name; });
  }

  bool add_constant(const std::string& name, const onnx::Tensor& proto) {
    std::string error;
    std::optional<ConstTensor> tensor = decode_tensor(proto, error);
    if (!tensor) {
      diagnostics_.malformed(fmt::format("constant '{}': {}", name, error));
      return false;
    }
    add_constant(name, std::move(*tensor));
    return true;
  }

  void add_constant(const std::string& name, ConstTensor tensor) {
    if (tensor.type == ConstType::kFloat) {
      model_.constants[name] = {std::move(tensor.shape), std::move(tensor.floats)};
    } else {
      model_.other_constants[name] = std::move(tensor);
    }
  }

  void read_input(const onnx::ValueInfo& info) {
    if (model_.is_constant(info.name())) return;  // an initializer that is listed as input too
    const std::optional<Shape> shape = input_shape(info, diagnostics_);
    if (!shape) return;
    const int type = info.type().tensor_type().elem_type();
    const auto problem = [&](std::string rule, std::string value, std::string suggestion) {
      diagnostics_.add({.status = Status::kUnsupported,
                        .node = info.name(),
                        .op = "graph input",
                        .rule = std::move(rule),
                        .value = std::move(value),
                        .suggestion = std::move(suggestion)});
    };
    if (type != onnx::Tensor::FLOAT) {
      problem("inputs of a model that is calibrated are float", onnx_type_name(type),
              "A quantized model needs no --calibrate");
      return;
    }
    if (model_.inputs.size() >= kMaxInputs) {
      problem(fmt::format("at most {} graph inputs", kMaxInputs), "more", "");
      return;
    }
    if (RuleBreak broken; !fits(*shape, broken)) {
      problem(broken.rule, broken.value, "");
      return;
    }
    if (!model_.names.insert(info.name()))
      diagnostics_.malformed(fmt::format("two inputs are named '{}'", info.name()));
    model_.inputs.push_back({info.name(), *shape});
  }

  void read_node(onnx::Node node) {
    for (std::string& name : *node.mutable_input()) {
      if (const auto it = alias_.find(name); it != alias_.end()) name = it->second;
    }
    const std::string& type = node.op_type();
    if (type.find("QLinear") != std::string::npos || type == "QuantizeLinear" ||
        type == "DequantizeLinear" || type == "QGemm") {
      RuleBreak broken;
      broken.rule = "a model that is calibrated is not quantized yet";
      broken.suggestion = "Compile it without --calibrate";
      diagnostics_.add(problem_of(node, broken));
      return;
    }
    if (type == "Constant" && read_constant(node)) return;
    if ((type == "Identity" || type == "Dropout") && drop_identity(node)) return;
    if (fold(node)) return;
    if (node.output_size() == 0 || (node.input_size() == 0 && type != "Constant")) {
      RuleBreak broken;
      broken.malformed = true;
      broken.rule = "a node reads a tensor and makes one";
      diagnostics_.add(problem_of(node, broken));
      return;
    }
    model_.nodes.push_back(std::move(node));
  }

  bool read_constant(const onnx::Node& node) {
    if (node.output_size() != 1) return false;
    Attributes attributes(node);
    if (const onnx::Tensor* proto = attributes.tensor("value"))
      return add_constant(node.output(0), *proto);
    for (const onnx::Attribute& attribute : node.attribute()) {
      if (attribute.name() == "value_float") {
        model_.constants[node.output(0)] = {{}, {attribute.f()}};
        return true;
      }
      if (attribute.name() == "value_floats") {
        model_.constants[node.output(0)] = {{attribute.floats_size()},
                                            {attribute.floats().begin(), attribute.floats().end()}};
        return true;
      }
      if (attribute.name() == "value_int" || attribute.name() == "value_ints") {
        ConstTensor tensor;
        tensor.type = ConstType::kInt64;
        tensor.onnx_type = onnx::Tensor::INT64;
        tensor.ints.assign(attribute.ints().begin(), attribute.ints().end());
        if (attribute.name() == "value_int") tensor.ints = {attribute.i()};
        if (attribute.name() == "value_ints") tensor.shape = {attribute.ints_size()};
        add_constant(node.output(0), std::move(tensor));
        return true;
      }
    }
    return false;
  }

  // What names its operand once more is left out, unless the name is an output's.
  bool drop_identity(onnx::Node& node) {
    if (node.input_size() == 0 || node.output_size() == 0) return false;
    if (node.op_type() == "Dropout" && node.input_size() > 2 && !node.input(2).empty()) {
      const auto mode = model_.other_constants.find(node.input(2));
      if (mode == model_.other_constants.end() || mode->second.ints != std::vector<int64_t>{0})
        return false;  // the import says why
    }
    if (model_.is_output(node.output(0))) {
      node.set_op_type("Identity");
      node.clear_attribute();
      node.mutable_input()->DeleteSubrange(1, node.input_size() - 1);
      node.mutable_output()->DeleteSubrange(1, node.output_size() - 1);
      return false;
    }
    alias_[node.output(0)] = node.input(0);
    return true;
  }

  // What is made of constants is a constant.
  bool fold(const onnx::Node& node) {
    if (node.output_size() != 1 || !can_evaluate(node.domain(), node.op_type()) ||
        node.input_size() == 0 || model_.is_output(node.output(0)))
      return false;
    for (const std::string& name : node.input()) {
      if (!name.empty() && !model_.is_constant(name)) return false;
    }
    FloatNode call(node, operands_of(model_, {}, node), model_.opset);
    const Prepared computation = prepare(call);
    if (!computation) return false;  // the import says what is wrong
    const uint64_t bytes = static_cast<uint64_t>(elements(computation->shape)) * sizeof(float);
    if (model_.count_folded(node, bytes, diagnostics_))
      model_.constants[node.output(0)] = compute(*computation, options_.poll);
    return true;
  }

  FloatModel& model_;
  const FloatReadOptions& options_;
  Diagnostics& diagnostics_;
  std::unordered_map<std::string, std::string> alias_;
};

}  // namespace

bool FloatModel::is_output(const std::string& name) const {
  const auto& outputs = header.graph().output();
  return std::any_of(outputs.begin(), outputs.end(),
                     [&](const onnx::ValueInfo& info) { return info.name() == name; });
}

std::string Names::fresh(const std::string& stem) {
  std::string name = stem;
  int& last = numbers_.try_emplace(stem, 1).first->second;
  while (!insert(name)) name = fmt::format("{}_{}", stem, ++last);
  return name;
}

bool FloatModel::count_folded(const onnx::Node& node, uint64_t bytes, Diagnostics& diagnostics) {
  if (bytes <= foldable_bytes) {
    foldable_bytes -= bytes;
    return true;
  }
  RuleBreak broken;
  broken.rule = "the constants of a model take at most 4 GiB";
  diagnostics.add(problem_of(node, broken));
  return false;
}

std::unordered_map<std::string, size_t> FloatModel::use_counts() const {
  std::unordered_map<std::string, size_t> out;
  for (const onnx::Node& node : nodes) {
    for (const std::string& name : node.input()) ++out[name];
  }
  for (const onnx::ValueInfo& info : header.graph().output()) ++out[info.name()];
  return out;
}

int computed_outputs(const onnx::Node& node) {
  return node.op_type() == "Split" ? node.output_size() : std::min(node.output_size(), 1);
}

Problem problem_of(const onnx::Node& node, const RuleBreak& broken) {
  return {.status = broken.malformed ? Status::kMalformed : Status::kUnsupported,
          .node = display_name(node),
          .op = node.op_type(),
          .rule = broken.rule,
          .value = broken.value,
          .suggestion = broken.suggestion};
}

std::vector<FloatOperand> operands_of(const FloatModel& model, const FloatTensors& computed,
                                      const onnx::Node& node) {
  std::vector<FloatOperand> out;
  for (const std::string& name : node.input()) {
    FloatOperand& operand = out.emplace_back();
    if (name.empty()) continue;
    if (const auto it = computed.find(name); it != computed.end()) {
      operand.real = &it->second;
    } else if (const auto real = model.constants.find(name); real != model.constants.end()) {
      operand.real = &real->second;
    } else if (const auto other = model.other_constants.find(name);
               other != model.other_constants.end()) {
      operand.constant = &other->second;
    }
  }
  return out;
}

std::optional<FloatModel> read_float_model(std::span<const std::byte> file,
                                           const FloatReadOptions& options,
                                           Diagnostics& diagnostics) {
  std::optional<onnx::Model> parsed = parse_model(file, options.shapes, diagnostics);
  if (!parsed) return std::nullopt;
  FloatModel model;
  model.opset = operator_set(*parsed);
  model.foldable_bytes = options.foldable_bytes;
  onnx::Graph body;
  body.mutable_node()->Swap(parsed->mutable_graph()->mutable_node());
  body.mutable_initializer()->Swap(parsed->mutable_graph()->mutable_initializer());
  model.header = std::move(*parsed);
  if (!Reader(model, options, diagnostics).run(body)) return std::nullopt;
  body.Clear();
  simplify(model, find_shapes(model, options, diagnostics), options, diagnostics);
  return model;
}

}  // namespace npu::compiler
