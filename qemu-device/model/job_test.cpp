// SPDX-License-Identifier: MIT
//
// Jobs: life, statuses, profile, modes, threads, progress.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "compute/kernels.h"
#include "testing/streams.h"

namespace npu::model::testing {
namespace {

class JobTest : public ::testing::TestWithParam<npu_memory> {};
INSTANTIATE_TEST_SUITE_P(Memory, JobTest, ::testing::Values(NPU_MEMORY_HOST, NPU_MEMORY_CARD));

TEST_P(JobTest, CopiesThroughSram) {
  JobBench bench({}, GetParam());
  constexpr uint32_t kBytes = 300000;
  for (uint32_t i = 0; i < kBytes; ++i) bench.data()[i] = static_cast<uint8_t>(i * 31 + i / 251);
  const npu_completion c = bench.run(copy_stream(kBytes).bytes(), NPU_PACKET_IRQ);
  ASSERT_EQ(c.status, uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(std::memcmp(bench.data(), bench.data() + (1 << 20), kBytes), 0);
  EXPECT_EQ(c.flags, NPU_COMPLETION_CYCLES_VALID);
  EXPECT_GT(c.cycles_solo, 0u);
  EXPECT_EQ(c.cycles_solo, c.cycles_observed);
  const uint64_t moved = GetParam() == NPU_MEMORY_CARD ? c.card_bytes : c.pcie_bytes;
  EXPECT_GE(moved, 2 * kBytes);
  EXPECT_LT(moved, 2 * kBytes + 50000);
  EXPECT_GT(c.energy_pj, 0u);
  EXPECT_GT(bench.h().read64(NPU_REG_ENERGY_NJ), 0u);
  EXPECT_EQ(bench.h().read64(NPU_REG_CYCLES), c.cycles_solo);
  EXPECT_EQ(bench.h().read(NPU_REG_COUNT_JOB), 1u);
  EXPECT_EQ(bench.h().interrupts.size(), 1u);
}

TEST(Job, SameJobSameCycles) {
  JobBench bench;
  const auto stream = copy_stream();
  const npu_completion a = bench.run(stream.bytes());
  const npu_completion b = bench.run(stream.bytes());
  EXPECT_EQ(a.cycles_solo, b.cycles_solo);
  JobBench other;
  EXPECT_EQ(other.run(stream.bytes()).cycles_solo, a.cycles_solo);
}

TEST(Job, BusyTimeAndPower) {
  JobBench bench({}, NPU_MEMORY_HOST);
  Harness& h = bench.h();
  h.filter = [&h](uint64_t, size_t, bool) {
    h.clock_ns += 1000;  // every bus access takes a microsecond
    return NPU_BUS_OK;
  };
  const npu_completion c = bench.run(copy_stream(1 << 19).bytes());
  ASSERT_EQ(c.status, 0u);
  EXPECT_GT(c.end_ns, c.start_ns + 5000);
  const uint64_t busy = h.read64(NPU_REG_BUSY_NS);
  EXPECT_GE(busy, c.end_ns - c.start_ns);
  EXPECT_LE(busy, c.end_ns - c.start_ns + 5000);
  h.clock_ns += 1'000'000'000;
  EXPECT_EQ(h.read64(NPU_REG_BUSY_NS), busy) << "idle time is not busy";
  const auto idle_mw =
      static_cast<double>(h.target().energy_static_cycle_fj) * h.target().clock_mhz * 1e-6;
  EXPECT_NEAR(h.read(NPU_REG_POWER_MW), idle_mw, 1);
  const double energy = static_cast<double>(h.read64(NPU_REG_ENERGY_NJ));
  EXPECT_GT(energy, idle_mw * 1e-3 * 1e9);  // a second of it, and the job
}

TEST(Job, NothingSurvivesInSram) {
  JobBench bench;
  std::memset(bench.data(), 0xab, 4096);
  ASSERT_EQ(bench.run(copy_stream().bytes()).status, 0u);
  StreamBuilder s;
  s.append(contiguous(NPU_OP_STORE, 0, 0, 2 << 20));
  ASSERT_EQ(bench.run(s.bytes()).status, 0u);
  for (uint32_t i = 0; i < 2u << 20; ++i) ASSERT_EQ(bench.data()[i], 0) << i;
}

// Each engine overwrites the weights of a product that was just computed; the
// next product must see it, whatever the fast paths keep of weights.
TEST(Job, ProductsSeeNewWeights) {
  constexpr uint16_t kRows = 8, kDepth = 64, kColumns = 64;
  constexpr uint32_t kWeightBytes = kDepth * kColumns, kOutBytes = kRows * kColumns;
  constexpr uint32_t kWeights = 4096, kOutputs = 65536, kOther = 32768;
  const auto product = [&](uint32_t output) {
    npu_command_mac mac = arch::test::matmul(kRows, kDepth, kColumns);
    mac.weights = kWeights;
    mac.output.address = output;
    return mac;
  };
  StreamBuilder s;
  const auto run_product = [&](unsigned index, npu_engine engine) {
    npu_command_mac mac = product(kOutputs + index * kOutBytes);
    mac.header.wait[0] = arch::encode_wait(engine, s.count(engine));
    s.append(mac);
  };
  const auto behind_products = [&](auto command) {
    command.header.wait[0] = arch::encode_wait(NPU_ENGINE_MAC, s.count(NPU_ENGINE_MAC));
    return command;
  };
  s.append(load(0, 0, kOther + kWeightBytes));
  run_product(0, NPU_ENGINE_LOAD);
  s.append(behind_products(load(100, kWeights, kWeightBytes)));
  run_product(1, NPU_ENGINE_LOAD);
  npu_command_dma copy = arch::test::transfer(NPU_OP_SRAM_COPY, kWeights + 64, 64);
  copy.source_address = kOther;
  s.append(behind_products(copy));
  run_product(2, NPU_ENGINE_LOAD);
  npu_command_dma fill = arch::test::transfer(NPU_OP_FILL, kWeights + kWeightBytes - 128, 128);
  fill.pad_value = 5;
  s.append(behind_products(fill));
  run_product(3, NPU_ENGINE_LOAD);
  npu_command_vec lut = arch::test::elementwise(NPU_VEC_LUT, 1, 1, 256);
  lut.a.address = kOther;
  lut.out.address = kWeights;
  lut.table = kOther + 1024;
  s.append(behind_products(lut));
  run_product(4, NPU_ENGINE_VEC);
  npu_command_mac mac = product(kWeights);
  mac.weights = kOther;
  s.append(mac);
  run_product(5, NPU_ENGINE_LOAD);
  npu_command_dma result = contiguous(NPU_OP_STORE, 1 << 20, kOutputs, 6 * kOutBytes);
  s.append(behind_products(result));

  std::vector<uint8_t> results[2];
  const Isa before = current_isa();
  for (int pass = 0; pass < 2; ++pass) {
    force_isa_for_test(pass == 0 ? Isa::kReference : before);
    JobBench bench;
    for (uint32_t i = 0; i < kOther + 2 * kWeightBytes; ++i)
      bench.data()[i] = static_cast<uint8_t>(i * 2654435761u >> 24);
    ASSERT_EQ(bench.run(s.bytes()).status, uint32_t{NPU_STATUS_OK});
    results[pass].assign(bench.data() + (1 << 20), bench.data() + (1 << 20) + 6 * kOutBytes);
  }
  EXPECT_EQ(results[0], results[1]);
  for (int i = 1; i < 6; ++i)
    EXPECT_NE(std::memcmp(&results[0][(i - 1) * kOutBytes], &results[0][i * kOutBytes], kOutBytes),
              0)
        << i;
}

TEST(Status, BadPackets) {
  JobBench bench;
  const auto stream = copy_stream();
  const npu_packet_job good = bench.packet(stream.bytes());
  const auto status = [&](auto change) {
    npu_packet_job p = good;
    change(p);
    const npu_completion c = bench.h().submit(kQueue, p);
    EXPECT_TRUE(c.status == NPU_STATUS_OK || c.engine == NPU_ENGINE_PACKET);
    return c.status == NPU_STATUS_BAD_COMMAND;
  };
  using P = npu_packet_job;
  EXPECT_FALSE(status([](P&) {}));
  EXPECT_TRUE(status([](P& p) { p.flags = 0x80; }));
  EXPECT_TRUE(status([](P& p) { p.stream_count = 0; }));
  EXPECT_TRUE(status([](P& p) { p.stream_count = 3; }));
  EXPECT_TRUE(status([](P& p) { p.region_count = 65; }));
  EXPECT_TRUE(status([](P& p) { p.core_mask = 4; }));
  EXPECT_TRUE(status([](P& p) { p.stream_va += 64; }));
  EXPECT_TRUE(status([](P& p) { p.region_va += 4; }));
  EXPECT_TRUE(status([](P& p) { p.profile_va = 128; }));
  EXPECT_TRUE(status([](P& p) { p.flags = NPU_PACKET_PROFILE_COMMANDS; }));
  EXPECT_TRUE(status([](P& p) { p.stream_bytes[0] += 4; }));
  EXPECT_TRUE(status([](P& p) { p.stream_bytes[0] = (16u << 20) + 128; }));
  EXPECT_TRUE(status([](P& p) { p.stream_bytes[1] = 128; }));
  EXPECT_TRUE(status([](P& p) { p.stream_bytes[7] = 128; }));
}

TEST(Status, BadCommandNamesIt) {
  JobBench bench;
  StreamBuilder s = copy_stream();
  npu_command_dma bad = load(0, 0, 64);
  bad.header.source_op = 77;
  bad.reserved2[1] = 1;
  s.append(bad);
  const npu_completion c = bench.run(s.bytes());
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(c.command, 2u);
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_LOAD});
  EXPECT_EQ(c.source_op, 77u);
  EXPECT_EQ(bench.data()[1 << 20], 0) << "nothing ran";

  StreamBuilder region;
  npu_command_dma beyond = load(0, 0, 64);
  beyond.region = 1;
  region.append(load(0, 0, 64));
  region.append(beyond);
  const npu_completion r = bench.run(region.bytes());
  EXPECT_EQ(r.status, uint32_t{NPU_STATUS_BAD_COMMAND});
  EXPECT_EQ(r.command, 1u);
}

TEST(Status, SramRange) {
  JobBench bench;
  StreamBuilder s;
  s.append(load(0, (2 << 20) - 64, 128));
  const npu_completion c = bench.run(s.bytes());
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_SRAM_RANGE});
  EXPECT_EQ(c.command, 0u);
}

TEST(Status, Hazard) {
  JobBench bench;
  StreamBuilder s;
  s.append(load(0, 0, 4096));
  s.append(contiguous(NPU_OP_STORE, 1 << 20, 0, 4096));  // waits for nothing
  const npu_completion c = bench.run(s.bytes());
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_HAZARD});
  EXPECT_EQ(c.command, 1u);
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_STORE});
}

TEST(Status, Deadlock) {
  JobBench bench;
  StreamBuilder s;
  s.append(store(1 << 20, 0, 64, 1));  // waits for a LOAD that comes later
  s.append(load(0, 4096, 64));
  npu_completion c = bench.run(s.bytes());
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DEADLOCK});
  EXPECT_EQ(c.command, 0u);
  // Two cores, each waiting for the other's first STORE.
  std::vector<std::vector<std::byte>> streams;
  for (unsigned core = 0; core < 2; ++core) {
    StreamBuilder b;
    npu_command_dma dma = contiguous(NPU_OP_STORE, core * 4096, 0, 64);
    dma.header.wait[0] = arch::encode_wait(NPU_ENGINE_STORE, 1, 1 - core);
    b.append(dma);
    streams.push_back(b.bytes());
  }
  c = bench.h().submit(kQueue, bench.packet(streams));
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DEADLOCK});
  EXPECT_EQ(bench.run(copy_stream().bytes()).status, 0u);
}

TEST(Status, Budget) {
  JobBench bench;
  Harness& h = bench.h();
  const auto stream = copy_stream();
  const uint64_t cycles = bench.run(stream.bytes()).cycles_solo;
  npu_queue_context context = h.make_context(2, kAsid);
  context.cycle_limit = cycles;
  h.start(2, context);
  EXPECT_EQ(h.submit(2, bench.packet(stream.bytes())).status, 0u) << "exactly at the limit";
  context = h.make_context(3, kAsid);
  context.cycle_limit = cycles - 1;
  h.start(3, context);
  bench.data()[0] = 9;
  const npu_completion c = h.submit(3, bench.packet(stream.bytes()));
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_BUDGET});
  EXPECT_EQ(c.cycles_solo, cycles - 1);
  EXPECT_EQ(bench.data()[1 << 20], 0) << "refused before it stored anything";

  context = h.make_context(4, kAsid);
  context.cycle_limit = 300000;
  h.start(4, context);
  const npu_completion l = h.submit(4, bench.packet(long_stream().bytes()));
  EXPECT_EQ(l.status, uint32_t{NPU_STATUS_BUDGET});
  EXPECT_EQ(l.engine, uint8_t{NPU_ENGINE_MAC});
  EXPECT_GT(l.command, 0u);
  EXPECT_LT(l.command, 39u);
}

TEST(Status, EccAndDmaError) {
  JobBench bench;
  Harness& h = bench.h();
  ASSERT_TRUE(npu_model_inject(h.model(), NPU_INJECT_ECC, kQueue, 0, 1, 0));
  npu_completion c = bench.run(copy_stream().bytes());
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_ECC});
  EXPECT_EQ(c.command, 0u);
  EXPECT_EQ(bench.run(copy_stream().bytes()).status, 0u);
  ASSERT_TRUE(npu_model_inject(h.model(), NPU_INJECT_DMA_ERROR, kQueue, 0, 1, 0));
  c = bench.run(copy_stream().bytes());
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(bench.run(copy_stream().bytes()).status, 0u);

  JobBench host({}, NPU_MEMORY_HOST);
  bool refuse = false;
  host.h().filter = [&](uint64_t, size_t bytes, bool write) {
    return refuse && write && bytes == 4096 ? NPU_BUS_IOMMU_FAULT : NPU_BUS_OK;
  };
  refuse = true;
  c = host.run(copy_stream().bytes());
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(c.command, 1u);
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_WRITE});
}

TEST(Profile, WrittenBeforeCompletion) {
  JobBench bench;
  Harness& h = bench.h();
  const uint64_t va = 0x30000000;
  const uint64_t at = h.map_new(kAsid, va, 8192);
  npu_packet_job p =
      bench.packet(copy_stream().bytes(), NPU_PACKET_PROFILE | NPU_PACKET_PROFILE_COMMANDS);
  p.profile_va = va;
  const npu_completion c = h.submit(kQueue, p);
  ASSERT_EQ(c.status, 0u);
  const auto profile = h.load<npu_profile>(at);
  EXPECT_EQ(profile.completion.sequence, c.sequence);
  EXPECT_EQ(profile.completion.cycles_solo, c.cycles_solo);
  EXPECT_EQ(profile.commands, 2u);
  EXPECT_EQ(profile.sram_peak_bytes, 4096u);
  const auto record =
      h.load<npu_profile_command>(at + sizeof(profile) + sizeof(npu_profile_command));
  EXPECT_EQ(record.command, 1u);
  EXPECT_EQ(record.opcode, uint8_t{NPU_OP_STORE});
  p.profile_va = 0x70000000;
  const npu_completion f = h.submit(kQueue, p);
  EXPECT_EQ(f.status, uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(f.engine, uint8_t{NPU_ENGINE_PACKET});
  EXPECT_EQ(f.address, 0x70000000u);
}

TEST(Modes, FunctionOnlyAndTimingOnly) {
  HarnessOptions options;
  options.mode = NPU_MODEL_FUNCTION_ONLY;
  JobBench function(options);
  function.data()[0] = 5;
  npu_completion c = function.run(copy_stream().bytes());
  EXPECT_EQ(c.status, 0u);
  EXPECT_EQ(c.flags, 0u);
  EXPECT_EQ(function.data()[1 << 20], 5);
  options.mode = NPU_MODEL_TIMING_ONLY;
  JobBench timing(options);
  timing.data()[0] = 5;
  c = timing.run(copy_stream().bytes());
  EXPECT_EQ(c.status, 0u);
  EXPECT_GT(c.cycles_solo, 0u);
  EXPECT_EQ(timing.data()[1 << 20], 0);
}

TEST(Threads, RegistersWhileRunning) {
  JobBench bench;
  Harness& h = bench.h();
  std::atomic<bool> stop{false};
  // The clock and the counters of the harness are written by one thread only.
  std::thread other([&] {
    while (!stop) {
      h.read(NPU_REG_STATUS);
      h.queue_reg(kQueue, NPU_QUEUE_HEARTBEAT);
      h.read64(NPU_REG_ENERGY_NJ);
      npu_model_inject(h.model(), NPU_INJECT_LATE_INTERRUPT, 9, 0, 1, 1);
    }
  });
  const npu_packet_job p = bench.packet(long_stream(20).bytes());
  for (int i = 0; i < 5; ++i) {
    const uint64_t index = h.put(kQueue, p);
    h.store(h.context(kQueue).indices, index + 1);
    h.ring(kQueue);
    h.run();
    EXPECT_TRUE(h.completed(kQueue, index));
  }
  stop = true;
  other.join();
}

TEST(Progress, HeartbeatInsideOneCommand) {
  JobBench bench;
  Harness& h = bench.h();
  StreamBuilder s;
  npu_command_mac mac = arch::test::matmul(1000, 1000, 500);
  s.append(mac);
  h.put(kQueue, bench.packet(s.bytes()));
  h.ring(kQueue);
  const uint32_t before = h.queue_reg(kQueue, NPU_QUEUE_HEARTBEAT);
  int polls = 0;
  h.cancelled = [&] { return ++polls > 5; };
  EXPECT_EQ(h.run(), NPU_MODEL_MORE);
  EXPECT_FALSE(h.completed(kQueue, 0));
  EXPECT_GT(h.queue_reg(kQueue, NPU_QUEUE_HEARTBEAT), before + 1);
  h.cancelled = nullptr;
  EXPECT_EQ(h.run(), NPU_MODEL_IDLE);
  EXPECT_EQ(h.completion(kQueue, 0).status, 0u);
}

// A stream that takes seconds of host time to check for hazards.
TEST(Progress, HeartbeatWhileAStreamIsChecked) {
  JobBench bench;
  Harness& h = bench.h();
  StreamBuilder s;
  for (int i = 0; i < 8000; ++i) {
    npu_command_dma dma =
        contiguous(i % 2 != 0 ? NPU_OP_LOAD : NPU_OP_STORE, 0, i % 2 != 0 ? 1 << 20 : 0, 1);
    dma.size[1] = 32768;
    dma.sram_stride[1] = 17;
    dma.external_stride[1] = 33;
    s.append(dma);
  }
  h.put(kQueue, bench.packet(s.bytes()));
  h.ring(kQueue);
  int polls = 0;
  h.cancelled = [&] { return ++polls > 4; };
  EXPECT_EQ(h.run(), NPU_MODEL_MORE);
  EXPECT_EQ(h.queue_reg(kQueue, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_RUNNING});
  EXPECT_GT(h.queue_reg(kQueue, NPU_QUEUE_HEARTBEAT), 1u);
  EXPECT_FALSE(h.completed(kQueue, 0));
  h.write(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_ABORT_JOB);
  h.cancelled = nullptr;
  EXPECT_EQ(h.run(), NPU_MODEL_IDLE);
  EXPECT_EQ(h.completion(kQueue, 0).status, uint32_t{NPU_STATUS_ABORTED});
}

}  // namespace
}  // namespace npu::model::testing
