// SPDX-License-Identifier: MIT
//
// A coredump as text and as JSON.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "arch/text.h"
#include "npu/mmu.h"
#include "npu/registers.h"
#include "npu/status.h"
#include "tools/objdump/coredump.h"

namespace npu::tools {
namespace {

// Commands shown on either side of the guilty one.
constexpr uint32_t kAround = 8;

template <size_t N>
const char* name_at(const char* const (&names)[N], uint64_t index) {
  return index < N ? names[index] : "?";
}

const char* access_name(uint64_t access) {
  static constexpr const char* kNames[] = {"read", "write", "fetch"};
  return name_at(kNames, access);
}

const char* reason_text(uint32_t reason) {
  static constexpr const char* kTexts[] = {"?", "a job failed", "a queue hung",
                                           "the card was about to be reset"};
  return name_at(kTexts, reason);
}

bool has_job(const Coredump& dump) {
  return dump.event.reason == DRM_NPU_DUMP_JOB;
}

bool has_command(const Coredump& dump) {
  return has_job(dump) && dump.event.fault.command != NPU_NO_COMMAND;
}

std::string time_text(uint64_t realtime_ns) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC",
                     fmt::gmtime(static_cast<std::time_t>(realtime_ns / 1'000'000'000)));
}

// ---- Registers ----

struct RegisterName {
  uint32_t offset;
  const char* name;
  bool wide;  // with its upper half at + 4
};

constexpr RegisterName kGlobal[] = {
    {NPU_REG_MAGIC, "MAGIC", false},
    {NPU_REG_VERSION, "VERSION", false},
    {NPU_REG_FEATURES, "FEATURES", true},
    {NPU_REG_SERIAL, "SERIAL", true},
    {NPU_REG_DMA_BITS, "DMA_BITS", false},
    {NPU_REG_CONTROL, "CONTROL", false},
    {NPU_REG_STATUS, "STATUS", false},
    {NPU_REG_RESET, "RESET", false},
    {NPU_REG_RESETS, "RESETS", false},
    {NPU_REG_CONTEXT_TABLE, "CONTEXT_TABLE", true},
    {NPU_REG_CONTEXT_COUNT, "CONTEXT_COUNT", false},
    {NPU_REG_QUEUE_TABLE, "QUEUE_TABLE", true},
    {NPU_REG_QUEUE_COUNT, "QUEUE_COUNT", false},
    {NPU_REG_EVENT_RING, "EVENT_RING", true},
    {NPU_REG_EVENT_LOG2, "EVENT_LOG2", false},
    {NPU_REG_EVENT_HEAD, "EVENT_HEAD", false},
    {NPU_REG_EVENT_TAIL, "EVENT_TAIL", false},
    {NPU_REG_EVENT_LOST, "EVENT_LOST", false},
    {NPU_REG_TIMEBASE, "TIMEBASE", true},
    {NPU_REG_POWER_MW, "POWER_MW", false},
    {NPU_REG_TEMPERATURE_MC, "TEMPERATURE_MC", false},
    {NPU_REG_CLOCK_MHZ, "CLOCK_MHZ", false},
    {NPU_REG_THROTTLES, "THROTTLES", false},
    {NPU_REG_ENERGY_NJ, "ENERGY_NJ", true},
    {NPU_REG_BUSY_NS, "BUSY_NS", true},
    {NPU_REG_CYCLES, "CYCLES", true},
    {NPU_REG_COUNT_MMIO_READ, "COUNT_MMIO_READ", false},
    {NPU_REG_COUNT_MMIO_WRITE, "COUNT_MMIO_WRITE", false},
    {NPU_REG_COUNT_DOORBELL, "COUNT_DOORBELL", false},
    {NPU_REG_COUNT_INTERRUPT, "COUNT_INTERRUPT", false},
    {NPU_REG_COUNT_PACKET, "COUNT_PACKET", false},
    {NPU_REG_COUNT_JOB, "COUNT_JOB", false},
    {NPU_REG_COUNT_FAULT, "COUNT_FAULT", false},
    {NPU_REG_INJECT_COUNT, "INJECT_COUNT", false},
    {NPU_REG_INJECT_SKIP, "INJECT_SKIP", false},
    {NPU_REG_INJECT_QUEUE, "INJECT_QUEUE", false},
    {NPU_REG_INJECT_ARG, "INJECT_ARG", true},
    {NPU_REG_INJECT_ARMED, "INJECT_ARMED", false},
};

constexpr RegisterName kCore[] = {
    {NPU_CORE_STATE, "STATE", false},
    {NPU_CORE_HEARTBEAT, "HEARTBEAT", false},
    {NPU_CORE_COMMAND, "COMMAND", false},
};

constexpr RegisterName kEngine[] = {
    {NPU_ENGINE_REG_COMMANDS, "COMMANDS", true}, {NPU_ENGINE_REG_BUSY, "BUSY", true},
    {NPU_ENGINE_REG_STALL, "STALL", true},       {NPU_ENGINE_REG_WAIT, "WAIT", true},
    {NPU_ENGINE_REG_BYTES, "BYTES", true},
};

constexpr RegisterName kQueue[] = {
    {NPU_QUEUE_STATE, "STATE", false},
    {NPU_QUEUE_HEARTBEAT, "HEARTBEAT", false},
    {NPU_QUEUE_PRODUCER, "PRODUCER", true},
    {NPU_QUEUE_CONSUMER, "CONSUMER", true},
    {NPU_QUEUE_CYCLES, "CYCLES", true},
    {NPU_QUEUE_COUNT_IRQ, "COUNT_IRQ", false},
    {NPU_QUEUE_PREEMPTIONS, "PREEMPTIONS", false},
    {NPU_QUEUE_SAVED_BYTES, "SAVED_BYTES", true},
    {NPU_QUEUE_WAITED, "WAITED", true},
};

// Where a register is, and the entry that describes it.
struct Place {
  std::string prefix;
  const RegisterName* name = nullptr;
  bool upper = false;  // of a wide one
};

template <size_t N>
void find_in(const RegisterName (&names)[N], uint32_t offset, Place& place) {
  for (const RegisterName& name : names) {
    if (offset == name.offset || (name.wide && offset == name.offset + 4)) {
      place.name = &name;
      place.upper = offset != name.offset;
      return;
    }
  }
}

Place find_register(uint32_t offset) {
  Place place;
  constexpr uint32_t kCores = NPU_REG_CORE(0, 0), kCoreStep = NPU_REG_CORE(1, 0) - kCores;
  constexpr uint32_t kEngines = NPU_REG_ENGINE(0, 0, 0);
  constexpr uint32_t kEngineStep = NPU_REG_ENGINE(0, 1, 0) - kEngines;
  constexpr uint32_t kEngineCore = NPU_REG_ENGINE(1, 0, 0) - kEngines;
  if (offset >= NPU_QUEUE_PAGE(0)) {
    const uint32_t at = offset - NPU_QUEUE_PAGE(0);
    place.prefix = fmt::format("queue {} ", at / NPU_PAGE_SIZE);
    find_in(kQueue, at % NPU_PAGE_SIZE, place);
  } else if (offset >= kEngines && offset < kEngines + NPU_MAX_CORES * kEngineCore) {
    const uint32_t at = offset - kEngines;
    place.prefix = fmt::format("core {} {} ", at / kEngineCore,
                               arch::engine_name(at % kEngineCore / kEngineStep));
    find_in(kEngine, at % kEngineStep, place);
  } else if (offset >= kCores && offset < kCores + NPU_MAX_CORES * kCoreStep) {
    const uint32_t at = offset - kCores;
    place.prefix = fmt::format("core {} ", at / kCoreStep);
    find_in(kCore, at % kCoreStep, place);
  } else {
    find_in(kGlobal, offset, place);
  }
  return place;
}

std::string flags_text(uint64_t value,
                       std::initializer_list<std::pair<uint64_t, const char*>> known) {
  std::string text;
  for (const auto& [bit, name] : known)
    if (value & bit) text += std::string(text.empty() ? "" : " ") + name;
  return text;
}

// What a value means, where that is more than a number.
std::string meaning(uint32_t offset, uint64_t value) {
  static constexpr const char* kQueueStates[] = {"DISABLED", "IDLE",      "WAITING",
                                                 "RUNNING",  "PREEMPTED", "ERROR"};
  static constexpr const char* kCoreStates[] = {"idle", "running", "hung"};
  if (offset == NPU_REG_CONTROL) return flags_text(value, {{NPU_CONTROL_ENABLE, "ENABLE"}});
  if (offset == NPU_REG_STATUS)
    return flags_text(value, {{NPU_DEVICE_READY, "READY"},
                              {NPU_DEVICE_BUSY, "BUSY"},
                              {NPU_DEVICE_THROTTLED, "THROTTLED"},
                              {NPU_DEVICE_HUNG, "HUNG"}});
  if (offset >= NPU_QUEUE_PAGE(0) && offset % NPU_PAGE_SIZE == NPU_QUEUE_STATE)
    return name_at(kQueueStates, value);
  const Place place = find_register(offset);
  if (place.name == &kCore[0]) {
    const std::string state = name_at(kCoreStates, value & 0xff);
    return (value & 0xff) == 0 ? state : fmt::format("{} queue {}", state, value >> 8);
  }
  return "";
}

// Halves of wide registers that follow each other are one.
template <typename Show>
void for_each_register(const Coredump& dump, const Show& show) {
  for (size_t i = 0; i < dump.registers.size(); i++) {
    const Coredump::Register& reg = dump.registers[i];
    const Place place = find_register(reg.offset);
    if (place.name == nullptr) continue;  // a gap between registers
    uint64_t value = reg.value;
    std::string name = place.prefix + place.name->name;
    if (place.upper) name += " (upper half)";
    if (place.name->wide && !place.upper && i + 1 < dump.registers.size() &&
        dump.registers[i + 1].offset == reg.offset + 4)
      value |= uint64_t{dump.registers[++i].value} << 32;
    show(reg.offset, name, value, meaning(reg.offset, value));
  }
}

// ---- Ring, page walk, commands ----

std::string packet_text(const npu_packet& packet) {
  const auto as = [&](auto item) {
    std::memcpy(&item, &packet, sizeof item);
    return item;
  };
  const std::string flags = flags_text(packet.flags, {{NPU_PACKET_IRQ, "IRQ"},
                                                      {NPU_PACKET_CHAIN, "CHAIN"},
                                                      {NPU_PACKET_RESTARTABLE, "RESTARTABLE"},
                                                      {NPU_PACKET_PROFILE, "PROFILE"}});
  const auto memory = [](unsigned where) { return where == NPU_MEMORY_CARD ? "card" : "host"; };
  std::string text;
  switch (packet.opcode) {
    case NPU_PACKET_NOP:
      text = "NOP";
      break;
    case NPU_PACKET_JOB: {
      const auto job = as(npu_packet_job{});
      text =
          fmt::format("JOB {} streams at {:#x}, {} regions at {:#x}, cores {:#x}", job.stream_count,
                      job.stream_va, job.region_count, job.region_va, job.core_mask);
      break;
    }
    case NPU_PACKET_COPY: {
      const auto copy = as(npu_packet_copy{});
      text = fmt::format("COPY {:#x} bytes from {} {:#x} to {} {:#x}", copy.bytes,
                         memory(copy.source_memory), copy.source, memory(copy.destination_memory),
                         copy.destination);
      break;
    }
    case NPU_PACKET_FILL: {
      const auto fill = as(npu_packet_fill{});
      text = fmt::format("FILL {:#x} bytes of {} {:#x} with {:#x}", fill.bytes,
                         memory(fill.destination_memory), fill.destination, fill.pattern);
      break;
    }
    case NPU_PACKET_TLB_INVALIDATE: {
      const auto invalidate = as(npu_packet_tlb_invalidate{});
      text = fmt::format("TLB_INVALIDATE space {}, {:#x} bytes at {:#x}", invalidate.asid,
                         invalidate.bytes, invalidate.va);
      break;
    }
    case NPU_PACKET_FENCE:
      text = "FENCE";
      break;
    default:
      text = fmt::format("opcode {}?", packet.opcode);
      break;
  }
  return flags.empty() ? text : text + "  [" + flags + "]";
}

// Empty: the packet has no completion yet.
std::string completion_text(const Coredump::Slot& slot, uint64_t index) {
  const npu_completion& c = slot.completion;
  if (c.sequence != index + 1) return "";
  return fmt::format("{}, {} cycles", arch::status_name(c.status), c.cycles_observed);
}

// Slots from the producer index on hold no packet, or an old one.
size_t announced_slots(const Coredump& dump) {
  if (!dump.ring || dump.ring->producer < dump.ring->first) return 0;
  return std::min<uint64_t>(dump.ring->slots.size(), dump.ring->producer - dump.ring->first);
}

std::string entry_text(uint64_t entry, unsigned level, bool leaf_expected) {
  if (!(entry & NPU_PTE_VALID)) return entry == 0 ? "nothing is mapped here" : "not valid";
  std::string text =
      fmt::format("{} {:#x}", entry & NPU_PTE_CARD ? "card" : "host", entry & NPU_PTE_ADDRESS);
  const bool leaf = (entry & NPU_PTE_LEAF) != 0 && leaf_expected;
  if (leaf)
    text += fmt::format(", {} page, {}{}", level == 0 ? "4 KiB" : "2 MiB",
                        entry & NPU_PTE_READ ? "read" : "no access",
                        entry & NPU_PTE_WRITE ? " and write" : ", no write");
  if (entry & NPU_PTE_RESERVED) text += ", RESERVED BITS SET";
  return text;
}

// (what is read, its value, what that means) for each step of the walk.
template <typename Show>
void for_each_step(const Coredump& dump, const Show& show) {
  for (size_t i = 0; i < dump.walk.size() && i <= NPU_MMU_LEVELS; i++) {
    const uint64_t entry = dump.walk[i];
    if (i == 0) {
      show("context", entry, entry_text(entry, NPU_MMU_LEVELS, false));
      continue;
    }
    const auto level = static_cast<unsigned>(NPU_MMU_LEVELS - i);
    const uint64_t index =
        dump.walk_va >> (NPU_MMU_PAGE_SHIFT + level * NPU_MMU_LEVEL_BITS) & (NPU_MMU_ENTRIES - 1);
    show(fmt::format("level {}, entry {}", level, index), entry,
         entry_text(entry, level, level <= 1));
  }
}

// The region table's entry that an address belongs to: the highest base below.
std::string region_of(const Coredump& dump, uint64_t address) {
  size_t best = dump.regions.size();
  for (size_t i = 0; i < dump.regions.size(); i++)
    if (dump.regions[i] <= address &&
        (best == dump.regions.size() || dump.regions[i] > dump.regions[best]))
      best = i;
  if (best == dump.regions.size()) return "";
  return fmt::format("region {} + {:#x}", best, address - dump.regions[best]);
}

std::vector<RawCommand> shown_commands(const Coredump& dump, bool all) {
  std::vector<RawCommand> list = raw_commands(dump.stream);
  if (all) return list;
  const uint64_t guilty = has_command(dump) ? dump.event.fault.command : 0;
  std::erase_if(list, [&](const RawCommand& raw) {
    return raw.index + uint64_t{kAround} < guilty || raw.index > guilty + kAround;
  });
  return list;
}

bool is_guilty(const Coredump& dump, const RawCommand& raw) {
  return has_command(dump) && raw.index == dump.event.fault.command;
}

}  // namespace

std::string coredump_text(const Coredump& dump, bool all_commands) {
  std::string out;
  const auto line = [&]<typename... Args>(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
    out += '\n';
  };
  const drm_npu_dump_event& e = dump.event;
  const drm_npu_fault& f = e.fault;

  line("reason       {}", reason_text(e.reason));
  line("when         {}", time_text(e.realtime_ns));
  line("device       {}, interface {}.{}", arch::printable(e.device), e.interface_version >> 16,
       e.interface_version & 0xffff);
  if (dump.target)
    line("card         {}: {} cores, {} KiB SRAM each", arch::printable(dump.target->name),
         dump.target->cores, dump.target->sram_bytes >> 10);
  line("kernel       {}", arch::printable(e.release));
  line("resets       {} of cores, {} of the card before", e.core_resets, e.card_resets);
  if (e.hwq != ~0u) line("hardware     queue {}, packet {}", e.hwq, e.packet);
  if (has_job(dump)) {
    line("process      {}[{}]", arch::printable(e.comm), e.pid);
    line("queue        {}, address space {}", f.queue_id, e.asid);
    line("job          {}", f.job);
    line("status       {}", arch::status_name(f.status));
    if (has_command(dump))
      line("command      {} of core {}, operator {}", f.command, f.core, f.source_op);
    line("engine       {}", arch::engine_name(f.engine));
    line("address      {:#x}", f.address);
    if (f.status == NPU_STATUS_MMU_FAULT || f.status == NPU_STATUS_DMA_ERROR)
      line("access       {}", access_name(f.access));
    const std::string region = f.status == NPU_STATUS_MMU_FAULT ? region_of(dump, f.address) : "";
    if (!region.empty()) line("region       {}", region);
    line("timebase     {} ns", f.timebase_ns);
  }

  if (!dump.walk.empty()) {
    line("\npage walk of {:#x}", dump.walk_va);
    for_each_step(dump, [&](const std::string& what, uint64_t entry, const std::string& text) {
      line("  {:<20} {:#018x}  {}", what, entry, text);
    });
  }
  if (!dump.regions.empty()) {
    line("\nregion table at {:#x}", dump.regions_va);
    for (size_t i = 0; i < dump.regions.size(); i++) line("  {:>3}  {:#x}", i, dump.regions[i]);
  }
  if (!dump.stream.empty()) {
    line("\ncommands of core {} at {:#x}, {} bytes", f.core, dump.stream_va, dump.stream.size());
    for (const RawCommand& raw : shown_commands(dump, all_commands))
      line("{} {:>6}  {}", is_guilty(dump, raw) ? ">" : " ", raw.index,
           arch::disassemble(raw.command));
    const std::string problem = stream_problem(dump);
    if (!problem.empty()) line("! {}", problem);
  }
  if (dump.ring) {
    const Coredump::Ring& ring = *dump.ring;
    line("\nring of hardware queue {}: {} announced, {} retired", ring.hwq, ring.producer,
         ring.consumer);
    for (size_t i = 0; i < announced_slots(dump); i++) {
      const uint64_t index = ring.first + i;
      const std::string completion = completion_text(ring.slots[i], index);
      line("{} {:>6}  {}  -> {}", index == e.packet ? ">" : " ", index,
           packet_text(ring.slots[i].packet), completion.empty() ? "not completed" : completion);
    }
  }
  if (!dump.registers.empty()) {
    line("\nregisters");
    for_each_register(dump, [&](uint32_t offset, const std::string& name, uint64_t value,
                                const std::string& text) {
      line("  {:#07x}  {:<24} {:#x}{}{}", offset, name, value, text.empty() ? "" : "  ", text);
    });
  }
  return out;
}

Json coredump_json(const Coredump& dump, bool all_commands) {
  const drm_npu_dump_event& e = dump.event;
  const drm_npu_fault& f = e.fault;
  Json job = nullptr;
  if (has_job(dump)) {
    job = {{"process", arch::printable(e.comm)},
           {"pid", e.pid},
           {"queue", f.queue_id},
           {"address_space", e.asid},
           {"job", f.job},
           {"status", arch::status_name(f.status)},
           {"command", valid_or_null(has_command(dump), f.command)},
           {"operator", valid_or_null(has_command(dump), f.source_op)},
           {"engine", arch::engine_name(f.engine)},
           {"core", f.core},
           {"access", access_name(f.access)},
           {"address", f.address},
           {"timebase_ns", f.timebase_ns}};
  }
  Json walk = Json::array(), commands = Json::array(), packets = Json::array(),
       registers = Json::array(), regions = Json::array();
  for_each_step(dump, [&](const std::string& what, uint64_t entry, const std::string& text) {
    walk.push_back({{"step", what}, {"entry", entry}, {"text", text}});
  });
  for (const uint64_t base : dump.regions) regions.push_back(base);
  for (const RawCommand& raw : shown_commands(dump, all_commands))
    commands.push_back({{"index", raw.index},
                        {"guilty", is_guilty(dump, raw)},
                        {"text", arch::disassemble(raw.command)}});
  for (size_t i = 0; i < announced_slots(dump); i++) {
    const uint64_t index = dump.ring->first + i;
    const std::string completion = completion_text(dump.ring->slots[i], index);
    packets.push_back({{"index", index},
                       {"text", packet_text(dump.ring->slots[i].packet)},
                       {"completion", completion.empty() ? Json(nullptr) : Json(completion)}});
  }
  for_each_register(
      dump, [&](uint32_t offset, const std::string& name, uint64_t value, const std::string& text) {
        registers.push_back({{"offset", offset},
                             {"name", name},
                             {"value", value},
                             {"text", text.empty() ? Json(nullptr) : Json(text)}});
      });
  const std::string problem = stream_problem(dump);
  return {{"schema", "npu-coredump/1"},
          {"reason", reason_text(e.reason)},
          {"realtime_ns", e.realtime_ns},
          {"device", arch::printable(e.device)},
          {"kernel", arch::printable(e.release)},
          {"core_resets", e.core_resets},
          {"card_resets", e.card_resets},
          {"hardware_queue", valid_or_null(e.hwq != ~0u, e.hwq)},
          {"packet", valid_or_null(e.hwq != ~0u, e.packet)},
          {"job", job},
          {"page_walk", walk},
          {"regions", regions},
          {"commands", commands},
          {"problem", problem.empty() ? Json(nullptr) : Json(problem)},
          {"ring", packets},
          {"registers", registers}};
}

}  // namespace npu::tools
