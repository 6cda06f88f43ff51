// SPDX-License-Identifier: MIT
//
// Jobs small enough to time by hand with the rules of docs/timing.md. Figures
// are those of the preset "card": 64 bytes a cycle and 120 cycles to card
// memory, 16 and 600 to host memory, W = 64.
#include <gtest/gtest.h>

#include "arch/test_commands.h"
#include "arch/timing.h"

namespace npu::arch {
namespace {

using namespace test;

const npu_target& card() {
  return *find_target("card");
}

std::vector<Stream> decode_all(const std::vector<StreamBuilder>& builders) {
  std::vector<Stream> streams(builders.size());
  StreamError error;
  for (size_t i = 0; i < builders.size(); ++i)
    EXPECT_TRUE(decode_stream(builders[i].bytes(), card(), static_cast<unsigned>(i),
                              static_cast<unsigned>(builders.size()), streams[i], error))
        << error.text;
  EXPECT_TRUE(check_deadlock(streams, error)) << error.text;
  EXPECT_TRUE(check_hazards(streams, card(), error)) << error.text;
  return streams;
}

struct Simulated {
  JobTiming timing;
  std::vector<npu_profile_command> trace;
};

Simulated simulate(const std::vector<StreamBuilder>& builders, const npu_target& target = card(),
                   bool host = false) {
  const std::vector<Stream> streams = decode_all(builders);
  TimingInput input;
  input.streams = streams;
  if (host)
    input.region_memory = [](unsigned region) {
      return region == kRegionCommands ? External::kCard : External::kHost;
    };
  Simulated result;
  result.timing = simulate_job(input, target, &result.trace);
  return result;
}

Simulated simulate(const StreamBuilder& builder, const npu_target& target = card(),
                   bool host = false) {
  return simulate(std::vector<StreamBuilder>{builder}, target, host);
}

constexpr uint64_t kPacket = 600 + 64 / 16;  // fetched from host memory
constexpr uint64_t kWalk = 4 * (120 + 1);    // four dependent reads of card memory
constexpr uint64_t kTables = kPacket + kWalk + 120;
constexpr uint64_t kCompletion = 128 / 16;
// One record: two granules; then dispatch.
constexpr uint64_t kFirstCommand = kPacket + kWalk + 120 + 2 + 4;

TEST(JobSimulation, NothingToDo) {
  const JobTiming timing = simulate(StreamBuilder{}).timing;
  EXPECT_EQ(timing.cycles, kTables + kCompletion);
  EXPECT_EQ(timing.card_bytes, 4u * 64 + 64);  // the region table and its walk
  EXPECT_EQ(timing.pcie_bytes, 64u + 128);
  EXPECT_EQ(timing.sram_peak_bytes, 0u);
}

TEST(JobSimulation, OneLoad) {
  StreamBuilder builder;
  builder.append(transfer(NPU_OP_LOAD, 0, 65536));
  const Simulated result = simulate(builder);
  // Two groups of 32 KiB: the first walk shows, the second runs ahead, and its
  // reads, 4 granules, go through the same channel as the data.
  const uint64_t execute = kWalk + 120 + (65536 + 4 * 64) / 64;
  EXPECT_EQ(result.timing.cycles, kFirstCommand + execute + kCompletion);
  EXPECT_EQ(result.timing.card_bytes, 4u * 64 + 64        // region table
                                          + 4 * 64 + 128  // command
                                          + 8 * 64 + 65536);
  EXPECT_EQ(result.timing.dma_cycles, execute);
  EXPECT_EQ(result.timing.sram_bytes, 65536u);
  EXPECT_EQ(result.timing.sram_peak_bytes, 65536u);
  ASSERT_EQ(result.trace.size(), 1u);
  EXPECT_EQ(result.trace[0].start_cycle, kFirstCommand);
  EXPECT_EQ(result.trace[0].execute_cycles, execute);
  EXPECT_EQ(result.trace[0].stall_cycles, kWalk + 4);
}

TEST(JobSimulation, HostMemoryIsBoundByBurstsInFlight) {
  StreamBuilder builder;
  builder.append(transfer(NPU_OP_LOAD, 0, 32768));
  const Simulated result = simulate(builder, card(), true);
  // 32 * 256 bytes per round trip, the last bytes at the link's 16 per cycle.
  const uint64_t transfer_cycles = 3 * (600 + 256 / 16) + 8192 / 16;
  EXPECT_NEAR(static_cast<double>(result.trace[0].execute_cycles),
              static_cast<double>(kWalk + 600 + transfer_cycles), 1.0);
  EXPECT_EQ(result.timing.pcie_bytes, 64u + 128 + 32768);
}

TEST(JobSimulation, NextTransferOverlapsTheLatency) {
  StreamBuilder builder;
  builder.append(transfer(NPU_OP_LOAD, 0, 16384));
  builder.append(transfer(NPU_OP_LOAD, 16384, 16384, 16384));
  const Simulated result = simulate(builder);
  EXPECT_EQ(result.trace[1].execute_cycles, 16384u / 64);  // nothing but data
  EXPECT_EQ(result.trace[1].start_cycle,
            result.trace[0].start_cycle + result.trace[0].execute_cycles);
}

TEST(JobSimulation, MacCommandAlone) {
  StreamBuilder builder;
  builder.append(convolution({16, 16, 64, 16, 16, 64, 3, 3, 1, 1}));
  const Simulated result = simulate(builder);
  const uint64_t stage = 9 * 256;
  EXPECT_EQ(result.timing.mac_cycles, stage);
  EXPECT_EQ(result.trace[0].execute_cycles, 16 + 64 + 24 + stage + 256);  // and the drain
  EXPECT_EQ(result.timing.cycles, kFirstCommand + result.trace[0].execute_cycles + kCompletion);
  EXPECT_EQ(result.timing.macs, 256u * 9 * 64 * 64);
}

TEST(JobSimulation, DrainHidesBehindTheNextMacCommand) {
  StreamBuilder one, two;
  const npu_command_mac mac = convolution({16, 16, 64, 16, 16, 64, 3, 3, 1, 1});
  one.append(mac);
  two.append(mac);
  two.append(mac);
  const uint64_t extra = simulate(two).timing.cycles - simulate(one).timing.cycles;
  // The second record also takes two cycles to fetch.
  EXPECT_EQ(extra, 2u + 16 + 64 + 24 + 9 * 256);
}

TEST(JobSimulation, BanksDrainOneAfterTheOther) {
  // The second command is over long before the first one's bank is empty.
  StreamBuilder builder;
  npu_command_mac first = convolution({16, 32, 64, 16, 32, 64});
  npu_command_mac second = matmul(1, 64, 64);
  second.output.address = 0x100000;
  builder.append(first);
  builder.append(second);
  const Simulated result = simulate(builder);
  const auto end = [&](int i) {
    return result.trace[i].start_cycle + result.trace[i].execute_cycles;
  };
  EXPECT_EQ(end(0), result.trace[0].start_cycle + 16 + 64 + 24 + 512 + 512);
  EXPECT_EQ(end(1), end(0) + 1);
}

TEST(JobSimulation, WaitsCost) {
  StreamBuilder builder;
  builder.append(transfer(NPU_OP_FILL, 0, 64));
  npu_command_dma same = transfer(NPU_OP_FILL, 64, 64);
  ASSERT_TRUE(add_wait(same.header, NPU_ENGINE_LOAD, 1));
  builder.append(same);
  npu_command_vec lut = elementwise(NPU_VEC_LUT, 1, 1, 64);
  lut.out.address = 4096, lut.table = 8192;
  ASSERT_TRUE(add_wait(lut.header, NPU_ENGINE_LOAD, 2));
  builder.append(lut);
  const Simulated result = simulate(builder);
  const auto end = [&](int i) {
    return result.trace[i].start_cycle + result.trace[i].execute_cycles;
  };
  EXPECT_EQ(end(0), kFirstCommand + 4 + 1);  // 6 granules: the chunk takes 4 cycles longer
  EXPECT_EQ(result.trace[1].start_cycle, kFirstCommand + 4 + 4 + 1);
  EXPECT_EQ(result.trace[2].start_cycle, std::max(end(1), kFirstCommand + 4 + 8) + 4);
}

TEST(JobSimulation, WaitOnAnotherCore) {
  std::vector<StreamBuilder> builders(2);
  builders[0].append(transfer(NPU_OP_FILL, 0, 6400));
  npu_command_dma waiting = transfer(NPU_OP_FILL, 0, 64);
  ASSERT_TRUE(add_wait(waiting.header, NPU_ENGINE_LOAD, 1, 0));
  builders[1].append(waiting);
  const Simulated result = simulate(builders);
  EXPECT_EQ(result.trace[0].execute_cycles, 100u);
  EXPECT_EQ(result.trace[1].core, 1u);
  EXPECT_EQ(result.trace[1].start_cycle, result.trace[0].start_cycle + 100 + 32);
}

TEST(JobSimulation, CoresShareTheMemoryChannel) {
  std::vector<StreamBuilder> builders(2);
  builders[0].append(transfer(NPU_OP_LOAD, 0, 1 << 20));
  npu_command_dma other = transfer(NPU_OP_LOAD, 0, 1 << 20);
  other.region = 1;  // its own translations
  builders[1].append(other);
  const Simulated two = simulate(builders);
  const Simulated one = simulate(builders[0]);
  const uint64_t alone = (1 << 20) / 64;
  EXPECT_NEAR(static_cast<double>(two.timing.cycles - one.timing.cycles),
              static_cast<double>(alone), 0.02 * alone);
}

TEST(JobSimulation, SramPortsSlowEverybody) {
  // ADD moves 3 bytes per lane and cycle, three of the four words that the
  // SRAM gives. Next to a convolution (activations and weights: two more)
  // both slow down.
  StreamBuilder vec_only, both;
  npu_command_vec add = elementwise(NPU_VEC_ADD, 64, 64, 64);
  add.a.address = 0x40000, add.b.address = 0x80000, add.out.address = 0xc0000;
  npu_command_mac mac = convolution({16, 16, 64, 16, 16, 64, 3, 3, 1, 1});
  vec_only.append(add);
  both.append(mac);
  both.append(add);
  const uint64_t alone = simulate(vec_only).trace[0].execute_cycles;
  EXPECT_EQ(alone, 64u * 64);
  const Simulated result = simulate(both);
  EXPECT_GT(result.trace[1].execute_cycles, alone);
  EXPECT_GT(result.trace[1].stall_cycles, 0u);
  EXPECT_GT(result.trace[0].stall_cycles, 0u);
  EXPECT_EQ(result.trace[1].execute_cycles - result.trace[1].stall_cycles, alone);
}

TEST(JobSimulation, YieldDrainsTheEngines) {
  StreamBuilder builder;
  builder.append(transfer(NPU_OP_FILL, 0, 64000));
  builder.append(npu_command_yield{});
  builder.append(transfer(NPU_OP_STORE, 65536, 64));
  const Simulated result = simulate(builder);
  const uint64_t filled = result.trace[0].start_cycle + 1000;
  EXPECT_EQ(result.trace[1].engine, NPU_ENGINE_DISPATCH);
  EXPECT_EQ(result.trace[1].start_cycle, filled);
  EXPECT_EQ(result.trace[2].start_cycle, filled + 4);
}

TEST(JobSimulation, LongStreamsAreFetchedAhead) {
  StreamBuilder builder;
  for (int i = 0; i < 10000; ++i) builder.append_nop();
  const JobTiming timing = simulate(builder).timing;
  // Four cycles each, as dispatch alone takes, plus the walks of the stream
  // that the read-ahead of 4 KiB cannot hide: 40 groups of 32 KiB.
  EXPECT_GE(timing.cycles, kFirstCommand + 4 * 9999);
  EXPECT_LE(timing.cycles, kFirstCommand + 4 * 9999 + 40 * kWalk + 100);
  EXPECT_EQ(timing.card_bytes, 10000u * 128 + (40 + 1) * 4 * 64 + 64);
}

TEST(JobSimulation, FifoDepthHoldsBackDispatch) {
  npu_target shallow = card();
  shallow.fifo_depth = 1;
  StreamBuilder builder;
  npu_command_dma fill = transfer(NPU_OP_FILL, 0, 64000);
  for (int i = 0; i < 3; ++i) builder.append(fill);
  builder.append(elementwise(NPU_VEC_LUT, 1, 1, 64));  // behind three fills in the list
  std::vector<Stream> streams(1);
  StreamError error;
  ASSERT_TRUE(decode_stream(builder.bytes(), card(), 0, 1, streams[0], error)) << error.text;
  const auto start_of_lut = [&](const npu_target& target) {
    std::vector<npu_profile_command> trace;
    TimingInput input;
    input.streams = streams;
    simulate_job(input, target, &trace);
    return trace[3].start_cycle;
  };
  EXPECT_LT(start_of_lut(card()), start_of_lut(shallow));
}

TEST(JobSimulation, CountersAddUpAndRepeat) {
  std::vector<StreamBuilder> builders(2);
  for (StreamBuilder& builder : builders) {
    const unsigned core = static_cast<unsigned>(&builder - builders.data());
    for (uint32_t i = 0; i < 20; ++i) {
      npu_command_dma load = transfer(NPU_OP_LOAD, 0, 16 * 16 * 64, 16384ull * i);
      ASSERT_TRUE(add_wait(load.header, NPU_ENGINE_MAC, i, core));
      builder.append(load);
      npu_command_mac mac = convolution({16, 16, 64, 16, 16, 64});
      ASSERT_TRUE(add_wait(mac.header, NPU_ENGINE_LOAD, i + 1, core));
      ASSERT_TRUE(add_wait(mac.header, NPU_ENGINE_STORE, i, core));
      builder.append(mac);
      npu_command_dma store = transfer(NPU_OP_STORE, mac.output.address, 16384, 16384ull * i);
      store.region = 1;
      ASSERT_TRUE(add_wait(store.header, NPU_ENGINE_MAC, i + 1, core));
      builder.append(store);
    }
  }
  const Simulated first = simulate(builders), second = simulate(builders);
  EXPECT_EQ(first.timing.cycles, second.timing.cycles);
  EXPECT_EQ(first.timing.energy_pj, second.timing.energy_pj);
  EXPECT_EQ(first.timing.macs, 40u * 256 * 64 * 64);
  EXPECT_EQ(first.timing.mac_cycles, 40u * 256);
  uint64_t dma = 0;
  for (size_t i = 0; i < first.trace.size(); ++i) {
    const npu_profile_command& record = first.trace[i];
    EXPECT_EQ(record.core, i / 60);
    EXPECT_EQ(record.command, i % 60);
    EXPECT_GT(record.execute_cycles, 0u);
    EXPECT_LT(record.start_cycle + record.execute_cycles, first.timing.cycles);
    if (record.engine <= NPU_ENGINE_STORE) dma += record.execute_cycles;
  }
  EXPECT_EQ(dma, first.timing.dma_cycles);
  const npu_target& t = card();
  const uint64_t femtojoules = first.timing.macs * t.energy_mac_fj +
                               first.timing.sram_bytes * t.energy_sram_byte_fj +
                               first.timing.card_bytes * t.energy_card_byte_fj +
                               first.timing.pcie_bytes * t.energy_pcie_byte_fj +
                               first.timing.cycles * t.energy_static_cycle_fj;
  EXPECT_EQ(first.timing.energy_pj, femtojoules / 1000);
}

// ---- Between cores ------------------------------------------------------------

TEST(JobSimulation, PeerLoadTakesAPortOfBothCores) {
  std::vector<StreamBuilder> builders(2);
  npu_command_dma peer = transfer(NPU_OP_PEER_LOAD, 0, 65536);
  peer.peer_core = 1;
  peer.external_stride[0] = 1;
  builders[0].append(peer);
  const Simulated alone = simulate(builders);
  EXPECT_EQ(alone.trace.at(0).execute_cycles, 32u + 1024);
  EXPECT_EQ(alone.timing.sram_bytes, 2u * 65536);

  // The peer's own five streams want more than its ports have left.
  npu_command_dma copy = transfer(NPU_OP_SRAM_COPY, 256 * 1024, 65536);
  copy.source_address = 128 * 1024;
  copy.external_stride[0] = 1;
  npu_command_vec add = elementwise(NPU_VEC_ADD, 32, 32, 64);
  for (npu_sram_tensor* t : {&add.a, &add.b, &add.out}) t->address += 512 * 1024;
  builders[1].append(copy);
  builders[1].append(add);
  const Simulated busy = simulate(builders);
  // Five ports of 64 bytes where there are four, as long as the addition runs.
  EXPECT_GT(busy.trace.at(0).execute_cycles, alone.trace.at(0).execute_cycles + 200);
  EXPECT_LT(busy.trace.at(0).execute_cycles, alone.trace.at(0).execute_cycles * 3 / 2);
  EXPECT_GT(busy.trace.at(0).stall_cycles, 200u);
}

TEST(JobSimulation, MulticastReadsMemoryOnce) {
  std::vector<StreamBuilder> builders(2);
  npu_command_dma load = transfer(NPU_OP_LOAD, 0, 65536);
  builders[0].append(load);
  const Simulated one = simulate(builders);
  builders[0] = {};
  load.multicast = 2;
  builders[0].append(load);
  const Simulated both = simulate(builders);
  EXPECT_EQ(both.timing.cycles, one.timing.cycles);
  EXPECT_EQ(both.timing.card_bytes, one.timing.card_bytes);
  EXPECT_EQ(both.timing.sram_bytes, 2 * one.timing.sram_bytes);
}

}  // namespace
}  // namespace npu::arch
