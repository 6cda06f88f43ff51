// SPDX-License-Identifier: MIT
//
// What a job is reported to take: the same whatever the host does, and added
// up in the registers of the engines.
#include <gtest/gtest.h>

#include <array>

#include "arch/timing.h"
#include "testing/harness.h"
#include "testing/streams.h"

namespace npu::model::testing {
namespace {

constexpr uint32_t kQueue = JobBench::kQueue;

StreamBuilder network() {
  StreamBuilder s;
  for (uint32_t i = 0; i < 12; ++i) {
    s.append(load(i * 65536, 0, 65536));
    npu_command_mac mac = arch::test::matmul(128, 256, 256);
    mac.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, i + 1);
    const uint32_t done = s.append(mac);
    npu_command_dma out = contiguous(NPU_OP_STORE, 1 << 20, mac.output.address, 16384);
    out.header.wait[0] = arch::encode_wait(NPU_ENGINE_MAC, done);
    const uint32_t stored = s.append(out);
    npu_command_header behind = {};
    behind.wait[0] = arch::encode_wait(NPU_ENGINE_STORE, stored);
    s.append_nop(behind);
  }
  return s;
}

arch::JobTiming timed(const StreamBuilder& stream, const npu_target& target) {
  std::vector<arch::Stream> streams(1);
  arch::StreamError error;
  EXPECT_TRUE(decode_stream(stream.bytes(), target, 0, 1, streams[0], error)) << error.text;
  arch::TimingInput input;
  input.streams = streams;
  input.region_memory = [](unsigned region) {
    return region == arch::kRegionCommands ? arch::External::kHost : arch::External::kCard;
  };
  return simulate_job(input, target);
}

TEST(ModelledTime, SoloCyclesAreTheSameAlways) {
  const StreamBuilder stream = network();
  JobBench first;
  const npu_completion reference = first.run(stream.bytes());
  ASSERT_EQ(reference.status, uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(reference.cycles_solo, timed(stream, first.h().target()).cycles);
  const auto expect_same = [&](const npu_completion& c, const std::string& when) {
    EXPECT_EQ(c.status, uint32_t{NPU_STATUS_OK}) << when;
    EXPECT_EQ(c.cycles_solo, reference.cycles_solo) << when;
    EXPECT_EQ(c.energy_pj, reference.energy_pj) << when;
    EXPECT_EQ(c.card_bytes, reference.card_bytes) << when;
    EXPECT_EQ(c.pcie_bytes, reference.pcie_bytes) << when;
    EXPECT_EQ(c.mac_cycles, reference.mac_cycles) << when;
    EXPECT_EQ(c.dma_cycles, reference.dma_cycles) << when;
  };
  expect_same(first.run(stream.bytes()), "seen before");

  for (const uint64_t budget : {1, 3, 17}) {
    JobBench bench;
    Harness& h = bench.h();
    const uint64_t index = h.put(kQueue, bench.packet(stream.bytes()));
    h.ring(kQueue);
    // Interrupted at every other poll, too.
    unsigned polls = 0;
    h.cancelled = [&] { return ++polls % 2 == 0; };
    for (int i = 0; i < 10000 && !h.completed(kQueue, index); ++i) h.run(budget);
    h.cancelled = nullptr;
    expect_same(h.completion(kQueue, index), "slices of " + std::to_string(budget));
  }
  {
    JobBench bench;
    Harness& h = bench.h();
    h.start(2, kAsid);
    // The streams of both lie in the bench's one place: fetched, then replaced.
    h.put(2, bench.packet(long_stream().bytes()));
    h.ring(2);
    h.run(1);
    const uint64_t index = h.put(kQueue, bench.packet(stream.bytes()));
    h.ring(kQueue);
    h.run();
    expect_same(h.completion(kQueue, index), "another job on the other core");
  }
  {
    JobBench bench;
    Harness& h = bench.h();
    ASSERT_TRUE(
        npu_model_inject(h.model(), NPU_INJECT_THERMAL_TRIP, NPU_INJECT_ANY_QUEUE, 0, 1, 110000));
    const npu_completion c = bench.run(stream.bytes());
    EXPECT_GT(c.cycles_observed, c.cycles_solo);
    expect_same(c, "throttled");
  }
  {
    HarnessOptions options;
    options.mode = NPU_MODEL_TIMING_ONLY;
    JobBench bench(options);
    expect_same(bench.run(stream.bytes()), "timing only");
  }
}

TEST(ModelledTime, FunctionOnlyHasNone) {
  HarnessOptions options;
  options.mode = NPU_MODEL_FUNCTION_ONLY;
  JobBench bench(options);
  const npu_completion c = bench.run(network().bytes());
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(c.flags & NPU_COMPLETION_CYCLES_VALID, 0);
  EXPECT_EQ(c.cycles_solo, 0u);
  EXPECT_EQ(c.cycles_observed, 0u);
  EXPECT_EQ(c.energy_pj, 0u);
  EXPECT_EQ(bench.h().read(NPU_REG_FEATURES) & NPU_FEATURE_TIMING, 0u);
  EXPECT_EQ(bench.h().read64(NPU_REG_CYCLES), 0u);
  for (unsigned e = 0; e < NPU_ENGINE_COUNT; ++e)
    for (unsigned field = 0; field <= NPU_ENGINE_REG_BYTES; field += 8)
      EXPECT_EQ(bench.h().read64(NPU_REG_ENGINE(0, e, field)), 0u);
}

using Counts = std::array<uint64_t, 5>;

Counts counts(Harness& h, unsigned core, unsigned engine) {
  Counts out;
  for (unsigned i = 0; i < 5; ++i) out[i] = h.read64(NPU_REG_ENGINE(core, engine, 8 * i));
  return out;
}

TEST(ModelledTime, EngineRegistersAddUp) {
  const StreamBuilder stream = network();
  JobBench bench;
  Harness& h = bench.h();
  const arch::JobTiming timing = timed(stream, h.target());
  for (uint64_t jobs = 1; jobs <= 3; ++jobs) {
    ASSERT_EQ(bench.run(stream.bytes()).status, uint32_t{NPU_STATUS_OK});
    for (unsigned e = 0; e < NPU_ENGINE_COUNT; ++e) {
      const arch::EngineTiming& t = timing.engines[0][e];
      Counts sum = {};
      for (unsigned core = 0; core < h.target().cores; ++core)
        for (unsigned i = 0; i < 5; ++i) sum[i] += counts(h, core, e)[i];
      const Counts expected = {jobs * t.commands, jobs * t.busy_cycles, jobs * t.stall_cycles,
                               jobs * t.wait_cycles, jobs * t.bytes};
      EXPECT_EQ(sum, expected) << "engine " << e;
    }
  }
  // By hand: the stream's own figures.
  EXPECT_EQ(timing.engines[0][NPU_ENGINE_LOAD].commands, 12u);
  EXPECT_EQ(timing.engines[0][NPU_ENGINE_LOAD].bytes, 12u * 65536);
  EXPECT_EQ(timing.engines[0][NPU_ENGINE_STORE].bytes, 12u * 16384);
  EXPECT_EQ(timing.engines[0][NPU_ENGINE_VEC].commands, 0u);
  EXPECT_EQ(timing.engines[0][NPU_ENGINE_STORE].busy_cycles +
                timing.engines[0][NPU_ENGINE_LOAD].busy_cycles,
            timing.dma_cycles)
      << "nothing overlaps within an engine of this stream";

  // A job that fails counts nothing; resets keep the counts, power-on clears.
  const Counts before = counts(h, 0, NPU_ENGINE_LOAD);
  ASSERT_TRUE(npu_model_inject(h.model(), NPU_INJECT_ECC, kQueue, 0, 1, 0));
  EXPECT_EQ(bench.run(stream.bytes()).status, uint32_t{NPU_STATUS_ECC});
  EXPECT_EQ(counts(h, 0, NPU_ENGINE_LOAD), before);
  h.write(NPU_REG_RESET, NPU_RESET_KIND_CARD);
  h.run();
  EXPECT_EQ(counts(h, 0, NPU_ENGINE_LOAD), before);
  npu_model_reset(h.model(), NPU_MODEL_RESET_POWER);
  EXPECT_EQ(counts(h, 0, NPU_ENGINE_LOAD), Counts{});
  // Beyond the last engine and core there is nothing.
  EXPECT_EQ(h.read64(NPU_REG_ENGINE(0, 0, 0x28)), 0u);
  EXPECT_EQ(h.read64(NPU_REG_ENGINE(7, 3, 0)), 0u);
}

TEST(ModelledTime, EnergyIsTheSumOfItsParts) {
  JobBench bench;
  Harness& h = bench.h();
  const npu_completion c = bench.run(copy_stream(65536).bytes());
  ASSERT_EQ(c.status, uint32_t{NPU_STATUS_OK});
  const npu_target& t = h.target();
  const uint64_t sram_bytes = 65536 * 2;  // in and out again
  const uint64_t dynamic = c.macs * t.energy_mac_fj + sram_bytes * t.energy_sram_byte_fj +
                           c.card_bytes * t.energy_card_byte_fj +
                           c.pcie_bytes * t.energy_pcie_byte_fj;
  const uint64_t idle = c.cycles_solo * t.energy_static_cycle_fj;
  EXPECT_EQ(c.energy_pj, (dynamic + idle) / 1000);
  // The register: the job's work, and the static power of the time since power-on.
  const double since_power_on = 0;  // the test's clock stands still
  EXPECT_NEAR(static_cast<double>(h.read64(NPU_REG_ENERGY_NJ)),
              static_cast<double>(dynamic) * 1e-6 + since_power_on, 2);
}

}  // namespace
}  // namespace npu::model::testing
