// SPDX-License-Identifier: MIT
//
// From a float model to a quantized one: ranges, which tensors are quantized, constants, errors.
#include "compiler/calibrate/calibrate.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ctime>
#include <numeric>
#include <random>
#include <set>

#include "compiler/calibrate/ranges.h"
#include "compiler/calibrate/rewrite.h"
#include "compiler/testing/onnx_builder.h"

namespace npu::compiler {
namespace {

using ::npu::onnx::Tensor;
using testing::OnnxBuilder;

// ---- ranges

TEST(Ranges, ExtremesHoldZero) {
  RangeCollector collector(100);
  EXPECT_EQ(collector.range(), (ValueRange{0, 0}));
  EXPECT_TRUE(collector.add(std::vector<float>{3, 5}));
  EXPECT_EQ(collector.range(), (ValueRange{0, 5}));
  EXPECT_TRUE(collector.add(std::vector<float>{-2}));
  EXPECT_EQ(collector.range(), (ValueRange{-2, 5}));
}

TEST(Ranges, WhatIsNoNumberIsRefused) {
  RangeCollector collector(100);
  EXPECT_FALSE(collector.add(std::vector<float>{1, NAN}));
  EXPECT_FALSE(collector.add(std::vector<float>{INFINITY}));
}

TEST(Ranges, PercentileLeavesOutliersOut) {
  RangeCollector collector(99);
  std::vector<float> values(10000);
  std::iota(values.begin(), values.end(), -4999.0f);  // -4999 ... 5000
  values.push_back(1e6f);
  ASSERT_TRUE(collector.add(values));
  // Half a percent, 50 values, on each side; a bin is at most 2 * 1e6 * 2 / 4096 wide.
  const ValueRange range = collector.range();
  EXPECT_NEAR(range.high, 4950, 1000);
  EXPECT_NEAR(range.low, -4949, 1000);
  EXPECT_EQ(collector.extremes(), (ValueRange{-4999, 1e6f}));
}

TEST(Ranges, PercentileIsExactToABin) {
  RangeCollector collector(90);
  std::vector<float> values(2000);
  std::iota(values.begin(), values.end(), 1.0f);
  values.push_back(2048);  // fixes the bins at 1, whatever came first
  ASSERT_TRUE(collector.add(values));
  const ValueRange range = collector.range();
  EXPECT_EQ(range.low, 0);
  EXPECT_NEAR(range.high, 1901, 2);
}

TEST(Ranges, AnyMagnitudeFitsIn) {
  RangeCollector collector(99.9);
  EXPECT_TRUE(collector.add(std::vector<float>{1e-38f, 1e-45f, 0, -3e38f, 3.4e38f, 1}));
  EXPECT_EQ(collector.extremes(), (ValueRange{-3e38f, 3.4e38f}));
  EXPECT_GE(collector.range().high, 1e38f);
  RangeCollector zeros(99.9);
  EXPECT_TRUE(zeros.add(std::vector<float>(10, 0.0f)));
  EXPECT_EQ(zeros.range(), (ValueRange{0, 0}));
}

// ---- quantizations

TEST(Quantizations, OfARange) {
  const OutputQuantization u8 = quantization_for({-1, 1.55f}, ActivationType::kUint8);
  EXPECT_EQ(u8.type, ByteType::kUint8);
  EXPECT_EQ(u8.q, (Quantization{0.01f, 100}));
  EXPECT_EQ(quantization_for({-1, 1.55f}, ActivationType::kInt8).q, (Quantization{0.01f, -28}));
  EXPECT_EQ(quantization_for({-1.27f, 1}, ActivationType::kInt8Symmetric).q,
            (Quantization{0.01f, 0}));
  EXPECT_EQ(quantization_for({0, 2.55f}, ActivationType::kInt8).q, (Quantization{0.01f, -128}));
  // Nothing but zeros.
  EXPECT_EQ(quantization_for({0, 0}, ActivationType::kUint8).q, (Quantization{1, 0}));
}

TEST(Quantizations, NothingIsStoredBeyondAClamp) {
  for (const float high : {6.0f, 1.0f, 0.3f, 7.7f}) {
    const OutputQuantization q = quantization_for({0, high}, ActivationType::kUint8, high);
    EXPECT_LE(q.q.scale * 255, high);
    EXPECT_GT(q.q.scale * 255, high * 0.9999f);
  }
}

TEST(Quantizations, OfWeights) {
  const FloatTensor weights{{2, 2}, {1.27f, -0.5f, 0, 0}};
  Int8Weights out = quantize_weights(weights, 0, nullptr, 1);
  EXPECT_EQ(out.values, (std::vector<int8_t>{127, -50, 0, 0}));
  EXPECT_FLOAT_EQ(out.scales[0], 0.01f);
  EXPECT_GT(out.scales[1], 0);
  // By column.
  out = quantize_weights({{2, 2}, {1.27f, 4, -0.5f, 2}}, 1, nullptr, 1);
  EXPECT_EQ(out.values, (std::vector<int8_t>{127, 127, -50, 64}));
  // A bias that would need more than 30 bits makes the scale wider.
  const FloatTensor bias{{2}, {1, 1e6f}};
  out = quantize_weights(weights, 0, &bias, 1e-3f);
  EXPECT_FLOAT_EQ(out.scales[0], 0.01f);
  EXPECT_LE(1e6 / (1e-3 * static_cast<double>(out.scales[1])), 0x1p30 * 1.0001);
}

// ---- plans

FloatModel read(const OnnxBuilder& builder) {
  Diagnostics diagnostics;
  const std::string file = builder.serialize();
  std::optional<FloatModel> model = read_float_model(testing::as_bytes(file), {}, diagnostics);
  EXPECT_TRUE(model) << diagnostics.text();
  return model ? std::move(*model) : FloatModel{};
}

std::vector<std::string> planned(const QuantizationPlan& plan) {
  std::vector<std::string> out;
  out.reserve(plan.tensors.size());
  for (const PlannedTensor& tensor : plan.tensors) out.push_back(tensor.name);
  return out;
}

void conv(OnnxBuilder& b, const std::string& x, int inputs, int outputs, const std::string& y) {
  std::vector<float> weights;
  weights.reserve(static_cast<size_t>(inputs * outputs));
  for (int i = 0; i < inputs * outputs; ++i) weights.push_back(static_cast<float>(i % 5) - 2);
  b.floats(y + "_w", {outputs, inputs, 1, 1}, weights);
  b.node("Conv", {x, y + "_w"}, y);
}

TEST(Plan, ClampsShareAQuantizationWithWhatTheyFollow) {
  OnnxBuilder b;
  b.input("x", {1, 2, 4, 4}, Tensor::FLOAT);
  conv(b, "x", 2, 2, "c");
  b.node("Relu", {"c"}, "r");
  OnnxBuilder::ints(b.node("MaxPool", {"r"}, "m"), "kernel_shape", {2, 2});
  b.node("Flatten", {"m"}, "y");
  b.output("y");
  const QuantizationPlan plan = plan_quantization(read(b));
  EXPECT_EQ(planned(plan), (std::vector<std::string>{"x", "r", "m", "y"}));
  EXPECT_EQ(plan.find("r")->low, 0);
  EXPECT_FALSE(plan.find("r")->like);
  EXPECT_TRUE(plan.find("m")->is_copy && plan.find("y")->is_copy);
  const auto q = choose_quantizations(plan, std::vector<ValueRange>(4, ValueRange{0, 2.55f}),
                                      ActivationType::kUint8);
  EXPECT_EQ(q[1].q, (Quantization{0.01f, 0}));
  EXPECT_EQ(q[3].q, q[1].q);
}

TEST(Plan, AConvolutionThatOthersReadIsQuantizedBeforeItsClamp) {
  OnnxBuilder b;
  b.input("x", {1, 2, 4, 4}, Tensor::FLOAT);
  conv(b, "x", 2, 2, "c");
  b.node("Relu", {"c"}, "r");
  b.node("Add", {"c", "r"}, "y");
  b.output("y");
  // The sum is a function of c alone: a table, in which r stays float.
  EXPECT_EQ(planned(plan_quantization(read(b))), (std::vector<std::string>{"x", "c", "y"}));
}

TEST(Plan, FunctionsOfOneValueAreOneTable) {
  OnnxBuilder b;
  b.input("x", {1, 2, 4, 4}, Tensor::FLOAT);
  conv(b, "x", 2, 2, "c");
  b.node("Sigmoid", {"c"}, "s");
  b.node("Mul", {"c", "s"}, "swish");
  conv(b, "swish", 2, 2, "y");
  b.output("y");
  EXPECT_EQ(planned(plan_quantization(read(b))),
            (std::vector<std::string>{"x", "c", "swish", "y"}));
  // Once somebody else reads the gate, it is a tensor of its own, and the product one of two.
  conv(b, "s", 2, 2, "z");
  b.output("z");
  const QuantizationPlan plan = plan_quantization(read(b));
  EXPECT_EQ(planned(plan), (std::vector<std::string>{"x", "c", "s", "swish", "y", "z"}));
  EXPECT_TRUE(plan.find("s")->unit_range);
}

TEST(Plan, WhatIsJoinedHasOneQuantizationIfItsClampAllows) {
  OnnxBuilder b;
  b.input("x", {1, 2, 4, 4}, Tensor::FLOAT);
  conv(b, "x", 2, 2, "a");
  conv(b, "x", 2, 2, "c");
  b.node("Relu", {"c"}, "r");
  b.node("Concat", {"a", "r"}, "y").add_attribute()->set_name("axis");
  b.graph().mutable_node(3)->mutable_attribute(0)->set_i(1);
  b.output("y");
  const QuantizationPlan plan = plan_quantization(read(b));
  ASSERT_EQ(planned(plan), (std::vector<std::string>{"x", "a", "r", "y"}));
  std::vector<ValueRange> ranges = {{0, 1}, {0, 2}, {0, 2.55f}, {0, 2.55f}};
  auto q = choose_quantizations(plan, ranges, ActivationType::kUint8);
  EXPECT_EQ(q[1].q, q[3].q);
  EXPECT_EQ(q[2].q, q[3].q);
  // Joined with negative values, 0 is not the lowest number that is stored: Relu keeps its own.
  ranges[1].low = ranges[3].low = -1;
  q = choose_quantizations(plan, ranges, ActivationType::kUint8);
  EXPECT_EQ(q[1].q, q[3].q);
  EXPECT_EQ(q[2].q, (Quantization{0.01f, 0}));
}

// Each joins what the one before does and more, in either form; what another operator reads as well
// keeps its own.
TEST(Plan, WhatADenseBlockJoinsHasOneQuantization) {
  for (const bool nested : {false, true}) {
    OnnxBuilder b;
    b.input("x", {1, 2, 4, 4}, Tensor::FLOAT);
    conv(b, "x", 2, 2, "a");
    conv(b, "a", 2, 2, "f");
    OnnxBuilder::integer(b.node("Concat", {"a", "f"}, "af"), "axis", 1);
    conv(b, "af", 4, 2, "g");
    onnx::Node& all =
        nested ? b.node("Concat", {"af", "g"}, "afg") : b.node("Concat", {"a", "f", "g"}, "afg");
    OnnxBuilder::integer(all, "axis", 1);
    conv(b, "afg", 6, 2, "y");
    b.output("y");
    const QuantizationPlan plan = plan_quantization(read(b));
    ASSERT_EQ(planned(plan), (std::vector<std::string>{"x", "a", "f", "af", "g", "afg", "y"}));
    const std::vector<ValueRange> ranges = {{0, 1},  {0, 5},  {0, 2}, {0, 5},
                                            {-7, 3}, {-7, 5}, {0, 1}};
    const auto q = choose_quantizations(plan, ranges, ActivationType::kUint8);
    for (const size_t i : {2u, 3u, 4u}) EXPECT_EQ(q[i].q, q[5].q) << i;
    EXPECT_NE(q[1].q, q[5].q);
    EXPECT_NE(q[6].q, q[5].q);
  }
}

// ---- simplification

// As exporters write it whose convolutions have none.
TEST(Simplify, AnAddBehindAConvolutionIsItsBias) {
  for (const char* type : {"Conv", "ConvTranspose"}) {
    for (const bool by_channel : {true, false}) {
      OnnxBuilder b;
      b.input("x", {1, 1, 2, 2}, Tensor::FLOAT);
      b.floats("w", {1, 1, 1, 1}, {3});
      b.node(type, {"x", "w"}, "c");
      if (by_channel) {
        b.floats("bias", {1, 1, 1}, {2});
      } else {
        b.floats("bias", {1, 1, 1, 2}, {2, 4});
      }
      b.node("Add", {"bias", "c"}, "y");
      b.output("y");
      const FloatModel model = read(b);
      ASSERT_EQ(model.nodes.size(), by_channel ? 1u : 2u) << type;
      if (!by_channel) continue;
      ASSERT_EQ(model.nodes[0].input_size(), 3);
      EXPECT_EQ(model.nodes[0].output(0), "y");
      EXPECT_EQ(model.constants.at(model.nodes[0].input(2)).data, std::vector<float>{2});
    }
  }
}

// Of [ic, oc/group, ...] the output channels are those of the groups, one after the other.
TEST(Simplify, BatchNormalizationBehindATransposedConvolutionBecomesWeights) {
  OnnxBuilder b;
  b.input("x", {1, 2, 1, 1}, Tensor::FLOAT);
  b.floats("w", {2, 2, 1, 1}, {1, 2, 3, 4});
  b.floats("bias", {4}, {0, 0, 0, 1});
  OnnxBuilder::integer(b.node("ConvTranspose", {"x", "w", "bias"}, "c"), "group", 2);
  b.floats("gamma", {4}, {2, 3, 4, 5});
  b.floats("beta", {4}, {1, 1, 1, 1});
  b.floats("mean", {4}, {0, 0, 0, 1});
  b.floats("var", {4}, {1, 1, 1, 1});
  onnx::Node& norm = b.node("BatchNormalization", {"c", "gamma", "beta", "mean", "var"}, "y");
  onnx::Attribute& epsilon = *norm.add_attribute();
  epsilon.set_name("epsilon");
  epsilon.set_f(0);
  b.output("y");
  const FloatModel model = read(b);
  ASSERT_EQ(model.nodes.size(), 1u);
  Diagnostics diagnostics;
  std::vector<float> y;
  ASSERT_TRUE(execute(
      model, {{{1, 2, 1, 1}, {1, 2}}},
      [&](const std::string& name, const FloatTensor& tensor) {
        if (name == "y") y = tensor.data;
      },
      [] {}, diagnostics));
  EXPECT_EQ(y, (std::vector<float>{3, 7, 25, 41}));
}

TEST(Simplify, BatchNormalizationBecomesWeights) {
  OnnxBuilder b;
  b.input("x", {1, 1, 1, 2}, Tensor::FLOAT);
  b.floats("w", {1, 1, 1, 1}, {3});
  b.node("Conv", {"x", "w"}, "c");
  for (const auto& [name, value] :
       {std::pair{"gamma", 2.0f}, {"beta", 1.0f}, {"mean", 5.0f}, {"var", 4.0f}}) {
    b.floats(name, {1}, {value});
  }
  onnx::Node& norm = b.node("BatchNormalization", {"c", "gamma", "beta", "mean", "var"}, "y");
  onnx::Attribute& epsilon = *norm.add_attribute();
  epsilon.set_name("epsilon");
  epsilon.set_f(0);
  b.output("y");
  const FloatModel model = read(b);
  ASSERT_EQ(model.nodes.size(), 1u);
  EXPECT_EQ(model.nodes[0].op_type(), "Conv");
  Diagnostics diagnostics;
  std::vector<float> y;
  ASSERT_TRUE(execute(
      model, {{{1, 1, 1, 2}, {1, 2}}},
      [&](const std::string& name, const FloatTensor& tensor) {
        if (name == "y") y = tensor.data;
      },
      [] {}, diagnostics));
  EXPECT_EQ(y, (std::vector<float>{-1, 2}));  // (3x - 5) / 2 * 2 + 1
}

TEST(Simplify, OldFormsBecomeNewOnes) {
  OnnxBuilder b(11);
  b.input("x", {1, 2, 2, 2}, Tensor::FLOAT);
  OnnxBuilder::ints(b.node("ReduceMean", {"x"}, "m"), "axes", {2, -1});
  OnnxBuilder::ints(b.node("Squeeze", {"m"}, "s"), "axes", {2, 3});
  b.node("Dropout", {"s"}, "d");
  b.node("Softmax", {"d"}, "y");
  b.output("y");
  const FloatModel model = read(b);
  ASSERT_EQ(model.nodes.size(), 3u);
  EXPECT_EQ(model.opset, 13);
  EXPECT_EQ(model.nodes[0].op_type(), "GlobalAveragePool");
  EXPECT_EQ(model.nodes[1].input_size(), 2);
  EXPECT_EQ(model.nodes[2].input(0), "s");
}

// The nearest element was the one above where an axis shrank.
TEST(Simplify, ResizeBeforeOpset11) {
  const auto resized = [](float height, float width, Diagnostics& diagnostics) {
    OnnxBuilder b(10);
    b.input("x", {1, 1, 2, 3}, Tensor::FLOAT);
    b.floats("scales", {4}, {1, 1, height, width});
    b.node("Resize", {"x", "scales"}, "y");
    b.output("y");
    const std::string file = b.serialize();
    const auto model = read_float_model(testing::as_bytes(file), {}, diagnostics);
    std::vector<float> y;
    if (!model || !diagnostics.ok()) return y;
    EXPECT_TRUE(execute(
        *model, {{{1, 1, 2, 3}, {0, 1, 2, 3, 4, 5}}},
        [&](const std::string& name, const FloatTensor& tensor) {
          if (name == "y") y = tensor.data;
        },
        [] {}, diagnostics));
    return y;
  };
  Diagnostics fine, mixed;
  EXPECT_EQ(resized(1, 0.67f, fine), (std::vector<float>{0, 2, 3, 5}));
  EXPECT_EQ(resized(1, 2, fine), (std::vector<float>{0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5}));
  EXPECT_TRUE(fine.ok()) << fine.text();
  resized(2, 0.67f, mixed);
  EXPECT_NE(mixed.text().find("before opset 11"), std::string::npos) << mixed.text();
}

// What a LayerNormalization is written as before operator set 17.
struct NormParts {
  int64_t axis = -1;
  bool two_centred = false;  // PyTorch once wrote the Sub twice
  bool scaled = true;
  const char* also_output = nullptr;

  OnnxBuilder build() const {
    OnnxBuilder b(13);
    b.input("x", {1, 2, 4}, Tensor::FLOAT);
    b.scale("two", 2);
    b.scale("epsilon", 0.5f);
    b.floats("gamma", {4}, {1, -2, 3, 0.5f});
    b.floats("beta", {1, 1, 4}, {0, 1, -1, 2});
    OnnxBuilder::ints(b.node("ReduceMean", {"x"}, "mean"), "axes", {axis});
    b.node("Sub", {"x", "mean"}, "centred");
    if (two_centred) b.node("Sub", {"x", "mean"}, "again");
    b.node("Pow", {two_centred ? "again" : "centred", "two"}, "square");
    OnnxBuilder::ints(b.node("ReduceMean", {"square"}, "variance"), "axes", {axis});
    b.node("Add", {"epsilon", "variance"}, "sum");
    b.node("Sqrt", {"sum"}, "deviation");
    b.node("Div", {"centred", "deviation"}, scaled ? "normal" : "y");
    if (scaled) {
      b.node("Mul", {"gamma", "normal"}, "factored");
      b.node("Add", {"factored", "beta"}, "y");
    }
    b.output("y");
    if (also_output != nullptr) b.output(also_output);
    return b;
  }
};

std::vector<float> output_of(const FloatModel& model, const FloatTensor& x) {
  Diagnostics diagnostics;
  std::vector<float> y;
  EXPECT_TRUE(execute(
      model, {x},
      [&](const std::string& name, const FloatTensor& tensor) {
        if (name == "y") y = tensor.data;
      },
      [] {}, diagnostics));
  return y;
}

TEST(Simplify, PartsOfLayerNormalizationsAreJoined) {
  const FloatTensor x{{1, 2, 4}, {1, 2, 3, 5, -1, 0, 4, 2}};
  for (const NormParts& parts : {NormParts{}, NormParts{.two_centred = true},
                                 NormParts{.scaled = false}, NormParts{.axis = 2}}) {
    const FloatModel model = read(parts.build());
    ASSERT_EQ(model.nodes.size(), 1u);
    EXPECT_EQ(model.nodes[0].op_type(), "LayerNormalization");
    EXPECT_EQ(model.opset, 17);
    const std::vector<float> y = output_of(model, x);
    ASSERT_EQ(y.size(), x.data.size());
    const float gamma[] = {1, -2, 3, 0.5f}, beta[] = {0, 1, -1, 2};
    for (size_t row = 0; row < 2; ++row) {
      const float* from = x.data.data() + row * 4;
      const float mean = std::accumulate(from, from + 4, 0.0f) / 4;
      float variance = 0;
      for (size_t i = 0; i < 4; ++i) variance += (from[i] - mean) * (from[i] - mean) / 4;
      for (size_t i = 0; i < 4; ++i) {
        const float normal = (from[i] - mean) / std::sqrt(variance + 0.5f);
        EXPECT_NEAR(y[row * 4 + i], parts.scaled ? normal * gamma[i] + beta[i] : normal, 1e-5f);
      }
    }
  }
}

TEST(Simplify, WhatIsReadOutsideKeepsALayerNormalizationApart) {
  for (const char* outside : {"mean", "centred", "variance", "deviation"}) {
    const FloatModel model = read(NormParts{.also_output = outside}.build());
    EXPECT_EQ(model.nodes.size(), 9u) << outside;
    EXPECT_EQ(model.opset, 13);
  }
  // Of what is between the row's number and its factors, the operator ends there.
  const FloatModel model = read(NormParts{.also_output = "normal"}.build());
  ASSERT_EQ(model.nodes.size(), 3u);
  EXPECT_EQ(model.nodes[0].op_type(), "LayerNormalization");
  // Along another axis it is none.
  EXPECT_EQ(read(NormParts{.axis = 1}.build()).opset, 13);
}

TEST(Simplify, SplitIsSlices) {
  OnnxBuilder b;
  b.input("x", {1, 5}, Tensor::FLOAT);
  onnx::Node& split = b.node("Split", {"x"}, "a");
  split.add_output("b");
  OnnxBuilder::integer(split, "axis", -1);
  b.output("a");
  b.output("b");
  const FloatModel model = read(b);
  ASSERT_EQ(model.nodes.size(), 2u);
  Diagnostics diagnostics;
  std::unordered_map<std::string, std::vector<float>> values;
  ASSERT_TRUE(execute(
      model, {{{1, 5}, {1, 2, 3, 4, 5}}},
      [&](const std::string& name, const FloatTensor& tensor) { values[name] = tensor.data; },
      [] {}, diagnostics));
  EXPECT_EQ(values["a"], (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(values["b"], (std::vector<float>{4, 5}));
}

// ---- all of it

std::optional<Calibration> calibrate(const OnnxBuilder& builder, Diagnostics& diagnostics,
                                     const std::vector<std::vector<float>>& samples,
                                     const CalibrationOptions& options = {}) {
  const std::string file = builder.serialize();
  std::optional<Calibrator> calibrator = Calibrator::open(
      testing::as_bytes(file), options, [](const std::string&) {}, diagnostics);
  if (!calibrator) return std::nullopt;
  return calibrator->run(
      {samples.size(), [&](size_t i) { return std::vector<std::vector<float>>{samples[i]}; }},
      [](const std::string&) {}, diagnostics);
}

OnnxBuilder small_network() {
  OnnxBuilder b;
  b.input("x", {1, 2, 4, 4}, Tensor::FLOAT);
  conv(b, "x", 2, 8, "c");
  b.node("Relu", {"c"}, "r");
  conv(b, "r", 8, 2, "d");
  b.node("Add", {"d", "x"}, "y");
  b.output("y");
  return b;
}

std::vector<std::vector<float>> random_samples(size_t count, size_t size) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> out(count, std::vector<float>(size));
  for (std::vector<float>& sample : out) {
    for (float& v : sample) v = normal(random);
  }
  return out;
}

TEST(Calibrate, ANetwork) {
  for (const bool int8 : {false, true}) {
    CalibrationOptions options;
    options.int8_activations = int8;
    Diagnostics diagnostics;
    const auto out = calibrate(small_network(), diagnostics, random_samples(20, 32), options);
    ASSERT_TRUE(out) << diagnostics.text();
    EXPECT_EQ(out->samples, 20u);
    EXPECT_EQ(out->error_samples, kErrorSamples);
    ASSERT_EQ(out->errors.size(), 4u);  // x, r, d, y
    EXPECT_EQ(out->errors[1].node, "r_node");
    EXPECT_EQ(out->errors[3].type, "Add");
    for (const LayerError& row : out->errors) {
      EXPECT_GT(row.signal_to_noise, 30) << row.node;
      EXPECT_GT(row.largest_error, 0) << row.node;
      EXPECT_LT(row.largest_error, 10 * static_cast<double>(row.quantization.scale)) << row.node;
      EXPECT_EQ(row.byte_type, int8 ? ByteType::kInt8 : ByteType::kUint8);
    }
    // An input is off by half a step at most.
    EXPECT_LE(out->errors[0].largest_error,
              0.5001 * static_cast<double>(out->errors[0].quantization.scale));
    EXPECT_NE(error_table(*out).find("SQNR"), std::string::npos);
    EXPECT_NE(error_json(*out).find("\"sqnr_db\""), std::string::npos);
  }
}

TEST(Calibrate, PercentileNarrowsRanges) {
  std::vector<std::vector<float>> samples = random_samples(100, 32);
  samples[0][0] = 1000;
  CalibrationOptions options;
  Diagnostics diagnostics;
  const auto all = calibrate(small_network(), diagnostics, samples, options);
  options.percentile = 99.9;
  const auto most = calibrate(small_network(), diagnostics, samples, options);
  ASSERT_TRUE(all && most) << diagnostics.text();
  EXPECT_GT(all->errors[0].quantization.scale, 3);
  EXPECT_LT(most->errors[0].quantization.scale, 0.1f);
}

// Upsample, and Slice by attributes.
TEST(Calibrate, OldOperatorsAreBroughtUpToDate) {
  OnnxBuilder b(9);
  b.input("x", {1, 1, 2, 2}, Tensor::FLOAT);
  b.floats("scales", {4}, {1, 1, 2, 2});
  b.node("Upsample", {"x", "scales"}, "y");
  onnx::Node& slice = b.node("Slice", {"y"}, "z");
  OnnxBuilder::ints(slice, "starts", {1});
  OnnxBuilder::ints(slice, "ends", {4});
  OnnxBuilder::ints(slice, "axes", {3});
  b.output("z");
  Diagnostics diagnostics;
  const auto out = calibrate(b, diagnostics, random_samples(3, 4));
  ASSERT_TRUE(out) << diagnostics.text();
  for (const LayerError& error : out->errors)
    EXPECT_LE(error.largest_error, 0.51 * static_cast<double>(error.quantization.scale));
}

// Of a shape, too, where nothing of it may be left to quantize.
TEST(Simplify, OldSlicesOfShapesAreFolded) {
  OnnxBuilder b(9);
  b.input("x", {2, 3, 2}, Tensor::FLOAT);
  b.int64s("rest", {-1});
  b.node("Shape", {"x"}, "shape");
  onnx::Node& slice = b.node("Slice", {"shape"}, "batch");
  OnnxBuilder::ints(slice, "starts", {0});
  OnnxBuilder::ints(slice, "ends", {1});
  OnnxBuilder::ints(slice, "axes", {0});
  OnnxBuilder::integer(b.node("Concat", {"batch", "rest"}, "target"), "axis", 0);
  b.node("Reshape", {"x", "target"}, "y");
  b.output("y");
  const FloatModel model = read(b);
  ASSERT_EQ(model.nodes.size(), 1u);
  EXPECT_EQ(model.nodes[0].op_type(), "Reshape");
  EXPECT_EQ(model.other_constants.at("target").ints, (std::vector<int64_t>{2, -1}));
}

// One per row is no bias, even where there are as many rows as columns.
TEST(Calibrate, ABiasByRowIsRefused) {
  OnnxBuilder b;
  b.input("x", {2, 3}, Tensor::FLOAT);
  b.floats("w", {3, 2}, {1, 2, 3, 4, 5, 6});
  b.floats("c", {2, 1}, {7, 700});
  b.node("Gemm", {"x", "w", "c"}, "y");
  b.output("y");
  Diagnostics diagnostics;
  EXPECT_FALSE(calibrate(b, diagnostics, random_samples(1, 6)));
  EXPECT_NE(diagnostics.text().find("one value per output channel"), std::string::npos)
      << diagnostics.text();
}

// ---- shapes

// Of a node that the file asks for much work: nothing is computed to find its shape.
TEST(Shapes, NothingIsComputed) {
  OnnxBuilder b;
  b.input("x", {1, 64, 1024, 1024}, Tensor::FLOAT);
  std::string last = "x";
  for (int i = 0; i < 20; ++i) {
    const std::string next = fmt::format("y{}", i);
    conv(b, last, 64, 64, next);
    last = next;
  }
  // [n, c, 1, 1] to [n, c] by way of its own shape.
  b.node("GlobalAveragePool", {last}, "mean");
  b.node("Shape", {"mean"}, "shape");
  b.int64s("first", {0});
  b.int64s("rest", {-1});
  b.node("Gather", {"shape", "first"}, "n");
  OnnxBuilder::integer(b.node("Concat", {"n", "rest"}, "wanted"), "axis", 0);
  b.node("Reshape", {"mean", "wanted"}, "y");
  b.output("y");
  const std::string file = b.serialize();
  Diagnostics diagnostics;
  FloatReadOptions options;
  size_t polls = 0;
  options.poll = [&] { ++polls; };
  const std::clock_t begin = std::clock();
  const auto model = read_float_model(testing::as_bytes(file), options, diagnostics);
  ASSERT_TRUE(model) << diagnostics.text();
  // 20 * 2^32 multiply-accumulates would be a minute.
  EXPECT_LT(std::clock() - begin, 10 * CLOCKS_PER_SEC);
  EXPECT_GE(polls, model->nodes.size());
  EXPECT_EQ(model->nodes.size(), 22u);
  EXPECT_EQ(model->other_constants.at("wanted").ints, (std::vector<int64_t>{1, -1}));
}

// A node that cannot be computed takes the shapes of what comes behind it, and of nothing else.
TEST(Shapes, WhatCannotBeComputedHidesNothingElse) {
  OnnxBuilder b;
  b.input("x", {1, 2, 4, 4}, Tensor::FLOAT);
  b.node("Cumulus", {"x"}, "unknown");
  b.node("Relu", {"unknown"}, "behind");
  b.node("Relu", {"x"}, "beside");
  for (const char* name : {"behind", "beside"}) b.output(name);
  FloatModel model = read(b);
  Diagnostics diagnostics;
  const ShapesByName shapes = find_shapes(model, {}, diagnostics);
  EXPECT_EQ(shapes.at("beside"), (Shape{1, 2, 4, 4}));
  EXPECT_EQ(shapes.count("unknown") + shapes.count("behind"), 0u);
}

// The bound on constants made of others holds before they are made, whatever makes them.
TEST(Shapes, FoldedConstantsAreBounded) {
  OnnxBuilder b;
  b.input("x", {1, 100}, Tensor::FLOAT);
  b.floats("row", {1, 100}, std::vector<float>(100, 1));
  b.floats("column", {100, 1}, std::vector<float>(100, 1));
  b.node("Mul", {"row", "column"}, "square");  // 40,000 bytes
  b.node("Shape", {"x"}, "shape");             // 16 bytes
  b.node("Expand", {"row", "shape"}, "again");
  b.node("MatMul", {"x", "square"}, "y");
  b.node("Add", {"y", "again"}, "z");
  b.output("z");
  const std::string file = b.serialize();
  const auto problems = [&](uint64_t bytes) {
    FloatReadOptions options;
    options.foldable_bytes = bytes;
    Diagnostics diagnostics;
    (void)read_float_model(testing::as_bytes(file), options, diagnostics);
    std::vector<std::string> out;
    for (const Problem& problem : diagnostics.problems()) {
      EXPECT_EQ(problem.rule, "the constants of a model take at most 4 GiB");
      out.push_back(problem.node);
    }
    return out;
  };
  EXPECT_EQ(problems(40416), std::vector<std::string>{});
  EXPECT_EQ(problems(40415), std::vector<std::string>{"again_node"});
  EXPECT_EQ(problems(40015), std::vector<std::string>{"shape_node"});
  EXPECT_EQ(problems(39999), std::vector<std::string>{"square_node"});
}

TEST(Shapes, AnInputMayBeTooLarge) {
  OnnxBuilder b;
  b.input("x", {1, 1 << 29}, Tensor::FLOAT);
  b.node("Relu", {"x"}, "y");
  b.output("y");
  const std::string file = b.serialize();
  Diagnostics diagnostics;
  EXPECT_FALSE(read_float_model(testing::as_bytes(file), {}, diagnostics));
  EXPECT_NE(diagnostics.text().find("2^28 elements"), std::string::npos) << diagnostics.text();
}

// ---- names

// Names of the parts of shared constants are found at once, however many there are.
TEST(Names, AreFresh) {
  Names names;
  const std::clock_t begin = std::clock();
  for (int i = 1; i <= 100000; ++i) {
    const std::string name = names.fresh("w");
    if (i > 1) {
      ASSERT_EQ(name, fmt::format("w_{}", i));
    }
  }
  EXPECT_LT(std::clock() - begin, 20 * CLOCKS_PER_SEC);
}

TEST(Calibrate, AllProblemsAtOnce) {
  OnnxBuilder b = small_network();
  b.node("Sinh", {"y"}, "z");
  b.node("Cumulus", {"x"}, "v");
  b.node("BatchNormalization", {"x", "y", "y", "y", "y"}, "u");
  for (const char* name : {"z", "v", "u"}) b.output(name);
  Diagnostics diagnostics;
  EXPECT_FALSE(calibrate(b, diagnostics, {}));
  const std::string text = diagnostics.text();
  EXPECT_EQ(diagnostics.status(), Status::kUnsupported);
  for (const char* word : {"z_node", "Sinh", "v_node", "Cumulus", "u_node"})
    EXPECT_NE(text.find(word), std::string::npos) << text;
}

TEST(Calibrate, AQuantizedModelIsRefused) {
  OnnxBuilder b;
  b.input("x", {1, 4}, Tensor::FLOAT);
  b.quantization("x", 0.5f, 0);
  b.node("QuantizeLinear", {"x", "x_s", "x_z"}, "q");
  b.node("DequantizeLinear", {"q", "x_s", "x_z"}, "y");
  b.output("y");
  Diagnostics diagnostics;
  EXPECT_FALSE(calibrate(b, diagnostics, {}));
  EXPECT_NE(diagnostics.text().find("without --calibrate"), std::string::npos);
}

TEST(Calibrate, WhatIsNoNumberIsReported) {
  Diagnostics data;
  std::vector<std::vector<float>> samples = random_samples(2, 32);
  samples[1][3] = NAN;
  EXPECT_FALSE(calibrate(small_network(), data, samples));
  EXPECT_NE(data.text().find("sample 1"), std::string::npos) << data.text();

  OnnxBuilder b;
  b.input("x", {1, 2, 1, 1}, Tensor::FLOAT);
  b.floats("w", {1, 2, 1, 1}, {1, NAN});
  b.node("Conv", {"x", "w"}, "y");
  b.output("y");
  Diagnostics weights;
  EXPECT_FALSE(calibrate(b, weights, {{1, 2}}));
  EXPECT_NE(weights.text().find("'w'"), std::string::npos) << weights.text();

  Diagnostics overflow;
  samples[1].assign(32, 3e38f);
  EXPECT_FALSE(calibrate(small_network(), overflow, samples));
  EXPECT_NE(overflow.text().find("finite"), std::string::npos);
}

TEST(Calibrate, ConstantsWithoutElementsAreRefused) {
  OnnxBuilder b;
  b.input("x", {1, 2, 2, 2}, Tensor::FLOAT);
  b.floats("none", {0, 2, 1, 1}, {});
  b.floats("nothing", {0}, {});
  b.floats("row", {0, 3}, {});
  b.node("Conv", {"x", "none"}, "c");
  b.node("BatchNormalization", {"c", "nothing", "nothing", "nothing", "nothing"}, "n");
  b.node("Gemm", {"x", "row", "nothing"}, "g");
  b.node("Add", {"x", "nothing"}, "a");
  b.floats("columns", {3, 0}, {});
  b.floats("three", {3}, {1, 2, 3});
  OnnxBuilder::integer(b.node("Gemm", {"x", "columns", "three"}, "h"), "transB", 1);
  // A bias behind a product that has no weights to share a scale with.
  b.node("MatMul", {"x", "row"}, "m");
  b.node("Add", {"m", "three"}, "i");
  for (const char* name : {"n", "g", "a", "h", "i"}) b.output(name);
  Diagnostics diagnostics;
  EXPECT_FALSE(calibrate(b, diagnostics, {}));
  EXPECT_FALSE(diagnostics.ok());
}

TEST(Calibrate, DamagedFilesAreRefused) {
  const std::string file = small_network().serialize();
  std::mt19937 random(7);
  for (int round = 0; round < 400; ++round) {
    std::string bytes = file;
    if (round % 2 == 0) bytes.resize(random() % bytes.size());
    for (int i = 0; i < 3 && !bytes.empty(); ++i)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    Diagnostics diagnostics;
    auto calibrator = Calibrator::open(
        testing::as_bytes(bytes), {}, [](const std::string&) {}, diagnostics);
    EXPECT_EQ(calibrator.has_value(), diagnostics.ok()) << diagnostics.text();
    if (!calibrator) continue;
    (void)calibrator->run(
        {1,
         [&](size_t) {
           std::vector<std::vector<float>> out;
           for (const auto& input : calibrator->inputs()) {
             out.emplace_back(static_cast<size_t>(elements(input.shape)), 0.5f);
           }
           return out;
         }},
        [](const std::string&) {}, diagnostics);
  }
}

// Every step says what it does, and ends where it is told to.
TEST(Calibrate, CanBeStopped) {
  const std::string file = small_network().serialize();
  const auto samples = random_samples(1, 32);
  struct Stop {};
  const auto run = [&](size_t most) {
    std::vector<std::string> said;
    const auto progress = [&](const std::string& what) {
      if (said.size() == most) throw Stop();
      said.push_back(what);
    };
    Diagnostics diagnostics;
    auto calibrator = Calibrator::open(testing::as_bytes(file), {}, progress, diagnostics);
    EXPECT_TRUE(calibrator) << diagnostics.text();
    if (!calibrator) return said;
    const auto read = [&](size_t) { return std::vector<std::vector<float>>{samples[0]}; };
    EXPECT_TRUE(calibrator->run({1, read}, progress, diagnostics)) << diagnostics.text();
    return said;
  };
  const std::vector<std::string> said = run(~size_t{0});
  for (size_t i = 0; i < said.size(); ++i) EXPECT_THROW(run(i), Stop) << said[i];
  EXPECT_EQ(std::set(said.begin(), said.end()),
            (std::set<std::string>{"reading the model", "calibrating: 0 of 1 samples", "quantizing",
                                   "measuring errors: 0 of 1 samples"}));
}

// Names come from the file.
TEST(Calibrate, TheTableLeavesTheTerminalAlone) {
  Calibration calibration;
  calibration.errors.emplace_back();
  calibration.errors[0].node = "conv\x1b[2J";
  EXPECT_NE(error_table(calibration).find("conv?[2J"), std::string::npos);
}

}  // namespace
}  // namespace npu::compiler
