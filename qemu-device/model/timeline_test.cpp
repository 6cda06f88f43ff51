// SPDX-License-Identifier: MIT
//
// What jobs that run at the same time cost each other, and throttling.
#include <gtest/gtest.h>

#include <vector>

#include "testing/preempt.h"

namespace npu::model::testing {
namespace {

// Takes the memory channel for itself, nearly all the time.
StreamBuilder memory_bound(int loads = 24) {
  StreamBuilder s;
  for (int i = 0; i < loads; ++i) s.append(load(0, 0, 512 * 1024));
  return s;
}

struct Pair {
  npu_completion a, b;
};

Pair together(const StreamBuilder& a, const StreamBuilder& b) {
  PreemptBench bench(2);
  bench.submit(kLow, bench.packet(a.bytes()));
  bench.submit(kOther, bench.packet(b.bytes(), 0, 65536));
  bench.h().run();
  const Pair pair{bench.h().completion(kLow, 0), bench.h().completion(kOther, 0)};
  for (const npu_completion& c : {pair.a, pair.b}) {
    EXPECT_EQ(c.status, 0u) << bench.h().log;
    EXPECT_TRUE(c.flags & NPU_COMPLETION_CYCLES_VALID);
    EXPECT_GE(c.cycles_observed, c.cycles_solo);
  }
  return pair;
}

double slow_down(const npu_completion& c) {
  return static_cast<double>(c.cycles_observed) / static_cast<double>(c.cycles_solo);
}

// What the job takes of the channel when alone.
double share_alone(const npu_completion& c) {
  return static_cast<double>(c.card_bytes) / static_cast<double>(c.cycles_solo) /
         HarnessOptions::default_target().card_bytes_per_cycle;
}

TEST(Contention, TheMemoryChannelIsShared) {
  const Pair both = together(memory_bound(), memory_bound());
  ASSERT_GT(share_alone(both.a), 0.85);
  for (const npu_completion& c : {both.a, both.b}) {
    EXPECT_GE(slow_down(c), 2 * share_alone(c)) << "the channel moves no more than it can";
    EXPECT_LE(slow_down(c), 2.001);
  }

  // One that is three times as long has the channel for itself in the end: a third
  // of it runs slower.
  const Pair uneven = together(memory_bound(24), memory_bound(72));
  EXPECT_NEAR(slow_down(uneven.a), slow_down(both.a), 0.01);
  EXPECT_GT(slow_down(uneven.b), (2 * share_alone(uneven.b) + 2) / 3);
  EXPECT_LT(slow_down(uneven.b), 4.0 / 3);
}

TEST(Contention, ComputeDisturbsNobody) {
  const Pair compute = together(long_stream(), long_stream());
  EXPECT_LT(slow_down(compute.a), 1.01);
  const Pair mixed = together(long_stream(), memory_bound());
  EXPECT_LT(slow_down(mixed.a), 1.02);
  EXPECT_LT(slow_down(mixed.b), 1.02);
}

TEST(Contention, IsTheSameEveryTimeAndNeverInSolo) {
  const Pair first = together(memory_bound(), long_stream(10)),
             again = together(memory_bound(), long_stream(10)),
             other = together(memory_bound(), memory_bound());
  EXPECT_EQ(first.a.cycles_observed, again.a.cycles_observed);
  EXPECT_EQ(first.b.cycles_observed, again.b.cycles_observed);
  EXPECT_EQ(first.a.cycles_solo, other.a.cycles_solo);
}

TEST(Contention, OneAfterTheOtherDoNotMeet) {
  PreemptBench bench(1);
  bench.submit(kLow, bench.packet(memory_bound().bytes()));
  bench.submit(kOther, bench.packet(memory_bound().bytes(), 0, 65536));
  bench.h().run();
  const npu_completion a = bench.h().completion(kLow, 0), b = bench.h().completion(kOther, 0);
  EXPECT_EQ(a.cycles_observed, a.cycles_solo);
  EXPECT_EQ(b.cycles_observed, b.cycles_solo);
  EXPECT_EQ(bench.waited(kOther), a.cycles_observed) << "it waited for all of the other";
}

TEST(Throttling, DoublesWhatRunsMeanwhile) {
  const auto stream = long_stream(40).bytes();
  for (const uint64_t before : {0u, 20u}) {
    PreemptBench bench(1);
    Harness& h = bench.h();
    bench.submit(kLow, bench.packet(stream));
    if (before != 0) h.run(before);
    npu_model_inject(h.model(), NPU_INJECT_THERMAL_TRIP, NPU_INJECT_ANY_QUEUE, 0, 1, 120000);
    h.run();
    const npu_completion c = h.completion(kLow, 0);
    ASSERT_EQ(c.status, 0u);
    if (before == 0) {
      EXPECT_EQ(c.cycles_observed, 2 * c.cycles_solo);
    } else {
      EXPECT_NEAR(slow_down(c), 1.5, 0.05) << "half of it ran at the nominal clock";
    }
  }
}

}  // namespace
}  // namespace npu::model::testing
