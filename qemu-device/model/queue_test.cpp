// SPDX-License-Identifier: MIT
//
// Registers, queues and packets.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>

#include "testing/harness.h"

namespace npu::model::testing {
namespace {

TEST(Registers, Discovery) {
  Harness h;
  EXPECT_EQ(h.read(NPU_REG_MAGIC), uint32_t{NPU_MAGIC});
  EXPECT_EQ(h.read(NPU_REG_VERSION), uint32_t{NPU_VERSION_MAJOR << 16 | NPU_VERSION_MINOR});
  EXPECT_EQ(h.read64(NPU_REG_SERIAL), 0x1122334455667788ull);
  EXPECT_EQ(h.read(NPU_REG_SERIAL + 4), 0x11223344u);
  EXPECT_EQ(h.read64(NPU_REG_FEATURES),
            uint64_t{NPU_FEATURE_TIMING | NPU_FEATURE_HAZARDS | NPU_FEATURE_INJECT |
                     NPU_FEATURE_PREEMPT | NPU_FEATURE_COALESCE});
  npu_target target;
  auto* words = reinterpret_cast<char*>(&target);
  for (uint32_t i = 0; i < NPU_TARGET_WORDS; ++i) {
    const uint32_t word = h.read(NPU_REG_CAPS + 4 * i);
    std::memcpy(words + 4 * i, &word, 4);
  }
  EXPECT_EQ(std::memcmp(&target, &h.target(), sizeof(target)), 0);
}

TEST(Registers, WidthAndAlignment) {
  Harness h;
  EXPECT_EQ(npu_model_read(h.model(), NPU_REG_MAGIC, 2), 0u);
  EXPECT_EQ(npu_model_read(h.model(), NPU_REG_MAGIC, 1), 0u);
  EXPECT_EQ(npu_model_read(h.model(), NPU_REG_MAGIC + 2, 4), 0u);
  EXPECT_EQ(npu_model_read(h.model(), NPU_REG_MAGIC, 8), 0u) << "not a pair";
  EXPECT_EQ(h.read(0x0ffc), 0u);
  EXPECT_EQ(npu_model_read(h.model(), NPU_BAR_REGISTERS_SIZE, 4), 0u);
  EXPECT_EQ(npu_model_read(h.model(), ~0ull - 3, 4), 0u);
  npu_model_write(h.model(), NPU_REG_EVENT_RING, 0x77, 2);
  EXPECT_NE(h.read(NPU_REG_EVENT_RING), 0x77u);
  h.write(NPU_REG_MAGIC, 0);
  EXPECT_EQ(h.read(NPU_REG_MAGIC), uint32_t{NPU_MAGIC});
}

TEST(Registers, PowerOnDefaults) {
  Harness h;
  npu_model_reset(h.model(), NPU_MODEL_RESET_POWER);
  for (uint32_t reg :
       {NPU_REG_CONTROL, NPU_REG_RESETS, NPU_REG_CONTEXT_TABLE, NPU_REG_CONTEXT_COUNT,
        NPU_REG_QUEUE_TABLE, NPU_REG_QUEUE_COUNT, NPU_REG_EVENT_RING, NPU_REG_EVENT_LOG2,
        NPU_REG_EVENT_HEAD, NPU_REG_EVENT_TAIL, NPU_REG_EVENT_LOST, NPU_REG_THROTTLES,
        NPU_REG_COUNT_DOORBELL, NPU_REG_COUNT_INTERRUPT, NPU_REG_INJECT_ARMED})
    EXPECT_EQ(h.read(reg), 0u) << std::hex << reg;
  EXPECT_EQ(h.read(NPU_REG_STATUS), uint32_t{NPU_DEVICE_READY});
  EXPECT_EQ(h.read(NPU_REG_CLOCK_MHZ), h.target().clock_mhz);
  EXPECT_EQ(h.read(NPU_REG_TEMPERATURE_MC), h.target().ambient_mc);
  EXPECT_EQ(h.read(NPU_REG_INJECT_COUNT), 1u);
  EXPECT_EQ(h.read(NPU_REG_INJECT_QUEUE), NPU_INJECT_ANY_QUEUE);
  EXPECT_EQ(h.queue_reg(1, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_EQ(h.read64(NPU_REG_TIMEBASE), h.clock_ns);
}

TEST(Registers, CountersCountExactly) {
  Harness h;
  h.start(1, 1);
  h.run();
  const uint32_t reads = h.read(NPU_REG_COUNT_MMIO_READ);
  EXPECT_EQ(h.read(NPU_REG_COUNT_MMIO_READ), reads + 1);
  const uint32_t writes = h.read(NPU_REG_COUNT_MMIO_WRITE);
  const uint32_t doorbells = h.read(NPU_REG_COUNT_DOORBELL);
  const uint32_t packets = h.read(NPU_REG_COUNT_PACKET);
  const uint32_t irqs = h.read(NPU_REG_COUNT_INTERRUPT);
  h.put(1, nop(NPU_PACKET_CHAIN));
  h.put(1, nop(NPU_PACKET_IRQ));
  h.ring(1);
  h.run();
  EXPECT_EQ(h.read(NPU_REG_COUNT_MMIO_WRITE), writes + 1) << "one doorbell and nothing else";
  EXPECT_EQ(h.read(NPU_REG_COUNT_DOORBELL), doorbells + 1);
  EXPECT_EQ(h.read(NPU_REG_COUNT_PACKET), packets + 2);
  EXPECT_EQ(h.read(NPU_REG_COUNT_INTERRUPT), irqs + 1);
  EXPECT_EQ(h.queue_reg(1, NPU_QUEUE_COUNT_IRQ), 1u);
}

TEST(Queue, NopCompletes) {
  Harness h;
  h.start(3, 1);
  h.run();
  EXPECT_EQ(h.queue_reg(3, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_IDLE});
  h.clock_ns = 5000000;
  const npu_completion c = h.submit(3, nop(NPU_PACKET_IRQ));
  EXPECT_EQ(c.sequence, 1u);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(c.command, NPU_NO_COMMAND);
  EXPECT_EQ(c.end_ns, 5000000u);
  EXPECT_EQ(h.consumer(3), 1u);
  EXPECT_EQ(h.read64(NPU_QUEUE_PAGE(3) + NPU_QUEUE_CONSUMER), 1u);
  ASSERT_EQ(h.interrupts.size(), 1u);
  EXPECT_EQ(h.interrupts[0], h.context(3).vector);
}

TEST(Queue, RingWrapsManyTimes) {
  Harness h;
  h.start(1, 1);
  for (int i = 0; i < 5 * (1 << Harness::kRingLog2) + 3; ++i)
    ASSERT_EQ(h.submit(1, nop()).sequence, static_cast<uint64_t>(i) + 1);
  const uint64_t first = h.produced(1);
  for (int i = 0; i < 1 << Harness::kRingLog2; ++i) h.put(1, nop());  // a full ring
  h.ring(1);
  h.run();
  EXPECT_EQ(h.consumer(1), first + (1 << Harness::kRingLog2));
  EXPECT_TRUE(h.events().empty());
}

TEST(Queue, IndicesContinueBeyond32Bits) {
  Harness h;
  npu_queue_context c = h.make_context(1, 1);
  h.store(c.indices, npu_queue_indices{0xfffffffeull, 0xfffffffeull});
  h.start(1, c);
  for (uint64_t i = 0xfffffffeull; i < 0x100000003ull; ++i)
    ASSERT_EQ(h.submit(1, nop()).sequence, i + 1);
  EXPECT_EQ(h.read64(NPU_QUEUE_PAGE(1) + NPU_QUEUE_CONSUMER), 0x100000003ull);
}

TEST(Queue, DoorbellOverrunIsAnError) {
  Harness h;
  h.start(1, 1);
  h.run();
  h.write(NPU_QUEUE_PAGE(1) + NPU_QUEUE_DOORBELL, (1u << Harness::kRingLog2) + 1);
  h.run();
  EXPECT_EQ(h.queue_reg(1, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_ERROR});
  const auto events = h.events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].type, uint32_t{NPU_EVENT_QUEUE_ERROR});
  EXPECT_EQ(events[0].queue, 1u);
  EXPECT_EQ(events[0].status, uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(h.interrupts, std::vector<uint32_t>{NPU_VECTOR_EVENTS});
  h.start(1, 1);
  EXPECT_EQ(h.submit(1, nop()).status, uint32_t{NPU_STATUS_OK});
}

TEST(Queue, BadContextIsAnError) {
  const auto spoiled = [](auto spoil) {
    Harness h;
    npu_queue_context c = h.make_context(1, 1);
    spoil(c, h);
    h.start(1, c);
    h.run();
    return h.queue_reg(1, NPU_QUEUE_STATE) == NPU_QUEUE_ERROR && h.events().size() == 1;
  };
  using C = npu_queue_context;
  EXPECT_FALSE(spoiled([](C&, Harness&) {}));
  EXPECT_TRUE(spoiled([](C& c, Harness&) { c.ring += 32; }));
  EXPECT_TRUE(spoiled([](C& c, Harness&) { c.completions += 64; }));
  EXPECT_TRUE(spoiled([](C& c, Harness&) { c.indices += 8; }));
  EXPECT_TRUE(spoiled([](C& c, Harness&) { c.indices = 1ull << 40; }));
  EXPECT_TRUE(spoiled([](C& c, Harness&) { c.ring_log2 = 3; }));
  EXPECT_TRUE(spoiled([](C& c, Harness&) { c.ring_log2 = 15; }));
  EXPECT_TRUE(spoiled([](C& c, Harness& h) { c.asid = h.target().asids; }));
  EXPECT_TRUE(spoiled([](C& c, Harness&) { c.priority = 4; }));
  EXPECT_TRUE(spoiled([](C& c, Harness&) { c.vector = 0; }));
  EXPECT_TRUE(spoiled([](C& c, Harness& h) { c.vector = h.target().vectors; }));
  EXPECT_TRUE(spoiled([](C& c, Harness&) { c.core_mask = 0; }));
  EXPECT_TRUE(spoiled([](C& c, Harness&) { c.flags = 1; }));
  EXPECT_TRUE(spoiled([](C& c, Harness&) { c.reserved[4] = 1; }));
  EXPECT_TRUE(spoiled([](C&, Harness& h) { h.write(NPU_REG_QUEUE_COUNT, 1); }));
  EXPECT_TRUE(spoiled([](C&, Harness& h) { h.write64(NPU_REG_QUEUE_TABLE, 1ull << 50); }));
}

TEST(Queue, UnreadableRingIsAnError) {
  Harness h;
  npu_queue_context c = h.make_context(1, 1);
  c.ring = 1ull << 40;
  h.start(1, c);
  h.write(NPU_QUEUE_PAGE(1) + NPU_QUEUE_DOORBELL, 1);
  h.run();
  EXPECT_EQ(h.queue_reg(1, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_ERROR});
  const auto events = h.events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(events[0].address, 1ull << 40);
}

TEST(Queue, UnwritableCompletionsAreAnError) {
  Harness h;
  npu_queue_context c = h.make_context(1, 1);
  c.completions = 1ull << 40;
  h.start(1, c);
  h.put(1, nop(NPU_PACKET_IRQ));
  h.ring(1);
  h.run();
  EXPECT_EQ(h.queue_reg(1, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_ERROR});
  EXPECT_EQ(h.events().size(), 1u);
  EXPECT_EQ(h.interrupts, std::vector<uint32_t>{NPU_VECTOR_EVENTS});
}

TEST(Queue, StopForgetsAndStartReadsAgain) {
  Harness h;
  const npu_queue_context c = h.make_context(1, 1);
  h.start(1, c);
  h.submit(1, nop());
  h.write(NPU_QUEUE_PAGE(1) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_STOP);
  h.run();
  EXPECT_EQ(h.queue_reg(1, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_DISABLED});
  h.put(1, nop());
  h.ring(1);
  h.run();
  EXPECT_EQ(h.consumer(1), 1u) << "a stopped queue ignores its doorbell";
  h.start(1, c);
  h.run();
  EXPECT_EQ(h.consumer(1), 2u) << "START reads the producer index";
}

// DISABLED means that the card touches nothing of the queue, nor is about to.
TEST(Queue, IsNotDisabledOnceStartIsWritten) {
  Harness h;
  h.start(1, h.make_context(1, 1));
  EXPECT_EQ(h.queue_reg(1, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_IDLE});
  uint32_t in_midst = NPU_QUEUE_DISABLED;
  h.filter = [&](uint64_t, size_t, bool) {
    // The driver's next step, while the card reads the context.
    h.write(NPU_QUEUE_PAGE(1) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_STOP);
    in_midst = h.queue_reg(1, NPU_QUEUE_STATE);
    return NPU_BUS_OK;
  };
  h.run();
  EXPECT_NE(in_midst, uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_EQ(h.queue_reg(1, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_DISABLED});
}

TEST(Queue, StopTakesBackAStart) {
  Harness h;
  h.start(1, h.make_context(1, 1));
  h.write(NPU_QUEUE_PAGE(1) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_STOP);
  EXPECT_NE(h.queue_reg(1, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_DISABLED});
  h.bus_accesses = 0;
  h.run();
  EXPECT_EQ(h.queue_reg(1, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_EQ(h.bus_accesses, 0u);
}

TEST(Queue, NothingRunsWhileDisabled) {
  Harness h;
  h.start(1, 1);
  h.run();
  h.write(NPU_REG_CONTROL, 0);
  h.put(1, nop());
  h.ring(1);
  EXPECT_EQ(h.run(), NPU_MODEL_IDLE);
  EXPECT_EQ(h.consumer(1), 0u);
  h.write(NPU_REG_CONTROL, NPU_CONTROL_ENABLE);
  h.run();
  EXPECT_EQ(h.consumer(1), 1u);
}

TEST(Queue, BudgetCountsPackets) {
  Harness h;
  h.start(1, 1);
  for (int i = 0; i < 10; ++i) h.put(1, nop());
  h.ring(1);
  EXPECT_EQ(h.run(4), NPU_MODEL_MORE);
  EXPECT_EQ(h.consumer(1), 4u);
  EXPECT_EQ(h.run(0), NPU_MODEL_IDLE);
  EXPECT_EQ(h.consumer(1), 10u);
}

TEST(Queue, CancelledReturnsAtOnce) {
  Harness h;
  h.start(1, 1);
  h.put(1, nop());
  h.ring(1);
  h.cancelled = [] { return true; };
  EXPECT_EQ(h.run(), NPU_MODEL_MORE);
  EXPECT_EQ(h.consumer(1), 0u);
  h.cancelled = nullptr;
  EXPECT_EQ(h.run(), NPU_MODEL_IDLE);
  EXPECT_EQ(h.consumer(1), 1u);
}

TEST(Queue, PriorityThenRoundRobin) {
  Harness h;
  for (uint32_t queue : {1u, 2u, 3u}) {
    npu_queue_context c = h.make_context(queue, 1);
    c.priority = queue == 3 ? 2 : 1;
    h.start(queue, c);
  }
  h.run();
  for (int i = 0; i < 3; ++i)
    for (uint32_t queue : {1u, 2u, 3u}) h.put(queue, nop(NPU_PACKET_IRQ));
  for (uint32_t queue : {1u, 2u, 3u}) h.ring(queue);
  h.run();
  const uint32_t v1 = h.context(1).vector, v2 = h.context(2).vector, v3 = h.context(3).vector;
  EXPECT_EQ(h.interrupts, (std::vector<uint32_t>{v3, v3, v3, v1, v2, v1, v2, v1, v2}));
}

TEST(Packets, ReservedBitsAndUnknownOpcodes) {
  Harness h;
  h.start(0, 0);
  h.start(1, 1);
  for (int byte = 0; byte < 62; ++byte) {
    npu_packet p = nop();
    p.body[byte] = 1;
    ASSERT_EQ(h.submit(1, p).status, uint32_t{NPU_STATUS_BAD_COMMAND}) << byte;
  }
  npu_packet p = nop();
  p.opcode = 6;
  EXPECT_EQ(h.submit(1, p).status, uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(h.submit(1, nop(NPU_PACKET_RESTARTABLE)).status, uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(h.submit(1, nop(0x80)).status, uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(h.events().size(), 65u - 1);  // the ring holds 64
  EXPECT_EQ(h.read(NPU_REG_EVENT_LOST), 1u);
  npu_packet_fill bad = fill(0x1000, 4096, 0);
  bad.reserved[3] = 1;
  EXPECT_EQ(h.submit(0, bad).status, uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(h.submit(0, fill(0x1002, 4096, 0)).status, uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(h.submit(0, fill(~0ull - 3, 4096, 0)).status, uint32_t{NPU_STATUS_BAD_COMMAND});
}

TEST(Packets, OnlyQueueZeroMovesMemory) {
  Harness h;
  h.start(0, 0);
  h.start(1, 1);
  const uint64_t at = h.allocate(4096);
  npu_packet fence = {};
  fence.opcode = NPU_PACKET_FENCE;
  npu_packet_tlb_invalidate tlb = {};
  tlb.opcode = NPU_PACKET_TLB_INVALIDATE;
  EXPECT_EQ(h.submit(1, fill(at, 4096, ~0u)).status, uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(h.submit(1, copy(NPU_MEMORY_HOST, 0, NPU_MEMORY_HOST, at, 64)).status,
            uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(h.submit(1, fence).status, uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(h.submit(1, tlb).status, uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(*h.host(at), 0);
  EXPECT_EQ(h.submit(0, fill(at, 4096, ~0u)).status, uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(h.submit(0, fence).status, uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(h.submit(0, tlb).status, uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(*h.host(at), 0xff);
}

TEST(Packets, CopyAndFillBetweenMemories) {
  Harness h;
  h.start(0, 0);
  constexpr uint64_t kBytes = 700 * 1024 + 12;  // several chunks
  const uint64_t host = h.allocate(kBytes), back = h.allocate(kBytes);
  for (uint64_t i = 0; i < kBytes; ++i) *h.host(host + i) = static_cast<uint8_t>(i * 7 + i / 256);
  EXPECT_EQ(h.submit(0, copy(NPU_MEMORY_HOST, host, NPU_MEMORY_CARD, 5, kBytes)).status, 0u);
  EXPECT_EQ(std::memcmp(h.card(5), h.host(host), kBytes), 0);
  EXPECT_EQ(h.submit(0, copy(NPU_MEMORY_CARD, 5, NPU_MEMORY_CARD, 0x200000, kBytes)).status, 0u);
  EXPECT_EQ(h.submit(0, copy(NPU_MEMORY_CARD, 0x200000, NPU_MEMORY_HOST, back, kBytes)).status, 0u);
  EXPECT_EQ(std::memcmp(h.host(back), h.host(host), kBytes), 0);
  EXPECT_EQ(h.submit(0, fill(4, 1024, 0x04030201, NPU_MEMORY_CARD)).status, 0u);
  EXPECT_EQ(h.card(4)[1023], 4);
  EXPECT_EQ(h.card(4)[0], 1);
  EXPECT_EQ(h.submit(0, copy(NPU_MEMORY_HOST, host, NPU_MEMORY_HOST, back, 0)).status, 0u);
}

TEST(Packets, TransferBeyondMemoryIsADmaError) {
  Harness h;
  h.start(0, 0);
  const uint64_t end = uint64_t{h.target().card_memory_mib} << 20;
  npu_completion c = h.submit(0, fill(end - 4096, 8192, 1, NPU_MEMORY_CARD));
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_WRITE});
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_PACKET});
  c = h.submit(0, copy(NPU_MEMORY_HOST, h.host_bytes(), NPU_MEMORY_CARD, 0, 64));
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_READ});
  EXPECT_EQ(c.address, h.host_bytes());
  // Absurdly long ones end at the first refused access.
  EXPECT_EQ(h.submit(0, fill(0, 1ull << 62, 0)).status, uint32_t{NPU_STATUS_DMA_ERROR});
}

TEST(Packets, ChainEndsWithTheFirstFailure) {
  Harness h;
  h.start(0, 0);
  const uint64_t at = h.allocate(4096);
  const auto chained = [](npu_packet_fill p) {
    p.flags |= NPU_PACKET_CHAIN;
    return p;
  };
  h.put(0, chained(fill(at, 64, 1)));
  h.put(0, chained(fill(1ull << 40, 64, 2)));
  h.put(0, chained(fill(at, 64, 3)));
  npu_packet_fill last = fill(at, 64, 4);
  last.flags = NPU_PACKET_IRQ;
  h.put(0, last);
  h.put(0, fill(at + 64, 64, 5));
  h.ring(0);
  h.run();
  const uint32_t expected[] = {NPU_STATUS_OK, NPU_STATUS_DMA_ERROR, NPU_STATUS_ABORTED,
                               NPU_STATUS_ABORTED, NPU_STATUS_OK};
  for (uint64_t i = 0; i < 5; ++i) EXPECT_EQ(h.completion(0, i).status, expected[i]) << i;
  EXPECT_EQ(h.load<uint32_t>(at), 1u);
  EXPECT_EQ(h.load<uint32_t>(at + 64), 5u);
  const auto events = h.events();
  ASSERT_EQ(events.size(), 1u) << "ABORTED is no event";
  EXPECT_EQ(events[0].type, uint32_t{NPU_EVENT_JOB_FAULT});
  EXPECT_EQ(events[0].packet, 1u);
  EXPECT_EQ(h.interrupts.back(), h.context(0).vector) << "the chain's interrupt comes all the same";
}

TEST(Interrupts, CoalescedByCountAndTime) {
  Harness h;
  npu_queue_context c = h.make_context(1, 1);
  c.coalesce_count = 3;
  c.coalesce_ns = 1000;
  h.start(1, c);
  for (int i = 0; i < 2; ++i) h.submit(1, nop(NPU_PACKET_IRQ));
  EXPECT_TRUE(h.interrupts.empty());
  EXPECT_EQ(npu_model_deadline(h.model()), h.clock_ns + 1000);
  h.submit(1, nop(NPU_PACKET_IRQ));
  EXPECT_EQ(h.interrupts.size(), 1u);
  h.submit(1, nop(NPU_PACKET_IRQ));
  h.clock_ns += 999;
  h.run();
  EXPECT_EQ(h.interrupts.size(), 1u);
  h.clock_ns += 1;
  h.run();
  EXPECT_EQ(h.interrupts.size(), 2u);
  EXPECT_EQ(npu_model_deadline(h.model()), 0u);
}

TEST(Interrupts, LostAndLate) {
  Harness h;
  h.start(1, 1);
  h.write(NPU_REG_INJECT_KIND, NPU_INJECT_LOST_INTERRUPT);
  EXPECT_EQ(h.read(NPU_REG_INJECT_ARMED), 1u);
  h.submit(1, nop(NPU_PACKET_IRQ));
  EXPECT_TRUE(h.interrupts.empty());
  EXPECT_EQ(h.read(NPU_REG_INJECT_ARMED), 0u);
  h.submit(1, nop(NPU_PACKET_IRQ));
  EXPECT_EQ(h.interrupts.size(), 1u);
  h.write64(NPU_REG_INJECT_ARG, 5000);
  h.write(NPU_REG_INJECT_QUEUE, 1);
  h.write(NPU_REG_INJECT_KIND, NPU_INJECT_LATE_INTERRUPT);
  EXPECT_EQ(h.submit(1, nop(NPU_PACKET_IRQ)).status, 0u);
  EXPECT_EQ(h.interrupts.size(), 1u);
  EXPECT_EQ(npu_model_deadline(h.model()), h.clock_ns + 5000);
  h.clock_ns += 5000;
  h.run();
  EXPECT_EQ(h.interrupts.size(), 2u);
}

TEST(Interrupts, AnAbsurdDelayIsNoDeadlineThatAClockCannotHold) {
  Harness h;
  h.start(1, 1);
  h.write64(NPU_REG_INJECT_ARG, 0xc100000000000000);
  h.write(NPU_REG_INJECT_KIND, NPU_INJECT_LATE_INTERRUPT);
  EXPECT_EQ(h.submit(1, nop(NPU_PACKET_IRQ)).status, 0u);
  const uint64_t hour = 3'600'000'000'000;
  EXPECT_EQ(npu_model_deadline(h.model()), h.clock_ns + hour);
  h.clock_ns += hour;
  h.run();
  EXPECT_TRUE(h.interrupts.empty());
  EXPECT_EQ(npu_model_deadline(h.model()), h.clock_ns + hour);
}

TEST(Events, FullRingCountsTheLost) {
  Harness h;
  h.start(1, 1);
  npu_packet bad = nop(0x80);
  for (int i = 0; i < (1 << Harness::kEventLog2) + 5; ++i) h.submit(1, bad);
  EXPECT_EQ(h.read(NPU_REG_EVENT_LOST), 5u);
  const auto events = h.events();
  ASSERT_EQ(events.size(), size_t{1} << Harness::kEventLog2);
  for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i].sequence, i + 1);
  h.submit(1, bad);
  EXPECT_EQ(h.events().size(), 1u);
}

TEST(Reset, FunctionLevelWipesMemoryAndState) {
  Harness h;
  h.start(1, 1);
  h.submit(1, nop());
  *h.card(12345) = 7;
  const uint32_t packets = h.read(NPU_REG_COUNT_PACKET);
  npu_model_reset(h.model(), NPU_MODEL_RESET_FLR);
  EXPECT_EQ(*h.card(12345), 0);
  EXPECT_EQ(h.read64(NPU_REG_QUEUE_TABLE), 0u);
  EXPECT_EQ(h.read(NPU_REG_CONTROL), 0u);
  EXPECT_EQ(h.queue_reg(1, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_EQ(h.read(NPU_REG_COUNT_PACKET), packets) << "counters since power-on stay";
  npu_model_reset(h.model(), NPU_MODEL_RESET_POWER);
  EXPECT_EQ(h.read(NPU_REG_COUNT_PACKET), 0u);
}

TEST(Gone, AllOnesAndNoTrace) {
  Harness h;
  h.start(1, 1);
  h.run();
  h.put(1, nop(NPU_PACKET_IRQ));
  h.ring(1);
  ASSERT_TRUE(npu_model_inject(h.model(), NPU_INJECT_GONE, NPU_INJECT_ANY_QUEUE, 0, 1, 0));
  const uint64_t accesses = h.bus_accesses;
  EXPECT_EQ(h.run(), NPU_MODEL_IDLE);
  EXPECT_EQ(h.bus_accesses, accesses);
  EXPECT_TRUE(h.interrupts.empty());
  EXPECT_EQ(h.read(NPU_REG_MAGIC), 0xffffffffu);
  EXPECT_EQ(h.read64(NPU_REG_SERIAL), ~0ull);
  npu_model_reset(h.model(), NPU_MODEL_RESET_POWER);
  EXPECT_EQ(h.read(NPU_REG_MAGIC), uint32_t{NPU_MAGIC});
}

TEST(Thermal, TripThrottlesAndCoolsDown) {
  Harness h;
  h.run();
  ASSERT_TRUE(
      npu_model_inject(h.model(), NPU_INJECT_THERMAL_TRIP, NPU_INJECT_ANY_QUEUE, 0, 1, 110000));
  h.run();
  EXPECT_EQ(h.read(NPU_REG_CLOCK_MHZ), h.target().clock_mhz / 2);
  EXPECT_EQ(h.read(NPU_REG_THROTTLES), 1u);
  EXPECT_TRUE(h.read(NPU_REG_STATUS) & NPU_DEVICE_THROTTLED);
  const auto events = h.events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].type, uint32_t{NPU_EVENT_THERMAL});
  EXPECT_NEAR(static_cast<double>(events[0].value), 110000, 100);
  h.clock_ns += 60'000'000'000ull;
  h.run();
  EXPECT_EQ(h.read(NPU_REG_CLOCK_MHZ), h.target().clock_mhz);
  EXPECT_LT(h.read(NPU_REG_TEMPERATURE_MC), h.target().throttle_mc);
}

// Software writes an index and then its doorbell, while the card may still have to see
// to a START and to the doorbell before.
TEST(Doorbell, BehindWhatStartHasReadAnnouncesNothing) {
  Harness h;
  h.program();
  h.start(1, 1);
  h.put(1, nop());
  h.ring(1);
  h.put(1, nop());
  h.store<uint64_t>(h.context(1).indices, h.produced(1));
  h.run();
  EXPECT_EQ(h.queue_reg(1, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_IDLE});
  EXPECT_TRUE(h.completed(1, 1));
  h.ring(1);
  h.put(1, nop());
  h.ring(1);
  h.run();
  EXPECT_EQ(h.consumer(1), 3u);
  EXPECT_TRUE(h.events().empty());
}

// Accesses to the bus that a copy from or to `address` makes, which fails: the harness
// has no memory there.
uint64_t accesses_of_copy(uint32_t dma_bits, uint64_t address, bool read) {
  HarnessOptions options;
  options.dma_bits = dma_bits;
  Harness h(options);
  EXPECT_EQ(h.read(NPU_REG_DMA_BITS), dma_bits);
  h.start(0, 0);
  h.run();
  const uint64_t card = h.allocate_card(64), before = h.bus_accesses;
  h.put(0, read ? copy(NPU_MEMORY_HOST, address, NPU_MEMORY_CARD, card, 64)
                : copy(NPU_MEMORY_CARD, card, NPU_MEMORY_HOST, address, 64));
  h.ring(0);
  h.run();
  EXPECT_EQ(h.completion(0, 0).status, uint32_t{NPU_STATUS_DMA_ERROR});
  return h.bus_accesses - before;
}

TEST(DmaBits, WhatIsBeyondThemNeverReachesTheBus) {
  for (const uint32_t bits : {32u, 40u})
    for (const uint64_t address : {(uint64_t{1} << 32) - 64, (uint64_t{1} << 32) - 32,
                                   uint64_t{1} << 32, uint64_t{1} << 40, ~uint64_t{0} << 12})
      for (const bool read : {false, true}) {
        const uint64_t beyond = address + 64 > uint64_t{1} << bits;
        EXPECT_EQ(accesses_of_copy(bits, address, read) + beyond,
                  accesses_of_copy(64, address, read))
            << bits << " bits, " << std::hex << address;
      }
}

// A caller that was compiled when there were fewer optional operations.
TEST(Create, TakesAnOlderHost) {
  npu_model_host host = {};
  host.struct_size = offsetof(npu_model_host, function_event);
  host.read = [](void*, uint64_t, void*, size_t) { return NPU_BUS_OK; };
  host.write = [](void*, uint64_t, const void*, size_t) { return NPU_BUS_OK; };
  host.raise_irq = [](void*, uint32_t) {};
  host.kick = [](void*) {};
  host.now_ns = [](void*) { return uint64_t{1}; };
  host.cancelled = [](void*) { return false; };
  // What lies behind it is not ours to read.
  memset(&host.function_event, 0xff, sizeof(host) - host.struct_size);
  npu_model_config config = {};
  config.struct_size = sizeof(config);
  config.abi = NPU_MODEL_ABI;
  config.target = HarnessOptions::default_target();
  const char* error = nullptr;
  npu_model* model = npu_model_create(&config, &host, &error);
  ASSERT_NE(model, nullptr) << error;
  EXPECT_TRUE(npu_model_inject(model, NPU_INJECT_GONE, 0, 0, 1, 0));
  EXPECT_FALSE(npu_model_inject(model, NPU_INJECT_AER, 0, 0, 1, 0)) << "this host has no AER";
  npu_model_destroy(model);
  host.struct_size = 8;
  EXPECT_EQ(npu_model_create(&config, &host, &error), nullptr);
  EXPECT_STREQ(error, "host.struct_size is smaller than this library expects");
}

TEST(Create, RefusesBadConfigurations) {
  npu_model_host host = {};
  const char* error = nullptr;
  EXPECT_EQ(npu_model_create(nullptr, &host, &error), nullptr);
  ASSERT_NE(error, nullptr);
  npu_model_config config = {};
  config.struct_size = sizeof(config);
  config.abi = NPU_MODEL_ABI + 1;
  EXPECT_EQ(npu_model_create(&config, &host, &error), nullptr);
  EXPECT_STREQ(error, "config.abi is not the version of this library");
  config.abi = NPU_MODEL_ABI;
  for (const uint32_t bits : {1u, 31u, 65u}) {
    config.dma_bits = bits;
    EXPECT_EQ(npu_model_create(&config, &host, &error), nullptr);
    EXPECT_STREQ(error, "config.dma_bits is not 32 to 64");
  }
}

}  // namespace
}  // namespace npu::model::testing
