// SPDX-License-Identifier: MIT
#include "card_script.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "commands.h"
#include "compute/kernels.h"
#include "input.h"
#include "machine.h"
#include "npu/command.h"
#include "npu/status.h"

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
};

class Script {
 public:
  Script(const uint8_t* data, size_t size, uint32_t mode, Memory& memory, Ledger* ledger)
      : in_(data, size), machine_(mode, memory, ledger), ledger_(ledger) {}

  void play() {
    machine_.set_up();
    machine_.run(0);
    for (unsigned i = 0; i < kMaxActions && !in_.empty(); ++i) act();
    machine_.fail_after = 0;
    machine_.run(0);
    machine_.check();
  }

  uint32_t polls_left() const { return machine_.polls_left; }

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

  void submit(uint32_t queue, void* packet, uint8_t how);
  uint32_t queue() { return in_.pick(kQueues); }
  uint64_t address();

  Input in_;
  Machine machine_;
  Ledger* const ledger_;
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

// `how`: bit 0 leaves the doorbell to a later action, bits 1 and 2 flags, bit 7 changes.
void Script::submit(uint32_t queue, void* packet, uint8_t how) {
  auto* bytes = static_cast<uint8_t*>(packet);
  bytes[1] |= (how & 2) != 0 ? NPU_PACKET_IRQ : 0;
  bytes[1] |= (how & 4) != 0 ? NPU_PACKET_CHAIN : 0;
  if ((how & 0x80) != 0) {
    // It may become a COPY or FILL.
    machine_.disbelieve();
    change_words(in_, bytes, sizeof(npu_packet));
  }
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
  for (unsigned core = 0; core < job.stream_count; ++core) {
    const std::vector<uint8_t> stream = make_stream(in_, core, job.stream_count, 6144);
    job.stream_bytes[core] = static_cast<uint32_t>(stream.size());
    all.insert(all.end(), stream.begin(), stream.end());
  }
  size_t& next = stream_next_[to];
  if (next + all.size() > kStreamArea) next = 0;
  job.stream_va = kVaHost + next;
  std::copy(all.begin(), all.end(), machine_.host(kHostData + to * kHostDataPages * kPage + next));
  next += all.size();
  if ((what & 64) != 0) job.stream_va = in_.number() * NPU_RECORD_BYTES;
  if ((what & 128) != 0) job.region_va = in_.number() * 8;
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
  if ((what & 32) != 0) c.save_area = 0;
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
  machine_.run(budget);
  machine_.polls_left += left - given;
}

void Script::act() {
  switch (in_.pick(16)) {
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
  if (data[0] % 8 >= 4 && data[0] % 8 <= 5) return play_stream_script(data + 1, size - 1, ledger);
  static constexpr model::Isa kIsas[] = {model::Isa::kAvx512Vnni, model::Isa::kAvx2,
                                         model::Isa::kScalar, model::Isa::kReference};
  const uint32_t mode = data[0] % 8 == 7   ? NPU_MODEL_FUNCTION_ONLY
                        : data[0] % 8 == 6 ? NPU_MODEL_TIMING_ONLY
                                           : NPU_MODEL_FULL;
  model::Isa isa = kIsas[data[0] >> 3 & 3];
  if (!model::isa_available(isa)) isa = model::Isa::kScalar;
  model::force_isa_for_test(isa);
  static Memory memories[2];
  Script script(data + 1, size - 1, mode, memories[0], ledger);
  script.play();
  if (data[0] < 0xc0 || isa == model::Isa::kReference) return;

  // Every instruction set computes the same, bit for bit. Where the card paused
  // depends on its speed, so only scripts in which it hardly did are compared.
  model::force_isa_for_test(model::Isa::kReference);
  Script again(data + 1, size - 1, mode, memories[1], nullptr);
  again.play();
  if (script.polls_left() != again.polls_left() || again.polls_left() == 0) return;
  if (memories[0].card != memories[1].card || memories[0].host != memories[1].host) {
    std::fprintf(stderr, "card-fuzz: instruction sets disagree\n");
    std::abort();
  }
}

}  // namespace npu::fuzz
