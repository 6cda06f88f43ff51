// SPDX-License-Identifier: MIT
#include "compiler/import/import.h"

#include <gtest/gtest.h>

#include <cmath>

#include "compiler/reference/interpreter.h"
#include "compiler/testing/onnx_builder.h"

namespace npu::compiler {
namespace {

using ::npu::onnx::Tensor;
using testing::OnnxBuilder;

Graph import(const OnnxBuilder& builder, const InputShapes& shapes = {}) {
  Diagnostics diagnostics;
  const ImportOptions options = {.shapes = shapes};
  const std::string file = builder.serialize();
  std::optional<Graph> graph = import_onnx(testing::as_bytes(file), options, diagnostics);
  EXPECT_TRUE(graph) << diagnostics.text();
  return graph ? std::move(*graph) : Graph{};
}

Diagnostics refuse(const OnnxBuilder& builder) {
  Diagnostics diagnostics;
  const std::string file = builder.serialize();
  EXPECT_FALSE(import_onnx(testing::as_bytes(file), {}, diagnostics));
  return diagnostics;
}

// x (2 channels) -> 1x1 convolution to 1 channel -> y.
OnnxBuilder qdq_conv() {
  OnnxBuilder b;
  b.input("x", {1, 2, 1, 2});
  b.quantization("x", 0.5f, 10);
  b.bytes("w", {1, 2, 1, 1}, {3, -2});
  b.quantization("w", 0.25f, 0, Tensor::INT8);
  b.int32s("b", {1}, {8});
  b.scale("b_s", 0.125f);
  b.node("DequantizeLinear", {"b", "b_s"}, "b_f");
  b.dequantize("x");
  b.dequantize("w");
  b.node("Conv", {"x_f", "w_f", "b_f"}, "y_f");
  b.quantization("y", 0.5f, 100);
  b.quantize("y");
  b.output("y");
  return b;
}

TEST(Import, QdqConvolution) {
  const Graph graph = import(qdq_conv());
  ASSERT_EQ(graph.ops.size(), 1u);
  const MacOp* mac = graph.ops[0].as<MacOp>();
  ASSERT_NE(mac, nullptr);
  EXPECT_EQ(mac->scales, std::vector<float>{0.25f});
  EXPECT_EQ(mac->bias, std::vector<int32_t>{8});
  EXPECT_EQ(graph.sources[graph.ops[0].source].type, "Conv");
  // 3 * (14 - 10) - 2 * (12 - 10) + 8 = 16; 16 * 0.25 + 100 = 104.
  EXPECT_EQ(interpret(graph, {{14, 10, 12, 10}})[0], (Bytes{104, 102}));
}

TEST(Import, QOperatorConvolutionIsTheSame) {
  OnnxBuilder b;
  b.input("x", {1, 2, 1, 2});
  b.quantization("x", 0.5f, 10);
  b.bytes("w", {1, 2, 1, 1}, {3, -2});
  b.quantization("w", 0.25f, 0, Tensor::INT8);
  b.int32s("b", {1}, {8});
  b.quantization("y", 0.5f, 100);
  b.node("QLinearConv", {"x", "x_s", "x_z", "w", "w_s", "w_z", "y_s", "y_z", "b"}, "y");
  b.output("y");
  EXPECT_EQ(interpret(import(b), {{14, 10, 12, 10}})[0], (Bytes{104, 102}));
}

TEST(Import, PerChannelWeightsWithZeroPoints) {
  OnnxBuilder b;
  b.input("x", {1, 1, 1, 1});
  b.quantization("x", 1.0f, 0);
  b.bytes("w", {2, 1, 1, 1}, {12, 20}, Tensor::UINT8);
  b.floats("w_s", {2}, {1.0f, 0.5f});
  b.bytes("w_z", {2}, {10, 10}, Tensor::UINT8);
  b.quantization("y", 1.0f, 0);
  b.node("QLinearConv", {"x", "x_s", "x_z", "w", "w_s", "w_z", "y_s", "y_z"}, "y");
  b.output("y");
  EXPECT_EQ(interpret(import(b), {{3}})[0], (Bytes{6, 15}));
}

TEST(Import, FloatEdgesBecomeTheirQuantizedTensors) {
  OnnxBuilder b;
  b.input("image", {1, 4}, Tensor::FLOAT);
  b.quantization("x", 0.5f, 3, Tensor::INT8);
  b.node("QuantizeLinear", {"image", "x_s", "x_z"}, "x");
  b.dequantize("x");
  b.node("Relu", {"x_f"}, "y_f");
  b.quantization("y", 0.5f, 3, Tensor::INT8);
  b.quantize("y");
  b.node("DequantizeLinear", {"y", "y_s", "y_z"}, "scores");
  b.output("scores");
  const Graph graph = import(b);
  EXPECT_EQ(graph.input_names, std::vector<std::string>{"image"});
  EXPECT_EQ(graph.output_names, std::vector<std::string>{"scores"});
  EXPECT_EQ(graph.value(graph.inputs[0]).quantization, (Quantization{0.5f, 3}));
  EXPECT_EQ(graph.value(graph.inputs[0]).type, ByteType::kInt8);
  EXPECT_EQ(interpret(graph, {{0, 2, 3, 100}})[0], (Bytes{3, 3, 3, 100}));
}

// Clamps of real values behind an operator clamp its stored result.
TEST(Import, ReluBehindAConvolutionIsAClamp) {
  OnnxBuilder b = qdq_conv();
  b.graph().mutable_node(3)->set_output(0, "c_f");
  b.node("Relu", {"c_f"}, "y_f");
  const Graph graph = import(b);
  ASSERT_EQ(graph.ops.size(), 1u);
  EXPECT_EQ(graph.ops[0].as<MacOp>()->clamp.low, 100);
}

TEST(Import, GemmWithEitherOrderOfB) {
  for (const bool transposed : {false, true}) {
    OnnxBuilder b;
    b.input("x", {1, 2});
    b.quantization("x", 1.0f, 0);
    b.dequantize("x");
    if (transposed) {
      b.bytes("w", {3, 2}, {1, 4, 2, 5, 3, 6});
    } else {
      b.bytes("w", {2, 3}, {1, 2, 3, 4, 5, 6});
    }
    b.quantization("w", 1.0f, 0, Tensor::INT8);
    b.dequantize("w");
    onnx::Node& gemm = b.node("Gemm", {"x_f", "w_f"}, "y_f");
    if (transposed) OnnxBuilder::integer(gemm, "transB", 1);
    b.quantization("y", 1.0f, 0);
    b.quantize("y");
    b.output("y");
    EXPECT_EQ(interpret(import(b), {{10, 1}})[0], (Bytes{14, 25, 36})) << transposed;
  }
}

// Data movement and max pools may stand between an operator and its
// QuantizeLinear: they commute with it.
TEST(Import, PoolAndReshapeBeforeTheQuantization) {
  OnnxBuilder b = qdq_conv();
  b.graph().mutable_node(3)->set_output(0, "c_f");
  onnx::Node& pool = b.node("MaxPool", {"c_f"}, "p_f");
  OnnxBuilder::ints(pool, "kernel_shape", {1, 2});
  b.int64s("shape", {1, -1});
  b.node("Reshape", {"p_f", "shape"}, "y_f");
  const Graph graph = import(b);
  EXPECT_EQ(graph.value(graph.outputs[0]).shape, (Shape{1, 1}));
  EXPECT_EQ(interpret(graph, {{14, 10, 12, 10}})[0], Bytes{104});
}

TEST(Import, SymbolicBatch) {
  OnnxBuilder b = qdq_conv();
  b.graph()
      .mutable_input(0)
      ->mutable_type()
      ->mutable_tensor_type()
      ->mutable_shape()
      ->mutable_dim(0)
      ->set_dim_param("N");
  const Diagnostics diagnostics = refuse(b);
  EXPECT_NE(diagnostics.text().find("--batch"), std::string::npos);
  EXPECT_EQ(import(b, {.batch = 3}).value(0).shape[0], 3);
  EXPECT_EQ(import(b, {.by_name = {{"x", {4, 2, 1, 2}}}}).value(0).shape[0], 4);
}

TEST(Import, NodesInAnyOrder) {
  OnnxBuilder b = qdq_conv();
  b.graph().mutable_node()->SwapElements(0, 4);
  EXPECT_EQ(interpret(import(b), {{14, 10, 12, 10}})[0], (Bytes{104, 102}));
}

// Between two quantizations of scale 0.25 and zero point 128, for what leads from x_f to y_f.
OnnxBuilder between(std::initializer_list<int64_t> shape, int64_t opset = 13) {
  OnnxBuilder b(opset);
  b.input("x", shape);
  b.quantization("x", 0.25f, 128);
  b.dequantize("x");
  b.quantization("y", 0.25f, 128);
  return b;
}

Graph finish(OnnxBuilder& b) {
  b.quantize("y");
  b.output("y");
  return import(b);
}

// Whatever operators a function of one value is written with, it is one table.
TEST(Import, GeluInEveryFormIsATable) {
  const auto expected = [](float v) {
    const float y = 0.5f * v * (1 + std::erf(v / std::sqrt(2.0f)));
    return static_cast<uint8_t>(std::nearbyint(y / 0.25f) + 128);
  };
  Bytes bytes{0, 100, 120, 125, 128, 131, 140, 255}, wanted;
  for (const uint8_t byte : bytes) wanted.push_back(expected((byte - 128) * 0.25f));
  OnnxBuilder whole = between({8}, 20), parts = between({8});
  whole.node("Gelu", {"x_f"}, "y_f");
  parts.scale("root", std::sqrt(2.0f));
  parts.scale("one", 1);
  parts.scale("half", 0.5f);
  parts.node("Div", {"x_f", "root"}, "scaled");
  parts.node("Erf", {"scaled"}, "erf");
  parts.node("Add", {"one", "erf"}, "sum");
  parts.node("Mul", {"x_f", "sum"}, "product");
  parts.node("Mul", {"product", "half"}, "y_f");
  for (OnnxBuilder* b : {&whole, &parts}) {
    const Graph graph = finish(*b);
    ASSERT_EQ(graph.ops.size(), 1u);
    EXPECT_NE(graph.ops[0].as<LutOp>(), nullptr);
    EXPECT_EQ(interpret(graph, {bytes})[0], wanted);
  }
}

TEST(Import, SumsAndProductsWithOneConstantAreTables) {
  for (const char* type : {"Add", "Mul"}) {
    OnnxBuilder b = between({3});
    b.bytes("c", {1}, {132}, Tensor::UINT8);
    b.quantization("c", 0.5f, 128);
    b.dequantize("c");
    b.node(type, {"x_f", "c_f"}, "y_f");
    const Graph graph = finish(b);
    ASSERT_EQ(graph.ops.size(), 1u);
    EXPECT_NE(graph.ops[0].as<LutOp>(), nullptr) << type;
    // The constant is 2.
    const bool add = std::string(type) == "Add";
    EXPECT_EQ(interpret(graph, {{120, 128, 130}})[0],
              add ? (Bytes{128, 136, 138}) : (Bytes{112, 128, 132}));
  }
}

// As the runtime's QuantizeLinear takes what is no number.
TEST(Import, NoNumberIsTheLowestByte) {
  OnnxBuilder b;
  b.input("x", {1, 2});
  b.quantization("x", 1, 100);
  b.dequantize("x");
  b.node("Sqrt", {"x_f"}, "root");
  b.node("Relu", {"root"}, "y_f");
  b.quantization("y", 1, 50);
  b.quantize("y");
  b.output("y");
  EXPECT_EQ(interpret(import(b), {{99, 104}})[0], (Bytes{0, 52}));
}

TEST(Import, DivisionOfTwoTensorsIsRefused) {
  OnnxBuilder b = between({3});
  b.input("z", {3});
  b.quantization("z", 0.25f, 128);
  b.dequantize("z");
  b.node("Div", {"x_f", "z_f"}, "y_f");
  b.quantize("y");
  b.output("y");
  EXPECT_NE(refuse(b).text().find("Div"), std::string::npos);
}

// MatMul, the bias that follows it, and a constant factor behind that are one product.
TEST(Import, BiasAndFactorBehindAProduct) {
  OnnxBuilder b = between({2, 2});
  b.bytes("w", {2, 2}, {1, 2, 3, 4});
  b.quantization("w", 1.0f, 0, Tensor::INT8);
  b.dequantize("w");
  b.node("MatMul", {"x_f", "w_f"}, "m_f");
  b.floats("bias", {2}, {1.0f, -1.0f});
  b.node("Add", {"bias", "m_f"}, "s_f");
  b.scale("two", 2);
  b.node("Div", {"s_f", "two"}, "y_f");
  const Graph graph = finish(b);
  ASSERT_EQ(graph.ops.size(), 1u);
  EXPECT_EQ(graph.ops[0].as<MacOp>()->bias, (std::vector<int32_t>{4, -4}));
  // Rows (1, 2) and (0, -1): (7 + 1, 10 - 1) / 2 and (-3 + 1, -4 - 1) / 2, in quarters.
  EXPECT_EQ(interpret(graph, {{132, 136, 128, 124}})[0], (Bytes{144, 146, 124, 118}));
  EXPECT_EQ(graph.value(graph.outputs[0]).quantization, (Quantization{0.25f, 128}));
}

// The first part is larger where the parts do not divide the axis.
TEST(Import, SplitIsSlices) {
  OnnxBuilder b = between({2, 3}, 18);
  onnx::Node& node = b.node("Split", {"x_f"}, "first");
  node.add_output("y_f");
  OnnxBuilder::integer(node, "axis", -1);
  OnnxBuilder::integer(node, "num_outputs", 2);
  EXPECT_EQ(interpret(finish(b), {{1, 2, 3, 4, 5, 6}})[0], (Bytes{3, 6}));
  OnnxBuilder sized = between({2, 3});
  sized.int64s("sizes", {1, 2});
  onnx::Node& parts = sized.node("Split", {"x_f", "sizes"}, "first");
  parts.add_output("y_f");
  OnnxBuilder::integer(parts, "axis", 1);
  EXPECT_EQ(interpret(finish(sized), {{1, 2, 3, 4, 5, 6}})[0], (Bytes{2, 3, 5, 6}));
}

TEST(Import, SplitBeyondItsAxisIsRefused) {
  for (const std::vector<int64_t>& sizes :
       {std::vector<int64_t>{2, 2}, {1, 1}, {3, 0}, {INT64_MAX, 1}, {4, -1}}) {
    OnnxBuilder b = between({2, 3});
    b.int64s("sizes", sizes);
    onnx::Node& node = b.node("Split", {"x_f", "sizes"}, "first");
    node.add_output("y_f");
    OnnxBuilder::integer(node, "axis", 1);
    b.quantize("y");
    b.output("y");
    EXPECT_NE(refuse(b).text().find("Split"), std::string::npos);
  }
}

TEST(Import, SoftmaxOverAnyAxis) {
  // Before opset 13 the default axis is 1, and all that follow count with it.
  for (const int64_t opset : {11, 13}) {
    OnnxBuilder b(opset);
    b.input("x", {1, 2, 2});
    b.quantization("x", 1.0f, 0);
    b.dequantize("x");
    OnnxBuilder::integer(b.node("Softmax", {"x_f"}, "y_f"), "axis", 1);
    b.quantization("y", 1.0f / 256, 0);
    const Graph graph = finish(b);
    EXPECT_EQ(interpret(graph, {{9, 20, 9, 0}})[0],
              opset == 11 ? (Bytes{0, 255, 0, 0}) : (Bytes{128, 255, 128, 0}));
  }
}

TEST(Import, LayerNormalization) {
  OnnxBuilder b = between({1, 4}, 17);
  b.floats("gamma", {4}, {1, 1, 2, 2});
  b.bytes("beta", {4}, {0, 4, 0, 4}, Tensor::INT8);
  b.quantization("beta", 0.25f, 0, Tensor::INT8);
  b.dequantize("beta");
  b.node("LayerNormalization", {"x_f", "gamma", "beta_f"}, "y_f");
  // Two and two: mean between them, deviation 1.
  EXPECT_EQ(interpret(finish(b), {{100, 108, 100, 108}})[0], (Bytes{124, 136, 120, 140}));
}

TEST(Import, LayerNormalizationWithShortScaleIsRefused) {
  OnnxBuilder b = between({1, 4}, 17);
  b.floats("gamma", {3}, {1, 1, 2});
  b.node("LayerNormalization", {"x_f", "gamma"}, "y_f");
  b.quantize("y");
  b.output("y");
  EXPECT_EQ(refuse(b).status(), Status::kMalformed);
}

TEST(Import, EveryProblemIsReportedWithItsNode) {
  OnnxBuilder b = qdq_conv();
  b.dequantize("y");
  b.node("Det", {"y_f2"}, "e_f");
  b.graph().mutable_node(5)->set_output(0, "y_f2");
  b.node("Einsum", {"y_f2"}, "g_f");
  // Behind a node that failed: what is unknown is said, what is known cannot be judged.
  b.node("Hardmax", {"e_f"}, "h_f");
  b.node("Sigmoid", {"h_f"}, "i_f");
  b.output("e_f");
  b.output("g_f");
  b.output("i_f");
  const Diagnostics diagnostics = refuse(b);
  ASSERT_EQ(diagnostics.problems().size(), 3u) << diagnostics.text();
  EXPECT_EQ(diagnostics.problems()[2].op, "Hardmax");
  EXPECT_EQ(diagnostics.problems()[0].node, "e_f_node");
  EXPECT_EQ(diagnostics.problems()[1].op, "Einsum");
  EXPECT_EQ(diagnostics.status(), Status::kUnsupported);
}

TEST(Import, UnknownAttributesAreRefused) {
  OnnxBuilder b = qdq_conv();
  OnnxBuilder::integer(*b.graph().mutable_node(3), "twist", 1);
  EXPECT_NE(refuse(b).text().find("twist"), std::string::npos);
}

TEST(Import, BiasOfAnotherScaleIsRefused) {
  OnnxBuilder b = qdq_conv();
  for (onnx::Tensor& tensor : *b.graph().mutable_initializer()) {
    if (tensor.name() == "b_s") tensor.set_float_data(0, 0.3f);
  }
  EXPECT_NE(refuse(b).text().find("bias"), std::string::npos);
}

TEST(Import, FloatModelsAreRefused) {
  OnnxBuilder b;
  b.input("x", {1, 4}, Tensor::FLOAT);
  b.node("Relu", {"x"}, "y");
  b.output("y");
  const Diagnostics diagnostics = refuse(b);
  EXPECT_EQ(diagnostics.problems()[0].node, "y_node");
  EXPECT_NE(diagnostics.text().find("QuantizeLinear"), std::string::npos);
}

struct Damage {
  const char* name;
  void (*apply)(OnnxBuilder&);
};

class MalformedModels : public ::testing::TestWithParam<Damage> {};

TEST_P(MalformedModels, AreRefused) {
  OnnxBuilder b = qdq_conv();
  GetParam().apply(b);
  refuse(b);
}

INSTANTIATE_TEST_SUITE_P(
    Import, MalformedModels,
    ::testing::Values(
        Damage{"cycle", [](OnnxBuilder& b) { b.graph().mutable_node(1)->set_input(0, "y"); }},
        Damage{"missing_tensor",
               [](OnnxBuilder& b) { b.graph().mutable_node(3)->set_input(0, "no"); }},
        Damage{"no_outputs", [](OnnxBuilder& b) { b.graph().clear_output(); }},
        Damage{"output_of_nothing", [](OnnxBuilder& b) { b.output("none"); }},
        Damage{"produced_twice",
               [](OnnxBuilder& b) { b.graph().mutable_node(3)->set_output(0, "x_f"); }},
        Damage{"short_data",
               [](OnnxBuilder& b) { b.graph().mutable_initializer(2)->set_dims(0, 1000); }},
        Damage{"huge_dimension",
               [](OnnxBuilder& b) {
                 b.graph().mutable_initializer(2)->set_dims(0, int64_t{1} << 62);
               }},
        Damage{"negative_dimension",
               [](OnnxBuilder& b) { b.graph().mutable_initializer(2)->set_dims(0, -1); }},
        Damage{"zero_scale",
               [](OnnxBuilder& b) { b.graph().mutable_initializer(0)->set_float_data(0, 0); }},
        Damage{"nan_scale",
               [](OnnxBuilder& b) { b.graph().mutable_initializer(0)->set_float_data(0, NAN); }},
        Damage{"infinite_ratio",
               [](OnnxBuilder& b) { b.graph().mutable_initializer(0)->set_float_data(0, 3e38f); }},
        Damage{
            "groups_that_do_not_divide",
            [](OnnxBuilder& b) { OnnxBuilder::integer(*b.graph().mutable_node(3), "group", 3); }},
        Damage{"negative_strides",
               [](OnnxBuilder& b) {
                 OnnxBuilder::ints(*b.graph().mutable_node(3), "strides", {-1, 1});
               }},
        Damage{"pads_of_another_rank",
               [](OnnxBuilder& b) { OnnxBuilder::ints(*b.graph().mutable_node(3), "pads", {1}); }},
        Damage{"external_data",
               [](OnnxBuilder& b) { b.graph().mutable_initializer(2)->set_data_location(1); }},
        Damage{"opset_of_the_future",
               [](OnnxBuilder& b) { b.model().mutable_opset_import(0)->set_version(99); }}),
    [](const auto& info) { return std::string(info.param.name); });

// A mask that nobody reads does not matter; one that somebody reads cannot be left out in silence.
TEST(Import, FurtherOutputsAreRefusedWhereTheyAreRead) {
  const auto make = [] {
    OnnxBuilder b;
    b.input("x", {1, 4});
    b.node("Dropout", {"x"}, "y").add_output("mask");
    b.output("y");
    return b;
  };
  OnnxBuilder unread = make();
  EXPECT_EQ(import(unread).output_names, std::vector<std::string>{"y"});
  OnnxBuilder returned = make();
  returned.output("mask");
  OnnxBuilder read = make();
  read.node("Identity", {"mask"}, "z");
  read.output("z");
  for (OnnxBuilder* b : {&returned, &read}) {
    Diagnostics diagnostics;
    EXPECT_FALSE(import_onnx(testing::as_bytes(b->serialize()), {}, diagnostics));
    EXPECT_NE(diagnostics.text().find("further output"), std::string::npos) << diagnostics.text();
    EXPECT_NE(diagnostics.text().find("mask"), std::string::npos) << diagnostics.text();
  }
}

TEST(Import, ListsEveryOperatorOnce) {
  const std::vector<SupportedOperator> ops = supported_operators();
  for (size_t i = 0; i < ops.size(); ++i) {
    EXPECT_FALSE(ops[i].constraints.empty());
    for (size_t j = 0; j < i; ++j) {
      EXPECT_FALSE(ops[i].type == ops[j].type && ops[i].domain == ops[j].domain) << ops[i].type;
    }
  }
}

}  // namespace
}  // namespace npu::compiler
