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

Graph import(const OnnxBuilder& builder, int64_t batch = 0) {
  Diagnostics diagnostics;
  ImportOptions options;
  options.batch = batch;
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
  EXPECT_EQ(import(b, 3).value(0).shape[0], 3);
}

TEST(Import, NodesInAnyOrder) {
  OnnxBuilder b = qdq_conv();
  b.graph().mutable_node()->SwapElements(0, 4);
  EXPECT_EQ(interpret(import(b), {{14, 10, 12, 10}})[0], (Bytes{104, 102}));
}

TEST(Import, EveryProblemIsReportedWithItsNode) {
  OnnxBuilder b = qdq_conv();
  b.dequantize("y");
  b.node("Erf", {"y_f2"}, "e_f");
  b.graph().mutable_node(5)->set_output(0, "y_f2");
  b.node("Gelu", {"y_f2"}, "g_f");
  b.output("e_f");
  b.output("g_f");
  const Diagnostics diagnostics = refuse(b);
  ASSERT_EQ(diagnostics.problems().size(), 2u) << diagnostics.text();
  EXPECT_EQ(diagnostics.problems()[0].node, "e_f_node");
  EXPECT_EQ(diagnostics.problems()[1].op, "Gelu");
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
