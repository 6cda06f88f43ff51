// SPDX-License-Identifier: MIT
//
// Many packets, many queues: what they cost in doorbells and interrupts, and
// that they do not touch each other.
#include <gtest/gtest.h>

#include <vector>

#include "testing/preempt.h"

namespace npu::model::testing {
namespace {

struct Counts {
  uint32_t doorbells, interrupts, jobs;
};

Counts counts(Harness& h) {
  return {h.read(NPU_REG_COUNT_DOORBELL), h.read(NPU_REG_COUNT_INTERRUPT),
          h.read(NPU_REG_COUNT_JOB)};
}

// A queue of 128 packets with the given coalescing.
void start_long_ring(Harness& h, uint32_t queue, uint32_t coalesce_count, uint32_t coalesce_ns) {
  npu_queue_context c = h.make_context(queue, kAsid);
  c.ring_log2 = 7;
  c.ring = h.allocate(sizeof(npu_packet) << c.ring_log2);
  c.completions = h.allocate(sizeof(npu_completion) << c.ring_log2);
  c.coalesce_count = coalesce_count;
  c.coalesce_ns = coalesce_ns;
  h.start(queue, c);
  h.run();
}

constexpr uint32_t kJobs = 100;

TEST(Load, OneSubmitIsOneDoorbellAndOneInterrupt) {
  JobBench bench;
  Harness& h = bench.h();
  start_long_ring(h, 2, 0, 0);
  const Counts before = counts(h);
  for (uint32_t i = 0; i < kJobs; ++i)
    h.put(2, bench.packet(std::vector<std::byte>{},
                          i + 1 < kJobs ? NPU_PACKET_CHAIN : NPU_PACKET_IRQ));
  h.ring(2);
  h.run();
  const Counts after = counts(h);
  EXPECT_EQ(after.jobs - before.jobs, kJobs);
  EXPECT_EQ(after.doorbells - before.doorbells, 1u);
  EXPECT_EQ(after.interrupts - before.interrupts, 1u);
  for (uint32_t i = 0; i < kJobs; ++i) ASSERT_EQ(h.completion(2, i).status, 0u) << i;
}

TEST(Load, CoalescingOverSeparateSubmits) {
  JobBench bench;
  Harness& h = bench.h();
  start_long_ring(h, 2, 16, 1'000'000);
  const Counts before = counts(h);
  for (uint32_t i = 0; i < kJobs; ++i) {
    h.submit(2, bench.packet(std::vector<std::byte>{}, NPU_PACKET_IRQ));
    h.clock_ns += 1000;
  }
  h.clock_ns += 1'000'000;  // the last four
  h.run();
  const Counts after = counts(h);
  EXPECT_EQ(after.jobs - before.jobs, kJobs);
  EXPECT_EQ(after.doorbells - before.doorbells, kJobs);
  EXPECT_EQ(after.interrupts - before.interrupts, (kJobs + 15) / 16);
  EXPECT_GE(kJobs, 10 * (after.interrupts - before.interrupts));
}

// Every context at once, each with a job that hangs about, priorities mixed. One
// is aborted, one stopped, one has a bad job: all others end well.
TEST(Load, AllContextsAndNobodyTouchesAnother) {
  HarnessOptions options;
  options.host_bytes = 32u << 20;
  options.target.queues = 64;
  JobBench bench(options);
  Harness& h = bench.h();
  for (uint32_t queue = 2; queue < 64; ++queue) {
    npu_queue_context c = h.make_context(queue, kAsid);
    c.priority = queue % 4;
    c.quantum = 30000;
    c.save_bytes = sizeof(npu_save_header) + kSumBytes;
    c.save_area = h.allocate(c.save_bytes, 64);
    h.start(queue, c);
  }
  const npu_packet_job good = bench.packet(Network(4).builder.bytes(), NPU_PACKET_IRQ);
  npu_packet_job bad = good;
  bad.stream_va = 0x7fff00000000;
  constexpr uint32_t kAborted = 20, kStopped = 21, kBad = 22;
  // The less urgent first, so that they run when the others come.
  for (uint32_t priority = 0; priority < 4; ++priority) {
    for (uint32_t queue = 4 + priority; queue < 64; queue += 4) {
      for (int i = 0; i < 3; ++i) h.put(queue, queue == kBad && i == 1 ? bad : good);
      h.ring(queue);
    }
    h.run(9);
  }
  h.write(NPU_QUEUE_PAGE(kAborted) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_ABORT_JOB);
  h.write(NPU_QUEUE_PAGE(kStopped) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_STOP);
  h.run();
  uint32_t preemptions = 0;
  for (uint32_t queue = 4; queue < 64; ++queue) {
    preemptions += h.queue_reg(queue, NPU_QUEUE_PREEMPTIONS);
    if (queue == kStopped) continue;
    ASSERT_EQ(h.consumer(queue), 3u) << queue;
    for (uint64_t i = 0; i < 3; ++i) {
      const uint32_t expected = queue == kAborted && i == 0 ? NPU_STATUS_ABORTED
                                : queue == kBad && i == 1   ? NPU_STATUS_MMU_FAULT
                                                            : NPU_STATUS_OK;
      EXPECT_EQ(h.completion(queue, i).status, expected) << queue << " " << i;
    }
    EXPECT_EQ(h.queue_reg(queue, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_IDLE});
  }
  EXPECT_EQ(h.queue_reg(kStopped, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_GT(preemptions, 0u);
}

}  // namespace
}  // namespace npu::model::testing
