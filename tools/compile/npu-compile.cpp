// SPDX-License-Identifier: MIT
//
// npu-compile: ONNX -> compiled model.
#include <fmt/format.h>

#include <charconv>
#include <map>

#include "compiler/compile.h"
#include "compiler/report/report.h"
#include "compiler/verify/verify.h"
#include "tools/common/device.h"
#include "tools/common/files.h"
#include "tools/common/program.h"
#include "tools/compile/calibration.h"
#include "tools/compile/progress.h"
#include "tools/compile/reports.h"

namespace npu::tools {
namespace {

// Inputs that --verify compares: four with extreme values, the rest random.
constexpr uint32_t kVerifyPatterns = 8;
constexpr size_t kMostModelBytes = 0x7fffffff;  // of a protobuf message

struct Options {
  std::string model;
  std::string output;
  std::string target = "card";
  std::string report;
  std::string explain;
  std::vector<std::string> compare;
  std::vector<std::string> input_shapes;
  std::string calibrate;
  std::string activations = "u8";
  std::string write_qdq;
  double percentile = 100;
  compiler::InputShapes shapes;
  unsigned cores = 1;
  uint64_t max_yield_gap = compiler::kDefaultYieldGap;
  bool verify = false;
  bool list_ops = false;
  bool no_fuse = false;
  bool force_fuse = false;
  bool no_residency = false;
  bool no_stripes = false;
  bool quiet = false;
};

void add_options(CLI::App& app, Options& o) {
  app.add_option("MODEL", o.model,
                 "ONNX model, quantized (QDQ or QOperator) or, with --calibrate, float");
  app.add_option("-o,--output", o.output, "Compiled model to write")->type_name("FILE");
  app.add_option("--target", o.target,
                 "Card to compile for: card, edge, a JSON file, or device for the one that "
                 "npu-run would use")
      ->type_name("TARGET")
      ->capture_default_str();
  app.add_option("--batch", o.shapes.batch, "Value of a symbolic first dimension of the inputs")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{65536}));
  app.add_option("--input-shape", o.input_shapes,
                 "All dimensions of an input that has symbolic ones, e.g. image=1,3,224,224")
      ->type_name("NAME=D,D,...")
      ->allow_extra_args(false);
  app.add_option("--cores", o.cores,
                 "Cores that run the network together: the shortest latency alone, but "
                 "nothing else can run on those cores between its YIELDs")
      ->type_name("N")
      ->check(CLI::Range(1, NPU_MAX_CORES))
      ->capture_default_str();
  app.add_option("--report", o.report,
                 "Write what each layer costs to DIR: report.html, report.json, report.txt, and "
                 "trace.json for Perfetto")
      ->type_name("DIR");
  app.add_option("--explain", o.explain,
                 "Print what became of a node of the model, and why it takes "
                 "as long as it does")
      ->type_name("NODE");
  app.add_option("--compare", o.compare,
                 "Print what differs between two report.json; compiles nothing")
      ->type_name("BEFORE AFTER")
      ->expected(2);
  app.add_flag("--verify", o.verify,
               "Run the result on the simulated card and compare with the reference");
  CLI::Option* no_fuse =
      app.add_flag("--no-fuse", o.no_fuse, "One operator per command, for comparison");
  app.add_flag("--force-fuse", o.force_fuse,
               "Fuse what can be fused even if the network is slower so, for comparison")
      ->excludes(no_fuse);
  app.add_flag("--no-residency", o.no_residency,
               "Every layer's output leaves SRAM, for comparison");
  app.add_flag("--no-stripes", o.no_stripes,
               "One layer after the other, none together in stripes, for comparison");
  app.add_option("--max-yield-gap", o.max_yield_gap,
                 "Modelled cycles after which the network can make room for something more "
                 "urgent; 0: never")
      ->type_name("CYCLES")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_flag("--list-ops", o.list_ops, "Print the supported operators and their limits");
  CLI::Option* calibrate =
      app.add_option("--calibrate", o.calibrate,
                     "Quantize a float model: DIR holds samples of its input, .npy or .pb, or a "
                     "folder of them for each input; prints the error of each layer")
          ->type_name("DIR");
  app.add_option("--percentile", o.percentile,
                 "Share of a tensor's values, in percent, that its range holds; 100: from the "
                 "least to the greatest")
      ->type_name("P")
      ->check(CLI::Range(50.0, 100.0))
      ->capture_default_str()
      ->needs(calibrate);
  app.add_option("--activations", o.activations,
                 "Type of quantized activations: u8, s8, or s8-symmetric with zero points of 0")
      ->type_name("TYPE")
      ->check(CLI::IsMember({"u8", "s8", "s8-symmetric"}))
      ->capture_default_str()
      ->needs(calibrate);
  app.add_option("--write-qdq", o.write_qdq,
                 "Write the model that --calibrate quantized as ONNX, for other runtimes")
      ->type_name("FILE")
      ->needs(calibrate);
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

void explain(const Options& o, const compiler::CompiledModel& model, const compiler::Graph& graph,
             const npu_target& target) {
  const std::optional<std::string> text = compiler::explain_node(model, graph, target, o.explain);
  if (!text)
    throw ToolError(kExitUsage, fmt::format("{} has no node named '{}'; --report lists them",
                                            o.model, o.explain));
  fmt::print("{}", *text);
}

int compare(const Options& o) {
  std::string texts[2], error;
  for (size_t i = 0; i < 2; ++i) {
    const std::vector<std::byte> bytes = read_file(o.compare[i]);
    texts[i].assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  const std::optional<std::string> text = compiler::compare_reports(texts[0], texts[1], error);
  if (!text) throw ToolError(kExitBadInput, error);
  fmt::print("{}", *text);
  return kExitOk;
}

// NAME=D,D,...
std::map<std::string, compiler::Shape> parse_input_shapes(const std::vector<std::string>& texts) {
  std::map<std::string, compiler::Shape> out;
  for (const std::string& text : texts) {
    const size_t equals = text.rfind('=');
    compiler::Shape shape;
    bool good = equals != std::string::npos && equals > 0;
    for (size_t at = equals; good && at < text.size();) {
      const char* end = text.data() + text.size();
      int64_t extent = 0;
      const auto [behind, error] = std::from_chars(text.data() + at + 1, end, extent);
      good = error == std::errc() && extent > 0 && (behind == end || *behind == ',');
      shape.push_back(extent);
      at = static_cast<size_t>(behind - text.data());
    }
    if (!good || shape.empty()) {
      throw ToolError(kExitUsage, fmt::format("--input-shape {}: not NAME=D,D,... with positive "
                                              "whole numbers, e.g. image=1,3,224,224",
                                              text));
    }
    if (!out.emplace(text.substr(0, equals), std::move(shape)).second)
      throw ToolError(kExitUsage, fmt::format("--input-shape {}: the input's second", text));
  }
  return out;
}

compiler::CalibrationOptions calibration_options(const Options& o) {
  compiler::CalibrationOptions out;
  out.shapes = o.shapes;
  out.percentile = o.percentile;
  out.int8_activations = o.activations != "u8";
  out.symmetric_activations = o.activations == "s8-symmetric";
  return out;
}

int compile(Options o) {
  if (o.list_ops) return list_operators();
  if (!o.compare.empty()) return compare(o);
  if (o.model.empty()) throw ToolError(kExitUsage, "no ONNX model given; see --help");
  o.shapes.by_name = parse_input_shapes(o.input_shapes);
  const bool compiles = !o.output.empty() || !o.report.empty() || !o.explain.empty() || o.verify;
  if (!compiles && o.write_qdq.empty()) {
    throw ToolError(kExitUsage,
                    "nothing to do: give -o FILE, --report DIR, --explain NODE, --verify or "
                    "--write-qdq FILE; see --help");
  }

  compiler::CompileOptions options;
  options.target = choose_target(o.target);
  options.fuse = !o.no_fuse;
  options.unfused = !o.force_fuse;
  options.max_yield_gap = o.max_yield_gap;
  options.cores = o.cores;
  options.residency = !o.no_residency;
  options.stripes = !o.no_stripes;
  Progress progress(o.quiet);
  options.poll = [&] { progress.poll(); };
  options.progress = [&](size_t done, size_t total) {
    progress.now(fmt::format("compiling: {} of {} schedules tried", done, total));
  };
  const std::vector<std::byte> file = read_file(o.model, kMostModelBytes);
  compiler::Diagnostics diagnostics;
  std::optional<compiler::Calibration> calibration;
  std::optional<compiler::Graph> graph;
  if (o.calibrate.empty()) {
    const auto poll = [&] { progress.now("reading the model"); };
    graph = compiler::import_onnx(file, {o.shapes, poll}, diagnostics);
  } else {
    calibration =
        calibrate(file, calibration_options(o), o.calibrate, o.quiet, progress, diagnostics);
    if (calibration) graph = std::move(calibration->graph);
  }
  if (!graph) fail(o, diagnostics);
  stop_if_interrupted();
  if (!o.write_qdq.empty()) {
    write_file(o.write_qdq, calibration->qdq.data(), calibration->qdq.size());
    if (!compiles) return kExitOk;
  }
  const std::optional<compiler::CompiledModel> model =
      compiler::compile_graph(*graph, options, diagnostics);
  if (!model) fail(o, diagnostics);
  stop_if_interrupted();

  if (!o.report.empty()) {
    write_reports(o.report, *model, *graph, options.target);
    if (calibration) write_calibration(o.report, *calibration);
  }
  if (!o.explain.empty()) explain(o, *model, *graph, options.target);
  if (o.verify) {
    const compiler::Verification result =
        compiler::verify(*graph, model->file, options.target, kVerifyPatterns, [&](uint32_t done) {
          progress.now(fmt::format("verifying: {} of {} inputs compared", done, kVerifyPatterns));
        });
    if (!result.ok) throw ToolError(kExitMismatch, "verification failed: " + result.text);
    if (!o.quiet) fmt::print(stderr, "verified: {}\n", result.text);
  }
  if (o.output.empty()) return kExitOk;
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
  Program program("npu-compile",
                  "Compiles an ONNX model for the NPU card, quantizing it first if asked to.",
                  {{"npu-compile model.onnx -o model.npu", "compile for the default card"},
                   {"npu-compile model.onnx --explain conv1",
                    "show what became of one node, without writing anything"},
                   {"npu-compile --compare before/report.json after/report.json",
                    "show which layers became faster or slower"},
                   {"npu-compile model.onnx -o model.npu --target edge --report out",
                    "compile for the small card and write what each layer costs"},
                   {"npu-compile model.onnx -o model.npu --verify",
                    "and prove the result against the reference"},
                   {"npu-compile float.onnx --calibrate samples -o model.npu --write-qdq int8.onnx",
                    "quantize a float model; keep the quantized one for ONNX Runtime"},
                   {"npu-compile --list-ops", "show what can be compiled"}});
  Options options;
  add_options(program.app(), options);
  return program.run(argc, argv, [&] { return compile(options); });
}
