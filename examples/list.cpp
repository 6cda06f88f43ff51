// SPDX-License-Identifier: MIT
//
// Lists devices, those that cannot be opened included.
#include <cstdio>
#include <libnpu/npu.hpp>

int main() {
  auto devices = npu::Device::list();
  if (!devices) {
    std::fprintf(stderr, "%s\n", devices.error().text.c_str());
    return 1;
  }
  for (const npu_device_info& info : devices.value()) {
    std::printf("%-10s %-20s %s\n", info.selector, info.node[0] != '\0' ? info.node : "(simulator)",
                info.open_status == NPU_OK ? info.name : info.open_text);
  }
  return 0;
}
