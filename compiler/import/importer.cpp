// SPDX-License-Identifier: MIT
#include "compiler/import/importer.h"

#include <fmt/format.h>

#include <algorithm>

#include "compiler/import/operator_table.h"
#include "compiler/onnx/fold.h"
#include "compiler/onnx/model.h"

namespace npu::compiler {
namespace {

// Far above any real network.
constexpr int kMaxInputs = 32;
// One node can be thousands: a Gather is a slice for each run of indices.
constexpr size_t kMaxOperators = 1 << 17;

// What quantize_dynamic() of ONNX Runtime writes.
bool has_run_time_scales(const std::string& type) {
  static constexpr const char* kTypes[] = {"ConvInteger",           "DynamicQuantizeLSTM",
                                           "DynamicQuantizeLinear", "DynamicQuantizeMatMul",
                                           "MatMulInteger",         "MatMulIntegerToFloat"};
  return std::ranges::find(kTypes, type) != std::end(kTypes);
}

}  // namespace

std::optional<Graph> import_onnx(std::span<const std::byte> file, const ImportOptions& options,
                                 Diagnostics& diagnostics) {
  const std::optional<onnx::Model> model = parse_model(file, options.shapes, diagnostics);
  if (!model) return std::nullopt;
  Importer importer(options, diagnostics);
  if (!importer.run(*model) || !diagnostics.ok()) return std::nullopt;
  return importer.take_graph();
}

bool Importer::run(const onnx::Model& model) {
  const onnx::Graph& graph = model.graph();
  graph_.name = graph.name();
  opset_ = operator_set(model);
  read_initializers(graph);
  read_inputs(graph);
  if (!diagnostics_.ok()) return false;
  const std::optional<std::vector<int>> order = node_order(
      graph, [this](const std::string& name) { return tensors_.count(name) > 0; }, diagnostics_);
  if (!order) return false;
  for (const int index : *order) {
    if (options_.poll) options_.poll();
    import_node(graph.node(index));
    if (graph_.ops.size() <= kMaxOperators) continue;
    unsupported(fmt::format("a model becomes at most {} operators", kMaxOperators), "more");
    return false;
  }
  bind_outputs(graph);
  if (!diagnostics_.ok()) return false;
  drop_dead_ops();
  return true;
}

void Importer::read_initializers(const onnx::Graph& graph) {
  for (const onnx::Tensor& proto : graph.initializer()) {
    std::string error;
    std::optional<ConstTensor> tensor = decode_tensor(proto, error);
    if (!tensor) {
      diagnostics_.malformed(fmt::format("initializer '{}': {}", proto.name(), error));
      continue;
    }
    ConstantTensor constant;
    constant.data = std::make_shared<const ConstTensor>(std::move(*tensor));
    if (!tensors_.emplace(proto.name(), std::move(constant)).second) {
      diagnostics_.malformed(fmt::format("two initializers are named '{}'", proto.name()));
    }
  }
}

void Importer::read_inputs(const onnx::Graph& graph) {
  for (const onnx::ValueInfo& info : graph.input()) {
    if (tensors_.count(info.name()) > 0) continue;  // an initializer that is listed as input too
    const auto problem = [&](Status status, std::string rule, std::string value, std::string fix) {
      diagnostics_.add({.status = status,
                        .node = info.name(),
                        .op = "graph input",
                        .rule = std::move(rule),
                        .value = std::move(value),
                        .suggestion = std::move(fix)});
      failed_[info.name()] = true;
    };
    const std::optional<Shape> known = compiler::input_shape(info, diagnostics_);
    if (!known) {
      failed_[info.name()] = true;
      continue;
    }
    const Shape& shape = *known;
    const onnx::TensorType& type = info.type().tensor_type();
    if (graph_.inputs.size() >= kMaxInputs) {
      problem(Status::kUnsupported, fmt::format("at most {} graph inputs", kMaxInputs), "more", "");
      return;
    }
    const size_t position = graph_.inputs.size();
    Tensor tensor;
    if (type.elem_type() == onnx::Tensor::UINT8 || type.elem_type() == onnx::Tensor::INT8) {
      Value value;
      value.name = info.name();
      value.type = type.elem_type() == onnx::Tensor::INT8 ? ByteType::kInt8 : ByteType::kUint8;
      value.shape = shape;
      const ValueId id = graph_.add_value(std::move(value));
      graph_.inputs.push_back(id);
      tensor = QuantizedTensor{id};
    } else if (type.elem_type() == onnx::Tensor::FLOAT) {
      float_inputs_.push_back({info.name(), shape, kNoValue, position});
      graph_.inputs.push_back(kNoValue);
      RealTensor real;
      real.shape = shape;
      real.graph_input = static_cast<int>(float_inputs_.size()) - 1;
      tensor = real;
    } else {
      problem(Status::kUnsupported, "inputs are float, uint8 or int8",
              onnx_type_name(type.elem_type()), "");
      continue;
    }
    graph_.input_names.push_back(info.name());
    if (!tensors_.emplace(info.name(), std::move(tensor)).second) {
      diagnostics_.malformed(fmt::format("two inputs are named '{}'", info.name()));
    }
  }
}

void Importer::import_node(const onnx::Node& node) {
  node_ = &node;
  node_failed_ = false;
  source_ = static_cast<uint32_t>(graph_.sources.size());
  Source source;
  source.type = node.op_type();
  source.name = display_name(node);
  graph_.sources.push_back(std::move(source));

  // A node behind one that failed cannot be judged; the first is reported.
  for (const std::string& name : node.input()) {
    const auto failed = failed_.find(name);
    if (failed == failed_.end()) continue;
    if (!failed->second) unsupported("an input is a further output, which is not computed", name);
    node_failed_ = true;
  }
  if (!node_failed_ && node.output_size() == 0) malformed_node("a node has an output");
  // That can be said wherever it stands.
  const OperatorEntry* entry = find_operator(node.domain(), node.op_type());
  if (entry == nullptr) {
    unsupported("this operator is not supported",
                node.domain().empty() ? node.op_type() : node.domain() + "." + node.op_type(),
                has_run_time_scales(node.op_type())
                    ? "Its scales are known at run time only: quantize the float model statically, "
                      "e.g. with npu-compile --calibrate"
                    : "npu-compile --list-ops shows the supported ones");
  } else if (!node_failed_ && !fold_node(node)) {
    Attributes attributes(node);
    (this->*entry->handler)(node, attributes);
    if (!node_failed_) {
      note_absorption(node);
      for (const std::string& name : attributes.unread()) {
        unsupported(fmt::format("attribute '{}' is not supported", name));
      }
    }
  }
  for (const std::string& name : node.output()) {
    if (!name.empty() && tensors_.count(name) == 0) failed_[name] = node_failed_;
  }
}

bool Importer::fold_node(const onnx::Node& node) {
  const std::string& type = node.op_type();
  if (type == "Shape" || type == "Size") {
    const std::optional<Shape> shape = node.input_size() == 1 ? input_shape(node, 0) : std::nullopt;
    std::optional<ConstTensor> known = shape ? fold_shape(node, *shape) : std::nullopt;
    if (!known) return node_failed_;
    define(node, 0, ConstantTensor{std::make_shared<const ConstTensor>(std::move(*known)), {}, {}});
    return true;
  }
  std::vector<const ConstTensor*> operands;
  const ConstantTensor* first = nullptr;
  for (const std::string& name : node.input()) {
    const auto it = tensors_.find(name);
    const auto* constant =
        it == tensors_.end() ? nullptr : std::get_if<ConstantTensor>(&it->second);
    if (!name.empty() && constant == nullptr) return false;
    const bool leads = operands.empty();
    if (leads) first = constant;
    // Of a dequantized constant the stored values move, if they all mean the same.
    if (constant != nullptr && !constant->scales.empty() &&
        !(leads && only_moves(node) &&
          (constant->scales.size() == 1 || type == "Transpose" || type == "Identity")))
      return false;
    operands.push_back(constant != nullptr ? constant->data.get() : nullptr);
  }
  if (first == nullptr) return false;
  std::optional<ConstTensor> result = fold_constants(node, operands);
  if (!result) return false;
  if (!count_constant(result->data_bytes())) return true;
  ConstantTensor out = *first;
  if (!only_moves(node)) out = {};
  if (out.scales.size() > 1 && type == "Transpose") {
    Attributes attributes(node);
    RuleBreak ignored;
    const auto permutation =
        permutation_of(first->data->shape, attributes.integers("perm"), ignored);
    out.axis = static_cast<int>(std::find(permutation->begin(), permutation->end(), first->axis) -
                                permutation->begin());
  }
  out.data = std::make_shared<const ConstTensor>(std::move(*result));
  define(node, 0, std::move(out));
  return true;
}

// Of nodes that become one operator, the others are noted as absorbed by the one whose
// operator it is, or will be.
void Importer::note_absorption(const onnx::Node& node) {
  const auto it = tensors_.find(node.output(0));
  if (it == tensors_.end()) return;
  if (const auto* real = std::get_if<RealTensor>(&it->second); real != nullptr && real->pending) {
    if (real->pending->source != source_) {
      graph_.absorb(source_, real->pending->source);
      return;
    }
    for (const std::string& name : node.input()) {
      const auto operand = tensors_.find(name);
      const auto* made =
          operand == tensors_.end() ? nullptr : std::get_if<RealTensor>(&operand->second);
      if (made != nullptr && made->pending) graph_.absorb(made->pending->source, source_);
    }
  } else if (const auto* quantized = std::get_if<QuantizedTensor>(&it->second);
             quantized != nullptr && !graph_.ops.empty() &&
             graph_.ops.back().output == quantized->value) {
    graph_.absorb(source_, graph_.ops.back().source);
  }
}

void Importer::bind_outputs(const onnx::Graph& graph) {
  if (graph.output_size() == 0) {
    diagnostics_.malformed("the graph has no outputs");
    return;
  }
  if (graph.output_size() > kMaxInputs) {
    diagnostics_.add({.status = Status::kUnsupported,
                      .node = {},
                      .op = {},
                      .rule = fmt::format("at most {} graph outputs", kMaxInputs),
                      .value = std::to_string(graph.output_size()),
                      .suggestion = {}});
    return;
  }
  for (const onnx::ValueInfo& info : graph.output()) {
    const std::string& name = info.name();
    const auto problem = [&](std::string rule, std::string fix) {
      diagnostics_.add({.status = Status::kUnsupported,
                        .node = name,
                        .op = "graph output",
                        .rule = std::move(rule),
                        .value = {},
                        .suggestion = std::move(fix)});
    };
    if (const auto failed = failed_.find(name); failed != failed_.end()) {
      if (!failed->second)
        problem("it is a node's further output, which is not computed", "Remove it from the model");
      continue;
    }
    const auto it = tensors_.find(name);
    if (it == tensors_.end()) {
      diagnostics_.malformed(fmt::format("nothing produces the graph output '{}'", name));
      continue;
    }
    ValueId id = kNoValue;
    if (const auto* quantized = std::get_if<QuantizedTensor>(&it->second)) {
      id = quantized->value;
    } else if (const auto* real = std::get_if<RealTensor>(&it->second)) {
      if (real->value != kNoValue) {
        id = real->value;
        if (!(value(id).quantization == real->q)) {
          problem("the output is dequantized with another scale than its tensor was quantized with",
                  "");
          continue;
        }
      } else {
        problem("float results are not computed on the card",
                "Put QuantizeLinear and DequantizeLinear before the output, or run the operators "
                "behind the last quantized tensor on the host");
        continue;
      }
    } else {
      problem("the output is a constant", "Remove it from the model");
      continue;
    }
    graph_.outputs.push_back(id);
    graph_.output_names.push_back(name);
  }
  for (const FloatInput& input : float_inputs_) {
    if (input.value == kNoValue && diagnostics_.ok()) {
      diagnostics_.add({.status = Status::kUnsupported,
                        .node = input.name,
                        .op = "graph input",
                        .rule = "a float input reaches a QuantizeLinear",
                        .value = "none",
                        .suggestion = "Quantize the model, inputs included"});
    }
  }
}

void Importer::drop_dead_ops() {
  std::vector<bool> live(graph_.values.size(), false);
  for (const ValueId id : graph_.outputs) live[id] = true;
  for (size_t i = graph_.ops.size(); i-- > 0;) {
    const Op& op = graph_.ops[i];
    if (!live[op.output]) continue;
    for (const ValueId id : op.operands()) live[id] = true;
  }
  std::erase_if(graph_.ops, [&](const Op& op) { return !live[op.output]; });
  for (const Op& op : graph_.ops) {
    Source& source = graph_.sources[op.source];
    source.macs += macs_of(graph_, op);
    source.absorbed_by.reset();  // has an operator of its own, whoever has one for it too
  }
  // Nodes are absorbed by later ones: from the last one on, chains are short.
  for (uint32_t i = static_cast<uint32_t>(graph_.sources.size()); i-- > 0;) {
    Source& source = graph_.sources[i];
    if (source.absorbed_by) source.absorbed_by = graph_.owner(i);
  }
}

void Importer::unsupported(std::string rule, std::string value, std::string suggestion) {
  node_failed_ = true;
  diagnostics_.add({.status = Status::kUnsupported,
                    .node = graph_.sources[source_].name,
                    .op = node_->op_type(),
                    .rule = std::move(rule),
                    .value = std::move(value),
                    .suggestion = std::move(suggestion)});
}

void Importer::malformed_node(std::string rule, std::string value) {
  node_failed_ = true;
  diagnostics_.add({.status = Status::kMalformed,
                    .node = graph_.sources[source_].name,
                    .op = node_->op_type(),
                    .rule = std::move(rule),
                    .value = std::move(value),
                    .suggestion = {}});
}

void Importer::broken_rule(const RuleBreak& broken) {
  if (broken.malformed) {
    malformed_node(broken.rule, broken.value);
  } else {
    unsupported(broken.rule, broken.value, broken.suggestion);
  }
}

}  // namespace npu::compiler
