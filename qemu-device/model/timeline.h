// SPDX-License-Identifier: MIT
//
// Modelled time of the card: where each job on the cores is, and what jobs cost
// each other. Every job has the timeline that it would have alone; here the
// jobs that are on cores at the same time advance along theirs together, each
// slower where the memory channels cannot give all of them what they take alone.
//
// Commands are executed in the order of host time, which is another: a job may
// be ahead of its place here or behind it. What is asked for is brought up to
// date; a job that ends, or is put aside, behind its place goes back to where it is.
#ifndef NPU_MODEL_TIMELINE_H_
#define NPU_MODEL_TIMELINE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "npu/queue.h"
#include "npu/target.h"
#include "prepared.h"

namespace npu::model {

// Fixed point.
inline constexpr unsigned kCycleFraction = 12;

// A job's way. Plain data, so that it can be saved.
struct Course {
  uint64_t position = 0;  // cycles along the time it takes alone
  uint64_t active = 0;    // cycles on cores, saving and restoring included
  uint64_t moving = 0;    // cycles of saving or restoring to come, alone on the bus

  uint64_t active_cycles() const { return (active + (1u << kCycleFraction) - 1) >> kCycleFraction; }
};

class Timeline {
 public:
  explicit Timeline(const npu_target& target) : target_(target) {}

  // The job is on cores from now on, if it was not. Both stay the caller's until leave().
  void enter(Course& course, const Prepared& plan);
  // Not any more; it would go on at `cycles`.
  void leave(Course& course, uint64_t cycles);
  void clear() { jobs_.clear(); }

  // The job saves or restores before it goes on: so many cycles with the bus to itself.
  void move(Course& course, uint64_t cycles) { course.moving += cycles << kCycleFraction; }

  // Lets time pass until the job has done at least `cycles` of its own, and what
  // it has to save or restore.
  void reach(const Course& course, uint64_t cycles);
  // The same, for a job that goes no further than `cycles`.
  void settle(Course& course, uint64_t cycles);

  // Cycles that have passed while jobs were on cores.
  uint64_t now() const { return now_; }
  // A lowered clock is half the nominal one: all takes twice the cycles.
  void set_throttled(bool throttled) { throttled_ = throttled; }

  void set_now(uint64_t now) { now_ = now; }

 private:
  struct Entry {
    Course* course;
    const Prepared* plan;
    uint64_t speed;  // kOne: as alone
  };
  static constexpr uint64_t kOne = 1u << kCycleFraction;

  std::vector<Entry>::iterator find(const Course& course);
  uint64_t bandwidth(npu_memory memory) const {
    return memory == NPU_MEMORY_HOST ? target_.pcie_bytes_per_cycle : target_.card_bytes_per_cycle;
  }
  void set_speeds();
  void share(npu_memory memory);
  uint64_t demand(const Entry& entry, npu_memory memory) const;
  static uint64_t until_change(const Entry& entry);
  void advance(uint64_t cycles);

  const npu_target target_;
  std::vector<Entry> jobs_;
  std::vector<std::pair<uint64_t, Entry*>> wanting_;  // of share()
  uint64_t now_ = 0;
  bool throttled_ = false;
};

}  // namespace npu::model

#endif  // NPU_MODEL_TIMELINE_H_
