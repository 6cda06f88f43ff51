// SPDX-License-Identifier: MIT
//
// Work in progress in modelled time, and how it shares bandwidth; internal to
// arch. Rates and remaining work are 48.16 fixed point, so that results are the
// same everywhere.
#ifndef NPU_ARCH_WORK_H_
#define NPU_ARCH_WORK_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>

namespace npu::arch {

inline constexpr unsigned kFraction = 16;
inline constexpr uint64_t kOne = uint64_t{1} << kFraction;
inline constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

enum class Via : uint8_t { kNone, kCard, kHost };  // which external channel work goes through

// Bytes of an external channel, or cycles of a unit.
struct Work {
  bool active = false;
  Via via = Via::kNone;
  uint64_t rate = 0;           // per cycle, to be taken up by pace()
  uint64_t cap = kOne;         // rate with nothing else active
  uint64_t sram_per_unit = 0;  // bytes through SRAM ports per unit of work
  uint32_t peers = 0;          // the same through those of these cores, one bit each

  void begin(uint64_t units) {
    remaining_ = units << kFraction;
    pace_ = 0;
    ends_at_ = kNever;
  }
  // Goes on at `rate` from `now` on, at which no work has ended.
  void pace(uint64_t now) {
    if (rate == pace_) return;
    remaining_ -= std::min(remaining_, pace_ * (now - since_));
    since_ = now;
    pace_ = rate;
    ends_at_ = now + (remaining_ + rate - 1) / rate;
  }
  // At the rate of the last pace(); kNever before the first.
  uint64_t ends_at() const { return ends_at_; }

 private:
  uint64_t remaining_ = 0;  // at `since_`
  uint64_t since_ = 0;
  uint64_t pace_ = 0;
  uint64_t ends_at_ = kNever;
};

// Sets the rates of works on one channel: equal shares of `bandwidth` bytes per
// cycle; what a work cannot use goes to the others. Reorders `active`.
void share_channel(std::span<Work*> active, uint64_t bandwidth);

// Lowers the rates of one core's works in proportion if together they want
// more than `bandwidth` bytes per cycle of its SRAM.
void limit_sram(std::span<Work*> active, uint64_t bandwidth);

}  // namespace npu::arch

#endif  // NPU_ARCH_WORK_H_
