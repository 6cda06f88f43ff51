// SPDX-License-Identifier: MIT
//
// Devices for programs: the options --device and --target, libnpu's errors as
// exit statuses.
#ifndef NPU_TOOLS_DEVICE_H_
#define NPU_TOOLS_DEVICE_H_

#include <CLI/CLI.hpp>
#include <libnpu/npu.hpp>
#include <string>

#include "npu/target.h"
#include "tools/common/program.h"

namespace npu::tools {

ExitCode exit_code_of(npu_result result);

// The value, or ToolError with the library's text.
template <typename T>
T check(Result<T> result) {
  if (!result) throw ToolError(exit_code_of(result.code()), result.error().text);
  return std::move(result).value();
}

struct DeviceOptions {
  std::string device;  // selector; empty: the library's choice
  std::string target;  // preset or file, for the simulator

  // Adds --device and --target.
  void add_to(CLI::App& app);
  // --target alone means the simulator.
  Device open(uint32_t sim_flags = 0) const;
  bool is_sim() const;
};

// A preset's name, or a JSON file with the parameters that differ from a
// preset: {"base": "card", "sram_bytes": 1048576}.
npu_target load_target(const std::string& name_or_file);

// The device's parameters.
npu_target target_of(const npu_device_info& info);

// Waits in slices, so that Ctrl-C gets through; throws ToolError.
void wait_for(const Device& device, npu_fence fence);

}  // namespace npu::tools

#endif  // NPU_TOOLS_DEVICE_H_
