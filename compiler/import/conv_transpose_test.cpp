// SPDX-License-Identifier: MIT
//
// ConvTranspose against its definition: every element of the input times every tap of the kernel,
// added where they meet.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "arch/target.h"
#include "compiler/import/import.h"
#include "compiler/passes/fuse.h"
#include "compiler/reference/interpreter.h"
#include "compiler/testing/onnx_builder.h"

namespace npu::compiler {
namespace {

using testing::OnnxBuilder;

constexpr int kInputZero = 10, kOutputZero = 100;

enum class Scales { kTensor, kAxis1, kAxis0 };

struct Case {
  const char* what = "";
  Shape in = {}, weights = {};  // [n, c, ...], [ic, oc/group, ...]
  std::vector<int64_t> strides = {}, dilations = {}, pads = {}, extra = {}, sizes = {};
  const char* auto_pad = "";
  int64_t group = 1;
  Scales scales = Scales::kTensor;
  Shape out = {};                  // expected
  std::vector<int64_t> crop = {};  // of the whole, in front; expected
};

int weight_at(size_t i) {
  return static_cast<int>(i * 7 % 13) - 6;
}

int input_at(size_t i) {
  return static_cast<int>(i * 5 % 23);
}

// Of what shares a scale, by output channel; powers of two, so that nothing is rounded before the
// result is.
float scale_at(const Case& c, int64_t o) {
  const int64_t filters = c.weights[1];
  const int64_t i = c.scales == Scales::kTensor  ? 0
                    : c.scales == Scales::kAxis1 ? o % filters
                                                 : o / filters;
  return i % 2 == 0 ? 0.25f : 0.5f;
}

OnnxBuilder build(const Case& c) {
  OnnxBuilder b;
  b.input("x", {1});
  auto* dims = b.graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
  dims->clear_dim();
  for (const int64_t dim : c.in) dims->add_dim()->set_dim_value(dim);
  b.quantization("x", 1.0f, kInputZero);
  b.dequantize("x");
  std::vector<int> weights;
  for (size_t i = 0; i < static_cast<size_t>(elements(c.weights)); ++i)
    weights.push_back(weight_at(i));
  b.bytes("w", {}, weights);
  for (const int64_t dim : c.weights)
    b.graph().mutable_initializer(b.graph().initializer_size() - 1)->add_dims(dim);
  const int64_t outputs = c.weights[1] * std::clamp<int64_t>(c.group, 1, 8);
  const int64_t count = c.scales == Scales::kTensor  ? 1
                        : c.scales == Scales::kAxis1 ? c.weights[1]
                                                     : c.weights[0];
  std::vector<float> scales;
  for (int64_t i = 0; i < count; ++i) scales.push_back(i % 2 == 0 ? 0.25f : 0.5f);
  if (c.scales == Scales::kTensor) {
    b.scale("w_s", 0.25f);
  } else {
    b.floats("w_s", {count}, scales);
  }
  OnnxBuilder::integer(b.node("DequantizeLinear", {"w", "w_s"}, "w_f"), "axis",
                       c.scales == Scales::kAxis0 ? 0 : 1);
  std::vector<float> bias;
  for (int64_t o = 0; o < outputs; ++o) bias.push_back(static_cast<float>(o % 5) - 2);
  b.floats("bias", {outputs}, bias);
  onnx::Node& node = b.node("ConvTranspose", {"x_f", "w_f", "bias"}, "y_f");
  const auto list = [&](const char* name, const std::vector<int64_t>& values) {
    if (!values.empty()) OnnxBuilder::ints(node, name, values);
  };
  list("strides", c.strides);
  list("dilations", c.dilations);
  list("pads", c.pads);
  list("output_padding", c.extra);
  list("output_shape", c.sizes);
  if (c.auto_pad[0] != 0) {
    onnx::Attribute& attribute = *node.add_attribute();
    attribute.set_name("auto_pad");
    attribute.set_s(c.auto_pad);
  }
  if (c.group != 1) OnnxBuilder::integer(node, "group", c.group);
  b.quantization("y", 2.0f, kOutputZero);
  b.quantize("y");
  b.output("y");
  return b;
}

Bytes expected(const Case& c) {
  // One dimension is a row.
  const bool image = c.in.size() == 4;
  const auto axis = [&](const std::vector<int64_t>& list, size_t d, int64_t otherwise) {
    if (!image) return d == 0 ? otherwise : list.empty() ? otherwise : list[0];
    return list.empty() ? otherwise : list[d];
  };
  const int64_t ih = image ? c.in[2] : 1, iw = c.in.back();
  const int64_t kh = image ? c.weights[2] : 1, kw = c.weights.back();
  const int64_t oh = image ? c.out[2] : 1, ow = c.out.back();
  const int64_t inputs = c.in[1], filters = c.weights[1], outputs = c.out[1];
  std::vector<double> sums(static_cast<size_t>(elements(c.out)));
  for (size_t i = 0; i < sums.size(); ++i)
    sums[i] = static_cast<double>(static_cast<int64_t>(i) / (oh * ow) % outputs % 5) - 2;
  for (int64_t n = 0; n < c.in[0]; ++n) {
    for (int64_t i = 0; i < inputs * ih * iw; ++i) {
      const int64_t channel = i / (ih * iw), y = i / iw % ih, x = i % iw;
      const int real = input_at(static_cast<size_t>(n * inputs * ih * iw + i)) - kInputZero;
      for (int64_t t = 0; t < filters * kh * kw; ++t) {
        const int64_t o = channel / (inputs / c.group) * filters + t / (kh * kw);
        const int64_t to_y =
            y * axis(c.strides, 0, 1) + t / kw % kh * axis(c.dilations, 0, 1) - axis(c.crop, 0, 0);
        const int64_t to_x =
            x * axis(c.strides, 1, 1) + t % kw * axis(c.dilations, 1, 1) - axis(c.crop, 1, 0);
        if (to_y < 0 || to_y >= oh || to_x < 0 || to_x >= ow) continue;
        sums[static_cast<size_t>(((n * outputs + o) * oh + to_y) * ow + to_x)] +=
            real * weight_at(static_cast<size_t>(channel * filters * kh * kw + t)) *
            static_cast<double>(scale_at(c, o));
      }
    }
  }
  Bytes out;
  for (const double sum : sums) {
    out.push_back(
        static_cast<uint8_t>(std::clamp(std::nearbyint(sum / 2) + kOutputZero, 0.0, 255.0)));
  }
  return out;
}

std::optional<Graph> import(const OnnxBuilder& builder, Diagnostics& diagnostics) {
  const std::string file = builder.serialize();
  return import_onnx(testing::as_bytes(file), {}, diagnostics);
}

Bytes input_of(const Case& c) {
  Bytes out;
  for (size_t i = 0; i < static_cast<size_t>(elements(c.in)); ++i)
    out.push_back(static_cast<uint8_t>(input_at(i)));
  return out;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> kCases = {
      {.what = "kernel as large as the stride",
       .in = {1, 3, 3, 4},
       .weights = {3, 5, 2, 2},
       .strides = {2, 2},
       .out = {1, 5, 6, 8}},
      {.what = "one output channel",
       .in = {1, 3, 3, 4},
       .weights = {3, 1, 2, 2},
       .strides = {2, 2},
       .out = {1, 1, 6, 8}},
      {.what = "stride 1", .in = {1, 2, 4, 3}, .weights = {2, 3, 3, 2}, .out = {1, 3, 6, 4}},
      {.what = "stride 1, dilated, cropped",
       .in = {1, 2, 4, 5},
       .weights = {2, 3, 3, 2},
       .dilations = {2, 3},
       .pads = {3, 1, 1, 0},
       .out = {1, 3, 4, 7},
       .crop = {3, 1}},
      {.what = "overlapping, padded, per channel",
       .in = {2, 3, 3, 4},
       .weights = {3, 4, 3, 3},
       .strides = {2, 2},
       .pads = {1, 1, 1, 1},
       .extra = {1, 1},
       .scales = Scales::kAxis1,
       .out = {2, 4, 6, 8},
       .crop = {1, 1}},
      {.what = "strides that differ, kernel smaller than one of them",
       .in = {1, 2, 3, 3},
       .weights = {2, 2, 2, 5},
       .strides = {3, 2},
       .out = {1, 2, 8, 9}},
      {.what = "dilated with strides",
       .in = {1, 2, 3, 4},
       .weights = {2, 3, 3, 3},
       .strides = {2, 3},
       .dilations = {3, 2},
       .out = {1, 3, 11, 14}},
      {.what = "groups",
       .in = {1, 4, 3, 3},
       .weights = {4, 3, 3, 2},
       .strides = {2, 2},
       .group = 2,
       .scales = Scales::kAxis1,
       .out = {1, 6, 7, 6}},
      {.what = "depthwise, scales by group",
       .in = {1, 3, 3, 3},
       .weights = {3, 2, 4, 4},
       .strides = {2, 2},
       .pads = {1, 1, 1, 1},
       .group = 3,
       .scales = Scales::kAxis0,
       .out = {1, 6, 6, 6},
       .crop = {1, 1}},
      {.what = "pads that cut more than the kernel reaches",
       .in = {1, 2, 6, 6},
       .weights = {2, 2, 2, 3},
       .strides = {2, 2},
       .pads = {5, 4, 3, 4},
       .out = {1, 2, 4, 5},
       .crop = {5, 4}},
      {.what = "one dimension",
       .in = {1, 3, 5},
       .weights = {3, 2, 4},
       .strides = {3},
       .pads = {1, 2},
       .extra = {2},
       .scales = Scales::kAxis1,
       .out = {1, 2, 15},
       .crop = {1}},
      {.what = "SAME_UPPER",
       .in = {1, 1, 3, 3},
       .weights = {1, 2, 3, 4},
       .strides = {2, 3},
       .auto_pad = "SAME_UPPER",
       .out = {1, 2, 6, 9},
       .crop = {0, 0}},
      {.what = "SAME_LOWER",
       .in = {1, 1, 3, 3},
       .weights = {1, 2, 3, 4},
       .strides = {2, 3},
       .auto_pad = "SAME_LOWER",
       .out = {1, 2, 6, 9},
       .crop = {1, 1}},
      {.what = "SAME of a kernel that is smaller than the stride",
       .in = {1, 1, 3},
       .weights = {1, 1, 1},
       .strides = {3},
       .auto_pad = "SAME_UPPER",
       .out = {1, 1, 7}},
      {.what = "VALID",
       .in = {1, 1, 3, 3},
       .weights = {1, 2, 3, 4},
       .strides = {2, 3},
       .auto_pad = "VALID",
       .out = {1, 2, 7, 10}},
      {.what = "output_shape, larger and smaller than the whole",
       .in = {1, 1, 3, 3},
       .weights = {1, 2, 3, 3},
       .strides = {3, 2},
       .sizes = {10, 4},
       .out = {1, 2, 10, 4},
       .crop = {0, 2}},
      {.what = "output_shape with batch and channels",
       .in = {1, 1, 3, 3},
       .weights = {1, 2, 3, 3},
       .strides = {2, 2},
       .sizes = {1, 2, 6, 4},
       .auto_pad = "SAME_UPPER",
       .out = {1, 2, 6, 4},
       .crop = {0, 1}},
  };
  return kCases;
}

TEST(ConvTranspose, IsWhatItsDefinitionSays) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.what);
    Diagnostics diagnostics;
    const std::optional<Graph> graph = import(build(c), diagnostics);
    ASSERT_TRUE(graph) << diagnostics.text();
    EXPECT_EQ(graph->value(graph->outputs[0]).shape, c.out);
    EXPECT_EQ(interpret(*graph, {input_of(c)})[0], expected(c));
  }
}

const Case& plain() {
  return cases()[0];
}

// A node counts what it computes, not what its convolutions do with taps that do not exist.
TEST(ConvTranspose, CountsItsOwnProducts) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.what);
    Diagnostics diagnostics;
    const std::optional<Graph> graph = import(build(c), diagnostics);
    ASSERT_TRUE(graph) << diagnostics.text();
    const auto wanted = static_cast<uint64_t>(elements(c.in) * elements(c.weights) / c.in[1]);
    uint64_t counted = 0;
    for (const Source& source : graph->sources) counted += source.macs;
    EXPECT_LE(counted, wanted);
    // Where pads cut, input is left out that nothing remains of.
    if (c.pads.empty() && c.sizes.empty()) {
      EXPECT_EQ(counted, wanted);
    }
  }
}

// Two convolutions of one tap each, joined; all else only says how their bytes are read.
TEST(ConvTranspose, ByTheKernelIsOneConvolutionForEachRow) {
  Diagnostics diagnostics;
  const std::optional<Graph> graph = import(build(plain()), diagnostics);
  ASSERT_TRUE(graph) << diagnostics.text();
  std::vector<const MacOp*> macs;
  for (const Op& op : graph->ops) {
    if (const auto* mac = op.as<MacOp>()) macs.push_back(mac);
    EXPECT_TRUE(op.as<MacOp>() != nullptr || op.is_view() || op.as<ConcatOp>() != nullptr);
    EXPECT_EQ(op.as<SliceOp>(), nullptr);
  }
  ASSERT_EQ(macs.size(), 2u);
  for (const MacOp* mac : macs) {
    EXPECT_EQ(mac->out_channels, 10);
    EXPECT_EQ(mac->weights.size(), 30u);
  }
}

// Clamps belong to the convolutions at once, tables behind a QuantizeLinear when chains are fused.
TEST(ConvTranspose, TakesClampsAndTables) {
  OnnxBuilder b = build(plain());
  onnx::Node& quantize = *b.graph().mutable_node(b.graph().node_size() - 1);
  ASSERT_EQ(quantize.op_type(), "QuantizeLinear");
  quantize.set_input(0, "clamped");
  b.node("Relu", {"y_f"}, "clamped");
  b.quantization("z", 1.0f / 256, 0);
  b.node("QLinearSigmoid", {"y", "y_s", "y_z", "z_s", "z_z"}, "z", "com.microsoft");
  b.graph().mutable_output(0)->set_name("z");
  Diagnostics diagnostics;
  std::optional<Graph> graph = import(b, diagnostics);
  ASSERT_TRUE(graph) << diagnostics.text();
  const Bytes before = interpret(*graph, {input_of(plain())})[0];
  EXPECT_TRUE(std::ranges::any_of(graph->ops, [](const Op& op) { return op.as<LutOp>(); }));
  fuse_output_chains(*graph, *arch::find_target("card"));
  EXPECT_EQ(interpret(*graph, {input_of(plain())})[0], before);
  for (const Op& op : graph->ops) {
    EXPECT_EQ(op.as<LutOp>(), nullptr);
    if (const auto* mac = op.as<MacOp>()) {
      EXPECT_TRUE(mac->chain.lut1);
      EXPECT_EQ(mac->clamp.low, kOutputZero);
    }
  }
}

std::string refusal(const Case& c) {
  Diagnostics diagnostics;
  EXPECT_FALSE(import(build(c), diagnostics));
  return diagnostics.text();
}

TEST(ConvTranspose, RefusesWhatItCannotDo) {
  struct Broken {
    const char* rule;
    Case change;
  };
  const Shape in{1, 4, 3, 3}, weights{4, 2, 2, 2};
  const std::vector<Broken> all = {
      {"groups divide", {.in = in, .weights = weights, .group = 3}},
      {"groups divide", {.in = in, .weights = {3, 2, 2, 2}}},
      {"groups divide", {.in = in, .weights = {4, 2, 2}}},
      {"1-D or 2-D", {.in = {1, 4, 2, 2, 2}, .weights = {4, 2, 1, 1, 1}}},
      {"have the rank", {.in = in, .weights = weights, .strides = {2}}},
      {"have the rank", {.in = in, .weights = weights, .pads = {1, 1}}},
      {"have the rank", {.in = in, .weights = weights, .sizes = {4}}},
      {"1 to 255", {.in = in, .weights = weights, .strides = {0, 1}}},
      {"1 to 255", {.in = in, .weights = weights, .strides = {256, 1}}},
      {"1 to 255", {.in = in, .weights = weights, .dilations = {1, 256}}},
      {"at most 1024", {.in = in, .weights = weights, .strides = {32, 33}}},
      {"smaller than the strides", {.in = in, .weights = weights, .extra = {1, 0}}},
      {"smaller than the strides",
       {.in = in, .weights = weights, .strides = {2, 2}, .extra = {0, -1}}},
      {"not negative", {.in = in, .weights = weights, .pads = {0, -1, 0, 0}}},
      {"leave something", {.in = in, .weights = weights, .pads = {2, 0, 2, 0}}},
      {"leave something", {.in = in, .weights = weights, .sizes = {4, 0}}},
      {"NOTSET", {.in = in, .weights = weights, .auto_pad = "SAME"}},
      {"beyond the input", {.in = in, .weights = weights, .sizes = {4, 400}}},
      {"beyond the input", {.in = in, .weights = {4, 2, 200, 2}, .dilations = {2, 1}}},
      {"per output channel", {.in = in, .weights = weights, .group = 2, .scales = Scales::kAxis0}},
      {"256 MiB", {.in = {1, 1024, 1, 1}, .weights = {1024, 512, 1, 1}, .strides = {32, 32}}},
  };
  for (const Broken& b : all) {
    const std::string text = refusal(b.change);
    EXPECT_NE(text.find(b.rule), std::string::npos) << b.rule << " in " << text;
  }
}

// Whatever the numbers, an answer, and soon.
TEST(ConvTranspose, SurvivesExtremeNumbers) {
  const int64_t extremes[] = {0, 1, -1, 2, 31, 255, 256, 65536, 1ll << 40, INT64_MAX, INT64_MIN};
  for (const int64_t a : extremes) {
    for (const int64_t b : extremes) {
      for (std::vector<int64_t> Case::*member :
           {&Case::strides, &Case::dilations, &Case::extra, &Case::sizes}) {
        Case c{.in = {1, 4, 3, 3}, .weights = {4, 2, 3, 2}};
        c.*member = {a, b};
        Diagnostics diagnostics;
        import(build(c), diagnostics);
      }
      Case c{.in = {1, 4, 3, 3}, .weights = {4, 2, 3, 2}, .pads = {a, 0, b, 0}, .group = a};
      Diagnostics diagnostics;
      import(build(c), diagnostics);
      c.group = 1;
      c.strides = {2, 2};
      import(build(c), diagnostics);
    }
  }
}

}  // namespace
}  // namespace npu::compiler
