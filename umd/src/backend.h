// SPDX-License-Identifier: MIT
//
// What a device must do for the library. Two implementations: DrmBackend (the
// kernel driver) and SimBackend (the card model in this process). Both speak
// the structs of the kernel's interface, so that one of them can be tested in
// the other's place; one conformance test runs on both.
//
// One backend is one open device with one address space. All calls may come
// from any thread.
#ifndef NPU_UMD_BACKEND_H_
#define NPU_UMD_BACKEND_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "drm/npu_accel.h"
#include "libnpu/npu.h"
#include "npu/target.h"
#include "result.h"

namespace npu::umd {

struct Allocation {
  uint32_t handle = 0;  // never 0
  uint64_t size = 0;    // whole pages
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual const drm_npu_caps& caps() const = 0;
  // "1.0.0"
  virtual std::string driver_version() const = 0;
  const npu_target& target() const { return *reinterpret_cast<const npu_target*>(caps().target); }

  virtual Status telemetry(drm_npu_telemetry& out) = 0;
  virtual Status counters(drm_npu_counters& out) = 0;
  virtual Status engines(drm_npu_engines& out) = 0;
  virtual Status clock(drm_npu_clock& out) = 0;

  // Buffers: zeroed, whole pages. A destroyed buffer must be unbound first and
  // idle. map() is idempotent; the mapping ends with the buffer.
  virtual Result<Allocation> create_buffer(uint64_t size, drm_npu_placement placement) = 0;
  virtual void destroy_buffer(uint32_t handle) = 0;
  virtual Result<void*> map(uint32_t handle) = 0;
  virtual Result<Allocation> import_buffer(int fd) = 0;
  virtual Result<int> export_buffer(uint32_t handle) = 0;

  // The address space. Page aligned; both have taken effect on return.
  virtual Status bind(uint32_t handle, uint64_t offset, uint64_t va, uint64_t size,
                      bool read_only) = 0;
  virtual Status unbind(uint64_t va, uint64_t size) = 0;

  // Queues. Ids are never reused. Destroying one aborts its jobs; its points then
  // count as signalled, and so do those of ids that never were.
  struct QueueOptions {
    drm_npu_priority priority = DRM_NPU_PRIORITY_NORMAL;
    uint64_t cycle_limit = 0;
    uint32_t core_mask = 0;
    uint64_t quantum = 0;
    uint32_t coalesce_count = 0;
    uint32_t coalesce_us = 0;
  };
  virtual Result<uint32_t> create_queue(const QueueOptions& options) = 0;
  virtual void destroy_queue(uint32_t queue) = 0;
  virtual Status queue_state(uint32_t queue, drm_npu_queue_state& out) = 0;

  // A point on a queue's timeline: n is signalled when the queue's first n
  // submits have ended, whatever their status.
  struct Point {
    uint32_t queue;
    uint64_t value;
  };
  // Runs `jobs` as one submit once `waits` have signalled; its point is the
  // queue's number of submits, this one included. Points to come cannot be
  // waited for. Calls for one queue must not overlap.
  virtual Status submit(uint32_t queue, std::span<const drm_npu_job> jobs,
                        std::span<const Point> waits) = 0;
  // Latest signalled point of a queue.
  virtual Result<uint64_t> completed(uint32_t queue) = 0;
  // Until all points, or with `any` one, have signalled or CLOCK_MONOTONIC
  // reaches deadline_ns (error TIMEOUT). Returns the index of one signalled point.
  virtual Result<uint32_t> wait(std::span<const Point> points, bool any, uint64_t deadline_ns) = 0;
  // A descriptor that polls readable when the point has signalled.
  virtual Result<int> export_point(Point point) = 0;

 protected:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
};

struct SimOptions {
  npu_target target;
  uint32_t mode = 0;  // enum npu_model_mode
};

Result<std::unique_ptr<Backend>> open_drm(const char* node);
Result<std::unique_ptr<Backend>> open_sim(const SimOptions& options);

}  // namespace npu::umd

#endif  // NPU_UMD_BACKEND_H_
