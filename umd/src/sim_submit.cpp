// SPDX-License-Identifier: MIT
//
// The simulator's queues: submits, completions, dependencies, waits and the
// watchdog.
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "npu/command.h"
#include "npu/registers.h"
#include "npu/status.h"
#include "sim_backend.h"

namespace npu::umd {
namespace {

constexpr uint32_t kUserAsid = 1;
constexpr uint64_t kRunBudget = 4096;  // commands between looks at completions
constexpr auto kStopTimeout = std::chrono::seconds(10);

using Clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC

Error bad_queue() {
  return fail(NPU_ERROR_INVALID, "no such queue on this device");
}

// As the driver has them.
constexpr uint32_t kMaxCoalesced = SimQueue::kRingSize / 2;
constexpr uint32_t kMaxCoalesceUs = 10000;

uint32_t priority_of(drm_npu_priority priority) {
  switch (priority) {
    case DRM_NPU_PRIORITY_LOW:
      return 0;
    case DRM_NPU_PRIORITY_HIGH:
      return 2;
    default:
      return 1;
  }
}

// The kernel's checks of a job, and its packet.
Status encode_job(const drm_npu_job& job, const npu_target& target, npu_packet_job& packet) {
  const uint32_t all_cores = (1u << target.cores) - 1;
  uint64_t flags = 0;
  if (job.stream_count == 0 || job.stream_count > target.cores ||
      job.region_count > NPU_MAX_REGIONS || job.stream_va % NPU_RECORD_BYTES != 0 ||
      job.region_va % 8 != 0 || job.profile_va % 128 != 0 ||
      (job.region_count == 0 && job.region_va != 0) ||
      ((job.flags & DRM_NPU_JOB_PROFILE) == 0 &&
       (job.profile_va != 0 || (job.flags & DRM_NPU_JOB_PROFILE_COMMANDS) != 0)) ||
      (job.core_mask & ~all_cores) != 0 ||
      (job.flags &
       ~(DRM_NPU_JOB_RESTARTABLE | DRM_NPU_JOB_PROFILE | DRM_NPU_JOB_PROFILE_COMMANDS)) != 0) {
    return fail(NPU_ERROR_INVALID, "submit: a field of the job is out of range");
  }
  packet = {};
  packet.opcode = NPU_PACKET_JOB;
  if (job.flags & DRM_NPU_JOB_RESTARTABLE) flags |= NPU_PACKET_RESTARTABLE;
  if (job.flags & DRM_NPU_JOB_PROFILE) flags |= NPU_PACKET_PROFILE;
  if (job.flags & DRM_NPU_JOB_PROFILE_COMMANDS) flags |= NPU_PACKET_PROFILE_COMMANDS;
  packet.flags = uint8_t(flags);
  packet.stream_count = uint8_t(job.stream_count);
  packet.region_count = uint8_t(job.region_count);
  packet.core_mask = job.core_mask;
  packet.stream_va = job.stream_va;
  packet.region_va = job.region_va;
  packet.profile_va = job.profile_va;
  for (uint32_t i = 0; i < NPU_MAX_CORES; i++) {
    const bool used = i < job.stream_count;
    if (used ? job.stream_bytes[i] == 0 || job.stream_bytes[i] % NPU_RECORD_BYTES != 0 ||
                   job.stream_bytes[i] > target.max_stream_bytes
             : job.stream_bytes[i] != 0) {
      return fail(NPU_ERROR_INVALID, "submit: length of stream " + std::to_string(i) +
                                         " is not what the card accepts");
    }
    packet.stream_bytes[i] = job.stream_bytes[i];
  }
  return {};
}

}  // namespace

uint32_t SimBackend::find_index(uint32_t id) const {
  for (uint32_t index = 1; index < queues_.size(); index++) {
    if (queues_[index] != nullptr && queues_[index]->id == id) return index;
  }
  return 0;
}

SimQueue* SimBackend::find_queue(uint32_t id) const {
  const uint32_t index = find_index(id);
  return index != 0 ? queues_[index].get() : nullptr;
}

// The card's thread takes it from here; recover_queues() looks after failures.
void SimBackend::start_queue(uint32_t index, const npu_queue_context& context) {
  queue_table_[index] = context;
  npu_model_write(model_, NPU_QUEUE_PAGE(index) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_START, 4);
}

// The card's thread: runs it whenever there is something to do.
void SimBackend::run_card() {
  while (!stopping_) {
    const uint64_t seen = events_;
    bus_.enter();
    const npu_model_run_result result = npu_model_run(model_, kRunBudget);
    bus_.leave();
    bool progress;
    {
      std::lock_guard lock(mutex_);
      progress = process_completions();
      if (result == NPU_MODEL_IDLE) {
        reset_hung_cores();
        progress |= recover_queues();
      }
    }
    if (progress) wake();
    if (result == NPU_MODEL_MORE) continue;
    const uint64_t deadline = npu_model_deadline(model_);
    std::unique_lock lock(wake_mutex_);
    const auto something = [&] { return events_ != seen || stopping_; };
    if (deadline != 0) {
      wake_.wait_until(lock, Clock::time_point(std::chrono::nanoseconds(deadline)), something);
    } else {
      wake_.wait(lock, something);
    }
  }
}

// The watchdog. The card tells which core hangs, so there is nothing to time.
void SimBackend::reset_hung_cores() {
  if (!(npu_model_read(model_, NPU_REG_STATUS, 4) & NPU_DEVICE_HUNG)) return;
  for (uint32_t core = 0; core < target().cores; core++) {
    if ((npu_model_read(model_, NPU_REG_CORE(core, NPU_CORE_STATE), 4) & 0xff) == 2) {
      npu_model_write(model_, NPU_REG_RESET, NPU_RESET_KIND_CORE | core << 8, 4);
      core_resets_++;
    }
  }
}

// A queue stops with an error when its rings cannot be reached. What was in them
// fails, and the queue starts again behind it.
bool SimBackend::recover_queues() {
  bool recovered = false;
  for (uint32_t index = 0; index < queues_.size(); index++) {
    SimQueue* queue = queues_[index].get();
    if (queue == nullptr || queue->retired() == queue->producer() ||
        npu_model_read(model_, NPU_QUEUE_PAGE(index) + NPU_QUEUE_STATE, 4) != NPU_QUEUE_ERROR) {
      continue;
    }
    recovered = true;
    npu_completion lost = {};
    lost.status = NPU_STATUS_DMA_ERROR;
    lost.command = NPU_NO_COMMAND;
    lost.engine = NPU_ENGINE_PACKET;
    lost.access = NPU_ACCESS_FETCH;
    while (queue->drop_oldest()) {
      if (index == 0) {
        kernel_failures_++;
      } else {
        retire_job(*queue, lost);
      }
    }
    npu_model_write(model_, NPU_QUEUE_PAGE(index) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_START, 4);
  }
  if (recovered) {
    push_pending();
    signal_exported();
  }
  return recovered;
}

Status SimBackend::invalidate_tlb(uint64_t va, uint64_t size, std::unique_lock<std::mutex>& lock) {
  npu_packet_tlb_invalidate packet = {};
  packet.opcode = NPU_PACKET_TLB_INVALIDATE;
  packet.flags = NPU_PACKET_IRQ;
  packet.asid = kUserAsid;
  packet.va = va;
  packet.bytes = size;
  SimQueue& queue = *queues_[0];
  const auto deadline = Clock::now() + kStopTimeout;
  const uint64_t failures = kernel_failures_;
  bool pushed = false;
  uint64_t target_index = 0;
  for (;;) {
    const uint64_t seen = events_;
    process_completions();
    if (!pushed && queue.room() > 0) {
      queue.push(&packet);
      target_index = queue.producer();
      npu_model_write(model_, NPU_QUEUE_PAGE(0) + NPU_QUEUE_DOORBELL, queue.announce(), 4);
      pushed = true;
    }
    if (kernel_failures_ != failures) {
      return fail(NPU_ERROR_INTERNAL, "the simulated card refuses a TLB invalidation");
    }
    if (pushed && queue.retired() >= target_index) return {};
    lock.unlock();
    {
      std::unique_lock wake_lock(wake_mutex_);
      wake_.wait_until(wake_lock, deadline, [&] { return events_ != seen; });
    }
    lock.lock();
    if (Clock::now() >= deadline) {
      return fail(NPU_ERROR_INTERNAL, "the simulated card does not answer a TLB invalidation");
    }
  }
}

Result<uint32_t> SimBackend::create_queue(const QueueOptions& options) {
  const uint32_t all_cores = (1u << target().cores) - 1;
  if ((options.core_mask & ~all_cores) != 0) {
    return fail(NPU_ERROR_INVALID, "core mask names cores that the card does not have (it has " +
                                       std::to_string(target().cores) + ")");
  }
  if (options.quantum > NPU_QUANTUM_DEFAULT) {
    return fail(NPU_ERROR_INVALID, "a queue's quantum is at most " +
                                       std::to_string(NPU_QUANTUM_DEFAULT) + " modelled cycles");
  }
  if ((options.coalesce_count == 0) != (options.coalesce_us == 0) ||
      options.coalesce_count > kMaxCoalesced || options.coalesce_us > kMaxCoalesceUs) {
    return fail(NPU_ERROR_INVALID, "coalescing takes a count of 1 to " +
                                       std::to_string(kMaxCoalesced) + " and a time of 1 to " +
                                       std::to_string(kMaxCoalesceUs) + " microseconds");
  }
  std::lock_guard lock(mutex_);
  const auto it = std::find(queues_.begin() + 1, queues_.end(), nullptr);
  if (it == queues_.end()) {
    return fail(NPU_ERROR_NO_MEMORY, "all " + std::to_string(queues_.size() - 1) +
                                         " queues of the card are in use; destroy one");
  }
  const auto index = uint32_t(it - queues_.begin());
  auto queue = std::make_unique<SimQueue>(bus_);
  const uint64_t save_bytes =
      sizeof(npu_save_header) + uint64_t{target().cores} * target().sram_bytes;
  if (auto status = queue->init(save_bytes); !status.ok()) return status.error();
  npu_queue_context context = queue->context();
  context.asid = kUserAsid;
  context.priority = priority_of(options.priority);
  context.vector = target().vectors > 1 ? 1 + index % (target().vectors - 1) : 0;
  context.core_mask = options.core_mask != 0 ? options.core_mask : all_cores;
  context.cycle_limit = options.cycle_limit;
  context.quantum = options.quantum;
  context.coalesce_count = options.coalesce_count;
  context.coalesce_ns = options.coalesce_us * 1000;
  start_queue(index, context);
  queue->id = next_queue_++;
  *it = std::move(queue);
  return (*it)->id;
}

void SimBackend::destroy_queue(uint32_t id) {
  std::unique_lock lock(mutex_);
  const uint32_t index = find_index(id);
  if (index == 0) return;
  queues_[index]->pending.clear();
  const uint64_t page = NPU_QUEUE_PAGE(index);
  npu_model_write(model_, page + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_STOP, 4);
  const auto deadline = Clock::now() + kStopTimeout;
  while (npu_model_read(model_, page + NPU_QUEUE_STATE, 4) != NPU_QUEUE_DISABLED &&
         Clock::now() < deadline) {
    const uint64_t seen = events_;
    lock.unlock();
    {
      std::unique_lock wake_lock(wake_mutex_);
      wake_.wait_for(wake_lock, std::chrono::milliseconds(1), [&] { return events_ != seen; });
    }
    lock.lock();
  }
  process_completions();
  const bool stopped = npu_model_read(model_, page + NPU_QUEUE_STATE, 4) == NPU_QUEUE_DISABLED;
  const uint64_t lost = queues_[index]->jobs_submitted - queues_[index]->jobs_completed;
  jobs_ += lost;
  faults_ += lost;
  if (stopped) {
    queues_[index].reset();
  } else {
    // Its rings may still be written to: they and the hardware queue stay taken.
    queues_[index]->id = 0;
  }
  push_pending();
  signal_exported();
  lock.unlock();
  wake();
}

Status SimBackend::queue_state(uint32_t id, drm_npu_queue_state& out) {
  std::lock_guard lock(mutex_);
  process_completions();
  const SimQueue* queue = find_queue(id);
  if (queue == nullptr) return bad_queue();
  out = {};
  out.queue_id = id;
  out.health = queue->health;
  out.jobs_submitted = queue->jobs_submitted;
  out.jobs_completed = queue->jobs_completed;
  out.fault = queue->fault;
  out.first_failed = queue->first_failed;
  return {};
}

Status SimBackend::submit(uint32_t id, std::span<const drm_npu_job> jobs,
                          std::span<const Point> waits) {
  if (jobs.empty() || jobs.size() > caps_.max_jobs) {
    return fail(NPU_ERROR_INVALID, "a submit has 1 to " + std::to_string(caps_.max_jobs) + " jobs");
  }
  SimQueue::Submit submit;
  submit.packets.resize(jobs.size());
  for (size_t i = 0; i < jobs.size(); i++) {
    if (auto status = encode_job(jobs[i], target(), submit.packets[i]); !status.ok()) return status;
    submit.packets[i].flags |= i + 1 < jobs.size() ? NPU_PACKET_CHAIN : NPU_PACKET_IRQ;
  }
  std::lock_guard lock(mutex_);
  SimQueue* queue = find_queue(id);
  if (queue == nullptr) return bad_queue();
  for (const Point& point : waits) {
    const SimQueue* other = find_queue(point.queue);
    if (other != nullptr && point.value > other->submits) {
      return fail(NPU_ERROR_INVALID, "submit: a wait is for a point that nothing will reach");
    }
    if (!signalled(point)) submit.waits.push_back(point);
  }
  queue->pending.push_back(std::move(submit));
  queue->submits++;
  queue->jobs_submitted += jobs.size();
  push_pending();
  return {};
}

bool SimBackend::signalled(Point point) const {
  const SimQueue* queue = find_queue(point.queue);
  return queue == nullptr || point.value <= queue->completed;
}

// Moves every submit into its ring whose waits have signalled and that fits.
void SimBackend::push_pending() {
  for (uint32_t index = 1; index < queues_.size(); index++) {
    SimQueue* queue = queues_[index].get();
    if (queue == nullptr) continue;
    bool pushed = false;
    while (!queue->pending.empty()) {
      const SimQueue::Submit& submit = queue->pending.front();
      if (queue->room() < submit.packets.size() ||
          !std::all_of(submit.waits.begin(), submit.waits.end(),
                       [&](const Point& point) { return signalled(point); })) {
        break;
      }
      for (const npu_packet_job& packet : submit.packets) queue->push(&packet);
      queue->in_flight.push_back({queue->producer(), false});
      queue->pending.pop_front();
      pushed = true;
    }
    if (pushed) {
      npu_model_write(model_, NPU_QUEUE_PAGE(index) + NPU_QUEUE_DOORBELL, queue->announce(), 4);
    }
  }
}

void SimBackend::complete_job(SimQueue& queue, const npu_completion& completion) {
  const uint64_t job = queue.jobs_completed++;
  jobs_++;
  if (completion.status == NPU_STATUS_OK) return;
  faults_++;
  if (completion.status == NPU_STATUS_HANG) queue.health = DRM_NPU_QUEUE_GUILTY;
  if (completion.status == NPU_STATUS_VICTIM) queue.health = DRM_NPU_QUEUE_VICTIM;
  // What follows a failure in its submit is aborted; the failure is the news.
  if (!queue.in_flight.empty() && queue.in_flight.front().failed) return;
  if (!queue.in_flight.empty()) queue.in_flight.front().failed = true;
  if (queue.first_failed == 0) queue.first_failed = job + 1;
  queue.fault = {};
  queue.fault.status = completion.status;
  queue.fault.queue_id = queue.id;
  queue.fault.job = job;
  queue.fault.command = completion.command;
  queue.fault.engine = completion.engine;
  queue.fault.core = completion.core;
  queue.fault.access = completion.access;
  queue.fault.source_op = completion.source_op;
  queue.fault.address = completion.address;
  queue.fault.timebase_ns = completion.end_ns;
}

// A job of the oldest submit has ended.
void SimBackend::retire_job(SimQueue& queue, const npu_completion& completion) {
  complete_job(queue, completion);
  while (!queue.in_flight.empty() && queue.in_flight.front().end <= queue.retired()) {
    queue.in_flight.pop_front();
    queue.completed++;
  }
}

// Takes what the card has completed. True if there was something.
bool SimBackend::process_completions() {
  bool progress = false;
  for (uint32_t index = 0; index < queues_.size(); index++) {
    SimQueue* queue = queues_[index].get();
    if (queue == nullptr) continue;
    npu_completion completion;
    while (queue->pop_completion(completion)) {
      progress = true;
      if (index == 0) {
        if (completion.status != NPU_STATUS_OK) kernel_failures_++;
        continue;
      }
      retire_job(*queue, completion);
    }
  }
  if (progress) {
    push_pending();
    signal_exported();
  }
  return progress;
}

Result<uint64_t> SimBackend::completed(uint32_t id) {
  std::lock_guard lock(mutex_);
  process_completions();
  const SimQueue* queue = find_queue(id);
  if (queue == nullptr) return bad_queue();
  return queue->completed;
}

Result<uint32_t> SimBackend::wait(std::span<const Point> points, bool any, uint64_t deadline_ns) {
  const auto deadline = deadline_ns > uint64_t(INT64_MAX)
                            ? Clock::time_point::max()
                            : Clock::time_point(std::chrono::nanoseconds(deadline_ns));
  for (;;) {
    const uint64_t seen = events_;
    {
      std::lock_guard lock(mutex_);
      process_completions();
      size_t reached = 0;
      uint32_t first = 0;
      for (size_t i = points.size(); i-- > 0;) {
        const SimQueue* queue = find_queue(points[i].queue);
        if (queue != nullptr && points[i].value > queue->submits) {
          return fail(NPU_ERROR_INVALID, "wait: a fence that no submit will reach");
        }
        if (signalled(points[i])) {
          reached++;
          first = uint32_t(i);
        }
      }
      if (any ? reached > 0 : reached == points.size()) return first;
    }
    if (Clock::now() >= deadline) {
      return fail(NPU_ERROR_TIMEOUT, "the deadline passed; the jobs go on", ETIME);
    }
    std::unique_lock lock(wake_mutex_);
    const auto something = [&] { return events_ != seen; };
    if (deadline == Clock::time_point::max()) {
      wake_.wait(lock, something);
    } else {
      wake_.wait_until(lock, deadline, something);
    }
  }
}

Result<int> SimBackend::export_point(Point point) {
  std::lock_guard lock(mutex_);
  const SimQueue* queue = find_queue(point.queue);
  if (queue != nullptr && point.value > queue->submits) {
    return fail(NPU_ERROR_INVALID, "export: a fence that no submit will reach");
  }
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const int duplicate = fd < 0 ? -1 : dup(fd);
  if (duplicate < 0) {
    const int error = errno;
    if (fd >= 0) close(fd);
    return fail(NPU_ERROR_NO_MEMORY,
                std::string("no file descriptor for the fence: ") + std::strerror(error), error);
  }
  exported_.push_back({point, duplicate});
  process_completions();
  signal_exported();
  return fd;
}

void SimBackend::signal_exported() {
  std::erase_if(exported_, [&](const Exported& exported) {
    if (!signalled(exported.point)) return false;
    const uint64_t one = 1;
    // An eventfd that was never written cannot be full.
    [[maybe_unused]] const ssize_t written = write(exported.fd, &one, sizeof one);
    close(exported.fd);
    return true;
  });
}

}  // namespace npu::umd
