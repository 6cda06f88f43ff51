// SPDX-License-Identifier: MIT
//
// A small job whose result shows whether it really ran: out[i] = table[in[i]].
#ifndef NPU_TESTS_VM_KMD_STREAMS_H_
#define NPU_TESTS_VM_KMD_STREAMS_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "device.h"

namespace kmd {

// Regions of the look-up job.
enum Region { kInput = 0, kOutput = 1, kTable = 2, kRegions = 3 };

// `repeats` look-ups of the same `elements` bytes: more of them take longer. With
// `yields`, the card may put the job aside between two of them.
std::vector<std::byte> lookup_stream(uint32_t elements, uint32_t repeats = 1, bool yields = false);

// Loads `bytes` bytes of each region `from` into slot `slot` of SRAM, then stores all
// slots, one after another, to the region `to`.
std::vector<std::byte> copy_stream(const std::vector<std::pair<uint8_t, uint8_t>>& from_slot,
                                   uint8_t to, uint32_t bytes);

// A store that waits for more loads than there are before it.
std::vector<std::byte> deadlock_stream();

// An address space and a queue with one look-up job, ready to run. Buffers lie
// one after another from base on, with unmapped pages between.
class LookupJob {
 public:
  static constexpr uint64_t kBase = 0x1000'0000;
  static constexpr uint64_t kStep = 0x100'0000;

  // Buffers that hold data are in `placement`, the others in host memory.
  LookupJob(const Device& device, uint32_t elements, uint8_t key,
            uint32_t placement = DRM_NPU_PLACEMENT_HOST, uint64_t cycle_limit = 0,
            uint32_t repeats = 1, bool yields = false);
  ~LookupJob();

  const drm_npu_job& job() const { return job_; }
  uint32_t vm() const { return vm_; }
  uint32_t queue() const { return queue_; }

  // Addresses of the region table's entries, for tests that spoil them.
  uint64_t* regions() const { return regions_->as<uint64_t>(); }
  Buffer& input() const { return *input_; }
  Buffer& output() const { return *output_; }
  Buffer& stream() const { return *stream_; }

  // Fills input and table anew, clears the output.
  void prepare(uint8_t key);
  // Whether the output is what the last prepare() asks for.
  bool correct() const;
  // prepare, run, correct; 0, -errno, or 1 for a wrong result.
  int run_checked(uint8_t key);

 private:
  const Device& device_;
  uint32_t elements_;
  uint32_t vm_ = 0;
  uint32_t queue_ = 0;
  std::vector<uint8_t> expected_;
  std::unique_ptr<Buffer> input_, output_, table_, stream_, regions_;
  drm_npu_job job_ = {};
};

}  // namespace kmd

#endif  // NPU_TESTS_VM_KMD_STREAMS_H_
