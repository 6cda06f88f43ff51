// SPDX-License-Identifier: MIT
#include "selector.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "arch/target.h"
#include "npu_model.h"
#include "npu_targets_generated.h"
#include "structs.h"

namespace npu::umd {
namespace {

namespace fs = std::filesystem;

constexpr char kSysfs[] = "/sys/class/accel";
constexpr char kDev[] = "/dev/accel";
constexpr char kDriver[] = "npu";

bool starts_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

std::string target_name(const npu_target& target) {
  return std::string(target.name, strnlen(target.name, sizeof target.name));
}

npu_device_info sim_info(const std::string& selector) {
  npu_device_info info = {};
  info.index = UINT32_MAX;
  copy_text(info.selector, selector);
  copy_text(info.driver, "sim");
  copy_text(info.driver_version, "1.0.0");
  return info;
}

void describe_target(const npu_target& target, npu_device_info& info) {
  drm_npu_caps caps = {};
  std::memcpy(caps.target, &target, sizeof target);
  describe_card(caps, info);
}

Result<std::shared_ptr<Device>> open_simulator(std::string_view selector,
                                               const npu_open_desc& desc) {
  SimOptions options;
  options.target = npu_target_configured;
  if (desc.sim_target != nullptr) {
    std::memcpy(&options.target, desc.sim_target, sizeof options.target);
  } else if (selector.size() > 4) {
    const std::string_view name = selector.substr(4);
    const npu_target* preset = arch::find_target(name);
    if (preset == nullptr) {
      std::string names;
      for (const npu_target& target : arch::all_targets()) names += " sim:" + target_name(target);
      return fail(NPU_ERROR_NO_DEVICE,
                  "the simulator has no card '" + std::string(name) + "'; there are:" + names);
    }
    options.target = *preset;
  }
  if (std::string problem = arch::validate_target(options.target); !problem.empty()) {
    return fail(NPU_ERROR_INVALID, "target of the simulator: " + problem);
  }
  if (desc.flags & NPU_OPEN_FUNCTION_ONLY) options.mode = NPU_MODEL_FUNCTION_ONLY;
  if (desc.flags & NPU_OPEN_TIMING_ONLY) options.mode = NPU_MODEL_TIMING_ONLY;
  auto backend = open_sim(options);
  if (!backend.ok()) return backend.error();
  return std::make_shared<Device>(std::move(*backend), sim_info(std::string(selector)));
}

// "0000:00:04.0", also without the domain.
bool matches_bdf(std::string_view bdf, std::string_view selector) {
  return !bdf.empty() && (bdf == selector || bdf == "0000:" + std::string(selector));
}

Result<std::shared_ptr<Device>> open_node(const char* node, const npu_device_info& info) {
  auto backend = open_drm(node);
  if (!backend.ok()) return backend.error();
  return std::make_shared<Device>(std::move(*backend), info);
}

}  // namespace

std::vector<npu_device_info> list_kernel_devices(const std::string& sysfs, const std::string& dev) {
  std::vector<npu_device_info> devices;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(sysfs, error)) {
    const std::string name = entry.path().filename();
    uint32_t index;
    const char* const end = name.data() + name.size();
    if (!starts_with(name, "accel")) continue;
    if (auto parsed = std::from_chars(name.data() + 5, end, index);
        parsed.ec != std::errc() || parsed.ptr != end) {
      continue;
    }
    std::error_code ignored;
    const fs::path driver = fs::read_symlink(entry.path() / "device/driver", ignored);
    if (driver.filename() != kDriver) continue;
    npu_device_info info = {};
    info.index = index;
    copy_text(info.selector, std::to_string(index));
    copy_text(info.node, dev + "/" + name);
    copy_text(info.bdf, fs::canonical(entry.path() / "device", ignored).filename().string());
    copy_text(info.driver, kDriver);
    devices.push_back(info);
  }
  std::sort(devices.begin(), devices.end(),
            [](const npu_device_info& a, const npu_device_info& b) { return a.index < b.index; });
  return devices;
}

std::vector<npu_device_info> list_devices() {
  std::vector<npu_device_info> devices = list_kernel_devices(kSysfs, kDev);
  for (npu_device_info& info : devices) {
    auto device = open_node(info.node, info);
    if (device.ok()) {
      info = (*device)->info();
      continue;
    }
    info.open_status = device.error().code;
    copy_text(info.open_text, device.error().text);
  }
  for (const npu_target& target : arch::all_targets()) {
    npu_device_info info = sim_info("sim:" + target_name(target));
    describe_target(target, info);
    devices.push_back(info);
  }
  return devices;
}

Result<std::shared_ptr<Device>> open_device(const char* selector, const npu_open_desc& desc) {
  std::string wanted = selector != nullptr ? selector : "";
  std::string origin = "device '" + wanted + "'";
  if (wanted.empty()) {
    const char* environment = std::getenv("NPU_DEVICE");
    wanted = environment != nullptr ? environment : "";
    origin = "device '" + wanted + "' (from NPU_DEVICE)";
  }
  if (wanted == "sim" || starts_with(wanted, "sim:")) return open_simulator(wanted, desc);
  if (desc.sim_target != nullptr || desc.flags != 0) {
    return fail(NPU_ERROR_INVALID,
                "a target or a mode can be chosen for the simulator only, not for " +
                    (wanted.empty() ? "a kernel device" : origin));
  }
  const auto devices = list_kernel_devices(kSysfs, kDev);
  for (const npu_device_info& info : devices) {
    if (wanted.empty() || wanted == info.selector || wanted == info.node ||
        matches_bdf(info.bdf, wanted)) {
      return open_node(info.node, info);
    }
  }
  if (starts_with(wanted, "/")) {
    npu_device_info info = {};
    copy_text(info.selector, wanted);
    copy_text(info.node, wanted);
    copy_text(info.driver, kDriver);
    return open_node(wanted.c_str(), info);
  }
  const std::string hint =
      devices.empty() ? "there is no NPU with a driver (is the module npu loaded?); 'sim' selects "
                        "the simulator"
                      : "there are " + std::to_string(devices.size()) + "; npu-smi list shows them";
  return fail(NPU_ERROR_NO_DEVICE,
              (wanted.empty() ? std::string("no device") : "no " + origin) + ": " + hint);
}

}  // namespace npu::umd
