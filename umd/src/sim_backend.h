// SPDX-License-Identifier: MIT
//
// The simulator: a card model in this process and the little of a host that it
// needs. It does what the kernel driver does, with the same results: address
// space, queues, dependencies, watchdog.
//
// Threads: one, which the card runs in. Callers' threads and that one look
// after completions, whoever comes first.
#ifndef NPU_UMD_SIM_BACKEND_H_
#define NPU_UMD_SIM_BACKEND_H_

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "backend.h"
#include "npu_model.h"
#include "range_allocator.h"
#include "sim_bus.h"
#include "sim_page_table.h"
#include "sim_queue.h"

namespace npu::umd {

class SimBackend final : public Backend {
 public:
  SimBackend();
  ~SimBackend() override;
  Status init(const SimOptions& options);

  const drm_npu_caps& caps() const override { return caps_; }
  std::string driver_version() const override { return "1.0.0"; }
  Status telemetry(drm_npu_telemetry& out) override;
  Status counters(drm_npu_counters& out) override;
  Status engines(drm_npu_engines& out) override;
  Status clock(drm_npu_clock& out) override;

  Result<Allocation> create_buffer(uint64_t size, drm_npu_placement placement) override;
  void destroy_buffer(uint32_t handle) override;
  Result<void*> map(uint32_t handle) override;
  Result<Allocation> import_buffer(int fd) override;
  Result<int> export_buffer(uint32_t handle) override;
  Status bind(uint32_t handle, uint64_t offset, uint64_t va, uint64_t size,
              bool read_only) override;
  Status unbind(uint64_t va, uint64_t size) override;

  Result<uint32_t> create_queue(const QueueOptions& options) override;
  void destroy_queue(uint32_t queue) override;
  Status queue_state(uint32_t queue, drm_npu_queue_state& out) override;
  Status submit(uint32_t queue, std::span<const drm_npu_job> jobs,
                std::span<const Point> waits) override;
  Result<uint64_t> completed(uint32_t queue) override;
  Result<uint32_t> wait(std::span<const Point> points, bool any, uint64_t deadline_ns) override;
  Result<int> export_point(Point point) override;

  // For tests: the card itself, to inject faults.
  npu_model* model() { return model_; }

 private:
  struct Buffer {
    uint64_t size = 0;
    uint64_t address = 0;  // bus address or offset in card memory
    bool card = false;
    bool card_range = false;  // from card_free_
  };
  struct Exported {
    Point point;
    int fd;  // eventfd, written once the point is reached
  };

  // The card's view of us; see npu_model_host.
  static npu_model_bus host_read(void* opaque, uint64_t address, void* data, size_t bytes);
  static npu_model_bus host_write(void* opaque, uint64_t address, const void* data, size_t bytes);
  static npu_model_bus host_write_rows(void* opaque, uint64_t address, uint64_t stride,
                                       const void* data, size_t data_stride, size_t count,
                                       size_t bytes);
  static void host_raise_irq(void* opaque, uint32_t vector);
  static void host_kick(void* opaque);
  static uint64_t host_now(void* opaque);
  static bool host_cancelled(void* opaque);
  void wake();

  void run_card();
  // All with mutex_ held.
  void start_queue(uint32_t index, const npu_queue_context& context);
  Status invalidate_tlb(uint64_t va, uint64_t size, std::unique_lock<std::mutex>& lock);
  bool process_completions();
  void complete_job(SimQueue& queue, const npu_completion& completion);
  void retire_job(SimQueue& queue, const npu_completion& completion);
  void push_pending();
  void signal_exported();
  void reset_hung_cores();
  bool recover_queues();
  bool signalled(Point point) const;
  // Hardware index of a queue, 0 if there is none of that id.
  uint32_t find_index(uint32_t id) const;
  SimQueue* find_queue(uint32_t id) const;

  drm_npu_caps caps_ = {};
  SimBus bus_;
  npu_model* model_ = nullptr;
  std::thread thread_;

  std::mutex mutex_;  // protects what follows, up to the next mutex; order: mutex_ -> wake_mutex_
  SimPageTable pages_{bus_};
  RangeAllocator card_free_{0, 0};
  uint64_t card_given_out_ = 0;  // card memory from here on never was, and is zero
  std::map<uint32_t, Buffer> buffers_;
  uint32_t next_buffer_ = 1;
  std::vector<std::unique_ptr<SimQueue>> queues_;  // by hardware queue; 0 is ours
  uint32_t next_queue_ = 1;
  npu_context* context_table_ = nullptr;
  npu_queue_context* queue_table_ = nullptr;
  std::vector<Exported> exported_;
  uint64_t host_used_ = 0;
  uint64_t jobs_ = 0, faults_ = 0, core_resets_ = 0;
  uint64_t kernel_failures_ = 0;  // packets of queue 0 that did not end with OK

  // Something happened: an interrupt, a kick, progress. A leaf lock.
  std::mutex wake_mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> events_{0};
  std::atomic<bool> stopping_{false};
};

}  // namespace npu::umd

#endif  // NPU_UMD_SIM_BACKEND_H_
