// SPDX-License-Identifier: MIT
//
// What dimensions of a model's inputs become that it leaves open.
#include <gtest/gtest.h>

#include "compiler/import/import.h"
#include "compiler/testing/onnx_builder.h"

namespace npu::compiler {
namespace {

using ::npu::onnx::Tensor;
using testing::OnnxBuilder;

OnnxBuilder one_copy() {
  OnnxBuilder b;
  b.input("x", {1, 2, 1, 2});
  b.node("Identity", {"x"}, "y");
  b.output("y");
  return b;
}

Shape shape_of(const OnnxBuilder& builder, const InputShapes& shapes) {
  Diagnostics diagnostics;
  const std::string file = builder.serialize();
  const auto graph = import_onnx(testing::as_bytes(file), {.shapes = shapes}, diagnostics);
  EXPECT_TRUE(graph) << diagnostics.text();
  return graph ? graph->value(graph->inputs[0]).shape : Shape{};
}

std::string refused(const OnnxBuilder& builder, const InputShapes& shapes) {
  Diagnostics diagnostics;
  const std::string file = builder.serialize();
  EXPECT_FALSE(import_onnx(testing::as_bytes(file), {.shapes = shapes}, diagnostics));
  return diagnostics.text();
}

TEST(ImportInputs, GivenShapesAgreeWithTheModel) {
  OnnxBuilder b = one_copy();
  onnx::TensorType& type = *b.graph().mutable_input(0)->mutable_type()->mutable_tensor_type();
  for (const int open : {0, 2, 3}) type.mutable_shape()->mutable_dim(open)->set_dim_param("N");
  const auto refused_for = [&](const std::string& name, const Shape& shape) {
    return refused(b, {.by_name = {{name, shape}}});
  };
  EXPECT_EQ(shape_of(b, {.by_name = {{"x", {1, 2, 5, 7}}}}), (Shape{1, 2, 5, 7}));
  EXPECT_NE(refused_for("x", {1, 3, 5, 7}).find("[1,3,5,7] for [-1,2,-1,-1]"), std::string::npos)
      << refused_for("x", {1, 3, 5, 7});
  EXPECT_NE(refused_for("x", {1, 2, 5}).find("agrees with the model's"), std::string::npos);
  EXPECT_NE(refused_for("y", {1}).find("Inputs are 'x'"), std::string::npos)
      << refused_for("y", {1});
  EXPECT_NE(refused_for("x", {1 << 20, 2, 1 << 20, 1 << 20}).find("2^36 elements"),
            std::string::npos);
  EXPECT_NE(refused(b, {}).find("--input-shape"), std::string::npos);
  // A model that says nothing of a shape takes any.
  type.clear_shape();
  EXPECT_EQ(shape_of(b, {.by_name = {{"x", {1, 2, 5, 7}}}}), (Shape{1, 2, 5, 7}));
}

// The way out is static quantization.
TEST(ImportInputs, ScalesOfRunTimeAreRefused) {
  OnnxBuilder b(13);
  b.input("x", {1, 4}, Tensor::FLOAT);
  onnx::Node& node = b.node("DynamicQuantizeLinear", {"x"}, "y");
  node.add_output("s");
  node.add_output("z");
  b.output("y");
  EXPECT_NE(refused(b, {}).find("--calibrate"), std::string::npos);
}

}  // namespace
}  // namespace npu::compiler
