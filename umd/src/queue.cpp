// SPDX-License-Identifier: MIT
#include "queue.h"

#include <algorithm>
#include <cstring>

#include "fault_text.h"

namespace npu::umd {
namespace {

constexpr uint64_t kTableBytes = NPU_MAX_REGIONS * sizeof(uint64_t);
constexpr size_t kMaxJobs = 128;

}  // namespace

Result<std::shared_ptr<Queue>> Queue::create(std::shared_ptr<Device> device,
                                             const npu_queue_desc& desc) {
  const uint32_t depth = desc.depth != 0 ? desc.depth : kDefaultDepth;
  if (depth > kMaxDepth || desc.priority > NPU_PRIORITY_HIGH) {
    return fail(NPU_ERROR_INVALID, "queue: depth (at most 1024) or priority is out of range");
  }
  auto tables = device->allocate(depth * kTableBytes, DRM_NPU_PLACEMENT_CARD);
  if (!tables.ok()) return tables.error();
  auto pointer = (*tables)->map();
  if (!pointer.ok()) return pointer.error();
  auto records = device->allocate(depth * sizeof(npu_profile), DRM_NPU_PLACEMENT_HOST);
  if (!records.ok()) return records.error();
  auto first_record = (*records)->map();
  if (!first_record.ok()) return first_record.error();
  Backend::QueueOptions options;
  options.priority = static_cast<drm_npu_priority>(desc.priority);
  options.cycle_limit = desc.cycle_limit;
  options.core_mask = desc.core_mask;
  options.quantum = desc.quantum;
  options.coalesce_count = desc.coalesce_count;
  options.coalesce_us = desc.coalesce_us;
  auto id = device->backend().create_queue(options);
  if (!id.ok()) return id.error();
  std::shared_ptr<Queue> queue(new Queue(std::move(device), depth));
  queue->id_ = *id;
  queue->tables_ = std::move(*tables);
  queue->tables_pointer_ = *pointer;
  queue->records_ = std::move(*records);
  queue->records_pointer_ = reinterpret_cast<npu_profile*>(*first_record);
  queue->device_->add_queue(*id, queue);
  return queue;
}

Queue::~Queue() {
  destroy();
}

void Queue::destroy() {
  if (destroyed_.exchange(true) || id_ == 0) return;
  device_->remove_queue(id_);
  device_->backend().destroy_queue(id_);
}

// Points up to here ended well.
uint64_t Queue::verified() const {
  return head_ < tail_ ? slots_[head_ % slots_.size()].point - 1 : submitted_.load();
}

void Queue::free_slot() {
  slots_[head_++ % slots_.size()].network.reset();
}

// Learns how the runs up to `completed`, a point that has signalled, ended. The
// card's own record of a run's last job says that all went well, since a failure
// ends what follows in its submit; only what has no such record is asked for.
Status Queue::settle(uint64_t completed) {
  for (; verified() < completed; free_slot()) {
    const npu_completion& last = records_pointer_[head_ % slots_.size()].completion;
    if (!slots_[head_ % slots_.size()].recorded || last.sequence == 0 ||
        last.status != NPU_STATUS_OK) {
      return examine(completed);
    }
  }
  return {};
}

// The same, from the driver.
Status Queue::examine(uint64_t completed) {
  if (destroyed_) {
    return fail(NPU_ERROR_JOB_ABORTED, "the queue was destroyed before the run ended");
  }
  drm_npu_queue_state state = {};
  if (auto status = device_->backend().queue_state(id_, state); !status.ok()) return status;
  const bool failed = state.first_failed != 0 || state.fault.status != 0;
  if (failed) poison(state);
  if (state.health == DRM_NPU_QUEUE_MEMORY_LOST) {
    // Also for a run that was in flight: a new queue alone would not help it.
    if (!failed) failed_point_ = verified() + 1;
    failure_ = fail(NPU_ERROR_DEVICE_RESET,
                    "the card was reset and its memory is lost: close the device, open it again "
                    "and load the models again");
    poisoned_ = true;
  } else if (failed) {
    return {};
  } else if (state.health == DRM_NPU_QUEUE_BANNED) {
    failed_point_ = verified() + 1;
    failure_ = fail(NPU_ERROR_QUEUE_POISONED,
                    "the driver bans this queue after too many hangs: create a new one");
    poisoned_ = true;
  } else {
    while (verified() < completed) free_slot();
  }
  return {};
}

void Queue::poison(const drm_npu_queue_state& state) {
  const uint64_t failed = state.first_failed != 0 ? state.first_failed - 1 : state.fault.job;
  const Network* network = nullptr;
  failed_point_ = verified() + 1;
  for (uint64_t i = head_; i < tail_; i++) {
    const Slot& slot = slots_[i % slots_.size()];
    if (failed - slot.first_job < slot.jobs) failed_point_ = slot.point;
    if (state.fault.job - slot.first_job < slot.jobs) network = slot.network.get();
  }
  poisoned_ = true;
  fault_ = describe_fault(state.fault, network);
  failure_ = fail(result_of_status(state.fault.status), fault_.text);
}

Status Queue::reserve_slots(size_t count) {
  if (count > slots_.size()) {
    return fail(NPU_ERROR_INVALID, "submit: " + std::to_string(count) +
                                       " runs in one call, the queue's depth is " +
                                       std::to_string(slots_.size()));
  }
  if (tail_ - head_ + count <= slots_.size()) return {};
  auto completed = device_->backend().completed(id_);
  if (!completed.ok()) return completed.error();
  if (auto status = settle(*completed); !status.ok()) return status;
  if (poisoned_ || tail_ - head_ + count <= slots_.size()) return {};
  return fail(NPU_ERROR_AGAIN, "submit: the queue is full (" + std::to_string(slots_.size()) +
                                   " runs in flight): wait for one of its fences");
}

// Runs of a queue follow each other, so one area serves all of them.
Status Queue::reserve_scratch(std::span<Run> runs) {
  uint64_t need = 0;
  for (const Run& run : runs) need = std::max(need, run.network->scratch_bytes());
  if (need <= (scratch_ != nullptr ? scratch_->size() : 0)) return {};
  auto memory = device_->allocate(need, DRM_NPU_PLACEMENT_CARD);
  if (!memory.ok()) return memory.error();
  scratch_ = std::move(*memory);  // the old one stays until its jobs have ended
  return {};
}

Result<npu_fence> Queue::submit(std::span<Run> runs, std::span<const Backend::Point> waits) {
  drm_npu_job jobs[kMaxJobs];
  size_t job_count = 0;
  for (const Run& run : runs) job_count += run.network->jobs().size();
  const size_t limit = std::min<size_t>(kMaxJobs, device_->backend().caps().max_jobs);
  if (job_count > limit) {
    return fail(NPU_ERROR_INVALID, "submit: the runs have " + std::to_string(job_count) +
                                       " jobs together, at most " + std::to_string(limit) +
                                       " go into one call");
  }

  std::lock_guard lock(mutex_);
  if (destroyed_) return fail(NPU_ERROR_INVALID, "submit: the queue has been destroyed");
  if (!poisoned_) {
    if (auto status = reserve_slots(runs.size()); !status.ok()) return status.error();
  }
  if (poisoned_) return outcome_locked(UINT64_MAX).error();
  if (auto status = reserve_scratch(runs); !status.ok()) return status.error();

  const uint64_t point = submitted_ + 1;
  drm_npu_job* job = jobs;
  for (size_t r = 0; r < runs.size(); r++) {
    const Run& run = runs[r];
    const size_t slot = (tail_ + r) % slots_.size();
    uint64_t table[NPU_MAX_REGIONS] = {};
    run.network->fill_regions(run.tensor_va, scratch_ != nullptr ? scratch_->va() : 0, table);
    std::memcpy(tables_pointer_ + slot * kTableBytes, table,
                run.network->jobs()[0].region_count * sizeof table[0]);
    const bool commands = run.flags & NPU_RUN_PROFILE_COMMANDS;
    for (size_t j = 0; j < run.network->jobs().size(); j++, job++) {
      *job = run.network->jobs()[j];
      job->region_va = tables_->va() + slot * kTableBytes;
      if (run.profile == nullptr) continue;
      const uint64_t offset = run.network->profile_offset(j, commands);
      std::memset(run.profile + offset, 0, sizeof(npu_profile));
      job->profile_va = run.profile_va + offset;
      job->flags |= DRM_NPU_JOB_PROFILE | (commands ? DRM_NPU_JOB_PROFILE_COMMANDS : 0);
    }
    if (run.profile != nullptr) continue;
    records_pointer_[slot].completion.sequence = 0;
    job[-1].profile_va = records_->va() + slot * sizeof(npu_profile);
    job[-1].flags |= DRM_NPU_JOB_PROFILE;
  }
  // Card memory may be write combined: the tables must be there before the doorbell.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (auto status = device_->backend().submit(id_, {jobs, job_count}, waits); !status.ok()) {
    // The driver refuses every run of a queue that it bans, or that lost its memory.
    if (status.error().code == NPU_ERROR_DEVICE_RESET && examine(verified()).ok() && poisoned_) {
      return outcome_locked(UINT64_MAX).error();
    }
    return status.error();
  }
  for (const Run& run : runs) {
    slots_[tail_ % slots_.size()] = {run.network, point, jobs_,
                                     static_cast<uint32_t>(run.network->jobs().size()),
                                     run.profile == nullptr};
    jobs_ += run.network->jobs().size();
    tail_++;
  }
  submitted_.store(point, std::memory_order_release);
  return npu_fence{id_, point};
}

Status Queue::outcome(uint64_t point) {
  std::lock_guard lock(mutex_);
  if (!poisoned_) {
    if (auto status = settle(point); !status.ok()) return status;
  }
  return outcome_locked(point);
}

bool Queue::ended_well(uint64_t point) {
  std::lock_guard lock(mutex_);
  return point <= verified();
}

Status Queue::outcome_locked(uint64_t point) const {
  if (!poisoned_ || point < failed_point_) return {};
  if (point == failed_point_) return failure_;
  if (failure_.code == NPU_ERROR_DEVICE_RESET) return failure_;
  return fail(NPU_ERROR_QUEUE_POISONED,
              "an earlier run of this queue failed; create a new queue. It was: " + failure_.text);
}

Status Queue::query(npu_queue_info& info) {
  std::lock_guard lock(mutex_);
  info.submitted = submitted_;
  if (destroyed_) return fail(NPU_ERROR_INVALID, "the queue has been destroyed");
  auto completed = device_->backend().completed(id_);
  if (!completed.ok()) return completed.error();
  if (!poisoned_) {
    if (auto status = examine(*completed); !status.ok()) return status;
  }
  info.completed = *completed;
  info.poisoned = poisoned_;
  info.fault = fault_;
  return {};
}

}  // namespace npu::umd
