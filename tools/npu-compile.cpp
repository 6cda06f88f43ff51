// SPDX-License-Identifier: MIT
//
// npu-compile: ONNX -> compiled model.
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "compiler/compile.h"
#include "compiler/verify/verify.h"
#include "tools/common/device.h"
#include "tools/common/program.h"

namespace npu::tools {
namespace {

// Inputs that --verify compares: three with extreme values, the rest random.
constexpr uint32_t kVerifyPatterns = 8;

struct Options {
  std::string model;
  std::string output;
  std::string target = "card";
  std::string report;
  std::string calibrate;
  int64_t batch = 0;
  unsigned cores = 1;
  uint64_t max_yield_gap = compiler::kDefaultYieldGap;
  bool verify = false;
  bool list_ops = false;
  bool no_fuse = false;
  bool no_residency = false;
  bool no_stripes = false;
  bool quiet = false;
};

void add_options(CLI::App& app, Options& o) {
  app.add_option("MODEL", o.model, "Quantized ONNX model (QDQ or QOperator)");
  app.add_option("-o,--output", o.output, "Compiled model to write")->type_name("FILE");
  app.add_option("--target", o.target,
                 "Card to compile for: card, edge, a JSON file, or device for the one that "
                 "npu-run would use")
      ->type_name("TARGET")
      ->capture_default_str();
  app.add_option("--batch", o.batch, "Value of a symbolic first dimension of the inputs")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{65536}));
  app.add_option("--cores", o.cores,
                 "Cores that run the network together: the shortest latency alone, but no "
                 "YIELDs, and nothing else can run on those cores meanwhile")
      ->type_name("N")
      ->check(CLI::Range(1, NPU_MAX_CORES))
      ->capture_default_str();
  app.add_option("--report", o.report, "Write DIR/report.json and DIR/report.txt: cost per layer")
      ->type_name("DIR");
  app.add_flag("--verify", o.verify,
               "Run the result on the simulated card and compare with the reference");
  app.add_flag("--no-fuse", o.no_fuse, "One operator per command, for comparison");
  app.add_flag("--no-residency", o.no_residency,
               "Every layer's output leaves SRAM, for comparison");
  app.add_flag("--no-stripes", o.no_stripes,
               "One layer after the other, none together in stripes, for comparison");
  app.add_option("--max-yield-gap", o.max_yield_gap,
                 "Modelled cycles after which the network can make room for something more "
                 "urgent; 0: never")
      ->type_name("CYCLES")
      ->capture_default_str();
  app.add_flag("--list-ops", o.list_ops, "Print the supported operators and their limits");
  app.add_option("--calibrate", o.calibrate,
                 "Quantize a float model with inputs from DIR: not "
                 "supported yet")
      ->type_name("DIR");
  app.add_flag("-q,--quiet", o.quiet, "No summary");
}

ExitCode exit_code_of(compiler::Status status) {
  switch (status) {
    case compiler::Status::kOk:
      return kExitOk;
    case compiler::Status::kTarget:
      return kExitUsage;
    case compiler::Status::kMalformed:
      return kExitBadInput;
    case compiler::Status::kUnsupported:
    case compiler::Status::kResources:
      return kExitUnsupported;
    case compiler::Status::kInternal:
      return kExitFailure;
  }
  return kExitFailure;
}

std::vector<std::byte> read_file(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    throw ToolError(kExitBadInput, fmt::format("{} is a folder, not an ONNX file", path));
  }
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    throw ToolError(kExitBadInput, fmt::format("cannot open {}: {}", path, std::strerror(errno)));
  }
  std::vector<std::byte> bytes;
  std::vector<std::byte> chunk(1 << 20);
  size_t got;
  bool too_large = false;
  while ((got = std::fread(chunk.data(), 1, chunk.size(), file)) > 0 && !too_large) {
    bytes.insert(bytes.end(), chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(got));
    too_large = bytes.size() > 0x7fffffff;
  }
  const bool failed = std::ferror(file) != 0;
  std::fclose(file);
  if (failed) throw ToolError(kExitBadInput, fmt::format("cannot read {}", path));
  if (too_large) throw ToolError(kExitBadInput, fmt::format("{} is larger than 2 GiB", path));
  return bytes;
}

// Written beside its place and renamed: no half file is left under the name.
void write_file(const std::string& path, const void* data, size_t bytes) {
  const std::string temporary = path + ".new";
  std::FILE* file = std::fopen(temporary.c_str(), "wb");
  const bool opened = file != nullptr;
  bool good = opened && std::fwrite(data, 1, bytes, file) == bytes;
  if (opened) good = std::fclose(file) == 0 && good;
  if (good) good = std::rename(temporary.c_str(), path.c_str()) == 0;
  if (!good) {
    const std::string reason = std::strerror(errno);
    if (opened) std::remove(temporary.c_str());
    throw ToolError(kExitFailure, fmt::format("cannot write {}: {}", path, reason));
  }
}

npu_target choose_target(const std::string& name) {
  if (name != "device") return load_target(name);
  const DeviceOptions options;
  const Device device = options.open();
  return target_of(check(device.info()));
}

int list_operators() {
  for (const compiler::SupportedOperator& op : compiler::supported_operators()) {
    fmt::print("{:<44} {}\n", op.domain.empty() ? op.type : op.domain + "." + op.type,
               op.constraints);
  }
  return kExitOk;
}

[[noreturn]] void fail(const Options& o, const compiler::Diagnostics& diagnostics) {
  std::string text = fmt::format("cannot compile {}:\n", o.model) + diagnostics.text();
  while (!text.empty() && text.back() == '\n') text.pop_back();
  throw ToolError(exit_code_of(diagnostics.status()), text);
}

int compile(const Options& o) {
  if (o.list_ops) return list_operators();
  if (!o.calibrate.empty()) {
    throw ToolError(kExitUnsupported,
                    "--calibrate is not supported yet: quantize the model first, for example with "
                    "ONNX Runtime's quantize_static");
  }
  if (o.model.empty()) throw ToolError(kExitUsage, "no ONNX model given; see --help");
  if (o.output.empty()) throw ToolError(kExitUsage, "no output given: -o FILE; see --help");

  compiler::CompileOptions options;
  options.target = choose_target(o.target);
  options.fuse = !o.no_fuse;
  options.max_yield_gap = o.max_yield_gap;
  options.cores = o.cores;
  options.residency = !o.no_residency;
  options.stripes = !o.no_stripes;
  const std::vector<std::byte> file = read_file(o.model);
  compiler::Diagnostics diagnostics;
  compiler::ImportOptions import_options;
  import_options.batch = o.batch;
  const std::optional<compiler::Graph> graph =
      compiler::import_onnx(file, import_options, diagnostics);
  if (!graph) fail(o, diagnostics);
  stop_if_interrupted();
  const std::optional<compiler::CompiledModel> model =
      compiler::compile_graph(*graph, options, diagnostics);
  if (!model) fail(o, diagnostics);
  stop_if_interrupted();

  const std::string table = compiler::report_table(model->report, options.target);
  if (!o.report.empty()) {
    std::error_code error;
    std::filesystem::create_directories(o.report, error);
    const std::string json = compiler::report_json(model->report, *graph, options.target);
    write_file(o.report + "/report.json", json.data(), json.size());
    write_file(o.report + "/report.txt", table.data(), table.size());
  }
  if (o.verify) {
    const compiler::Verification result =
        compiler::verify(*graph, model->file, options.target, kVerifyPatterns);
    if (!result.ok) throw ToolError(kExitMismatch, "verification failed: " + result.text);
    if (!o.quiet) fmt::print(stderr, "verified: {}\n", result.text);
  }
  write_file(o.output, model->file.data(), model->file.size());
  if (!o.quiet) {
    fmt::print(stderr, "{}: {} bytes for {}, {} commands, {} modelled cycles\n", o.output,
               model->file.size(), options.target.name, model->report.commands,
               model->report.cycles);
  }
  return kExitOk;
}

}  // namespace
}  // namespace npu::tools

int main(int argc, char** argv) {
  using namespace npu::tools;
  Program program("npu-compile", "Compiles a quantized ONNX model for the NPU card.",
                  {{"npu-compile model.onnx -o model.npu", "compile for the default card"},
                   {"npu-compile model.onnx -o model.npu --target edge --report out",
                    "compile for the small card and write what each layer costs"},
                   {"npu-compile model.onnx -o model.npu --verify",
                    "and prove the result against the reference"},
                   {"npu-compile --list-ops", "show what can be compiled"}});
  Options options;
  add_options(program.app(), options);
  return program.run(argc, argv, [&] { return compile(options); });
}
