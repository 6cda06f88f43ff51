// SPDX-License-Identifier: MIT
//
// The card in a QtestMachine, with a driver whose tables lie in the machine's
// memory, and the fixture of the tests.
#ifndef NPU_TESTS_QTEST_CARD_H_
#define NPU_TESTS_QTEST_CARD_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "machine.h"
#include "pci.h"
#include "testing/card_driver.h"

namespace npu::qtest {

// The card as a port for CardDriver, and that driver with waiting on top.
class Card : public Endpoint, public model::testing::CardPort, public model::testing::CardDriver {
 public:
  // Places BARs from `first_bar` on. The 32 MiB of the machine's memory from
  // `memory` on are the driver's, and zeroed.
  Card(QtestMachine& machine, unsigned bus, unsigned device, uint64_t memory = 1 << 20,
       uint64_t first_bar = kFirstBar);
  // The same card after it has moved to another machine.
  Card(QtestMachine& machine, const Card& before);

  // BARs, MSI-X, tables, ENABLE: what follows power-on or a reset. Queues have
  // to be started again; memory and its tables are the same.
  void bring_up();

  uint32_t reg(uint32_t offset) { return CardDriver::read(offset); }
  uint64_t reg64(uint32_t offset) { return read64(offset); }
  void set_reg(uint32_t offset, uint32_t value) { CardDriver::write(offset, value); }
  void set_reg64(uint32_t offset, uint64_t value) { write64(offset, value); }
  uint64_t window() const { return bar(NPU_BAR_APERTURE); }

  // STARTs the queue and waits until it runs.
  void start(uint32_t queue, const npu_queue_context& context);
  void start(uint32_t queue, uint16_t asid) { start(queue, make_context(queue, asid)); }
  npu_queue_state state(uint32_t queue) {
    return static_cast<npu_queue_state>(queue_reg(queue, NPU_QUEUE_STATE));
  }

  // Writes a packet and rings the doorbell; returns its index.
  template <typename T>
  uint64_t send(uint32_t queue, const T& packet) {
    const uint64_t index = put(queue, packet);
    ring(queue);
    return index;
  }
  // Waits for the completion; the test fails if it does not come.
  npu_completion wait(uint32_t queue, uint64_t index);
  template <typename T>
  npu_completion run(uint32_t queue, const T& packet) {
    return wait(queue, send(queue, packet));
  }

  // A job in address space `asid` with one stream and one region, at kDataVa. Each
  // stream has addresses of its own: the TLB may hold those of earlier ones.
  static constexpr uint64_t kDataVa = model::testing::JobSpace::kDataVa;
  npu_packet_job job(uint16_t asid, std::span<const std::byte> stream, uint8_t flags = 0);

  // CardPort.
  uint64_t bar_read(unsigned index, uint64_t offset, unsigned bytes) override {
    return machine_->read_word(bar(index) + offset, bytes);
  }
  void bar_write(unsigned index, uint64_t offset, uint64_t value, unsigned bytes) override {
    machine_->write_word(bar(index) + offset, value, bytes);
  }
  void read_card(uint64_t offset, void* data, size_t bytes) override {
    machine_->read(window() + offset, data, bytes);
  }
  void write_card(uint64_t offset, const void* data, size_t bytes) override {
    machine_->write(window() + offset, data, bytes);
  }
  void read_memory(uint64_t address, void* data, size_t bytes) override {
    machine_->read(address, data, bytes);
  }
  void write_memory(uint64_t address, const void* data, size_t bytes) override {
    machine_->write(address, data, bytes);
  }
  uint64_t memory_begin() override { return memory_ + 4096; }  // behind the messages
  uint64_t memory_end() override { return memory_ + kMemoryBytes; }
  unsigned take_messages(unsigned vector) override { return take_message(vector) ? 1 : 0; }
  bool counts_messages() const override { return false; }  // they are words in memory
  void mask_vector(unsigned vector, bool masked) override { Endpoint::mask_vector(vector, masked); }
  bool run_until(const std::function<bool()>& done) override { return eventually(done); }
  void settle() override {}  // with sync=on it always has
  void advance(uint64_t ns) override { machine_->clock_step(ns); }
  void reset(model::testing::ResetKind kind) override;
  void set_bus_master(bool on) override;

 private:
  static constexpr uint64_t kMemoryBytes = 32 << 20;
  static constexpr uint64_t kStreamsVa = 0x10'0000'0000;

  uint64_t memory_;
  uint64_t next_va_ = kStreamsVa;
};

// Packets.
using model::testing::copy;
using model::testing::fill;
using model::testing::invalidate;
using model::testing::nop;
template <typename T>
T with_flags(T packet, uint8_t flags) {
  packet.flags = flags;
  return packet;
}

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

  // Sets the property of npu0, e.g. "hang,count=1".
  void inject(const std::string& fault);
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
