// SPDX-License-Identifier: MIT
//
// The simulator's host side: bringing the card up, memory, registers. Queues
// and waits are in sim_submit.cpp.
#include "sim_backend.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "npu/registers.h"

namespace npu::umd {
namespace {

constexpr uint32_t kUserAsid = 1;
constexpr uint32_t kMaxJobs = 128;

uint64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return uint64_t(now.tv_sec) * 1000000000u + uint64_t(now.tv_nsec);
}

Error bad_handle() {
  return fail(NPU_ERROR_INVALID, "no such buffer on this device");
}

}  // namespace

npu_model_bus SimBackend::host_read(void* opaque, uint64_t address, void* data, size_t bytes) {
  return static_cast<SimBackend*>(opaque)->bus_.read(address, data, bytes) ? NPU_BUS_OK
                                                                           : NPU_BUS_DECODE_ERROR;
}

npu_model_bus SimBackend::host_write(void* opaque, uint64_t address, const void* data,
                                     size_t bytes) {
  return static_cast<SimBackend*>(opaque)->bus_.write(address, data, bytes) ? NPU_BUS_OK
                                                                            : NPU_BUS_DECODE_ERROR;
}

npu_model_bus SimBackend::host_write_rows(void* opaque, uint64_t address, uint64_t stride,
                                          const void* data, size_t data_stride, size_t count,
                                          size_t bytes) {
  return static_cast<SimBackend*>(opaque)->bus_.write_rows(address, stride, data, data_stride,
                                                           count, bytes)
             ? NPU_BUS_OK
             : NPU_BUS_DECODE_ERROR;
}

void SimBackend::wake() {
  {
    std::lock_guard lock(wake_mutex_);
    events_++;
  }
  wake_.notify_all();
}

void SimBackend::host_raise_irq(void* opaque, uint32_t) {
  static_cast<SimBackend*>(opaque)->wake();
}
void SimBackend::host_kick(void* opaque) {
  static_cast<SimBackend*>(opaque)->wake();
}
uint64_t SimBackend::host_now(void*) {
  return monotonic_ns();
}
bool SimBackend::host_cancelled(void* opaque) {
  return static_cast<SimBackend*>(opaque)->stopping_.load(std::memory_order_relaxed);
}

SimBackend::SimBackend() = default;

SimBackend::~SimBackend() {
  stopping_ = true;
  wake();
  if (thread_.joinable()) thread_.join();
  if (model_ != nullptr) npu_model_destroy(model_);
  for (const Exported& exported : exported_) close(exported.fd);
}

Status SimBackend::init(const SimOptions& options) {
  npu_model_config config = {};
  config.struct_size = sizeof config;
  config.abi = NPU_MODEL_ABI;
  config.target = options.target;
  config.mode = options.mode;
  config.serial = 1;
  npu_model_host host = {};
  host.struct_size = sizeof host;
  host.opaque = this;
  host.read = host_read;
  host.write = host_write;
  host.write_rows = host_write_rows;
  host.raise_irq = host_raise_irq;
  host.kick = host_kick;
  host.now_ns = host_now;
  host.cancelled = host_cancelled;
  const char* error = nullptr;
  model_ = npu_model_create(&config, &host, &error);
  if (model_ == nullptr) {
    return fail(NPU_ERROR_INVALID, std::string("the simulator refuses the target: ") +
                                       (error != nullptr ? error : "unknown reason"));
  }

  // As a driver probes: identity, then parameters.
  caps_.interface_version = uint32_t(npu_model_read(model_, NPU_REG_VERSION, 4));
  caps_.features = npu_model_read(model_, NPU_REG_FEATURES, 8);
  caps_.serial = npu_model_read(model_, NPU_REG_SERIAL, 8);
  for (uint32_t word = 0; word < NPU_TARGET_WORDS; word++) {
    caps_.target[word] = uint32_t(npu_model_read(model_, NPU_REG_CAPS + 4 * word, 4));
  }
  caps_.va_start = kBlockBytes;
  caps_.va_end = uint64_t{1} << (NPU_VA_BITS - 1);
  caps_.aperture_bytes = uint64_t{target().card_memory_mib} << 20;
  caps_.max_jobs = kMaxJobs;
  caps_.max_queues = target().queues - 1;
  card_free_ = RangeAllocator(0, caps_.aperture_bytes);

  if (auto status = pages_.init(); !status.ok()) return status;
  auto contexts = bus_.allocate(kPageBytes, false);
  if (!contexts.ok()) return contexts.error();
  const uint64_t queue_table_bytes = target().queues * sizeof(npu_queue_context);
  auto queue_table = bus_.allocate(round_up(queue_table_bytes, kPageBytes), false);
  if (!queue_table.ok()) return queue_table.error();
  context_table_ = static_cast<npu_context*>(bus_.pointer(*contexts));
  queue_table_ = static_cast<npu_queue_context*>(bus_.pointer(*queue_table));
  context_table_[kUserAsid].root = pages_.root_entry();

  npu_model_write(model_, NPU_REG_CONTEXT_TABLE, *contexts, 8);
  npu_model_write(model_, NPU_REG_CONTEXT_COUNT, kUserAsid + 1, 4);
  npu_model_write(model_, NPU_REG_QUEUE_TABLE, *queue_table, 8);
  npu_model_write(model_, NPU_REG_QUEUE_COUNT, target().queues, 4);
  npu_model_write(model_, NPU_REG_CONTROL, NPU_CONTROL_ENABLE, 4);

  queues_.resize(target().queues);
  thread_ = std::thread(&SimBackend::run_card, this);
  std::unique_lock lock(mutex_);
  queues_[0] = std::make_unique<SimQueue>(bus_);
  if (auto status = queues_[0]->init(0); !status.ok()) return status;
  npu_queue_context context = queues_[0]->context();
  context.priority = 3;
  context.core_mask = (1u << target().cores) - 1;
  context.vector = target().vectors > 1 ? 1 : 0;
  start_queue(0, context);
  return {};
}

Status SimBackend::telemetry(drm_npu_telemetry& out) {
  out = {};
  out.power_mw = uint32_t(npu_model_read(model_, NPU_REG_POWER_MW, 4));
  out.temperature_mc = uint32_t(npu_model_read(model_, NPU_REG_TEMPERATURE_MC, 4));
  out.clock_mhz = uint32_t(npu_model_read(model_, NPU_REG_CLOCK_MHZ, 4));
  out.throttles = uint32_t(npu_model_read(model_, NPU_REG_THROTTLES, 4));
  out.energy_nj = npu_model_read(model_, NPU_REG_ENERGY_NJ, 8);
  out.busy_ns = npu_model_read(model_, NPU_REG_BUSY_NS, 8);
  out.cycles = npu_model_read(model_, NPU_REG_CYCLES, 8);
  std::lock_guard lock(mutex_);
  out.card_memory_total = caps_.aperture_bytes;
  out.card_memory_used = caps_.aperture_bytes - card_free_.free_total();
  out.host_memory_used = host_used_;
  return {};
}

Status SimBackend::counters(drm_npu_counters& out) {
  out = {};
  out.device_mmio_reads = npu_model_read(model_, NPU_REG_COUNT_MMIO_READ, 4);
  out.device_mmio_writes = npu_model_read(model_, NPU_REG_COUNT_MMIO_WRITE, 4);
  out.device_doorbells = npu_model_read(model_, NPU_REG_COUNT_DOORBELL, 4);
  out.device_interrupts = npu_model_read(model_, NPU_REG_COUNT_INTERRUPT, 4);
  std::lock_guard lock(mutex_);
  process_completions();
  out.jobs = jobs_;
  out.faults = faults_;
  out.core_resets = core_resets_;
  out.buffers = uint32_t(buffers_.size());
  out.vms = 1;
  for (size_t i = 1; i < queues_.size(); i++) {
    if (queues_[i] == nullptr) continue;
    out.queues++;
    out.fences += uint32_t(queues_[i]->submits - queues_[i]->completed);
  }
  return {};
}

Status SimBackend::engines(drm_npu_engines& out) {
  out = {};
  for (uint32_t core = 0; core < target().cores; core++) {
    for (uint32_t e = 0; e < DRM_NPU_ENGINES; e++) {
      const auto read = [&](uint32_t field) {
        return npu_model_read(model_, NPU_REG_ENGINE(core, e, field), 8);
      };
      drm_npu_engine& engine = out.engine[core * DRM_NPU_ENGINES + e];
      engine.commands = read(NPU_ENGINE_REG_COMMANDS);
      engine.busy_cycles = read(NPU_ENGINE_REG_BUSY);
      engine.stall_cycles = read(NPU_ENGINE_REG_STALL);
      engine.wait_cycles = read(NPU_ENGINE_REG_WAIT);
      engine.bytes = read(NPU_ENGINE_REG_BYTES);
    }
  }
  return {};
}

Status SimBackend::clock(drm_npu_clock& out) {
  out.timebase_ns = npu_model_read(model_, NPU_REG_TIMEBASE, 8);
  out.monotonic_ns = monotonic_ns();
  return {};
}

Result<Allocation> SimBackend::create_buffer(uint64_t size, drm_npu_placement placement) {
  if (size == 0 || size > caps_.va_end) {
    return fail(NPU_ERROR_INVALID, "a buffer of " + std::to_string(size) + " bytes is impossible");
  }
  Buffer buffer;
  buffer.size = round_up(size, kPageBytes);
  buffer.card = placement == DRM_NPU_PLACEMENT_CARD;
  if (buffer.card) {
    std::lock_guard lock(mutex_);
    const auto offset =
        card_free_.allocate(buffer.size, buffer.size >= kBlockBytes ? kBlockBytes : kPageBytes);
    if (!offset) {
      return fail(NPU_ERROR_NO_MEMORY, "no card memory for " + std::to_string(buffer.size) +
                                           " bytes: " + std::to_string(card_free_.free_total()) +
                                           " of " + std::to_string(caps_.aperture_bytes) +
                                           " bytes are free");
    }
    buffer.address = *offset;
    buffer.card_range = true;
    if (buffer.address < card_given_out_) {
      std::memset(static_cast<std::byte*>(npu_model_card_memory(model_)) + buffer.address, 0,
                  std::min(buffer.size, card_given_out_ - buffer.address));
    }
    card_given_out_ = std::max(card_given_out_, buffer.address + buffer.size);
  } else {
    auto address = bus_.allocate(buffer.size, true);
    if (!address.ok()) return address.error();
    buffer.address = *address;
  }
  std::lock_guard lock(mutex_);
  if (!buffer.card) host_used_ += buffer.size;
  const uint32_t handle = next_buffer_++;
  buffers_.emplace(handle, buffer);
  return Allocation{handle, buffer.size};
}

void SimBackend::destroy_buffer(uint32_t handle) {
  std::unique_lock lock(mutex_);
  const auto it = buffers_.find(handle);
  if (it == buffers_.end()) return;
  const Buffer buffer = it->second;
  buffers_.erase(it);
  if (buffer.card) {
    card_free_.release(buffer.address, buffer.size);
    return;
  }
  host_used_ -= buffer.size;
  lock.unlock();
  bus_.release(buffer.address);
}

Result<void*> SimBackend::map(uint32_t handle) {
  std::lock_guard lock(mutex_);
  const auto it = buffers_.find(handle);
  if (it == buffers_.end()) return bad_handle();
  if (!it->second.card) return bus_.pointer(it->second.address);
  return static_cast<void*>(static_cast<std::byte*>(npu_model_card_memory(model_)) +
                            it->second.address);
}

Result<Allocation> SimBackend::import_buffer(int fd) {
  Buffer buffer;
  auto address = bus_.import_fd(fd, &buffer.size);
  if (!address.ok()) return address.error();
  buffer.address = *address;
  std::lock_guard lock(mutex_);
  host_used_ += buffer.size;
  const uint32_t handle = next_buffer_++;
  buffers_.emplace(handle, buffer);
  return Allocation{handle, buffer.size};
}

Result<int> SimBackend::export_buffer(uint32_t handle) {
  std::lock_guard lock(mutex_);
  const auto it = buffers_.find(handle);
  if (it == buffers_.end()) return bad_handle();
  if (it->second.card) {
    return fail(NPU_ERROR_UNSUPPORTED,
                "the simulator cannot export card memory; use a buffer in host memory");
  }
  return bus_.export_fd(it->second.address);
}

Status SimBackend::bind(uint32_t handle, uint64_t offset, uint64_t va, uint64_t size,
                        bool read_only) {
  std::unique_lock lock(mutex_);
  const auto it = buffers_.find(handle);
  if (it == buffers_.end()) return bad_handle();
  if ((offset | va | size) % kPageBytes != 0 || size == 0 || offset > it->second.size ||
      size > it->second.size - offset || va < caps_.va_start || va > caps_.va_end ||
      size > caps_.va_end - va) {
    return fail(NPU_ERROR_INVALID, "bind: range not page aligned or out of bounds");
  }
  const uint64_t flags =
      NPU_PTE_READ | (read_only ? 0 : NPU_PTE_WRITE) | (it->second.card ? NPU_PTE_CARD : 0);
  if (auto status = pages_.map(va, size, it->second.address + offset, flags); !status.ok()) {
    return status;
  }
  return invalidate_tlb(va, size, lock);
}

Status SimBackend::unbind(uint64_t va, uint64_t size) {
  std::unique_lock lock(mutex_);
  if ((va | size) % kPageBytes != 0 || size == 0 || va < caps_.va_start || va > caps_.va_end ||
      size > caps_.va_end - va) {
    return fail(NPU_ERROR_INVALID, "unbind: range not page aligned or out of bounds");
  }
  if (auto status = pages_.unmap(va, size); !status.ok()) return status;
  return invalidate_tlb(va, size, lock);
}

Result<std::unique_ptr<Backend>> open_sim(const SimOptions& options) {
  auto backend = std::make_unique<SimBackend>();
  if (auto status = backend->init(options); !status.ok()) return status.error();
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace npu::umd
