// SPDX-License-Identifier: MIT
//
// Jobs on several cores.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "testing/preempt.h"

namespace npu::model::testing {
namespace {

constexpr uint64_t kSecondOutput = kOutput + kSumBytes;

TEST(Gang, TwoCoresExchangeThroughMemory) {
  JobBench bench;
  std::memset(bench.data(), 0x21, 4096);
  // Core 1 waits for core 0's STORE; core 0 for core 1's.
  StreamBuilder zero, one;
  zero.append(load(0, 0, 4096));
  zero.append(store(65536, 0, 4096, 1));
  npu_command_dma back = load(131072, 8192, 4096);
  back.header.wait[0] = arch::encode_wait(NPU_ENGINE_STORE, 1, 1);
  zero.append(back);
  zero.append(store(1 << 20, 8192, 4096, 2));
  npu_command_dma in = load(65536, 0, 4096);
  in.header.wait[0] = arch::encode_wait(NPU_ENGINE_STORE, 1, 0);
  one.append(in);
  npu_command_dma out = store(131072, 0, 4096, 1);
  out.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1, 1);
  one.append(out);
  const npu_completion c =
      bench.h().submit(kQueue, bench.packet(std::vector{zero.bytes(), one.bytes()}));
  ASSERT_EQ(c.status, 0u) << bench.h().log;
  EXPECT_EQ(bench.data()[(1 << 20) + 4095], 0x21);
}

TEST(Gang, BigJobIsNotStarved) {
  JobBench bench;
  Harness& h = bench.h();
  const auto s = long_stream(4).bytes();
  for (uint32_t queue : {2u, 3u, 4u}) h.start(queue, kAsid);
  npu_packet_job gang = bench.packet(std::vector{s, s});
  npu_packet_job single = gang;
  single.stream_count = 1;
  single.stream_bytes[1] = 0;
  for (int i = 0; i < 20; ++i) {
    h.put(2, single);
    h.put(3, single);
  }
  h.ring(2);
  h.ring(3);
  h.run(2);
  const uint64_t index = h.put(4, gang);
  h.ring(4);
  while (h.run(1) == NPU_MODEL_MORE && !h.completed(4, index)) {
  }
  EXPECT_TRUE(h.completed(4, index));
  EXPECT_LT(h.consumer(2) + h.consumer(3), 10u);
}

npu_packet_job gang_packet(PreemptBench& bench, uint8_t flags = 0) {
  return bench.packet(
      std::vector{Network(6).builder.bytes(), Network(6, kSecondOutput, true, 1).builder.bytes()},
      flags);
}

TEST(Gang, IsPutAsideAsOne) {
  const Reference expected(Network(6));
  for (const uint64_t commands : {3u, 12u, 20u, 33u}) {
    PreemptBench bench(2);
    Harness& h = bench.h();
    bench.submit(kLow, gang_packet(bench, NPU_PACKET_IRQ));
    h.run(commands);
    bench.urgent();
    h.run();
    EXPECT_EQ(bench.preemptions(kLow), 1u) << commands;
    const uint64_t bytes = sizeof(npu_save_header) + 2 * kSumBytes;
    EXPECT_EQ(bench.saved(kLow), bytes);
    EXPECT_EQ(h.interrupts, (std::vector{h.context(kHigh).vector, h.context(kLow).vector}));
    const npu_completion c = h.completion(kLow, 0);
    EXPECT_EQ(c.status, 0u) << h.log;
    const uint64_t save = arch::save_cycles(bytes, h.target());
    EXPECT_GE(c.cycles_observed, c.cycles_solo + 2 * save);
    // Who came first has waited for the other, if not for long: they do the same.
    EXPECT_LT(c.cycles_observed, c.cycles_solo + 2 * save + c.cycles_solo / 4);
    EXPECT_EQ(bench.result(), expected.result);
    EXPECT_EQ(bench.result(kSecondOutput), expected.result);
  }
}

TEST(Gang, OvertakesTwoJobs) {
  const Reference expected(Network(6));
  PreemptBench bench(2);
  Harness& h = bench.h();
  bench.submit(kLow, bench.packet(Network(6).builder.bytes()));
  bench.submit(kOther, bench.packet(Network(6, kSecondOutput).builder.bytes(), 0, 65536));
  h.run(10);
  bench.submit(kHigh, bench.packet(std::vector{urgent_stream(0).bytes(), urgent_stream(1).bytes()},
                                   0, kUrgentStream));
  h.run();
  EXPECT_EQ(h.completion(kHigh, 0).status, 0u);
  EXPECT_EQ(bench.preemptions(kLow), 1u);
  EXPECT_EQ(bench.preemptions(kOther), 1u);
  const uint64_t save = arch::save_cycles(Network(6).saved_bytes(), h.target());
  // Both run at the same time, and slow each other down a little.
  EXPECT_LE(bench.waited(kHigh), 2 * (Network(6).longest_gap(h.target()) + save));
  EXPECT_EQ(bench.result(), expected.result);
  EXPECT_EQ(bench.result(kSecondOutput), expected.result);
}

// Core 1 needs what core 0 does behind its YIELD: core 0 must not wait there for
// core 1 to come to its own, and the job can be put aside at neither.
TEST(Gang, WaitsAcrossAYieldDoNotBlock) {
  StreamBuilder zero, one;
  zero.append(load(0, 0, 4096));
  zero.append(yield_keeping({{0, 4096}}));
  zero.append(store(kOutput, 0, 4096, 1));
  npu_command_dma fetch = load(kOutput, 0, 4096);
  fetch.header.wait[0] = arch::encode_wait(NPU_ENGINE_STORE, 1, 0);
  one.append(fetch);
  one.append(yield_keeping({{0, 4096}}));
  npu_command_dma out = contiguous(NPU_OP_STORE, kSecondOutput, 0, 4096);
  out.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1, 1);
  one.append(out);
  for (const bool overtaken : {false, true}) {
    PreemptBench bench(2);
    Harness& h = bench.h();
    bench.submit(kLow, bench.packet(std::vector{zero.bytes(), one.bytes()}));
    h.run(1);
    if (overtaken) bench.urgent();
    h.run();
    EXPECT_EQ(h.completion(kLow, 0).status, 0u) << h.log;
    EXPECT_EQ(bench.preemptions(kLow), 0u);
    EXPECT_EQ(h.completed(kHigh, 0), overtaken);
    EXPECT_EQ(std::memcmp(bench.data() + kSecondOutput, bench.data(), 4096), 0);
  }
}

// What core 1 reads of core 0's SRAM behind the YIELDs, core 0's must keep, though core 0 itself
// is done with it; what it reads before them, and what it writes there behind them, not.
TEST(Gang, WhatOthersNeedIsKept) {
  constexpr uint32_t kPart = 4096;
  for (const bool kept : {true, false}) {
    for (const bool read_before : {true, false}) {
      StreamBuilder zero, one;
      zero.append(load(0, 0, kPart));
      zero.append(yield_keeping(kept ? std::vector{std::pair{0u, kPart}}
                                     : std::vector<std::pair<uint32_t, uint32_t>>{}));
      npu_command_dma out = store(kOutput, kPart, kPart, 1);
      out.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 2, 1);
      zero.append(out);

      npu_command_mac product = arch::test::matmul(256, 256, 256);
      product.input.address = 8 * kSumBytes, product.weights = 9 * kSumBytes;
      product.output.address = 10 * kSumBytes;
      one.append(product);
      npu_command_dma bring = contiguous(NPU_OP_PEER_LOAD, 0, 0, kPart);
      bring.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1, 0);
      bring.region = 0, bring.peer_core = 0, bring.sram_stride[0] = bring.external_stride[0] = 1;
      if (read_before) one.append(bring);
      one.append(yield_keeping({{0, kPart}}));
      if (!read_before) one.append(bring);
      npu_command_dma both = load(kPart, kPart, kPart);
      both.multicast = 1;
      one.append(both);
      npu_command_dma second = contiguous(NPU_OP_STORE, kSecondOutput, 0, kPart);
      second.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1, 1);
      one.append(second);

      for (uint64_t commands = 0; commands < 4; ++commands) {
        PreemptBench bench(2);
        Harness& h = bench.h();
        bench.submit(kLow, bench.packet(std::vector{zero.bytes(), one.bytes()}));
        if (commands != 0) h.run(commands);
        if (commands != 0) bench.urgent();
        h.run();
        const bool right = kept || read_before;
        ASSERT_EQ(h.completion(kLow, 0).status, right ? NPU_STATUS_OK : NPU_STATUS_HAZARD) << h.log;
        if (!right) continue;
        if (commands == 1) {
          EXPECT_EQ(bench.preemptions(kLow), 1u);
        }
        EXPECT_EQ(std::memcmp(bench.data() + kOutput, bench.data() + kPart, kPart), 0);
        EXPECT_EQ(std::memcmp(bench.data() + kSecondOutput, bench.data(), kPart), 0);
      }
    }
  }
}

// Everything that holds for one core: the end of a gang touches nobody else.
TEST(Gang, AbortRunningAndAside) {
  for (const bool aside : {false, true}) {
    PreemptBench bench(2);
    Harness& h = bench.h();
    bench.submit(kLow, gang_packet(bench));
    h.run(3);
    bench.urgent();
    if (aside) bench.until_aside();
    h.write(NPU_QUEUE_PAGE(kLow) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_ABORT_JOB);
    h.run();
    EXPECT_EQ(h.completion(kLow, 0).status, uint32_t{NPU_STATUS_ABORTED});
    EXPECT_EQ(h.completion(kHigh, 0).status, 0u);
    EXPECT_EQ(h.read(NPU_REG_STATUS), uint32_t{NPU_DEVICE_READY});
    bench.submit(kLow, gang_packet(bench));
    h.run();
    EXPECT_EQ(h.completion(kLow, 1).status, 0u);
  }
}

TEST(Gang, OneCoreHangs) {
  PreemptBench bench(4);
  Harness& h = bench.h();
  // The command exists only in the second stream.
  npu_model_inject(h.model(), NPU_INJECT_HANG, kLow, 0, 1, 5);
  bench.submit(kLow, bench.packet(std::vector{urgent_stream().bytes(),
                                              Network(6, kSecondOutput, true, 1).builder.bytes()}));
  EXPECT_EQ(h.run(), NPU_MODEL_IDLE);
  EXPECT_EQ(h.read(NPU_REG_CORE(1, NPU_CORE_STATE)), 2u | kLow << 8);

  // What can never get enough cores keeps nobody from those that are left, and
  // the hung gang gives nothing up for something more urgent.
  std::vector<std::vector<std::byte>> four;
  for (unsigned core = 0; core < 4; ++core) four.push_back(urgent_stream(core).bytes());
  bench.submit(kHigh, bench.packet(four, 0, kUrgentStream));
  bench.submit(kOther,
               bench.packet(Network(6, kUrgentOutput + kSumBytes).builder.bytes(), 0, 65536));
  EXPECT_EQ(h.run(), NPU_MODEL_IDLE);
  EXPECT_EQ(h.completion(kOther, 0).status, 0u) << h.log;
  EXPECT_TRUE(h.completed(kOther, 0));
  EXPECT_FALSE(h.completed(kHigh, 0));

  h.write(NPU_REG_RESET, NPU_RESET_KIND_CORE | 1 << 8);
  h.run();
  const npu_completion c = h.completion(kLow, 0);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_HANG});
  EXPECT_EQ(c.core, 1u);
  EXPECT_EQ(c.command, 5u);
  EXPECT_EQ(h.completion(kHigh, 0).status, 0u);
  EXPECT_TRUE(h.completed(kHigh, 0)) << "all four cores are free again";
}

}  // namespace
}  // namespace npu::model::testing
