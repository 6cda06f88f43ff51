// SPDX-License-Identifier: MIT
//
// What ties a long command to the rest of the card: it reports its work, so
// that the heartbeat moves, and learns when to pause or to stop.
//
// A command is a sequence of units. Between units it asks pause(): true means
// return to the run loop, which will continue at the next unit. Inside a unit
// it calls work() as it goes; false means drop the unit without having
// stored anything: it will be done again.
#ifndef NPU_MODEL_PROGRESS_H_
#define NPU_MODEL_PROGRESS_H_

#include <atomic>
#include <cstdint>

#include "npu_model.h"
#include "shared.h"

namespace npu::model {

class Progress {
 public:
  // Work is in nanoseconds of host time, roughly; the estimate may be off by
  // some factor without harm.
  static constexpr uint64_t kPollWork = 500'000;
  static constexpr uint64_t kSliceWork = 4'000'000;

  Progress(const npu_model_host& host, Shared& shared) : host_(host), shared_(shared) {}

  // Starts a slice for a job that runs on `core` (physical) for `queue`.
  void begin_slice(uint32_t core, uint32_t queue) {
    core_ = core;
    queue_ = queue;
    slice_ = 0;
    since_poll_ = 0;
    stopped_ = false;
  }

  // The slice goes on with another core of the job.
  void on_core(uint32_t core) { core_ = core; }

  bool work(uint64_t amount) {
    slice_ += amount;
    since_poll_ += amount;
    if (since_poll_ >= kPollWork) poll();
    return !stopped_;
  }
  bool pause() {
    if (slice_ >= kSliceWork) return true;
    if (shared_.urgent.load(std::memory_order_relaxed)) stopped_ = true;
    return stopped_;
  }
  bool slice_used() const { return slice_ >= kSliceWork; }

  void beat() {
    shared_.cores[core_].heartbeat.fetch_add(1, std::memory_order_relaxed);
    shared_.queues[queue_].heartbeat.fetch_add(1, std::memory_order_relaxed);
  }

 private:
  void poll() {
    since_poll_ = 0;
    beat();
    if (shared_.urgent.load(std::memory_order_relaxed) || host_.cancelled(host_.opaque))
      stopped_ = true;
  }

  const npu_model_host& host_;
  Shared& shared_;
  uint32_t core_ = 0;
  uint32_t queue_ = 0;
  uint64_t slice_ = 0;
  uint64_t since_poll_ = 0;
  bool stopped_ = false;
};

}  // namespace npu::model

#endif  // NPU_MODEL_PROGRESS_H_
