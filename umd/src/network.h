// SPDX-License-Identifier: MIT
//
// A compiled model in a device's memory, ready to run.
#ifndef NPU_UMD_NETWORK_H_
#define NPU_UMD_NETWORK_H_

#include <memory>
#include <vector>

#include "device.h"
#include "model_file.h"
#include "npu/queue.h"

namespace npu::umd {

// Immutable, so free for all threads.
class Network {
 public:
  static Result<std::shared_ptr<Network>> load(const std::shared_ptr<Device>& device,
                                               std::span<const std::byte> file, uint32_t flags);

  const std::shared_ptr<Device>& device() const { return device_; }
  const ModelFile& file() const { return file_; }
  unsigned tensor_count() const { return static_cast<unsigned>(tensors_.size()); }
  uint64_t scratch_bytes() const { return file_.model().scratch_bytes(); }

  // Multiple that a tensor's address must be of.
  uint64_t tensor_alignment() const { return device_->target().dma_granule_bytes; }

  // The jobs of one run; region_va and profile_va are still to be filled in.
  std::span<const drm_npu_job> jobs() const { return jobs_; }
  uint32_t job_commands(size_t job) const { return job_commands_[job]; }
  // Fills in the region table of a run.
  void fill_regions(const uint64_t* tensor_va, uint64_t scratch_va, uint64_t* table) const;

  // Where a job's records lie in a profile buffer, and how large that is.
  uint64_t profile_offset(size_t job, bool with_commands) const;
  uint64_t profile_bytes(bool with_commands) const {
    return profile_offset(jobs_.size(), with_commands);
  }
  npu_network_info info() const;
  Status tensor_info(uint32_t index, npu_tensor_info& info) const;
  Status operator_info(uint32_t index, npu_operator_info& info) const;
  Status report(std::span<const std::byte> profile, npu_run_report& report) const;
  Status record(std::span<const std::byte> profile, uint64_t index, npu_command_report& out) const;

 private:
  Network(std::shared_ptr<Device> device, ModelFile file)
      : device_(std::move(device)), file_(std::move(file)) {}
  Status upload();
  // Header of a job's records, or nullptr if the buffer is too small for it.
  const npu_profile* profile_of(std::span<const std::byte> profile, size_t job,
                                bool with_commands) const;
  bool has_commands(std::span<const std::byte> profile) const;

  const std::shared_ptr<Device> device_;
  const ModelFile file_;
  std::vector<const npu::format::Tensor*> tensors_;  // inputs, then outputs
  std::vector<uint32_t> job_commands_;
  std::vector<drm_npu_job> jobs_;
  std::unique_ptr<Memory> constants_;
  std::unique_ptr<Memory> commands_;
};

}  // namespace npu::umd

#endif  // NPU_UMD_NETWORK_H_
