// SPDX-License-Identifier: MIT
#include "device.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "npu/registers.h"

namespace npu::vfio_user {
namespace {

static_assert(NPU_BAR_REGISTERS == VFIO_PCI_BAR0_REGION_INDEX &&
              NPU_BAR_APERTURE == VFIO_PCI_BAR2_REGION_INDEX &&
              NPU_BAR_MSIX == VFIO_PCI_BAR4_REGION_INDEX);

uint64_t checked_aperture(const DeviceOptions& options) {
  const npu_target& target = options.target;
  if (target.vectors < 1 || target.vectors > 64)
    throw std::runtime_error("vectors must be 1 to 64");
  if (target.card_memory_mib < 1 || target.card_memory_mib > 65536)
    throw std::runtime_error("card memory must be 1 to 65536 MiB");
  const uint64_t whole = std::bit_ceil(uint64_t{target.card_memory_mib} << 20);
  if (options.aperture_bytes == 0) return whole;
  if (!std::has_single_bit(options.aperture_bytes) || options.aperture_bytes > whole ||
      options.aperture_bytes < 1 << 20)
    throw std::runtime_error("the aperture must be a power of two from 1 MiB to card memory");
  return options.aperture_bytes;
}

// Card memory as a file whose size nobody can change: the client maps it too.
UniqueFd create_card_memory(uint64_t bytes) {
  UniqueFd file(memfd_create("npu-card-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file || ftruncate(file.get(), static_cast<off_t>(bytes)) != 0 ||
      fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    throw std::runtime_error(std::string("card memory: ") + std::strerror(errno));
  return file;
}

uint64_t monotonic_ns() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

}  // namespace

Device::Device(DeviceOptions options)
    : options_(std::move(options)),
      memory_bytes_(uint64_t{options_.target.card_memory_mib} << 20),
      aperture_bytes_(checked_aperture(options_)),
      interrupts_(options_.target.vectors),
      config_(options_.target.vectors, aperture_bytes_),
      card_memory_(create_card_memory(std::max(memory_bytes_, aperture_bytes_))) {
  void* card = mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                    card_memory_.get(), 0);
  if (card == MAP_FAILED)
    throw std::runtime_error(std::string("card memory: ") + std::strerror(errno));
  card_ = static_cast<uint8_t*>(card);

  npu_model_host host = {};
  host.struct_size = sizeof(host);
  host.opaque = this;
  host.read = [](void* self, uint64_t address, void* data, size_t bytes) {
    auto* d = static_cast<Device*>(self);
    return d->cut_off() ? NPU_BUS_ABORTED : d->checked(d->memory_.read(address, data, bytes));
  };
  host.write = [](void* self, uint64_t address, const void* data, size_t bytes) {
    auto* d = static_cast<Device*>(self);
    return d->cut_off() ? NPU_BUS_ABORTED : d->checked(d->memory_.write(address, data, bytes));
  };
  // A message is a write of the bus master.
  host.raise_irq = [](void* self, uint32_t vector) {
    auto* d = static_cast<Device*>(self);
    if (!d->cut_off()) d->interrupts_.raise(vector);
  };
  host.kick = [](void* self) { static_cast<Device*>(self)->kick(); };
  host.now_ns = [](void* self) { return static_cast<Device*>(self)->now_ns(); };
  host.cancelled = [](void* self) { return static_cast<Device*>(self)->paused(); };
  host.log = [](void* self, const char* line) {
    auto* d = static_cast<Device*>(self);
    d->log(line);
  };
  host.function_event = [](void* self, npu_model_function_event event, uint64_t argument) {
    if (event != NPU_MODEL_FUNCTION_GONE) return false;
    static_cast<Device*>(self)->gone_ = argument != 0;
    return true;
  };
  npu_model_config config = {};
  config.struct_size = sizeof(config);
  config.abi = NPU_MODEL_ABI;
  config.target = options_.target;
  config.card_memory = card_;
  config.mode = options_.mode;
  config.serial = options_.serial;
  const char* error = nullptr;
  model_ = npu_model_create(&config, &host, &error);
  if (model_ == nullptr) {
    munmap(card_, memory_bytes_);
    throw std::runtime_error(error != nullptr ? error : "the card could not be created");
  }
  worker_ = std::thread([this] { work(); });
}

Device::~Device() {
  aborting_ = true;
  {
    std::lock_guard lock(mutex_);
    quit_ = true;
  }
  wake_.notify_all();
  worker_.join();
  npu_model_destroy(model_);
  munmap(card_, memory_bytes_);
}

void Device::log(const std::string& line) const {
  if (options_.log) options_.log(line);
}

npu_model_bus Device::checked(npu_model_bus result) {
  if (result == NPU_BUS_DECODE_ERROR && memory_.take_unshared())
    log("the card was pointed to memory that the client does not share as a file "
        "(QEMU: -object memory-backend-memfd,share=on)");
  return result;
}

uint64_t Device::now_ns() const {
  return options_.clock ? options_.clock() : monotonic_ns();
}

void Device::kick() {
  {
    std::lock_guard lock(mutex_);
    kicked_ = true;
  }
  wake_.notify_all();
}

void Device::work() {
  std::unique_lock lock(mutex_);
  uint64_t deadline = 0;  // of the card, 0: none
  while (!quit_) {
    const bool due = deadline != 0 && now_ns() >= deadline;
    if (paused() || !(kicked_ || due)) {
      working_ = false;
      idle_.notify_all();
      const uint64_t now = now_ns();
      if (deadline > now && !options_.clock && !paused())
        wake_.wait_for(lock, std::chrono::nanoseconds(deadline - now));
      else
        wake_.wait(lock);
      continue;
    }
    kicked_ = false;
    working_ = true;
    lock.unlock();
    const bool more = npu_model_run(model_, 0) == NPU_MODEL_MORE;
    deadline = more ? 0 : npu_model_deadline(model_);
    lock.lock();
    kicked_ |= more;
  }
}

void Device::wait_idle() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return !working_ && (!kicked_ || paused()); });
}

void Device::reset(npu_model_reset_kind kind) {
  aborting_ = true;
  wait_idle();
  npu_model_reset(model_, kind);
  config_.reset();
  std::fill(std::begin(msix_table_), std::end(msix_table_), uint8_t{0});
  config_changed();
  aborting_ = false;
  kick();
}

void Device::forget_client() {
  reset(NPU_MODEL_RESET_POWER);
  interrupts_.reset();
  memory_.unmap_all();
}

void Device::config_changed() {
  const bool before = bus_master_.exchange(config_.bus_master());
  const bool slept = asleep_.exchange(config_.asleep());
  // What is pending waits for D0.
  interrupts_.set_control(config_.msix_enabled(), config_.msix_masked() || asleep_);
  if (asleep_ && !slept) wait_idle();
  if ((!before && bus_master_) || (slept && !asleep_)) kick();
}

uint64_t Device::region_bytes(uint32_t region) const {
  switch (region) {
    case VFIO_PCI_BAR0_REGION_INDEX:
      return NPU_BAR_REGISTERS_SIZE;
    case VFIO_PCI_BAR2_REGION_INDEX:
      return aperture_bytes_;
    case VFIO_PCI_BAR4_REGION_INDEX:
      return kMsixBarBytes;
    case VFIO_PCI_CONFIG_REGION_INDEX:
      return kConfigBytes;
    default:
      return 0;
  }
}

bool Device::answers(uint32_t region) const {
  return !gone_ && (!asleep_ || region == VFIO_PCI_CONFIG_REGION_INDEX);
}

bool Device::read(uint32_t region, uint64_t offset, std::span<std::byte> data) {
  if (!answers(region)) {
    std::fill(data.begin(), data.end(), std::byte{0xff});
    return true;
  }
  if (region == VFIO_PCI_BAR0_REGION_INDEX) {
    if (data.size() > 8 || !std::has_single_bit(data.size())) return false;
    const uint64_t value = npu_model_read(model_, offset, static_cast<unsigned>(data.size()));
    std::memcpy(data.data(), &value, data.size());
    return true;
  }
  std::fill(data.begin(), data.end(), std::byte{0});
  if (region == VFIO_PCI_CONFIG_REGION_INDEX) {
    config_.read(static_cast<uint32_t>(offset), data);
  } else if (region == VFIO_PCI_BAR2_REGION_INDEX) {
    if (offset < memory_bytes_)
      std::memcpy(data.data(), card_ + offset,
                  std::min<uint64_t>(data.size(), memory_bytes_ - offset));
  } else if (region == VFIO_PCI_BAR4_REGION_INDEX) {
    uint8_t bar[kMsixBarBytes] = {};
    std::memcpy(bar, msix_table_, sizeof(msix_table_));
    const uint64_t pending = interrupts_.pending();
    std::memcpy(bar + kMsixPending, &pending, sizeof(pending));
    std::memcpy(data.data(), bar + offset, data.size());
  }
  return true;
}

bool Device::write(uint32_t region, uint64_t offset, std::span<const std::byte> data) {
  if (!answers(region)) return true;
  if (region == VFIO_PCI_BAR0_REGION_INDEX) {
    if (data.size() > 8 || !std::has_single_bit(data.size())) return false;
    uint64_t value = 0;
    std::memcpy(&value, data.data(), data.size());
    npu_model_write(model_, offset, value, static_cast<unsigned>(data.size()));
    return true;
  }
  if (region == VFIO_PCI_CONFIG_REGION_INDEX) {
    if (config_.write(static_cast<uint32_t>(offset), data))
      reset(NPU_MODEL_RESET_FLR);
    else
      config_changed();
  } else if (region == VFIO_PCI_BAR2_REGION_INDEX) {
    if (offset < memory_bytes_)
      std::memcpy(card_ + offset, data.data(),
                  std::min<uint64_t>(data.size(), memory_bytes_ - offset));
  } else if (region == VFIO_PCI_BAR4_REGION_INDEX && offset < sizeof(msix_table_)) {
    std::memcpy(msix_table_ + offset, data.data(),
                std::min<uint64_t>(data.size(), sizeof(msix_table_) - offset));
  }
  return true;
}

}  // namespace npu::vfio_user
