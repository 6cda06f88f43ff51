// SPDX-License-Identifier: MIT
#include "sim_bus.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

namespace npu::umd {
namespace {

Error no_memory(uint64_t size, int error) {
  return fail(NPU_ERROR_NO_MEMORY,
              "no host memory for " + std::to_string(size) + " bytes: " + std::strerror(error) +
                  "; free buffers or raise the limits",
              error);
}

}  // namespace

SimBus::SimBus() {
  publish(std::make_unique<Table>());
}

SimBus::~SimBus() {
  released_.insert(released_.end(), tables_.back()->begin(), tables_.back()->end());
  unmap_released();
}

void SimBus::publish(std::unique_ptr<const Table> table) {
  current_.store(table.get(), std::memory_order_release);
  tables_.push_back(std::move(table));
  if (!card_inside_) unmap_released();
}

// And drops the tables that they were in.
void SimBus::unmap_released() {
  for (const Range& range : released_) {
    munmap(range.memory, range.size);
    if (range.fd >= 0) close(range.fd);
  }
  released_.clear();
  tables_.erase(tables_.begin(), tables_.end() - 1);
}

void SimBus::enter() {
  std::lock_guard lock(mutex_);
  card_inside_ = true;
}

void SimBus::leave() {
  std::lock_guard lock(mutex_);
  card_inside_ = false;
  unmap_released();
}

uint64_t SimBus::add(Range range) {
  std::lock_guard lock(mutex_);
  const uint64_t alignment = range.size >= kBlockBytes ? kBlockBytes : kPageBytes;
  range.address = round_up(next_, alignment);
  next_ = range.address + range.size + kPageBytes;
  auto table = std::make_unique<Table>(*tables_.back());
  table->push_back(range);
  publish(std::move(table));
  return range.address;
}

Result<uint64_t> SimBus::allocate(uint64_t size, bool shareable) {
  Range range{0, size, nullptr, -1};
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  if (shareable) {
    range.fd = memfd_create("npu-buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (range.fd < 0) return no_memory(size, errno);
    // Sealed, or an importer could be made to fault by shrinking it.
    if (ftruncate(range.fd, static_cast<off_t>(size)) != 0 ||
        fcntl(range.fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
      const int error = errno;
      close(range.fd);
      return no_memory(size, error);
    }
    flags = MAP_SHARED;
  }
  range.memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, range.fd, 0);
  if (range.memory == MAP_FAILED) {
    const int error = errno;
    if (range.fd >= 0) close(range.fd);
    return no_memory(size, error);
  }
  return add(range);
}

Result<uint64_t> SimBus::import_fd(int fd, uint64_t* size) {
  struct stat status;
  const int seals = fcntl(fd, F_GET_SEALS);
  if (fstat(fd, &status) != 0 || seals < 0 || !(seals & F_SEAL_SHRINK) || status.st_size <= 0 ||
      status.st_size % kPageBytes != 0) {
    return fail(NPU_ERROR_INVALID,
                "the descriptor is not an exported buffer of a simulated device; only those can be "
                "imported by the simulator",
                errno);
  }
  Range range{0, static_cast<uint64_t>(status.st_size), nullptr, fcntl(fd, F_DUPFD_CLOEXEC, 0)};
  if (range.fd < 0) return no_memory(range.size, errno);
  range.memory = mmap(nullptr, range.size, PROT_READ | PROT_WRITE, MAP_SHARED, range.fd, 0);
  if (range.memory == MAP_FAILED) {
    const int error = errno;
    close(range.fd);
    return no_memory(range.size, error);
  }
  *size = range.size;
  return add(range);
}

Result<int> SimBus::export_fd(uint64_t address) const {
  std::lock_guard lock(mutex_);
  const Range* range = find(*tables_.back(), address, 1);
  if (range == nullptr || range->address != address || range->fd < 0) {
    return fail(NPU_ERROR_UNSUPPORTED, "this memory cannot be exported");
  }
  const int fd = fcntl(range->fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) {
    return fail(NPU_ERROR_NO_MEMORY,
                std::string("cannot duplicate the descriptor: ") + std::strerror(errno), errno);
  }
  return fd;
}

void SimBus::release(uint64_t address) {
  std::lock_guard lock(mutex_);
  const Range* range = find(*tables_.back(), address, 1);
  if (range == nullptr || range->address != address) return;
  released_.push_back(*range);
  auto table = std::make_unique<Table>(*tables_.back());
  std::erase_if(*table, [&](const Range& r) { return r.address == address; });
  publish(std::move(table));
}

void* SimBus::pointer(uint64_t address) const {
  std::lock_guard lock(mutex_);
  const Range* range = find(*tables_.back(), address, 1);
  if (range == nullptr) return nullptr;
  return static_cast<std::byte*>(range->memory) + (address - range->address);
}

bool SimBus::contains(const Range& range, uint64_t address, size_t bytes) {
  const uint64_t offset = address - range.address;  // huge if before
  return offset < range.size && bytes <= range.size - offset;
}

const SimBus::Range* SimBus::find(const Table& table, uint64_t address, size_t bytes) {
  const auto behind =
      std::upper_bound(table.begin(), table.end(), address,
                       [](uint64_t at, const Range& range) { return at < range.address; });
  if (behind == table.begin() || !contains(*std::prev(behind), address, bytes)) return nullptr;
  return &*std::prev(behind);
}

std::byte* SimBus::locate(uint64_t address, size_t bytes) const {
  const Table& table = *current_.load(std::memory_order_acquire);
  uint32_t& guess = guesses_[address / kPageBytes % kGuesses];
  if (guess >= table.size() || !contains(table[guess], address, bytes)) {
    const Range* range = find(table, address, bytes);
    if (range == nullptr) return nullptr;
    guess = static_cast<uint32_t>(range - table.data());
  }
  return static_cast<std::byte*>(table[guess].memory) + (address - table[guess].address);
}

// Aligned 8-byte accesses are atomic: page-table entries and completions are
// read and written by both sides while the card runs.
bool SimBus::read(uint64_t address, void* data, size_t bytes) const {
  const std::byte* from = locate(address, bytes);
  if (from == nullptr) return false;
  if (bytes == 8 && address % 8 == 0) {
    const uint64_t value =
        __atomic_load_n(reinterpret_cast<const uint64_t*>(from), __ATOMIC_ACQUIRE);
    std::memcpy(data, &value, 8);
  } else {
    std::memcpy(data, from, bytes);
  }
  return true;
}

bool SimBus::write(uint64_t address, const void* data, size_t bytes) {
  std::byte* to = locate(address, bytes);
  if (to == nullptr) return false;
  if (bytes == 8 && address % 8 == 0) {
    uint64_t value;
    std::memcpy(&value, data, 8);
    __atomic_store_n(reinterpret_cast<uint64_t*>(to), value, __ATOMIC_RELEASE);
  } else {
    std::memcpy(to, data, bytes);
  }
  return true;
}

bool SimBus::write_rows(uint64_t address, uint64_t stride, const void* data, size_t data_stride,
                        size_t count, size_t bytes) {
  std::byte* to = locate(address, (count - 1) * stride + bytes);
  if (to == nullptr) return false;
  const auto* from = static_cast<const std::byte*>(data);
  for (size_t i = 0; i < count; i++) std::memcpy(to + i * stride, from + i * data_stride, bytes);
  return true;
}

}  // namespace npu::umd
