// SPDX-License-Identifier: MIT
//
// npu-bench: microbenchmarks of devices and the simulator, and whole models.
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <optional>
#include <random>

#include "tools/bench/onednn.h"
#include "tools/bench/workloads.h"
#include "tools/common/device.h"
#include "tools/common/files.h"
#include "tools/common/json_output.h"
#include "tools/common/program.h"
#include "tools/common/tensor_file.h"

namespace npu::tools {
namespace {

struct Options {
  DeviceOptions device;
  std::string json;
  std::string versus;
  uint32_t count = 0, warmup = 5;
  uint64_t mib = 64;
  std::string model;
  std::vector<uint32_t> gemm, conv;
};

// Host times of repeated runs.
class Times {
 public:
  void add(int64_t ns) { ns_.push_back(ns); }
  void sort() { std::ranges::sort(ns_); }
  // After sort(); nearest rank.
  int64_t percentile(double p) const {
    const auto rank = static_cast<size_t>(std::ceil(p / 100 * static_cast<double>(ns_.size())));
    return ns_[std::clamp<size_t>(rank, 1, ns_.size()) - 1];
  }
  double mean() const {
    return static_cast<double>(std::accumulate(ns_.begin(), ns_.end(), int64_t{0})) /
           static_cast<double>(ns_.size());
  }
  Json json() const {
    return {{"samples", ns_.size()},           {"min_ns", ns_.front()},
            {"p50_ns", percentile(50)},        {"p90_ns", percentile(90)},
            {"p99_ns", percentile(99)},        {"max_ns", ns_.back()},
            {"mean_ns", std::llround(mean())}, {"time_base", "host"}};
  }

 private:
  std::vector<int64_t> ns_;
};

// A network on a device, with its buffers.
class Bench {
 public:
  Bench(const Device& device, std::span<const std::byte> file, uint32_t profile = NPU_RUN_PROFILE)
      : device_(device),
        network_(check(device.load(file))),
        queue_(check(device.create_queue())),
        run_(check(Execution::create(device_, network_, profile))) {
    std::mt19937 random(3);
    for (size_t i = 0; i < network_.inputs().size(); i++) {
      for (std::byte& byte : run_.input(i)) byte = static_cast<std::byte>(random());
    }
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  int64_t once() {
    const auto start = std::chrono::steady_clock::now();
    wait_for(device_, check(run_.start(queue_)));
    return std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count();
  }
  Times repeat(uint32_t warmup, uint32_t count) {
    Times times;
    for (uint32_t i = 0; i < warmup; i++) once();
    for (uint32_t i = 0; i < count; i++) {
      stop_if_interrupted();
      times.add(once());
    }
    times.sort();
    return times;
  }
  // Runs one behind the other, in one submit.
  void batch(uint32_t repetitions) {
    wait_for(device_, check(run_.start(queue_, {}, repetitions)));
  }
  const Network& network() const { return network_; }
  npu_run_report report() const { return check(run_.report()); }
  template <typename T>
  std::span<const T> tensor(size_t index) const {
    const auto bytes = run_.tensor(index);
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size()};
  }

 private:
  const Device& device_;
  Network network_;
  Queue queue_;
  Execution run_;
};

Json document(const char* benchmark, const npu_device_info& info, Json results) {
  return {{"schema", "npu-bench/1"}, {"benchmark", benchmark}, {"device", info.selector},
          {"driver", info.driver},   {"target", info.name},    {"version", NPU_VERSION},
          {"results", results}};
}

void finish(const Options& o, const Json& json) {
  if (!o.json.empty()) write_json(o.json, json);
}
bool text_wanted(const Options& o) {
  return o.json != "-";
}

double utilization(uint64_t macs, uint64_t cycles, const npu_target& t) {
  return static_cast<double>(macs) / (static_cast<double>(t.mac_outputs) * t.mac_inputs * t.cores *
                                      static_cast<double>(cycles));
}

// Round trip of a job that does nothing.
int latency(const Options& o) {
  const Device device = o.device.open();
  const npu_device_info info = check(device.info());
  Bench bench(device, umd::write_model(empty_workload(target_of(info))), 0);
  const uint32_t count = o.count != 0 ? o.count : 1000;
  bench.repeat(o.warmup, 1);
  // Reading counters costs register accesses, too: two readings tell how many.
  const npu_counters zero = check(device.counters()), before = check(device.counters());
  const Times times = bench.repeat(0, count);
  const npu_counters after = check(device.counters());
  const auto per_job = [&](uint64_t npu_counters::*field) {
    const int64_t own = int64_t(before.*field) - int64_t(zero.*field);
    return static_cast<double>(int64_t(after.*field - before.*field) - own) / count;
  };
  const double doorbells = per_job(&npu_counters::device_doorbells);
  const double interrupts = per_job(&npu_counters::device_interrupts);
  const double reads = per_job(&npu_counters::device_mmio_reads);
  const double writes = per_job(&npu_counters::device_mmio_writes);
  if (text_wanted(o)) {
    fmt::print("empty job on {} ({}), round trip in host time, {} samples\n", info.selector,
               info.name, count);
    fmt::print("  p50 {:.1f} us   p90 {:.1f} us   p99 {:.1f} us   mean {:.1f} us\n",
               times.percentile(50) / 1e3, times.percentile(90) / 1e3, times.percentile(99) / 1e3,
               times.mean() / 1e3);
    fmt::print(
        "  per job: {:.3f} doorbells, {:.3f} interrupts, {:.3f} register writes, "
        "{:.3f} register reads\n",
        doorbells, interrupts, writes, reads);
  }
  Json result = {{"name", "empty_job"}};
  result.update(times.json());
  result["doorbells_per_job"] = doorbells;
  result["interrupts_per_job"] = interrupts;
  result["register_writes_per_job"] = writes;
  result["register_reads_per_job"] = reads;
  finish(o, document("latency", info, Json::array({result})));
  return kExitOk;
}

int bandwidth(const Options& o) {
  const Device device = o.device.open();
  const npu_device_info info = check(device.info());
  const npu_target target = target_of(info);
  const uint64_t bytes = o.mib << 20;
  Json results = Json::array();
  if (text_wanted(o)) {
    fmt::print("{} MiB between SRAM and memory on {} ({})\n", o.mib, info.selector, info.name);
  }
  for (Transfer transfer :
       {Transfer::kCardRead, Transfer::kCardWrite, Transfer::kHostRead, Transfer::kHostWrite}) {
    Bench bench(device, umd::write_model(transfer_workload(target, transfer, bytes)));
    const Times times = bench.repeat(1, o.count != 0 ? o.count : 5);
    const npu_run_report report = bench.report();
    const bool valid = report.cycles_valid != 0 && report.cycles != 0;
    const double per_cycle = valid ? double(bytes) / double(report.cycles) : 0;
    const double modelled = per_cycle * target.clock_mhz * 1e6;
    const double host = double(bytes) / (double(times.percentile(50)) * 1e-9);
    if (text_wanted(o)) {
      fmt::print("  {:<11} modelled {:6.2f} bytes/cycle, {:6.2f} GB/s   host {:6.2f} GB/s\n",
                 transfer_name(transfer), per_cycle, modelled / 1e9, host / 1e9);
    }
    results.push_back({{"name", transfer_name(transfer)},
                       {"bytes", bytes},
                       {"cycles", valid_or_null(valid, report.cycles)},
                       {"modelled_bytes_per_cycle", valid_or_null(valid, per_cycle)},
                       {"modelled_bytes_per_second", valid_or_null(valid, modelled)},
                       {"host_bytes_per_second", host}});
  }
  finish(o, document("bandwidth", info, results));
  return kExitOk;
}

void require_onednn(const Options& o, bool available) {
  if (o.versus.empty() || (o.versus == "onednn" && available)) return;
  throw ToolError(kExitUnsupported,
                  fmt::format("--vs {} is not available for this benchmark; gemm and conv have "
                              "--vs onednn",
                              o.versus));
}

// Time of a stretch of work: by the wall, and of this process's processors,
// which is what one thread needs whatever else the machine does.
struct Cost {
  double wall_ns, cpu_ns;
};

template <typename Work>
Cost cost_of(uint32_t repetitions, Work work) {
  const auto cpu_now = [] {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return double(t.tv_sec) * 1e9 + double(t.tv_nsec);
  };
  stop_if_interrupted();
  const auto start = std::chrono::steady_clock::now();
  const double cpu = cpu_now();
  work();
  const auto wall = std::chrono::nanoseconds(std::chrono::steady_clock::now() - start);
  return {double(wall.count()) / repetitions, (cpu_now() - cpu) / repetitions};
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::ranges::nth_element(values, middle);
  return *middle;
}

// How fast this machine computes a model in the simulator without modelling
// time, and beside it, in turns, a reference.
struct HostSpeed {
  std::vector<Cost> own, reference;

  static double median_of(const std::vector<Cost>& costs, double Cost::*field) {
    std::vector<double> values;
    for (const Cost& cost : costs) values.push_back(cost.*field);
    return median(values);
  }
  // Speed relative to the reference: 1 is as fast, 2 twice as fast.
  double ratio() const {
    std::vector<double> ratios;
    for (size_t i = 0; i < own.size(); i++) ratios.push_back(reference[i].cpu_ns / own[i].cpu_ns);
    return median(ratios);
  }
};

// layer: what the model computes, if a reference is to do it, too.
HostSpeed measure_host(const Options& o, std::span<const std::byte> file,
                       const Layer* layer = nullptr) {
  constexpr double kSampleNs = 20e6;
  constexpr uint32_t kMaxRepetitions = 64;  // of one submit
  const Device device = o.device.open(NPU_OPEN_FUNCTION_ONLY);
  Bench bench(device, file, 0);
  bench.batch(2);
  const Cost pilot = cost_of(1, [&] { bench.batch(1); });
  const auto repetitions =
      static_cast<uint32_t>(std::clamp(kSampleNs / pilot.wall_ns, 1.0, double{kMaxRepetitions}));
  std::optional<OneDnnLayer> reference;
  if (layer != nullptr && !o.versus.empty()) {
    reference.emplace(*layer, bench.tensor<uint8_t>(0));
    reference->run();
    if (!std::ranges::equal(reference->output(),
                            bench.tensor<uint8_t>(1).first(reference->output().size()))) {
      throw ToolError(kExitMismatch, layer->name + ": " + o.versus + " computed something else");
    }
  }
  HostSpeed speed;
  for (uint32_t i = 0; i < (o.count != 0 ? o.count : 7); i++) {
    speed.own.push_back(cost_of(repetitions, [&] { bench.batch(repetitions); }));
    if (!reference) continue;
    speed.reference.push_back(cost_of(repetitions, [&] {
      for (uint32_t r = 0; r < repetitions; r++) reference->run();
    }));
  }
  return speed;
}

// GEMMs or convolutions: their modelled cycles, and how fast this machine
// computes them in the simulator, with and without modelling time.
int layers(Options o, const char* benchmark, const std::vector<Layer>& all) {
  require_onednn(o, true);
  // The comparison is one of processors: without a choice, the simulator.
  if (!o.versus.empty() && o.device.device.empty()) o.device.device = "sim";
  const Device device = o.device.open();
  const npu_device_info info = check(device.info());
  const bool sim = std::string(info.driver) == "sim";
  if (!o.versus.empty() && !sim) {
    throw ToolError(kExitUnsupported, "--vs compares the simulator: use --device sim");
  }
  const npu_target target = target_of(info);
  Json results = Json::array();
  for (const Layer& layer : all) {
    const std::vector<std::byte> file = compile_layer(layer, target);
    Bench timed(device, file);
    const Times full = timed.repeat(1, o.count != 0 ? o.count : 3);
    const npu_run_report report = timed.report();
    const bool valid = report.cycles_valid != 0 && report.cycles != 0;
    if (check_layer(layer, timed.tensor<uint8_t>(0), timed.tensor<uint8_t>(1)) != 0) {
      throw ToolError(kExitMismatch, layer.name + ": the device computed something else");
    }
    Json result = {
        {"name", layer.name},
        {"macs", layer.macs()},
        {"cycles", valid_or_null(valid, report.cycles)},
        {"mac_cycles", valid_or_null(valid, report.mac_cycles)},
        {"mac_utilization", valid_or_null(valid, utilization(layer.macs(), report.cycles, target))},
        {"modelled_ns", valid_or_null(valid, report.modelled_ns)},
        {"host_ns", full.percentile(50)}};
    if (text_wanted(o)) {
      fmt::print("{} on {} ({})\n", layer.name, info.selector, info.name);
      if (valid) {
        fmt::print("  modelled  {} cycles, {:.1f} us, {:.1f} % of all cores' MACs\n", report.cycles,
                   double(report.modelled_ns) / 1e3,
                   100 * utilization(layer.macs(), report.cycles, target));
      }
      fmt::print("  host      {:.3f} ms\n", double(full.percentile(50)) / 1e6);
    }
    double macs_per_second = double(layer.macs()) / double(full.percentile(50)) * 1e9;
    Json functional_ns;
    if (sim) {
      const HostSpeed speed = measure_host(o, file, &layer);
      const double wall = HostSpeed::median_of(speed.own, &Cost::wall_ns);
      const double cpu = HostSpeed::median_of(speed.own, &Cost::cpu_ns);
      functional_ns = std::llround(wall);
      macs_per_second = double(layer.macs()) / wall * 1e9;
      result["host_function_only_cpu_ns"] = std::llround(cpu);
      if (text_wanted(o)) {
        fmt::print("  function-only {:.3f} ms, {:.3f} ms of processor time: {:.1f} GMAC/s\n",
                   wall / 1e6, cpu / 1e6, double(layer.macs()) / cpu);
      }
      if (!o.versus.empty()) {
        const double reference = HostSpeed::median_of(speed.reference, &Cost::cpu_ns);
        result["reference"] = o.versus;
        result["reference_ns"] =
            std::llround(HostSpeed::median_of(speed.reference, &Cost::wall_ns));
        result["reference_cpu_ns"] = std::llround(reference);
        result["pairs"] = speed.reference.size();
        result["ratio"] = speed.ratio();
        if (text_wanted(o)) {
          fmt::print(
              "  {:<13} {:.3f} ms of processor time, {:.1f} GMAC/s: the simulator has {:.3f} "
              "of its speed (median of {} pairs)\n",
              o.versus, reference / 1e6, double(layer.macs()) / reference, speed.ratio(),
              speed.reference.size());
        }
      }
    }
    result["host_function_only_ns"] = functional_ns;
    result["host_macs_per_second"] = macs_per_second;
    results.push_back(result);
  }
  finish(o, document(benchmark, info, results));
  return kExitOk;
}

int gemm(const Options& o) {
  std::vector<Layer> all;
  if (o.gemm.empty()) {
    all = {Layer::gemm(128, 3072, 768), Layer::gemm(1024, 1024, 1024),
           Layer::gemm(4096, 4096, 4096)};
  } else {
    all = {Layer::gemm(o.gemm[0], o.gemm[1], o.gemm[2])};
  }
  return layers(o, "gemm", all);
}

int conv(const Options& o) {
  std::vector<Layer> all;
  if (o.conv.empty()) {
    all = {Layer::conv(64, 64, 56, 3, 1, 1), Layer::conv(64, 256, 56, 1, 1, 0),
           Layer::conv(512, 512, 7, 3, 1, 1), Layer::conv(3, 64, 224, 7, 2, 3)};
  } else {
    if (o.conv[2] + 2 * o.conv[5] < o.conv[3] || o.conv[5] >= o.conv[3]) {
      throw ToolError(kExitUsage, "the kernel does not fit the padded input");
    }
    all = {Layer::conv(o.conv[0], o.conv[1], o.conv[2], o.conv[3], o.conv[4], o.conv[5])};
  }
  return layers(o, "conv", all);
}

int model(const Options& o) {
  require_onednn(o, false);
  const std::vector<std::byte> file = read_file(o.model);
  const Device device = o.device.open();
  const npu_device_info info = check(device.info());
  Bench bench(device, file);
  const Times times = bench.repeat(o.warmup, o.count != 0 ? o.count : 100);
  const npu_run_report report = bench.report();
  const bool valid = report.cycles_valid != 0 && report.cycles != 0;
  const double share = utilization(bench.network().info().macs, report.cycles, target_of(info));
  if (text_wanted(o)) {
    fmt::print("{} on {} ({})\n", o.model, info.selector, info.name);
    if (valid) {
      fmt::print("  modelled  {} cycles, {:.3f} us, {:.1f} % MAC utilization, {:.2f} uJ\n",
                 report.cycles, double(report.modelled_ns) / 1e3, 100 * share,
                 double(report.energy_pj) * 1e-6);
    }
    fmt::print("  host      p50 {:.1f} us   p90 {:.1f} us   p99 {:.1f} us (simulation)\n",
               times.percentile(50) / 1e3, times.percentile(90) / 1e3, times.percentile(99) / 1e3);
  }
  Json functional_ns, functional_cpu_ns;
  if (std::string(info.driver) == "sim") {
    const HostSpeed speed = measure_host(o, file);
    functional_ns = std::llround(HostSpeed::median_of(speed.own, &Cost::wall_ns));
    functional_cpu_ns = std::llround(HostSpeed::median_of(speed.own, &Cost::cpu_ns));
    if (text_wanted(o)) {
      fmt::print("  function-only {:.3f} ms, {:.3f} ms of processor time\n",
                 functional_ns.get<double>() / 1e6, functional_cpu_ns.get<double>() / 1e6);
    }
  }
  Json result = {{"name", o.model},
                 {"macs", bench.network().info().macs},
                 {"cycles", valid_or_null(valid, report.cycles)},
                 {"mac_utilization", valid_or_null(valid, share)},
                 {"modelled_latency_ns", valid_or_null(valid, report.modelled_ns)},
                 {"energy_j", valid_or_null(valid, double(report.energy_pj) * 1e-12)},
                 {"external_bytes", report.card_bytes + report.pcie_bytes},
                 {"host_function_only_ns", functional_ns},
                 {"host_function_only_cpu_ns", functional_cpu_ns}};
  result.update(times.json());
  finish(o, document("model", info, Json::array({result})));
  return kExitOk;
}

int64_t cpu_ns() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// What checking and timing a model's commands costs this machine's processor:
// streams that the card has not seen before, and repeated ones.
int timing(const Options& o) {
  require_onednn(o, false);
  if (!o.device.is_sim()) {
    throw ToolError(kExitUnsupported,
                    "timing measures the simulator: use --target, or --device sim");
  }
  const std::vector<std::byte> file = read_file(o.model);
  Times fresh, repeated;
  uint64_t commands = 0;
  const uint32_t count = o.count != 0 ? o.count : 20;
  npu_device_info info;
  for (uint32_t i = 0; i < count; i++) {
    stop_if_interrupted();
    const Device device = o.device.open(NPU_OPEN_TIMING_ONLY);
    info = check(device.info());
    Bench bench(device, file);
    commands = bench.network().info().commands;
    for (Times* times : {&fresh, &repeated}) {
      const int64_t before = cpu_ns();
      bench.once();
      times->add(cpu_ns() - before);
    }
  }
  Json results = Json::array();
  if (text_wanted(o)) {
    fmt::print("{}, {} commands, timing only on {} ({}), processor time\n", o.model, commands,
               info.selector, info.name);
  }
  for (Times* times : {&fresh, &repeated}) {
    times->sort();
    const char* name = times == &fresh ? "fresh" : "repeated";
    const double per_second = double(commands) * 1e9 / double(times->percentile(50));
    if (text_wanted(o)) {
      fmt::print("  {:<9} p50 {:.3f} ms   {:.2f} M commands/s\n", name,
                 double(times->percentile(50)) / 1e6, per_second / 1e6);
    }
    Json result = {{"name", name}, {"commands", commands}, {"commands_per_second", per_second}};
    result.update(times->json());
    result["time_base"] = "host processor time";
    results.push_back(result);
  }
  finish(o, document("timing", info, results));
  return kExitOk;
}

int main_of(int argc, char** argv) {
  Program program(
      "npu-bench",
      "measure an NPU or its simulator\n\n"
      "Modelled figures are the card's and the same on every machine; host figures are the time "
      "this machine takes and, in a VM or the simulator, say nothing about the card.",
      {{"npu-bench latency --device 0", "what a job costs the driver: time, doorbells, interrupts"},
       {"npu-bench gemm --vs onednn", "the simulator's speed beside oneDNN's"},
       {"npu-bench model digits.npu --json -", "a compiled model, for programs"}});
  CLI::App& app = program.app();
  Options o;
  app.require_subcommand(1);
  app.fallthrough();
  o.device.add_to(app);
  app.add_option("--json", o.json, "Write results to FILE (- for stdout)")->type_name("FILE");
  app.add_option("--count", o.count, "Measured repetitions")
      ->type_name("N")
      ->check(CLI::Range(1u, 10000000u));
  app.add_option("--warmup", o.warmup, "Repetitions before that")
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(0u, 10000000u));
  app.add_option("--vs", o.versus, "Also measure this on the host's processor and compare")
      ->check(CLI::IsMember({"onednn", "onnxruntime"}));
  CLI::App* latency_command = app.add_subcommand("latency", "Round trip of an empty job");
  CLI::App* bandwidth_command =
      app.add_subcommand("bandwidth", "Transfers between SRAM and card or host memory");
  bandwidth_command->add_option("--mib", o.mib, "Amount")
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(1u, 256u));
  CLI::App* gemm_command = app.add_subcommand("gemm", "Matrix products");
  gemm_command->add_option("--shape", o.gemm, "Only this one: rows, columns, depth")
      ->type_name("M N K")
      ->expected(3)
      ->check(CLI::Range(1u, 65535u));
  CLI::App* conv_command = app.add_subcommand("conv", "Convolutions");
  conv_command
      ->add_option("--shape", o.conv,
                   "Only this one: channels in and out, size, kernel, stride, pad")
      ->type_name("IC OC SIZE KERNEL STRIDE PAD")
      ->expected(6)
      ->check(CLI::Range(0u, 65535u));
  CLI::App* model_command = app.add_subcommand("model", "A compiled model, on random inputs");
  model_command->add_option("MODEL", o.model, "Compiled model")->required();
  CLI::App* timing_command = app.add_subcommand(
      "timing", "Processor time that modelled time costs, per command of a compiled model");
  timing_command->add_option("MODEL", o.model, "Compiled model")->required();
  return program.run(argc, argv, [&] {
    if (*conv_command && !o.conv.empty()) {
      for (size_t i = 0; i < 5; i++) {
        if (o.conv[i] == 0 || (i >= 3 && o.conv[i] > 255)) {
          throw ToolError(kExitUsage,
                          "--shape: sizes are at least 1, kernel and stride at most 255");
        }
      }
    }
    if (*latency_command) return latency(o);
    if (*bandwidth_command) return bandwidth(o);
    if (*gemm_command) return gemm(o);
    if (*conv_command) return conv(o);
    if (*timing_command) return timing(o);
    return model(o);
  });
}

}  // namespace
}  // namespace npu::tools

int main(int argc, char** argv) {
  return npu::tools::main_of(argc, argv);
}
