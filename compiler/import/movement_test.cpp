// SPDX-License-Identifier: MIT
//
// Resizes, frames, selections, and what is computed of constants and shapes.
#include <gtest/gtest.h>

#include <limits>
#include <numeric>

#include "compiler/import/import.h"
#include "compiler/onnx/shape_rules.h"
#include "compiler/passes/fold_pads.h"
#include "compiler/reference/interpreter.h"
#include "compiler/testing/onnx_builder.h"

namespace npu::compiler {
namespace {

using ::npu::onnx::Tensor;
using testing::OnnxBuilder;

Graph import(const OnnxBuilder& builder) {
  Diagnostics diagnostics;
  const std::string file = builder.serialize();
  std::optional<Graph> graph = import_onnx(testing::as_bytes(file), {}, diagnostics);
  EXPECT_TRUE(graph) << diagnostics.text();
  return graph ? std::move(*graph) : Graph{};
}

std::string refusal(const OnnxBuilder& builder) {
  Diagnostics diagnostics;
  const std::string file = builder.serialize();
  EXPECT_FALSE(import_onnx(testing::as_bytes(file), {}, diagnostics));
  return diagnostics.text();
}

Bytes counted(size_t count) {
  Bytes out(count);
  std::iota(out.begin(), out.end(), uint8_t{0});
  return out;
}

void text(onnx::Node& node, const std::string& name, const std::string& value) {
  onnx::Attribute& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_s(value);
}

// One node on a uint8 input x [1, 1, 2, 3] holding 0 to 5.
struct OneNode {
  OnnxBuilder b;
  onnx::Node* node;
  OneNode(const std::string& type, std::initializer_list<std::string> inputs, int64_t opset = 13)
      : b(opset) {
    b.input("x", {1, 1, 2, 3});
    node = &b.node(type, inputs, "y");
    b.output("y");
  }
  Bytes run() {
    const Graph graph = import(b);
    return graph.outputs.empty() ? Bytes{} : interpret(graph, {counted(6)})[0];
  }
};

TEST(ImportMovement, ResizeOfBytes) {
  OneNode nearest("Resize", {"x", "", "scales"});
  nearest.b.floats("scales", {4}, {1, 1, 2, 1});
  text(*nearest.node, "coordinate_transformation_mode", "asymmetric");
  text(*nearest.node, "nearest_mode", "floor");
  EXPECT_EQ(nearest.run(), (Bytes{0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5}));

  OneNode sizes("Resize", {"x", "", "", "sizes"});
  sizes.b.int64s("sizes", {1, 1, 1, 2});
  text(*sizes.node, "coordinate_transformation_mode", "align_corners");
  text(*sizes.node, "nearest_mode", "ceil");
  EXPECT_EQ(sizes.run(), (Bytes{0, 2}));

  // Between columns: 0.5 of a step is cut off.
  OneNode linear("Resize", {"x", "", "", "sizes"});
  linear.b.int64s("sizes", {1, 1, 2, 5});
  text(*linear.node, "mode", "linear");
  text(*linear.node, "coordinate_transformation_mode", "align_corners");
  EXPECT_EQ(linear.run(), (Bytes{0, 0, 1, 1, 2, 3, 3, 4, 4, 5}));
}

TEST(ImportMovement, ResizeBeforeOpset11LooksElsewhere) {
  OneNode old("Resize", {"x", "scales"}, 10);
  old.b.floats("scales", {4}, {1, 1, 1, 2});
  EXPECT_EQ(old.run(), (Bytes{0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5}));
  OneNode upsample("Upsample", {"x", "scales"}, 10);
  upsample.b.floats("scales", {4}, {1, 1, 1, 2});
  EXPECT_EQ(upsample.run(), old.run());
  // Up where an axis shrinks: column 1 / 0.67 = 1.49 is the last one.
  OneNode smaller("Resize", {"x", "scales"}, 10);
  smaller.b.floats("scales", {4}, {1, 1, 2, 0.67f});
  EXPECT_EQ(smaller.run(), (Bytes{0, 2, 0, 2, 3, 5, 3, 5}));
}

// The frame is part of what the Clip and the factor behind it are about.
TEST(ImportMovement, FramesBehindAnOperator) {
  const auto framed = [](const std::string& type, std::initializer_list<std::string> inputs) {
    OnnxBuilder b;
    b.input("x", {1, 1, 1, 2});
    b.quantization("x", 0.5f, 10);
    b.dequantize("x");
    OnnxBuilder::ints(b.node("AveragePool", {"x_f"}, "a"), "kernel_shape", {1, 1});
    b.int64s("pads", {0, 0, 0, 1, 0, 0, 0, 0});
    b.scale("fill", 3);
    b.scale("one", 1);
    b.scale("two", 2);
    b.node("Pad", {"a", "pads", "fill"}, "p");
    b.node(type, inputs, "y_f");
    b.quantization("y", 0.25f, 100);
    b.quantize("y");
    b.output("y");
    return interpret(import(b), {{12, 9}})[0];  // 1 and -0.5
  };
  EXPECT_EQ(framed("Clip", {"p", "", "two"}), (Bytes{108, 104, 98}));
  EXPECT_EQ(framed("Relu", {"p"}), (Bytes{112, 104, 100}));
  EXPECT_EQ(framed("Mul", {"p", "two"}), (Bytes{124, 108, 96}));
  EXPECT_EQ(framed("Div", {"p", "two"}), (Bytes{106, 102, 99}));
}

// A Clip before the frame does not bound it.
TEST(ImportMovement, FrameBehindAClip) {
  OnnxBuilder b;
  b.input("x", {1, 1, 1, 2});
  b.quantization("x", 0.5f, 10);
  b.dequantize("x");
  b.node("Relu", {"x_f"}, "r");
  b.int64s("pads", {0, 0, 0, 1, 0, 0, 0, 0});
  b.scale("fill", -1);
  b.node("Pad", {"r", "pads", "fill"}, "y_f");
  b.quantization("y", 0.25f, 100);
  b.quantize("y");
  b.output("y");
  EXPECT_EQ(interpret(import(b), {{12, 9}})[0], (Bytes{96, 104, 100}));
}

TEST(ImportMovement, ResizeOfChannelsLast) {
  OnnxBuilder b;
  b.input("x", {1, 1, 2, 3});  // one row of two columns, three channels
  b.floats("scales", {4}, {1, 1, 2, 1});
  text(b.node("Resize", {"x", "", "scales"}, "y"), "nearest_mode", "floor");
  b.output("y");
  // Two columns become four; channels stay together.
  EXPECT_EQ(interpret(import(b), {counted(6)})[0], (Bytes{0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4, 5}));
}

TEST(ImportMovement, LinearResizeOfRealValues) {
  OnnxBuilder b;
  b.input("x", {1, 1, 1, 2});
  b.quantization("x", 0.5f, 10);
  b.dequantize("x");
  b.floats("scales", {4}, {1, 1, 1, 2});
  text(b.node("Resize", {"x_f", "", "scales"}, "y_f"), "mode", "linear");
  b.quantization("y", 0.25f, 100);
  b.quantize("y");
  b.output("y");
  // Real values 1 and 4 and, between, 1.75 and 3.25.
  EXPECT_EQ(interpret(import(b), {{12, 18}})[0], (Bytes{104, 107, 113, 116}));
}

// Strides are multiplied with steps: none is left that nobody makes.
TEST(ImportMovement, StepsBeyondTheAxis) {
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max() - 1;
  RuleBreak broken;
  const auto bounds = sliced({7, 8, 9}, {1, 6, 8}, {7, 0, 0}, std::vector<int64_t>{0, 1, 2},
                             std::vector<int64_t>{kHuge, -kHuge, -8}, broken);
  ASSERT_TRUE(bounds) << broken.rule;
  EXPECT_EQ(bounds->start, (std::vector<int64_t>{1, 6, 8}));
  EXPECT_EQ(bounds->shape, (Shape{1, 1, 1}));
  EXPECT_EQ(bounds->step, (std::vector<int64_t>{1, 1, 1}));
  const auto two = sliced({9}, {8}, {-10}, std::nullopt, std::vector<int64_t>{-8}, broken);
  ASSERT_TRUE(two) << broken.rule;
  EXPECT_EQ(two->shape, (Shape{2}));
  EXPECT_EQ(two->step, (std::vector<int64_t>{-8}));
}

TEST(ImportMovement, ResizeRules) {
  const auto refused = [](const std::string& name, const std::string& value) {
    OneNode one("Resize", {"x", "", "scales"});
    one.b.floats("scales", {4}, {1, 1, 2, 1});
    text(*one.node, name, value);
    return refusal(one.b);
  };
  EXPECT_NE(refused("mode", "cubic").find("nearest or linear"), std::string::npos);
  EXPECT_NE(refused("coordinate_transformation_mode", "tf_crop_and_resize").find("coordinates"),
            std::string::npos);
  EXPECT_NE(refused("keep_aspect_ratio_policy", "not_larger").find("stretch"), std::string::npos);
  OnnxBuilder vast;
  vast.input("x", {1, int64_t{1} << 34, 1, 1});
  vast.quantization("x", 0.5f, 10);
  vast.dequantize("x");
  vast.floats("scales", {4}, {1, 1, 32768, 32768});  // 2^64 elements
  text(vast.node("Resize", {"x_f", "", "scales"}, "y_f"), "mode", "linear");
  vast.quantization("y", 0.5f, 10);
  vast.quantize("y");
  vast.output("y");
  EXPECT_NE(refusal(vast).find("2^36"), std::string::npos);
  OneNode channels("Resize", {"x", "", "scales"});
  channels.b.floats("scales", {4}, {1, 2, 2, 2});
  EXPECT_NE(refusal(channels.b).find("space"), std::string::npos);
  OneNode empty("Resize", {"x", "", "scales"});
  empty.b.floats("scales", {4}, {1, 1, 0.1f, 1});
  EXPECT_NE(refusal(empty.b).find("empty"), std::string::npos);
  OneNode huge("Resize", {"x", "", "sizes"});
  huge.node->add_input("sizes");
  huge.node->set_input(2, "");
  huge.b.int64s("sizes", {1, 1, 1, int64_t{1} << 36});
  EXPECT_NE(refusal(huge.b).find("65535"), std::string::npos);
}

TEST(ImportMovement, PadsOfBytes) {
  OneNode constant("Pad", {"x", "pads", "fill"});
  constant.b.int64s("pads", {0, 0, 0, 1, 0, 0, 1, -1});
  constant.b.bytes("fill", {}, {9}, Tensor::UINT8);
  EXPECT_EQ(constant.run(), (Bytes{9, 0, 1, 9, 3, 4, 9, 9, 9}));
  const auto framed = [](const std::string& mode) {
    OneNode one("Pad", {"x", "pads"});
    one.b.int64s("pads", {0, 0, 0, 2, 0, 0, 0, 1});
    text(*one.node, "mode", mode);
    return one.run();
  };
  EXPECT_EQ(framed("edge"), (Bytes{0, 0, 0, 1, 2, 2, 3, 3, 3, 4, 5, 5}));
  EXPECT_EQ(framed("reflect"), (Bytes{2, 1, 0, 1, 2, 1, 5, 4, 3, 4, 5, 4}));
  EXPECT_EQ(framed("wrap"), (Bytes{1, 2, 0, 1, 2, 0, 4, 5, 3, 4, 5, 3}));
  OneNode nothing("Pad", {"x", "pads"});
  nothing.b.int64s("pads", {0, 0, 0, -2, 0, 0, 0, -1});
  EXPECT_NE(refusal(nothing.b).find("something is left"), std::string::npos);
  OneNode other("Pad", {"x", "pads", "fill"});
  other.b.int64s("pads", {0, 0, 0, 1, 0, 0, 0, 0});
  other.b.bytes("fill", {}, {9}, Tensor::INT8);
  EXPECT_NE(refusal(other.b).find("type of its input"), std::string::npos);
}

// DequantizeLinear, Pad, QuantizeLinear: 0 is the zero point; a value that the first quantization
// does not have is stored as the second one has it.
TEST(ImportMovement, PadsOfRealValues) {
  const auto padded = [](float fill) {
    OnnxBuilder b;
    b.input("x", {1, 1, 1, 1});
    b.quantization("x", 0.5f, 10);
    b.dequantize("x");
    b.int64s("pads", {0, 0, 0, 1, 0, 0, 0, 0});
    b.scale("fill", fill);
    b.node("Pad", {"x_f", "pads", "fill"}, "y_f");
    b.quantization("y", 0.25f, 100);
    b.quantize("y");
    b.output("y");
    return interpret(import(b), {{12}})[0];
  };
  EXPECT_EQ(padded(0), (Bytes{100, 104}));
  EXPECT_EQ(padded(0.75f), (Bytes{103, 104}));
}

TEST(ImportMovement, PadBecomesPaddingOfTheConvolution) {
  OnnxBuilder b;
  b.input("x", {1, 1, 2, 2});
  b.quantization("x", 0.5f, 10);
  b.dequantize("x");
  b.int64s("pads", {0, 0, 0, 0, 0, 0, 1, 1});
  b.node("Pad", {"x_f", "pads"}, "p_f");
  b.bytes("w", {1, 1, 2, 2}, {1, 2, 3, 4});
  b.quantization("w", 0.5f, 0, Tensor::INT8);
  b.dequantize("w");
  b.node("Conv", {"p_f", "w_f"}, "y_f");
  b.quantization("y", 0.25f, 0);
  b.quantize("y");
  b.output("y");
  Graph graph = import(b);
  const std::vector<Bytes> before = interpret(graph, {{11, 12, 13, 14}});
  fold_pads(graph);
  ASSERT_EQ(graph.ops.size(), 1u);
  EXPECT_EQ(graph.ops[0].as<MacOp>()->window.pad_after[0], 1);
  EXPECT_EQ(graph.ops[0].as<MacOp>()->window.pad_before[0], 0);
  EXPECT_EQ(interpret(graph, {{11, 12, 13, 14}}), before);
}

TEST(ImportMovement, GatherAndSlicesWithSteps) {
  OneNode gather("Gather", {"x", "indices"});
  gather.b.int64s("indices", {2, 0, -1});
  OnnxBuilder::integer(*gather.node, "axis", 3);
  EXPECT_EQ(gather.run(), (Bytes{2, 0, 2, 5, 3, 5}));
  OneNode outside("Gather", {"x", "indices"});
  outside.b.int64s("indices", {3});
  OnnxBuilder::integer(*outside.node, "axis", 3);
  EXPECT_NE(refusal(outside.b).find("inside the axis"), std::string::npos);
  OneNode slice("Slice", {"x", "starts", "ends", "axes", "steps"});
  slice.b.int64s("starts", {-1, 0});
  slice.b.int64s("ends", {-100, 100});
  slice.b.int64s("axes", {2, 3});
  slice.b.int64s("steps", {-1, 2});
  EXPECT_EQ(slice.run(), (Bytes{3, 5, 0, 2}));
  OneNode still("Slice", {"x", "starts", "ends", "axes", "steps"});
  still.b.int64s("starts", {0});
  still.b.int64s("ends", {1});
  still.b.int64s("axes", {3});
  still.b.int64s("steps", {0});
  EXPECT_NE(refusal(still.b).find("steps"), std::string::npos);
}

TEST(ImportMovement, ExpandAndBlocks) {
  OnnxBuilder b;
  b.input("x", {1, 4, 1, 2});
  b.int64s("shape", {2, 1, 4, 1, 2});
  b.node("Expand", {"x", "shape"}, "y");
  b.output("y");
  Bytes twice = counted(8);
  twice.insert(twice.end(), twice.begin(), twice.begin() + 8);
  EXPECT_EQ(interpret(import(b), {counted(8)})[0], twice);
  OnnxBuilder d;
  d.input("x", {1, 4, 1, 2});
  OnnxBuilder::integer(d.node("DepthToSpace", {"x"}, "y"), "blocksize", 2);
  OnnxBuilder::integer(d.node("SpaceToDepth", {"y"}, "z"), "blocksize", 2);
  d.output("y");
  d.output("z");
  const std::vector<Bytes> out = interpret(import(d), {counted(8)});
  EXPECT_EQ(out[0], (Bytes{0, 2, 1, 3, 4, 6, 5, 7}));
  EXPECT_EQ(out[1], counted(8));
}

// The tail that exporters leave: [n, c, 1, 1] to [n, -1] by way of its own shape.
TEST(ImportMovement, ShapeArithmeticIsFolded) {
  OnnxBuilder b;
  b.input("x", {2, 3, 1, 1});
  b.node("Shape", {"x"}, "shape");
  b.bytes("zero", {}, {0}, Tensor::INT64);
  b.graph().mutable_initializer(0)->clear_int32_data();
  b.graph().mutable_initializer(0)->add_int64_data(0);
  b.node("Gather", {"shape", "zero"}, "n");
  b.int64s("axes", {0});
  b.node("Unsqueeze", {"n", "axes"}, "n1");
  b.int64s("rest", {-1});
  OnnxBuilder::integer(b.node("Concat", {"n1", "rest"}, "wanted"), "axis", 0);
  b.node("Reshape", {"x", "wanted"}, "y");
  b.output("y");
  const Graph graph = import(b);
  ASSERT_EQ(graph.outputs.size(), 1u);
  EXPECT_EQ(graph.value(graph.outputs[0]).shape, (Shape{2, 3}));
}

// Sizes of an upsampling as PyTorch writes them: twice the height, as float and back.
TEST(ImportMovement, SizesComputedInFloat) {
  OnnxBuilder b;
  b.input("x", {1, 1, 2, 3});
  b.node("Shape", {"x"}, "shape");
  b.int64s("two", {2});
  b.int64s("zero", {0});
  b.int64s("four", {4});
  b.node("Slice", {"shape", "zero", "two"}, "outer");
  b.node("Slice", {"shape", "two", "four"}, "space");
  OnnxBuilder::integer(b.node("Cast", {"space"}, "space_f"), "to", Tensor::FLOAT);
  b.floats("factor", {1}, {2});
  b.node("Mul", {"space_f", "factor"}, "scaled");
  b.node("Floor", {"scaled"}, "floored");
  OnnxBuilder::integer(b.node("Cast", {"floored"}, "sizes_space"), "to", Tensor::INT64);
  OnnxBuilder::integer(b.node("Concat", {"outer", "sizes_space"}, "sizes"), "axis", 0);
  b.node("Resize", {"x", "", "", "sizes"}, "y");
  b.output("y");
  const Graph graph = import(b);
  ASSERT_EQ(graph.outputs.size(), 1u);
  EXPECT_EQ(graph.value(graph.outputs[0]).shape, (Shape{1, 1, 4, 6}));
}

// Weights that are transposed behind their DequantizeLinear keep their scales.
TEST(ImportMovement, TransposedWeights) {
  OnnxBuilder b;
  b.input("x", {1, 2});
  b.quantization("x", 1, 0);
  b.dequantize("x");
  b.bytes("w", {3, 2}, {1, 2, 3, 4, 5, 6});
  b.floats("w_s", {3}, {1, 2, 1});
  b.bytes("w_z", {3}, {0, 0, 0});
  OnnxBuilder::integer(b.node("DequantizeLinear", {"w", "w_s", "w_z"}, "w_f"), "axis", 0);
  b.node("Transpose", {"w_f"}, "t_f");
  b.node("MatMul", {"x_f", "t_f"}, "y_f");
  b.quantization("y", 1, 0);
  b.quantize("y");
  b.output("y");
  EXPECT_EQ(interpret(import(b), {{1, 1}})[0], (Bytes{3, 14, 11}));
}

TEST(ImportMovement, ArithmeticOnConstantsStaysBounded) {
  OnnxBuilder b;
  b.input("x", {1, 4});
  b.int64s("huge", {int64_t{1} << 40});
  b.node("ConstantOfShape", {"huge"}, "made");
  b.node("Add", {"x", "made"}, "y");
  b.output("y");
  EXPECT_NE(refusal(b).find("computed by the compiler"), std::string::npos);
}

// ---- arithmetic ---------------------------------------------------------------------

TEST(ImportMovement, PReluHasASlopePerChannel) {
  OnnxBuilder b;
  b.input("x", {1, 3, 1, 2});
  b.quantization("x", 0.5f, 100);
  b.dequantize("x");
  b.floats("slope", {3, 1, 1}, {0.25f, -1, 0});
  b.node("PRelu", {"x_f", "slope"}, "y_f");
  b.quantization("y", 0.5f, 50);
  b.quantize("y");
  b.output("y");
  EXPECT_EQ(interpret(import(b), {{96, 104, 96, 104, 96, 104}})[0],
            (Bytes{49, 54, 54, 54, 50, 54}));
}

TEST(ImportMovement, MeansOverAnyAxes) {
  OnnxBuilder b;
  b.input("x", {1, 1, 2, 3});
  b.quantization("x", 1, 0);
  b.dequantize("x");
  onnx::Node& node = b.node("ReduceMean", {"x_f"}, "y_f");
  OnnxBuilder::ints(node, "axes", {-2});
  OnnxBuilder::integer(node, "keepdims", 0);
  b.quantization("y", 0.5f, 0);
  b.quantize("y");
  b.output("y");
  EXPECT_EQ(interpret(import(b), {counted(6)})[0], (Bytes{3, 5, 7}));
}

TEST(ImportMovement, PoolsOfChannelsLast) {
  OnnxBuilder b;
  b.input("x", {1, 1, 2, 3});
  b.quantization("x", 1, 0);
  b.quantization("y", 0.5f, 0);
  OnnxBuilder::integer(
      b.node("QLinearGlobalAveragePool", {"x", "x_s", "x_z", "y_s", "y_z"}, "y", "com.microsoft"),
      "channels_last", 1);
  b.output("y");
  EXPECT_EQ(interpret(import(b), {counted(6)})[0], (Bytes{3, 5, 7}));
}

TEST(ImportMovement, MaxOfATensorAndANumberIsAClamp) {
  OnnxBuilder b;
  b.input("x", {1, 3});
  b.quantization("x", 1, 2);
  b.dequantize("x");
  b.scale("floor", 1.0f);
  b.node("Max", {"floor", "x_f"}, "y_f");
  b.quantization("y", 1, 0);
  b.quantize("y");
  b.output("y");
  EXPECT_EQ(interpret(import(b), {{0, 3, 9}})[0], (Bytes{1, 1, 7}));
}

TEST(ImportMovement, HalfIsTrue) {
  OneNode one("Reshape", {"x", "shape"});
  one.b.floats("halves", {3}, {0.5f, -0.5f, 2});
  OnnxBuilder::integer(one.b.node("Cast", {"halves"}, "truths"), "to", Tensor::BOOL);
  OnnxBuilder::integer(one.b.node("Cast", {"truths"}, "ones"), "to", Tensor::INT64);
  one.b.int64s("extents", {1, 2, 3});
  one.b.node("Mul", {"ones", "extents"}, "shape");
  const Graph graph = import(one.b);
  EXPECT_EQ(graph.value(graph.outputs[0]).shape, (Shape{1, 2, 3}));
}

}  // namespace
}  // namespace npu::compiler
