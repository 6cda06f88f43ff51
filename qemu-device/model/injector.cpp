// SPDX-License-Identifier: MIT
#include "injector.h"

#include <algorithm>

namespace npu::model {

void Injector::arm(uint32_t kind, const Armed& fault) {
  std::lock_guard lock(mutex_);
  faults_[kind] = fault;
  count_armed();
}

void Injector::clear() {
  std::lock_guard lock(mutex_);
  faults_ = {};
  count_armed();
}

bool Injector::strikes(npu_inject_kind kind, uint32_t queue, uint64_t* argument) {
  return armed() != 0 && take(kind, queue, nullptr, argument);
}

bool Injector::strikes_at(npu_inject_kind kind, uint32_t queue, uint64_t argument) {
  return armed() != 0 && take(kind, queue, &argument, nullptr);
}

bool Injector::take(npu_inject_kind kind, uint32_t queue, const uint64_t* match,
                    uint64_t* argument) {
  std::lock_guard lock(mutex_);
  Armed& fault = faults_[kind];
  if (fault.count == 0) return false;
  if (fault.queue != NPU_INJECT_ANY_QUEUE && fault.queue != queue) return false;
  if (match != nullptr && fault.argument != *match) return false;
  if (fault.skip > 0) {
    --fault.skip;
    return false;
  }
  --fault.count;
  if (argument != nullptr) *argument = fault.argument;
  count_armed();
  return true;
}

void Injector::count_armed() {
  uint64_t sum = 0;
  for (const Armed& fault : faults_) sum += fault.count;
  armed_.store(static_cast<uint32_t>(std::min<uint64_t>(sum, 0xffffffffu)),
               std::memory_order_relaxed);
}

Injector::State Injector::state() {
  std::lock_guard lock(mutex_);
  return faults_;
}

void Injector::set_state(const State& state) {
  std::lock_guard lock(mutex_);
  faults_ = state;
  count_armed();
}

}  // namespace npu::model
