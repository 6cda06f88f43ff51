// SPDX-License-Identifier: MIT
//
// What npu-smi knows at one moment. Gathering is apart from showing, so that
// tests can show what no machine has.
#ifndef NPU_TOOLS_SMI_SNAPSHOT_H_
#define NPU_TOOLS_SMI_SNAPSHOT_H_

#include <libnpu/npu.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/smi/clients.h"

namespace npu::tools {

struct DeviceSnapshot {
  npu_device_info info = {};
  // Missing when the device cannot be opened, or cannot tell.
  std::optional<npu_telemetry> telemetry;
  std::optional<npu_counters> counters;
  std::optional<npu_clock> clock;
  std::optional<npu_engines> engines;
  // Share of the modelled cycles since the sample before in which the engine
  // was busy, 0..1; missing when the card executed none.
  std::optional<double> engine_utilization[8][4];
  // Share of time since the sample before in which some core executed, 0..1.
  std::optional<double> utilization;
};

struct Snapshot {
  std::string host_time;  // UTC, ISO 8601
  uint64_t monotonic_ns = 0;
  std::vector<DeviceSnapshot> devices;
  std::vector<Client> clients;
};

// Keeps devices open between samples.
class Sampler {
 public:
  // selectors: what --device named; none: all kernel devices. Throws ToolError
  // if a named one does not exist. proc: the processes' folder.
  Sampler(const std::vector<std::string>& selectors, bool simulators, std::string proc = "/proc");

  Snapshot sample();
  bool has_devices() const { return !devices_.empty(); }

 private:
  struct Open {
    npu_device_info info;
    std::optional<Device> device;
    uint64_t busy_ns = 0, timebase_ns = 0, cycles = 0;
    npu_engines engines = {};
  };
  std::vector<Open> devices_;
  std::string proc_;
};

// "ok", or why a device is not.
std::string status_of(const DeviceSnapshot& device);

}  // namespace npu::tools

#endif  // NPU_TOOLS_SMI_SNAPSHOT_H_
