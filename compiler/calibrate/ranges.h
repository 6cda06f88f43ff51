// SPDX-License-Identifier: MIT
//
// Which real values a tensor takes.
#ifndef NPU_COMPILER_CALIBRATE_RANGES_H_
#define NPU_COMPILER_CALIBRATE_RANGES_H_

#include <cstdint>
#include <span>
#include <vector>

namespace npu::compiler {

// Always holds 0, which padding and clamps need a stored value for.
struct ValueRange {
  float low = 0, high = 0;
  bool operator==(const ValueRange&) const = default;
};

// Counts values in bins of one width around 0. The width doubles, and neighbours are joined, when
// a value lies outside: one pass, and the same memory whatever comes.
class RangeCollector {
 public:
  // `percentile` of the values lie in range(), the rest in equal parts below and above; 100: all.
  explicit RangeCollector(double percentile) : percentile_(percentile) {}

  // False if a value is no finite number; the values before it count.
  bool add(std::span<const float> values);
  ValueRange range() const;
  // Of all values, whatever the percentile.
  const ValueRange& extremes() const { return extremes_; }

 private:
  static constexpr int kBins = 4096;
  static constexpr int kHalf = kBins / 2;  // those below 0

  void count(float value);

  double percentile_;
  ValueRange extremes_;
  float width_ = 0;  // of a bin; 0: nothing but zeros so far
  uint64_t zeros_ = 0;
  uint64_t total_ = 0;
  std::vector<uint64_t> bins_;
};

}  // namespace npu::compiler

#endif  // NPU_COMPILER_CALIBRATE_RANGES_H_
