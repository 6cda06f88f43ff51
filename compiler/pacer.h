// SPDX-License-Identifier: MIT
#ifndef NPU_COMPILER_PACER_H_
#define NPU_COMPILER_PACER_H_

#include <cstdint>
#include <functional>

namespace npu::compiler {

// Calls a function, which may be empty and may throw, every now and then during long work.
class Pacer {
 public:
  explicit Pacer(const std::function<void()>& poll) : poll_(poll) {}
  void worked(int64_t operations) {
    left_ -= operations;
    if (left_ > 0) return;
    left_ = kBetween;
    if (poll_) poll_();
  }

 private:
  static constexpr int64_t kBetween = 1 << 22;  // some milliseconds
  const std::function<void()>& poll_;
  int64_t left_ = kBetween;
};

}  // namespace npu::compiler

#endif  // NPU_COMPILER_PACER_H_
