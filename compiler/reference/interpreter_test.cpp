// SPDX-License-Identifier: MIT
#include "compiler/reference/interpreter.h"

#include <gtest/gtest.h>

#include "compiler/import/import.h"
#include "compiler/testing/onnx_builder.h"

namespace npu::compiler {
namespace {

using ::npu::onnx::Tensor;
using testing::OnnxBuilder;

// It asks inside of an operator: one alone may take long.
TEST(Interpreter, CanBeStopped) {
  OnnxBuilder b;
  b.input("x", {1, 2, 512, 512});
  b.quantization("x", 0.5f, 10);
  b.bytes("w", {1, 2, 3, 3}, std::vector<int>(18, 1));
  b.quantization("w", 0.25f, 0, Tensor::INT8);
  b.dequantize("x");
  b.dequantize("w");
  b.node("Conv", {"x_f", "w_f"}, "y_f");
  b.quantization("y", 0.5f, 100);
  b.quantize("y");
  b.output("y");
  const std::string file = b.serialize();
  Diagnostics diagnostics;
  const auto graph = import_onnx(testing::as_bytes(file), {}, diagnostics);
  ASSERT_TRUE(graph) << diagnostics.text();
  struct Stop {};
  EXPECT_THROW((void)interpret(*graph, {Bytes(2 << 18)}, [] { throw Stop(); }), Stop);
}

}  // namespace
}  // namespace npu::compiler
