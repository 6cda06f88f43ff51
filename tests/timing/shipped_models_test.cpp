// SPDX-License-Identifier: MIT
//
// What the compiler makes of the shipped models is quick to check and to time:
// what is slow is for the streams of others.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "arch/target.h"
#include "compiler/compile.h"
#include "compiler/import/import.h"
#include "host_work.h"
#include "model_file.h"

namespace npu {
namespace {

std::vector<std::filesystem::path> shipped_models() {
  std::vector<std::filesystem::path> out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(NPU_MODELS_DIR))
    if (entry.path().extension() == ".onnx") out.push_back(entry.path());
  return out;
}

std::vector<std::byte> read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(in), {});
  const auto* data = reinterpret_cast<const std::byte*>(bytes.data());
  return {data, data + bytes.size()};
}

// Checks every job of a compiled model as the card does; returns YIELDs.
uint32_t check_jobs(const std::string& name, const compiler::CompiledModel& compiled,
                    const npu_target& target) {
  auto parsed = umd::ModelFile::parse(compiled.file);
  EXPECT_TRUE(parsed.ok()) << name;
  const umd::ModelFile& file = parsed.value();
  for (const auto* job : *file.model().jobs()) {
    std::vector<std::span<const std::byte>> streams;
    for (const auto* stream : *job->streams()) streams.push_back(file.stream(*stream));
    testing::expect_little_work(name, std::move(streams), target);
  }
  return compiled.report.yields;
}

TEST(ShippedModels, AreQuickToCheck) {
  const auto models = shipped_models();
  EXPECT_GT(models.size(), 90u);
  uint32_t yields = 0, gangs = 0;
  for (const auto& path : models) {
    compiler::Diagnostics diagnostics;
    const auto graph =
        compiler::import_onnx(read_file(path), {.shapes = {.batch = 1}}, diagnostics);
    ASSERT_TRUE(graph) << path << ": " << diagnostics.text();
    const auto check = [&](const char* card, uint64_t max_yield_gap, unsigned cores) {
      compiler::CompileOptions options;
      options.target = *arch::find_target(card);
      options.max_yield_gap = max_yield_gap;
      options.cores = cores;
      const auto compiled = compile_graph(*graph, options, diagnostics);
      ASSERT_TRUE(compiled) << path << ": " << diagnostics.text();
      gangs += compiled->report.cores > 1;
      yields += check_jobs(path.filename().string() + " on " + card, *compiled, options.target);
    };
    // As people get it, and with YIELDs wherever there is a place for one.
    for (const char* card : {"card", "edge"})
      for (const uint64_t gap : {compiler::kDefaultYieldGap, uint64_t{1000}}) check(card, gap, 1);
    check("card", compiler::kDefaultYieldGap, 2);
  }
  EXPECT_GT(gangs, 50u);
  EXPECT_GT(yields, 100u);
}

}  // namespace
}  // namespace npu
