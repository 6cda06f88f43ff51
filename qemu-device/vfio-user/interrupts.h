// SPDX-License-Identifier: MIT
//
// MSI-X of a vfio-user device: the client owns the table and gives an eventfd
// for each vector that is in use. Masks and pending bits are kept here.
#ifndef NPU_VFIO_USER_INTERRUPTS_H_
#define NPU_VFIO_USER_INTERRUPTS_H_

#include <cstdint>
#include <mutex>
#include <vector>

#include "channel.h"

namespace npu::vfio_user {

class Interrupts {
 public:
  explicit Interrupts(uint32_t vectors) : vectors_(vectors) {}
  uint32_t count() const { return static_cast<uint32_t>(vectors_.size()); }

  // `vector` is less than count(). Without a descriptor the vector is unused.
  // Returns 0 or an errno.
  int assign(uint32_t vector, UniqueFd eventfd);
  void mask(uint32_t vector, bool masked);
  // Every vector unused, unmasked, nothing pending.
  void reset();
  // The function's enable and mask bits in configuration space.
  void set_control(bool enabled, bool masked);

  // A message of an unused vector, or with MSI-X off, is lost; a masked one is
  // pending.
  void raise(uint32_t vector);
  uint64_t pending();  // bit per vector

 private:
  struct Vector {
    UniqueFd eventfd;
    bool masked = false;
    bool pending = false;
  };

  void deliver(Vector& vector);

  std::mutex mutex_;
  std::vector<Vector> vectors_;
  bool enabled_ = false;
  bool function_masked_ = false;
};

}  // namespace npu::vfio_user

#endif  // NPU_VFIO_USER_INTERRUPTS_H_
