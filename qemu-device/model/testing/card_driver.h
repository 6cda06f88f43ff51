// SPDX-License-Identifier: MIT
//
// What a driver does with the card, over any CardPort: tables, address spaces,
// queues, packets, events. For tests only: it trusts nobody to misuse it.
#ifndef NPU_MODEL_TESTING_CARD_DRIVER_H_
#define NPU_MODEL_TESTING_CARD_DRIVER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "npu/command.h"
#include "npu/mmu.h"
#include "npu/queue.h"
#include "npu/registers.h"
#include "npu/status.h"
#include "npu/target.h"
#include "testing/card_port.h"

namespace npu::model::testing {

// The card's parameters, from its capability block.
npu_target read_target(CardPort& port);

class CardDriver {
 public:
  // Does not touch the card: program() is the first to do so.
  CardDriver(CardPort& port, const npu_target& target);
  // The same driver after its card has moved, with its memory, to another machine.
  CardDriver(CardPort& port, const CardDriver& before) : CardDriver(before) { port_ = &port; }

  CardPort& port() { return *port_; }
  const npu_target& target() const { return target_; }

  uint32_t read(uint32_t offset) {
    return static_cast<uint32_t>(port_->bar_read(NPU_BAR_REGISTERS, offset, 4));
  }
  uint64_t read64(uint32_t offset) { return port_->bar_read(NPU_BAR_REGISTERS, offset, 8); }
  void write(uint32_t offset, uint32_t value) {
    port_->bar_write(NPU_BAR_REGISTERS, offset, value, 4);
  }
  void write64(uint32_t offset, uint64_t value) {
    port_->bar_write(NPU_BAR_REGISTERS, offset, value, 8);
  }
  uint32_t queue_reg(uint32_t queue, uint32_t reg) { return read(NPU_QUEUE_PAGE(queue) + reg); }
  void command(uint32_t queue, uint32_t command) {
    write(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_CONTROL, command);
  }

  // Bus memory.
  template <typename T>
  T load(uint64_t address) {
    T value;
    port_->read_memory(address, &value, sizeof(value));
    return value;
  }
  template <typename T>
  void store(uint64_t address, const T& value) {
    port_->write_memory(address, &value, sizeof(value));
  }

  // Never freed. alignment is a power of two.
  uint64_t allocate(uint64_t bytes, uint64_t alignment = 4096);
  uint64_t allocate_card(uint64_t bytes, uint64_t alignment = 4096);

  // Tables in bus memory; va, address and bytes are page aligned.
  void map(uint16_t asid, uint64_t va, npu_memory memory, uint64_t address, uint64_t bytes,
           uint64_t rights = NPU_PTE_READ | NPU_PTE_WRITE);
  void map_block(uint16_t asid, uint64_t va, npu_memory memory, uint64_t address,
                 uint64_t rights = NPU_PTE_READ | NPU_PTE_WRITE);
  void unmap(uint16_t asid, uint64_t va, uint64_t bytes);
  uint64_t pte_address(uint16_t asid, uint64_t va, int level = 0);
  // Allocates and maps; returns the bus (or card) address.
  uint64_t map_new(uint16_t asid, uint64_t va, uint64_t bytes, npu_memory memory = NPU_MEMORY_HOST,
                   uint64_t rights = NPU_PTE_READ | NPU_PTE_WRITE);

  // Points the card at the tables and enables it, as after a reset.
  void program();

  // Writes the context and STARTs the queue; it takes effect when the card runs.
  npu_queue_context make_context(uint32_t queue, uint16_t asid);
  void start(uint32_t queue, const npu_queue_context& context);
  void start(uint32_t queue, uint16_t asid) { start(queue, make_context(queue, asid)); }

  // Writes a packet into the ring; ring() announces everything written.
  template <typename T>
  uint64_t put(uint32_t queue, const T& packet) {
    static_assert(sizeof(T) == sizeof(npu_packet));
    return put_bytes(queue, &packet);
  }
  void ring(uint32_t queue);
  uint64_t produced(uint32_t queue) const { return queues_[queue].produced; }
  // Puts, rings, and lets the card do what it can.
  template <typename T>
  npu_completion submit(uint32_t queue, const T& packet) {
    const uint64_t index = put(queue, packet);
    ring(queue);
    port_->settle();
    return completion(queue, index);
  }
  npu_completion completion(uint32_t queue, uint64_t index);
  bool completed(uint32_t queue, uint64_t index) {
    return completion(queue, index).sequence == index + 1;
  }
  uint64_t consumer(uint32_t queue);
  const npu_queue_context& context(uint32_t queue) const { return queues_[queue].context; }
  // Events since the last call.
  std::vector<npu_event> events();

  static constexpr uint32_t kRingLog2 = 6;
  static constexpr uint32_t kEventLog2 = 6;

 private:
  struct QueueState {
    npu_queue_context context{};
    uint64_t produced = 0;
  };

  uint64_t put_bytes(uint32_t queue, const void* packet);

  CardPort* port_;
  npu_target target_;
  uint64_t memory_next_ = 0;
  uint64_t card_next_ = 4096;
  uint64_t context_table_ = 0, queue_table_ = 0, event_ring_ = 0;
  uint32_t events_seen_ = 0;
  std::vector<QueueState> queues_;
};

// An address space with room for streams, a region table and region 0 in card
// or host memory: what most tests of jobs need.
class JobSpace {
 public:
  struct Sizes {
    uint64_t streams = 1 << 20;
    uint64_t data = 4 << 20;
  };
  static constexpr uint64_t kStreamVa = 0x10000000;
  static constexpr uint64_t kTableVa = 0x20000000;
  static constexpr uint64_t kDataVa = 0x40000000;  // region 0

  JobSpace(CardDriver& driver, uint16_t asid, npu_memory data, Sizes sizes);

  // Where region 0 lies: bus address or offset in card memory.
  npu_memory data_memory() const { return memory_; }
  uint64_t data_address() const { return data_; }
  void read(uint64_t offset, void* data, size_t bytes);
  void write(uint64_t offset, const void* data, size_t bytes);

  // Puts the streams in place, `at` bytes into the stream area; the packet runs them
  // with region 0.
  npu_packet_job packet(std::span<const std::byte> stream, uint8_t flags = 0, uint64_t at = 0);
  npu_packet_job packet(const std::vector<std::vector<std::byte>>& streams, uint8_t flags = 0,
                        uint64_t at = 0);

 private:
  CardDriver& driver_;
  npu_memory memory_;
  uint64_t streams_, data_;
};

// Packets.
npu_packet_job job_packet(uint64_t stream_va, uint32_t stream_bytes, uint64_t region_va,
                          uint8_t regions, uint8_t flags = 0);
npu_packet nop(uint8_t flags = 0);
npu_packet fence(uint8_t flags = 0);
npu_packet_fill fill(uint64_t destination, uint64_t bytes, uint32_t pattern,
                     npu_memory memory = NPU_MEMORY_HOST);
npu_packet_copy copy(npu_memory from, uint64_t source, npu_memory to, uint64_t destination,
                     uint64_t bytes);
npu_packet_tlb_invalidate invalidate(uint16_t asid, uint64_t va, uint64_t bytes);

// One contiguous LOAD or STORE between region 0 at `offset` and SRAM.
npu_command_dma contiguous(npu_opcode opcode, uint64_t offset, uint32_t sram, uint32_t bytes);

}  // namespace npu::model::testing

#endif  // NPU_MODEL_TESTING_CARD_DRIVER_H_
