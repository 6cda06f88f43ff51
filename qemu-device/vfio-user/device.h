// SPDX-License-Identifier: MIT
//
// The card behind a vfio-user connection: the model, the thread that runs it,
// its memory, configuration space and interrupts.
//
// Calls come from one thread, the one that serves the connection; the worker
// thread is inside. A reset makes the worker return first: meanwhile the card
// moves no data and raises no interrupt.
#ifndef NPU_VFIO_USER_DEVICE_H_
#define NPU_VFIO_USER_DEVICE_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <thread>

#include "guest_memory.h"
#include "interrupts.h"
#include "npu_model.h"
#include "pci_config.h"

namespace npu::vfio_user {

struct DeviceOptions {
  npu_target target = {};
  uint32_t mode = NPU_MODEL_FULL;
  uint64_t serial = 1;
  uint64_t aperture_bytes = 0;  // a power of two; 0: all of card memory
  // Time of the machine, ns; null: the monotonic clock. Whoever gives another
  // calls kick() when it has moved.
  std::function<uint64_t()> clock;
  std::function<void(const std::string&)> log;
};

class Device {
 public:
  // Throws std::runtime_error with the reason, e.g. a bad parameter.
  explicit Device(DeviceOptions options);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  GuestMemory& memory() { return memory_; }
  Interrupts& interrupts() { return interrupts_; }

  uint64_t region_bytes(uint32_t region) const;
  // The aperture, for mmap; sealed against changes of its size.
  int aperture_fd() const { return card_memory_.get(); }
  // The range lies in the region. False: no such width.
  bool read(uint32_t region, uint64_t offset, std::span<std::byte> data);
  bool write(uint32_t region, uint64_t offset, std::span<const std::byte> data);

  // As if the machine had been switched on.
  void power_on_reset() { reset(NPU_MODEL_RESET_POWER); }
  // The client has gone: nothing of it stays.
  void forget_client();

  void kick();
  // Returns once the card has nothing more to do by itself.
  void wait_idle();

 private:
  void reset(npu_model_reset_kind kind);
  void config_changed();
  bool cut_off() const { return aborting_ || gone_ || !bus_master_; }
  bool paused() const { return aborting_ || asleep_; }
  bool answers(uint32_t region) const;
  npu_model_bus checked(npu_model_bus result);
  void log(const std::string& line) const;
  uint64_t now_ns() const;
  void work();

  DeviceOptions options_;
  const uint64_t memory_bytes_;
  const uint64_t aperture_bytes_;
  GuestMemory memory_;
  Interrupts interrupts_;
  PciConfig config_;
  uint8_t msix_table_[kMsixPending] = {};  // the client's; kept, not looked at
  UniqueFd card_memory_;
  uint8_t* card_ = nullptr;
  npu_model* model_ = nullptr;

  // Seen by the model's host functions, in the worker.
  std::atomic<bool> bus_master_{false};
  std::atomic<bool> aborting_{false};  // in reset
  std::atomic<bool> asleep_{false};    // in D3hot: keeps everything, does nothing
  std::atomic<bool> gone_{false};      // has left the bus

  std::mutex mutex_;  // of what follows
  std::condition_variable wake_, idle_;
  bool kicked_ = false;
  bool working_ = false;
  bool quit_ = false;
  std::thread worker_;
};

}  // namespace npu::vfio_user

#endif  // NPU_VFIO_USER_DEVICE_H_
