// SPDX-License-Identifier: MIT
#include "testing/card_driver.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace npu::model::testing {
namespace {

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "card driver: %s\n", what);
  std::abort();
}

}  // namespace

npu_target read_target(CardPort& port) {
  uint32_t words[NPU_TARGET_WORDS];
  for (uint32_t i = 0; i < NPU_TARGET_WORDS; ++i)
    words[i] = static_cast<uint32_t>(port.bar_read(NPU_BAR_REGISTERS, NPU_REG_CAPS + 4 * i, 4));
  npu_target target;
  std::memcpy(&target, words, sizeof(target));
  return target;
}

CardDriver::CardDriver(CardPort& port, const npu_target& target)
    : port_(&port), target_(target), queues_(target.queues) {}

void CardDriver::program() {
  if (context_table_ == 0) {
    memory_next_ = port_->memory_begin();
    context_table_ = allocate(uint64_t{target_.asids} * sizeof(npu_context));
    queue_table_ = allocate(uint64_t{target_.queues} * sizeof(npu_queue_context));
    event_ring_ = allocate(sizeof(npu_event) << kEventLog2);
  }
  events_seen_ = read(NPU_REG_EVENT_TAIL);
  write64(NPU_REG_CONTEXT_TABLE, context_table_);
  write(NPU_REG_CONTEXT_COUNT, target_.asids);
  write64(NPU_REG_QUEUE_TABLE, queue_table_);
  write(NPU_REG_QUEUE_COUNT, target_.queues);
  write64(NPU_REG_EVENT_RING, event_ring_);
  write(NPU_REG_EVENT_LOG2, kEventLog2);
  write(NPU_REG_CONTROL, NPU_CONTROL_ENABLE);
}

uint64_t CardDriver::allocate(uint64_t bytes, uint64_t alignment) {
  const uint64_t at = (memory_next_ + alignment - 1) & ~(alignment - 1);
  memory_next_ = at + bytes;
  if (memory_next_ > port_->memory_end()) die("out of bus memory");
  return at;
}

uint64_t CardDriver::allocate_card(uint64_t bytes, uint64_t alignment) {
  const uint64_t at = (card_next_ + alignment - 1) & ~(alignment - 1);
  card_next_ = at + bytes;
  if (card_next_ > uint64_t{target_.card_memory_mib} << 20) die("out of card memory");
  return at;
}

uint64_t CardDriver::pte_address(uint16_t asid, uint64_t va, int level) {
  uint64_t entry_at = context_table_ + uint64_t{asid} * sizeof(npu_context);
  for (int l = NPU_MMU_LEVELS - 1;; --l) {
    auto entry = load<uint64_t>(entry_at);
    if ((entry & NPU_PTE_VALID) == 0) {
      entry = allocate(4096) | NPU_PTE_VALID;
      store(entry_at, entry);
    }
    const int shift = NPU_MMU_PAGE_SHIFT + l * NPU_MMU_LEVEL_BITS;
    entry_at = (entry & NPU_PTE_ADDRESS) + (va >> shift & (NPU_MMU_ENTRIES - 1)) * 8;
    if (l == level) return entry_at;
  }
}

void CardDriver::map(uint16_t asid, uint64_t va, npu_memory memory, uint64_t address,
                     uint64_t bytes, uint64_t rights) {
  const uint64_t card = memory == NPU_MEMORY_CARD ? NPU_PTE_CARD : 0;
  for (uint64_t at = 0; at < bytes; at += 4096)
    store<uint64_t>(pte_address(asid, va + at),
                    (address + at) | NPU_PTE_VALID | NPU_PTE_LEAF | card | rights);
}

void CardDriver::map_block(uint16_t asid, uint64_t va, npu_memory memory, uint64_t address,
                           uint64_t rights) {
  const uint64_t card = memory == NPU_MEMORY_CARD ? NPU_PTE_CARD : 0;
  store<uint64_t>(pte_address(asid, va, 1), address | NPU_PTE_VALID | NPU_PTE_LEAF | card | rights);
}

void CardDriver::unmap(uint16_t asid, uint64_t va, uint64_t bytes) {
  for (uint64_t at = 0; at < bytes; at += 4096) store<uint64_t>(pte_address(asid, va + at), 0);
}

uint64_t CardDriver::map_new(uint16_t asid, uint64_t va, uint64_t bytes, npu_memory memory,
                             uint64_t rights) {
  bytes = (bytes + 4095) & ~uint64_t{4095};
  const uint64_t at = memory == NPU_MEMORY_CARD ? allocate_card(bytes) : allocate(bytes);
  map(asid, va, memory, at, bytes, rights);
  return at;
}

npu_queue_context CardDriver::make_context(uint32_t queue, uint16_t asid) {
  npu_queue_context c = {};
  c.ring = allocate(sizeof(npu_packet) << kRingLog2);
  c.completions = allocate(sizeof(npu_completion) << kRingLog2);
  c.indices = allocate(sizeof(npu_queue_indices), 64);
  c.ring_log2 = kRingLog2;
  c.asid = asid;
  c.priority = 1;
  c.vector = 1 + queue % (target_.vectors - 1);
  c.core_mask = (1u << target_.cores) - 1;
  return c;
}

void CardDriver::start(uint32_t queue, const npu_queue_context& context) {
  queues_[queue].context = context;
  if (context.indices < port_->memory_end())  // a test may want it to be bad
    queues_[queue].produced = load<npu_queue_indices>(context.indices).producer;
  store(queue_table_ + uint64_t{queue} * sizeof(context), context);
  command(queue, NPU_QUEUE_CMD_START);
}

uint64_t CardDriver::put_bytes(uint32_t queue, const void* packet) {
  QueueState& q = queues_[queue];
  const uint64_t slot = q.produced & ((1u << q.context.ring_log2) - 1);
  port_->write_memory(q.context.ring + slot * sizeof(npu_packet), packet, sizeof(npu_packet));
  return q.produced++;
}

void CardDriver::ring(uint32_t queue) {
  const QueueState& q = queues_[queue];
  store(q.context.indices, q.produced);
  write(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_DOORBELL, static_cast<uint32_t>(q.produced));
}

npu_completion CardDriver::completion(uint32_t queue, uint64_t index) {
  const npu_queue_context& c = queues_[queue].context;
  return load<npu_completion>(c.completions +
                              (index & ((1u << c.ring_log2) - 1)) * sizeof(npu_completion));
}

uint64_t CardDriver::consumer(uint32_t queue) {
  return load<npu_queue_indices>(queues_[queue].context.indices).consumer;
}

std::vector<npu_event> CardDriver::events() {
  std::vector<npu_event> out;
  const uint32_t tail = read(NPU_REG_EVENT_TAIL);
  for (; events_seen_ != tail; ++events_seen_)
    out.push_back(
        load<npu_event>(event_ring_ + events_seen_ % (1u << kEventLog2) * sizeof(npu_event)));
  write(NPU_REG_EVENT_HEAD, tail);
  return out;
}

// --- Jobs ---------------------------------------------------------------------

JobSpace::JobSpace(CardDriver& driver, uint16_t asid, npu_memory data, Sizes sizes)
    : driver_(driver), memory_(data) {
  streams_ = driver_.map_new(asid, kStreamVa, sizes.streams);
  const uint64_t table = driver_.map_new(asid, kTableVa, 4096);
  driver_.store<uint64_t>(table, kDataVa);
  data_ = driver_.map_new(asid, kDataVa, sizes.data, data);
}

void JobSpace::read(uint64_t offset, void* data, size_t bytes) {
  if (memory_ == NPU_MEMORY_CARD)
    driver_.port().read_card(data_ + offset, data, bytes);
  else
    driver_.port().read_memory(data_ + offset, data, bytes);
}

void JobSpace::write(uint64_t offset, const void* data, size_t bytes) {
  if (memory_ == NPU_MEMORY_CARD)
    driver_.port().write_card(data_ + offset, data, bytes);
  else
    driver_.port().write_memory(data_ + offset, data, bytes);
}

npu_packet_job JobSpace::packet(std::span<const std::byte> stream, uint8_t flags, uint64_t at) {
  driver_.port().write_memory(streams_ + at, stream.data(), stream.size());
  return job_packet(kStreamVa + at, static_cast<uint32_t>(stream.size()), kTableVa, 1, flags);
}

npu_packet_job JobSpace::packet(const std::vector<std::vector<std::byte>>& streams, uint8_t flags,
                                uint64_t at) {
  std::vector<std::byte> all;
  for (const auto& stream : streams) all.insert(all.end(), stream.begin(), stream.end());
  npu_packet_job job = packet(all, flags, at);
  job.stream_count = static_cast<uint8_t>(streams.size());
  for (size_t i = 0; i < streams.size(); ++i)
    job.stream_bytes[i] = static_cast<uint32_t>(streams[i].size());
  return job;
}

// --- Packets ------------------------------------------------------------------

npu_packet_job job_packet(uint64_t stream_va, uint32_t stream_bytes, uint64_t region_va,
                          uint8_t regions, uint8_t flags) {
  npu_packet_job job = {};
  job.opcode = NPU_PACKET_JOB;
  job.flags = flags;
  job.stream_count = 1;
  job.region_count = regions;
  job.stream_va = stream_va;
  job.region_va = region_va;
  job.stream_bytes[0] = stream_bytes;
  return job;
}

npu_packet nop(uint8_t flags) {
  npu_packet packet = {};
  packet.opcode = NPU_PACKET_NOP;
  packet.flags = flags;
  return packet;
}

npu_packet fence(uint8_t flags) {
  npu_packet packet = nop(flags);
  packet.opcode = NPU_PACKET_FENCE;
  return packet;
}

npu_packet_fill fill(uint64_t destination, uint64_t bytes, uint32_t pattern, npu_memory memory) {
  npu_packet_fill packet = {};
  packet.opcode = NPU_PACKET_FILL;
  packet.destination_memory = static_cast<uint8_t>(memory);
  packet.destination = destination;
  packet.bytes = bytes;
  packet.pattern = pattern;
  return packet;
}

npu_packet_copy copy(npu_memory from, uint64_t source, npu_memory to, uint64_t destination,
                     uint64_t bytes) {
  npu_packet_copy packet = {};
  packet.opcode = NPU_PACKET_COPY;
  packet.source_memory = static_cast<uint8_t>(from);
  packet.destination_memory = static_cast<uint8_t>(to);
  packet.source = source;
  packet.destination = destination;
  packet.bytes = bytes;
  return packet;
}

npu_packet_tlb_invalidate invalidate(uint16_t asid, uint64_t va, uint64_t bytes) {
  npu_packet_tlb_invalidate packet = {};
  packet.opcode = NPU_PACKET_TLB_INVALIDATE;
  packet.asid = asid;
  packet.va = va;
  packet.bytes = bytes;
  return packet;
}

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

}  // namespace npu::model::testing
