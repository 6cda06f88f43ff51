// SPDX-License-Identifier: MIT
#include "testing/harness.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "arch/stream.h"
#include "arch/target.h"

namespace npu::model::testing {
namespace {

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "harness: %s\n", what);
  std::abort();
}

}  // namespace

npu_target HarnessOptions::default_target() {
  npu_target target = *arch::find_target("card");
  target.card_memory_mib = 16;
  return target;
}

Harness::Harness(HarnessOptions options)
    : options_(options), host_(options.host_bytes), queues_(options.target.queues) {
  npu_model_host host = {};
  host.struct_size = sizeof(host);
  host.opaque = this;
  host.read = [](void* self, uint64_t address, void* data, size_t bytes) {
    return static_cast<Harness*>(self)->access(address, data, bytes, false);
  };
  host.write = [](void* self, uint64_t address, const void* data, size_t bytes) {
    return static_cast<Harness*>(self)->access(address, const_cast<void*>(data), bytes, true);
  };
  host.raise_irq = [](void* self, uint32_t vector) {
    static_cast<Harness*>(self)->interrupts.push_back(vector);
  };
  host.kick = [](void* self) { ++static_cast<Harness*>(self)->kicks; };
  host.now_ns = [](void* self) { return static_cast<Harness*>(self)->clock_ns; };
  host.cancelled = [](void* self) {
    auto& f = static_cast<Harness*>(self)->cancelled;
    return f && f();
  };
  host.log = [](void* self, const char* line) {
    static_cast<Harness*>(self)->log.append(line).append("\n");
  };
  npu_model_config config = {};
  config.struct_size = sizeof(config);
  config.abi = NPU_MODEL_ABI;
  config.target = options_.target;
  config.mode = options_.mode;
  config.serial = 0x1122334455667788ull;
  const char* error = nullptr;
  model_ = npu_model_create(&config, &host, &error);
  if (model_ == nullptr) die(error);

  context_table_ = allocate(uint64_t{target().asids} * sizeof(npu_context));
  queue_table_ = allocate(uint64_t{target().queues} * sizeof(npu_queue_context));
  event_ring_ = allocate(sizeof(npu_event) << kEventLog2);
  program();
}

Harness::~Harness() {
  npu_model_destroy(model_);
}

void Harness::program() {
  write64(NPU_REG_CONTEXT_TABLE, context_table_);
  write(NPU_REG_CONTEXT_COUNT, target().asids);
  write64(NPU_REG_QUEUE_TABLE, queue_table_);
  write(NPU_REG_QUEUE_COUNT, target().queues);
  write64(NPU_REG_EVENT_RING, event_ring_);
  write(NPU_REG_EVENT_LOG2, kEventLog2);
  write(NPU_REG_CONTROL, NPU_CONTROL_ENABLE);
}

npu_model_bus Harness::access(uint64_t address, void* data, size_t bytes, bool write) {
  ++bus_accesses;
  if (bytes > 256 * 1024) die("bus access of more than 256 KiB");
  if (filter) {
    const npu_model_bus result = filter(address, bytes, write);
    if (result != NPU_BUS_OK) return result;
  }
  if (address > host_.size() || bytes > host_.size() - address) return NPU_BUS_DECODE_ERROR;
  if (write)
    std::memcpy(host(address), data, bytes);
  else
    std::memcpy(data, host(address), bytes);
  return NPU_BUS_OK;
}

uint64_t Harness::allocate(uint64_t bytes, uint64_t alignment) {
  host_next_ = (host_next_ + alignment - 1) & ~(alignment - 1);
  const uint64_t at = host_next_;
  host_next_ += bytes;
  if (host_next_ > host_.size()) die("out of bus memory");
  return at;
}

uint64_t Harness::allocate_card(uint64_t bytes, uint64_t alignment) {
  card_next_ = (card_next_ + alignment - 1) & ~(alignment - 1);
  const uint64_t at = card_next_;
  card_next_ += bytes;
  if (card_next_ > uint64_t{target().card_memory_mib} << 20) die("out of card memory");
  return at;
}

uint64_t Harness::pte_address(uint16_t asid, uint64_t va, int level) {
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

void Harness::map(uint16_t asid, uint64_t va, npu_memory memory, uint64_t address, uint64_t bytes,
                  uint64_t rights) {
  const uint64_t card = memory == NPU_MEMORY_CARD ? NPU_PTE_CARD : 0;
  for (uint64_t at = 0; at < bytes; at += 4096)
    store<uint64_t>(pte_address(asid, va + at),
                    (address + at) | NPU_PTE_VALID | NPU_PTE_LEAF | card | rights);
}

void Harness::map_block(uint16_t asid, uint64_t va, npu_memory memory, uint64_t address,
                        uint64_t rights) {
  const uint64_t card = memory == NPU_MEMORY_CARD ? NPU_PTE_CARD : 0;
  store<uint64_t>(pte_address(asid, va, 1), address | NPU_PTE_VALID | NPU_PTE_LEAF | card | rights);
}

void Harness::unmap(uint16_t asid, uint64_t va, uint64_t bytes) {
  for (uint64_t at = 0; at < bytes; at += 4096) store<uint64_t>(pte_address(asid, va + at), 0);
}

uint64_t Harness::map_new(uint16_t asid, uint64_t va, uint64_t bytes, npu_memory memory,
                          uint64_t rights) {
  bytes = (bytes + 4095) & ~uint64_t{4095};
  const uint64_t at = memory == NPU_MEMORY_CARD ? allocate_card(bytes) : allocate(bytes);
  map(asid, va, memory, at, bytes, rights);
  return at;
}

npu_queue_context Harness::make_context(uint32_t queue, uint16_t asid) {
  npu_queue_context c = {};
  c.ring = allocate(sizeof(npu_packet) << kRingLog2);
  c.completions = allocate(sizeof(npu_completion) << kRingLog2);
  c.indices = allocate(sizeof(npu_queue_indices), 64);
  c.ring_log2 = kRingLog2;
  c.asid = asid;
  c.priority = 1;
  c.vector = 1 + queue % (target().vectors - 1);
  c.core_mask = (1u << target().cores) - 1;
  return c;
}

void Harness::start(uint32_t queue, const npu_queue_context& context) {
  queues_[queue].context = context;
  if (context.indices < host_.size())  // a test may want it to be bad
    queues_[queue].produced = load<npu_queue_indices>(context.indices).producer;
  store(queue_table_ + uint64_t{queue} * sizeof(context), context);
  write(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_START);
}

uint64_t Harness::put_bytes(uint32_t queue, const void* packet) {
  QueueState& q = queues_[queue];
  const uint64_t slot = q.produced & ((1u << q.context.ring_log2) - 1);
  std::memcpy(host(q.context.ring + slot * sizeof(npu_packet)), packet, sizeof(npu_packet));
  return q.produced++;
}

void Harness::ring(uint32_t queue) {
  const QueueState& q = queues_[queue];
  store(q.context.indices, q.produced);
  write(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_DOORBELL, static_cast<uint32_t>(q.produced));
}

npu_completion Harness::completion(uint32_t queue, uint64_t index) {
  const npu_queue_context& c = queues_[queue].context;
  return load<npu_completion>(c.completions +
                              (index & ((1u << c.ring_log2) - 1)) * sizeof(npu_completion));
}

uint64_t Harness::consumer(uint32_t queue) {
  return load<npu_queue_indices>(queues_[queue].context.indices).consumer;
}

std::vector<npu_event> Harness::events() {
  std::vector<npu_event> out;
  const uint32_t tail = read(NPU_REG_EVENT_TAIL);
  for (; events_seen_ != tail; ++events_seen_)
    out.push_back(
        load<npu_event>(event_ring_ + events_seen_ % (1u << kEventLog2) * sizeof(npu_event)));
  write(NPU_REG_EVENT_HEAD, tail);
  return out;
}

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

JobBench::JobBench(HarnessOptions options, npu_memory data) : harness_(options) {
  harness_.map_new(kAsid, kStreamVa, 1u << 20);
  const uint64_t table = harness_.map_new(kAsid, kTableVa, 4096);
  harness_.store<uint64_t>(table, kDataVa);
  const uint64_t at = harness_.map_new(kAsid, kDataVa, kDataBytes, data);
  data_ = data == NPU_MEMORY_CARD ? harness_.card(at) : harness_.host(at);
  harness_.start(kQueue, kAsid);
  harness_.run();
}

npu_packet_job JobBench::packet(std::span<const std::byte> stream, uint8_t flags) {
  const auto pte = harness_.load<uint64_t>(harness_.pte_address(kAsid, kStreamVa));
  std::memcpy(harness_.host(pte & NPU_PTE_ADDRESS), stream.data(), stream.size());
  return job_packet(kStreamVa, static_cast<uint32_t>(stream.size()), kTableVa, 1, flags);
}

npu_packet_job JobBench::packet(const std::vector<std::vector<std::byte>>& streams, uint8_t flags) {
  std::vector<std::byte> all;
  for (const auto& stream : streams) all.insert(all.end(), stream.begin(), stream.end());
  npu_packet_job job = packet(all, flags);
  job.stream_count = static_cast<uint8_t>(streams.size());
  for (size_t i = 0; i < streams.size(); ++i)
    job.stream_bytes[i] = static_cast<uint32_t>(streams[i].size());
  return job;
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
