// SPDX-License-Identifier: MIT
#include "timeline.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace npu::model {
namespace {

constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

uint64_t ceil_div(uint64_t a, uint64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

std::vector<Timeline::Entry>::iterator Timeline::find(const Course& course) {
  return std::find_if(jobs_.begin(), jobs_.end(),
                      [&](const Entry& entry) { return entry.course == &course; });
}

void Timeline::enter(Course& course, const Prepared& plan) {
  if (find(course) == jobs_.end()) jobs_.push_back({&course, &plan, kOne});
}

void Timeline::leave(Course& course, uint64_t cycles) {
  reach(course, 0);
  const auto at = find(course);
  if (at != jobs_.end()) jobs_.erase(at);
  course.position = cycles << kCycleFraction;
}

// Bytes per cycle, in units of 1 / kOne, that a job takes when alone, at the
// place where it is.
uint64_t Timeline::demand(const Entry& entry, npu_memory memory) const {
  const uint64_t all = bandwidth(memory) * kOne;
  if (entry.course->moving != 0) return memory == NPU_MEMORY_HOST ? all : 0;
  const uint64_t window = (entry.course->position >> kCycleFraction) / entry.plan->window_cycles;
  if (window >= entry.plan->traffic.size()) return 0;
  return std::min(all,
                  entry.plan->traffic[window].bytes[memory] * kOne / entry.plan->window_cycles);
}

// Equal shares; what one does not need of its share goes to the others. A job
// that gets less than it takes alone is slower in proportion.
void Timeline::share(npu_memory memory) {
  wanting_.clear();
  for (Entry& entry : jobs_)
    if (const uint64_t wants = demand(entry, memory); wants != 0)
      wanting_.emplace_back(wants, &entry);
  std::sort(wanting_.begin(), wanting_.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  uint64_t left = bandwidth(memory) * kOne;
  for (size_t i = 0; i < wanting_.size(); ++i) {
    const auto& [wants, entry] = wanting_[i];
    const uint64_t gets = std::min(wants, left / (wanting_.size() - i));
    left -= gets;
    entry->speed = std::min(entry->speed, std::max<uint64_t>(gets * kOne / wants, 1));
  }
}

void Timeline::set_speeds() {
  for (Entry& entry : jobs_) entry.speed = kOne;
  if (jobs_.size() > 1) {
    share(NPU_MEMORY_CARD);
    share(NPU_MEMORY_HOST);
  }
  if (throttled_)
    for (Entry& entry : jobs_) entry.speed = ceil_div(entry.speed, 2);
}

// Cycles until the job's demand may be another.
uint64_t Timeline::until_change(const Entry& entry) {
  const Course& course = *entry.course;
  if (course.moving != 0) return ceil_div(course.moving, entry.speed);
  const uint64_t window = entry.plan->window_cycles * kOne;
  if (course.position / window >= entry.plan->traffic.size()) return kNever;
  return ceil_div(window - course.position % window, entry.speed);
}

void Timeline::advance(uint64_t cycles) {
  now_ += cycles;
  for (Entry& entry : jobs_) {
    Course& course = *entry.course;
    course.active += cycles * kOne;
    const uint64_t way = cycles * entry.speed;
    if (course.moving != 0) {
      // What is over of the last cycle is not made use of.
      course.moving -= std::min(course.moving, way);
    } else {
      course.position += way;
    }
  }
}

void Timeline::reach(const Course& course, uint64_t cycles) {
  const uint64_t target = cycles << kCycleFraction;
  const auto at = find(course);
  if (at == jobs_.end()) return;
  while (course.moving != 0 || course.position < target) {
    set_speeds();
    const uint64_t left = course.moving != 0 ? course.moving : target - course.position;
    uint64_t time = ceil_div(left, at->speed);
    // Alone, nothing changes on the way.
    if (jobs_.size() > 1)
      for (const Entry& entry : jobs_) time = std::min(time, until_change(entry));
    advance(time);
  }
}

void Timeline::settle(Course& course, uint64_t cycles) {
  reach(course, cycles);
  const uint64_t target = cycles << kCycleFraction;
  if (course.position <= target) return;
  course.active -= std::min(course.active, course.position - target);
  course.position = target;
}

}  // namespace npu::model
