// SPDX-License-Identifier: MIT
//
// Aborts, resets, faults on demand, telemetry.
#include <cstring>

#include "suite.h"

namespace npu::card {
namespace {

using packets::nop;

class CardRecovery : public CardTest {};
NPU_CARD_SUITE(CardRecovery);

// A hung job is one that never ends by itself, on any front end.
TEST_P(CardRecovery, HangEndsWithCoreReset) {
  start();
  inject(NPU_INJECT_HANG, kQueue, 1);
  effects();
  submit(space().packet(copy_stream().bytes(), NPU_PACKET_IRQ));
  EXPECT_FALSE(card().completed(kQueue, 0));
  EXPECT_EQ(state(kQueue), uint32_t{NPU_QUEUE_RUNNING});
  EXPECT_EQ(card().read(NPU_REG_CORE(0, NPU_CORE_STATE)), 2u | kQueue << 8);
  EXPECT_EQ(card().read(NPU_REG_CORE(0, NPU_CORE_COMMAND)), 1u);
  EXPECT_TRUE(card().read(NPU_REG_STATUS) & NPU_DEVICE_HUNG);
  const uint32_t heartbeat = card().queue_reg(kQueue, NPU_QUEUE_HEARTBEAT);
  port().advance(1'000'000'000);
  EXPECT_EQ(card().queue_reg(kQueue, NPU_QUEUE_HEARTBEAT), heartbeat);

  // Another queue goes on, on the other core.
  card().start(2, kAsid);
  StreamBuilder small;
  small.append(packets::contiguous(NPU_OP_LOAD, 0, 0, 64));
  EXPECT_EQ(card().submit(2, space().packet(small.bytes(), 0, 65536)).status,
            uint32_t{NPU_STATUS_OK});

  card().command(kQueue, NPU_QUEUE_CMD_ABORT_JOB);
  port().settle();
  EXPECT_FALSE(card().completed(kQueue, 0)) << "a hung job does not react";
  effects();
  card().write(NPU_REG_RESET, NPU_RESET_KIND_CORE | 0 << 8);
  port().settle();
  EXPECT_EQ(card().read(NPU_REG_RESETS), 1u);
  const npu_completion c = card().completion(kQueue, 0);
  EXPECT_EQ(c.sequence, 1u);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_HANG});
  EXPECT_EQ(c.command, 1u);
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_STORE});
  EXPECT_EQ(card().read(NPU_REG_CORE(0, NPU_CORE_STATE)), 0u);
  EXPECT_EQ(card().read(NPU_REG_STATUS), uint32_t{NPU_DEVICE_READY});
  const Effects e = effects();
  EXPECT_EQ(e.events, (std::vector<uint32_t>{NPU_EVENT_JOB_FAULT, NPU_EVENT_RESET}));
  EXPECT_EQ(e.messages.count(card().context(kQueue).vector), 1u);
  EXPECT_EQ(run(copy_stream()).status, uint32_t{NPU_STATUS_OK});
}

TEST_P(CardRecovery, AbortEndsTheJobAndItsChain) {
  open(true);
  start();
  const npu_packet_job job = space().packet(long_stream().bytes(), NPU_PACKET_CHAIN);
  const npu_packet_job last = space().packet(copy_stream().bytes(), 0, 448 << 10);
  card().put(kQueue, job);
  card().put(kQueue, last);
  card().put(kQueue, last);
  card().ring(kQueue);
  wait_until_running();
  EXPECT_TRUE(port().run_until(
      [&] { return card().read64(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_CYCLES) > 0; }));
  EXPECT_TRUE(card().read(NPU_REG_STATUS) & NPU_DEVICE_BUSY);
  card().command(kQueue, NPU_QUEUE_CMD_ABORT_JOB);
  ASSERT_TRUE(port().run_until([&] { return card().completed(kQueue, 2); }));
  EXPECT_EQ(card().completion(kQueue, 0).status, uint32_t{NPU_STATUS_ABORTED});
  EXPECT_EQ(card().completion(kQueue, 1).status, uint32_t{NPU_STATUS_ABORTED});
  EXPECT_EQ(card().completion(kQueue, 2).status, uint32_t{NPU_STATUS_OK});
  EXPECT_TRUE(effects().events.empty());
}

TEST_P(CardRecovery, StopEndsTheJob) {
  open(true);
  start();
  card().put(kQueue, space().packet(long_stream().bytes()));
  card().ring(kQueue);
  wait_until_running();
  stop_queue(kQueue);
  ASSERT_TRUE(port().run_until([&] { return state(kQueue) == NPU_QUEUE_DISABLED; }));
  EXPECT_EQ(card().completion(kQueue, 0).status, uint32_t{NPU_STATUS_ABORTED});
  EXPECT_EQ(card().read(NPU_REG_STATUS), uint32_t{NPU_DEVICE_READY});
}

TEST_P(CardRecovery, CardResetStopsQueuesAndKeepsMemory) {
  open(true);
  start();
  fill_data(77);
  card().put(kQueue, space().packet(long_stream().bytes()));
  card().put(kQueue, space().packet(copy_stream().bytes(), 0, 448 << 10));
  card().ring(kQueue);
  wait_until_running();
  card().write(NPU_REG_RESET, NPU_RESET_KIND_CARD);
  ASSERT_TRUE(port().run_until([&] { return card().read(NPU_REG_RESETS) == 1; }));
  EXPECT_EQ(card().completion(kQueue, 0).status, uint32_t{NPU_STATUS_VICTIM});
  EXPECT_EQ(state(0), uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_EQ(state(kQueue), uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_FALSE(card().completed(kQueue, 1));
  uint8_t kept = 0;
  space().read(0, &kept, 1);
  EXPECT_EQ(kept, 77);
  card().command(kQueue, NPU_QUEUE_CMD_START);  // continues behind what was retired
  ASSERT_TRUE(port().run_until([&] { return card().completed(kQueue, 1); }));
  EXPECT_EQ(card().completion(kQueue, 1).status, uint32_t{NPU_STATUS_OK});
}

TEST_P(CardRecovery, FunctionLevelResetLeavesNothingButCounters) {
  open(true);
  start();
  fill_data(77);
  card().put(kQueue, space().packet(long_stream().bytes(), NPU_PACKET_IRQ));
  card().ring(kQueue);
  wait_until_running();
  const uint32_t doorbells = card().read(NPU_REG_COUNT_DOORBELL);
  effects();
  port().reset(ResetKind::kFunctionLevel);
  EXPECT_FALSE(card().completed(kQueue, 0)) << "it ends without a trace";
  uint8_t kept = 1;
  space().read(0, &kept, 1);
  EXPECT_EQ(kept, 0) << "card memory is wiped";
  EXPECT_EQ(card().read64(NPU_REG_QUEUE_TABLE), 0u);
  EXPECT_EQ(card().read(NPU_REG_CONTROL), 0u);
  EXPECT_EQ(state(kQueue), uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_EQ(card().read(NPU_REG_STATUS), uint32_t{NPU_DEVICE_READY});
  EXPECT_EQ(card().read(NPU_REG_COUNT_DOORBELL), doorbells) << "counters since power-on";
  EXPECT_TRUE(effects().messages.empty());
  card().program();
  card().start(2, kAsid);
  EXPECT_TRUE(port().run_until([&] { return state(2) == NPU_QUEUE_IDLE; }));
  port().reset(ResetKind::kPower);
  EXPECT_EQ(card().read(NPU_REG_COUNT_DOORBELL), 0u);
}

TEST_P(CardRecovery, EccAndDmaErrors) {
  start();
  inject(NPU_INJECT_ECC, kQueue);
  npu_completion c = run(copy_stream());
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_ECC});
  EXPECT_EQ(c.command, 0u);
  EXPECT_EQ(run(copy_stream()).status, uint32_t{NPU_STATUS_OK});
  inject(NPU_INJECT_DMA_ERROR, kQueue);
  EXPECT_EQ(run(copy_stream()).status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(run(copy_stream()).status, uint32_t{NPU_STATUS_OK});
  // Filters: another queue's packets are no opportunity, the first two pass.
  inject(NPU_INJECT_ECC, 5);
  EXPECT_EQ(run(copy_stream()).status, uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(card().read(NPU_REG_INJECT_ARMED), 1u);
  inject(NPU_INJECT_CLEAR);
  EXPECT_EQ(card().read(NPU_REG_INJECT_ARMED), 0u);
  inject(NPU_INJECT_ECC, NPU_INJECT_ANY_QUEUE, 0, 2, 1);
  EXPECT_EQ(run(copy_stream()).status, uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(run(copy_stream()).status, uint32_t{NPU_STATUS_ECC});
  EXPECT_EQ(run(copy_stream()).status, uint32_t{NPU_STATUS_ECC});
  EXPECT_EQ(run(copy_stream()).status, uint32_t{NPU_STATUS_OK});
}

TEST_P(CardRecovery, BusThatDoesNotAnswerIsADmaError) {
  start(NPU_MEMORY_HOST);
  card().map(kAsid, JobSpace::kDataVa + kHalf, NPU_MEMORY_HOST, kNowhere, 4096);
  const npu_completion c = run(copy_stream());
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(c.command, 1u);
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_STORE});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_WRITE});
  EXPECT_EQ(c.address, kNowhere);
}

TEST_P(CardRecovery, GoneIsAllOnesUntilPowerOn) {
  start();
  effects();
  card().put(kQueue, nop(NPU_PACKET_IRQ));
  card().write(NPU_REG_INJECT_KIND, NPU_INJECT_GONE);
  card().ring(kQueue);
  port().settle();
  EXPECT_EQ(card().read(NPU_REG_MAGIC), 0xffffffffu);
  EXPECT_EQ(card().read64(NPU_REG_SERIAL), ~0ull);
  EXPECT_FALSE(card().completed(kQueue, 0));
  for (unsigned v = 0; v < card().target().vectors; ++v) EXPECT_EQ(port().take_messages(v), 0u);
  port().reset(ResetKind::kPower);
  EXPECT_EQ(card().read(NPU_REG_MAGIC), uint32_t{NPU_MAGIC});
  card().program();
  card().start(2, kAsid);
  EXPECT_EQ(card().submit(2, nop()).status, uint32_t{NPU_STATUS_OK});
}

TEST_P(CardRecovery, HeatThrottlesAndGoes) {
  start();
  effects();
  inject(NPU_INJECT_THERMAL_TRIP, NPU_INJECT_ANY_QUEUE, 110'000);
  EXPECT_EQ(card().read(NPU_REG_CLOCK_MHZ), card().target().clock_mhz / 2);
  EXPECT_EQ(card().read(NPU_REG_THROTTLES), 1u);
  EXPECT_TRUE(card().read(NPU_REG_STATUS) & NPU_DEVICE_THROTTLED);
  expect_effects(
      {.interrupts = 1, .messages = {{NPU_VECTOR_EVENTS, 1}}, .events = {NPU_EVENT_THERMAL}});
  ASSERT_EQ(events().size(), 1u);
  EXPECT_NEAR(static_cast<double>(events()[0].value), 110'000, 100);
  const npu_completion hot = run(copy_stream());
  EXPECT_GT(hot.cycles_observed, hot.cycles_solo);
  port().advance(60'000'000'000);
  EXPECT_EQ(card().read(NPU_REG_CLOCK_MHZ), card().target().clock_mhz);
  EXPECT_LT(card().read(NPU_REG_TEMPERATURE_MC), card().target().throttle_mc);
}

TEST_P(CardRecovery, TelemetryOnlyGrows) {
  start();
  uint64_t energy = 0, busy = 0, cycles = 0;
  for (int i = 0; i < 5; ++i) {
    const npu_completion c = run(copy_stream(32768));
    port().advance(1'000'000);
    const uint64_t e = card().read64(NPU_REG_ENERGY_NJ), b = card().read64(NPU_REG_BUSY_NS),
                   n = card().read64(NPU_REG_CYCLES);
    EXPECT_GT(e, energy);
    EXPECT_GE(b, busy);
    EXPECT_EQ(n, cycles + c.cycles_solo);
    energy = e, busy = b, cycles = n;
  }
  // At rest: static power alone.
  port().advance(1'000'000'000);
  card().read(NPU_REG_POWER_MW);
  EXPECT_NEAR(card().read(NPU_REG_POWER_MW),
              static_cast<double>(card().target().energy_static_cycle_fj) *
                  card().target().clock_mhz * 1e-6,
              1);
  EXPECT_EQ(card().read64(NPU_REG_BUSY_NS), busy);
}

}  // namespace
}  // namespace npu::card
