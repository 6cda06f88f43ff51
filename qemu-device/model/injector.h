// SPDX-License-Identifier: MIT
//
// Faults on demand. A fault is armed from a register or from the host and
// strikes at its opportunities; asking is cheap while nothing is armed.
#ifndef NPU_MODEL_INJECTOR_H_
#define NPU_MODEL_INJECTOR_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "npu/registers.h"

namespace npu::model {

class Injector {
 public:
  struct Armed {
    uint32_t count = 0;  // strikes to come
    uint32_t skip = 0;   // opportunities to pass first
    uint32_t queue = NPU_INJECT_ANY_QUEUE;
    uint64_t argument = 0;
  };

  // Replaces what was armed of that kind. kind is in range.
  void arm(uint32_t kind, const Armed& fault);
  void clear();

  // An opportunity for `kind` on behalf of `queue`: true if the fault strikes.
  bool strikes(npu_inject_kind kind, uint32_t queue, uint64_t* argument = nullptr);
  // The same, where an opportunity needs the argument to match.
  bool strikes_at(npu_inject_kind kind, uint32_t queue, uint64_t argument);

  uint32_t armed() const { return armed_.load(std::memory_order_relaxed); }

  using State = std::array<Armed, NPU_INJECT_KINDS>;
  State state();
  void set_state(const State& state);

 private:
  bool take(npu_inject_kind kind, uint32_t queue, const uint64_t* match, uint64_t* argument);
  void count_armed();

  std::mutex mutex_;
  std::atomic<uint32_t> armed_{0};
  State faults_{};
};

}  // namespace npu::model

#endif  // NPU_MODEL_INJECTOR_H_
