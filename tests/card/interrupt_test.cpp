// SPDX-License-Identifier: MIT
//
// Messages and the event ring.
#include "suite.h"

namespace npu::card {
namespace {

using packets::nop;

class CardInterrupts : public CardTest {};
NPU_CARD_SUITE(CardInterrupts);

TEST_P(CardInterrupts, OnlyWherePacketsAskForThem) {
  start();
  effects();
  submit(nop());
  expect_effects({.doorbells = 1, .packets = 1});
  submit(nop(NPU_PACKET_IRQ));
  expect_effects({.doorbells = 1,
                  .packets = 1,
                  .interrupts = 1,
                  .messages = {{card().context(kQueue).vector, 1}}});
  EXPECT_EQ(card().queue_reg(kQueue, NPU_QUEUE_COUNT_IRQ), 1u);
}

TEST_P(CardInterrupts, CoalescedByCountAndTime) {
  start();
  npu_queue_context c = card().make_context(2, kAsid);
  c.coalesce_count = 3;
  c.coalesce_ns = 1'000'000;
  card().start(2, c);
  effects();
  const auto irq_packets = [&](int count) {
    for (int i = 0; i < count; ++i) card().submit(2, nop(NPU_PACKET_IRQ));
  };
  irq_packets(2);
  expect_effects({.doorbells = 2, .packets = 2});
  irq_packets(1);
  expect_effects({.doorbells = 1, .packets = 1, .interrupts = 1, .messages = {{c.vector, 1}}});
  irq_packets(1);
  port().advance(999'999);
  expect_effects({.doorbells = 1, .packets = 1});
  port().advance(1);
  expect_effects({.interrupts = 1, .messages = {{c.vector, 1}}});
  port().advance(10'000'000);
  expect_effects({});
}

TEST_P(CardInterrupts, TenTimesFewerThanJobsWhenCoalesced) {
  start();
  npu_queue_context c = card().make_context(2, kAsid);
  c.coalesce_count = 16;
  c.coalesce_ns = 1'000'000;
  card().start(2, c);
  effects();
  for (int i = 0; i < 48; ++i) card().submit(2, nop(NPU_PACKET_IRQ));
  expect_effects({.doorbells = 48, .packets = 48, .interrupts = 3, .messages = {{c.vector, 3}}});
}

TEST_P(CardInterrupts, MaskedOneIsPending) {
  start();
  const uint32_t vector = card().context(kQueue).vector;
  effects();
  port().mask_vector(vector, true);
  submit(nop(NPU_PACKET_IRQ));
  submit(nop(NPU_PACKET_IRQ));
  expect_effects({.doorbells = 2, .packets = 2, .interrupts = 2});
  port().mask_vector(vector, false);
  expect_effects({.messages = {{vector, 1}}});
  port().mask_vector(vector, true);
  port().mask_vector(vector, false);
  expect_effects({});
}

TEST_P(CardInterrupts, LostAndLate) {
  start();
  const uint32_t vector = card().context(kQueue).vector;
  inject(NPU_INJECT_LOST_INTERRUPT, kQueue);
  EXPECT_EQ(card().read(NPU_REG_INJECT_ARMED), 1u);
  effects();
  submit(nop(NPU_PACKET_IRQ));
  expect_effects({.doorbells = 1, .packets = 1});
  EXPECT_EQ(card().read(NPU_REG_INJECT_ARMED), 0u);
  inject(NPU_INJECT_LATE_INTERRUPT, kQueue, 5'000'000);
  EXPECT_EQ(submit(nop(NPU_PACKET_IRQ)).status, uint32_t{NPU_STATUS_OK});
  port().advance(4'999'999);
  expect_effects({.doorbells = 1, .packets = 1});
  port().advance(1);
  expect_effects({.interrupts = 1, .messages = {{vector, 1}}});
}

TEST_P(CardInterrupts, FullEventRingCountsTheLost) {
  start();
  effects();
  constexpr size_t kSize = size_t{1} << CardDriver::kEventLog2;
  for (size_t i = 0; i < kSize + 5; ++i) submit(nop(0x80));
  EXPECT_EQ(card().read(NPU_REG_EVENT_LOST), 5u);
  EXPECT_EQ(effects().events, std::vector<uint32_t>(kSize, NPU_EVENT_JOB_FAULT));
  for (size_t i = 0; i < events().size(); ++i) {
    EXPECT_EQ(events()[i].sequence, i + 1);
    EXPECT_EQ(events()[i].packet, i);
    EXPECT_EQ(events()[i].queue, kQueue);
    EXPECT_EQ(events()[i].status, uint32_t{NPU_STATUS_BAD_COMMAND});
  }
  submit(nop(0x80));
  effects();
  ASSERT_EQ(events().size(), 1u) << "there is room again";
  EXPECT_EQ(events()[0].sequence, kSize + 1);
}

TEST_P(CardInterrupts, NoneWithoutBusMastering) {
  start();
  effects();
  port().set_bus_master(false);
  card().write(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_DOORBELL, 1);
  port().settle();
  EXPECT_EQ(state(kQueue), uint32_t{NPU_QUEUE_ERROR}) << "the ring cannot be read";
  EXPECT_EQ(card().load<npu_completion>(card().context(kQueue).completions).sequence, 0u);
  EXPECT_TRUE(effects().messages.empty());
  port().set_bus_master(true);
  card().start(kQueue, kAsid);
  EXPECT_EQ(submit(nop(NPU_PACKET_IRQ)).status, uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(effects().messages.size(), 1u);
}

}  // namespace
}  // namespace npu::card
