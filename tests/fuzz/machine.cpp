// SPDX-License-Identifier: MIT
#include "machine.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "arch/target.h"
#include "npu/command.h"
#include "npu/status.h"

namespace npu::fuzz {
namespace {

constexpr uint64_t kRingAt = 0;
constexpr uint64_t kCompletionsAt = 0x400;
constexpr uint64_t kIndicesAt = 0xc00;
constexpr uint32_t kEventLog2 = 4;
constexpr uint8_t kCanary = 0xc5;

[[noreturn]] void broken(const char* promise) {
  std::fprintf(stderr, "card-fuzz: the card broke a promise: %s\n", promise);
  std::abort();
}

void require(bool condition, const char* promise) {
  if (!condition) broken(promise);
}

uint64_t page_of(uint64_t address) {
  return address & ~(kPage - 1);
}

// What jobs find in card memory.
const std::vector<uint8_t>& pattern() {
  static const std::vector<uint8_t> bytes = [] {
    std::vector<uint8_t> made(kCardDataPages * kPage);
    for (size_t i = 0; i < made.size(); ++i) made[i] = static_cast<uint8_t>(i * 7 + (i >> 8));
    return made;
  }();
  return bytes;
}

// Of the completion at `in_page` of a queue's page.
uint64_t completion_slot(uint64_t in_page) {
  return (in_page - kCompletionsAt) / sizeof(npu_completion);
}

}  // namespace

npu_target small_target() {
  npu_target target = *arch::find_target("edge");
  std::snprintf(target.name, sizeof(target.name), "fuzz");
  target.cores = 2;
  target.mac_outputs = 16;
  target.mac_inputs = 16;
  target.accumulator_rows = 64;
  target.sram_bytes = 64 << 10;
  target.card_memory_mib = kCardBytes >> 20;
  target.tlb_entries = 6;
  target.queues = kQueues;
  target.vectors = 3;
  target.asids = kAsids;
  target.max_stream_bytes = 8192;
  return target;
}

Memory::Memory() : host(kHostBytes), card(kCardBytes) {}

void Memory::clear() {
  std::fill(host.begin(), host.end(), uint8_t{0});
  std::fill(card.begin(), card.end(), uint8_t{0});
}

Machine::Machine(uint32_t mode, Memory& memory, Ledger* ledger) : ledger_(ledger), memory_(memory) {
  memory_.clear();
  npu_model_host host = {};
  host.struct_size = sizeof(host);
  host.opaque = this;
  host.read = [](void* self, uint64_t address, void* data, size_t bytes) {
    return static_cast<Machine*>(self)->access(address, data, bytes, false);
  };
  host.write = [](void* self, uint64_t address, const void* data, size_t bytes) {
    auto* machine = static_cast<Machine*>(self);
    machine->check_write(address, data, bytes);
    return machine->access(address, const_cast<void*>(data), bytes, true);
  };
  host.write_rows = [](void* self, uint64_t address, uint64_t stride, const void* data,
                       size_t data_stride, size_t count, size_t bytes) {
    auto* machine = static_cast<Machine*>(self);
    require(count > 0 && (count - 1) * stride + bytes <= 256 * 1024,
            "rows written at once span at most 256 KiB");
    for (size_t i = 0; i < count; ++i) {
      const auto* row = static_cast<const uint8_t*>(data) + i * data_stride;
      machine->check_write(address + i * stride, row, bytes);
      const npu_model_bus result =
          machine->access(address + i * stride, const_cast<uint8_t*>(row), bytes, true);
      if (result != NPU_BUS_OK) return result;
    }
    return NPU_BUS_OK;
  };
  host.raise_irq = [](void*, uint32_t vector) {
    require(vector < small_target().vectors, "interrupt vectors exist");
  };
  host.kick = [](void*) {};
  host.now_ns = [](void* self) { return static_cast<Machine*>(self)->clock_ns; };
  host.cancelled = [](void* self) {
    auto* machine = static_cast<Machine*>(self);
    machine->other_processor();
    if (machine->polls_left == 0) return true;
    --machine->polls_left;
    return false;
  };
  host.log = [](void* self, const char* line) {
    auto* machine = static_cast<Machine*>(self);
    if (machine->ledger_ != nullptr && std::strstr(line, "not implemented") != nullptr)
      machine->ledger_->missing(line);
  };
  host.function_event = [](void*, npu_model_function_event, uint64_t) { return true; };
  npu_model_config config = {};
  config.struct_size = sizeof(config);
  config.abi = NPU_MODEL_ABI;
  config.target = small_target();
  config.card_memory = memory_.card.data();
  config.mode = mode;
  const char* error = nullptr;
  model_ = npu_model_create(&config, &host, &error);
  require(model_ != nullptr, error != nullptr ? error : "a valid configuration makes a card");
}

Machine::~Machine() {
  npu_model_destroy(model_);
}

void Machine::other_processor() {
  if (write_after != 0 && --write_after == 0) write(write_offset, write_value);
}

// What a job reads and writes is its own: a page is left alone while no packet of
// the queue of its address space is to be done.
void Machine::check_owner(uint64_t address) const {
  if (address < kHostData || address >= kHostSecret) return;
  const uint64_t owner = (address - kHostData) / (kHostDataPages * kPage);
  require(owner < kQueues && completed_[owner] < produced[owner],
          "a page is accessed for a job of its address space only");
}

npu_model_bus Machine::access(uint64_t address, void* data, size_t bytes, bool write) {
  require(bytes != 0 && bytes <= 256 * 1024, "a bus access has 1 byte to 256 KiB");
  if (fail_after != 0 && --fail_after == 0) return failure;
  if (address >> 32 == 0xf00d) return NPU_BUS_IOMMU_FAULT;
  if (address > kHostBytes || bytes > kHostBytes - address) return NPU_BUS_DECODE_ERROR;
  require(!trusted_ || (address >= kPage && address + bytes <= kHostSecret),
          "nothing is accessed that no table, ring or packet names");
  if (trusted_) check_owner(address);
  other_processor();
  if (write)
    std::memcpy(host(address), data, bytes);
  else
    std::memcpy(data, host(address), bytes);
  return NPU_BUS_OK;
}

// Writes go to the event ring, rings' completions and indices, save areas and
// what page tables map for writing; a completion's sequence comes last.
void Machine::check_write(uint64_t address, const void* data, size_t bytes) {
  if (!trusted_) return;
  const uint64_t page = page_of(address);
  if (page == kEventRing) return;
  if (page >= kQueuePages && page < kQueuePages + kQueues * kPage) {
    const uint64_t at = address - page;
    const uint64_t queue = (page - kQueuePages) / kPage;
    if (at >= kIndicesAt) return;
    require(at >= kCompletionsAt, "the card does not write rings");
    bool& body_written = body_written_[queue][completion_slot(at)];
    if (at % sizeof(npu_completion) != 0) {
      body_written = true;
      return;
    }
    require(bytes == sizeof(uint64_t), "a completion's sequence is written by itself");
    uint64_t sequence;
    std::memcpy(&sequence, data, sizeof(sequence));
    require((sequence - 1) % (1u << kRingLog2) == completion_slot(at),
            "completion i goes into slot i");
    require(std::exchange(body_written, false),
            "the rest of a completion comes before its sequence");
    uint32_t status;
    std::memcpy(&status, host(address + offsetof(npu_completion, status)), sizeof(status));
    require(status < NPU_STATUS_COUNT, "a completion's status is one of npu_status_code");
    well_ = well_ && status == NPU_STATUS_OK;
    completed_[queue] = sequence;
    return;
  }
  if (page >= kSavePages && page < kSavePages + kQueues * kPage) return;
  require(page >= kHostData && page < kHostSecret, "only data that is mapped is written");
}

npu_queue_context Machine::context(uint32_t queue) const {
  const uint64_t page = kQueuePages + queue * kPage;
  npu_queue_context c = {};
  c.ring = page + kRingAt;
  c.completions = page + kCompletionsAt;
  c.indices = page + kIndicesAt;
  c.ring_log2 = kRingLog2;
  c.asid = queue;
  c.priority = queue;
  c.vector = 1 + queue % 2;
  c.core_mask = 3;
  c.save_area = kSavePages + queue * kPage;
  c.save_bytes = kPage;
  return c;
}

uint64_t Machine::new_table(npu_memory memory) {
  uint64_t& next = memory == NPU_MEMORY_CARD ? card_tables_ : host_tables_;
  next += kPage;
  return (next - kPage) | (memory == NPU_MEMORY_CARD ? NPU_PTE_CARD : 0) | NPU_PTE_VALID;
}

void Machine::set_up() {
  host_tables_ = kHostTables;
  card_tables_ = kCardTables;
  std::memset(host(0), 0, kHostData);
  std::memset(host(kHostSecret), kCanary, kPage);
  std::memset(host(0), kCanary, kPage);
  std::memset(card(kCardSecret), kCanary, kPage);
  std::memset(card(kCardReadOnly), kCanary, kPage);
  // Address space 1 has its tables in host memory, 2 in card memory, 3 in both.
  // 0 has none: the kernel's queue runs no jobs.
  for (uint32_t asid = 1; asid < kAsids; ++asid) {
    uint64_t entry_at = kContextTable + asid * sizeof(npu_context);
    npu_memory holder = NPU_MEMORY_HOST;
    for (int level = NPU_MMU_LEVELS - 1; level >= 0; --level) {
      const bool in_card = asid == 2 || (asid == 3 && level % 2 == 0);
      const uint64_t entry = new_table(in_card ? NPU_MEMORY_CARD : NPU_MEMORY_HOST);
      poke(holder, entry_at, &entry, sizeof(entry));
      holder = in_card ? NPU_MEMORY_CARD : NPU_MEMORY_HOST;
      entry_at = entry & NPU_PTE_ADDRESS;
      if (in_card) std::memset(card(entry_at), 0, kPage);
    }
    const uint64_t both = NPU_PTE_VALID | NPU_PTE_LEAF | NPU_PTE_READ | NPU_PTE_WRITE;
    const uint64_t host_data = kHostData + asid * kHostDataPages * kPage;
    const uint64_t card_data = kCardData + asid * kCardDataPages * kPage;
    for (uint64_t i = 0; i < kHostDataPages; ++i)
      map(asid, kVaHost + i * kPage, (host_data + i * kPage) | both);
    for (uint64_t i = 0; i < kCardDataPages; ++i)
      map(asid, kVaCard + i * kPage, (card_data + i * kPage) | both | NPU_PTE_CARD);
    map(asid, kVaReadOnly,
        kCardReadOnly | NPU_PTE_VALID | NPU_PTE_LEAF | NPU_PTE_CARD | NPU_PTE_READ);
    const uint64_t regions[] = {kVaCard,     kVaRegion1,        kVaReadOnly,
                                kVaUnmapped, uint64_t{1} << 47, ~uint64_t{0}};
    poke(NPU_MEMORY_HOST, host_data + kVaRegions, regions, sizeof(regions));
    std::memcpy(card(card_data), pattern().data(), pattern().size());
  }
  write(NPU_REG_CONTEXT_TABLE, kContextTable, 8);
  write(NPU_REG_CONTEXT_COUNT, kAsids);
  write(NPU_REG_QUEUE_TABLE, kQueueTable, 8);
  write(NPU_REG_QUEUE_COUNT, kQueues);
  write(NPU_REG_EVENT_RING, kEventRing, 8);
  write(NPU_REG_EVENT_LOG2, kEventLog2);
  write(NPU_REG_CONTROL, NPU_CONTROL_ENABLE);
  events_seen_ = 0;
  expected_.clear();
  for (uint32_t queue = 0; queue < kQueues; ++queue) {
    produced[queue] = seen_[queue] = completed_[queue] = 0;
    std::fill(std::begin(body_written_[queue]), std::end(body_written_[queue]), false);
    start(queue, context(queue));
  }
}

void Machine::start(uint32_t queue, const npu_queue_context& context) {
  poke(NPU_MEMORY_HOST, kQueueTable + queue * sizeof(context), &context, sizeof(context));
  write(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_START);
}

bool Machine::poke(npu_memory memory, uint64_t address, const void* data, size_t bytes) {
  const uint64_t size = memory == NPU_MEMORY_CARD ? kCardBytes : kHostBytes;
  if (address > size || bytes > size - address) return false;
  std::memcpy(memory == NPU_MEMORY_CARD ? card(address) : host(address), data, bytes);
  return true;
}

bool Machine::peek(npu_memory memory, uint64_t address, void* data, size_t bytes) {
  const uint64_t size = memory == NPU_MEMORY_CARD ? kCardBytes : kHostBytes;
  if (address > size || bytes > size - address) return false;
  std::memcpy(data, memory == NPU_MEMORY_CARD ? card(address) : host(address), bytes);
  return true;
}

bool Machine::entry_address(uint32_t asid, uint64_t va, int level, npu_memory& memory,
                            uint64_t& address) {
  memory = NPU_MEMORY_HOST;
  address = kContextTable + asid * sizeof(npu_context);
  for (int l = NPU_MMU_LEVELS - 1; l >= level; --l) {
    uint64_t entry;
    if (!peek(memory, address, &entry, sizeof(entry)) || (entry & NPU_PTE_VALID) == 0) return false;
    memory = (entry & NPU_PTE_CARD) != 0 ? NPU_MEMORY_CARD : NPU_MEMORY_HOST;
    const int shift = NPU_MMU_PAGE_SHIFT + l * NPU_MMU_LEVEL_BITS;
    address = (entry & NPU_PTE_ADDRESS) + (va >> shift & (NPU_MMU_ENTRIES - 1)) * 8;
  }
  return true;
}

void Machine::map(uint32_t asid, uint64_t va, uint64_t entry) {
  npu_memory memory;
  uint64_t address;
  if (entry_address(asid, va, 0, memory, address)) poke(memory, address, &entry, sizeof(entry));
}

void Machine::submit(uint32_t queue, const void* packet, bool with_doorbell) {
  const uint64_t slot = produced[queue] % (1u << kRingLog2);
  std::memcpy(host(kQueuePages + queue * kPage + kRingAt + slot * sizeof(npu_packet)), packet,
              sizeof(npu_packet));
  ++produced[queue];
  if (with_doorbell) ring(queue);
}

void Machine::ring(uint32_t queue) {
  const uint64_t producer = produced[queue];
  poke(NPU_MEMORY_HOST, kQueuePages + queue * kPage + kIndicesAt, &producer, sizeof(producer));
  write(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_DOORBELL, static_cast<uint32_t>(producer));
}

void Machine::ring_too_much(uint32_t queue, uint32_t more) {
  run(0);
  const uint64_t page = NPU_QUEUE_PAGE(queue);
  const uint64_t before = read(page + NPU_QUEUE_STATE);
  const auto end = static_cast<uint32_t>(read(page + NPU_QUEUE_CONSUMER)) + (1u << kRingLog2);
  write(page + NPU_QUEUE_DOORBELL, end + more);
  const uint32_t polls = polls_left;
  run(0);
  const bool told = before == NPU_QUEUE_IDLE && believed_ && polls > 1 && write_after == 0 &&
                    read(NPU_REG_MAGIC) == NPU_MAGIC;
  require(!told || read(page + NPU_QUEUE_STATE) == NPU_QUEUE_ERROR,
          "a doorbell for more packets than the ring holds is an error");
}

bool Machine::all_well() const {
  return trusted_ && well_ && polls_left > 0 &&
         std::equal(produced, produced + kQueues, completed_);
}

void Machine::expect(uint32_t queue, uint64_t va, std::vector<uint8_t> bytes) {
  if (ledger_ == nullptr) return;
  const uint64_t at = kHostData + queue * kHostDataPages * kPage + va;
  expected_.push_back({queue, produced[queue], at, std::move(bytes)});
}

npu_model_run_result Machine::run(uint64_t budget) {
  const npu_model_run_result result = npu_model_run(model_, budget);
  check_rings();
  observe();
  return result;
}

// What a job that ended well consisted of, unless its bytes have been replaced since.
void Machine::retired(const Expected& job) {
  if (job.bytes.empty() ||
      std::memcmp(host(job.host_address), job.bytes.data(), job.bytes.size()) != 0)
    return;
  for (size_t at = 0; at + NPU_RECORD_BYTES <= job.bytes.size();) {
    npu_command_header header;
    std::memcpy(&header, &job.bytes[at], sizeof(header));
    ledger_->count("npu_opcode", header.opcode);
    if (header.opcode == NPU_OP_VEC) {
      npu_command_vec vec;
      std::memcpy(&vec, &job.bytes[at], sizeof(vec));
      ledger_->count("npu_vec_function", vec.function);
    }
    if (header.records == 2 && at + 2 * NPU_RECORD_BYTES <= job.bytes.size()) {
      npu_mac_extension extension;
      std::memcpy(&extension, &job.bytes[at + NPU_RECORD_BYTES], sizeof(extension));
      ledger_->count("npu_pool_kind", extension.pool_kind);
    }
    at += std::max<size_t>(header.records, 1) * NPU_RECORD_BYTES;
  }
}

void Machine::check_rings() {
  if (!believed_ || read(NPU_REG_MAGIC) != NPU_MAGIC) return;
  for (uint32_t queue = 0; queue < kQueues; ++queue) {
    const uint64_t page = NPU_QUEUE_PAGE(queue);
    require(read(page + NPU_QUEUE_PRODUCER) - read(page + NPU_QUEUE_CONSUMER) <= 1u << kRingLog2,
            "a queue has no more packets than its ring");
  }
}

void Machine::observe() {
  if (ledger_ == nullptr) return;
  for (uint32_t queue = 0; queue < kQueues; ++queue) {
    const uint64_t page = kQueuePages + queue * kPage;
    ledger_->count("npu_queue_state", read(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_STATE));
    while (believed_ && seen_[queue] < produced[queue]) {
      const uint64_t slot = seen_[queue] % (1u << kRingLog2);
      npu_completion completion;
      std::memcpy(&completion, host(page + kCompletionsAt + slot * sizeof(completion)),
                  sizeof(completion));
      if (completion.sequence != seen_[queue] + 1) break;
      npu_packet packet;
      std::memcpy(&packet, host(page + kRingAt + slot * sizeof(packet)), sizeof(packet));
      ledger_->count("npu_status_code", completion.status);
      if (completion.status == NPU_STATUS_OK) ledger_->count("npu_packet_opcode", packet.opcode);
      if (completion.status == NPU_STATUS_MMU_FAULT)
        ledger_->count("npu_access", completion.access);
      if (completion.status != NPU_STATUS_OK) ledger_->count("npu_engine", completion.engine);
      std::erase_if(expected_, [&](const Expected& job) {
        if (job.queue != queue || job.packet != seen_[queue]) return false;
        if (completion.status == NPU_STATUS_OK) retired(job);
        return true;
      });
      ++seen_[queue];
    }
  }
  if ((read(NPU_REG_FEATURES) & NPU_FEATURE_PREEMPT) == 0)
    ledger_->missing("PREEMPTED: the card's features do not have it");
  for (uint32_t core = 0; core < small_target().cores; ++core)
    ledger_->count("NPU_CORE_STATE", read(NPU_REG_CORE(core, NPU_CORE_STATE)) & 0xff);
  const auto tail = static_cast<uint32_t>(read(NPU_REG_EVENT_TAIL));
  while (believed_ && tail - events_seen_ - 1 < 1u << kEventLog2) {
    npu_event event;
    std::memcpy(&event, host(kEventRing + events_seen_ % (1u << kEventLog2) * sizeof(event)),
                sizeof(event));
    ledger_->count("npu_event_type", event.type);
    if (event.type == NPU_EVENT_RESET) ledger_->count("NPU_RESET_KIND", event.value & 0xff);
    ++events_seen_;
  }
}

void Machine::check() {
  const auto magic = static_cast<uint32_t>(read(NPU_REG_MAGIC));
  require(magic == NPU_MAGIC || magic == ~0u, "the magic reads as itself or, gone, as ones");
  if (magic == NPU_MAGIC)
    for (uint32_t queue = 0; queue < kQueues; ++queue)
      require(read(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_STATE) <= NPU_QUEUE_ERROR,
              "a queue's state is one of npu_queue_state");
  if (!trusted_) return;
  const std::vector<uint8_t> canary(kPage, kCanary);
  require(std::memcmp(host(0), canary.data(), kPage) == 0 &&
              std::memcmp(host(kHostSecret), canary.data(), kPage) == 0,
          "bus memory that nothing maps stays as it was");
  require(std::memcmp(card(kCardSecret), canary.data(), kPage) == 0,
          "card memory that nothing maps stays as it was");
  require(std::memcmp(card(kCardReadOnly), canary.data(), kPage) == 0,
          "a page mapped for reading is not written");
}

// Loading makes the time start anew; from then on, saving and loading changes nothing.
void Machine::save_and_load() {
  std::vector<uint8_t> states[2];
  for (auto& state : states) {
    state.resize(npu_model_save(model_, nullptr, 0));
    require(!state.empty(), "any state can be saved");
    require(npu_model_save(model_, state.data(), state.size() - 1) == 0,
            "a buffer that is too small is refused");
    require(npu_model_save(model_, state.data(), state.size()) == state.size(),
            "a state has the size that was announced");
    require(npu_model_load(model_, state.data(), state.size()), "a saved state can be loaded");
  }
  std::vector<uint8_t> again(npu_model_save(model_, nullptr, 0));
  npu_model_save(model_, again.data(), again.size());
  require(again == states[1], "a loaded state is what was saved");
}

void Machine::load_changed(size_t position, uint8_t value, int cut) {
  std::vector<uint8_t> state(npu_model_save(model_, nullptr, 0));
  npu_model_save(model_, state.data(), state.size());
  disbelieve();
  state[position % state.size()] = value;
  if (cut < 0)
    state.resize(state.size() - std::min<size_t>(state.size(), static_cast<size_t>(-cut)));
  else
    state.resize(state.size() + static_cast<size_t>(cut));
  if (npu_model_load(model_, state.data(), state.size())) return;
  require(read(NPU_REG_CONTROL) == 0 && read(NPU_REG_MAGIC) == NPU_MAGIC,
          "a state that is refused leaves the card reset");
}

void Machine::load_all_changed(size_t first, size_t stride, uint8_t value) {
  constexpr unsigned kPositions = 96;
  std::vector<uint8_t> state(npu_model_save(model_, nullptr, 0));
  npu_model_save(model_, state.data(), state.size());
  disbelieve();
  for (unsigned i = 0; i < kPositions && polls_left > 1; ++i, first += stride) {
    const uint8_t good = std::exchange(state[first % state.size()], value);
    if (npu_model_load(model_, state.data(), state.size()))
      npu_model_run(model_, 2);
    else
      require(read(NPU_REG_CONTROL) == 0 && read(NPU_REG_MAGIC) == NPU_MAGIC,
              "a state that is refused leaves the card reset");
    state[first % state.size()] = good;
  }
  require(npu_model_load(model_, state.data(), state.size()), "a saved state can be loaded");
}

}  // namespace npu::fuzz
