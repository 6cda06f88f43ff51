// SPDX-License-Identifier: MIT
//
// A queue: runs of networks in order, and how they ended.
#ifndef NPU_UMD_QUEUE_H_
#define NPU_UMD_QUEUE_H_

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "device.h"
#include "network.h"

namespace npu::umd {

// Thread safe.
class Queue : public std::enable_shared_from_this<Queue> {
 public:
  static constexpr uint32_t kDefaultDepth = 64;
  static constexpr uint32_t kMaxDepth = 1024;

  // One run: the network and where its tensors lie.
  struct Run {
    std::shared_ptr<Network> network;
    uint64_t tensor_va[NPU_MAX_REGIONS];  // inputs, then outputs
    uint32_t flags;                       // NPU_RUN_*
    uint64_t profile_va;                  // 0 without profile
    std::byte* profile;                   // in this process
  };

  static Result<std::shared_ptr<Queue>> create(std::shared_ptr<Device> device,
                                               const npu_queue_desc& desc);
  ~Queue();

  const std::shared_ptr<Device>& device() const { return device_; }
  uint64_t id() const { return id_; }
  uint64_t submitted() const { return submitted_.load(std::memory_order_acquire); }

  // Aborts what has not ended. The object lives on for those who wait.
  void destroy();

  Result<npu_fence> submit(std::span<Run> runs, std::span<const Backend::Point> waits);
  // How the submit of a point that has signalled ended.
  Status outcome(uint64_t point);
  // True if that is known to be well: there is nothing to wait for.
  bool ended_well(uint64_t point);
  Status query(npu_queue_info& info);

 private:
  // A run on its way; it has a region table and a record of its last job.
  struct Slot {
    std::shared_ptr<Network> network;
    uint64_t point = 0;
    uint64_t first_job = 0;
    uint32_t jobs = 0;
    bool recorded = false;  // false: the record is in the caller's profile
  };

  Queue(std::shared_ptr<Device> device, uint32_t depth)
      : device_(std::move(device)), slots_(depth) {}

  // All with mutex_ held.
  Status reserve_slots(size_t count);
  Status reserve_scratch(std::span<Run> runs);
  void free_slot();
  uint64_t verified() const;
  Status settle(uint64_t completed);
  Status examine(uint64_t completed);
  void poison(const drm_npu_queue_state& state);
  Status outcome_locked(uint64_t point) const;

  const std::shared_ptr<Device> device_;
  uint32_t id_ = 0;
  std::atomic<uint64_t> submitted_{0};
  std::atomic<bool> destroyed_{false};

  std::mutex mutex_;         // protects what follows
  std::vector<Slot> slots_;  // a ring: head_ .. tail_
  uint64_t head_ = 0, tail_ = 0;
  uint64_t jobs_ = 0;               // submitted
  std::unique_ptr<Memory> tables_;  // one region table per slot, card memory
  std::byte* tables_pointer_ = nullptr;
  std::unique_ptr<Memory> records_;  // and one record, host memory
  npu_profile* records_pointer_ = nullptr;
  std::unique_ptr<Memory> scratch_;

  bool poisoned_ = false;
  uint64_t failed_point_ = 0;
  Error failure_;
  npu_fault fault_ = {};
};

}  // namespace npu::umd

#endif  // NPU_UMD_QUEUE_H_
