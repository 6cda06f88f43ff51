// SPDX-License-Identifier: MIT
//
// Putting jobs aside: when, what it costs, what survives, and what goes wrong.
#include "testing/preempt.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace npu::model::testing {
namespace {

TEST(Preempt, OvertakesWithinTheLongestGapAndTheResultIsExact) {
  const Network network;
  const Reference expected(network);
  const uint64_t gap = network.longest_gap(HarnessOptions::default_target());
  uint64_t longest_wait = 0, preempted = 0;
  for (uint32_t commands = 1; commands < network.builder.commands(); ++commands) {
    PreemptBench bench;
    Harness& h = bench.h();
    const uint64_t save = arch::save_cycles(network.saved_bytes(), h.target());
    bench.overtake(network, commands);
    if (commands <= network.yields.back()) {
      ASSERT_TRUE(h.completed(kHigh, 0)) << commands;
      EXPECT_FALSE(h.completed(kLow, 0)) << commands;
      EXPECT_EQ(bench.preemptions(kLow), 1u) << commands;
      EXPECT_EQ(bench.saved(kLow), network.saved_bytes());
    }
    EXPECT_LE(bench.waited(kHigh), gap + save) << commands;
    longest_wait = std::max(longest_wait, bench.waited(kHigh));
    h.run();
    const npu_completion low = h.completion(kLow, 0), high = h.completion(kHigh, 0);
    ASSERT_EQ(low.sequence, 1u);
    EXPECT_EQ(low.status, 0u) << h.log;
    EXPECT_EQ(high.status, 0u);
    EXPECT_EQ(bench.result(), expected.result) << commands;
    EXPECT_EQ(std::memcmp(bench.data() + kUrgentOutput, bench.data(), 4096), 0);
    // Waiting costs nothing; saving and restoring does.
    EXPECT_EQ(low.cycles_solo, expected.completion.cycles_solo);
    EXPECT_EQ(low.cycles_observed, low.cycles_solo + bench.preemptions(kLow) * 2 * save);
    EXPECT_EQ(high.cycles_observed, high.cycles_solo);
    preempted += bench.preemptions(kLow);
  }
  EXPECT_EQ(preempted, network.yields.back());
  EXPECT_GT(longest_wait, gap / 2) << "the bound is not far off";
}

TEST(Preempt, EveryRunCostsTheSame) {
  const Network network;
  uint64_t waited[2], observed[2];
  for (int i = 0; i < 2; ++i) {
    PreemptBench bench;
    bench.overtake(network, 5);
    bench.h().run();
    waited[i] = bench.waited(kHigh);
    observed[i] = bench.h().completion(kLow, 0).cycles_observed;
  }
  EXPECT_EQ(waited[0], waited[1]);
  EXPECT_EQ(observed[0], observed[1]);
}

TEST(Preempt, StateAndHeartbeatStandStillWhileAside) {
  PreemptBench bench;
  Harness& h = bench.h();
  bench.submit(kLow, bench.packet(Network().builder.bytes()));
  h.run(3);
  bench.urgent();
  bench.until_aside();
  const uint32_t heartbeat = h.queue_reg(kLow, NPU_QUEUE_HEARTBEAT);
  const uint64_t cycles = h.read64(NPU_QUEUE_PAGE(kLow) + NPU_QUEUE_CYCLES);
  EXPECT_GT(cycles, 0u);
  int looked = 0;
  for (; bench.state(kLow) == NPU_QUEUE_PREEMPTED; ++looked) {
    EXPECT_EQ(h.queue_reg(kLow, NPU_QUEUE_HEARTBEAT), heartbeat);
    EXPECT_EQ(h.read64(NPU_QUEUE_PAGE(kLow) + NPU_QUEUE_CYCLES), cycles);
    h.run(1);
  }
  EXPECT_GT(looked, 1);
  h.run();
  EXPECT_EQ(h.completion(kLow, 0).status, 0u);
}

// A granule of which a part is listed passes the hazard check, so that the other
// part can be looked at.
TEST(Preempt, WhatIsNotListedIsZero) {
  StreamBuilder s;
  s.append(load(0, 0, 16));
  npu_command_mac product = arch::test::matmul(256, 256, 256);
  for (auto* address : {&product.input.address, &product.weights, &product.output.address})
    *address += 65536;
  s.append(product);
  s.append(yield_keeping({{0, 8}}));
  s.append(contiguous(NPU_OP_STORE, kOutput, 0, 16));
  for (const bool overtaken : {false, true}) {
    PreemptBench bench;
    bench.submit(kLow, bench.packet(s.bytes()));
    bench.h().run(1);
    if (overtaken) bench.urgent();
    bench.h().run();
    ASSERT_EQ(bench.h().completion(kLow, 0).status, 0u) << bench.h().log;
    EXPECT_EQ(bench.preemptions(kLow), overtaken ? 1u : 0u);
    std::vector<uint8_t> expected(bench.data(), bench.data() + 16);
    if (overtaken) std::fill(expected.begin() + 8, expected.end(), uint8_t{0});
    EXPECT_EQ(std::vector<uint8_t>(bench.data() + kOutput, bench.data() + kOutput + 16), expected);
  }
}

TEST(Preempt, AListThatIsWrongIsAHazardWithoutPreemption) {
  PreemptBench bench;
  StreamBuilder s;
  s.append(load(0, 0, 4096));
  s.append(yield_keeping({{0, 2048}}));
  s.append(contiguous(NPU_OP_STORE, kOutput, 0, 4096));
  bench.submit(kLow, bench.packet(s.bytes()));
  bench.h().run();
  const npu_completion c = bench.h().completion(kLow, 0);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_HAZARD});
  EXPECT_EQ(c.command, 2u);
  EXPECT_EQ(c.address, 2048u);
}

TEST(Preempt, OnlyWhereItFitsTheSaveArea) {
  const Network network;
  const Reference expected(network);
  for (const int spare : {-1, 0}) {
    PreemptBench bench;
    Harness& h = bench.h();
    npu_queue_context c = h.context(kLow);
    c.save_bytes = network.saved_bytes() + static_cast<uint64_t>(spare);
    bench.restart(kLow, c);
    bench.submit(kLow, bench.packet(network.builder.bytes(), NPU_PACKET_IRQ));
    h.run(3);
    bench.urgent();
    h.run();
    EXPECT_EQ(bench.preemptions(kLow), spare < 0 ? 0u : 1u);
    const std::vector<uint32_t> order = {h.context(spare < 0 ? kLow : kHigh).vector,
                                         h.context(spare < 0 ? kHigh : kLow).vector};
    EXPECT_EQ(h.interrupts, order);
    EXPECT_EQ(h.completion(kLow, 0).status, 0u);
    EXPECT_EQ(bench.result(), expected.result);
  }
}

TEST(Preempt, BadSaveAreaIsABadContext) {
  PreemptBench bench;
  Harness& h = bench.h();
  for (const bool wraps : {false, true}) {
    npu_queue_context c = h.context(kLow);
    if (wraps)
      c.save_bytes = ~0ull - c.save_area + 1;
    else
      c.save_area += 32;
    bench.restart(kOther, c);
    EXPECT_EQ(bench.state(kOther), uint32_t{NPU_QUEUE_ERROR});
    EXPECT_NE(h.log.find("bad save_area"), std::string::npos);
  }
}

// ---- The quantum ------------------------------------------------------------

TEST(Quantum, TooLongWithoutYieldEndsWhileSomethingUrgentWaits) {
  constexpr uint64_t kQuantum = 20000;
  const Network without(6, kOutput, false), with(6);
  ASSERT_LT(with.longest_gap(HarnessOptions::default_target()), kQuantum);
  const Reference expected(without);
  ASSERT_GT(expected.completion.cycles_solo, kQuantum);

  PreemptBench bench(1, NPU_MODEL_FULL, kQuantum);
  Harness& h = bench.h();
  bench.submit(kLow, bench.packet(without.builder.bytes()));
  h.run();
  EXPECT_EQ(h.completion(kLow, 0).status, 0u) << "nobody waits";
  bench.submit(kLow, bench.packet(without.builder.bytes()));
  h.run(2);
  bench.urgent(kOther);
  h.run();
  EXPECT_EQ(h.completion(kLow, 1).status, 0u) << "nobody more urgent waits";

  bench.submit(kLow, bench.packet(without.builder.bytes()));
  h.run(2);
  bench.urgent();
  h.run();
  const npu_completion c = h.completion(kLow, 2);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_BUDGET});
  EXPECT_EQ(c.cycles_solo, kQuantum);
  EXPECT_EQ(c.cycles_observed, kQuantum);
  EXPECT_GT(c.command, 2u);
  EXPECT_LT(c.command, without.builder.commands());
  EXPECT_EQ(h.completion(kHigh, 0).status, 0u);
  EXPECT_LE(bench.waited(kHigh), kQuantum);
  const auto events = h.events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].status, uint32_t{NPU_STATUS_BUDGET});

  bench.submit(kLow, bench.packet(with.builder.bytes()));
  h.run(2);
  bench.urgent();
  h.run();
  EXPECT_EQ(h.completion(kLow, 3).status, 0u) << h.log;
  EXPECT_EQ(bench.result(), expected.result);
}

// YIELDs that cannot put the job aside do not count.
TEST(Quantum, WithoutSaveAreaItRunsFromTheStart) {
  constexpr uint64_t kQuantum = 20000;
  PreemptBench bench(1, NPU_MODEL_FULL, kQuantum);
  Harness& h = bench.h();
  npu_queue_context c = h.context(kLow);
  c.save_bytes = 0;
  bench.restart(kLow, c);
  bench.submit(kLow, bench.packet(Network(6).builder.bytes()));
  h.run(2);
  bench.urgent();
  h.run();
  EXPECT_EQ(h.completion(kLow, 0).status, uint32_t{NPU_STATUS_BUDGET});
  EXPECT_LE(bench.waited(kHigh), kQuantum);
}

TEST(Quantum, EqualsTakeTurns) {
  const Network a(6), b(6, kUrgentOutput);
  const Reference expected(a);
  for (const uint64_t quantum : {uint64_t{0}, uint64_t{10000}}) {
    PreemptBench bench(1, NPU_MODEL_FULL, quantum);
    Harness& h = bench.h();
    bench.submit(kLow, bench.packet(a.builder.bytes(), NPU_PACKET_IRQ));
    bench.submit(kOther, bench.packet(b.builder.bytes(), NPU_PACKET_IRQ, kUrgentStream));
    h.run();
    for (const uint32_t queue : {kLow, kOther}) {
      const npu_completion c = h.completion(queue, 0);
      ASSERT_EQ(c.status, 0u) << h.log;
      EXPECT_EQ(c.cycles_solo, expected.completion.cycles_solo);
      const uint64_t save = arch::save_cycles(a.saved_bytes(), h.target());
      EXPECT_EQ(c.cycles_observed, c.cycles_solo + bench.preemptions(queue) * 2 * save);
    }
    EXPECT_EQ(bench.result(), expected.result);
    EXPECT_EQ(bench.result(kUrgentOutput), expected.result);
    // A turn is at least the quantum; with the default both end in one.
    const uint64_t turns = bench.preemptions(kLow) + bench.preemptions(kOther);
    if (quantum == 0) {
      EXPECT_EQ(turns, 0u);
    } else {
      EXPECT_GE(turns, 4u);
      EXPECT_LE(turns, 2 * expected.completion.cycles_solo / quantum);
    }
  }
}

// ---- Who is put aside ---------------------------------------------------------

TEST(Preempt, OneOfTwoIsEnough) {
  const Network a(6), b(6, kUrgentOutput + kSumBytes);
  PreemptBench bench(2);
  Harness& h = bench.h();
  bench.submit(kLow, bench.packet(a.builder.bytes()));
  bench.submit(kOther, bench.packet(b.builder.bytes(), 0, kUrgentStream + 65536));
  h.run(8);
  bench.urgent();
  h.run();
  EXPECT_EQ(h.completion(kHigh, 0).status, 0u);
  EXPECT_EQ(bench.preemptions(kLow) + bench.preemptions(kOther), 1u);
  EXPECT_EQ(h.completion(kLow, 0).status, 0u);
  EXPECT_EQ(h.completion(kOther, 0).status, 0u);
  EXPECT_EQ(bench.result(), bench.result(kUrgentOutput + kSumBytes));
}

TEST(Preempt, NotWhereAnotherCoreIsFreeOrTheMaskForbids) {
  PreemptBench bench(2);
  Harness& h = bench.h();
  npu_packet_job low = bench.packet(Network(6).builder.bytes());
  low.core_mask = 1;
  bench.submit(kLow, low);
  h.run(4);
  bench.urgent();
  h.run();
  EXPECT_EQ(bench.preemptions(kLow), 0u) << "core 1 was free";
  EXPECT_EQ(bench.waited(kHigh), 0u);

  // Core 1 has something as urgent; core 0 is not wanted.
  bench.submit(kLow, low);
  npu_packet_job high = bench.packet(Network(6).builder.bytes());
  high.core_mask = 2;
  h.run(4);
  bench.submit(kHigh, high);
  bench.submit(kHigh, high);
  h.run();
  EXPECT_EQ(bench.preemptions(kLow), 0u);
  EXPECT_EQ(h.completion(kHigh, 2).status, 0u);
}

// From core to core: a job goes on where there is room.
TEST(Preempt, GoesOnOnAnyCore) {
  const Network network(6);
  const Reference expected(network);
  PreemptBench bench(2);
  Harness& h = bench.h();
  npu_packet_job low = bench.packet(network.builder.bytes());
  bench.submit(kLow, low);  // on core 0
  h.run(4);
  // Both cores for urgent work, of which that on core 0 takes longer.
  npu_packet_job a = bench.packet(long_stream(2).bytes(), 0, kUrgentStream);
  a.core_mask = 2;
  npu_packet_job b = bench.packet(long_stream(60).bytes(), 0, kUrgentStream + 65536);
  b.core_mask = 1;
  npu_queue_context c = h.make_context(5, kAsid);
  c.priority = 2;
  h.start(5, c);
  bench.submit(kHigh, a);
  bench.submit(5, b);
  bench.until_aside();
  while (bench.state(kLow) == NPU_QUEUE_PREEMPTED) h.run(1);
  EXPECT_EQ(h.read(NPU_REG_CORE(1, NPU_CORE_STATE)), 1u | kLow << 8);
  EXPECT_EQ(h.read(NPU_REG_CORE(0, NPU_CORE_STATE)), 1u | 5 << 8);
  h.run();
  EXPECT_EQ(h.completion(kLow, 0).status, 0u);
  EXPECT_EQ(bench.result(), expected.result);
}

TEST(Preempt, WithoutTimeAndWithoutData) {
  const Network network(6);
  const Reference expected(network);
  for (const uint32_t mode : {NPU_MODEL_FUNCTION_ONLY, NPU_MODEL_TIMING_ONLY}) {
    PreemptBench bench(1, mode, 10);  // the quantum has no meaning without time
    Harness& h = bench.h();
    bench.overtake(Network(6), 3);
    EXPECT_EQ(bench.preemptions(kLow), mode == NPU_MODEL_FUNCTION_ONLY ? 1u : 0u);
    h.run();
    if (mode == NPU_MODEL_FUNCTION_ONLY) {
      EXPECT_EQ(h.completion(kLow, 0).status, 0u);
      EXPECT_EQ(h.completion(kLow, 0).cycles_observed, 0u);
      EXPECT_EQ(bench.result(), expected.result);
    } else {
      EXPECT_EQ(h.completion(kLow, 0).status, uint32_t{NPU_STATUS_BUDGET});
    }
  }
}

// ---- Ends of jobs that are aside --------------------------------------------

class PreemptEnds : public ::testing::Test {
 protected:
  void SetUp() override {
    bench.submit(kLow, bench.packet(Network(6).builder.bytes(), NPU_PACKET_CHAIN));
    npu_packet_job next = bench.packet(urgent_stream().bytes(), 0, kUrgentStream);
    bench.submit(kLow, next);
    bench.submit(kLow, next);
    h.run(3);
    bench.urgent();
    bench.until_aside();
  }
  PreemptBench bench;
  Harness& h = bench.h();
};

TEST_F(PreemptEnds, Abort) {
  h.write(NPU_QUEUE_PAGE(kLow) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_ABORT_JOB);
  h.run();
  EXPECT_EQ(h.completion(kLow, 0).status, uint32_t{NPU_STATUS_ABORTED});
  EXPECT_GT(h.completion(kLow, 0).cycles_observed, h.completion(kLow, 0).cycles_solo);
  EXPECT_EQ(h.completion(kLow, 1).status, uint32_t{NPU_STATUS_ABORTED}) << "its chain";
  EXPECT_EQ(h.completion(kLow, 2).status, 0u);
  EXPECT_EQ(h.completion(kHigh, 0).status, 0u);
}

TEST_F(PreemptEnds, Stop) {
  h.write(NPU_QUEUE_PAGE(kLow) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_STOP);
  h.run();
  EXPECT_EQ(h.completion(kLow, 0).status, uint32_t{NPU_STATUS_ABORTED});
  EXPECT_EQ(bench.state(kLow), uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_EQ(h.completion(kHigh, 0).status, 0u);
  h.start(kLow, h.context(kLow));
  h.run();
  EXPECT_EQ(h.completion(kLow, 2).status, 0u);
}

TEST_F(PreemptEnds, CoreResetIsAnothers) {
  h.write(NPU_REG_RESET, NPU_RESET_KIND_CORE);
  h.run();
  EXPECT_EQ(h.completion(kLow, 0).status, 0u) << "it was not on the core";
}

TEST_F(PreemptEnds, CardReset) {
  h.write(NPU_REG_RESET, NPU_RESET_KIND_CARD);
  h.run();
  EXPECT_EQ(h.completion(kLow, 0).status, uint32_t{NPU_STATUS_VICTIM});
  EXPECT_EQ(bench.state(kLow), uint32_t{NPU_QUEUE_DISABLED});
  h.start(kLow, h.context(kLow));
  h.run();
  EXPECT_EQ(h.completion(kLow, 2).status, 0u);
}

TEST_F(PreemptEnds, FunctionLevelResetAndGone) {
  npu_model_reset(h.model(), NPU_MODEL_RESET_FLR);
  EXPECT_EQ(bench.state(kLow), uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_EQ(bench.preemptions(kLow), 0u);
  h.program();
  h.start(kLow, h.context(kLow));
  h.run();
  // The job runs from its beginning; card memory has been wiped.
  EXPECT_EQ(h.completion(kLow, 0).status, 0u);

  bench.submit(kLow, bench.packet(Network(6).builder.bytes()));
  h.start(kHigh, h.context(kHigh));
  h.run(3);
  bench.urgent();
  bench.until_aside();
  npu_model_inject(h.model(), NPU_INJECT_GONE, NPU_INJECT_ANY_QUEUE, 0, 1, 0);
  EXPECT_EQ(h.run(), NPU_MODEL_IDLE);
  EXPECT_FALSE(h.completed(kLow, 3));
}

TEST_F(PreemptEnds, SaveAreaThatChangedOrVanished) {
  h.host(h.context(kLow).save_area)[8] ^= 1;
  h.run();
  npu_completion c = h.completion(kLow, 0);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(c.address, h.context(kLow).save_area);
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_DISPATCH});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_READ});
  EXPECT_EQ(c.command, Network(6).yields[0]);
  EXPECT_EQ(h.completion(kLow, 2).status, 0u);

  const uint64_t index = bench.submit(kLow, bench.packet(Network(6).builder.bytes()));
  h.run(3);
  bench.urgent();
  bench.until_aside();
  const uint64_t area = h.context(kLow).save_area;
  h.filter = [&](uint64_t address, size_t, bool write) {
    return !write && address == area + 64 + kSumBytes / 2 ? NPU_BUS_IOMMU_FAULT : NPU_BUS_OK;
  };
  h.run();
  c = h.completion(kLow, index);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(c.address, area + 64 + kSumBytes / 2);
}

TEST(Preempt, SaveAreaThatCannotBeWritten) {
  PreemptBench bench;
  Harness& h = bench.h();
  const uint64_t area = h.context(kLow).save_area;
  h.filter = [&](uint64_t address, size_t, bool write) {
    return write && address == area + 64 ? NPU_BUS_DECODE_ERROR : NPU_BUS_OK;
  };
  const Network network(6);
  bench.overtake(network, 3);
  h.run();
  const npu_completion c = h.completion(kLow, 0);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_WRITE});
  EXPECT_EQ(c.address, area + 64);
  EXPECT_EQ(c.command, network.yields[0]);
  EXPECT_EQ(h.completion(kHigh, 0).status, 0u) << "nobody else is hurt";
  EXPECT_EQ(bench.preemptions(kLow), 0u);
  h.filter = nullptr;
  bench.submit(kLow, bench.packet(network.builder.bytes()));
  h.run();
  EXPECT_EQ(h.completion(kLow, 1).status, 0u);
}

TEST(Preempt, InjectedBusErrorWhileSaving) {
  PreemptBench bench;
  Harness& h = bench.h();
  const Network network(6);
  bench.submit(kLow, bench.packet(network.builder.bytes()));
  h.run(3);
  npu_model_inject(h.model(), NPU_INJECT_DMA_ERROR, kLow, 0, 1, 0);
  bench.urgent();
  h.run();
  EXPECT_EQ(h.completion(kLow, 0).status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(h.completion(kHigh, 0).status, 0u);
}

// ---- Saved with the card ------------------------------------------------------

TEST(Preempt, SavedWithTheCardWhileAside) {
  const Network network(6);
  const Reference expected(network);
  for (const int runs_after : {0, 1, 2, 4}) {
    PreemptBench bench;
    Harness& h = bench.h();
    bench.submit(kLow, bench.packet(network.builder.bytes()));
    h.run(3);
    bench.urgent();
    bench.until_aside();
    for (int i = 0; i < runs_after; ++i) h.run(1);
    std::vector<uint8_t> state(npu_model_save(h.model(), nullptr, 0));
    npu_model_save(h.model(), state.data(), state.size());

    PreemptBench other;  // the same machine elsewhere
    std::memcpy(other.h().host(0), h.host(0), h.host_bytes());
    std::memcpy(other.h().card(0), h.card(0), uint64_t{h.target().card_memory_mib} << 20);
    ASSERT_TRUE(npu_model_load(other.h().model(), state.data(), state.size()));
    EXPECT_TRUE(runs_after != 0 || other.state(kLow) == NPU_QUEUE_PREEMPTED);
    EXPECT_EQ(other.preemptions(kLow), 1u);
    other.h().run();
    npu_completion low;
    std::memcpy(&low, other.h().host(h.context(kLow).completions), sizeof(low));
    ASSERT_EQ(low.sequence, 1u);
    EXPECT_EQ(low.status, 0u);
    const uint64_t save = arch::save_cycles(network.saved_bytes(), h.target());
    EXPECT_EQ(low.cycles_observed, expected.completion.cycles_solo + 2 * save) << runs_after;
    EXPECT_EQ(other.result(), expected.result);
  }
}

}  // namespace
}  // namespace npu::model::testing
