// SPDX-License-Identifier: MIT
//
// Operator sets before 17 have no LayerNormalization: exporters write its parts, which would each
// be quantized. They become one node again:
//
//   x -> ReduceMean -> Sub(x, mean) -> square -> ReduceMean -> Add epsilon -> Sqrt -> Div
//     -> Mul gamma -> Add beta
#include <algorithm>

#include "compiler/calibrate/float_model.h"
#include "compiler/onnx/attributes.h"
#include "compiler/onnx/model.h"

namespace npu::compiler {
namespace {

class Joiner {
 public:
  Joiner(FloatModel& model, const ShapesByName& shapes)
      : model_(model),
        shapes_(shapes),
        uses_(model.use_counts()),
        removed_(model.nodes.size(), false) {
    for (size_t i = 0; i < model.nodes.size(); ++i) {
      const onnx::Node& node = model.nodes[i];
      if (node.output_size() == 1) producer_[node.output(0)] = i;
      for (const std::string& name : node.input()) readers_[name].push_back(i);
    }
  }

  bool run() {
    bool any = false;
    for (size_t i = 0; i < model_.nodes.size(); ++i) any = join(i) || any;
    size_t kept = 0;
    for (size_t i = 0; i < model_.nodes.size(); ++i) {
      if (removed_[i]) continue;
      if (kept != i) model_.nodes[kept] = std::move(model_.nodes[i]);
      ++kept;
    }
    model_.nodes.resize(kept);
    return any;
  }

 private:
  // The node of this type that makes a tensor, noted as a part of the match.
  const onnx::Node* made_by(const std::string& name, const char* type, int operands) {
    const auto it = producer_.find(name);
    if (it == producer_.end()) return nullptr;
    const onnx::Node& node = model_.nodes[it->second];
    if (node.op_type() != type || node.input_size() < operands) return nullptr;
    if (std::find(parts_.begin(), parts_.end(), it->second) == parts_.end())
      parts_.push_back(it->second);
    return &node;
  }

  const FloatTensor* constant(const std::string& name) const {
    const auto it = model_.constants.find(name);
    return it == model_.constants.end() ? nullptr : &it->second;
  }

  // The tensor whose rows, along the last axis, a node averages; empty if it does not.
  std::string averaged(const std::string& mean) {
    const onnx::Node* node = made_by(mean, "ReduceMean", 1);
    if (node == nullptr) return {};
    const auto shape = shapes_.find(node->input(0));
    if (shape == shapes_.end() || shape->second.empty()) return {};
    Attributes attributes(*node);
    std::optional<std::vector<int64_t>> axes = attributes.integers("axes");
    if (node->input_size() > 1) {
      const auto given = model_.other_constants.find(node->input(1));
      if (given != model_.other_constants.end()) axes = given->second.ints;
    }
    const auto last = static_cast<int64_t>(shape->second.size()) - 1;
    if (!axes || axes->size() != 1 || ((*axes)[0] != -1 && (*axes)[0] != last) ||
        attributes.integer("keepdims", 1) == 0)
      return {};
    return node->input(0);
  }

  // x of x - mean(x).
  std::string centred(const std::string& name) {
    const onnx::Node* sub = made_by(name, "Sub", 2);
    if (sub == nullptr || averaged(sub->input(1)) != sub->input(0)) return {};
    return sub->input(0);
  }

  std::string squared(const std::string& name) {
    if (const onnx::Node* pow = made_by(name, "Pow", 2)) {
      const FloatTensor* real = constant(pow->input(1));
      const auto whole = model_.other_constants.find(pow->input(1));
      const bool two = real != nullptr ? real->data == std::vector<float>{2}
                                       : whole != model_.other_constants.end() &&
                                             whole->second.ints == std::vector<int64_t>{2};
      return two ? pow->input(0) : std::string();
    }
    const onnx::Node* mul = made_by(name, "Mul", 2);
    return mul != nullptr && mul->input(0) == mul->input(1) ? mul->input(0) : std::string();
  }

  // The constant beside `name` that has one value for each element of a row, and the node's result,
  // if a node of this type is all that reads it.
  const FloatTensor* applied(const char* type, int64_t length, std::string& name) {
    if (uses_[name] != 1 || readers_[name].size() != 1) return nullptr;
    const size_t reader = readers_[name][0];
    const onnx::Node& node = model_.nodes[reader];
    if (node.op_type() != type || node.input_size() != 2 || node.output_size() != 1) return nullptr;
    const FloatTensor* values = constant(node.input(node.input(0) == name ? 1 : 0));
    if (values == nullptr || values->shape.empty() || values->shape.back() != length ||
        static_cast<int64_t>(values->data.size()) != length)
      return nullptr;
    parts_.push_back(reader);
    name = node.output(0);
    return values;
  }

  // Whether nobody but the match reads what it makes, apart from its result.
  bool closed(const std::string& result) const {
    return std::ranges::all_of(parts_, [&](size_t part) {
      const std::string& name = model_.nodes[part].output(0);
      if (name == result) return true;
      const auto readers = readers_.find(name);
      const auto uses = uses_.find(name);
      return readers != readers_.end() && uses->second == readers->second.size() &&
             std::ranges::all_of(readers->second, [&](size_t reader) {
               return std::find(parts_.begin(), parts_.end(), reader) != parts_.end();
             });
    });
  }

  bool join(size_t at) {
    const onnx::Node& div = model_.nodes[at];
    if (div.op_type() != "Div" || div.input_size() != 2 || div.output_size() != 1) return false;
    parts_ = {at};
    const std::string x = centred(div.input(0));
    const onnx::Node* root = x.empty() ? nullptr : made_by(div.input(1), "Sqrt", 1);
    const onnx::Node* sum = root == nullptr ? nullptr : made_by(root->input(0), "Add", 2);
    if (sum == nullptr) return false;
    const int side = constant(sum->input(0)) != nullptr ? 0 : 1;
    const FloatTensor* epsilon = constant(sum->input(side));
    if (epsilon == nullptr || epsilon->data.size() != 1) return false;
    const std::string square = averaged(sum->input(1 - side));
    const std::string base = square.empty() ? std::string() : squared(square);
    if (base.empty() || centred(base) != x) return false;

    const int64_t length = shapes_.at(x).back();
    std::string result = div.output(0);
    const FloatTensor* gamma = applied("Mul", length, result);
    const FloatTensor* beta = applied("Add", length, result);
    if (!closed(result)) return false;

    onnx::Node norm;
    norm.set_name(div.name());
    norm.set_op_type("LayerNormalization");
    norm.add_input(x);
    const std::vector<float> ones(static_cast<size_t>(length), 1.0f);
    norm.add_input(row_constant(norm, "_scale", gamma != nullptr ? gamma->data : ones));
    if (beta != nullptr) norm.add_input(row_constant(norm, "_bias", beta->data));
    norm.add_output(result);
    set_real(norm, "epsilon", epsilon->data[0]);
    // Where the last of them stood, all that it reads is there.
    for (const size_t part : parts_) removed_[part] = true;
    const size_t place = *std::max_element(parts_.begin(), parts_.end());
    removed_[place] = false;
    model_.nodes[place] = std::move(norm);
    return true;
  }

  std::string row_constant(const onnx::Node& node, const char* suffix,
                           const std::vector<float>& values) {
    std::string name = model_.names.fresh(display_name(node) + suffix);
    model_.constants[name] = {{static_cast<int64_t>(values.size())}, values};
    return name;
  }

  FloatModel& model_;
  const ShapesByName& shapes_;
  std::unordered_map<std::string, size_t> uses_;
  std::unordered_map<std::string, size_t> producer_;
  std::unordered_map<std::string, std::vector<size_t>> readers_;
  std::vector<bool> removed_;
  std::vector<size_t> parts_;  // nodes of the match at hand
};

}  // namespace

bool join_layer_norms(FloatModel& model, const ShapesByName& shapes) {
  return Joiner(model, shapes).run();
}

}  // namespace npu::compiler
