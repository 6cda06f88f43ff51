// SPDX-License-Identifier: MIT
//
// Life of queues, and the packets of all of them.
#include <functional>

#include "suite.h"

namespace npu::card {
namespace {

using packets::nop;

class CardQueue : public CardTest {};
NPU_CARD_SUITE(CardQueue);

TEST_P(CardQueue, NopCompletes) {
  start();
  effects();
  const uint64_t now = card().read64(NPU_REG_TIMEBASE);
  const npu_completion c = submit(nop(NPU_PACKET_IRQ));
  EXPECT_EQ(c.sequence, 1u);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(c.command, NPU_NO_COMMAND);
  EXPECT_EQ(c.start_ns, now);
  EXPECT_EQ(c.end_ns, now);
  EXPECT_EQ(card().consumer(kQueue), 1u);
  EXPECT_EQ(card().read64(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_CONSUMER), 1u);
  EXPECT_EQ(card().read64(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_PRODUCER), 1u);
  EXPECT_EQ(state(kQueue), uint32_t{NPU_QUEUE_IDLE});
  expect_effects({.doorbells = 1,
                  .packets = 1,
                  .interrupts = 1,
                  .messages = {{card().context(kQueue).vector, 1}}});
}

TEST_P(CardQueue, RingWraps) {
  start();
  constexpr uint64_t kSize = 1 << CardDriver::kRingLog2;
  uint64_t packets = 0;
  for (const uint64_t batch : {kSize, uint64_t{1}, kSize - 1, uint64_t{7}, kSize}) {
    for (uint64_t i = 0; i < batch; ++i) card().put(kQueue, nop());
    card().ring(kQueue);
    port().settle();
    for (const uint64_t end = packets + batch; packets < end; ++packets)
      ASSERT_TRUE(card().completed(kQueue, packets)) << packets;
    ASSERT_EQ(card().consumer(kQueue), packets);
  }
  EXPECT_TRUE(effects().events.empty());
}

TEST_P(CardQueue, IndicesContinueBeyond32Bits) {
  open();
  const npu_queue_context c = card().make_context(2, kAsid);
  card().store(c.indices, npu_queue_indices{0xfffffffeull, 0xfffffffeull});
  card().start(2, c);
  for (uint64_t i = 0xfffffffeull; i < 0x100000003ull; ++i)
    ASSERT_EQ(card().submit(2, nop()).sequence, i + 1);
  EXPECT_EQ(card().read64(NPU_QUEUE_PAGE(2) + NPU_QUEUE_CONSUMER), 0x100000003ull);
}

TEST_P(CardQueue, DoorbellOverrunIsAnError) {
  start();
  effects();
  card().write(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_DOORBELL, (1u << CardDriver::kRingLog2) + 1);
  port().settle();
  EXPECT_EQ(state(kQueue), uint32_t{NPU_QUEUE_ERROR});
  expect_effects({.doorbells = 1,
                  .interrupts = 1,
                  .messages = {{NPU_VECTOR_EVENTS, 1}},
                  .events = {NPU_EVENT_QUEUE_ERROR}});
  ASSERT_EQ(events().size(), 1u);
  EXPECT_EQ(events()[0].queue, kQueue);
  EXPECT_EQ(events()[0].status, uint32_t{NPU_STATUS_BAD_COMMAND});
  card().start(kQueue, kAsid);
  EXPECT_EQ(submit(nop()).status, uint32_t{NPU_STATUS_OK}) << "START leaves the error";
}

TEST_P(CardQueue, BadContextIsAnError) {
  open();
  const npu_target& target = card().target();
  using C = npu_queue_context;
  const std::pair<const char*, std::function<void(C&)>> kSpoilers[] = {
      {"ring", [](C& c) { c.ring += 32; }},
      {"completions", [](C& c) { c.completions += 64; }},
      {"indices", [](C& c) { c.indices += 8; }},
      {"indices nowhere", [](C& c) { c.indices = kNowhere; }},
      {"small ring", [](C& c) { c.ring_log2 = NPU_RING_LOG2_MIN - 1; }},
      {"large ring", [](C& c) { c.ring_log2 = NPU_RING_LOG2_MAX + 1; }},
      {"asid", [&](C& c) { c.asid = target.asids; }},
      {"priority", [](C& c) { c.priority = 4; }},
      {"vector 0", [](C& c) { c.vector = 0; }},
      {"vector", [&](C& c) { c.vector = target.vectors; }},
      {"cores", [](C& c) { c.core_mask = 0; }},
      {"flags", [](C& c) { c.flags = 1; }},
      {"reserved", [](C& c) { c.reserved[4] = 1; }},
  };
  const C good = card().make_context(2, kAsid);
  for (const auto& [what, spoil] : kSpoilers) {
    C context = good;
    spoil(context);
    card().start(2, context);
    port().settle();
    EXPECT_EQ(state(2), uint32_t{NPU_QUEUE_ERROR}) << what;
    EXPECT_EQ(effects().events, std::vector<uint32_t>{NPU_EVENT_QUEUE_ERROR}) << what;
    card().start(2, good);
    port().settle();
    EXPECT_EQ(state(2), uint32_t{NPU_QUEUE_IDLE}) << what;
    stop_queue(2);
    port().settle();
  }
}

TEST_P(CardQueue, MemoryThatDoesNotAnswerStopsTheQueue) {
  open();
  npu_queue_context c = card().make_context(2, kAsid);
  c.ring = kNowhere;
  card().start(2, c);
  card().write(NPU_QUEUE_PAGE(2) + NPU_QUEUE_DOORBELL, 1);
  port().settle();
  EXPECT_EQ(state(2), uint32_t{NPU_QUEUE_ERROR});
  effects();
  ASSERT_EQ(events().size(), 1u);
  EXPECT_EQ(events()[0].status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(events()[0].address, kNowhere);
  c = card().make_context(3, kAsid);
  c.completions = kNowhere;
  card().start(3, c);
  card().put(3, nop(NPU_PACKET_IRQ));
  card().ring(3);
  port().settle();
  EXPECT_EQ(state(3), uint32_t{NPU_QUEUE_ERROR});
  const Effects e = effects();
  EXPECT_EQ(e.events, std::vector<uint32_t>{NPU_EVENT_QUEUE_ERROR});
  EXPECT_EQ(e.messages.count(c.vector), 0u) << "no completion, no interrupt";
}

TEST_P(CardQueue, StopForgetsAndStartReadsAgain) {
  start();
  submit(nop());
  stop_queue(kQueue);
  port().settle();
  EXPECT_EQ(state(kQueue), uint32_t{NPU_QUEUE_DISABLED});
  card().put(kQueue, nop());
  card().ring(kQueue);
  port().settle();
  EXPECT_EQ(card().consumer(kQueue), 1u) << "a stopped queue ignores its doorbell";
  card().command(kQueue, NPU_QUEUE_CMD_START);
  port().settle();
  EXPECT_EQ(card().consumer(kQueue), 2u) << "START reads the producer index";
}

TEST_P(CardQueue, NothingRunsWhileTheCardIsDisabled) {
  start();
  card().write(NPU_REG_CONTROL, 0);
  card().put(kQueue, nop());
  card().ring(kQueue);
  port().settle();
  EXPECT_EQ(card().consumer(kQueue), 0u);
  card().write(NPU_REG_CONTROL, NPU_CONTROL_ENABLE);
  port().settle();
  EXPECT_EQ(card().consumer(kQueue), 1u);
}

TEST_P(CardQueue, EveryQueueWorks) {
  open();
  for (uint32_t queue = 0; queue < card().target().queues; ++queue) {
    card().start(queue, kAsid);
    ASSERT_EQ(card().submit(queue, nop(NPU_PACKET_IRQ)).sequence, 1u) << queue;
    const Effects e = effects();
    ASSERT_EQ(e.interrupts, 1u);
    ASSERT_EQ(e.messages.count(card().context(queue).vector), 1u) << queue;
  }
}

TEST_P(CardQueue, ReservedFieldsAndUnknownOpcodesAreRefused) {
  start();
  effects();
  const auto refused = [&](const npu_packet& packet) {
    const npu_completion c = submit(packet);
    return c.status == NPU_STATUS_BAD_COMMAND && c.engine == NPU_ENGINE_PACKET;
  };
  for (int byte = 0; byte < 62; byte += 5) {
    npu_packet p = nop();
    p.body[byte] = 1;
    EXPECT_TRUE(refused(p)) << byte;
  }
  npu_packet unknown = nop();
  unknown.opcode = NPU_PACKET_FENCE + 1;
  EXPECT_TRUE(refused(unknown));
  EXPECT_TRUE(refused(nop(NPU_PACKET_RESTARTABLE)));
  EXPECT_TRUE(refused(nop(0x80)));
  const Effects e = effects();
  EXPECT_EQ(e.faults, 16u);
  EXPECT_EQ(e.events, std::vector<uint32_t>(16, NPU_EVENT_JOB_FAULT));
  npu_packet_fill bad = packets::fill(0x1000, 4096, 0);
  bad.reserved[3] = 1;
  EXPECT_EQ(card().submit(0, bad).status, uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(card().submit(0, packets::fill(0x1002, 4096, 0)).status,
            uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(card().submit(0, packets::fill(~0ull - 3, 4096, 0)).status,
            uint32_t{NPU_STATUS_BAD_COMMAND});
}

TEST_P(CardQueue, OnlyQueueZeroMovesMemory) {
  start();
  const uint64_t at = card().allocate(4096);
  const auto status = [&](uint32_t queue, const auto& packet) {
    return card().submit(queue, packet).status;
  };
  const auto copy = packets::copy(NPU_MEMORY_HOST, at, NPU_MEMORY_HOST, at + 2048, 64);
  EXPECT_EQ(status(kQueue, packets::fill(at, 64, ~0u)), uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(status(kQueue, copy), uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(status(kQueue, packets::fence()), uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(status(kQueue, packets::invalidate(kAsid, 0, 0)), uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(card().load<uint32_t>(at), 0u);
  EXPECT_EQ(status(0, packets::fill(at, 64, 0x01020304)), uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(status(0, copy), uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(status(0, packets::fence()), uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(status(0, packets::invalidate(kAsid, 0, 0)), uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(card().load<uint32_t>(at + 2048 + 60), 0x01020304u);
  EXPECT_EQ(card().load<uint32_t>(at + 2048 + 64), 0u);
}

TEST_P(CardQueue, CopyAndFillBetweenMemories) {
  start();
  constexpr uint64_t kBytes = 300 * 1024 + 12;  // several bus transfers
  const uint64_t from = card().allocate(kBytes), to = card().allocate(kBytes);
  const uint64_t first = card().allocate_card(kBytes) + 5, second = card().allocate_card(kBytes);
  std::vector<uint8_t> bytes(kBytes), back(kBytes);
  for (uint64_t i = 0; i < kBytes; ++i) bytes[i] = static_cast<uint8_t>(i * 7 + i / 256);
  port().write_memory(from, bytes.data(), kBytes);
  for (const auto& packet :
       {packets::copy(NPU_MEMORY_HOST, from, NPU_MEMORY_CARD, first, kBytes - 5),
        packets::copy(NPU_MEMORY_CARD, first, NPU_MEMORY_CARD, second, kBytes - 5),
        packets::copy(NPU_MEMORY_CARD, second, NPU_MEMORY_HOST, to, kBytes - 5),
        packets::copy(NPU_MEMORY_HOST, from, NPU_MEMORY_HOST, to, 0)})
    ASSERT_EQ(card().submit(0, packet).status, uint32_t{NPU_STATUS_OK});
  port().read_memory(to, back.data(), kBytes);
  for (uint64_t i = 0; i < kBytes; ++i) ASSERT_EQ(back[i], i < kBytes - 5 ? bytes[i] : 0) << i;
  ASSERT_EQ(card().submit(0, packets::fill(second, 1024, 0x04030201, NPU_MEMORY_CARD)).status, 0u);
  port().read_card(second, back.data(), 1028);
  for (int i = 0; i < 1024; ++i) ASSERT_EQ(back[i], 1 + i % 4) << i;
  EXPECT_EQ(back[1024], bytes[1024]);
}

TEST_P(CardQueue, TransferBeyondMemoryIsADmaError) {
  start();
  const uint64_t end = uint64_t{kCardMemoryMib} << 20;
  npu_completion c = card().submit(0, packets::fill(end - 4096, 8192, 1, NPU_MEMORY_CARD));
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_WRITE});
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_PACKET});
  c = card().submit(0, packets::copy(NPU_MEMORY_HOST, kNowhere, NPU_MEMORY_CARD, 0, 64));
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_READ});
  EXPECT_EQ(c.address, kNowhere);
  EXPECT_EQ(card().submit(0, packets::fill(kNowhere, 1ull << 50, 0)).status,
            uint32_t{NPU_STATUS_DMA_ERROR})
      << "however long";
}

TEST_P(CardQueue, ChainEndsWithItsFirstFailure) {
  start();
  effects();
  const uint64_t at = card().allocate(4096);
  const auto put = [&](uint64_t address, uint32_t pattern, uint8_t flags) {
    npu_packet_fill packet = packets::fill(address, 64, pattern);
    packet.flags = flags;
    card().put(0, packet);
  };
  put(at, 1, NPU_PACKET_CHAIN);
  put(kNowhere, 2, NPU_PACKET_CHAIN);
  put(at, 3, NPU_PACKET_CHAIN);
  put(at, 4, NPU_PACKET_IRQ);
  put(at + 64, 5, 0);
  card().ring(0);
  port().settle();
  const uint32_t kExpected[] = {NPU_STATUS_OK, NPU_STATUS_DMA_ERROR, NPU_STATUS_ABORTED,
                                NPU_STATUS_ABORTED, NPU_STATUS_OK};
  for (uint64_t i = 0; i < 5; ++i) EXPECT_EQ(card().completion(0, i).status, kExpected[i]) << i;
  EXPECT_EQ(card().load<uint32_t>(at), 1u);
  EXPECT_EQ(card().load<uint32_t>(at + 64), 5u);
  expect_effects({.doorbells = 1,
                  .packets = 5,
                  .faults = 3,
                  .interrupts = 2,
                  .messages = {{NPU_VECTOR_EVENTS, 1}, {card().context(0).vector, 1}},
                  .events = {NPU_EVENT_JOB_FAULT}});  // ABORTED is no event
  ASSERT_EQ(events().size(), 1u);
  EXPECT_EQ(events()[0].packet, 1u);
}

TEST_P(CardQueue, SixtyPacketsCostOneDoorbell) {
  start();
  effects();
  for (int i = 0; i < 59; ++i) card().put(kQueue, nop(NPU_PACKET_CHAIN));
  card().put(kQueue, nop(NPU_PACKET_IRQ));
  card().ring(kQueue);
  port().settle();
  expect_effects({.doorbells = 1,
                  .packets = 60,
                  .interrupts = 1,
                  .messages = {{card().context(kQueue).vector, 1}}});
}

}  // namespace
}  // namespace npu::card
