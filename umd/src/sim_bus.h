// SPDX-License-Identifier: MIT
//
// Host memory as the simulated card sees it: ranges of bus addresses with
// memory behind them, and nothing between.
#ifndef NPU_UMD_SIM_BUS_H_
#define NPU_UMD_SIM_BUS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "result.h"

namespace npu::umd {

inline constexpr uint64_t kPageBytes = 4096;
inline constexpr uint64_t kBlockBytes = 2u << 20;

constexpr uint64_t round_up(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Thread safe; read() and write() belong to the card's thread, between enter()
// and leave(), and take no lock: they look into a table that nobody changes.
// What is released meanwhile is unmapped when that thread leaves. Bus addresses
// are never reused, so that an access through a stale one fails instead of
// hitting somebody else's memory.
class SimBus {
 public:
  SimBus();
  ~SimBus();
  SimBus(const SimBus&) = delete;
  SimBus& operator=(const SimBus&) = delete;

  // Zeroed memory of `size` bytes (whole pages); `shareable` memory has a file
  // descriptor. Returns its bus address, 2 MiB aligned if it is that large.
  Result<uint64_t> allocate(uint64_t size, bool shareable);
  // The memory behind a descriptor that export_fd() of some SimBus returned.
  Result<uint64_t> import_fd(int fd, uint64_t* size);
  // A new descriptor of shareable memory.
  Result<int> export_fd(uint64_t address) const;
  void release(uint64_t address);

  // Where an allocation lies in this process.
  void* pointer(uint64_t address) const;

  // Accesses by the card. False if any byte has no memory behind it. An aligned
  // access of 8 bytes is one access.
  void enter();
  void leave();
  bool read(uint64_t address, void* data, size_t bytes) const;
  bool write(uint64_t address, const void* data, size_t bytes);
  bool write_rows(uint64_t address, uint64_t stride, const void* data, size_t data_stride,
                  size_t count, size_t bytes);

 private:
  struct Range {
    uint64_t address = 0;
    uint64_t size = 0;
    void* memory = nullptr;
    int fd = -1;
  };
  using Table = std::vector<Range>;  // by address

  uint64_t add(Range range);
  // With mutex_ held.
  void publish(std::unique_ptr<const Table> table);
  void unmap_released();
  static bool contains(const Range& range, uint64_t address, size_t bytes);
  // Nullptr if [address, +bytes) is not inside one range.
  static const Range* find(const Table& table, uint64_t address, size_t bytes);
  std::byte* locate(uint64_t address, size_t bytes) const;

  // Of the card's thread: where in the table pages were found last.
  static constexpr size_t kGuesses = 64;
  mutable uint32_t guesses_[kGuesses] = {};

  std::atomic<const Table*> current_{nullptr};        // what the card's thread looks into
  mutable std::mutex mutex_;                          // protects what follows
  std::vector<std::unique_ptr<const Table>> tables_;  // the current one is the last
  std::vector<Range> released_;
  bool card_inside_ = false;
  uint64_t next_ = 1ull << 32;
};

}  // namespace npu::umd

#endif  // NPU_UMD_SIM_BUS_H_
