// SPDX-License-Identifier: MIT
//
// Finding devices: what there is, and what a selector means.
#ifndef NPU_UMD_SELECTOR_H_
#define NPU_UMD_SELECTOR_H_

#include <memory>
#include <string>
#include <vector>

#include "device.h"

namespace npu::umd {

// All devices, simulator presets last. Opens each to learn about it.
std::vector<npu_device_info> list_devices();

// desc: as npu_device_open; selector may be nullptr.
Result<std::shared_ptr<Device>> open_device(const char* selector, const npu_open_desc& desc);

// The kernel's accel devices that this project's driver runs, by index. The
// folders are parameters for tests: /sys/class/accel and /dev/accel.
std::vector<npu_device_info> list_kernel_devices(const std::string& sysfs, const std::string& dev);

}  // namespace npu::umd

#endif  // NPU_UMD_SELECTOR_H_
