// SPDX-License-Identifier: MIT
//
// npu-bench: microbenchmarks of devices and the simulator, and whole models.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <random>

#include "tools/bench/onednn.h"
#include "tools/bench/workloads.h"
#include "tools/common/device.h"
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

// One GEMM or convolution: its modelled cycles, and how fast this machine
// computes it in the simulator, with and without modelling time.
template <typename Shape, typename Make, typename Check>
int layer(const Options& o, const char* benchmark, const std::vector<Shape>& shapes, Make make,
          Check check_output) {
  const Device device = o.device.open();
  const npu_device_info info = check(device.info());
  const npu_target target = target_of(info);
  Json results = Json::array();
  for (const Shape& shape : shapes) {
    const umd::ModelDescription model = make(target, shape);
    const std::vector<std::byte> file = umd::write_model(model);
    const uint32_t count = o.count != 0 ? o.count : 5;
    Bench timed(device, file);
    const Times full = timed.repeat(1, count);
    const npu_run_report report = timed.report();
    const bool valid = report.cycles_valid != 0 && report.cycles != 0;
    if (check_output(shape, model, timed.template tensor<uint8_t>(0),
                     timed.template tensor<uint8_t>(1)) != 0) {
      throw ToolError(kExitMismatch, shape.name() + ": the device computed something else");
    }
    int64_t compute_ns = full.percentile(50);
    const bool sim = std::string(info.driver) == "sim";
    if (sim) {
      const Device functional = o.device.open(NPU_OPEN_FUNCTION_ONLY);
      compute_ns = Bench(functional, file).repeat(1, count).percentile(50);
    }
    const double gmacs = double(shape.macs()) / double(compute_ns);
    Json result = {
        {"name", shape.name()},
        {"macs", shape.macs()},
        {"cycles", valid_or_null(valid, report.cycles)},
        {"mac_cycles", valid_or_null(valid, report.mac_cycles)},
        {"mac_utilization", valid_or_null(valid, utilization(shape.macs(), report.cycles, target))},
        {"modelled_ns", valid_or_null(valid, report.modelled_ns)},
        {"host_ns", full.percentile(50)},
        {"host_function_only_ns", valid_or_null(sim, compute_ns)},
        {"host_macs_per_second", gmacs * 1e9}};
    if (text_wanted(o)) {
      fmt::print("{} on {} ({})\n", shape.name(), info.selector, info.name);
      if (valid) {
        fmt::print("  modelled  {} cycles, {:.1f} us, {:.1f} % of all cores' MACs\n", report.cycles,
                   double(report.modelled_ns) / 1e3,
                   100 * utilization(shape.macs(), report.cycles, target));
      }
      fmt::print(
          "  host      {:.3f} ms{}, {:.1f} GMAC/s\n", double(compute_ns) / 1e6,
          sim ? fmt::format(" ({:.3f} ms with modelled time)", double(full.percentile(50)) / 1e6)
              : "",
          gmacs);
    }
    if (!o.versus.empty()) {
      if constexpr (std::is_same_v<Shape, Gemm>) {
        const int64_t reference = onednn_gemm_ns(shape, count);
        // Speed of this relative to the reference: 1 is as fast, 2 twice as fast.
        const double ratio = double(reference) / double(compute_ns);
        result["reference"] = o.versus;
        result["reference_ns"] = reference;
        result["ratio"] = ratio;
        if (text_wanted(o)) {
          fmt::print("  {:<9} {:.3f} ms in one thread: the simulator has {:.2f} of its speed\n",
                     o.versus, double(reference) / 1e6, ratio);
        }
      }
    }
    results.push_back(result);
  }
  finish(o, document(benchmark, info, results));
  return kExitOk;
}

void require_onednn(const Options& o, bool available) {
  if (o.versus.empty() || (o.versus == "onednn" && available)) return;
  throw ToolError(
      kExitUnsupported,
      fmt::format("--vs {} is not available for this benchmark; gemm has --vs onednn", o.versus));
}

int gemm(const Options& o) {
  require_onednn(o, true);
  std::vector<Gemm> shapes = {{128, 3072, 768}, {1024, 1024, 1024}, {512, 512, 512}};
  if (!o.gemm.empty()) shapes = {{o.gemm[0], o.gemm[1], o.gemm[2]}};
  return layer(o, "gemm", shapes, gemm_workload, check_gemm);
}

int conv(const Options& o) {
  require_onednn(o, false);
  std::vector<Conv> shapes = {
      {64, 64, 56, 3, 1, 1}, {64, 256, 56, 1, 1, 0}, {512, 512, 7, 3, 1, 1}, {3, 64, 112, 7, 2, 3}};
  if (!o.conv.empty()) {
    shapes = {{o.conv[0], o.conv[1], o.conv[2], o.conv[3], o.conv[4], o.conv[5]}};
    if (shapes[0].size + 2 * shapes[0].pad < shapes[0].kernel ||
        shapes[0].pad >= shapes[0].kernel) {
      throw ToolError(kExitUsage, "the kernel does not fit the padded input");
    }
  }
  return layer(o, "conv", shapes, conv_workload, check_conv);
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
  Json result = {{"name", o.model},
                 {"macs", bench.network().info().macs},
                 {"cycles", valid_or_null(valid, report.cycles)},
                 {"mac_utilization", valid_or_null(valid, share)},
                 {"modelled_latency_ns", valid_or_null(valid, report.modelled_ns)},
                 {"energy_j", valid_or_null(valid, double(report.energy_pj) * 1e-12)},
                 {"external_bytes", report.card_bytes + report.pcie_bytes}};
  result.update(times.json());
  finish(o, document("model", info, Json::array({result})));
  return kExitOk;
}

int main_of(int argc, char** argv) {
  Program program(
      "npu-bench",
      "measure an NPU or its simulator\n\n"
      "Modelled figures are the card's and the same on every machine; host figures are the time "
      "this machine takes and, in a VM or the simulator, say nothing about the card.",
      {{"npu-bench latency --device 0", "what a job costs the driver: time, doorbells, interrupts"},
       {"npu-bench gemm --target card --vs onednn", "the simulator's speed beside oneDNN's"},
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
    return model(o);
  });
}

}  // namespace
}  // namespace npu::tools

int main(int argc, char** argv) {
  return npu::tools::main_of(argc, argv);
}
