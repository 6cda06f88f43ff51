// SPDX-License-Identifier: MIT
//
// Float nodes into float nodes that have a quantized form.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "compiler/calibrate/float_model.h"
#include "compiler/onnx/attributes.h"
#include "compiler/onnx/model.h"
#include "compiler/onnx/shape_rules.h"

namespace npu::compiler {
namespace {

constexpr int64_t kOldestOpset = 13;
// The first in which LayerNormalization is an operator. What is in the form of 13 needs no change.
constexpr int64_t kLayerNormOpset = 17;

class Simplifier {
 public:
  Simplifier(FloatModel& model, const ShapesByName& shapes, Diagnostics& diagnostics)
      : model_(model), shapes_(shapes), diagnostics_(diagnostics), uses_(model.use_counts()) {}

  void run(const std::function<void()>& poll) {
    std::vector<onnx::Node> nodes = std::move(model_.nodes);
    model_.nodes.clear();
    for (onnx::Node& node : nodes) {
      poll();
      if (model_.opset < kOldestOpset) upgrade(node);
      const std::string& type = node.op_type();
      if (type == "Gemm") normalize_gemm(node);
      if (type == "Sub" || type == "Div") invert_constant(node);
      if (type == "BatchNormalization" && node.input_size() > 0 && node.output_size() > 0) {
        fold_batch_norm(node);
        continue;
      }
      if (type == "Max" || type == "Min") clip_instead(node);
      if (type == "PRelu") leaky_instead(node);
      if (type == "Pad") drop_zero_fill(node);
      if (type == "Add" && bias_instead(node)) continue;
      if (type == "ReduceMean" && pool_instead(node)) continue;
      if (type == "Split" && slice_instead(node)) continue;
      add(std::move(node));
    }
    model_.opset = std::max(model_.opset, kOldestOpset);
  }

 private:
  void add(onnx::Node node) {
    if (node.output_size() > 0) producer_[node.output(0)] = model_.nodes.size();
    model_.nodes.push_back(std::move(node));
  }

  void problem(const onnx::Node& node, std::string rule, std::string value,
               std::string suggestion = {}) {
    diagnostics_.add({.status = Status::kUnsupported,
                      .node = display_name(node),
                      .op = node.op_type(),
                      .rule = std::move(rule),
                      .value = std::move(value),
                      .suggestion = std::move(suggestion)});
  }

  const Shape* shape(const std::string& name) const {
    const auto it = shapes_.find(name);
    return it == shapes_.end() ? nullptr : &it->second;
  }

  const FloatTensor* constant(const onnx::Node& node, int index) const {
    if (index >= node.input_size()) return nullptr;
    const auto it = model_.constants.find(node.input(index));
    return it == model_.constants.end() ? nullptr : &it->second;
  }

  std::string add_constant(const std::string& stem, FloatTensor tensor) {
    std::string name = model_.names.fresh(stem);
    model_.constants[name] = std::move(tensor);
    return name;
  }

  std::string add_integers(const std::string& stem, const std::vector<int64_t>& values) {
    ConstTensor tensor;
    tensor.type = ConstType::kInt64;
    tensor.onnx_type = onnx::Tensor::INT64;
    tensor.shape = {static_cast<int64_t>(values.size())};
    tensor.ints = values;
    std::string name = model_.names.fresh(stem);
    model_.other_constants[name] = std::move(tensor);
    return name;
  }

  // From the forms of opset 9 to 12 to those of 13.
  void upgrade(onnx::Node& node) {
    Attributes attributes(node);
    const std::string& type = node.op_type();
    if (type == "Squeeze" || type == "Unsqueeze") {
      if (const auto axes = attributes.integers("axes"); axes && node.input_size() == 1) {
        remove_attribute(node, "axes");
        node.add_input(add_integers(display_name(node) + "_axes", *axes));
      }
    } else if (type == "Slice" && node.input_size() == 1) {
      const auto starts = attributes.integers("starts"), ends = attributes.integers("ends");
      const auto axes = attributes.integers("axes");
      if (!starts || !ends) return;
      node.clear_attribute();
      node.add_input(add_integers(display_name(node) + "_starts", *starts));
      node.add_input(add_integers(display_name(node) + "_ends", *ends));
      if (axes) node.add_input(add_integers(display_name(node) + "_axes", *axes));
    } else if (type == "Pad" && node.input_size() == 1) {
      const auto pads = attributes.integers("pads");
      const float value = attributes.real("value", 0);
      if (!pads) return;
      remove_attribute(node, "pads");
      remove_attribute(node, "value");
      node.add_input(add_integers(display_name(node) + "_pads", *pads));
      if (value != 0) node.add_input(add_constant(display_name(node) + "_value", {{}, {value}}));
    } else if (type == "Upsample" || (type == "Resize" && model_.opset < 11)) {
      // Its positions are what a later Resize has to be told.
      if (node.input_size() != 2) return;
      node.set_op_type("Resize");
      node.add_input(node.input(1));
      node.set_input(1, "");
      set_text(node, "coordinate_transformation_mode", "asymmetric");
      // Up where an axis shrinks, else down: a Resize of today has one for all axes.
      const FloatTensor* scales = constant(node, 2);
      bool shrinks = false, grows = false;
      for (const float scale : scales != nullptr ? scales->data : std::vector<float>{}) {
        shrinks = shrinks || scale < 1;
        grows = grows || scale > 1;
      }
      set_text(node, "nearest_mode", shrinks ? "ceil" : "floor");
      if (shrinks && grows && attributes.text("mode", "nearest") == "nearest") {
        problem(node,
                "before opset 11 a nearest resize makes no axis larger and another one smaller",
                "both", "Make it two");
      }
    } else if (type == "Clip" && node.input_size() == 1) {
      const float inf = INFINITY;
      const float low = attributes.real("min", -inf), high = attributes.real("max", inf);
      node.clear_attribute();
      node.add_input(low > -inf ? add_constant(display_name(node) + "_min", {{}, {low}}) : "");
      if (high < inf) node.add_input(add_constant(display_name(node) + "_max", {{}, {high}}));
    } else if (type == "Softmax") {
      // An axis stood for itself and all that follow.
      const Shape* in = node.input_size() > 0 ? shape(node.input(0)) : nullptr;
      if (in == nullptr) return;
      const auto rank = static_cast<int64_t>(in->size());
      int64_t axis = attributes.integer("axis", 1);
      if (axis < 0) axis += rank;
      if (axis < 0 || axis >= rank ||
          std::any_of(in->begin() + axis + 1, in->end(), [](int64_t d) { return d != 1; })) {
        problem(node, "before opset 13 Softmax is over the last axis",
                fmt::format("axis {} of {}", axis, to_text(*in)),
                "Convert the model with onnx.version_converter");
        return;
      }
      set_integer(node, "axis", axis);
    }
  }

  // The larger or smaller of a tensor and a number.
  void clip_instead(onnx::Node& node) {
    if (node.input_size() != 2) return;
    const int side = constant(node, 0) != nullptr ? 0 : 1;
    const FloatTensor* bound = constant(node, side);
    if (bound == nullptr || bound->data.size() != 1) return;
    const bool low = node.op_type() == "Max";
    const std::string name =
        add_constant(display_name(node) + (low ? "_min" : "_max"), {{}, bound->data});
    const std::string x = node.input(1 - side);
    node.set_op_type("Clip");
    node.clear_input();
    node.add_input(x);
    if (!low) node.add_input("");
    node.add_input(name);
  }

  // One slope for all channels.
  void leaky_instead(onnx::Node& node) {
    const FloatTensor* slope = constant(node, 1);
    if (slope == nullptr || slope->data.size() != 1) return;
    node.set_op_type("LeakyRelu");
    set_real(node, "alpha", slope->data[0]);
    node.mutable_input()->DeleteSubrange(1, node.input_size() - 1);
  }

  // 0 is what a Pad takes by itself.
  void drop_zero_fill(onnx::Node& node) {
    const FloatTensor* fill = constant(node, 2);
    if (fill != nullptr && fill->data.size() == 1 && fill->data[0] == 0) node.set_input(2, "");
  }

  // alpha and beta into the constants, C as one value per column.
  void normalize_gemm(onnx::Node& node) {
    Attributes attributes(node);
    const float alpha = attributes.real("alpha", 1), beta = attributes.real("beta", 1);
    const FloatTensor* b = constant(node, 1);
    const FloatTensor* c = constant(node, 2);
    const bool has_c = node.input_size() > 2 && !node.input(2).empty();
    if (b == nullptr || b->shape.size() != 2 || (has_c && c == nullptr)) return;
    const int64_t columns = b->shape[attributes.integer("transB", 0) != 0 ? 0 : 1];
    if (alpha != 1) {
      FloatTensor scaled = *b;
      for (float& v : scaled.data) v *= alpha;
      node.set_input(1, add_constant(node.input(1) + "_scaled", std::move(scaled)));
    }
    const bool by_column = has_c && !c->shape.empty() && c->shape.back() == columns &&
                           static_cast<int64_t>(c->data.size()) == columns;
    if (has_c && (c->data.size() == 1 || by_column)) {
      FloatTensor bias{{columns}, c->data};
      bias.data.resize(static_cast<size_t>(columns), c->data[0]);
      for (float& v : bias.data) v *= beta;
      node.set_input(2, add_constant(node.input(2) + "_column", std::move(bias)));
      remove_attribute(node, "beta");
    }
    remove_attribute(node, "alpha");
  }

  // a - constant and a / constant, where the constant is no single number.
  void invert_constant(onnx::Node& node) {
    const FloatTensor* b = constant(node, 1);
    if (b == nullptr || b->data.size() < 2) return;
    const bool subtract = node.op_type() == "Sub";
    FloatTensor inverse = *b;
    for (float& v : inverse.data) v = subtract ? -v : 1 / v;
    node.set_input(1, add_constant(node.input(1) + "_inverse", std::move(inverse)));
    node.set_op_type(subtract ? "Add" : "Mul");
  }

  struct PerChannel {
    std::vector<float> factor, offset;
  };

  std::optional<PerChannel> affine_of(const onnx::Node& node) {
    const FloatTensor* parameters[4];
    for (int i = 0; i < 4; ++i) {
      parameters[i] = constant(node, i + 1);
      if (parameters[i] == nullptr || parameters[i]->data.size() != parameters[0]->data.size()) {
        problem(node, "the parameters of BatchNormalization are constants, one per channel",
                fmt::format("input {}", i + 1));
        return std::nullopt;
      }
    }
    Attributes attributes(node);
    const float epsilon = attributes.real("epsilon", 1e-5f);
    if (attributes.integer("training_mode", 0) != 0) {
      problem(node, "BatchNormalization is in inference mode", "training_mode = 1",
              "Export the model for inference");
      return std::nullopt;
    }
    PerChannel out;
    for (size_t c = 0; c < parameters[0]->data.size(); ++c) {
      const float factor = parameters[0]->data[c] / std::sqrt(parameters[3]->data[c] + epsilon);
      out.factor.push_back(factor);
      out.offset.push_back(parameters[1]->data[c] - parameters[2]->data[c] * factor);
    }
    return out;
  }

  // Into the weights before it, or else a 1x1 convolution of each channel.
  // In place of a node with a problem, so that those behind it can be judged.
  void pass_through(const onnx::Node& node) {
    onnx::Node identity;
    identity.set_name(node.name());
    identity.set_op_type("Identity");
    identity.add_input(node.input(0));
    identity.add_output(node.output(0));
    add(std::move(identity));
  }

  void fold_batch_norm(const onnx::Node& node) {
    const std::optional<PerChannel> affine = affine_of(node);
    if (!affine) {
      pass_through(node);
      return;
    }
    if (fold_into_producer(node.input(0), node.output(0), *affine)) return;
    const Shape* in = shape(node.input(0));
    const auto channels = static_cast<int64_t>(affine->factor.size());
    if (in == nullptr || (in->size() != 3 && in->size() != 4) || (*in)[1] != channels) {
      problem(node,
              "BatchNormalization is behind Conv, ConvTranspose or Gemm, or its input is an image",
              in != nullptr ? to_text(*in) : "an unknown shape");
      pass_through(node);
      return;
    }
    Shape weights(in->size(), 1);
    weights[0] = channels;
    onnx::Node conv;
    conv.set_name(node.name());
    conv.set_op_type("Conv");
    conv.add_input(node.input(0));
    conv.add_input(add_constant(display_name(node) + "_factor", {weights, affine->factor}));
    conv.add_input(add_constant(display_name(node) + "_offset", {{channels}, affine->offset}));
    conv.add_output(node.output(0));
    set_integer(conv, "group", channels);
    add(std::move(conv));
  }

  // Whoever makes `x` for one reader makes `y` of it, what the reader makes.
  bool fold_into_producer(const std::string& x, const std::string& y, const PerChannel& affine) {
    const auto it = producer_.find(x);
    if (it == producer_.end() || uses_[x] != 1 || !fold_into(model_.nodes[it->second], affine))
      return false;
    model_.nodes[it->second].set_output(0, y);
    producer_[y] = it->second;
    return true;
  }

  // An Add of one constant for each channel of an image.
  bool bias_instead(const onnx::Node& node) {
    if (node.input_size() != 2 || node.output_size() == 0) return false;
    const int side = constant(node, 0) != nullptr ? 0 : 1;
    const FloatTensor* bias = constant(node, side);
    const Shape* in = shape(node.input(1 - side));
    if (bias == nullptr || in == nullptr || in->size() < 3) return false;
    Shape by_channel(in->size(), 1);
    by_channel[1] = (*in)[1];
    if (bias->shape != by_channel && bias->shape != Shape(by_channel.begin() + 1, by_channel.end()))
      return false;
    const PerChannel affine{std::vector<float>(bias->data.size(), 1.0f), bias->data};
    return fold_into_producer(node.input(1 - side), node.output(0), affine);
  }

  bool fold_into(onnx::Node& before, const PerChannel& affine) {
    const std::string& type = before.op_type();
    const FloatTensor* weights = constant(before, 1);
    const bool has_bias = before.input_size() > 2 && !before.input(2).empty();
    const FloatTensor* bias = constant(before, 2);
    const bool gemm = type == "Gemm", transposed = type == "ConvTranspose";
    if ((!gemm && !transposed && type != "Conv") || weights == nullptr || weights->shape.empty() ||
        (has_bias && bias == nullptr))
      return false;
    Attributes attributes(before);
    const Shape& shape = weights->shape;
    // The output channels lie along this axis; of [ic, oc/group, ...] those of a group.
    const size_t axis = gemm && attributes.integer("transB", 0) == 0 ? shape.size() - 1
                        : transposed                                 ? 1
                                                                     : 0;
    const int64_t groups = transposed ? attributes.integer("group", 1) : 1;
    const auto channels = static_cast<int64_t>(affine.factor.size());
    if (channels == 0 || axis >= shape.size() || groups < 1 || channels % groups != 0 ||
        shape[axis] != channels / groups || (transposed && shape[0] % groups != 0) ||
        (has_bias && bias->shape != Shape{channels}))
      return false;
    FloatTensor scaled = *weights;
    const std::vector<int64_t> strides = strides_of(shape);
    for (size_t i = 0; i < scaled.data.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      int64_t channel = at / strides[axis] % shape[axis];
      if (transposed) channel += at / strides[0] / (shape[0] / groups) * shape[axis];
      scaled.data[i] *= affine.factor[static_cast<size_t>(channel)];
    }
    FloatTensor moved{{channels}, affine.offset};
    for (size_t c = 0; has_bias && c < affine.factor.size(); ++c)
      moved.data[c] += bias->data[c] * affine.factor[c];
    before.set_input(1, add_constant(before.input(1) + "_folded", std::move(scaled)));
    const std::string name = add_constant(display_name(before) + "_bias", std::move(moved));
    if (before.input_size() > 2) {
      before.set_input(2, name);
    } else {
      before.add_input(name);
    }
    return true;
  }

  // ReduceMean over all spatial axes is a global average pool, which the runtime has on bytes.
  bool pool_instead(const onnx::Node& node) {
    const Shape* in = node.input_size() > 0 ? shape(node.input(0)) : nullptr;
    if (in == nullptr || (in->size() != 3 && in->size() != 4)) return false;
    Attributes attributes(node);
    std::optional<std::vector<int64_t>> axes = attributes.integers("axes");
    if (!axes && node.input_size() > 1) {
      const auto it = model_.other_constants.find(node.input(1));
      if (it != model_.other_constants.end()) axes = it->second.ints;
    }
    if (!axes) return false;
    const auto rank = static_cast<int64_t>(in->size());
    for (int64_t& axis : *axes) axis += axis < 0 ? rank : 0;
    std::sort(axes->begin(), axes->end());
    std::vector<int64_t> spatial;
    for (int64_t i = 2; i < rank; ++i) spatial.push_back(i);
    if (*axes != spatial) return false;
    onnx::Node pool;
    pool.set_name(node.name());
    pool.set_op_type("GlobalAveragePool");
    pool.add_input(node.input(0));
    if (attributes.integer("keepdims", 1) != 0) {
      pool.add_output(node.output(0));
      add(std::move(pool));
      return true;
    }
    const std::string pooled = model_.names.fresh(display_name(node) + "_pooled");
    pool.add_output(pooled);
    add(std::move(pool));
    onnx::Node squeeze;
    squeeze.set_name(display_name(node) + "_squeeze");
    squeeze.set_op_type("Squeeze");
    squeeze.add_input(pooled);
    squeeze.add_input(add_integers(display_name(node) + "_axes", spatial));
    squeeze.add_output(node.output(0));
    add(std::move(squeeze));
    return true;
  }

  // A slice for each output.
  bool slice_instead(const onnx::Node& node) {
    const Shape* in = node.input_size() > 0 ? shape(node.input(0)) : nullptr;
    if (in == nullptr) return false;
    Attributes attributes(node);
    std::optional<std::vector<int64_t>> sizes = attributes.integers("split");
    if (!sizes && node.input_size() > 1) {
      const auto it = model_.other_constants.find(node.input(1));
      if (it != model_.other_constants.end()) sizes = it->second.ints;
    }
    RuleBreak ignored;  // the import says what is wrong with a Split that is left
    const std::optional<SplitParts> parts = split_parts(
        *in, attributes.integer("axis", 0), attributes.integer("num_outputs", node.output_size()),
        node.output_size(), sizes, ignored);
    if (!parts) return false;
    for (int k = 0; k < node.output_size(); ++k) {
      if (node.output(k).empty()) continue;
      const SliceBounds& bounds = parts->bounds[static_cast<size_t>(k)];
      const int64_t start = bounds.start[parts->axis];
      onnx::Node slice;
      slice.set_name(node.output(k) + "_slice");
      slice.set_op_type("Slice");
      slice.add_input(node.input(0));
      slice.add_input(add_integers(node.output(k) + "_start", {start}));
      slice.add_input(add_integers(node.output(k) + "_end", {start + bounds.shape[parts->axis]}));
      slice.add_input(add_integers(node.output(k) + "_axis", {static_cast<int64_t>(parts->axis)}));
      slice.add_output(node.output(k));
      add(std::move(slice));
    }
    return true;
  }

  FloatModel& model_;
  const ShapesByName& shapes_;
  Diagnostics& diagnostics_;
  std::unordered_map<std::string, size_t> uses_;
  std::unordered_map<std::string, size_t> producer_;
};

}  // namespace

void simplify(FloatModel& model, const ShapesByName& shapes, const FloatReadOptions& options,
              Diagnostics& diagnostics) {
  const bool joined = join_layer_norms(model, shapes);
  Simplifier(model, shapes, diagnostics).run(options.poll);
  if (joined) model.opset = std::max(model.opset, kLayerNormOpset);
}

}  // namespace npu::compiler
