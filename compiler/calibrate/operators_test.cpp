// SPDX-License-Identifier: MIT
//
// The float operators against values calculated by hand.
#include "compiler/calibrate/operators.h"

#include <gtest/gtest.h>

#include <cmath>

#include "compiler/testing/onnx_builder.h"

namespace npu::compiler {
namespace {

using testing::OnnxBuilder;

// A node with float operands.
struct Call {
  explicit Call(const std::string& type) { node.set_op_type(type); }
  Call& with(Shape shape, std::vector<float> data) {
    tensors.push_back({std::move(shape), std::move(data)});
    return *this;
  }
  Call& ints(const std::string& name, const std::vector<int64_t>& values) {
    OnnxBuilder::ints(node, name, values);
    return *this;
  }
  Call& integer(const std::string& name, int64_t value) {
    OnnxBuilder::integer(node, name, value);
    return *this;
  }
  Call& real(const std::string& name, float value) {
    onnx::Attribute& attribute = *node.add_attribute();
    attribute.set_name(name);
    attribute.set_f(value);
    return *this;
  }
  Call& list(const std::vector<int64_t>& values) {
    lists.push_back({});
    lists.back().type = ConstType::kInt64;
    lists.back().shape = {static_cast<int64_t>(values.size())};
    lists.back().ints = values;
    return *this;
  }
  Prepared prepared(const std::vector<FloatTensor>& reals) {
    std::vector<FloatOperand> operands;
    operands.reserve(reals.size() + lists.size());
    for (const FloatTensor& tensor : reals) operands.push_back({&tensor, nullptr});
    for (const ConstTensor& list : lists) operands.push_back({nullptr, &list});
    FloatNode call(node, operands, 13);
    Prepared out = prepare(call);
    broken = call.broken;
    return out;
  }
  std::optional<FloatTensor> run() {
    // Shapes alone lead to the same shape or refusal; a Resize asks for its scales too.
    std::vector<FloatTensor> shapes = tensors;
    for (size_t i = 0; i < shapes.size() && (i == 0 || node.op_type() != "Resize"); ++i)
      shapes[i].data.clear();
    const Prepared shape = prepared(shapes);
    const RuleBreak early = broken;
    const Prepared computation = prepared(tensors);
    EXPECT_EQ(early.rule, broken.rule);
    EXPECT_EQ(shape.has_value(), computation.has_value());
    if (!computation) return std::nullopt;
    EXPECT_EQ(shape->shape, computation->shape);
    return compute(*computation, [] {});
  }
  onnx::Node node;
  std::vector<FloatTensor> tensors;
  std::vector<ConstTensor> lists;
  RuleBreak broken;
};

void expect(Call call, const Shape& shape, const std::vector<float>& values) {
  const std::optional<FloatTensor> out = call.run();
  ASSERT_TRUE(out) << call.broken.rule << ": " << call.broken.value;
  EXPECT_EQ(out->shape, shape);
  ASSERT_EQ(out->data.size(), values.size());
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(out->data[i], values[i], 1e-5) << i;
}

std::string refusal(Call call) {
  EXPECT_FALSE(call.run());
  return call.broken.rule;
}

TEST(FloatOperators, TransposedConvolutions) {
  // Kernel and stride alike: every element becomes a block.
  expect(Call("ConvTranspose")
             .with({1, 1, 1, 2}, {1, 2})
             .with({1, 1, 2, 2}, {1, 2, 3, 4})
             .with({1}, {10})
             .ints("strides", {2, 2}),
         {1, 1, 2, 4}, {11, 12, 12, 14, 13, 14, 16, 18});
  // Blocks that overlap, cut at both ends, with one element of nothing but padding.
  expect(Call("ConvTranspose")
             .with({1, 1, 2}, {1, 2})
             .with({1, 1, 3}, {1, 10, 100})
             .ints("strides", {2})
             .ints("pads", {1, 0})
             .ints("output_padding", {1}),
         {1, 1, 5}, {10, 102, 20, 200, 0});
  expect(
      Call("ConvTranspose").with({1, 1, 2}, {1, 2}).with({1, 1, 2}, {1, 10}).ints("dilations", {2}),
      {1, 1, 4}, {1, 2, 10, 20});
  // Two groups of one input and two output channels.
  expect(Call("ConvTranspose")
             .with({1, 2, 1, 1}, {1, 2})
             .with({2, 2, 1, 2}, {1, 2, 3, 4, 5, 6, 7, 8})
             .integer("group", 2),
         {1, 4, 1, 2}, {1, 2, 3, 4, 10, 12, 14, 16});
  EXPECT_NE(refusal(Call("ConvTranspose")
                        .with({1, 2, 1, 1}, {1, 2})
                        .with({2, 1, 1, 1}, {1, 2})
                        .with({2}, {1, 2})),
            "");
  EXPECT_NE(refusal(Call("ConvTranspose").with({1, 2, 1, 1}, {1, 2}).with({1, 1, 1, 1}, {1})), "");
}

TEST(FloatOperators, ConvolutionWithPadsAndStride) {
  // 3x3 image, 2x2 kernel, stride 2, one row and column of padding before.
  expect(Call("Conv")
             .with({1, 1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9})
             .with({1, 1, 2, 2}, {1, 10, 100, 1000})
             .with({1}, {0.5f})
             .ints("strides", {2, 2})
             .ints("pads", {1, 1, 0, 0}),
         {1, 1, 2, 2}, {1000.5f, 3200.5f, 7040.5f, 9865.5f});
}

TEST(FloatOperators, DilatedConvolution) {
  expect(
      Call("Conv").with({1, 1, 5}, {1, 2, 3, 4, 5}).with({1, 1, 2}, {1, 10}).ints("dilations", {3}),
      {1, 1, 2}, {41, 52});
}

TEST(FloatOperators, GroupedConvolution) {
  expect(Call("Conv")
             .with({1, 2, 1, 2}, {1, 2, 3, 4})
             .with({4, 1, 1, 1}, {1, 2, 3, 4})
             .integer("group", 2),
         {1, 4, 1, 2}, {1, 2, 2, 4, 9, 12, 12, 16});
}

TEST(FloatOperators, KernelBeyondTheInput) {
  // All of the kernel but its middle column lies in the padding.
  expect(Call("Conv")
             .with({1, 1, 1, 1}, {2})
             .with({1, 1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9})
             .ints("pads", {1, 1, 1, 1}),
         {1, 1, 1, 1}, {10});
}

TEST(FloatOperators, Gemm) {
  expect(Call("Gemm")
             .with({2, 3}, {1, 2, 3, 4, 5, 6})
             .with({2, 3}, {1, 0, 0, 0, 1, 1})
             .with({2}, {10, 20})
             .integer("transB", 1)
             .real("alpha", 2)
             .real("beta", 0.5f),
         {2, 2}, {7, 20, 13, 32});
  expect(Call("Gemm").with({2, 1}, {1, 2}).with({1, 2}, {3, 4}).with({2, 1}, {10, 20}), {2, 2},
         {13, 14, 26, 28});
}

TEST(FloatOperators, MatMulOfBatches) {
  expect(Call("MatMul").with({2, 1, 2}, {1, 2, 3, 4}).with({2, 2, 1}, {1, 10, 100, 1000}),
         {2, 1, 1}, {21, 4300});
  expect(Call("MatMul").with({2, 1, 2}, {1, 2, 3, 4}).with({2, 1}, {1, 10}), {2, 1, 1}, {21, 43});
}

TEST(FloatOperators, BatchNormalization) {
  expect(Call("BatchNormalization")
             .with({1, 2, 1, 1}, {5, 7})
             .with({2}, {2, 1})
             .with({2}, {1, 0})
             .with({2}, {3, 7})
             .with({2}, {4, 1})
             .real("epsilon", 0),
         {1, 2, 1, 1}, {3, 0});
}

TEST(FloatOperators, Pools) {
  const std::vector<float> image = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  expect(Call("MaxPool")
             .with({1, 1, 3, 3}, image)
             .ints("kernel_shape", {2, 2})
             .ints("strides", {2, 2})
             .integer("ceil_mode", 1),
         {1, 1, 2, 2}, {5, 6, 8, 9});
  expect(Call("AveragePool")
             .with({1, 1, 3, 3}, image)
             .ints("kernel_shape", {2, 2})
             .ints("strides", {2, 2})
             .ints("pads", {1, 1, 0, 0}),
         {1, 1, 2, 2}, {1, 2.5f, 5.5f, 7});
  expect(Call("AveragePool")
             .with({1, 1, 3, 3}, image)
             .ints("kernel_shape", {2, 2})
             .ints("strides", {2, 2})
             .ints("pads", {1, 1, 0, 0})
             .integer("count_include_pad", 1),
         {1, 1, 2, 2}, {0.25f, 1.25f, 2.75f, 7});
  expect(Call("GlobalAveragePool").with({1, 1, 3, 3}, image), {1, 1, 1, 1}, {5});
  expect(Call("ReduceMean").with({1, 3, 3}, image).ints("axes", {-1}).integer("keepdims", 0),
         {1, 3}, {2, 5, 8});
  expect(Call("ReduceMean").with({1, 3, 3}, image).ints("axes", {1}), {1, 1, 3}, {4, 5, 6});
}

TEST(FloatOperators, Softmax) {
  const float e = std::exp(1.0f);
  expect(Call("Softmax").with({2, 2}, {1000, 1001, 0, 0}), {2, 2},
         {1 / (1 + e), e / (1 + e), 0.5f, 0.5f});
  expect(Call("Softmax").with({2, 2}, {0, 0, 0, 1}).integer("axis", 0), {2, 2},
         {0.5f, 1 / (1 + e), 0.5f, e / (1 + e)});
}

TEST(FloatOperators, LayerNormalization) {
  expect(Call("LayerNormalization")
             .with({1, 2}, {1, 3})
             .with({2}, {2, 3})
             .with({2}, {10, 20})
             .real("epsilon", 0),
         {1, 2}, {8, 23});
}

TEST(FloatOperators, FunctionsOfOneValue) {
  const std::vector<float> x = {-4, -1, 0, 2};
  const auto unary = [&](const std::string& type) { return Call(type).with({4}, x); };
  expect(unary("Relu"), {4}, {0, 0, 0, 2});
  expect(unary("LeakyRelu").real("alpha", 0.5f), {4}, {-2, -0.5f, 0, 2});
  expect(unary("Sigmoid"), {4}, {0.0179862f, 0.2689414f, 0.5f, 0.8807971f});
  expect(unary("Tanh"), {4}, {-0.9993293f, -0.7615942f, 0, 0.9640276f});
  expect(unary("HardSigmoid"), {4}, {0, 0.3f, 0.5f, 0.9f});
  expect(unary("HardSwish"), {4}, {0, -1 / 3.0f, 0, 5 / 3.0f});
  expect(unary("Erf"), {4}, {-1, -0.8427008f, 0, 0.9953223f});
  expect(unary("Gelu"), {4}, {-0.0001267f, -0.1586553f, 0, 1.9544997f});
  expect(unary("Clip").with({}, {-1}).with({}, {1}), {4}, {-1, -1, 0, 1});
  expect(Call("Sqrt").with({2}, {4, 9}), {2}, {2, 3});
}

TEST(FloatOperators, TwoOperandsAreBroadcast) {
  expect(Call("Add").with({2, 2}, {1, 2, 3, 4}).with({2, 1}, {10, 20}), {2, 2}, {11, 12, 23, 24});
  expect(Call("Sub").with({2}, {1, 2}).with({2, 1}, {10, 20}), {2, 2}, {-9, -8, -19, -18});
  expect(Call("Mul").with({2}, {1, 2}).with({}, {3}), {2}, {3, 6});
  expect(Call("Div").with({2}, {1, 2}).with({}, {4}), {2}, {0.25f, 0.5f});
  expect(Call("Pow").with({2}, {3, 2}).with({}, {2}), {2}, {9, 4});
  expect(Call("Max").with({2}, {3, 2}).with({}, {1}).with({1}, {2.5f}), {2}, {3, 2.5f});
  expect(Call("Min").with({2}, {3, 2}), {2}, {3, 2});
}

TEST(FloatOperators, DataMovement) {
  const std::vector<float> x = {1, 2, 3, 4, 5, 6};
  expect(Call("Reshape").with({2, 3}, x).list({3, -1}), {3, 2}, x);
  expect(Call("Flatten").with({1, 2, 3}, x), {1, 6}, x);
  expect(Call("Squeeze").with({1, 2, 1, 3}, x).list({0}), {2, 1, 3}, x);
  expect(Call("Unsqueeze").with({2, 3}, x).list({1}), {2, 1, 3}, x);
  expect(Call("Transpose").with({2, 3}, x), {3, 2}, {1, 4, 2, 5, 3, 6});
  expect(Call("Slice").with({2, 3}, x).list({1}).list({3}).list({1}), {2, 2}, {2, 3, 5, 6});
  expect(Call("Concat").with({1, 2}, {1, 2}).with({1, 1}, {3}).integer("axis", 1), {1, 3},
         {1, 2, 3});
}

TEST(FloatOperators, Selections) {
  const std::vector<float> x = {1, 2, 3, 4, 5, 6};
  expect(Call("Gather").with({2, 3}, x).list({2, -3}).integer("axis", -1), {2, 2}, {3, 1, 6, 4});
  expect(Call("Gather").with({2, 3}, x).list({1}), {1, 3}, {4, 5, 6});
  Call scalar = Call("Gather").with({2, 3}, x).list({1});
  scalar.lists[0].shape = {};
  expect(scalar, {3}, {4, 5, 6});
  expect(Call("Expand").with({1, 2}, {1, 2}).list({2, 2, 1}), {2, 2, 2}, {1, 2, 1, 2, 1, 2, 1, 2});
  EXPECT_EQ(refusal(Call("Gather").with({2}, {1, 2}).list({2})), "indices lie inside the axis");
  EXPECT_EQ(refusal(Call("Gather").with({2}, {1, 2}).list({})), "a Gather selects something");
  EXPECT_EQ(refusal(Call("Gather").with({2}, {1, 2}).list({0}).integer("axis", 1)),
            "axis is one of the input's");
}

TEST(FloatOperators, FramesAndResizes) {
  expect(Call("Pad").with({2, 2}, {1, 2, 3, 4}).ints("pads", {0, 1, 0, -1}), {2, 2}, {0, 1, 0, 3});
  expect(Call("Pad").with({2}, {1, 2}).ints("pads", {1, 1}).real("value", 7), {4}, {7, 1, 2, 7});
  expect(Call("Resize").with({1, 2}, {1, 2}).with({}, {0}).with({2}, {2, 2}), {2, 4},
         {1, 1, 2, 2, 1, 1, 2, 2});
  expect(Call("DepthToSpace").with({1, 4, 1, 1}, {1, 2, 3, 4}).integer("blocksize", 2),
         {1, 1, 2, 2}, {1, 2, 3, 4});
  // Too large after one axis, though not after both.
  EXPECT_EQ(refusal(Call("Resize").with({1000, 60000}, {}).with({}, {0}).with({2}, {10, 0.01f})),
            "a tensor of a float model has at most 2^28 elements");
}

TEST(FloatOperators, TooMuchWorkIsRefused) {
  const std::string rule = "a node of a float model has at most 2^36 multiply-accumulates";
  EXPECT_EQ(refusal(Call("Conv").with({1, 4096, 256, 256}, {}).with({4096, 4096, 1, 1}, {})), rule);
  EXPECT_EQ(refusal(Call("Gemm").with({8192, 8192}, {}).with({8192, 8192}, {})), rule);
  EXPECT_EQ(refusal(Call("MatMul").with({8192, 8192}, {}).with({8192, 8192}, {})), rule);
  EXPECT_EQ(refusal(Call("MaxPool").with({1, 1, 8192, 8192}, {}).ints("kernel_shape", {200, 200})),
            rule);
}

// Long work is interrupted inside of a node.
TEST(FloatOperators, CanBeStopped) {
  struct Stop {};
  Call conv = Call("Conv")
                  .with({1, 64, 64, 64}, std::vector<float>(64 * 64 * 64))
                  .with({64, 64, 3, 3}, std::vector<float>(64 * 64 * 9))
                  .ints("pads", {1, 1, 1, 1});
  const Prepared computation = conv.prepared(conv.tensors);
  ASSERT_TRUE(computation);
  EXPECT_THROW(compute(*computation, [] { throw Stop(); }), Stop);
}

TEST(FloatOperators, RefuseWhatMakesNoSense) {
  EXPECT_NE(
      refusal(
          Call("Conv").with({1, 2, 3, 3}, std::vector<float>(18)).with({1, 3, 1, 1}, {1, 1, 1})),
      "");
  EXPECT_NE(refusal(Call("Conv").with({4}, {1, 2, 3, 4}).with({1}, {1})), "");
  EXPECT_NE(refusal(Call("Gemm").with({2, 1}, {1, 2}).with({2, 1}, {1, 2})), "");
  EXPECT_NE(refusal(Call("MatMul").with({2}, {1, 2}).with({2}, {1, 2})), "");
  EXPECT_NE(refusal(Call("Add").with({2}, {1, 2}).with({3}, {1, 2, 3})), "");
  EXPECT_NE(refusal(Call("Relu")), "");
  EXPECT_NE(refusal(Call("Softmax").with({}, {1})), "");
  EXPECT_NE(refusal(Call("ReduceMean").with({1, 1}, {1}).ints("axes", {2})), "");
  EXPECT_NE(refusal(Call("MaxPool").with({1, 1, 2, 2}, {1, 2, 3, 4})), "");
  EXPECT_NE(refusal(Call("Reshape").with({2}, {1, 2}).list({3})), "");
  EXPECT_NE(refusal(Call("Concat")), "");
  EXPECT_NE(refusal(Call("Resize").with({2}, {1, 2})), "");
  EXPECT_NE(refusal(Call("MatMul").with({2, 0}, {}).with({0, 3}, {})), "");
  EXPECT_NE(refusal(Call("Concat").with({0}, {})), "");
  // 2^30 elements from a small file.
  EXPECT_NE(refusal(Call("Add")
                        .with({32768, 1}, std::vector<float>(32768))
                        .with({1, 32768}, std::vector<float>(32768))),
            "");
}

}  // namespace
}  // namespace npu::compiler
