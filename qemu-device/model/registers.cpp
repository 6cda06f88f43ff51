// SPDX-License-Identifier: MIT
#include "registers.h"

#include <algorithm>
#include <cstring>

namespace npu::model {
namespace {

uint32_t low(uint64_t value) {
  return static_cast<uint32_t>(value);
}
uint32_t high(uint64_t value) {
  return static_cast<uint32_t>(value >> 32);
}
uint32_t half(uint64_t value, bool upper) {
  return upper ? high(value) : low(value);
}

// Replaces one half of a 64-bit register.
uint64_t with_half(uint64_t old, bool upper, uint32_t value) {
  return upper ? (old & 0xffffffffu) | uint64_t{value} << 32
               : (old & ~uint64_t{0xffffffffu}) | value;
}

// Registers that are one value of 64 bits.
bool is_pair(uint32_t offset) {
  switch (offset) {
    case NPU_REG_FEATURES:
    case NPU_REG_SERIAL:
    case NPU_REG_CONTEXT_TABLE:
    case NPU_REG_QUEUE_TABLE:
    case NPU_REG_EVENT_RING:
    case NPU_REG_TIMEBASE:
    case NPU_REG_ENERGY_NJ:
    case NPU_REG_BUSY_NS:
    case NPU_REG_CYCLES:
    case NPU_REG_INJECT_ARG:
      return true;
    default:
      break;
  }
  if (offset < NPU_QUEUE_PAGE(0))
    return offset >= NPU_REG_ENGINE(0, 0, 0) && offset < NPU_REG_ENGINE(NPU_MAX_CORES, 0, 0);
  const uint32_t in_page = offset % NPU_PAGE_SIZE;
  return in_page == NPU_QUEUE_PRODUCER || in_page == NPU_QUEUE_CONSUMER ||
         in_page == NPU_QUEUE_CYCLES || in_page == NPU_QUEUE_SAVED_BYTES ||
         in_page == NPU_QUEUE_WAITED;
}

bool accepted(uint64_t offset, unsigned size) {
  if (offset >= NPU_BAR_REGISTERS_SIZE) return false;
  if (size == 4) return offset % 4 == 0;
  return size == 8 && offset % 8 == 0 && is_pair(static_cast<uint32_t>(offset));
}

}  // namespace

uint64_t Registers::read(uint64_t offset, unsigned size) {
  if (shared_.gone.load()) return ~0ull;
  shared_.counters.mmio_reads.fetch_add(1, std::memory_order_relaxed);
  if (!accepted(offset, size)) return 0;
  const auto at = static_cast<uint32_t>(offset);
  if (size == 4) return read_word(at);
  // Halves of a changing value belong together: read again until the upper one
  // is stable.
  uint32_t upper = read_word(at + 4);
  for (;;) {
    const uint32_t lower = read_word(at);
    const uint32_t again = read_word(at + 4);
    if (again == upper) return uint64_t{upper} << 32 | lower;
    upper = again;
  }
}

uint32_t Registers::read_word(uint32_t offset) {
  if (offset >= NPU_QUEUE_PAGE(0)) {
    const uint32_t queue = (offset - NPU_QUEUE_PAGE(0)) / NPU_PAGE_SIZE;
    return queue < shared_.target.queues ? read_queue_page(queue, offset % NPU_PAGE_SIZE) : 0;
  }
  if (offset >= NPU_REG_CAPS && offset < NPU_REG_CAPS + 4 * NPU_TARGET_WORDS) {
    uint32_t word;
    std::memcpy(&word, reinterpret_cast<const char*>(&shared_.target) + (offset - NPU_REG_CAPS),
                sizeof(word));
    return word;
  }
  switch (offset) {
    case NPU_REG_MAGIC:
      return NPU_MAGIC;
    case NPU_REG_VERSION:
      return NPU_VERSION_MAJOR << 16 | NPU_VERSION_MINOR;
    case NPU_REG_FEATURES:
      return low(features_);
    case NPU_REG_FEATURES + 4:
      return high(features_);
    case NPU_REG_SERIAL:
      return low(serial_);
    case NPU_REG_SERIAL + 4:
      return high(serial_);
    case NPU_REG_DMA_BITS:
      return dma_bits_;
    default:
      break;
  }
  if (offset >= 0x1000 && offset < 0x2000) return read_control_page(offset);
  if (offset >= 0x2000 && offset < 0x3000) return read_inject_page(offset);
  return 0;
}

uint32_t Registers::device_status() {
  uint32_t status = NPU_DEVICE_READY;
  for (const CoreRegisters& core : shared_.cores) {
    const uint32_t state = core.state.load() & 0xff;
    if (state != kCoreIdle) status |= NPU_DEVICE_BUSY;
    if (state == kCoreHung) status |= NPU_DEVICE_HUNG;
  }
  if (telemetry_.values(host_.now_ns(host_.opaque)).throttled) status |= NPU_DEVICE_THROTTLED;
  return status;
}

uint32_t Registers::read_control_page(uint32_t offset) {
  const bool upper = (offset & 4) != 0;
  const Counters& counters = shared_.counters;
  if (offset >= NPU_REG_ENGINE(0, 0, 0)) return read_engine(offset);
  if (offset >= NPU_REG_CORE(0, 0)) return read_core(offset);
  switch (offset) {
    case NPU_REG_CONTROL:
      return shared_.control.load();
    case NPU_REG_STATUS:
      return device_status();
    case NPU_REG_RESETS:
      return shared_.resets.load();
    case NPU_REG_EVENT_TAIL:
      return shared_.event_tail.load();
    case NPU_REG_EVENT_LOST:
      return shared_.event_lost.load();
    case NPU_REG_TIMEBASE:
    case NPU_REG_TIMEBASE + 4:
      return half(host_.now_ns(host_.opaque), upper);
    case NPU_REG_COUNT_MMIO_READ:
      return counters.mmio_reads.load();
    case NPU_REG_COUNT_MMIO_WRITE:
      return counters.mmio_writes.load();
    case NPU_REG_COUNT_DOORBELL:
      return counters.doorbells.load();
    case NPU_REG_COUNT_INTERRUPT:
      return counters.interrupts.load();
    case NPU_REG_COUNT_PACKET:
      return counters.packets.load();
    case NPU_REG_COUNT_JOB:
      return counters.jobs.load();
    case NPU_REG_COUNT_FAULT:
      return counters.faults.load();
    default:
      break;
  }
  if (offset >= NPU_REG_POWER_MW && offset < NPU_REG_CYCLES + 8) {
    const Telemetry::Values v = telemetry_.values(host_.now_ns(host_.opaque));
    switch (offset) {
      case NPU_REG_POWER_MW:
        return v.power_mw;
      case NPU_REG_TEMPERATURE_MC:
        return v.temperature_mc;
      case NPU_REG_CLOCK_MHZ:
        return v.clock_mhz;
      case NPU_REG_THROTTLES:
        return v.throttles;
      case NPU_REG_ENERGY_NJ:
      case NPU_REG_ENERGY_NJ + 4:
        return half(v.energy_nj, (offset - NPU_REG_ENERGY_NJ) != 0);
      case NPU_REG_BUSY_NS:
      case NPU_REG_BUSY_NS + 4:
        return half(v.busy_ns, (offset - NPU_REG_BUSY_NS) != 0);
      case NPU_REG_CYCLES:
      case NPU_REG_CYCLES + 4:
        return half(v.cycles, (offset - NPU_REG_CYCLES) != 0);
      default:
        return 0;
    }
  }
  const Settings s = shared_.settings_copy();
  switch (offset) {
    case NPU_REG_CONTEXT_TABLE:
    case NPU_REG_CONTEXT_TABLE + 4:
      return half(s.context_table, upper);
    case NPU_REG_CONTEXT_COUNT:
      return s.context_count;
    case NPU_REG_QUEUE_TABLE:
    case NPU_REG_QUEUE_TABLE + 4:
      return half(s.queue_table, upper);
    case NPU_REG_QUEUE_COUNT:
      return s.queue_count;
    case NPU_REG_EVENT_RING:
    case NPU_REG_EVENT_RING + 4:
      return half(s.event_ring, upper);
    case NPU_REG_EVENT_LOG2:
      return s.event_log2;
    case NPU_REG_EVENT_HEAD:
      return s.event_head;
    default:
      return 0;
  }
}

uint32_t Registers::read_core(uint32_t offset) {
  constexpr uint32_t kStride = NPU_REG_CORE(1, 0) - NPU_REG_CORE(0, 0);
  const uint32_t index = (offset - NPU_REG_CORE(0, 0)) / kStride;
  if (index >= shared_.cores.size()) return 0;
  const CoreRegisters& core = shared_.cores[index];
  switch ((offset - NPU_REG_CORE(0, 0)) % kStride) {
    case NPU_CORE_STATE:
      return core.state.load();
    case NPU_CORE_HEARTBEAT:
      return core.heartbeat.load();
    case NPU_CORE_COMMAND:
      return core.command.load();
    default:
      return 0;
  }
}

uint32_t Registers::read_engine(uint32_t offset) {
  constexpr uint32_t kCoreStride = NPU_REG_ENGINE(1, 0, 0) - NPU_REG_ENGINE(0, 0, 0);
  constexpr uint32_t kStride = NPU_REG_ENGINE(0, 1, 0) - NPU_REG_ENGINE(0, 0, 0);
  const uint32_t at = offset - NPU_REG_ENGINE(0, 0, 0);
  const uint32_t core = at / kCoreStride, engine = at % kCoreStride / kStride;
  const uint32_t field = at % kStride / 8;
  if (core >= shared_.cores.size() || field >= EngineRegisters::kFields) return 0;
  return half(shared_.cores[core].engines[engine].field[field].load(std::memory_order_relaxed),
              (offset & 4) != 0);
}

uint32_t Registers::read_inject_page(uint32_t offset) {
  if (offset == NPU_REG_INJECT_ARMED) return injector_.armed();
  const Settings s = shared_.settings_copy();
  switch (offset) {
    case NPU_REG_INJECT_COUNT:
      return s.inject_count;
    case NPU_REG_INJECT_SKIP:
      return s.inject_skip;
    case NPU_REG_INJECT_QUEUE:
      return s.inject_queue;
    case NPU_REG_INJECT_ARG:
    case NPU_REG_INJECT_ARG + 4:
      return half(s.inject_arg, (offset & 4) != 0);
    default:
      return 0;
  }
}

uint32_t Registers::read_queue_page(uint32_t queue, uint32_t offset) {
  const QueueRegisters& q = shared_.queues[queue];
  const bool upper = (offset & 4) != 0;
  switch (offset) {
    case NPU_QUEUE_STATE:
      return q.state.load();
    case NPU_QUEUE_HEARTBEAT:
      return q.heartbeat.load();
    case NPU_QUEUE_PRODUCER:
    case NPU_QUEUE_PRODUCER + 4:
      return half(q.producer.load(), upper);
    case NPU_QUEUE_CONSUMER:
    case NPU_QUEUE_CONSUMER + 4:
      return half(q.consumer.load(), upper);
    case NPU_QUEUE_CYCLES:
    case NPU_QUEUE_CYCLES + 4:
      return half(q.cycles.load(), upper);
    case NPU_QUEUE_COUNT_IRQ:
      return q.interrupts.load();
    case NPU_QUEUE_PREEMPTIONS:
      return q.preemptions.load();
    case NPU_QUEUE_SAVED_BYTES:
    case NPU_QUEUE_SAVED_BYTES + 4:
      return half(q.saved_bytes.load(), upper);
    case NPU_QUEUE_WAITED:
    case NPU_QUEUE_WAITED + 4:
      return half(q.waited.load(), upper);
    default:
      return 0;
  }
}

void Registers::write(uint64_t offset, uint64_t value, unsigned size) {
  if (shared_.gone.load()) return;
  shared_.counters.mmio_writes.fetch_add(1, std::memory_order_relaxed);
  if (!accepted(offset, size)) return;
  const auto at = static_cast<uint32_t>(offset);
  write_word(at, low(value));
  if (size == 8) write_word(at + 4, high(value));
}

void Registers::write_word(uint32_t offset, uint32_t value) {
  if (offset >= NPU_QUEUE_PAGE(0)) {
    const uint32_t queue = (offset - NPU_QUEUE_PAGE(0)) / NPU_PAGE_SIZE;
    if (queue < shared_.target.queues) write_queue_page(queue, offset % NPU_PAGE_SIZE, value);
    return;
  }
  switch (offset) {
    case NPU_REG_CONTROL:
      shared_.control.store(value & NPU_CONTROL_ENABLE);
      request(true);
      return;
    case NPU_REG_RESET:
      write_reset(value);
      return;
    case NPU_REG_INJECT_KIND: {
      const Settings s = shared_.settings_copy();
      inject(value, {s.inject_count, s.inject_skip, s.inject_queue, s.inject_arg});
      return;
    }
    default:
      write_setting(offset, value);
  }
}

void Registers::write_setting(uint32_t offset, uint32_t value) {
  const bool upper = (offset & 4) != 0;
  std::lock_guard lock(shared_.mutex);
  Settings& s = shared_.settings;
  switch (offset) {
    case NPU_REG_CONTEXT_TABLE:
    case NPU_REG_CONTEXT_TABLE + 4:
      s.context_table = with_half(s.context_table, upper, value);
      break;
    case NPU_REG_CONTEXT_COUNT:
      s.context_count = std::min(value, shared_.target.asids);
      break;
    case NPU_REG_QUEUE_TABLE:
    case NPU_REG_QUEUE_TABLE + 4:
      s.queue_table = with_half(s.queue_table, upper, value);
      break;
    case NPU_REG_QUEUE_COUNT:
      s.queue_count = std::min(value, shared_.target.queues);
      break;
    case NPU_REG_EVENT_RING:
    case NPU_REG_EVENT_RING + 4:
      s.event_ring = with_half(s.event_ring, upper, value);
      break;
    case NPU_REG_EVENT_LOG2:
      s.event_log2 = std::min(value, 16u);
      break;
    case NPU_REG_EVENT_HEAD:
      s.event_head = value;
      break;
    case NPU_REG_INJECT_COUNT:
      s.inject_count = value;
      break;
    case NPU_REG_INJECT_SKIP:
      s.inject_skip = value;
      break;
    case NPU_REG_INJECT_QUEUE:
      s.inject_queue = value;
      break;
    case NPU_REG_INJECT_ARG:
    case NPU_REG_INJECT_ARG + 4:
      s.inject_arg = with_half(s.inject_arg, upper, value);
      break;
    default:
      break;
  }
}

void Registers::write_reset(uint32_t value) {
  const uint32_t kind = value & 0xff;
  const uint32_t core = value >> 8;
  if (kind == NPU_RESET_KIND_CORE && core < shared_.target.cores) {
    std::lock_guard lock(shared_.mutex);
    shared_.requests.reset_cores |= 1u << core;
  } else if (kind == NPU_RESET_KIND_CARD && core == 0) {
    std::lock_guard lock(shared_.mutex);
    Requests& requests = shared_.requests;
    // What was asked before the reset goes with it; what is asked after it, as
    // a START, finds the queues stopped.
    for (uint32_t queue : requests.touched) requests.queue[queue] = {};
    requests.touched.clear();
    requests.reset_card = true;
  } else {
    return;
  }
  request(true);
}

void Registers::write_queue_page(uint32_t queue, uint32_t offset, uint32_t value) {
  if (offset != NPU_QUEUE_DOORBELL && offset != NPU_QUEUE_CONTROL) return;
  bool urgent = false;
  {
    std::lock_guard lock(shared_.mutex);
    QueueRequest& r = shared_.requests.queue[queue];
    if (offset == NPU_QUEUE_DOORBELL) {
      shared_.counters.doorbells.fetch_add(1, std::memory_order_relaxed);
      r.doorbell = true;
      r.doorbell_value = value;
    } else if (value == NPU_QUEUE_CMD_START) {
      r.start = true;
      shared_.queues[queue].start_asked();
    } else if (value == NPU_QUEUE_CMD_STOP) {
      r.start = r.abort = r.doorbell = false;
      r.stop = true;
      urgent = true;
    } else if (value == NPU_QUEUE_CMD_ABORT_JOB) {
      r.abort = true;
      r.abort_packet = shared_.queues[queue].consumer.load();
      urgent = true;
    } else {
      return;
    }
    if (!r.pending) {
      r.pending = true;
      shared_.requests.touched.push_back(queue);
    }
  }
  request(urgent);
}

void Registers::request(bool urgent) {
  if (urgent) shared_.urgent.store(true);
  shared_.attention.store(true);
  host_.kick(host_.opaque);
}

bool Registers::tell_host(npu_model_function_event event, uint64_t argument) {
  return host_.function_event != nullptr && host_.function_event(host_.opaque, event, argument);
}

void Registers::set_gone(bool gone) {
  if (shared_.gone.exchange(gone) != gone) tell_host(NPU_MODEL_FUNCTION_GONE, gone ? 1 : 0);
}

bool Registers::inject(uint32_t kind, const Injector::Armed& fault) {
  if (kind >= NPU_INJECT_KINDS) return false;
  switch (kind) {
    case NPU_INJECT_CLEAR:
      injector_.clear();
      set_gone(false);
      break;
    case NPU_INJECT_THERMAL_TRIP:
      telemetry_.set_temperature(
          static_cast<uint32_t>(std::min<uint64_t>(fault.argument, 1'000'000)),
          host_.now_ns(host_.opaque));
      break;
    case NPU_INJECT_GONE:
      set_gone(true);
      break;
    case NPU_INJECT_AER:
      if (fault.argument > 63 || !tell_host(NPU_MODEL_FUNCTION_AER, fault.argument)) return false;
      break;
    default:
      injector_.arm(kind, fault);
  }
  request(kind == NPU_INJECT_GONE);
  return true;
}

}  // namespace npu::model
