// SPDX-License-Identifier: MIT
//
// The C interface: checks what callers hand in, and turns errors into codes.
#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <new>

#include "device.h"
#include "libnpu/npu.h"
#include "network.h"
#include "queue.h"
#include "selector.h"
#include "structs.h"

using namespace npu::umd;

struct npu_device {
  std::shared_ptr<Device> device;
  unsigned fork_generation;
};
struct npu_buffer {
  std::unique_ptr<Memory> memory;
  unsigned fork_generation;
};
struct npu_network {
  std::shared_ptr<Network> network;
  unsigned fork_generation;
};
struct npu_queue {
  std::shared_ptr<Queue> queue;
  unsigned fork_generation;
};

namespace {

std::atomic<unsigned> fork_generation{0};

void watch_forks() {
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, [] { fork_generation++; }); });
}

npu_result invalid(const char* call, const char* text) {
  return set_last_error(fail(NPU_ERROR_INVALID, std::string(call) + ": " + text));
}

// Runs `body`, which returns npu_result; nothing that is thrown gets out.
template <typename F>
npu_result guarded(const char* call, F&& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return set_last_error(fail(NPU_ERROR_NO_MEMORY, std::string(call) + ": no host memory"));
  } catch (const std::exception& error) {
    return set_last_error(fail(NPU_ERROR_INTERNAL, std::string(call) + ": " + error.what()));
  }
}

// For objects: not NULL, not of the parent process.
template <typename T>
bool usable(const T* object) {
  return object != nullptr && object->fork_generation == fork_generation;
}

constexpr char kBadObject[] = "an object is NULL or belongs to the parent process of a fork";
constexpr char kBadStruct[] =
    "struct_size is wrong, or bytes that this library does not know are not zero";
constexpr char kNullPointer[] = "a pointer is NULL";

// An output struct that the caller says has at least `minimum` bytes.
template <typename T>
bool writable(const T* out, size_t minimum) {
  return out != nullptr && out->struct_size >= minimum && out->struct_size <= 65536;
}

template <typename T>
void end(T* object) {
  if (object == nullptr) return;
  if (object->fork_generation != fork_generation) return;  // the parent's; leave it alone
  delete object;
}

}  // namespace

uint32_t npu_abi_version(void) {
  return NPU_ABI_VERSION;
}

npu_result npu_enumerate(npu_device_info* infos, uint32_t stride, uint32_t* count) {
  return guarded("npu_enumerate", [&]() -> npu_result {
    if (count == nullptr) return invalid("npu_enumerate", kNullPointer);
    if (infos != nullptr && (stride < offsetof(npu_device_info, name) || stride > 65536)) {
      return invalid("npu_enumerate", "stride must be sizeof(npu_device_info)");
    }
    watch_forks();
    auto devices = list_devices();
    if (infos != nullptr) {
      const size_t room = std::min<size_t>(*count, devices.size());
      for (size_t i = 0; i < room; i++) {
        auto* to = reinterpret_cast<npu_device_info*>(reinterpret_cast<char*>(infos) + i * stride);
        store_struct(devices[i], to, stride);
      }
    }
    *count = static_cast<uint32_t>(devices.size());
    return NPU_OK;
  });
}

npu_result npu_device_open(const char* selector, const npu_open_desc* desc, npu_device** device) {
  return guarded("npu_device_open", [&]() -> npu_result {
    if (device == nullptr) return invalid("npu_device_open", kNullPointer);
    *device = nullptr;
    npu_open_desc options = {};
    if (desc != nullptr && !load_struct(desc, sizeof(npu_open_desc), options)) {
      return invalid("npu_device_open", kBadStruct);
    }
    constexpr uint32_t modes = NPU_OPEN_FUNCTION_ONLY | NPU_OPEN_TIMING_ONLY;
    if ((options.flags & ~modes) != 0 || (options.flags & modes) == modes) {
      return invalid("npu_device_open", "unknown flags, or both modes at once");
    }
    watch_forks();
    auto opened = open_device(selector, options);
    if (!opened.ok()) return set_last_error(opened.error());
    *device = new npu_device{std::move(*opened), fork_generation};
    return NPU_OK;
  });
}

void npu_device_close(npu_device* device) {
  end(device);
}

npu_result npu_device_query(npu_device* device, npu_query what, void* out) {
  return guarded("npu_device_query", [&]() -> npu_result {
    if (!usable(device)) return invalid("npu_device_query", kBadObject);
    if (out == nullptr) return invalid("npu_device_query", kNullPointer);
    Backend& backend = device->device->backend();
    switch (what) {
      case NPU_QUERY_INFO: {
        auto* to = static_cast<npu_device_info*>(out);
        if (!writable(to, offsetof(npu_device_info, name))) break;
        npu_device_info info = device->device->info();
        store_struct(info, to);
        return NPU_OK;
      }
      case NPU_QUERY_TELEMETRY: {
        auto* to = static_cast<npu_telemetry*>(out);
        if (!writable(to, sizeof(npu_telemetry))) break;
        drm_npu_telemetry t;
        if (auto status = backend.telemetry(t); !status.ok()) return set_last_error(status);
        npu_telemetry result = {};
        result.power_mw = t.power_mw;
        result.temperature_mc = t.temperature_mc;
        result.clock_mhz = t.clock_mhz;
        result.throttles = t.throttles;
        result.energy_nj = t.energy_nj;
        result.busy_ns = t.busy_ns;
        result.cycles = t.cycles;
        result.card_memory_used = t.card_memory_used;
        result.card_memory_total = t.card_memory_total;
        result.host_memory_used = t.host_memory_used;
        store_struct(result, to);
        return NPU_OK;
      }
      case NPU_QUERY_COUNTERS: {
        auto* to = static_cast<npu_counters*>(out);
        if (!writable(to, sizeof(npu_counters))) break;
        drm_npu_counters c;
        if (auto status = backend.counters(c); !status.ok()) return set_last_error(status);
        npu_counters result = {};
        result.jobs = c.jobs;
        result.faults = c.faults;
        result.core_resets = c.core_resets;
        result.card_resets = c.card_resets;
        result.device_mmio_reads = c.device_mmio_reads;
        result.device_mmio_writes = c.device_mmio_writes;
        result.device_doorbells = c.device_doorbells;
        result.device_interrupts = c.device_interrupts;
        result.buffers = c.buffers;
        result.address_spaces = c.vms;
        result.queues = c.queues;
        result.fences = c.fences;
        store_struct(result, to);
        return NPU_OK;
      }
      case NPU_QUERY_ENGINES: {
        auto* to = static_cast<npu_engines*>(out);
        if (!writable(to, sizeof(npu_engines))) break;
        drm_npu_engines e;
        if (auto status = backend.engines(e); !status.ok()) return set_last_error(status);
        npu_engines result = {};
        result.cores = device->device->target().cores;
        for (unsigned i = 0; i < DRM_NPU_MAX_CORES * DRM_NPU_ENGINES; i++) {
          npu_engine_counters& to_engine = result.engine[i / DRM_NPU_ENGINES][i % DRM_NPU_ENGINES];
          to_engine.commands = e.engine[i].commands;
          to_engine.busy_cycles = e.engine[i].busy_cycles;
          to_engine.stall_cycles = e.engine[i].stall_cycles;
          to_engine.wait_cycles = e.engine[i].wait_cycles;
          to_engine.bytes = e.engine[i].bytes;
        }
        store_struct(result, to);
        return NPU_OK;
      }
      case NPU_QUERY_CLOCK: {
        auto* to = static_cast<npu_clock*>(out);
        if (!writable(to, sizeof(npu_clock))) break;
        drm_npu_clock c;
        if (auto status = backend.clock(c); !status.ok()) return set_last_error(status);
        npu_clock result = {};
        result.timebase_ns = c.timebase_ns;
        result.monotonic_ns = c.monotonic_ns;
        store_struct(result, to);
        return NPU_OK;
      }
      default:
        return invalid("npu_device_query", "unknown query");
    }
    return invalid("npu_device_query", kBadStruct);
  });
}

npu_result npu_buffer_create(npu_device* device, const npu_buffer_desc* desc, npu_buffer** buffer) {
  return guarded("npu_buffer_create", [&]() -> npu_result {
    if (buffer == nullptr) return invalid("npu_buffer_create", kNullPointer);
    *buffer = nullptr;
    if (!usable(device)) return invalid("npu_buffer_create", kBadObject);
    npu_buffer_desc d;
    if (!load_struct(desc, sizeof(npu_buffer_desc), d)) {
      return invalid("npu_buffer_create", kBadStruct);
    }
    if (d.flags != 0 || d.source > NPU_BUFFER_IMPORT ||
        (d.source != NPU_BUFFER_IMPORT && (d.size == 0 || d.fd != 0))) {
      return invalid("npu_buffer_create", "source, size, fd or flags is out of range");
    }
    auto memory = d.source == NPU_BUFFER_IMPORT
                      ? device->device->import_fd(d.fd, d.size)
                      : device->device->allocate(d.size, d.source == NPU_BUFFER_CARD
                                                             ? DRM_NPU_PLACEMENT_CARD
                                                             : DRM_NPU_PLACEMENT_HOST);
    if (!memory.ok()) return set_last_error(memory.error());
    *buffer = new npu_buffer{std::move(*memory), fork_generation};
    return NPU_OK;
  });
}

void npu_buffer_destroy(npu_buffer* buffer) {
  end(buffer);
}

npu_result npu_buffer_map(npu_buffer* buffer, void** pointer, uint64_t* size) {
  return guarded("npu_buffer_map", [&]() -> npu_result {
    if (!usable(buffer)) return invalid("npu_buffer_map", kBadObject);
    if (pointer != nullptr) {
      auto mapped = buffer->memory->map();
      if (!mapped.ok()) return set_last_error(mapped.error());
      *pointer = *mapped;
    }
    if (size != nullptr) *size = buffer->memory->size();
    return NPU_OK;
  });
}

npu_result npu_buffer_sync(npu_buffer* buffer, npu_sync direction, uint64_t offset, uint64_t size) {
  return guarded("npu_buffer_sync", [&]() -> npu_result {
    if (!usable(buffer)) return invalid("npu_buffer_sync", kBadObject);
    if (direction != NPU_SYNC_TO_DEVICE && direction != NPU_SYNC_FROM_DEVICE) {
      return invalid("npu_buffer_sync", "unknown direction");
    }
    if (offset > buffer->memory->size() || size > buffer->memory->size() - offset) {
      return invalid("npu_buffer_sync", "the range is outside the buffer");
    }
    // Host memory is coherent; writes to card memory may still be combined.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return NPU_OK;
  });
}

npu_result npu_buffer_export(npu_buffer* buffer, int* fd) {
  return guarded("npu_buffer_export", [&]() -> npu_result {
    if (!usable(buffer)) return invalid("npu_buffer_export", kBadObject);
    if (fd == nullptr) return invalid("npu_buffer_export", kNullPointer);
    auto exported = buffer->memory->export_fd();
    if (!exported.ok()) return set_last_error(exported.error());
    *fd = *exported;
    return NPU_OK;
  });
}

npu_result npu_network_load(npu_device* device, const npu_network_desc* desc,
                            npu_network** network) {
  return guarded("npu_network_load", [&]() -> npu_result {
    if (network == nullptr) return invalid("npu_network_load", kNullPointer);
    *network = nullptr;
    if (!usable(device)) return invalid("npu_network_load", kBadObject);
    npu_network_desc d;
    if (!load_struct(desc, sizeof(npu_network_desc), d)) {
      return invalid("npu_network_load", kBadStruct);
    }
    if ((d.flags & ~NPU_NETWORK_UNCHECKED) != 0 || (d.data == nullptr && d.size != 0)) {
      return invalid("npu_network_load", "unknown flags, or data is NULL");
    }
    auto loaded = Network::load(
        device->device, {static_cast<const std::byte*>(d.data), static_cast<size_t>(d.size)},
        d.flags);
    if (!loaded.ok()) return set_last_error(loaded.error());
    *network = new npu_network{std::move(*loaded), fork_generation};
    return NPU_OK;
  });
}

void npu_network_unload(npu_network* network) {
  end(network);
}

npu_result npu_network_query(npu_network* network, npu_network_info* info) {
  return guarded("npu_network_query", [&]() -> npu_result {
    if (!usable(network)) return invalid("npu_network_query", kBadObject);
    if (!writable(info, sizeof(npu_network_info))) return invalid("npu_network_query", kBadStruct);
    npu_network_info result = network->network->info();
    store_struct(result, info);
    return NPU_OK;
  });
}

npu_result npu_network_tensor(npu_network* network, uint32_t index, npu_tensor_info* info) {
  return guarded("npu_network_tensor", [&]() -> npu_result {
    if (!usable(network)) return invalid("npu_network_tensor", kBadObject);
    if (!writable(info, sizeof(npu_tensor_info))) return invalid("npu_network_tensor", kBadStruct);
    npu_tensor_info result = {};
    if (auto status = network->network->tensor_info(index, result); !status.ok()) {
      return set_last_error(status);
    }
    store_struct(result, info);
    return NPU_OK;
  });
}

npu_result npu_network_operator(npu_network* network, uint32_t index, npu_operator_info* info) {
  return guarded("npu_network_operator", [&]() -> npu_result {
    if (!usable(network)) return invalid("npu_network_operator", kBadObject);
    if (!writable(info, sizeof(npu_operator_info))) {
      return invalid("npu_network_operator", kBadStruct);
    }
    npu_operator_info result = {};
    if (auto status = network->network->operator_info(index, result); !status.ok()) {
      return set_last_error(status);
    }
    store_struct(result, info);
    return NPU_OK;
  });
}

npu_result npu_queue_create(npu_device* device, const npu_queue_desc* desc, npu_queue** queue) {
  return guarded("npu_queue_create", [&]() -> npu_result {
    if (queue == nullptr) return invalid("npu_queue_create", kNullPointer);
    *queue = nullptr;
    if (!usable(device)) return invalid("npu_queue_create", kBadObject);
    npu_queue_desc d = {};
    if (desc != nullptr && !load_struct(desc, offsetof(npu_queue_desc, quantum), d)) {
      return invalid("npu_queue_create", kBadStruct);
    }
    auto created = Queue::create(device->device, d);
    if (!created.ok()) return set_last_error(created.error());
    *queue = new npu_queue{std::move(*created), fork_generation};
    return NPU_OK;
  });
}

void npu_queue_destroy(npu_queue* queue) {
  if (usable(queue)) queue->queue->destroy();
  end(queue);
}

npu_result npu_queue_query(npu_queue* queue, npu_queue_info* info) {
  return guarded("npu_queue_query", [&]() -> npu_result {
    if (!usable(queue)) return invalid("npu_queue_query", kBadObject);
    if (!writable(info, sizeof(npu_queue_info))) return invalid("npu_queue_query", kBadStruct);
    npu_queue_info result = {};
    if (auto status = queue->queue->query(result); !status.ok()) return set_last_error(status);
    store_struct(result, info);
    return NPU_OK;
  });
}

namespace {

constexpr uint32_t kMaxRuns = 64;
constexpr uint32_t kMaxWaits = 64;

// Checks one run and takes from it what the queue needs.
npu_result check_run(const Queue& queue, const npu_run& run, Queue::Run& out) {
  constexpr char call[] = "npu_submit";
  npu_run r;
  if (!load_struct(&run, sizeof(npu_run), r)) return invalid(call, kBadStruct);
  if (!usable(r.network)) return invalid(call, kBadObject);
  const Network& network = *r.network->network;
  constexpr uint32_t flags = NPU_RUN_PROFILE | NPU_RUN_PROFILE_COMMANDS;
  if ((r.flags & ~flags) != 0 || r.reserved != 0) return invalid(call, "unknown flags");
  if (network.device() != queue.device()) {
    return invalid(call, "network and queue belong to different devices");
  }
  if (r.binding_count != network.tensor_count() || r.bindings == nullptr) {
    return invalid(
        call, ("the network has " + std::to_string(network.tensor_count()) +
               " inputs and outputs, there are " + std::to_string(r.binding_count) + " bindings")
                  .c_str());
  }
  out.network = r.network->network;
  out.flags = r.flags;
  for (uint32_t i = 0; i < r.binding_count; i++) {
    const npu_binding& binding = r.bindings[i];
    const npu::format::Tensor& tensor = network.file().tensor(i);
    const auto wrong = [&](const std::string& text) {
      return invalid(call, ("binding of '" + tensor.name()->str() + "': " + text).c_str());
    };
    if (!usable(binding.buffer)) return wrong(kBadObject);
    const Memory& memory = *binding.buffer->memory;
    if (memory.device() != queue.device()) return wrong("the buffer belongs to another device");
    if (binding.offset > memory.size() || memory.size() - binding.offset < tensor.bytes()) {
      return wrong("the buffer has no " + std::to_string(tensor.bytes()) + " bytes at offset " +
                   std::to_string(binding.offset));
    }
    if (binding.offset % network.tensor_alignment() != 0) {
      return wrong("the offset is not a multiple of " + std::to_string(network.tensor_alignment()));
    }
    out.tensor_va[i] = memory.va() + binding.offset;
  }
  out.profile = nullptr;
  out.profile_va = 0;
  if (r.flags == 0) {
    if (r.profile != nullptr) return invalid(call, "a profile buffer without a profile flag");
    return NPU_OK;
  }
  if (!usable(r.profile)) return invalid(call, kBadObject);
  Memory& memory = *r.profile->memory;
  const uint64_t need = network.profile_bytes(r.flags & NPU_RUN_PROFILE_COMMANDS);
  if (memory.device() != queue.device() || memory.size() < need) {
    return invalid(call, ("the profile buffer must be of the same device and have " +
                          std::to_string(need) + " bytes")
                             .c_str());
  }
  auto pointer = memory.map();
  if (!pointer.ok()) return set_last_error(pointer.error());
  out.profile = *pointer;
  out.profile_va = memory.va();
  return NPU_OK;
}

}  // namespace

npu_result npu_submit(npu_queue* queue, const npu_run* runs, uint32_t count, const npu_fence* waits,
                      uint32_t wait_count, npu_fence* done) {
  return guarded("npu_submit", [&]() -> npu_result {
    if (!usable(queue)) return invalid("npu_submit", kBadObject);
    if (runs == nullptr || count == 0 || count > kMaxRuns) {
      return invalid("npu_submit", "1 to 64 runs are needed");
    }
    if (wait_count > kMaxWaits || (wait_count > 0 && waits == nullptr)) {
      return invalid("npu_submit", "at most 64 waits are possible");
    }
    Queue& q = *queue->queue;
    std::vector<Queue::Run> checked(count);
    for (uint32_t i = 0; i < count; i++) {
      // Elements are as far apart as the caller's struct is large.
      const auto* run = reinterpret_cast<const npu_run*>(reinterpret_cast<const char*>(runs) +
                                                         size_t{i} * runs[0].struct_size);
      if (auto result = check_run(q, *run, checked[i]); result != NPU_OK) return result;
    }
    Backend::Point points[kMaxWaits];
    for (uint32_t i = 0; i < wait_count; i++) {
      if (waits[i].queue == 0 || waits[i].queue > UINT32_MAX) {
        return invalid("npu_submit", "a wait is not a fence");
      }
      points[i] = {static_cast<uint32_t>(waits[i].queue), waits[i].point};
    }
    auto fence = q.submit(checked, {points, wait_count});
    if (!fence.ok()) return set_last_error(fence.error());
    if (done != nullptr) *done = *fence;
    return NPU_OK;
  });
}

npu_result npu_wait(npu_device* device, const npu_fence* fences, uint32_t count, uint32_t flags,
                    uint64_t deadline_ns, uint32_t* first) {
  return guarded("npu_wait", [&]() -> npu_result {
    if (!usable(device)) return invalid("npu_wait", kBadObject);
    if (fences == nullptr || count == 0 || count > 4096 || flags > NPU_WAIT_ANY) {
      return invalid("npu_wait", "1 to 4096 fences are needed, flags NPU_WAIT_ALL or _ANY");
    }
    return set_last_error(
        device->device->wait(fences, count, flags & NPU_WAIT_ANY, deadline_ns, first));
  });
}

npu_result npu_fence_export(npu_device* device, npu_fence fence, int* fd) {
  return guarded("npu_fence_export", [&]() -> npu_result {
    if (!usable(device)) return invalid("npu_fence_export", kBadObject);
    if (fd == nullptr) return invalid("npu_fence_export", kNullPointer);
    if (fence.queue == 0 || fence.queue > UINT32_MAX) {
      return invalid("npu_fence_export", "this is not a fence");
    }
    auto exported =
        device->device->backend().export_point({static_cast<uint32_t>(fence.queue), fence.point});
    if (!exported.ok()) return set_last_error(exported.error());
    *fd = *exported;
    return NPU_OK;
  });
}

namespace {

Result<std::span<const std::byte>> profile_bytes(npu_buffer* profile) {
  auto pointer = profile->memory->map();
  if (!pointer.ok()) return pointer.error();
  return std::span<const std::byte>(*pointer, profile->memory->size());
}

}  // namespace

npu_result npu_profile_report(npu_network* network, npu_buffer* profile, npu_run_report* report) {
  return guarded("npu_profile_report", [&]() -> npu_result {
    if (!usable(network) || !usable(profile)) return invalid("npu_profile_report", kBadObject);
    if (!writable(report, sizeof(npu_run_report))) return invalid("npu_profile_report", kBadStruct);
    auto bytes = profile_bytes(profile);
    if (!bytes.ok()) return set_last_error(bytes.error());
    npu_run_report result = {};
    if (auto status = network->network->report(*bytes, result); !status.ok()) {
      return set_last_error(status);
    }
    store_struct(result, report);
    return NPU_OK;
  });
}

npu_result npu_profile_record(npu_network* network, npu_buffer* profile, uint64_t index,
                              npu_command_report* report) {
  return guarded("npu_profile_record", [&]() -> npu_result {
    if (!usable(network) || !usable(profile)) return invalid("npu_profile_record", kBadObject);
    if (!writable(report, sizeof(npu_command_report))) {
      return invalid("npu_profile_record", kBadStruct);
    }
    auto bytes = profile_bytes(profile);
    if (!bytes.ok()) return set_last_error(bytes.error());
    npu_command_report result = {};
    if (auto status = network->network->record(*bytes, index, result); !status.ok()) {
      return set_last_error(status);
    }
    store_struct(result, report);
    return NPU_OK;
  });
}
