// SPDX-License-Identifier: MIT
//
// A line on stderr now and then for those who wait, and the place where Ctrl-C is looked at.
#ifndef NPU_TOOLS_COMPILE_PROGRESS_H_
#define NPU_TOOLS_COMPILE_PROGRESS_H_

#include <chrono>
#include <mutex>
#include <string>

namespace npu::tools {

class Progress {
 public:
  explicit Progress(bool quiet) : quiet_(quiet) {}

  // What goes on, e.g. "verifying: 2 of 8 inputs". From any thread, as poll().
  void now(const std::string& what);
  // Throws when interrupted; says what goes on if nothing was said for two seconds.
  void poll();

 private:
  static constexpr std::chrono::seconds kInterval{2};

  const bool quiet_;
  std::mutex mutex_;  // of what follows
  std::string what_;
  std::chrono::steady_clock::time_point next_ = std::chrono::steady_clock::now() + kInterval;
};

}  // namespace npu::tools

#endif  // NPU_TOOLS_COMPILE_PROGRESS_H_
