// SPDX-License-Identifier: MIT
//
// npu-run: runs a compiled model on files.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "arch/text.h"
#include "tools/common/device.h"
#include "tools/common/files.h"
#include "tools/common/json_output.h"
#include "tools/common/program.h"
#include "tools/common/tensor_file.h"
#include "tools/run/bindings.h"
#include "tools/run/profile.h"
#include "tools/run/real_values.h"

namespace npu::tools {
namespace {

struct Options {
  std::string model;
  DeviceOptions device;
  std::vector<std::string> inputs;
  std::string inputs_folder;
  std::string output_folder;
  std::vector<std::string> expected;
  uint32_t tolerance = 0;
  uint32_t repeat = 1;
  uint32_t seed = 0;
  bool random = false;
  bool quiet = false;
  bool real = false;
  bool function_only = false, timing_only = false;
  bool unchecked = false;
  std::string json;
  std::string profile;
  uint64_t cycle_limit = 0;
};

void add_options(CLI::App& app, Options& o) {
  app.add_option("MODEL", o.model, "Compiled model, from npu-compile")->required();
  o.device.add_to(app);
  app.add_option("--input", o.inputs,
                 "Value of an input; .npy or .pb; float32 is quantized. Several runs' worth may be "
                 "stacked along the first dimension")
      ->type_name("NAME=FILE")
      ->allow_extra_args(false);
  app.add_option("--inputs", o.inputs_folder, "Folder with input_0.pb, input_1.pb, ...")
      ->type_name("DIR");
  app.add_option("--random", o.seed, "Random values, from this seed, for inputs without a file")
      ->type_name("SEED");
  app.add_option("--output", o.output_folder, "Write every output to DIR/NAME.npy")
      ->type_name("DIR");
  app.add_flag("--real", o.real, "Write quantized outputs as the real numbers they stand for");
  CLI::Option* expect =
      app.add_option("--expect", o.expected,
                     "Compare an output with a file; exit status 12 if they differ")
          ->type_name("NAME=FILE")
          ->allow_extra_args(false);
  app.add_option("--tolerance", o.tolerance,
                 "Steps by which integers may differ from what is expected; 0: bit for bit")
      ->type_name("STEPS")
      ->needs(expect)
      ->check(CLI::Range(0u, 255u))
      ->capture_default_str();
  app.add_option("--repeat", o.repeat, "Run everything N times")
      ->type_name("N")
      ->check(CLI::Range(1u, 1000000u))
      ->capture_default_str();
  app.add_option("--json", o.json, "Write figures to FILE (- for stdout)")->type_name("FILE");
  app.add_option("--profile", o.profile,
                 "Write the last run's commands to FILE: .csv a table, else a Chrome trace")
      ->type_name("FILE");
  app.add_option("--cycle-limit", o.cycle_limit, "End a job after so many modelled cycles")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber);
  auto* function =
      app.add_flag("--function-only", o.function_only, "Simulator: compute without modelling time");
  app.add_flag("--timing-only", o.timing_only, "Simulator: model time without computing")
      ->excludes(function);
  app.add_flag("--unchecked", o.unchecked,
               "Leave the check of commands to the card, to test that check");
  app.add_flag("-q,--quiet", o.quiet, "No summary");
}

// Everything about one invocation.
class Runner {
 public:
  explicit Runner(const Options& options) : o_(options) {}

  int run() {
    const std::vector<std::byte> file = read_file(o_.model);
    const uint32_t sim_flags = (o_.function_only ? NPU_OPEN_FUNCTION_ONLY : 0) |
                               (o_.timing_only ? NPU_OPEN_TIMING_ONLY : 0);
    const Device device = o_.device.open(sim_flags);
    auto loaded = device.load(file, o_.unchecked ? NPU_NETWORK_UNCHECKED : 0);
    if (!loaded)
      throw ToolError(exit_code_of(loaded.code()), o_.model + ": " + loaded.error().text);
    const Network network = std::move(loaded).value();

    TensorSet inputs(network.inputs(), "input");
    for (const std::string& argument : o_.inputs) inputs.add(argument);
    if (!o_.inputs_folder.empty()) inputs.add_folder(o_.inputs_folder, "input");
    if (o_.random) inputs.fill_random(o_.seed);
    inputs.require_all();
    TensorSet expected(network.outputs(), "output");
    for (const std::string& argument : o_.expected) expected.add(argument);
    runs_ = std::max<uint64_t>(inputs.runs(), 1);
    if (expected.runs() != 0 && expected.runs() != runs_) {
      throw ToolError(kExitBadInput, fmt::format("the inputs are of {} runs, --expect of {}", runs_,
                                                 expected.runs()));
    }
    prepare_outputs(network);

    npu_queue_desc desc = {};
    desc.cycle_limit = o_.cycle_limit;
    const Queue queue = check(device.create_queue(desc));
    Execution execution = check(Execution::create(
        device, network, o_.profile.empty() ? NPU_RUN_PROFILE : NPU_RUN_PROFILE_COMMANDS));
    for (uint32_t round = 0; round < o_.repeat; round++) {
      for (uint64_t run = 0; run < runs_; run++) {
        stop_if_interrupted();
        for (size_t i = 0; i < network.inputs().size(); i++) {
          std::ranges::copy(inputs.value(i, run), execution.input(i).begin());
        }
        time_run(device, queue, execution);
        collect(network, execution, expected, run, round);
      }
    }
    report_ = check(execution.report());

    const npu_device_info info = check(device.info());
    write_outputs(network);
    if (!o_.profile.empty()) {
      write_profile(o_.profile, network, execution, target_of(info).clock_mhz);
    }
    if (!o_.json.empty()) write_json(o_.json, figures(network, info));
    if (!o_.quiet && o_.json != "-") summarize(network, info);
    if (!mismatch_.empty()) {
      throw ToolError(kExitMismatch, fmt::format("{} ({} of {} runs differ)", mismatch_,
                                                 wrong_runs_, runs_ * o_.repeat));
    }
    return kExitOk;
  }

 private:
  void prepare_outputs(const Network& network) {
    for (const npu_tensor_info& tensor : network.outputs()) {
      Tensor output;
      output.type = static_cast<npu_type>(tensor.type);
      output.name = tensor.name;
      output.shape.assign(tensor.shape, tensor.shape + tensor.rank);
      if (!output.shape.empty()) output.shape[0] *= runs_;
      if (element_bytes(output.type) == 0) {
        throw ToolError(kExitUnsupported,
                        fmt::format("output '{}' has a type that no file can hold", tensor.name));
      }
      outputs_.push_back(std::move(output));
    }
  }

  void time_run(const Device& device, const Queue& queue, Execution& execution) {
    const auto start = std::chrono::steady_clock::now();
    wait_for(device, check(execution.start(queue)));
    check(execution.wait());
    host_ns_.push_back(std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count());
  }

  void collect(const Network& network, const Execution& execution, const TensorSet& expected,
               uint64_t run, uint32_t round) {
    bool wrong = false;
    for (size_t i = 0; i < outputs_.size(); i++) {
      const std::span<const std::byte> got = execution.output(i);
      if (round == 0) {
        outputs_[i].bytes.insert(outputs_[i].bytes.end(), got.begin(), got.end());
      } else if (!o_.timing_only &&
                 !std::ranges::equal(
                     got, std::span(outputs_[i].bytes).subspan(run * got.size(), got.size()))) {
        throw ToolError(kExitMismatch,
                        fmt::format("output '{}' of run {} differs between repetitions",
                                    outputs_[i].name, run));
      }
      if (!expected.has(i)) continue;
      const npu_tensor_info& tensor = network.outputs()[i];
      const Difference difference = compare(tensor, got, expected.value(i, run), o_.tolerance);
      if (difference.count == 0) continue;
      wrong = true;
      if (mismatch_.empty()) {
        mismatch_ = describe(tensor, difference, got, expected.value(i, run)) +
                    (o_.tolerance > 0 ? fmt::format(", more than {} steps", o_.tolerance) : "") +
                    (runs_ > 1 ? fmt::format(", in run {}", run) : "");
      }
    }
    wrong_runs_ += wrong;
  }

  void write_outputs(const Network& network) const {
    if (o_.output_folder.empty()) return;
    std::error_code error;
    std::filesystem::create_directories(o_.output_folder, error);
    if (error) throw ToolError(kExitFailure, o_.output_folder + ": " + error.message());
    for (size_t i = 0; i < outputs_.size(); i++) {
      const Tensor& output = outputs_[i];
      const bool real = o_.real && is_quantized(network.outputs()[i]);
      write_npy(
          (std::filesystem::path(o_.output_folder) / (file_stem(output.name) + ".npy")).string(),
          real ? dequantize(network.outputs()[i], output) : output);
    }
  }

  // Share of the array's capacity that the network's products used.
  double utilization(const Network& network, const npu_target& target) const {
    return static_cast<double>(network.info().macs) /
           (static_cast<double>(target.mac_outputs) * target.mac_inputs * target.cores *
            static_cast<double>(report_.cycles));
  }

  uint64_t host_median() {
    std::ranges::sort(host_ns_);
    return host_ns_[host_ns_.size() / 2];
  }

  bool timed() const { return report_.cycles_valid != 0 && report_.cycles != 0; }

  Json figures(const Network& network, const npu_device_info& device) {
    const npu_network_info info = network.info();
    const npu_target target = target_of(device);
    return {{"schema", "npu-run/1"},
            {"model", o_.model},
            {"network", info.name},
            {"device", device.selector},
            {"driver", device.driver},
            {"target", device.name},
            {"runs", runs_},
            {"repeat", o_.repeat},
            {"jobs", info.jobs},
            {"commands", info.commands},
            {"cycles", valid_or_null(timed(), report_.cycles)},
            {"cycles_observed", valid_or_null(timed(), report_.cycles_observed)},
            {"predicted_cycles", valid_or_null(info.predicted_cycles != 0, info.predicted_cycles)},
            {"macs", info.macs},
            {"mac_utilization", valid_or_null(timed(), utilization(network, target))},
            {"external_bytes", report_.card_bytes + report_.pcie_bytes},
            {"card_bytes", report_.card_bytes},
            {"pcie_bytes", report_.pcie_bytes},
            {"card_memory_bytes", info.constant_bytes + info.command_bytes + info.scratch_bytes},
            {"sram_peak_bytes",
             report_.sram_peak_bytes != 0 ? report_.sram_peak_bytes : info.sram_peak_bytes},
            {"energy_j", valid_or_null(timed(), static_cast<double>(report_.energy_pj) * 1e-12)},
            {"modelled_latency_ns", valid_or_null(timed(), report_.modelled_ns)},
            {"host_latency_ns", host_median()},
            {"outputs_match", o_.expected.empty() ? Json(nullptr) : Json(mismatch_.empty())}};
  }

  void summarize(const Network& network, const npu_device_info& device) {
    const npu_network_info info = network.info();
    fmt::print("{} on {} ({}): {} run{}\n",
               arch::printable(info.name[0] != '\0' ? info.name : o_.model.c_str()),
               device.selector, device.name, runs_ * o_.repeat, runs_ * o_.repeat == 1 ? "" : "s");
    if (timed()) {
      fmt::print("  modelled  {} cycles, {:.3f} us, {:.1f} % MAC utilization, {:.2f} uJ a run\n",
                 report_.cycles, static_cast<double>(report_.modelled_ns) / 1e3,
                 100 * utilization(network, target_of(device)),
                 static_cast<double>(report_.energy_pj) * 1e-6);
    } else {
      fmt::print("  modelled  not valid: time is not modelled\n");
    }
    fmt::print("  traffic   {} bytes card memory, {} bytes PCIe a run\n", report_.card_bytes,
               report_.pcie_bytes);
    fmt::print("  host      {:.1f} us a run (median; simulation, not the card's speed)\n",
               static_cast<double>(host_median()) / 1e3);
    if (!o_.expected.empty() && mismatch_.empty()) fmt::print("  outputs   as expected\n");
  }

  const Options& o_;
  uint64_t runs_ = 1;
  std::vector<Tensor> outputs_;
  std::vector<int64_t> host_ns_;
  npu_run_report report_ = {};
  std::string mismatch_;
  uint64_t wrong_runs_ = 0;
};

int main_of(int argc, char** argv) {
  Program program(
      "npu-run",
      "run a compiled model on an NPU or its simulator\n\n"
      "Reads inputs from files, runs the model, writes or compares the outputs and reports "
      "modelled time, traffic and energy.",
      {{"npu-run digits.npu --device sim --input image=images.npy --output out",
        "run on the simulator, write out/logits.npy"},
       {"npu-run digits.npu --input image=images.npy --expect logits=logits.npy",
        "run on the first card and compare, bit for bit"},
       {"npu-run net.npu --target edge --random 1 --profile trace.json",
        "where the cycles go; open the file in Perfetto"}});
  Options options;
  add_options(program.app(), options);
  return program.run(argc, argv, [&] {
    options.random = program.app().count("--random") > 0;
    return Runner(options).run();
  });
}

}  // namespace
}  // namespace npu::tools

int main(int argc, char** argv) {
  return npu::tools::main_of(argc, argv);
}
