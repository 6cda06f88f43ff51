// SPDX-License-Identifier: MIT
#include "compiler/emit/dependency.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

namespace npu::compiler {

void Counts::raise(const Counts& other) {
  for (size_t i = 0; i < std::size(of); ++i) of[i] = std::max(of[i], other.of[i]);
}

void DependencyTracker::collect(uint64_t begin, uint64_t end, bool write, Counts& need) const {
  auto it = segments_.upper_bound(begin);
  if (it != segments_.begin()) --it;
  for (; it != segments_.end() && it->first < end; ++it) {
    if (it->second.end <= begin) continue;
    need.raise(it->second.writes);
    if (write) need.raise(it->second.reads);
  }
}

void DependencyTracker::split(uint64_t at) {
  auto it = segments_.upper_bound(at);
  if (it == segments_.begin()) return;
  --it;
  if (it->first == at || it->second.end <= at) return;
  Segment right = it->second;
  it->second.end = at;
  segments_.emplace(at, right);
}

void DependencyTracker::record(uint64_t begin, uint64_t end, bool write, Executor by,
                               uint32_t count) {
  if (begin >= end) return;
  split(begin);
  split(end);
  auto it = segments_.lower_bound(begin);
  if (write) {
    // Whatever was here, this command has waited for it.
    const auto last = segments_.lower_bound(end);
    segments_.erase(it, last);
    Segment fresh{end, {}, {}};
    fresh.writes.of[by.index()] = count;
    segments_.emplace(begin, fresh);
    return;
  }
  uint64_t at = begin;
  while (at < end) {
    it = segments_.lower_bound(at);
    if (it != segments_.end() && it->first == at) {
      uint32_t& reached = it->second.reads.of[by.index()];
      reached = std::max(reached, count);
      at = it->second.end;
      continue;
    }
    const uint64_t gap_end = it == segments_.end() ? end : std::min(end, it->first);
    Segment fresh{gap_end, {}, {}};
    fresh.reads.of[by.index()] = count;
    segments_.emplace(at, fresh);
    at = gap_end;
  }
}

}  // namespace npu::compiler
