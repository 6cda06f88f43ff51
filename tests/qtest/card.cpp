// SPDX-License-Identifier: MIT
#include "card.h"

#include <chrono>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "arch/stream.h"
#include "arch/test_commands.h"

namespace npu::qtest {

Card::Card(QtestMachine& machine, unsigned bus, unsigned device, uint64_t memory,
           uint64_t first_bar)
    : Endpoint(machine, bus, device), next_(memory), first_bar_(first_bar), queues_(64) {}

void Card::bring_up() {
  if (bar(NPU_BAR_REGISTERS) == 0) place_bars(first_bar_);
  enable();
  const uint32_t asids = 16;
  if (contexts_ == 0) {
    contexts_ = allocate(asids * sizeof(npu_context));
    queue_table_ = allocate(queues_.size() * sizeof(npu_queue_context));
    events_ = allocate(sizeof(npu_event) << kEventLog2);
    messages_ = allocate(64 * 4);
  }
  enable_msix(messages_);
  events_seen_ = 0;
  set_reg64(NPU_REG_CONTEXT_TABLE, contexts_);
  set_reg(NPU_REG_CONTEXT_COUNT, asids);
  set_reg64(NPU_REG_QUEUE_TABLE, queue_table_);
  set_reg(NPU_REG_QUEUE_COUNT, static_cast<uint32_t>(queues_.size()));
  set_reg64(NPU_REG_EVENT_RING, events_);
  set_reg(NPU_REG_EVENT_LOG2, kEventLog2);
  set_reg(NPU_REG_CONTROL, NPU_CONTROL_ENABLE);
}

uint64_t Card::allocate(uint64_t bytes, uint64_t alignment) {
  next_ = (next_ + alignment - 1) & ~(alignment - 1);
  const uint64_t at = next_;
  next_ += bytes;
  if (next_ > QtestMachine::kMemoryBytes) throw std::length_error("out of the machine's memory");
  machine_->zero(at, bytes);
  return at;
}

uint64_t Card::entry_address(uint16_t asid, uint64_t va) {
  uint64_t at = contexts_ + uint64_t{asid} * sizeof(npu_context);
  for (int level = NPU_MMU_LEVELS - 1; level >= 0; --level) {
    auto entry = machine_->load<uint64_t>(at);
    if ((entry & NPU_PTE_VALID) == 0) {
      entry = allocate(4096) | NPU_PTE_VALID;
      machine_->store(at, entry);
    }
    const int shift = NPU_MMU_PAGE_SHIFT + level * NPU_MMU_LEVEL_BITS;
    at = (entry & NPU_PTE_ADDRESS) + (va >> shift & (NPU_MMU_ENTRIES - 1)) * 8;
  }
  return at;
}

void Card::map(uint16_t asid, uint64_t va, npu_memory memory, uint64_t address, uint64_t bytes,
               uint64_t rights) {
  const uint64_t card = memory == NPU_MEMORY_CARD ? NPU_PTE_CARD : 0;
  for (uint64_t at = 0; at < bytes; at += 4096)
    machine_->store<uint64_t>(entry_address(asid, va + at),
                              (address + at) | NPU_PTE_VALID | NPU_PTE_LEAF | card | rights);
}

void Card::unmap(uint16_t asid, uint64_t va, uint64_t bytes) {
  for (uint64_t at = 0; at < bytes; at += 4096)
    machine_->store<uint64_t>(entry_address(asid, va + at), 0);
}

npu_queue_context Card::make_context(uint32_t queue, uint16_t asid) {
  npu_queue_context c = {};
  c.ring = allocate(sizeof(npu_packet) << kRingLog2);
  c.completions = allocate(sizeof(npu_completion) << kRingLog2);
  c.indices = allocate(sizeof(npu_queue_indices), 64);
  c.ring_log2 = kRingLog2;
  c.asid = asid;
  c.priority = 1;
  c.vector = 1 + queue % (vectors() - 1);
  c.core_mask = 1;
  return c;
}

void Card::start(uint32_t queue, const npu_queue_context& context) {
  queues_[queue].context = context;
  queues_[queue].produced = machine_->load<npu_queue_indices>(context.indices).producer;
  machine_->store(queue_table_ + uint64_t{queue} * sizeof(context), context);
  set_reg(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_START);
  EXPECT_TRUE(eventually([&] { return state(queue) != NPU_QUEUE_DISABLED; })) << "queue " << queue;
}

uint64_t Card::submit_bytes(uint32_t queue, const void* packet) {
  Queue& q = queues_[queue];
  const uint64_t slot = q.produced & ((1u << q.context.ring_log2) - 1);
  machine_->write(q.context.ring + slot * sizeof(npu_packet), packet, sizeof(npu_packet));
  machine_->store<uint64_t>(q.context.indices, ++q.produced);
  set_reg(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_DOORBELL, static_cast<uint32_t>(q.produced));
  return q.produced - 1;
}

npu_completion Card::completion(uint32_t queue, uint64_t index) {
  const npu_queue_context& c = queues_[queue].context;
  return machine_->load<npu_completion>(c.completions + (index & ((1u << c.ring_log2) - 1)) *
                                                            sizeof(npu_completion));
}

npu_completion Card::wait(uint32_t queue, uint64_t index) {
  EXPECT_TRUE(eventually([&] { return completed(queue, index); }))
      << "packet " << index << " of queue " << queue << ", which is in state " << state(queue);
  return completion(queue, index);
}

std::vector<npu_event> Card::events() {
  std::vector<npu_event> out;
  const uint32_t tail = reg(NPU_REG_EVENT_TAIL);
  for (; events_seen_ != tail; ++events_seen_)
    out.push_back(
        machine_->load<npu_event>(events_ + events_seen_ % (1u << kEventLog2) * sizeof(npu_event)));
  set_reg(NPU_REG_EVENT_HEAD, tail);
  return out;
}

npu_packet_job Card::job(uint16_t asid, std::span<const std::byte> stream, uint8_t flags) {
  const uint64_t bytes = (stream.size() + 4095) & ~uint64_t{4095};
  const uint64_t memory = allocate(bytes), table = allocate(4096);
  const uint64_t stream_va = next_va_, table_va = next_va_ + bytes;
  next_va_ += bytes + 4096;
  machine_->write(memory, stream.data(), stream.size());
  machine_->store<uint64_t>(table, kDataVa);
  map(asid, stream_va, NPU_MEMORY_HOST, memory, bytes);
  map(asid, table_va, NPU_MEMORY_HOST, table, 4096);
  npu_packet_job packet = {};
  packet.opcode = NPU_PACKET_JOB;
  packet.flags = flags;
  packet.stream_count = 1;
  packet.region_count = 1;
  packet.stream_va = stream_va;
  packet.region_va = table_va;
  packet.stream_bytes[0] = static_cast<uint32_t>(stream.size());
  return packet;
}

npu_packet_copy copy_packet(npu_memory from, uint64_t source, npu_memory to, uint64_t destination,
                            uint64_t bytes, uint8_t flags) {
  npu_packet_copy packet = {};
  packet.opcode = NPU_PACKET_COPY;
  packet.flags = flags;
  packet.source_memory = static_cast<uint8_t>(from);
  packet.destination_memory = static_cast<uint8_t>(to);
  packet.source = source;
  packet.destination = destination;
  packet.bytes = bytes;
  return packet;
}

npu_packet_fill fill_packet(npu_memory to, uint64_t destination, uint64_t bytes, uint32_t pattern,
                            uint8_t flags) {
  npu_packet_fill packet = {};
  packet.opcode = NPU_PACKET_FILL;
  packet.flags = flags;
  packet.destination_memory = static_cast<uint8_t>(to);
  packet.destination = destination;
  packet.bytes = bytes;
  packet.pattern = pattern;
  return packet;
}

npu_packet nop_packet(uint8_t flags) {
  npu_packet packet = {};
  packet.opcode = NPU_PACKET_NOP;
  packet.flags = flags;
  return packet;
}

npu_packet_tlb_invalidate invalidate_packet(uint16_t asid, uint64_t va, uint64_t bytes) {
  npu_packet_tlb_invalidate packet = {};
  packet.opcode = NPU_PACKET_TLB_INVALIDATE;
  packet.asid = asid;
  packet.va = va;
  packet.bytes = bytes;
  return packet;
}

// --- Streams ------------------------------------------------------------------

namespace {

npu_command_dma contiguous(npu_opcode opcode, uint64_t offset, uint32_t sram, uint32_t bytes) {
  npu_command_dma dma = {};
  dma.header.opcode = static_cast<uint8_t>(opcode);
  dma.external_offset = offset;
  dma.sram_address = sram;
  dma.size[0] = bytes;
  dma.size[1] = dma.size[2] = dma.size[3] = 1;
  dma.external_stride[0] = dma.sram_stride[0] = 1;
  return dma;
}

}  // namespace

std::vector<std::byte> long_stream(uint32_t bytes, int products) {
  arch::StreamBuilder stream;
  constexpr uint32_t kAt = 1 << 20;  // behind the operands of the products
  const uint32_t loaded = stream.append(contiguous(NPU_OP_LOAD, 0, kAt, bytes));
  const npu_command_mac mac = arch::test::matmul(256, 512, 512);
  uint32_t done = 0;
  for (int i = 0; i < products; ++i) done = stream.append(mac);
  npu_command_dma store = contiguous(NPU_OP_STORE, kCopyTo, kAt, bytes);
  arch::add_wait(store.header, NPU_ENGINE_LOAD, loaded);
  if (products > 0) arch::add_wait(store.header, NPU_ENGINE_MAC, done);
  stream.append(store);
  return stream.bytes();
}

std::vector<std::byte> copy_stream(uint32_t bytes) {
  return long_stream(bytes, 0);
}

// --- The fixture --------------------------------------------------------------

void MachineTest::wait_until_running(uint32_t queue) {
  const uint32_t heartbeat = NPU_QUEUE_PAGE(queue) + NPU_QUEUE_HEARTBEAT;
  ASSERT_TRUE(eventually([&] { return card().state(queue) == NPU_QUEUE_RUNNING; }));
  const uint32_t before = card().reg(heartbeat);
  ASSERT_TRUE(eventually([&] { return card().reg(heartbeat) != before; }));
  // Beyond the checks: it executes commands.
  ASSERT_TRUE(eventually([&] { return card().reg(NPU_REG_CORE(0, NPU_CORE_COMMAND)) > 1; }));
  ASSERT_EQ(card().state(queue), NPU_QUEUE_RUNNING) << "too short to be caught";
}

void MachineTest::expect_silence(uint32_t queue, uint64_t packet) {
  for (int i = 0; i < 10; ++i) {
    machine().clock_step(10'000'000);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_FALSE(card().completed(queue, packet));
    for (unsigned v = 0; v < 9; ++v) EXPECT_FALSE(card().take_message(v)) << "vector " << v;
  }
}

void MachineTest::SetUp() {
  const std::string why = QtestMachine::missing();
  if (!why.empty()) GTEST_SKIP() << why;
}

void MachineTest::start(const std::string& properties, const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {"-device", "npu,id=npu0,addr=4,card-memory-mib=16" +
                                                 (properties.empty() ? "" : "," + properties)};
  all.insert(all.end(), arguments.begin(), arguments.end());
  machine_ = std::make_unique<QtestMachine>(all);
  card_ = std::make_unique<Card>(*machine_, 0, 4);
  card_->bring_up();
}

}  // namespace npu::qtest
