// SPDX-License-Identifier: MIT
#include "compiler/calibrate/ranges.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace npu::compiler {

bool RangeCollector::add(std::span<const float> values) {
  for (const float value : values) {
    if (!std::isfinite(value)) return false;
    extremes_.low = std::min(extremes_.low, value);
    extremes_.high = std::max(extremes_.high, value);
    if (percentile_ < 100) count(value);
  }
  return true;
}

void RangeCollector::count(float value) {
  ++total_;
  // What is this small has no place in a histogram of anything larger.
  const float magnitude = std::max(std::abs(value), std::numeric_limits<float>::min() * kBins);
  if (value == 0) {
    ++zeros_;
    return;
  }
  if (width_ == 0) {
    bins_.assign(kBins, 0);
    width_ = magnitude * 2 / kBins;
  }
  // In double: a width near the largest float is doubled too.
  while (static_cast<double>(magnitude) > static_cast<double>(width_) * kHalf) {
    std::vector<uint64_t> wider(kBins, 0);
    for (int i = 0; i < kBins; ++i)
      wider[static_cast<size_t>((i + kHalf) / 2)] += bins_[static_cast<size_t>(i)];
    bins_ = std::move(wider);
    width_ *= 2;
  }
  const double place = std::floor(static_cast<double>(value) / static_cast<double>(width_));
  const int bin = std::clamp(static_cast<int>(place) + kHalf, 0, kBins - 1);
  ++bins_[static_cast<size_t>(bin)];
}

ValueRange RangeCollector::range() const {
  if (percentile_ >= 100 || width_ == 0) return extremes_;
  const double outside = (100 - percentile_) / 200 * static_cast<double>(total_);
  // The value that `outside` values lie beyond, walking from the end; 0 lies between the halves.
  const auto bound = [&](int step) {
    double seen = 0;
    int bin = step > 0 ? 0 : kBins - 1;
    for (; bin >= 0 && bin < kBins; bin += step) {
      if (step > 0 ? bin == kHalf : bin == kHalf - 1) {
        seen += static_cast<double>(zeros_);
        if (seen > outside) return 0.0;
      }
      seen += static_cast<double>(bins_[static_cast<size_t>(bin)]);
      if (seen > outside) break;
    }
    const int edge = bin - kHalf + (step > 0 ? 0 : 1);
    return static_cast<double>(edge) * static_cast<double>(width_);
  };
  ValueRange out;
  out.low = std::clamp(static_cast<float>(bound(1)), extremes_.low, 0.0f);
  out.high = std::clamp(static_cast<float>(bound(-1)), 0.0f, extremes_.high);
  return out;
}

}  // namespace npu::compiler
