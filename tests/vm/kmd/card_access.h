// SPDX-License-Identifier: MIT
//
// Reads and writes at addresses of an address space, through a queue of its own:
// what the card sees there, not what the CPU does.
#ifndef NPU_TESTS_VM_KMD_CARD_ACCESS_H_
#define NPU_TESTS_VM_KMD_CARD_ACCESS_H_

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "device.h"

namespace kmd {

class CardAccess {
 public:
  // Bytes of one access, and most accesses of one job.
  static constexpr uint32_t kBytes = 64;
  static constexpr size_t kMost = 62;
  // Its own buffers lie here.
  static constexpr uint64_t kVa = 0x7000'0000'0000;

  using Item = std::array<uint64_t, kBytes / 8>;

  CardAccess(const Device& device, uint32_t vm);
  ~CardAccess();

  uint32_t queue() const { return queue_; }

  // Reads kBytes at each address in one job; 0 or the job's error.
  int read(std::span<const uint64_t> addresses, std::vector<Item>& items);
  int write(uint64_t address, const Item& item);
  // Of the last job.
  drm_npu_fault fault() const { return device_.queue_state(queue_).fault; }

 private:
  int run(uint64_t stream_va, uint32_t stream_bytes);

  const Device& device_;
  uint32_t vm_;
  uint32_t queue_ = 0;
  uint32_t read_bytes_ = 0, write_bytes_ = 0;
  Buffer control_;
};

}  // namespace kmd

#endif  // NPU_TESTS_VM_KMD_CARD_ACCESS_H_
