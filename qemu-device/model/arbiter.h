// SPDX-License-Identifier: MIT
//
// Who should have the cores. Jobs that find no cores say what they want; jobs
// that run ask, at a YIELD, whether somebody wants theirs more.
#ifndef NPU_MODEL_ARBITER_H_
#define NPU_MODEL_ARBITER_H_

#include <cstdint>
#include <vector>

#include "npu/target.h"

namespace npu::model {

class Arbiter {
 public:
  static constexpr uint32_t kFree = 0xffffffffu;
  struct Core {
    uint32_t queue = kFree;  // whose job is on it
    uint32_t priority = 0;   // of that queue
    bool hung = false;       // will not become free by itself
  };

  explicit Arbiter(unsigned cores) : cores_(cores) {}
  Core& core(unsigned index) { return cores_[index]; }
  const std::vector<Core>& cores() const { return cores_; }

  // A round: queues ask in the order in which they are to be served.
  void begin_round() {
    claims_.clear();
    claimed_ = 0;
  }
  // `count` cores of `mask` for a job of `queue`. Empty, and a claim is noted, if
  // they are not free or are claimed already: a gang must not starve because
  // smaller jobs keep taking its cores. No claim is noted for what hung cores
  // make impossible.
  std::vector<unsigned> request(uint32_t queue, uint32_t priority, uint32_t mask, unsigned count);

  // Of a running job: whether claims of the last round want its cores.
  struct Rivals {
    bool higher = false;  // of a higher priority
    bool equal = false;   // of the same
  };
  Rivals rivals(uint32_t queue) const;

 private:
  struct Claim {
    uint32_t queue, priority, mask;
    unsigned count;
  };
  // Whether jobs of a priority below `below` must leave for it, and that is enough.
  bool needs(const Claim& claim, uint32_t below) const;

  std::vector<Core> cores_;
  std::vector<Claim> claims_;
  uint32_t claimed_ = 0;  // mask
};

}  // namespace npu::model

#endif  // NPU_MODEL_ARBITER_H_
