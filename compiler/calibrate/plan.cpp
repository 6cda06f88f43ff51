// SPDX-License-Identifier: MIT
#include "compiler/calibrate/plan.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "compiler/onnx/attributes.h"

namespace npu::compiler {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

bool is_one_of(const std::string& type, std::initializer_list<const char*> types) {
  return std::any_of(types.begin(), types.end(), [&](const char* t) { return type == t; });
}

bool is_clamp(const onnx::Node& node) {
  return is_one_of(node.op_type(), {"Relu", "Clip"});
}

bool is_unary(const onnx::Node& node) {
  return is_one_of(node.op_type(),
                   {"Abs",        "Ceil",      "Celu",  "Clip",  "Elu",     "Erf",
                    "Exp",        "FastGelu",  "Floor", "Gelu",  "Log",     "HardSigmoid",
                    "HardSwish",  "LeakyRelu", "Mish",  "Neg",   "Pow",     "QuickGelu",
                    "Reciprocal", "Relu",      "Round", "Selu",  "Sigmoid", "Sign",
                    "Softplus",   "Softsign",  "Sqrt",  "Swish", "Tanh",    "ThresholdedRelu"});
}

bool is_binary(const onnx::Node& node) {
  return is_one_of(node.op_type(), {"Add", "Div", "Mul", "Sub"});
}

bool is_product(const onnx::Node& node) {
  return is_one_of(node.op_type(), {"Conv", "ConvTranspose", "Gemm", "MatMul"});
}

// Whose result is a selection of its operand's values.
bool is_copy(const onnx::Node& node) {
  if (node.op_type() == "Resize") {
    Attributes attributes(node);
    return attributes.text("mode", "nearest") == "nearest";
  }
  // A frame of another value than 0 may lie beyond the range.
  if (node.op_type() == "Pad") return node.input_size() < 3 || node.input(2).empty();
  return is_one_of(node.op_type(), {"DepthToSpace", "Expand", "Flatten", "Gather", "GlobalMaxPool",
                                    "Identity", "MaxPool", "Reshape", "Slice", "SpaceToDepth",
                                    "Squeeze", "Transpose", "Unsqueeze"});
}

class Planner {
 public:
  explicit Planner(const FloatModel& model) : model_(model), root_(model.nodes.size()) {
    for (size_t i = 0; i < model.nodes.size(); ++i) {
      for (const std::string& name : model.nodes[i].input()) users_[name].push_back(i);
      if (model.nodes[i].output_size() > 0) producer_[model.nodes[i].output(0)] = i;
    }
  }

  QuantizationPlan run() {
    plan_.is_function.assign(model_.nodes.size(), false);
    find_clamped();
    find_functions();
    for (const FloatModel::Input& input : model_.inputs) add(input.name, kGraphInput);
    for (size_t i = 0; i < model_.nodes.size(); ++i) {
      if (model_.nodes[i].output_size() > 0 && !internal(i)) add(model_.nodes[i].output(0), i);
    }
    share_with_concats();
    return std::move(plan_);
  }

 private:
  const std::string& out(size_t node) const { return model_.nodes[node].output(0); }
  bool internal(size_t node) const { return joined_.count(node) > 0 || inner_.count(node) > 0; }

  // The only reader of a node's result, if it has just one and is no graph output.
  std::optional<size_t> sole_user(const std::string& name) const {
    const auto it = users_.find(name);
    if (it == users_.end() || it->second.size() != 1 || model_.is_output(name)) return std::nullopt;
    return it->second[0];
  }

  bool is_scalar(const std::string& name) const {
    const auto it = model_.constants.find(name);
    return it != model_.constants.end() && it->second.data.size() == 1;
  }

  // A constant that gives each column of a product with constant weights a bias.
  bool is_bias(const onnx::Node& product, const std::string& name) const {
    const auto weights = model_.constants.find(product.input(1));
    const auto bias = model_.constants.find(name);
    return product.op_type() == "MatMul" && weights != model_.constants.end() &&
           weights->second.shape.size() == 2 && !weights->second.data.empty() &&
           bias != model_.constants.end() && !bias->second.shape.empty() &&
           bias->second.shape.back() == weights->second.shape[1] &&
           static_cast<int64_t>(bias->second.data.size()) == weights->second.shape[1];
  }

  // Results that only a clamp or a bias reads: one operator with what comes behind.
  void find_clamped() {
    for (size_t i = 0; i < model_.nodes.size(); ++i) {
      const onnx::Node& node = model_.nodes[i];
      if (node.output_size() == 0) continue;
      const std::optional<size_t> user = sole_user(out(i));
      if (!user) continue;
      const onnx::Node& next = model_.nodes[*user];
      if (node.op_type() == "MatMul" && next.op_type() == "Add" && node.input_size() == 2) {
        for (int side = 0; side < 2 && next.input_size() == 2; ++side) {
          if (next.input(1 - side) != out(i) || !is_bias(node, next.input(side))) continue;
          joined_.insert(i);
          plan_.bias_behind_product[*user] = side;
        }
      }
      const bool arithmetic = is_binary(node) && !reads_scalar(node);
      const bool pool = is_one_of(node.op_type(), {"AveragePool", "GlobalAveragePool"});
      const bool clamped = is_clamp(node) && joined_into_.count(i) > 0;
      if (is_clamp(next) && next.input(0) == out(i) &&
          (is_product(node) || arithmetic || pool || clamped)) {
        joined_.insert(i);
        joined_into_.insert(*user);
      }
    }
  }

  bool reads_scalar(const onnx::Node& node) const {
    return std::any_of(node.input().begin(), node.input().end(),
                       [&](const std::string& name) { return is_scalar(name); });
  }

  // Functions of one value, e.g. x * Sigmoid(x), become a table each: what lies inside stays
  // float. Starting from all that could, what has a reader outside is taken out until none is.
  void find_functions() {
    for (size_t i = 0; i < model_.nodes.size(); ++i) {
      const onnx::Node& node = model_.nodes[i];
      if (node.output_size() > 0 && (is_unary(node) || is_binary(node)) &&
          !model_.is_output(out(i)) && users_.count(out(i)) > 0 && joined_.count(i) == 0) {
        inner_.insert(i);
      }
    }
    bool changed = true;
    while (changed) {
      changed = false;
      for (size_t i = 0; i < model_.nodes.size(); ++i) {
        root_[i] = root_of_node(i);
        plan_.is_function[i] = !root_[i].empty();
        if (inner_.count(i) > 0 && root_[i].empty()) changed = inner_.erase(i) > 0;
      }
      for (size_t i = model_.nodes.size(); i-- > 0;) {
        if (inner_.count(i) == 0) continue;
        for (const size_t user : users_[out(i)]) {
          if (root_[user] == root_[i]) continue;
          changed = inner_.erase(i) > 0;
          break;
        }
      }
    }
  }

  // The quantized tensor that a tensor is a function of.
  const std::string& root_of(const std::string& name) const {
    const auto it = producer_.find(name);
    return it != producer_.end() && inner_.count(it->second) > 0 ? root_[it->second] : name;
  }

  // Likewise of a node's result; empty if it is none.
  std::string root_of_node(size_t i) const {
    const onnx::Node& node = model_.nodes[i];
    if (joined_into_.count(i) > 0 || plan_.bias_behind_product.count(i) > 0) return {};
    if (!is_unary(node) && !is_binary(node)) return {};
    const int operands = is_binary(node) ? 2 : 1;
    std::string root;
    for (int k = 0; k < operands && k < node.input_size(); ++k) {
      const std::string& name = node.input(k);
      if (is_scalar(name)) continue;
      if (model_.is_constant(name)) return {};
      const std::string& mine = root_of(name);
      if (!root.empty() && root != mine) return {};
      root = mine;
    }
    // A sum or product of one tensor with itself is an operator of two operands.
    if (is_binary(node) && node.input_size() == 2 && node.input(0) == node.input(1) &&
        node.input(0) == root)
      return {};
    return root;
  }

  void add(const std::string& name, size_t node) {
    PlannedTensor tensor;
    tensor.name = name;
    tensor.node = node;
    if (node != kGraphInput) {
      const onnx::Node& made_by = model_.nodes[node];
      if (is_copy(made_by) && made_by.input_size() > 0) {
        const auto it = plan_.index.find(made_by.input(0));
        tensor.is_copy = it != plan_.index.end();
        if (tensor.is_copy) tensor.like = it->second;
      }
      tensor.unit_range = is_one_of(made_by.op_type(), {"Sigmoid", "Softmax"}) &&
                          root_of(made_by.input(0)) == made_by.input(0);
      if (made_by.op_type() == "Relu") tensor.low = 0;
      if (made_by.op_type() == "Clip") {
        tensor.low = bound(made_by, 1, -kInfinity);
        tensor.high = bound(made_by, 2, kInfinity);
      }
    }
    plan_.index[name] = plan_.tensors.size();
    plan_.tensors.push_back(std::move(tensor));
  }

  float bound(const onnx::Node& node, int input, float fallback) const {
    if (input >= node.input_size()) return fallback;
    const auto it = model_.constants.find(node.input(input));
    return it != model_.constants.end() && it->second.data.size() == 1 ? it->second.data[0]
                                                                       : fallback;
  }

  bool is_concat(size_t node) const { return model_.nodes[node].op_type() == "Concat"; }

  bool reads(size_t node, const std::string& name) const {
    const auto& inputs = model_.nodes[node].input();
    return std::find(inputs.begin(), inputs.end(), name) != inputs.end();
  }

  // A later concatenation that holds all that this one does: it joins the result, or the parts.
  std::optional<size_t> holder(size_t concat) const {
    constexpr size_t kMostTried = 64;
    const auto& parts = model_.nodes[concat].input();
    for (const std::string& name : {out(concat), parts[0]}) {
      const auto users = users_.find(name);
      if (users == users_.end()) continue;
      // The last ones hold most.
      const size_t count = users->second.size();
      for (size_t i = count; i-- > count - std::min(count, kMostTried);) {
        const size_t user = users->second[i];
        if (user > concat && is_concat(user) && plan_.index.contains(out(user)) &&
            (reads(user, out(concat)) ||
             std::all_of(parts.begin(), parts.end(),
                         [&](const std::string& part) { return reads(user, part); })))
          return user;
      }
    }
    return std::nullopt;
  }

  // The concatenation, as a tensor, whose quantization all that read `name` have, if those are
  // concatenations.
  std::optional<size_t> joined_as(const std::string& name) const {
    const auto users = users_.find(name);
    if (users == users_.end() || users->second.empty() || model_.is_output(name))
      return std::nullopt;
    std::optional<size_t> as;
    for (const size_t user : users->second) {
      if (!is_concat(user)) return std::nullopt;
      const auto target = plan_.index.find(out(user));
      if (target == plan_.index.end()) return std::nullopt;
      const size_t root = plan_.tensors[target->second].like.value_or(target->second);
      if (as && *as != root) return std::nullopt;
      as = root;
    }
    return as;
  }

  // What only concatenations read has their quantization, so that it is put in its place as it is;
  // a concatenation has that of one that holds all that it does, so that it lies in that one.
  void share_with_concats() {
    for (size_t c = model_.nodes.size(); c-- > 0;) {
      if (!is_concat(c)) continue;
      const auto target = plan_.index.find(out(c));
      if (target == plan_.index.end()) continue;
      PlannedTensor& whole = plan_.tensors[target->second];
      if (const std::optional<size_t> larger = holder(c); larger && !model_.is_output(out(c))) {
        const size_t like = plan_.index.at(out(*larger));
        whole.like = plan_.tensors[like].like.value_or(like);
      }
      for (const std::string& name : model_.nodes[c].input()) {
        auto it = plan_.index.find(name);
        const std::optional<size_t> like = joined_as(name);
        if (it == plan_.index.end() || !like) continue;
        // Through copies to where the values are made, as long as nobody else reads them.
        while (it != plan_.index.end() && plan_.tensors[it->second].is_copy) {
          it = plan_.index.find(model_.nodes[plan_.tensors[it->second].node].input(0));
          if (it != plan_.index.end() && !sole_user(it->first)) it = plan_.index.end();
        }
        if (it == plan_.index.end()) continue;
        PlannedTensor& tensor = plan_.tensors[it->second];
        if (!tensor.is_copy && !tensor.unit_range && !tensor.like) tensor.like = like;
      }
    }
  }

  const FloatModel& model_;
  QuantizationPlan plan_;
  std::unordered_map<std::string, std::vector<size_t>> users_;
  std::unordered_map<std::string, size_t> producer_;
  std::unordered_set<size_t> joined_;       // nodes whose result a clamp or bias takes over
  std::unordered_set<size_t> joined_into_;  // those clamps
  std::unordered_set<size_t> inner_;        // nodes inside a function of one value
  std::vector<std::string> root_;
};

// Whether stored values stand for nothing beyond the clamp.
bool implies(const OutputQuantization& q, const PlannedTensor& tensor) {
  const auto real = [&](int stored) { return static_cast<float>(stored - q.q.zero) * q.q.scale; };
  return real(byte_low(q.type)) >= tensor.low && real(byte_high(q.type)) <= tensor.high;
}

}  // namespace

QuantizationPlan plan_quantization(const FloatModel& model) {
  return Planner(model).run();
}

OutputQuantization quantization_for(const ValueRange& range, ActivationType type, float high) {
  // Products of three scales must stay normal numbers.
  constexpr double kSmallest = 1e-12;
  OutputQuantization out;
  out.type = type == ActivationType::kUint8 ? ByteType::kUint8 : ByteType::kInt8;
  const double low = std::min(range.low, 0.0f), top = std::max(range.high, 0.0f);
  if (type == ActivationType::kInt8Symmetric) {
    out.q.scale = static_cast<float>(std::max(std::max(-low, top) / 127, kSmallest));
    return out;
  }
  if (low == top) {
    out.q.scale = 1.0f;
    out.q.zero = byte_low(out.type);
    return out;
  }
  out.q.scale = static_cast<float>(std::max((top - low) / 255, kSmallest));
  out.q.zero = std::clamp(
      byte_low(out.type) + static_cast<int>(std::lround(-low / static_cast<double>(out.q.scale))),
      byte_low(out.type), byte_high(out.type));
  const auto steps = static_cast<float>(byte_high(out.type) - out.q.zero);
  while (out.q.scale * steps > high && high > 0) out.q.scale = std::nextafter(out.q.scale, 0.0f);
  return out;
}

std::vector<OutputQuantization> choose_quantizations(const QuantizationPlan& plan,
                                                     const std::vector<ValueRange>& ranges,
                                                     ActivationType type) {
  std::vector<OutputQuantization> out(plan.tensors.size());
  // A concatenation comes behind what takes its quantization: backwards. Copies come behind
  // what they copy: forwards.
  for (size_t i = plan.tensors.size(); i-- > 0;) {
    const PlannedTensor& tensor = plan.tensors[i];
    if (tensor.is_copy) continue;
    if (tensor.unit_range) {
      const bool u8 = type == ActivationType::kUint8;
      out[i].type = u8 ? ByteType::kUint8 : ByteType::kInt8;
      out[i].q = {1.0f / 256, byte_low(out[i].type)};
      continue;
    }
    if (tensor.like && implies(out[*tensor.like], tensor)) {
      out[i] = out[*tensor.like];
      continue;
    }
    out[i] = quantization_for(ranges[i], type, tensor.high);
  }
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    if (plan.tensors[i].is_copy) out[i] = out[*plan.tensors[i].like];
  }
  return out;
}

}  // namespace npu::compiler
