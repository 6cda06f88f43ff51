// SPDX-License-Identifier: MIT
//
// What a job that is put aside leaves in its queue's save area: a header and
// the live ranges of its YIELDs. See include/npu/queue.h.
#ifndef NPU_MODEL_SAVE_AREA_H_
#define NPU_MODEL_SAVE_AREA_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "bus.h"
#include "core.h"
#include "fault.h"
#include "job.h"

namespace npu::model {

class SaveArea {
 public:
  using Memories = std::vector<std::unique_ptr<CoreMemory>>;

  // `data` false: only the header, where jobs move no data.
  SaveArea(Bus& bus, uint64_t address, bool data) : bus_(bus), address_(address), data_(data) {}

  // The job is at its YIELDs, on its cores; save_bytes() fit the area.
  Fault save(const Job& job, const Memories& memories);
  // Clears the cores' memories and fills in what was saved.
  Fault restore(const Job& job, const Memories& memories);

 private:
  template <typename Move>
  npu_status_code for_each_range(const Job& job, const Memories& memories, Move move);
  Fault fault_of(const Job& job, npu_status_code status, npu_access access) const;
  npu_save_header header_of(const Job& job, uint64_t preemption) const;

  Bus& bus_;
  const uint64_t address_;
  const bool data_;
};

}  // namespace npu::model

#endif  // NPU_MODEL_SAVE_AREA_H_
