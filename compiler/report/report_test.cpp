// SPDX-License-Identifier: MIT
#include "compiler/report/report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "arch/target.h"
#include "compiler/import/import.h"
#include "compiler/report/occupancy.h"
#include "compiler/testing/onnx_builder.h"
#include "compiler/testing/random_graph.h"

namespace npu::compiler {
namespace {

using Json = nlohmann::json;

CompileOptions options_for(uint32_t sram_bytes, unsigned cores = 1) {
  CompileOptions options;
  options.target = *arch::find_target("edge");
  options.target.sram_bytes = sram_bytes;
  options.target.cores = cores;
  options.cores = cores;
  return options;
}

constexpr uint64_t kLanes = 16 * 32;  // of edge

CompiledModel compile(const Graph& graph, const CompileOptions& options) {
  Diagnostics diagnostics;
  std::optional<CompiledModel> model = compile_graph(graph, options, diagnostics);
  EXPECT_TRUE(model) << diagnostics.text();
  return model ? std::move(*model) : CompiledModel{};
}

TEST(Report, CyclesAddUp) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const Graph graph = testing::random_network(seed, 1);
    for (const unsigned cores : {1u, 2u}) {
      SCOPED_TRACE(testing::random_network(seed, 1).name + " " + std::to_string(seed) + " on " +
                   std::to_string(cores));
      const CompiledModel model =
          compile(graph, options_for(seed % 2 == 0 ? 16384 : 262144, cores));
      const CompileReport& report = model.report;
      uint64_t cycles = report.overhead_cycles, execute = 0, bytes = 0, least = 0;
      for (const LayerReport& layer : report.layers) {
        EXPECT_EQ(layer.execute_cycles + layer.memory_cycles + layer.wait_cycles, layer.cycles);
        EXPECT_LE(layer.macs, layer.cycles * kLanes * cores);
        cycles += layer.cycles;
        execute += layer.execute_cycles;
        bytes += layer.external_bytes;
        least += layer.least_bytes;
      }
      EXPECT_EQ(cycles, report.cycles);
      EXPECT_GT(execute, 0u);
      EXPECT_LE(bytes, report.external_bytes);  // which has commands and page tables as well
      EXPECT_GT(least, 0u);
      EXPECT_LE(least, bytes);
      // The array cannot be at work for longer than its stage takes, summed over cores.
      uint64_t stages = 0;
      for (const JobTrace& trace : model.trace)
        stages += trace.timing.mac_cycles + trace.timing.vec_cycles;
      for (const JobTrace& trace : model.trace)
        for (const npu_profile_command& record : trace.records)
          stages += record.engine == NPU_ENGINE_MAC || record.engine == NPU_ENGINE_VEC ? 200 : 0;
      EXPECT_LE(execute, stages);
    }
  }
}

TEST(Report, EveryLayerIsInJsonTableAndPage) {
  Graph graph = testing::random_network(3, 1);
  graph.sources[0].name = "</script><b>\xff\"";  // names come from files
  const CompileOptions options = options_for(65536);
  const CompiledModel model = compile(graph, options);
  const Json json = Json::parse(report_json(model, graph, options.target));
  EXPECT_EQ(json.at("schema"), "npu-compile-report/2");
  ASSERT_EQ(json.at("layers").size(), model.report.layers.size());
  const std::string table = report_table(model.report, options.target);
  for (const LayerReport& layer : model.report.layers)
    EXPECT_NE(table.find(layer.type.substr(0, 22)), std::string::npos);

  const std::string page = report_page(model, graph, options.target);
  const std::string mark = "<script id=\"data\" type=\"application/json\">";
  const size_t begin = page.find(mark) + mark.size();
  const Json data = Json::parse(page.substr(begin, page.find("</script>", begin) - begin));
  EXPECT_EQ(data.at("report"), json);
  EXPECT_EQ(data.at("nodes").size(), graph.sources.size());
  size_t commands = 0;
  for (const JobTrace& trace : model.trace)
    commands += static_cast<size_t>(
        std::count_if(trace.records.begin(), trace.records.end(),
                      [](const npu_profile_command& r) { return r.engine < NPU_ENGINE_COUNT; }));
  EXPECT_EQ(data.at("timeline").at("bars").size(), commands);
  for (const Json& row : data.at("sram").at("rows")) {
    size_t columns = 0;
    for (size_t i = 1; i < row.size(); i += 2) columns += row[i].get<size_t>();
    ASSERT_EQ(columns, data.at("sram").at("columns"));
  }
  EXPECT_EQ(page.find("@DATA@"), std::string::npos);
  EXPECT_EQ(page.find("@CHARTS@"), std::string::npos);
  EXPECT_EQ(page.find("src="), std::string::npos) << "the page needs nothing else";
}

// A ConvTranspose is a convolution for each row between two of its input's.
TEST(Report, OperatorsOfOneNodeAreOneLayer) {
  testing::OnnxBuilder b;
  b.input("x", {1, 8, 6, 6});
  b.quantization("x", 0.5f, 10);
  b.dequantize("x");
  b.bytes("w", {8, 4, 2, 2}, std::vector<int>(128, 3));
  b.quantization("w", 0.25f, 0, onnx::Tensor::INT8);
  b.dequantize("w");
  testing::OnnxBuilder::ints(b.node("ConvTranspose", {"x_f", "w_f"}, "y_f"), "strides", {2, 2});
  b.quantization("y", 2.0f, 10);
  b.quantize("y");
  b.output("y");
  Diagnostics diagnostics;
  const std::string file = b.serialize();
  const auto graph = import_onnx(testing::as_bytes(file), {}, diagnostics);
  ASSERT_TRUE(graph) << diagnostics.text();
  const CompiledModel model = compile(*graph, options_for(65536));
  // And a copy, as a graph output has its channels first.
  ASSERT_EQ(model.report.layers.size(), 2u);
  EXPECT_EQ(model.report.layers[0].type, "Conv");
  EXPECT_EQ(model.report.layers[0].macs, 8u * 6 * 6 * 4 * 2 * 2);
  EXPECT_EQ(model.report.layers[0].cycles + model.report.overhead_cycles, model.report.cycles);
  EXPECT_EQ(model.report.layers[1].type, "Copy");
}

// A LOAD, a MAC and a STORE; the picture has the input between LOAD and MAC.
TEST(Report, OccupancyOfOneLayer) {
  testing::RandomGraph random(1);
  const ValueId x = random.input({1, 16, 12, 12}, ByteType::kUint8);
  random.output(random.conv(x, 16, 1, Window{}));
  const CompileOptions options = options_for(65536);
  const CompiledModel model = compile(random.graph, options);
  const Occupancy picture = sram_occupancy(model.trace, options.target, 64, 500);
  EXPECT_EQ(picture.rows, 64u);
  EXPECT_EQ(picture.row_bytes, 1024u);
  const auto used = std::count_if(picture.nodes.begin(), picture.nodes.end(),
                                  [](int32_t node) { return node != Occupancy::kFree; });
  EXPECT_GT(used, 0);
  EXPECT_LT(used, static_cast<std::ptrdiff_t>(picture.nodes.size() / 4));
  // Before the first LOAD starts and behind the last command nothing is held.
  for (unsigned row = 0; row < picture.rows; ++row) {
    EXPECT_EQ(picture.nodes[size_t{row} * picture.columns], Occupancy::kFree);
    EXPECT_EQ(picture.nodes[size_t{row + 1} * picture.columns - 1], Occupancy::kFree);
  }
}

// Conv, Relu, an addition, and quantization around them, as ONNX has it.
Graph residual_block() {
  testing::OnnxBuilder b;
  b.input("x", {1, 2, 4, 4});
  b.quantization("x", 0.5f, 10);
  b.bytes("w", {2, 2, 1, 1}, {3, -2, 1, 4});
  b.quantization("w", 0.25f, 0, onnx::Tensor::INT8);
  b.dequantize("x");
  b.dequantize("w");
  b.node("Conv", {"x_f", "w_f"}, "c");
  b.node("Relu", {"c"}, "r_f");
  b.quantization("r", 0.5f, 0);
  b.node("QuantizeLinear", {"r_f", "r_s", "r_z"}, "r");
  b.node("DequantizeLinear", {"r", "r_s", "r_z"}, "r_d");
  b.node("Add", {"r_d", "x_f"}, "y_f");
  b.quantization("y", 0.5f, 100);
  b.quantize("y");
  b.output("y");
  Diagnostics diagnostics;
  const std::string file = b.serialize();
  std::optional<Graph> graph = import_onnx(testing::as_bytes(file), {}, diagnostics);
  EXPECT_TRUE(graph) << diagnostics.text();
  return graph ? std::move(*graph) : Graph{};
}

TEST(Report, ExplainsEveryNode) {
  const Graph graph = residual_block();
  const CompileOptions options = options_for(65536);
  const CompiledModel model = compile(graph, options);
  ASSERT_EQ(model.report.layers.size(), 1u);
  const LayerReport& layer = model.report.layers[0];
  EXPECT_EQ(layer.type, "Conv+Add");
  EXPECT_EQ(layer.nodes, (std::vector<std::string>{"r_f_node", "r_node", "y_f_node", "y_node"}))
      << "Relu, QuantizeLinear, Add, QuantizeLinear";
  for (const Source& source : graph.sources) {
    const auto text = explain_node(model, graph, options.target, source.name);
    ASSERT_TRUE(text) << source.name;
    const bool idle = source.type == "DequantizeLinear" || source.name == "x";
    EXPECT_EQ(text->find("needs no commands") != std::string::npos, idle) << *text;
    EXPECT_EQ(text->find("CONV ") != std::string::npos, !idle) << *text;
  }
  EXPECT_FALSE(explain_node(model, graph, options.target, "nobody"));
  const auto shorter = explain_node(model, graph, options.target, "c_node", 1);
  ASSERT_TRUE(shorter);
  EXPECT_NE(shorter->find("more; npu-objdump"), std::string::npos) << *shorter;
}

TEST(Report, Compares) {
  const Graph graph = testing::random_network(7, 1);
  CompileOptions options = options_for(262144);
  const std::string good = report_json(compile(graph, options), graph, options.target);
  options.fuse = options.residency = options.stripes = false;
  const std::string plain = report_json(compile(graph, options), graph, options.target);
  std::string error;
  const auto same = compare_reports(good, good, error);
  ASSERT_TRUE(same) << error;
  EXPECT_NE(same->find("+0.0 %"), std::string::npos);
  EXPECT_NE(same->find(" the same\n"), std::string::npos);
  EXPECT_EQ(std::count(same->begin(), same->end(), '\n'), 5) << "no layer\n" << *same;
  const auto differ = compare_reports(plain, good, error);
  ASSERT_TRUE(differ) << error;
  EXPECT_GT(std::count(differ->begin(), differ->end(), '\n'), 5) << *differ;
  const auto network = differ->find("network");
  EXPECT_NE(differ->find('-', network), std::string::npos) << *differ;

  for (const std::string& bad :
       {std::string(), std::string("{}"), std::string("[1]"), good.substr(0, good.size() / 2),
        std::string("{\"schema\": \"npu-compile-report/2\", \"network\": 3}"),
        std::string("{\"schema\": \"npu-compile-report/1\"}"), std::string(100000, '[')}) {
    EXPECT_FALSE(compare_reports(good, bad, error));
    EXPECT_NE(error.find("the second is no report"), std::string::npos) << error;
    EXPECT_FALSE(compare_reports(bad, good, error));
    EXPECT_NE(error.find("the first is no report"), std::string::npos) << error;
  }
}

}  // namespace
}  // namespace npu::compiler
