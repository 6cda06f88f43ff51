// SPDX-License-Identifier: MIT
#include "arbiter.h"

namespace npu::model {

std::vector<unsigned> Arbiter::request(uint32_t queue, uint32_t priority, uint32_t mask,
                                       unsigned count) {
  std::vector<unsigned> found;
  unsigned usable = 0;
  for (unsigned core = 0; core < cores_.size(); ++core) {
    if ((mask >> core & 1) == 0) continue;
    if (!cores_[core].hung) ++usable;
    if (cores_[core].queue == kFree && (claimed_ >> core & 1) == 0 && found.size() < count)
      found.push_back(core);
  }
  if (found.size() == count) return found;
  if (usable >= count) {
    claimed_ |= mask;
    claims_.push_back({queue, priority, mask, count});
  }
  return {};
}

// Cores for which nobody needs to leave will be given in the next round.
bool Arbiter::needs(const Claim& claim, uint32_t below) const {
  unsigned free = 0, available = 0;
  for (unsigned core = 0; core < cores_.size(); ++core) {
    const Core& c = cores_[core];
    if ((claim.mask >> core & 1) == 0) continue;
    if (c.queue == kFree) ++free;
    if (c.queue == kFree || (!c.hung && c.priority < below)) ++available;
  }
  return free < claim.count && available >= claim.count;
}

Arbiter::Rivals Arbiter::rivals(uint32_t queue) const {
  uint32_t own = 0;
  uint32_t priority = 0;
  for (unsigned core = 0; core < cores_.size(); ++core) {
    if (cores_[core].queue != queue) continue;
    own |= 1u << core;
    priority = cores_[core].priority;
  }
  Rivals rivals;
  for (const Claim& claim : claims_) {
    if ((claim.mask & own) == 0 || claim.priority < priority) continue;
    if (claim.priority > priority)
      rivals.higher = rivals.higher || needs(claim, claim.priority);
    else
      rivals.equal = rivals.equal || needs(claim, claim.priority + 1);
  }
  return rivals;
}

}  // namespace npu::model
