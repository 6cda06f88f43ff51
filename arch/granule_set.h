// SPDX-License-Identifier: MIT
//
// A set of small integers in which the neighbours of any number are found in a
// few steps: bits, and above them bits that tell which words have any; internal
// to arch.
#ifndef NPU_ARCH_GRANULE_SET_H_
#define NPU_ARCH_GRANULE_SET_H_

#include <bit>
#include <cstdint>
#include <vector>

namespace npu::arch {

class GranuleSet {
 public:
  static constexpr uint64_t kNone = ~uint64_t{0};

  // Numbers below `size`.
  explicit GranuleSet(uint64_t size) {
    do {
      size = (size + 63) / 64;
      levels_.emplace_back(size, 0);
    } while (size > 1);
  }

  bool contains(uint64_t n) const { return levels_[0][n / 64] >> n % 64 & 1; }
  void insert(uint64_t n) { insert(n, n); }
  void erase(uint64_t n) { erase(n, n); }
  // All of first..last.
  void insert(uint64_t first, uint64_t last) {
    for (auto& level : levels_) {
      const uint64_t low = ~uint64_t{0} << first % 64;
      const uint64_t high = ~uint64_t{0} >> (63 - last % 64);
      first /= 64, last /= 64;
      if (first == last) {
        level[first] |= low & high;
      } else {
        level[first] |= low;
        for (uint64_t word = first + 1; word < last; ++word) level[word] = ~uint64_t{0};
        level[last] |= high;
      }
    }
  }
  void erase(uint64_t first, uint64_t last) {
    for (auto& level : levels_) {
      const uint64_t low = ~uint64_t{0} << first % 64;
      const uint64_t high = ~uint64_t{0} >> (63 - last % 64);
      first /= 64, last /= 64;
      if (first == last) {
        level[first] &= ~(low & high);
        if (level[first] != 0) return;
      } else {
        level[first] &= ~low;
        for (uint64_t word = first + 1; word < last; ++word) level[word] = 0;
        level[last] &= ~high;
        // The words that are empty now are to go from the level above.
        if (level[first] != 0) ++first;
        if (level[last] != 0) --last;
        if (first > last) return;
      }
    }
  }
  // The largest member up to n; kNone: there is none.
  uint64_t at_or_before(uint64_t n) const {
    for (size_t level = 0; level < levels_.size(); ++level) {
      const uint64_t bits = levels_[level][n / 64] & ~uint64_t{0} >> (63 - n % 64);
      if (bits != 0) {
        n = n / 64 * 64 + 63 - static_cast<unsigned>(std::countl_zero(bits));
        while (level-- > 0)
          n = n * 64 + 63 - static_cast<unsigned>(std::countl_zero(levels_[level][n]));
        return n;
      }
      if (n / 64 == 0) return kNone;
      n = n / 64 - 1;
    }
    return kNone;
  }
  // The smallest member from n on.
  uint64_t at_or_after(uint64_t n) const {
    for (size_t level = 0; level < levels_.size(); ++level) {
      if (n / 64 >= levels_[level].size()) return kNone;
      const uint64_t bits = levels_[level][n / 64] & ~uint64_t{0} << n % 64;
      if (bits != 0) {
        n = n / 64 * 64 + static_cast<unsigned>(std::countr_zero(bits));
        while (level-- > 0) n = n * 64 + static_cast<unsigned>(std::countr_zero(levels_[level][n]));
        return n;
      }
      n = n / 64 + 1;
    }
    return kNone;
  }
  uint64_t after(uint64_t n) const { return at_or_after(n + 1); }

 private:
  std::vector<std::vector<uint64_t>> levels_;  // bits first
};

}  // namespace npu::arch

#endif  // NPU_ARCH_GRANULE_SET_H_
