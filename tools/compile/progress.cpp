// SPDX-License-Identifier: MIT
#include "tools/compile/progress.h"

#include <fmt/format.h>

#include "arch/text.h"
#include "tools/common/program.h"

namespace npu::tools {

void Progress::now(const std::string& what) {
  {
    std::lock_guard lock(mutex_);
    what_ = what;
  }
  poll();
}

void Progress::poll() {
  stop_if_interrupted();
  if (quiet_) return;
  std::lock_guard lock(mutex_);
  const auto time = std::chrono::steady_clock::now();
  if (time < next_) return;
  next_ = time + kInterval;
  fmt::print(stderr, "{}\n", arch::printable(what_));
}

}  // namespace npu::tools
