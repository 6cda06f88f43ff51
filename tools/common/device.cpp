// SPDX-License-Identifier: MIT
#include "tools/common/device.h"

#include <cstddef>
#include <cstring>
#include <nlohmann/json.hpp>

#include "arch/target.h"
#include "npu_targets_generated.h"
#include "tools/common/files.h"
#include "tools/common/tensor_file.h"

namespace npu::tools {
namespace {

// The numbers of struct npu_target by name, as in JSON.
struct Parameter {
  const char* name;
  uint32_t npu_target::*field;
};
constexpr Parameter kParameters[] = {
#define NPU_PARAMETER(dashed, field, configured) {#field, &npu_target::field},
    NPU_TARGET_PARAMETERS(NPU_PARAMETER)
#undef NPU_PARAMETER
};

const npu_target& preset(const std::string& name) {
  const npu_target* target = arch::find_target(name);
  if (target != nullptr) return *target;
  std::string names;
  for (const npu_target& t : arch::all_targets()) names += std::string(" ") + t.name;
  throw ToolError(kExitUsage,
                  "no target '" + name + "'; there are:" + names + ", or the name of a JSON file");
}

}  // namespace

ExitCode exit_code_of(npu_result result) {
  switch (result) {
    case NPU_OK:
      return kExitOk;
    case NPU_ERROR_UNSUPPORTED:
      return kExitUnsupported;
    case NPU_ERROR_BAD_MODEL:
      return kExitBadInput;
    case NPU_ERROR_WRONG_TARGET:
      return kExitWrongTarget;
    case NPU_ERROR_PERMISSION:
      return kExitPermission;
    case NPU_ERROR_NO_DEVICE:
      return kExitNoDevice;
    case NPU_ERROR_VERSION:
      return kExitVersion;
    case NPU_ERROR_TIMEOUT:
      return kExitTimeout;
    case NPU_ERROR_JOB_FAULT:
    case NPU_ERROR_JOB_HUNG:
    case NPU_ERROR_QUEUE_POISONED:
    case NPU_ERROR_JOB_ABORTED:
    case NPU_ERROR_VICTIM:
      return kExitJob;
    case NPU_ERROR_DEVICE_RESET:
    case NPU_ERROR_DEVICE_GONE:
      return kExitDevice;
    default:
      return kExitFailure;
  }
}

npu_target load_target(const std::string& name_or_file) {
  if (!name_or_file.ends_with(".json")) return preset(name_or_file);
  const std::vector<std::byte> data = read_file(name_or_file);
  const auto bad = [&](const std::string& text) {
    return ToolError(kExitBadInput, name_or_file + ": " + text);
  };
  const char* begin = reinterpret_cast<const char*>(data.data());
  const auto json = nlohmann::json::parse(begin, begin + data.size(), nullptr, false);
  if (!json.is_object()) throw bad("this is not a JSON object");
  std::string base = "card";
  if (json.contains("base")) {
    if (!json["base"].is_string()) throw bad("'base' is not a string");
    base = json["base"];
  }
  npu_target target = preset(base);
  for (const auto& [key, value] : json.items()) {
    if (key == "base") continue;
    if (key == "name") {
      if (!value.is_string() || value.get<std::string>().size() >= sizeof target.name) {
        throw bad("'name' is not a string of at most 15 bytes");
      }
      std::memset(target.name, 0, sizeof target.name);
      std::memcpy(target.name, value.get<std::string>().data(), value.get<std::string>().size());
      continue;
    }
    bool known = false;
    for (const Parameter& parameter : kParameters) {
      if (key != parameter.name) continue;
      if (!value.is_number_unsigned() || value.get<uint64_t>() > UINT32_MAX) {
        throw bad("'" + key + "' is not a 32-bit number");
      }
      target.*parameter.field = value.get<uint32_t>();
      known = true;
    }
    if (!known) throw bad("there is no parameter '" + key + "'");
  }
  if (const std::string problem = arch::validate_target(target); !problem.empty()) {
    throw bad(problem);
  }
  return target;
}

void DeviceOptions::add_to(CLI::App& app) {
  app.add_option("--device", device,
                 "Device: sim, an index, a PCI address or a node (default: $NPU_DEVICE, else the "
                 "first card)")
      ->type_name("DEVICE");
  app.add_option("--target", target,
                 "Card that the simulator plays: card, edge or a JSON file (default: as configured "
                 "when this was built)")
      ->type_name("TARGET");
}

bool DeviceOptions::is_sim() const {
  return device == "sim" || device.starts_with("sim:") || (device.empty() && !target.empty());
}

Device DeviceOptions::open(uint32_t sim_flags) const {
  npu_open_desc desc = {};
  desc.struct_size = sizeof desc;
  desc.flags = sim_flags;
  npu_target chosen;
  if (!target.empty()) {
    if (!is_sim()) {
      throw ToolError(kExitUsage, "--target is for the simulator; device '" + device +
                                      "' has parameters of its own");
    }
    chosen = load_target(target);
    desc.sim_target = reinterpret_cast<const uint32_t*>(&chosen);
  }
  return check(Device::open(is_sim() && device.empty() ? "sim" : device, &desc));
}

npu_target target_of(const npu_device_info& info) {
  npu_target target;
  static_assert(sizeof target == sizeof info.target);
  std::memcpy(&target, info.target, sizeof target);
  return target;
}

void wait_for(const Device& device, npu_fence fence) {
  for (;;) {
    auto done = device.wait(fence, after(std::chrono::milliseconds(100)));
    if (done) return;
    if (done.code() != NPU_ERROR_TIMEOUT) check(std::move(done));
    stop_if_interrupted();
  }
}

}  // namespace npu::tools
