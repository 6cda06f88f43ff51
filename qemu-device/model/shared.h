// SPDX-License-Identifier: MIT
//
// What register accesses and the run thread share. Registers that describe
// progress are atomics which the run thread publishes; registers that software
// writes are latched under `mutex` as requests which the run thread picks up
// between steps. The mutex is never held across a host operation or compute.
#ifndef NPU_MODEL_SHARED_H_
#define NPU_MODEL_SHARED_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "npu/registers.h"
#include "npu/status.h"
#include "npu/target.h"

namespace npu::model {

struct QueueRegisters {
  // From a START on it is not DISABLED: whoever reads that frees what the card is
  // about to read.
  void start_asked() {
    uint32_t disabled = NPU_QUEUE_DISABLED;
    state.compare_exchange_strong(disabled, NPU_QUEUE_IDLE);
  }

  std::atomic<uint32_t> state{NPU_QUEUE_DISABLED};
  std::atomic<uint32_t> heartbeat{0};
  std::atomic<uint32_t> interrupts{0};
  std::atomic<uint64_t> producer{0};
  std::atomic<uint64_t> consumer{0};
  std::atomic<uint64_t> cycles{0};
  std::atomic<uint32_t> preemptions{0};
  std::atomic<uint64_t> saved_bytes{0};
  std::atomic<uint64_t> waited{0};
};

enum CoreState : uint32_t { kCoreIdle = 0, kCoreRunning = 1, kCoreHung = 2 };

// As the registers of an engine, in their order.
struct EngineRegisters {
  static constexpr unsigned kFields = NPU_ENGINE_REG_BYTES / 8 + 1;
  std::atomic<uint64_t> field[kFields] = {};
};

struct CoreRegisters {
  std::atomic<uint32_t> state{kCoreIdle};  // as NPU_CORE_STATE
  std::atomic<uint32_t> heartbeat{0};
  std::atomic<uint32_t> command{0};
  EngineRegisters engines[NPU_ENGINE_COUNT];
};

// What software asked of one queue since the run thread last looked. Applied
// in the order stop, start, abort, doorbell: a later STOP cancels the others.
struct QueueRequest {
  bool pending = false;
  bool stop = false;
  bool start = false;
  bool abort = false;
  bool doorbell = false;
  uint32_t doorbell_value = 0;
  uint64_t abort_packet = 0;  // the oldest unretired packet at the time of the write
};

struct Requests {
  std::vector<QueueRequest> queue;  // one per queue
  std::vector<uint32_t> touched;    // queues with `pending`, each once
  uint32_t reset_cores = 0;         // mask
  bool reset_card = false;
};

// Registers that hold a setting. Written under the mutex.
struct Settings {
  uint64_t context_table = 0;
  uint64_t queue_table = 0;
  uint64_t event_ring = 0;
  uint32_t context_count = 0;
  uint32_t queue_count = 0;
  uint32_t event_log2 = 0;
  uint32_t event_head = 0;
  uint32_t inject_count = 1;
  uint32_t inject_skip = 0;
  uint32_t inject_queue = NPU_INJECT_ANY_QUEUE;
  uint64_t inject_arg = 0;
};

struct Counters {
  std::atomic<uint32_t> mmio_reads{0};
  std::atomic<uint32_t> mmio_writes{0};
  std::atomic<uint32_t> doorbells{0};
  std::atomic<uint32_t> interrupts{0};
  std::atomic<uint32_t> packets{0};
  std::atomic<uint32_t> jobs{0};
  std::atomic<uint32_t> faults{0};
};

struct Shared {
  explicit Shared(const npu_target& t) : target(t), queues(t.queues), cores(t.cores) {
    requests.queue.resize(t.queues);
    requests.touched.reserve(t.queues);
  }

  const npu_target target;

  std::mutex mutex;
  Requests requests;  // guarded by mutex
  Settings settings;  // guarded by mutex

  // A request waits; `urgent`: it must interrupt a command in execution.
  std::atomic<bool> attention{false};
  std::atomic<bool> urgent{false};
  std::atomic<bool> gone{false};
  std::atomic<uint32_t> control{0};
  std::atomic<uint32_t> resets{0};
  std::atomic<uint32_t> event_tail{0};
  std::atomic<uint32_t> event_lost{0};

  std::vector<QueueRegisters> queues;
  std::vector<CoreRegisters> cores;
  Counters counters;

  bool enabled() const {
    return (control.load(std::memory_order_relaxed) & NPU_CONTROL_ENABLE) != 0;
  }
  Settings settings_copy() {
    std::lock_guard lock(mutex);
    return settings;
  }
};

}  // namespace npu::model

#endif  // NPU_MODEL_SHARED_H_
