// SPDX-License-Identifier: MIT
//
// Damaged files: truncated everywhere, bytes flipped, fields replaced by
// extreme values. Import and compilation may refuse or accept, never crash;
// what they accept must also survive the card's checks.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "arch/target.h"
#include "compiler/calibrate/calibrate.h"
#include "compiler/compile.h"
#include "compiler/testing/mutations.h"
#include "compiler/testing/onnx_builder.h"

namespace npu::compiler {
namespace {

using ::npu::onnx::Tensor;
using testing::OnnxBuilder;

constexpr int64_t kExtremes[] = {0,   1,     -1,    2,         3,         7,         255,
                                 256, 65535, 65536, 1ll << 31, 1ll << 40, INT64_MAX, INT64_MIN};

// A little of everything.
std::string model() {
  OnnxBuilder b;
  b.input("x", {1, 4, 8, 8});
  b.quantization("x", 0.05f, 10);
  b.dequantize("x");
  b.bytes("w", {8, 4, 3, 3}, std::vector<int>(8 * 4 * 9, 5));
  b.floats("w_s", {8}, std::vector<float>(8, 0.02f));
  b.bytes("w_z", {8}, std::vector<int>(8, 0));
  onnx::Node& dq = b.node("DequantizeLinear", {"w", "w_s", "w_z"}, "w_f");
  OnnxBuilder::integer(dq, "axis", 0);
  onnx::Node& conv = b.node("Conv", {"x_f", "w_f"}, "c0_f");
  OnnxBuilder::ints(conv, "pads", {1, 1, 1, 1});
  OnnxBuilder::ints(conv, "strides", {1, 1});
  b.node("Relu", {"c0_f"}, "c_f");
  b.quantization("c", 0.1f, 0);
  b.quantize("c");
  b.dequantize("c2");
  b.graph().mutable_node(b.graph().node_size() - 1)->set_input(0, std::string("c"));
  b.quantization("c2", 0.1f, 0);
  onnx::Node& pool = b.node("MaxPool", {"c2_f"}, "p_f");
  OnnxBuilder::ints(pool, "kernel_shape", {2, 2});
  OnnxBuilder::ints(pool, "strides", {2, 2});
  b.bytes("t", {8, 4, 3, 2}, std::vector<int>(8 * 4 * 6, 7));
  b.quantization("t", 0.02f, 0, Tensor::INT8);
  b.dequantize("t");
  onnx::Node& up = b.node("ConvTranspose", {"p_f", "t_f"}, "u_f");
  OnnxBuilder::ints(up, "strides", {2, 2});
  OnnxBuilder::ints(up, "pads", {1, 0, 0, 0});
  b.quantization("u", 0.2f, 3);
  b.quantize("u");
  b.output("u");
  b.int64s("shape", {1, -1});
  b.node("Reshape", {"p_f", "shape"}, "r_f");
  b.bytes("g", {128, 5}, std::vector<int>(640, -3));
  b.quantization("g", 0.01f, 0, Tensor::INT8);
  b.dequantize("g");
  b.node("Gemm", {"r_f", "g_f"}, "y_f");
  b.quantization("y", 0.3f, 128);
  b.quantize("y");
  b.node("QLinearAdd", {"y", "y_s", "y_z", "y", "y_s", "y_z", "y_s", "y_z"}, "s", "com.microsoft");
  b.node("QLinearSigmoid", {"s", "y_s", "y_z", "y_s", "y_z"}, "z", "com.microsoft");
  // A transformer's operators: a normalization, a product with a bias behind it, a function in
  // parts, a product of two computed operands, a softmax.
  b.node("DequantizeLinear", {"z", "y_s", "y_z"}, "z_f");
  b.floats("gamma", {5}, {1, 2, 1, 2, 1});
  onnx::Node& norm = b.node("LayerNormalization", {"z_f", "gamma", "gamma"}, "n_f");
  OnnxBuilder::integer(norm, "axis", -1);
  b.quantization("n", 0.02f, 100);
  b.quantize("n");
  b.dequantize("n");
  b.graph().mutable_node(b.graph().node_size() - 1)->set_output(0, "nd_f");
  b.bytes("m", {5, 5}, std::vector<int>(25, 2));
  b.quantization("m", 0.1f, 0, Tensor::INT8);
  b.dequantize("m");
  b.node("MatMul", {"nd_f", "m_f"}, "product");
  b.node("Add", {"product", "gamma"}, "e_f");
  b.quantization("e", 0.1f, 120);
  b.quantize("e");
  b.node("DequantizeLinear", {"e", "e_s", "e_z"}, "ed_f");
  b.scale("two", 2);
  b.node("Div", {"ed_f", "two"}, "half");
  b.node("Erf", {"half"}, "erf");
  b.node("Mul", {"erf", "ed_f"}, "f_f");
  b.quantization("f", 0.1f, 120);
  b.quantize("f");
  b.node("DequantizeLinear", {"f", "f_s", "f_z"}, "fd_f");
  b.node("Transpose", {"fd_f"}, "ft_f");
  b.node("MatMul", {"ft_f", "fd_f"}, "o_f");
  b.quantization("o", 0.1f, 120);
  b.quantize("o");
  b.node("DequantizeLinear", {"o", "o_s", "o_z"}, "od_f");
  OnnxBuilder::integer(b.node("Softmax", {"od_f"}, "q_f"), "axis", 0);
  b.quantization("q", 1.0f / 256, 0);
  b.quantize("q");
  b.output("q");
  return b.serialize();
}

// True if it compiled.
bool try_compile(const std::string& file) {
  Diagnostics diagnostics;
  const auto graph = import_onnx(testing::as_bytes(file), {}, diagnostics);
  EXPECT_EQ(graph.has_value(), diagnostics.ok());
  if (!graph) return false;
  CompileOptions options;
  options.target = *arch::find_target("edge");
  options.target.sram_bytes = 16384;
  // Keeps a mutated shape from making a test of minutes.
  options.target.card_memory_mib = 4;
  const auto compiled = compile_graph(*graph, options, diagnostics);
  EXPECT_EQ(compiled.has_value(), diagnostics.ok());
  EXPECT_NE(diagnostics.status(), Status::kInternal) << diagnostics.text();
  return compiled.has_value();
}

// Both ways were taken: of many damaged files, not of one that is repeated.
void expect_some(uint32_t good, const testing::Mutations& mutations) {
  if (mutations.count() < 100) return;
  EXPECT_GT(good, mutations.count() / 20);
  EXPECT_LT(good, mutations.count());
}

TEST(Hostile, TheModelItselfCompiles) {
  EXPECT_TRUE(try_compile(model()));
}

TEST(Hostile, Truncations) {
  const std::string file = model();
  for (size_t length = 0; length < file.size(); ++length) {
    SCOPED_TRACE(length);
    try_compile(file.substr(0, length));
  }
}

TEST(Hostile, FlippedBytes) {
  const testing::Mutations mutations = testing::mutations(4000);
  const std::string file = model();
  uint32_t compiled = 0;
  for (uint32_t i = mutations.first; i != mutations.end; ++i) {
    SCOPED_TRACE("NPU_MUTATIONS_FROM=" + std::to_string(i));
    std::mt19937 random(i);
    std::string mutated = file;
    for (unsigned changes = 1 + random() % 3; changes > 0; --changes) {
      const size_t at = random() % mutated.size();
      switch (random() % 4) {
        case 0:
          mutated[at] = static_cast<char>(mutated[at] ^ (1 << random() % 8));
          break;
        case 1:
          mutated[at] = static_cast<char>(random());
          break;
        case 2:
          mutated[at] = static_cast<char>(random() % 2 ? 0x7f : 0xff);
          break;
        default:
          mutated.erase(at, 1 + random() % 8);
          break;
      }
    }
    const std::clock_t begin = std::clock();
    ASSERT_NO_THROW(compiled += try_compile(mutated));
    ASSERT_LT(std::clock() - begin, 10 * CLOCKS_PER_SEC);
    ASSERT_FALSE(HasFailure());
  }
  // Most weights and names may change without harm.
  expect_some(compiled, mutations);
}

// Numbers in attributes, shapes and types, which random bytes seldom hit.
TEST(Hostile, ExtremeNumbers) {
  onnx::Model original;
  ASSERT_TRUE(original.ParseFromString(model()));
  for (const int64_t value : kExtremes) {
    SCOPED_TRACE(value);
    for (int n = 0; n < original.graph().node_size(); ++n) {
      for (int a = 0; a < original.graph().node(n).attribute_size(); ++a) {
        onnx::Model changed = original;
        onnx::Attribute& attribute =
            *changed.mutable_graph()->mutable_node(n)->mutable_attribute(a);
        attribute.set_i(value);
        for (int i = 0; i < attribute.ints_size(); ++i) attribute.set_ints(i, value);
        try_compile(changed.SerializeAsString());
      }
    }
    for (int t = 0; t < original.graph().initializer_size(); ++t) {
      onnx::Model changed = original;
      onnx::Tensor& tensor = *changed.mutable_graph()->mutable_initializer(t);
      for (int i = 0; i < tensor.dims_size(); ++i) tensor.set_dims(i, value);
      try_compile(changed.SerializeAsString());
      changed = original;
      changed.mutable_graph()->mutable_initializer(t)->set_data_type(static_cast<int>(value));
      try_compile(changed.SerializeAsString());
      changed = original;
      for (auto& entry : *changed.mutable_graph()->mutable_initializer(t)->mutable_int64_data()) {
        entry = value;
      }
      try_compile(changed.SerializeAsString());
    }
    for (int d = 0; d < 4; ++d) {
      onnx::Model changed = original;
      changed.mutable_graph()
          ->mutable_input(0)
          ->mutable_type()
          ->mutable_tensor_type()
          ->mutable_shape()
          ->mutable_dim(d)
          ->set_dim_value(value);
      try_compile(changed.SerializeAsString());
    }
  }
}

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  void change(onnx::Model& model) {
    onnx::Graph& graph = *model.mutable_graph();
    if (graph.node_size() == 0) return;
    switch (random_() % 8) {
      case 0:
        return rewire(graph);
      case 1:
        return move_node(graph);
      case 2:
        return change_attribute(graph);
      case 3:
        return change_tensor(graph);
      case 4:
        return change_shape(graph);
      case 5:
        return change_operator(graph);
      case 6:
        return change_data(graph);
      default:
        if (model.opset_import_size() != 0)
          model.mutable_opset_import(pick(model.opset_import_size()))->set_version(number());
        return;
    }
  }
  int pick(int count) {
    return count == 0 ? 0 : static_cast<int>(random_() % static_cast<unsigned>(count));
  }

 private:
  int64_t number() {
    return random_() % 2 == 0 ? kExtremes[random_() % std::size(kExtremes)]
                              : static_cast<int64_t>(random_() % 20) - 4;
  }
  // A name that means something in the graph.
  std::string name(const onnx::Graph& graph) {
    const onnx::Node& node = graph.node(pick(graph.node_size()));
    if (random_() % 3 == 0 && node.output_size() != 0) return node.output(pick(node.output_size()));
    if (random_() % 2 == 0 && node.input_size() != 0) return node.input(pick(node.input_size()));
    if (graph.initializer_size() != 0)
      return graph.initializer(pick(graph.initializer_size())).name();
    return {};
  }
  void rewire(onnx::Graph& graph) {
    onnx::Node& node = *graph.mutable_node(pick(graph.node_size()));
    const std::string other = name(graph);
    if (random_() % 4 == 0 && node.output_size() != 0)
      node.set_output(pick(node.output_size()), other);
    else if (random_() % 4 == 0)
      node.add_input(other);
    else if (random_() % 4 == 0 && node.input_size() != 0)
      node.mutable_input()->RemoveLast();
    else if (node.input_size() != 0)
      node.set_input(pick(node.input_size()), other);
  }
  void move_node(onnx::Graph& graph) {
    const int at = pick(graph.node_size());
    if (random_() % 2 == 0)
      graph.mutable_node()->DeleteSubrange(at, 1);
    else if (random_() % 2 == 0)
      *graph.add_node() = onnx::Node(graph.node(at));
    else
      graph.mutable_node()->SwapElements(at, pick(graph.node_size()));
  }
  void change_attribute(onnx::Graph& graph) {
    onnx::Node& node = *graph.mutable_node(pick(graph.node_size()));
    if (node.attribute_size() == 0) return;
    onnx::Attribute& attribute = *node.mutable_attribute(pick(node.attribute_size()));
    switch (random_() % 5) {
      case 0:
        attribute.set_i(number());
        break;
      case 1:
        attribute.set_f(static_cast<float>(number()));
        break;
      case 2:
        attribute.add_ints(number());
        break;
      case 3:
        if (attribute.ints_size() != 0) attribute.set_ints(pick(attribute.ints_size()), number());
        break;
      default:
        node.mutable_attribute()->DeleteSubrange(pick(node.attribute_size()), 1);
        break;
    }
  }
  void change_tensor(onnx::Graph& graph) {
    if (graph.initializer_size() == 0) return;
    onnx::Tensor& tensor = *graph.mutable_initializer(pick(graph.initializer_size()));
    switch (random_() % 4) {
      case 0:
        tensor.set_data_type(static_cast<int32_t>(number()));
        break;
      case 1:
        tensor.add_dims(number());
        break;
      case 2:
        if (tensor.dims_size() != 0) tensor.set_dims(pick(tensor.dims_size()), number());
        break;
      default:
        if (tensor.dims_size() != 0) tensor.mutable_dims()->RemoveLast();
        break;
    }
  }
  void change_shape(onnx::Graph& graph) {
    if (graph.input_size() == 0) return;
    onnx::ValueInfo& info = *graph.mutable_input(pick(graph.input_size()));
    onnx::TensorType& type = *info.mutable_type()->mutable_tensor_type();
    if (random_() % 4 == 0) type.set_elem_type(static_cast<int32_t>(number()));
    if (random_() % 4 == 0) type.mutable_shape()->add_dim()->set_dim_value(number());
    if (type.shape().dim_size() != 0)
      type.mutable_shape()->mutable_dim(pick(type.shape().dim_size()))->set_dim_value(number());
  }
  void change_operator(onnx::Graph& graph) {
    const std::vector<SupportedOperator> all = supported_operators();
    const SupportedOperator& other = all[random_() % all.size()];
    onnx::Node& node = *graph.mutable_node(pick(graph.node_size()));
    node.set_op_type(other.type);
    node.set_domain(other.domain);
  }
  // Scales, zero points, shapes that are data.
  void change_data(onnx::Graph& graph) {
    if (graph.initializer_size() == 0) return;
    onnx::Tensor& tensor = *graph.mutable_initializer(pick(graph.initializer_size()));
    const float floats[] = {0, -1, 1e-45f, 1e38f, INFINITY, NAN, static_cast<float>(number())};
    const float real = floats[random_() % std::size(floats)];
    if (tensor.float_data_size() != 0) tensor.set_float_data(pick(tensor.float_data_size()), real);
    if (tensor.int64_data_size() != 0)
      tensor.set_int64_data(pick(tensor.int64_data_size()), number());
    std::string& raw = *tensor.mutable_raw_data();
    if (raw.size() >= sizeof(real))
      std::memcpy(&raw[static_cast<size_t>(pick(static_cast<int>(raw.size() / sizeof(real)))) *
                       sizeof(real)],
                  &real, sizeof(real));
  }

  std::mt19937 random_;
};

// Files that are well formed but say something else: of this model and of all that the project
// ships.
TEST(Hostile, OtherFields) {
  std::vector<onnx::Model> models(1);
  ASSERT_TRUE(models[0].ParseFromString(model()));
  for (const auto& entry : std::filesystem::recursive_directory_iterator(NPU_MODELS)) {
    if (entry.path().extension() != ".onnx" || entry.file_size() > 20000) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    ASSERT_TRUE(models.emplace_back().ParseFromIstream(&file)) << entry.path();
  }
  EXPECT_GT(models.size(), 50u);
  const testing::Mutations mutations = testing::mutations(2000);
  uint32_t compiled = 0;
  for (uint32_t i = mutations.first; i != mutations.end; ++i) {
    SCOPED_TRACE("NPU_MUTATIONS_FROM=" + std::to_string(i));
    Mutator mutator(i);
    onnx::Model changed =
        models[static_cast<size_t>(mutator.pick(static_cast<int>(models.size())))];
    for (int changes = 1 + mutator.pick(3); changes > 0; --changes) mutator.change(changed);
    const std::clock_t begin = std::clock();
    ASSERT_NO_THROW(compiled += try_compile(changed.SerializeAsString()));
    ASSERT_LT(std::clock() - begin, 10 * CLOCKS_PER_SEC);
    ASSERT_FALSE(HasFailure());
  }
  expect_some(compiled, mutations);
}

// A little of everything that is calibrated.
std::string float_model() {
  OnnxBuilder b(17);
  const auto values = [](int count) {
    std::vector<float> out;
    for (int i = 0; i < count; ++i) out.push_back(0.1f * static_cast<float>(i % 7 - 3));
    return out;
  };
  b.input("x", {1, 4, 8, 8}, Tensor::FLOAT);
  b.floats("w", {8, 4, 3, 3}, values(288));
  b.floats("eight", {8}, std::vector<float>(8, 0.5f));
  OnnxBuilder::ints(b.node("Conv", {"x", "w", "eight"}, "c"), "pads", {1, 1, 1, 1});
  b.node("BatchNormalization", {"c", "eight", "eight", "eight", "eight"}, "n");
  b.scale("low", 0);
  b.scale("high", 6);
  b.node("Clip", {"n", "low", "high"}, "k");
  onnx::Node& pool = b.node("MaxPool", {"k"}, "p");
  OnnxBuilder::ints(pool, "kernel_shape", {2, 2});
  OnnxBuilder::ints(pool, "strides", {2, 2});
  b.floats("taps", {8, 4, 2, 2}, values(128));
  OnnxBuilder::ints(b.node("ConvTranspose", {"p", "taps"}, "u"), "strides", {2, 2});
  b.output("u");
  b.node("Sigmoid", {"p"}, "g");
  b.node("Mul", {"p", "g"}, "silu");
  b.int64s("halves", {4, 4});
  onnx::Node& split = b.node("Split", {"silu", "halves"}, "a");
  split.add_output("b");
  OnnxBuilder::integer(split, "axis", 1);
  OnnxBuilder::integer(b.node("Concat", {"b", "a"}, "j"), "axis", 1);
  b.node("Add", {"j", "p"}, "s");
  onnx::Node& average = b.node("AveragePool", {"s"}, "v");
  OnnxBuilder::ints(average, "kernel_shape", {3, 3});
  OnnxBuilder::ints(average, "pads", {1, 1, 1, 1});
  b.int64s("shape", {1, 16, -1});
  b.node("Reshape", {"v", "shape"}, "rows");
  b.floats("gamma", {8}, std::vector<float>(8, 1));
  b.node("LayerNormalization", {"rows", "gamma", "eight"}, "l");
  b.floats("m", {8, 8}, values(64));
  b.node("MatMul", {"l", "m"}, "q");
  b.node("Add", {"q", "eight"}, "qb");
  OnnxBuilder::ints(b.node("Transpose", {"qb"}, "t"), "perm", {0, 2, 1});
  b.node("MatMul", {"qb", "t"}, "scores");
  b.node("Softmax", {"scores"}, "f");
  b.node("MatMul", {"f", "l"}, "mixed");
  // A layer normalization by its parts.
  OnnxBuilder::ints(b.node("ReduceMean", {"mixed"}, "mean"), "axes", {-1});
  b.node("Sub", {"mixed", "mean"}, "centred");
  b.node("Mul", {"centred", "centred"}, "square");
  OnnxBuilder::ints(b.node("ReduceMean", {"square"}, "variance"), "axes", {-1});
  b.scale("epsilon", 1e-5f);
  b.node("Add", {"variance", "epsilon"}, "positive");
  b.node("Sqrt", {"positive"}, "deviation");
  b.node("Div", {"centred", "deviation"}, "normal");
  b.node("Mul", {"normal", "gamma"}, "o");
  b.scale("root", 1.4142f);
  b.node("Div", {"o", "root"}, "e0");
  b.node("Erf", {"e0"}, "e1");
  b.node("Mul", {"e1", "o"}, "e2");
  b.int64s("starts", {0});
  b.int64s("ends", {1});
  b.int64s("axes", {1});
  b.node("Slice", {"e2", "starts", "ends", "axes"}, "first");
  b.node("Squeeze", {"first", "axes"}, "z");
  b.floats("d", {8, 5}, values(40));
  b.node("Gemm", {"z", "d"}, "y");
  b.output("y");
  return b.serialize();
}

// True if a quantized model came of it. Tensors may become so large that computing them takes its
// time, which a user sees and ends.
bool try_calibrate(const std::string& file) {
  Diagnostics diagnostics;
  std::optional<Calibrator> calibrator = Calibrator::open(
      testing::as_bytes(file), {}, [](const std::string&) {}, diagnostics);
  EXPECT_EQ(calibrator.has_value(), diagnostics.ok());
  if (!calibrator) return false;
  const auto sample = [&](size_t) {
    std::vector<std::vector<float>> out;
    for (const Calibrator::Input& input : calibrator->inputs())
      out.emplace_back(static_cast<size_t>(elements(input.shape)), 0.5f);
    return out;
  };
  int64_t size = 0;
  for (const Calibrator::Input& input : calibrator->inputs()) size += elements(input.shape);
  if (size > 1 << 20) return false;
  struct Enough {};
  const std::clock_t begin = std::clock();
  try {
    const std::optional<Calibration> out = calibrator->run(
        {1, sample},
        [&](const std::string&) {
          if (std::clock() - begin > CLOCKS_PER_SEC) throw Enough();
        },
        diagnostics);
    EXPECT_EQ(out.has_value(), diagnostics.ok());
    EXPECT_NE(diagnostics.status(), Status::kInternal) << diagnostics.text();
    return out.has_value();
  } catch (const Enough&) {
    return false;
  }
}

// Files of a few kilobytes that ask for much more than they hold.
struct Chain {
  OnnxBuilder b;
  std::string last = "x_f";
  Chain() {
    b.input("x", {1, 2, 2, 64});
    b.quantization("x", 0.05f, 10);
    b.dequantize("x");
  }
  // Nodes that each read the one before, and `with` if it is not empty.
  void add(const std::string& type, int count, const std::string& with) {
    for (; count > 0; --count) {
      const std::string next = fmt::format("t{}", b.graph().node_size());
      onnx::Node& node = b.node(type, {last}, next);
      if (!with.empty()) node.add_input(with == "itself" ? last : with);
      last = next;
    }
  }
  bool compiles() {
    b.quantization("y", 0.1f, 0);
    b.node("QuantizeLinear", {last, "y_s", "y_z"}, "y");
    b.output("y");
    const std::clock_t begin = std::clock();
    const bool out = try_compile(b.serialize());
    EXPECT_LT(std::clock() - begin, 20 * CLOCKS_PER_SEC);
    return out;
  }
};

TEST(Hostile, FunctionsOfFunctions) {
  Chain chain;
  chain.add("Sigmoid", 1, "");
  chain.add("Mul", 100, "itself");
  EXPECT_TRUE(chain.compiles());
}

TEST(Hostile, FactorsBehindFactors) {
  Chain chain;
  chain.b.scale("one", 1);
  chain.add("GlobalAveragePool", 1, "");
  chain.add("Mul", 15000, "one");
  EXPECT_TRUE(chain.compiles());
}

TEST(Hostile, MovesBehindMoves) {
  Chain chain;
  chain.b.int64s("shape", {1, 1, 4, 64});
  chain.add("Sigmoid", 1, "");
  chain.add("Reshape", 15000, "shape");
  EXPECT_FALSE(chain.compiles());
}

TEST(Hostile, PiecesOfPieces) {
  Chain chain;
  std::vector<int64_t> indices(1024);
  for (size_t i = 0; i < indices.size(); i += 2) indices[i] = 2;
  chain.b.int64s("indices", indices);
  chain.b.int64s("pads", {0, 0, 1, 0, 0, 0, 0, 0});
  chain.add("Pad", 1, "pads");
  for (int i = 0; i < 300; ++i) {
    chain.add("Gather", 1, "indices");
    OnnxBuilder::integer(*chain.b.graph().mutable_node()->rbegin(), "axis", 2);
  }
  EXPECT_FALSE(chain.compiles());
}

TEST(Hostile, LargeFrames) {
  OnnxBuilder b;
  b.input("x", {1, 1, 1, 1});
  b.int64s("pads", {0, int64_t{1} << 35, 0, 0, 0, 0, 0, 0});
  b.node("Pad", {"x", "pads"}, "y");
  b.output("y");
  EXPECT_FALSE(try_compile(b.serialize()));
}

TEST(Hostile, ConstantsOfConstants) {
  Chain chain;
  chain.b.int64s("count", {1 << 20});
  chain.b.node("ConstantOfShape", {"count"}, "many");
  onnx::Node& joined = chain.b.node("Concat", {"many"}, "more");
  for (int i = 0; i < 5000; ++i) joined.add_input("many");
  chain.add("Sigmoid", 1, "");
  EXPECT_FALSE(chain.compiles());
}

TEST(Hostile, FloatModels) {
  const std::string file = float_model();
  ASSERT_TRUE(try_calibrate(file));
  onnx::Model original;
  ASSERT_TRUE(original.ParseFromString(file));
  const testing::Mutations mutations = testing::mutations(1000);
  uint32_t calibrated = 0;
  for (uint32_t i = mutations.first; i != mutations.end; ++i) {
    SCOPED_TRACE("NPU_MUTATIONS_FROM=" + std::to_string(i));
    Mutator mutator(i);
    onnx::Model changed = original;
    for (int changes = 1 + mutator.pick(3); changes > 0; --changes) mutator.change(changed);
    const std::clock_t begin = std::clock();
    ASSERT_NO_THROW(calibrated += try_calibrate(changed.SerializeAsString()));
    ASSERT_LT(std::clock() - begin, 10 * CLOCKS_PER_SEC);
    ASSERT_FALSE(HasFailure());
  }
  expect_some(calibrated, mutations);
}

}  // namespace
}  // namespace npu::compiler
