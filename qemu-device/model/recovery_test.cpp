// SPDX-License-Identifier: MIT
//
// Hangs, resets, aborts and fences.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "testing/streams.h"

namespace npu::model::testing {
namespace {

TEST(Recovery, HangEndsWithCoreReset) {
  JobBench bench;
  Harness& h = bench.h();
  ASSERT_TRUE(npu_model_inject(h.model(), NPU_INJECT_HANG, kQueue, 0, 1, 1));
  const uint64_t index = h.put(kQueue, bench.packet(copy_stream().bytes(), NPU_PACKET_IRQ));
  h.ring(kQueue);
  EXPECT_EQ(h.run(), NPU_MODEL_IDLE);
  EXPECT_FALSE(h.completed(kQueue, index));
  EXPECT_EQ(h.queue_reg(kQueue, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_RUNNING});
  const uint32_t state = h.read(NPU_REG_CORE(0, NPU_CORE_STATE));
  EXPECT_EQ(state, 2u | kQueue << 8);
  EXPECT_EQ(h.read(NPU_REG_CORE(0, NPU_CORE_COMMAND)), 1u);
  EXPECT_TRUE(h.read(NPU_REG_STATUS) & NPU_DEVICE_HUNG);
  const uint32_t heartbeat = h.queue_reg(kQueue, NPU_QUEUE_HEARTBEAT);
  h.clock_ns += 1'000'000'000;
  h.run();
  EXPECT_EQ(h.queue_reg(kQueue, NPU_QUEUE_HEARTBEAT), heartbeat);

  // Another queue continues on the other core.
  h.start(2, kAsid);
  StreamBuilder small;
  small.append(load(0, 0, 64));
  npu_packet_job p =
      job_packet(JobBench::kStreamVa + 65536, small.bytes().size(), JobBench::kTableVa, 1);
  const auto pte = h.load<uint64_t>(h.pte_address(kAsid, JobBench::kStreamVa)) & NPU_PTE_ADDRESS;
  std::memcpy(h.host(pte + 65536), small.bytes().data(), small.bytes().size());
  EXPECT_EQ(h.submit(2, p).status, 0u);
  EXPECT_EQ(h.submit(2, p).status, 0u);

  h.write(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_ABORT_JOB);
  h.run();
  EXPECT_FALSE(h.completed(kQueue, index)) << "a hung job does not react";

  const uint32_t resets = h.read(NPU_REG_RESETS);
  h.write(NPU_REG_RESET, NPU_RESET_KIND_CORE | 0 << 8);
  h.run();
  EXPECT_EQ(h.read(NPU_REG_RESETS), resets + 1);
  const npu_completion c = h.completion(kQueue, index);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_HANG});
  EXPECT_EQ(c.command, 1u);
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_STORE});
  EXPECT_EQ(h.read(NPU_REG_CORE(0, NPU_CORE_STATE)), 0u);
  EXPECT_EQ(h.read(NPU_REG_STATUS), uint32_t{NPU_DEVICE_READY});
  EXPECT_EQ(bench.run(copy_stream().bytes()).status, 0u);
  const auto events = h.events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].type, uint32_t{NPU_EVENT_JOB_FAULT});
  EXPECT_EQ(events[1].type, uint32_t{NPU_EVENT_RESET});
}

TEST(Recovery, AResetMayBeWithoutEffect) {
  JobBench bench;
  Harness& h = bench.h();
  ASSERT_TRUE(npu_model_inject(h.model(), NPU_INJECT_HANG, kQueue, 0, 1, 1));
  ASSERT_TRUE(npu_model_inject(h.model(), NPU_INJECT_DROP_RESET, NPU_INJECT_ANY_QUEUE, 0, 2, 0));
  const uint64_t index = h.put(kQueue, bench.packet(copy_stream().bytes(), NPU_PACKET_IRQ));
  h.ring(kQueue);
  h.run();
  const uint32_t resets = h.read(NPU_REG_RESETS);
  for (const uint32_t kind : {NPU_RESET_KIND_CORE, NPU_RESET_KIND_CARD}) {
    h.write(NPU_REG_RESET, kind);
    h.run();
    EXPECT_EQ(h.read(NPU_REG_RESETS), resets);
    EXPECT_FALSE(h.completed(kQueue, index));
  }
  h.write(NPU_REG_RESET, NPU_RESET_KIND_CORE);
  h.run();
  EXPECT_EQ(h.read(NPU_REG_RESETS), resets + 1);
  EXPECT_EQ(h.completion(kQueue, index).status, uint32_t{NPU_STATUS_HANG});
}

TEST(Recovery, OneHungCoreMakesTheOthersWait) {
  HarnessOptions options;
  options.target.cores = 1;
  JobBench bench(options);
  Harness& h = bench.h();
  npu_model_inject(h.model(), NPU_INJECT_HANG, kQueue, 0, 1, 0);
  h.put(kQueue, bench.packet(copy_stream().bytes()));
  h.ring(kQueue);
  h.run();
  h.start(2, kAsid);
  const uint64_t waiting = h.put(2, bench.packet(copy_stream().bytes()));
  h.ring(2);
  EXPECT_EQ(h.run(), NPU_MODEL_IDLE);
  EXPECT_FALSE(h.completed(2, waiting));
  EXPECT_EQ(h.queue_reg(2, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_WAITING});
  h.write(NPU_REG_RESET, NPU_RESET_KIND_CORE);
  h.run();
  EXPECT_EQ(h.completion(2, waiting).status, 0u);
  EXPECT_TRUE(h.completed(2, waiting));
}

TEST(Recovery, CardResetVictimisesAndRestarts) {
  JobBench bench;
  Harness& h = bench.h();
  npu_packet_job p = bench.packet(long_stream().bytes(), NPU_PACKET_CHAIN);
  h.put(kQueue, p);
  p.flags = 0;
  h.put(kQueue, p);
  h.put(kQueue, p);
  h.ring(kQueue);
  EXPECT_EQ(h.run(10), NPU_MODEL_MORE);
  h.write(NPU_REG_RESET, NPU_RESET_KIND_CARD);
  h.run();
  EXPECT_EQ(h.completion(kQueue, 0).status, uint32_t{NPU_STATUS_VICTIM});
  EXPECT_EQ(h.queue_reg(kQueue, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_FALSE(h.completed(kQueue, 1));
  h.start(kQueue, h.context(kQueue));
  h.run();
  EXPECT_EQ(h.completion(kQueue, 1).status, uint32_t{NPU_STATUS_ABORTED}) << "the chain's rest";
  EXPECT_EQ(h.completion(kQueue, 2).status, uint32_t{NPU_STATUS_OK});
}

// Another driver, or the same one loaded again: its first packet continues nothing.
TEST(Recovery, AFailedChainDoesNotOutliveItsRing) {
  JobBench bench;
  Harness& h = bench.h();
  h.put(kQueue, bench.packet(long_stream().bytes(), NPU_PACKET_CHAIN));
  h.put(kQueue, bench.packet(long_stream().bytes()));
  h.ring(kQueue);
  EXPECT_EQ(h.run(10), NPU_MODEL_MORE);
  h.write(NPU_REG_RESET, NPU_RESET_KIND_CARD);
  h.run();
  EXPECT_EQ(h.completion(kQueue, 0).status, uint32_t{NPU_STATUS_VICTIM});
  h.start(kQueue, h.make_context(kQueue, kAsid));
  const uint64_t first = h.put(kQueue, bench.packet(copy_stream().bytes()));
  h.ring(kQueue);
  h.run();
  EXPECT_EQ(first, 0u);
  EXPECT_EQ(h.completion(kQueue, first).status, uint32_t{NPU_STATUS_OK});
}

TEST(Recovery, AbortEndsJobAndChain) {
  JobBench bench;
  Harness& h = bench.h();
  npu_packet_job p = bench.packet(long_stream().bytes(), NPU_PACKET_CHAIN);
  h.put(kQueue, p);
  p.flags = 0;
  h.put(kQueue, p);
  h.put(kQueue, p);
  h.ring(kQueue);
  EXPECT_EQ(h.run(10), NPU_MODEL_MORE);
  EXPECT_GT(h.read64(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_CYCLES), 0u);
  h.write(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_ABORT_JOB);
  h.run();
  EXPECT_EQ(h.completion(kQueue, 0).status, uint32_t{NPU_STATUS_ABORTED});
  EXPECT_EQ(h.completion(kQueue, 1).status, uint32_t{NPU_STATUS_ABORTED});
  EXPECT_EQ(h.completion(kQueue, 2).status, uint32_t{NPU_STATUS_OK});
  EXPECT_TRUE(h.events().empty());
}

TEST(Recovery, StopAbortsAndAHungJobDelaysIt) {
  JobBench bench;
  Harness& h = bench.h();
  h.put(kQueue, bench.packet(long_stream().bytes()));
  h.ring(kQueue);
  h.run(10);
  h.write(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_STOP);
  h.run();
  EXPECT_EQ(h.completion(kQueue, 0).status, uint32_t{NPU_STATUS_ABORTED});
  EXPECT_EQ(h.queue_reg(kQueue, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_EQ(h.read(NPU_REG_STATUS), uint32_t{NPU_DEVICE_READY});

  h.start(2, kAsid);
  npu_model_inject(h.model(), NPU_INJECT_HANG, 2, 0, 1, 0);
  h.put(2, bench.packet(copy_stream().bytes()));
  h.ring(2);
  h.run();
  h.write(NPU_QUEUE_PAGE(2) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_STOP);
  h.run();
  EXPECT_EQ(h.queue_reg(2, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_RUNNING});
  h.write(NPU_REG_RESET, NPU_RESET_KIND_CORE);
  h.run();
  EXPECT_EQ(h.queue_reg(2, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_EQ(h.completion(2, 0).status, uint32_t{NPU_STATUS_HANG});
}

TEST(Fence, WaitsForWhatHasStarted) {
  JobBench bench;
  Harness& h = bench.h();
  h.start(0, 0);
  const uint64_t job = h.put(kQueue, bench.packet(long_stream().bytes()));
  h.ring(kQueue);
  h.run(5);
  npu_packet fence = {};
  fence.opcode = NPU_PACKET_FENCE;
  const uint64_t index = h.put(0, fence);
  h.ring(0);
  h.run(5);
  EXPECT_FALSE(h.completed(0, index));
  h.run();
  EXPECT_TRUE(h.completed(kQueue, job));
  EXPECT_TRUE(h.completed(0, index));
  EXPECT_EQ(h.completion(0, index).status, 0u);
}

}  // namespace
}  // namespace npu::model::testing
