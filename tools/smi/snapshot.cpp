// SPDX-License-Identifier: MIT
#include "tools/smi/snapshot.h"

#include <time.h>

#include <algorithm>
#include <cstdio>

#include "tools/common/device.h"

namespace npu::tools {
namespace {

std::string utc_now() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts;
  gmtime_r(&now.tv_sec, &parts);
  char text[64];
  const size_t length = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text + length, sizeof text - length, ".%03ldZ", now.tv_nsec / 1000000);
  return text;
}

uint64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return uint64_t(now.tv_sec) * 1000000000u + uint64_t(now.tv_nsec);
}

template <typename T>
std::optional<T> optional_of(Result<T> result) {
  if (!result) return std::nullopt;
  return std::move(result).value();
}

bool is_kernel_device(const npu_device_info& info) {
  return info.node[0] != '\0';
}

}  // namespace

Sampler::Sampler(const std::vector<std::string>& selectors, bool simulators, std::string proc)
    : proc_(std::move(proc)) {
  if (!selectors.empty()) {
    for (const std::string& selector : selectors) {
      Open& open = devices_.emplace_back();
      open.device = check(Device::open(selector));
      open.info = check(open.device->info());
    }
    return;
  }
  for (const npu_device_info& info : check(Device::list())) {
    if (!is_kernel_device(info) && !simulators) continue;
    Open& open = devices_.emplace_back();
    open.info = info;
    // A simulator's card would be a new one, about which there is nothing to tell.
    if (info.open_status == NPU_OK && is_kernel_device(info)) {
      auto device = Device::open(info.selector);
      if (device) {
        open.device = std::move(device).value();
      } else {
        open.info.open_status = device.code();
      }
    }
  }
}

Snapshot Sampler::sample() {
  Snapshot snapshot;
  snapshot.host_time = utc_now();
  snapshot.monotonic_ns = monotonic_ns();
  for (Open& open : devices_) {
    DeviceSnapshot device;
    device.info = open.info;
    if (open.device) {
      device.telemetry = optional_of(open.device->telemetry());
      device.counters = optional_of(open.device->counters());
      device.clock = optional_of(open.device->clock());
      device.engines = optional_of(open.device->engines());
      if (!device.telemetry) device.info.open_status = NPU_ERROR_DEVICE_GONE;
    }
    if (device.telemetry && device.clock) {
      const uint64_t busy = device.telemetry->busy_ns, now = device.clock->timebase_ns;
      if (open.timebase_ns != 0 && now > open.timebase_ns) {
        device.utilization = std::min(1.0, static_cast<double>(busy - open.busy_ns) /
                                               static_cast<double>(now - open.timebase_ns));
      }
      open.busy_ns = busy;
    }
    if (device.telemetry && device.engines) {
      const uint64_t cycles = device.telemetry->cycles;
      for (uint32_t core = 0; core < device.engines->cores; core++) {
        for (int e = 0; e < 4; e++) {
          if (open.timebase_ns == 0 || cycles <= open.cycles) continue;
          const uint64_t busy = device.engines->engine[core][e].busy_cycles -
                                open.engines.engine[core][e].busy_cycles;
          device.engine_utilization[core][e] =
              std::min(1.0, static_cast<double>(busy) / static_cast<double>(cycles - open.cycles));
        }
      }
      open.cycles = cycles;
      open.engines = *device.engines;
    }
    if (device.clock) open.timebase_ns = device.clock->timebase_ns;
    snapshot.devices.push_back(std::move(device));
  }
  snapshot.clients = find_clients(proc_);
  return snapshot;
}

std::string status_of(const DeviceSnapshot& device) {
  switch (device.info.open_status) {
    case NPU_OK:
      return "ok";
    case NPU_ERROR_PERMISSION:
      return "permission";
    case NPU_ERROR_VERSION:
      return "version";
    case NPU_ERROR_DEVICE_GONE:
      return "gone";
    case NPU_ERROR_DEVICE_RESET:
      return "lost";
    default:
      return "error";
  }
}

}  // namespace npu::tools
