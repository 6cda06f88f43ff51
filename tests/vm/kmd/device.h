// SPDX-License-Identifier: MIT
//
// The device node through its raw ioctls, for tests of the driver itself.
// Calls return 0 or -errno, so that a test can expect either.
#ifndef NPU_TESTS_VM_KMD_DEVICE_H_
#define NPU_TESTS_VM_KMD_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "drm/npu_accel.h"
#include "npu/registers.h"
#include "npu/status.h"
#include "npu/target.h"

namespace kmd {

inline constexpr uint64_t kPage = 4096;

template <typename T>
drm_npu_array array_of(std::span<const T> items) {
  return {.stride = sizeof(T),
          .count = static_cast<uint32_t>(items.size()),
          .array = reinterpret_cast<uint64_t>(items.data())};
}

// The first path that matches, or empty.
std::string first_match(const char* pattern);

class Device {
 public:
  // Opens a card's node, the first one's by default; the test fails if that is not possible.
  explicit Device(const std::string& path = first_match("/dev/accel/accel*"));
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  int fd() const { return fd_; }
  int ioctl(unsigned long request, void* argument) const;

  drm_npu_caps caps() const;
  npu_target target() const;
  drm_npu_counters counters() const;
  drm_npu_telemetry telemetry() const;
  drm_npu_fault last_fault() const;

  int create_vm(uint32_t& id) const;
  int create_queue(uint32_t vm, uint32_t& id, uint64_t cycle_limit = 0) const;
  int create_queue(drm_npu_queue_create& args) const;
  int destroy_vm(uint32_t id) const;
  int destroy_queue(uint32_t id) const;
  drm_npu_queue_state queue_state(uint32_t id) const;

  int bind(uint32_t vm, std::span<const drm_npu_bind_op> ops, uint32_t flags = 0,
           std::span<const drm_npu_sync> waits = {},
           std::span<const drm_npu_sync> signals = {}) const;
  int map(uint32_t vm, uint32_t handle, uint64_t va, uint64_t size, uint64_t offset = 0,
          uint32_t flags = 0) const;
  int unmap(uint32_t vm, uint64_t va, uint64_t size) const;

  int submit(uint32_t queue, std::span<const drm_npu_job> jobs,
             std::span<const drm_npu_sync> waits = {},
             std::span<const drm_npu_sync> signals = {}) const;

  uint32_t create_syncobj(bool signalled = false) const;
  void destroy_syncobj(uint32_t handle) const;
  int reset_syncobj(uint32_t handle) const;
  int signal_syncobj(uint32_t handle) const;
  int signal_point(uint32_t handle, uint64_t point) const;
  // Waits for the fence to appear and to signal. -ETIME when it takes too long.
  int wait_syncobj(uint32_t handle, double seconds = 30) const;
  int wait_point(uint32_t handle, uint64_t point, double seconds = 30) const;
  // The syncobj's fence as a sync file, which lives on when the device is gone; or -errno.
  int export_fence(uint32_t handle) const;
  // A sync file's fence in a new syncobj: its handle.
  uint32_t import_fence(int sync_file) const;
  // 1: signalled, 0: not yet, negative: the fence's error.
  int fence_status(uint32_t handle) const;

  // A buffer as a dma-buf, and a dma-buf as a buffer; or -errno.
  int export_buffer(uint32_t handle) const;
  int import_buffer(int fd, uint32_t& handle) const;
  void close_buffer(uint32_t handle) const;

  // Submits, waits, and returns the fence's error: 0 or -errno.
  int run(uint32_t queue, std::span<const drm_npu_job> jobs) const;

 private:
  int fd_ = -1;
};

// A buffer with its mapping into this process.
class Buffer {
 public:
  Buffer(const Device& device, uint64_t size, uint32_t placement);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  uint32_t handle() const { return handle_; }
  uint64_t size() const { return size_; }
  std::span<uint8_t> bytes() const { return {data_, size_}; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  const Device& device_;
  uint32_t handle_ = 0;
  uint64_t size_ = 0;
  uint8_t* data_ = nullptr;
};

// Waits for a sync file; 1, or the fence's error, or 0 if it took too long.
int sync_file_status(int fd, double seconds);

// The card's node, empty if there is none. Its number is not always 0: a file
// that is still open on a card that is gone keeps the number.
std::string node();

// Writes a fault into debugfs' inject; false if that is not possible.
bool inject(const std::string& text);

// Reads a small file, empty if it is not there.
std::string read_file(const std::string& path);
bool write_file(const std::string& path, const std::string& text);

// The driver's view of each queue, cores and counts: debugfs' state.
std::string driver_state();

// A hardware queue that a user has, as the card shows it. The kernel's own is not among them.
struct HardwareQueue {
  uint32_t id;
  uint32_t state;  // npu_queue_state
  uint64_t preemptions;
};
std::vector<HardwareQueue> hardware_queues();

// Polls until `count` of them are in this state; false after 30 s.
bool wait_for_queues(npu_queue_state state, unsigned count = 1);

// Polls until all counts of living objects are what is given; false after 5 s.
// Objects of closed files disappear a little later than the file.
bool wait_for_counts(const Device& device, uint32_t buffers, uint32_t vms, uint32_t queues);

}  // namespace kmd

#endif  // NPU_TESTS_VM_KMD_DEVICE_H_
