// SPDX-License-Identifier: MIT
#include "tools/compile/progress.h"

#include <fmt/format.h>

#include "tools/common/program.h"

namespace npu::tools {

void Progress::now(const std::string& step, size_t done, size_t total, const char* things) {
  {
    std::lock_guard lock(mutex_);
    text_ = fmt::format("{}: {} of {} {}\n", step, done, total, things);
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
  fmt::print(stderr, "{}", text_);
}

}  // namespace npu::tools
