// SPDX-License-Identifier: MIT
//
// npu-smi: what the NPU cards of this machine are and do.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <thread>

#include "tools/common/device.h"
#include "tools/common/json_output.h"
#include "tools/common/program.h"
#include "tools/smi/show.h"
#include "tools/smi/snapshot.h"

namespace npu::tools {
namespace {

// Long enough for a figure of utilization, short enough not to be noticed.
constexpr auto kFirstInterval = std::chrono::milliseconds(100);

struct Options {
  std::vector<std::string> devices;
  bool json = false;
  uint32_t interval_ms = 0;  // stats: 0 = one sample
  uint32_t count = 0;        // stats: 0 = until interrupted
  int pid = 0;
};

void pause(std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (!interrupted() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(
        std::chrono::milliseconds(50), end - std::chrono::steady_clock::now()));
  }
}

// One document, or one line of a stream of them.
void print_json(const Snapshot& snapshot, int indent = 2) {
  fmt::print("{}\n", to_json(snapshot).dump(indent, ' ', false, Json::error_handler_t::replace));
  std::fflush(stdout);
}

// The status of a program that only looked: devices that cannot be used are an
// error if there are no others.
int status_of_all(const Snapshot& snapshot) {
  int status = kExitNoDevice;
  for (const DeviceSnapshot& device : snapshot.devices) {
    if (device.info.open_status == NPU_OK) return kExitOk;
    status = exit_code_of(static_cast<npu_result>(device.info.open_status));
  }
  return status;
}

class Smi {
 public:
  explicit Smi(const Options& options) : o_(options) {}

  int table() {
    Sampler sampler(o_.devices, false);
    require(sampler);
    sampler.sample();
    pause(kFirstInterval);
    const Snapshot snapshot = sampler.sample();
    if (o_.json) {
      print_json(snapshot);
    } else {
      fmt::print("{}", show_table(snapshot, NPU_VERSION));
    }
    return status_of_all(snapshot);
  }

  int list() {
    Sampler sampler(o_.devices, true);
    const Snapshot snapshot = sampler.sample();
    if (o_.json) {
      print_json(snapshot);
    } else {
      fmt::print("{}", show_list(snapshot));
    }
    return kExitOk;
  }

  int info() {
    Sampler sampler(o_.devices, false);
    require(sampler);
    const Snapshot snapshot = sampler.sample();
    if (o_.json) {
      print_json(snapshot);
    } else {
      fmt::print("{}", show_info(snapshot));
    }
    return status_of_all(snapshot);
  }

  int stats() {
    Sampler sampler(o_.devices, false);
    require(sampler);
    sampler.sample();
    pause(kFirstInterval);
    const uint32_t count = o_.interval_ms == 0 ? 1 : o_.count;
    if (!o_.json) fmt::print("{}", stats_header());
    for (uint32_t i = 0; !interrupted() && (count == 0 || i < count); i++) {
      if (i > 0) pause(std::chrono::milliseconds(o_.interval_ms));
      if (interrupted()) break;
      const Snapshot snapshot = sampler.sample();
      if (o_.json) {
        print_json(snapshot, -1);
      } else {
        fmt::print("{}", show_stats(snapshot));
        std::fflush(stdout);
      }
      if (std::ferror(stdout)) break;  // the reader went away
    }
    return kExitOk;
  }

  int processes() {
    Sampler sampler(o_.devices, false);
    require(sampler);
    Snapshot snapshot = sampler.sample();
    if (o_.pid != 0) {
      std::erase_if(snapshot.clients, [&](const Client& client) { return client.pid != o_.pid; });
    }
    if (o_.json) {
      print_json(snapshot);
    } else {
      fmt::print("{}", show_processes(snapshot));
    }
    return kExitOk;
  }

 private:
  static void require(const Sampler& sampler) {
    if (sampler.has_devices()) return;
    throw ToolError(kExitNoDevice,
                    "no NPU found: is the card there (lspci) and the module npu loaded (lsmod)? "
                    "'npu-smi list' also shows the simulators");
  }

  const Options& o_;
};

int main_of(int argc, char** argv) {
  Program program(
      "npu-smi",
      "show the NPU cards of this machine and who uses them\n\n"
      "Without a command: a table of cards and processes. Power, temperature, clock and "
      "energy are modelled.",
      {{"npu-smi", "cards and processes"},
       {"npu-smi list", "devices that can be selected, simulators included"},
       {"npu-smi stats --watch 1000 --count 10 --json", "ten samples as JSON lines"},
       {"npu-smi --json", "everything, for programs"}});
  CLI::App& app = program.app();
  Options options;
  app.require_subcommand(0, 1);
  app.fallthrough();
  app.add_option("-d,--device", options.devices, "Only this device (may be repeated)")
      ->type_name("DEVICE")
      ->allow_extra_args(false);
  app.add_flag("--json", options.json, "JSON instead of text");
  CLI::App* list = app.add_subcommand("list", "List devices and how to select them");
  CLI::App* info = app.add_subcommand("info", "Show all that is known of each device");
  CLI::App* stats = app.add_subcommand("stats", "Show figures that change, once or in a loop");
  CLI::Option* watch = stats->add_option("-w,--watch", options.interval_ms, "Repeat every so often")
                           ->type_name("MS")
                           ->check(CLI::Range(10u, 3600000u));
  stats->add_option("-n,--count", options.count, "End after so many samples")
      ->type_name("N")
      ->needs(watch)
      ->check(CLI::Range(1u, 1000000000u));
  CLI::App* ps = app.add_subcommand("ps", "Show the processes that use devices");
  ps->add_option("-p,--pid", options.pid, "Only this process")->type_name("PID");
  return program.run(argc, argv, [&] {
    Smi smi(options);
    if (*list) return smi.list();
    if (*info) return smi.info();
    if (*stats) return smi.stats();
    if (*ps) return smi.processes();
    return smi.table();
  });
}

}  // namespace
}  // namespace npu::tools

int main(int argc, char** argv) {
  return npu::tools::main_of(argc, argv);
}
