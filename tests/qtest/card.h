// SPDX-License-Identifier: MIT
//
// The card in a QtestMachine, and what a driver does with it: tables, queues,
// packets, address spaces. Tables lie in the machine's memory.
#ifndef NPU_TESTS_QTEST_CARD_H_
#define NPU_TESTS_QTEST_CARD_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "machine.h"
#include "npu/command.h"
#include "npu/mmu.h"
#include "npu/queue.h"
#include "npu/registers.h"
#include "npu/status.h"
#include "pci.h"

namespace npu::qtest {

class Card : public Endpoint {
 public:
  Card(QtestMachine& machine, unsigned bus, unsigned device, uint64_t memory = 1 << 20,
       uint64_t first_bar = kFirstBar);
  // The same card after it has moved to another machine.
  Card(QtestMachine& machine, const Card& before) : Card(before) { machine_ = &machine; }

  Card(const Card&) = default;

  // BARs, MSI-X, tables, ENABLE: what follows power-on or a reset. Queues have
  // to be started again; memory and its tables are the same.
  void bring_up();

  uint32_t reg(uint32_t offset) {
    return static_cast<uint32_t>(machine_->read_word(bar(NPU_BAR_REGISTERS) + offset, 4));
  }
  uint64_t reg64(uint32_t offset) {
    return machine_->read_word(bar(NPU_BAR_REGISTERS) + offset, 8);
  }
  void set_reg(uint32_t offset, uint32_t value) {
    machine_->write_word(bar(NPU_BAR_REGISTERS) + offset, value, 4);
  }
  void set_reg64(uint32_t offset, uint64_t value) {
    machine_->write_word(bar(NPU_BAR_REGISTERS) + offset, value, 8);
  }
  uint64_t window() const { return bar(NPU_BAR_APERTURE); }

  // Zeroed memory of the machine that nothing else uses; never freed.
  uint64_t allocate(uint64_t bytes, uint64_t alignment = 4096);

  // Address spaces; page aligned.
  void map(uint16_t asid, uint64_t va, npu_memory memory, uint64_t address, uint64_t bytes,
           uint64_t rights = NPU_PTE_READ | NPU_PTE_WRITE);
  void unmap(uint16_t asid, uint64_t va, uint64_t bytes);

  npu_queue_context make_context(uint32_t queue, uint16_t asid);
  // Writes the context, STARTs the queue and waits until it runs.
  void start(uint32_t queue, const npu_queue_context& context);
  void start(uint32_t queue, uint16_t asid) { start(queue, make_context(queue, asid)); }
  npu_queue_state state(uint32_t queue) {
    return static_cast<npu_queue_state>(reg(NPU_QUEUE_PAGE(queue) + NPU_QUEUE_STATE));
  }

  // Writes a packet and rings the doorbell; returns its index.
  template <typename T>
  uint64_t submit(uint32_t queue, const T& packet) {
    static_assert(sizeof(T) == sizeof(npu_packet));
    return submit_bytes(queue, &packet);
  }
  npu_completion completion(uint32_t queue, uint64_t index);
  bool completed(uint32_t queue, uint64_t index) {
    return completion(queue, index).sequence == index + 1;
  }
  // Waits; the test fails if it does not come.
  npu_completion wait(uint32_t queue, uint64_t index);
  template <typename T>
  npu_completion run(uint32_t queue, const T& packet) {
    return wait(queue, submit(queue, packet));
  }

  // Events since the last call.
  std::vector<npu_event> events();

  // A job in address space `asid` with one stream and one region. Each stream
  // has addresses of its own: the TLB may hold those of earlier ones.
  static constexpr uint64_t kStreamsVa = 0x10'0000'0000, kDataVa = 0x4000'0000;
  npu_packet_job job(uint16_t asid, std::span<const std::byte> stream, uint8_t flags = 0);

 private:
  struct Queue {
    npu_queue_context context{};
    uint64_t produced = 0;
  };
  static constexpr uint32_t kRingLog2 = 6;
  static constexpr uint32_t kEventLog2 = 6;

  uint64_t submit_bytes(uint32_t queue, const void* packet);
  uint64_t entry_address(uint16_t asid, uint64_t va);

  uint64_t next_;
  uint64_t next_va_ = kStreamsVa;
  uint64_t first_bar_;
  uint64_t contexts_ = 0, queue_table_ = 0, events_ = 0, messages_ = 0;
  std::vector<Queue> queues_;
  uint32_t events_seen_ = 0;
};

// Packets.
npu_packet_copy copy_packet(npu_memory from, uint64_t source, npu_memory to, uint64_t destination,
                            uint64_t bytes, uint8_t flags = 0);
npu_packet_fill fill_packet(npu_memory to, uint64_t destination, uint64_t bytes, uint32_t pattern,
                            uint8_t flags = 0);
npu_packet nop_packet(uint8_t flags = 0);
npu_packet_tlb_invalidate invalidate_packet(uint16_t asid, uint64_t va, uint64_t bytes);

// LOADs `bytes` from the region, STOREs them at kCopyTo in it.
inline constexpr uint64_t kCopyTo = 1 << 20;
std::vector<std::byte> copy_stream(uint32_t bytes);
// The same around `products` matrix products, about 2 ms each: what is under
// way while the test does something to the card.
std::vector<std::byte> long_stream(uint32_t bytes, int products);

// A test of a machine with one card, or with whatever it starts.
class MachineTest : public testing::Test {
 protected:
  void SetUp() override;

  // The card runs a job of the queue, and has begun to execute it.
  void wait_until_running(uint32_t queue);
  // The queue has made no progress, and no message has come, for a while.
  void expect_silence(uint32_t queue, uint64_t packet);

  // A card of small memory at 00:04.0 in a machine of its own, brought up.
  // `properties` follow "npu", e.g. "sync=on".
  void start(const std::string& properties = "", const std::vector<std::string>& arguments = {});
  QtestMachine& machine() { return *machine_; }
  Card& card() { return *card_; }

  std::unique_ptr<QtestMachine> machine_;
  std::unique_ptr<Card> card_;
};

}  // namespace npu::qtest

#endif  // NPU_TESTS_QTEST_CARD_H_
