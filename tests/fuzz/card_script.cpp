// SPDX-License-Identifier: MIT
#include "card_script.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ranges>
#include <span>
#include <vector>

#include "compute/kernels.h"
#include "input.h"
#include "machine.h"
#include "npu/command.h"
#include "npu/status.h"
#include "streams.h"

namespace npu::fuzz {
namespace {

constexpr unsigned kMaxActions = 48;
constexpr size_t kStreamArea = 8 * kPage;  // at kVaHost of each address space
constexpr uint32_t kRegisters[] = {
    NPU_REG_MAGIC,
    NPU_REG_VERSION,
    NPU_REG_FEATURES,
    NPU_REG_SERIAL,
    NPU_REG_CAPS,
    NPU_REG_CONTROL,
    NPU_REG_STATUS,
    NPU_REG_RESET,
    NPU_REG_RESETS,
    NPU_REG_CONTEXT_TABLE,
    NPU_REG_CONTEXT_COUNT,
    NPU_REG_QUEUE_TABLE,
    NPU_REG_QUEUE_COUNT,
    NPU_REG_EVENT_RING,
    NPU_REG_EVENT_LOG2,
    NPU_REG_EVENT_HEAD,
    NPU_REG_EVENT_TAIL,
    NPU_REG_EVENT_LOST,
    NPU_REG_TIMEBASE,
    NPU_REG_POWER_MW,
    NPU_REG_TEMPERATURE_MC,
    NPU_REG_CLOCK_MHZ,
    NPU_REG_THROTTLES,
    NPU_REG_ENERGY_NJ,
    NPU_REG_BUSY_NS,
    NPU_REG_CYCLES,
    NPU_REG_COUNT_MMIO_READ,
    NPU_REG_COUNT_MMIO_WRITE,
    NPU_REG_COUNT_DOORBELL,
    NPU_REG_COUNT_INTERRUPT,
    NPU_REG_COUNT_PACKET,
    NPU_REG_COUNT_JOB,
    NPU_REG_COUNT_FAULT,
    NPU_REG_CORE(0, NPU_CORE_STATE),
    NPU_REG_CORE(1, NPU_CORE_HEARTBEAT),
    NPU_REG_CORE(0, NPU_CORE_COMMAND),
    NPU_REG_INJECT_KIND,
    NPU_REG_INJECT_COUNT,
    NPU_REG_INJECT_SKIP,
    NPU_REG_INJECT_QUEUE,
    NPU_REG_INJECT_ARG,
    NPU_REG_INJECT_ARMED,
    NPU_QUEUE_PAGE(0) + NPU_QUEUE_DOORBELL,
    NPU_QUEUE_PAGE(1) + NPU_QUEUE_CONTROL,
    NPU_QUEUE_PAGE(2) + NPU_QUEUE_STATE,
    NPU_QUEUE_PAGE(3) + NPU_QUEUE_HEARTBEAT,
    NPU_QUEUE_PAGE(0) + NPU_QUEUE_PRODUCER,
    NPU_QUEUE_PAGE(1) + NPU_QUEUE_CONSUMER,
    NPU_QUEUE_PAGE(2) + NPU_QUEUE_CYCLES,
    NPU_QUEUE_PAGE(3) + NPU_QUEUE_COUNT_IRQ,
    NPU_QUEUE_PAGE(200) + NPU_QUEUE_STATE,
    NPU_QUEUE_PAGE(1) + NPU_QUEUE_PREEMPTIONS,
    NPU_QUEUE_PAGE(1) + NPU_QUEUE_SAVED_BYTES,
    NPU_QUEUE_PAGE(3) + NPU_QUEUE_WAITED,
    NPU_REG_CORE(2, NPU_CORE_STATE),
    NPU_REG_CORE(1, 0xc),
    NPU_REG_ENGINE(0, 0, 0),
    NPU_REG_ENGINE(1, 3, 4),
    NPU_REG_ENGINE(1, 3, 7),
    NPU_REG_ENGINE(2, 0, 0),
    0xff8,
    0x1ff8,
    0x2ff8,
    0x3000,
};

[[noreturn]] void broken(const char* promise) {
  std::fprintf(stderr, "card-fuzz: the card broke a promise: %s\n", promise);
  std::abort();
}

// Whether a STORE touches, in the memory of the process, what another command of the
// gang does: their order is nobody's promise.
bool shares_memory(const std::vector<uint8_t>& streams) {
  struct Range {
    uint64_t first, last;
    bool write;
  };
  std::vector<Range> ranges;
  for (size_t at = 0; at + sizeof(npu_command_dma) <= streams.size(); at += NPU_RECORD_BYTES) {
    npu_command_dma dma;
    std::memcpy(&dma, &streams[at], sizeof(dma));
    if (dma.header.records == 2) at += NPU_RECORD_BYTES;
    const bool write = dma.header.opcode == NPU_OP_STORE;
    if ((!write && dma.header.opcode != NPU_OP_LOAD) || dma.region > 1) continue;
    Range range = {dma.external_offset + (dma.region == 0 ? kVaCard : kVaRegion1), 0, write};
    range.last = range.first;
    for (int i = 0; i < 4; ++i) range.last += uint64_t{dma.size[i] - 1} * dma.external_stride[i];
    range.last += 3;
    for (const Range& other : ranges)
      if ((write || other.write) && range.first <= other.last && other.first <= range.last)
        return true;
    ranges.push_back(range);
  }
  return false;
}

// How a script is played: when it says "run", in steps of `budget` commands (0: at
// once), with the state saved and loaded after each.
struct Manner {
  uint32_t mode = NPU_MODEL_FULL;
  uint64_t budget = 0;
};

class Script {
 public:
  Script(const uint8_t* data, size_t size, Manner manner, Memory& memory, Ledger* ledger)
      : in_(data, size), manner_(manner), machine_(manner.mode, memory, ledger), ledger_(ledger) {}

  void play() {
    machine_.set_up();
    machine_.run(0);
    for (unsigned i = 0; i < kMaxActions && !in_.empty(); ++i) act();
    machine_.fail_after = machine_.write_after = 0;
    run(0);
    machine_.check();
  }

  uint32_t polls_left() const { return machine_.polls_left; }
  // Whether what the jobs leave in memory follows from the script alone.
  bool determined() const { return !disturbed_ && machine_.all_well(); }

 private:
  void act();
  void submit_job();
  void submit_transfer();
  void submit_other();
  void write_register();
  void change_table();
  void change_memory();
  void change_queue();
  void inject();
  void reset();
  void run_some();
  void rare();
  void write_while_running();
  void try_configuration();

  void run(uint64_t budget);
  void submit(uint32_t queue, void* packet, uint8_t how);
  uint32_t queue() { return in_.pick(kQueues); }
  uint64_t address();

  Input in_;
  const Manner manner_;
  Machine machine_;
  Ledger* const ledger_;
  bool disturbed_ = false;  // by something else than jobs
  size_t stream_next_[kAsids] = {};
};

// A physical address: mostly in a place that means something.
uint64_t Script::address() {
  static constexpr uint64_t kPlaces[] = {0,           kContextTable, kQueueTable, kEventRing,
                                         kQueuePages, kSavePages,    kHostTables, kHostData,
                                         kCardTables, kCardData};
  const uint8_t place = in_.u8();
  if (place == 0xff) return in_.u64();
  if (place == 0xfe) return 0xf00d00000000 + in_.number();
  return kPlaces[place % std::size(kPlaces)] + in_.number() * 8;
}

void Script::run(uint64_t budget) {
  if (manner_.budget == 0) {
    machine_.run(budget);
    return;
  }
  while (machine_.polls_left > 1 && machine_.run(manner_.budget) == NPU_MODEL_MORE)
    machine_.save_and_load();
}

// `how`: bit 0 leaves the doorbell to a later action, bits 1 and 2 flags, bit 7 changes.
void Script::submit(uint32_t queue, void* packet, uint8_t how) {
  auto* bytes = static_cast<uint8_t*>(packet);
  bytes[1] |= (how & 2) != 0 ? NPU_PACKET_IRQ : 0;
  bytes[1] |= (how & 4) != 0 ? NPU_PACKET_CHAIN : 0;
  if ((how & 0x80) != 0) {
    // It may become a COPY or FILL.
    machine_.disbelieve();
    change_words(in_, bytes, sizeof(npu_packet));
    disturbed_ = true;
  }
  // Over a packet that may not have been read yet.
  disturbed_ = disturbed_ || machine_.produced[queue] >= 1u << kRingLog2;
  machine_.submit(queue, packet, (how & 1) == 0);
}

void Script::submit_job() {
  const uint32_t to = 1 + in_.pick(kQueues - 1);
  const uint8_t how = in_.u8();
  const uint8_t what = in_.u8();
  npu_packet_job job = {};
  job.opcode = NPU_PACKET_JOB;
  job.stream_count = static_cast<uint8_t>(1 + (what & 1));
  job.region_count = (what & 2) != 0 ? static_cast<uint8_t>(in_.number()) : 6;
  job.region_va = kVaRegions;
  if ((what & 4) != 0) job.flags |= NPU_PACKET_RESTARTABLE;
  if ((what & 8) != 0) {
    job.flags |= NPU_PACKET_PROFILE;
    job.profile_va = kVaProfile;
    if ((what & 16) != 0) job.flags |= NPU_PACKET_PROFILE_COMMANDS;
  }
  if ((what & 32) != 0) job.core_mask = in_.u8();
  std::vector<uint8_t> all;
  Counts counts;
  for (unsigned core = 0; core < job.stream_count; ++core) {
    const std::vector<uint8_t> stream = make_stream(in_, job.stream_count, 6144, counts);
    job.stream_bytes[core] = static_cast<uint32_t>(stream.size());
    all.insert(all.end(), stream.begin(), stream.end());
  }
  size_t& next = stream_next_[to];
  if (next + all.size() > kStreamArea) {
    disturbed_ = true;
    next = 0;
  }
  job.stream_va = kVaHost + next;
  std::copy(all.begin(), all.end(), machine_.host(kHostData + to * kHostDataPages * kPage + next));
  next += all.size();
  if ((what & 64) != 0) job.stream_va = in_.number() * NPU_RECORD_BYTES;
  if ((what & 128) != 0) job.region_va = in_.number() * 8;
  // A profile differs in its times.
  if ((what & (8 | 64 | 128)) != 0 || (job.stream_count > 1 && shares_memory(all)))
    disturbed_ = true;
  if ((what & 64) == 0) machine_.expect(to, job.stream_va, std::move(all));
  submit(to, &job, how);
}

void Script::submit_transfer() {
  const uint8_t how = in_.u8();
  const uint32_t to = (how & 16) != 0 ? queue() : 0;
  machine_.distrust();
  // What would overwrite rings is not believed afterwards.
  const auto destination = [this](uint8_t memory) {
    const uint64_t at = address();
    if (memory == NPU_MEMORY_HOST && at < kHostData) machine_.disbelieve();
    return at;
  };
  if ((how & 8) != 0) {
    npu_packet_fill fill = {};
    fill.opcode = NPU_PACKET_FILL;
    fill.destination_memory = static_cast<uint8_t>(in_.pick(2));
    fill.pattern = in_.u8();
    fill.destination = destination(fill.destination_memory);
    fill.bytes = in_.number() * 4;
    submit(to, &fill, how);
    return;
  }
  npu_packet_copy copy = {};
  copy.opcode = NPU_PACKET_COPY;
  copy.source_memory = static_cast<uint8_t>(in_.pick(2));
  copy.destination_memory = static_cast<uint8_t>(in_.pick(2));
  copy.source = address();
  copy.destination = destination(copy.destination_memory);
  copy.bytes = in_.number();
  submit(to, &copy, how);
}

void Script::submit_other() {
  const uint8_t how = in_.u8();
  const uint32_t to = (how & 8) != 0 ? queue() : 0;
  npu_packet_tlb_invalidate packet = {};
  static constexpr uint8_t kOpcodes[] = {NPU_PACKET_NOP, NPU_PACKET_TLB_INVALIDATE,
                                         NPU_PACKET_FENCE};
  packet.opcode = (how & 16) != 0 ? in_.u8() : kOpcodes[in_.pick(3)];
  if (packet.opcode == NPU_PACKET_TLB_INVALIDATE) {
    packet.asid = static_cast<uint16_t>(in_.number());
    packet.va = in_.number() * kPage;
    packet.bytes = in_.number() * kPage;
  }
  if (packet.opcode == NPU_PACKET_JOB) machine_.disbelieve();
  submit(to, &packet, how);
}

void Script::write_register() {
  const uint8_t which = in_.u8();
  const uint8_t size = in_.u8();
  const uint64_t offset = which == 0xff ? in_.u32() : kRegisters[which % std::size(kRegisters)];
  static constexpr unsigned kSizes[] = {4, 4, 8, 8, 4, 1, 2, 0};
  // Anything may follow from a table that is somewhere else.
  machine_.disbelieve();
  machine_.write(offset + (size & 0x10 ? 4 : 0) + (size & 0x20 ? 1 : 0), in_.number(),
                 kSizes[size % 8]);
}

// What a driver does to page tables, right or wrong.
void Script::change_table() {
  const uint32_t asid = 1 + in_.pick(kAsids - 1);
  const uint8_t how = in_.u8();
  const uint64_t va = (how & 0x80) != 0 ? in_.number() * kPage : in_.u8() * kPage;
  npu_memory memory;
  uint64_t at;
  if (!machine_.entry_address(asid, va, how & 3, memory, at)) return;
  uint64_t entry = 0;
  machine_.peek(memory, at, &entry, sizeof(entry));
  switch (how >> 2 & 7) {
    case 0:
      entry = 0;
      break;
    case 1:
      entry &= ~uint64_t{NPU_PTE_WRITE};
      break;
    case 2:
      entry &= ~uint64_t{NPU_PTE_READ};
      break;
    case 3:  // other rights, other kind, reserved bits
      machine_.disbelieve();
      entry ^= uint64_t{1} << in_.pick(64);
      break;
    case 4:  // a block
      machine_.disbelieve();
      entry = NPU_PTE_VALID | NPU_PTE_LEAF | NPU_PTE_READ | NPU_PTE_WRITE | NPU_PTE_CARD |
              (in_.number() << NPU_MMU_BLOCK_SHIFT);
      break;
    case 5:  // a cycle, or any other page as a table
      machine_.disbelieve();
      entry =
          (at & NPU_PTE_ADDRESS) | NPU_PTE_VALID | (memory == NPU_MEMORY_CARD ? NPU_PTE_CARD : 0);
      break;
    case 6:  // a page of the own data
      if ((how & 3) != 0) machine_.disbelieve();
      entry = (kHostData + (asid * kHostDataPages + in_.pick(kHostDataPages)) * kPage) |
              NPU_PTE_VALID | NPU_PTE_LEAF | NPU_PTE_READ | NPU_PTE_WRITE;
      break;
    default:
      machine_.disbelieve();
      entry = address();
      entry |= in_.pick(32);
  }
  machine_.poke(memory, at, &entry, sizeof(entry));
}

void Script::change_memory() {
  machine_.disbelieve();
  const auto memory = static_cast<npu_memory>(in_.pick(2));
  const uint64_t at = address();
  const uint64_t value = in_.number();
  machine_.poke(memory, at, &value, 1 + in_.pick(8));
}

void Script::change_queue() {
  const uint32_t index = queue();
  const uint8_t what = in_.u8();
  npu_queue_context c = machine_.context(index);
  if ((what & 1) != 0) c.priority = in_.pick(5);
  if ((what & 2) != 0) c.cycle_limit = in_.number();
  if ((what & 4) != 0) c.quantum = in_.number();
  if ((what & 8) != 0) {
    c.coalesce_count = in_.u8();
    c.coalesce_ns = static_cast<uint32_t>(in_.number());
  }
  if ((what & 16) != 0) c.core_mask = in_.u8();
  if ((what & 32) != 0) c.save_bytes = in_.number() & (kPage - 1);
  if ((what & 64) != 0) {
    machine_.disbelieve();
    change_words(in_, reinterpret_cast<uint8_t*>(&c), sizeof(c));
  }
  if ((what & 128) == 0)
    machine_.write(NPU_QUEUE_PAGE(index) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_STOP);
  machine_.run(0);
  machine_.start(index, c);
}

void Script::inject() {
  const uint32_t kind = in_.pick(16);
  const uint8_t how = in_.u8();
  const uint32_t to = (how & 1) != 0 ? queue() : NPU_INJECT_ANY_QUEUE;
  const uint32_t skip = how >> 1 & 7;
  const uint32_t count = how >> 4;
  const uint64_t argument = in_.number() * (kind == NPU_INJECT_THERMAL_TRIP ? 1000 : 1);
  const bool known = npu_model_inject(machine_.model(), kind, to, skip, count, argument);
  const bool sensible = kind != NPU_INJECT_AER || argument <= 63;
  if (known != (kind < NPU_INJECT_KINDS && sensible)) std::abort();
  if (ledger_ != nullptr && known) ledger_->count("npu_inject_kind", kind);
}

void Script::reset() {
  const uint8_t how = in_.u8();
  switch (how & 7) {
    case 0:
    case 1: {
      const uint32_t kind = (how & 1) != 0 ? NPU_RESET_KIND_CARD : NPU_RESET_KIND_CORE;
      machine_.write(NPU_REG_RESET, kind | (how >> 3 & 3) << 8);
      break;
    }
    case 2:
    case 3:
      npu_model_reset(machine_.model(),
                      (how & 1) != 0 ? NPU_MODEL_RESET_FLR : NPU_MODEL_RESET_POWER);
      // Card memory is wiped, what guards it too.
      if ((how & 8) == 0)
        machine_.set_up();
      else
        machine_.disbelieve();
      break;
    case 4:
      machine_.write(NPU_REG_CONTROL, how >> 3 & 1);
      break;
    default:
      machine_.write(NPU_QUEUE_PAGE(how >> 3 & 3) + NPU_QUEUE_CONTROL, how & 3);
  }
}

void Script::run_some() {
  const uint8_t how = in_.u8();
  const uint64_t budget = (how & 2) != 0 ? 1 + (how >> 3) : 0;
  if ((how & 4) != 0) machine_.clock_ns += (in_.number() & 0xffffffffff) * 1000;  // up to 12 days
  const uint32_t left = machine_.polls_left;
  // Cancelled soon, as when the machine stops.
  if ((how & 1) != 0) machine_.polls_left = std::min<uint32_t>(left, how >> 3);
  const uint32_t given = machine_.polls_left;
  run(budget);
  machine_.polls_left += left - given;
  if ((how & 5) != 0) disturbed_ = true;
}

// A STOP, an ABORT, a doorbell or a reset in the middle of the next run.
void Script::write_while_running() {
  const uint8_t how = in_.u8();
  const uint32_t page = NPU_QUEUE_PAGE(how >> 3 & 3);
  static constexpr uint32_t kCommands[] = {NPU_QUEUE_CMD_STOP, NPU_QUEUE_CMD_ABORT_JOB,
                                           NPU_QUEUE_CMD_START, NPU_QUEUE_CMD_STOP};
  machine_.write_after = in_.u8();
  if ((how & 4) == 0) {
    machine_.write_offset = page + NPU_QUEUE_CONTROL;
    machine_.write_value = kCommands[how & 3];
  } else {
    machine_.write_offset = (how & 2) != 0 ? NPU_REG_RESET : NPU_REG_CONTROL;
    machine_.write_value = (how & 2) == 0   ? 0
                           : (how & 1) != 0 ? uint32_t{NPU_RESET_KIND_CARD}
                                            : NPU_RESET_KIND_CORE | (how >> 3 & 1) << 8;
  }
}

// A card that cannot be is not made, and one that can be works.
void Script::try_configuration() {
  const uint8_t how = in_.u8();
  npu_model_host host = {};
  host.struct_size = sizeof(host);
  host.read = [](void*, uint64_t, void*, size_t) { return NPU_BUS_DECODE_ERROR; };
  host.write = [](void*, uint64_t, const void*, size_t) { return NPU_BUS_DECODE_ERROR; };
  host.raise_irq = [](void*, uint32_t) {};
  host.kick = [](void*) {};
  host.now_ns = [](void*) { return uint64_t{0}; };
  host.cancelled = [](void*) { return false; };
  npu_model_config config = {};
  config.struct_size = sizeof(config);
  config.abi = NPU_MODEL_ABI;
  config.target = small_target();
  // Bit 6: no card memory, so that the model makes its own.
  if ((how & 64) == 0) config.card_memory = machine_.card(0);
  auto* field = reinterpret_cast<uint8_t*>(&config);
  size_t bytes = offsetof(npu_model_config, serial);
  if ((how & 1) != 0) field = reinterpret_cast<uint8_t*>(&host), bytes = sizeof(host);
  const size_t at = in_.pick(static_cast<uint32_t>(bytes / 4)) * size_t{4};
  const bool changes_memory = (how & 1) == 0 && at - offsetof(npu_model_config, card_memory) < 8;
  // Memory of a size that is easy to find.
  const bool grows = (how & 1) == 0 && at == offsetof(npu_model_config, target.card_memory_mib);
  const uint32_t values[] = {0, 1, ~0u, 3, 0x10101010};
  const uint32_t value = values[(how >> 1 & 31) % std::size(values)];
  if ((how & 1) != 0 && at >= offsetof(npu_model_host, opaque))
    std::memset(field + at / 8 * 8, 0, 8);
  else if (!changes_memory && !grows)
    std::memcpy(field + at, &value, sizeof(value));
  const char* error = nullptr;
  npu_model* made = npu_model_create((how & 128) != 0 ? nullptr : &config, &host,
                                     (how & 32) != 0 ? nullptr : &error);
  if (made == nullptr && error == nullptr && (how & 32) == 0) std::abort();
  if (made == nullptr) return;
  npu_model_write(made, NPU_REG_CONTROL, NPU_CONTROL_ENABLE, 4);
  npu_model_write(made, NPU_QUEUE_PAGE(0) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_START, 4);
  npu_model_run(made, 0);
  npu_model_inject(made, NPU_INJECT_AER, NPU_INJECT_ANY_QUEUE, 0, 1, 0);
  npu_model_destroy(made);
}

void Script::rare() {
  disturbed_ = true;
  switch (in_.pick(5)) {
    case 0:
    case 1: {
      const size_t first = in_.u16();
      const size_t stride = in_.u8();
      machine_.load_all_changed(first, stride, in_.u8());
      break;
    }
    case 2: {
      const uint32_t to = queue();
      machine_.ring_too_much(to, 1 + in_.pick(4));
      break;
    }
    case 3:
      write_while_running();
      break;
    default:
      try_configuration();
  }
}

void Script::act() {
  const uint8_t what = in_.u8();
  if (what >= 0xe0) return rare();
  // Jobs, running them, looking at them, saving and loading.
  const unsigned kind = what % 16;
  if (kind >= 4 && kind != 7 && kind != 13 && kind != 15) disturbed_ = true;
  switch (kind) {
    case 0:
      run_some();
      break;
    case 1:
    case 2:
    case 3:
      submit_job();
      break;
    case 4:
      submit_transfer();
      break;
    case 5:
      submit_other();
      break;
    case 6:
      write_register();
      break;
    case 7: {
      const uint8_t which = in_.u8();
      const uint64_t offset = which == 0xff ? in_.u32() : kRegisters[which % std::size(kRegisters)];
      machine_.read(offset, 1u << (in_.u8() & 3));
      npu_model_deadline(machine_.model());
      break;
    }
    case 8:
      change_table();
      break;
    case 9:
      change_memory();
      break;
    case 10:
      change_queue();
      break;
    case 11:
      inject();
      break;
    case 12:
      reset();
      break;
    case 13: {
      const uint8_t how = in_.u8();
      if (how < 0x80) {
        machine_.save_and_load();
        break;
      }
      disturbed_ = true;
      const size_t position = in_.u16();
      machine_.load_changed(position, in_.u8(), how < 0xc0 ? 0 : static_cast<int>(how) - 0xe0);
      break;
    }
    case 14:
      machine_.fail_after = in_.u8();
      machine_.failure = static_cast<npu_model_bus>(1 + in_.pick(3));
      break;
    default:
      machine_.ring(queue());
  }
}

}  // namespace

void play_card_script(const uint8_t* data, size_t size, Ledger* ledger) {
  if (size < 2) return;
  if (data[0] % 8 == 4) return play_stream_script(data + 1, size - 1, ledger);
  if (data[0] % 8 == 5) return play_spoilt_streams(data + 1, size - 1);
  static constexpr model::Isa kIsas[] = {model::Isa::kAvx512Vnni, model::Isa::kAvx2,
                                         model::Isa::kScalar, model::Isa::kReference};
  Manner manner;
  if (data[0] % 8 == 7) manner.mode = NPU_MODEL_FUNCTION_ONLY;
  if (data[0] % 8 == 6) manner.mode = NPU_MODEL_TIMING_ONLY;
  model::Isa isa = kIsas[data[0] >> 3 & 3];
  if (!model::isa_available(isa)) isa = model::Isa::kScalar;
  model::force_isa_for_test(isa);
  static Memory memories[2];
  Script script(data + 1, size - 1, manner, memories[0], ledger);
  script.play();
  if (data[0] < 0x80 || manner.mode == NPU_MODEL_TIMING_ONLY) return;

  // What jobs leave does not depend on time, or on where the card stops for a
  // while and goes on in another process.
  if (data[0] < 0xc0) {
    if (!script.determined()) return;
    manner.mode = NPU_MODEL_FUNCTION_ONLY;
    manner.budget = 1 + (data[0] >> 3 & 7);
    Script again(data + 1, size - 1, manner, memories[1], nullptr);
    again.play();
    if (again.polls_left() <= 1) return;
    const auto data_of = [](const Memory& memory, bool card) {
      return card ? std::span(memory.card).subspan(kCardData)
                  : std::span(memory.host).subspan(kHostData);
    };
    for (const bool card : {false, true})
      if (!std::ranges::equal(data_of(memories[0], card), data_of(memories[1], card)))
        broken("what a job leaves in memory depends on when it runs");
    return;
  }
  // Every instruction set computes the same, bit for bit. Where the card paused
  // depends on its speed, so only scripts in which it hardly did are compared.
  if (isa == model::Isa::kReference) return;
  model::force_isa_for_test(model::Isa::kReference);
  Script again(data + 1, size - 1, manner, memories[1], nullptr);
  again.play();
  if (script.polls_left() != again.polls_left() || again.polls_left() == 0) return;
  if (memories[0].card != memories[1].card || memories[0].host != memories[1].host)
    broken("instruction sets disagree");
}

}  // namespace npu::fuzz
