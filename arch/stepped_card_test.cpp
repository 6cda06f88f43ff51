// SPDX-License-Identifier: MIT
//
// Formulas and event simulation against a card stepped cycle by cycle; whole
// layers of the compiler are in tests/timing.
#include "arch/testing/stepped_card.h"

#include <gtest/gtest.h>

#include <random>

#include "arch/test_commands.h"
#include "arch/timing.h"

namespace npu::arch {
namespace {

using namespace test;

std::vector<Stream> decoded(const std::vector<StreamBuilder>& builders) {
  npu_target roomy = *find_target("card");
  roomy.sram_bytes = 16u << 20;
  std::vector<Stream> streams(builders.size());
  StreamError error;
  for (unsigned i = 0; i < builders.size(); ++i)
    EXPECT_TRUE(decode_stream(builders[i].bytes(), roomy, i, static_cast<unsigned>(builders.size()),
                              streams[i], error))
        << error.text;
  return streams;
}

testing::SteppedJob step(const std::vector<Stream>& streams, const npu_target& target,
                         bool host = false) {
  return testing::SteppedCard{target, host ? 0 : ~0u}.run(streams);
}

npu_command_mac random_command(std::mt19937& random) {
  const auto up_to = [&](unsigned n) { return static_cast<uint16_t>(1 + random() % n); };
  const unsigned kind = random() % 4;
  if (kind == 0) return matmul(up_to(300), up_to(200), up_to(150));
  ConvShape s = {};
  s.out_h = up_to(24), s.out_w = up_to(40);
  s.kernel_h = static_cast<uint8_t>(up_to(3)), s.kernel_w = static_cast<uint8_t>(up_to(4));
  s.stride = static_cast<uint8_t>(up_to(3));
  s.in_h = static_cast<uint16_t>(s.out_h * s.stride + s.kernel_h);
  s.in_w = static_cast<uint16_t>(s.out_w * s.stride + s.kernel_w);
  if (kind == 1) {
    s.in_c = s.out_c = up_to(150);
    return convolution(s, NPU_OP_DEPTHWISE);
  }
  s.groups = kind == 2 ? up_to(4) : 1;
  s.in_c = static_cast<uint16_t>(s.groups * up_to(70));
  s.out_c = static_cast<uint16_t>(s.groups * up_to(90));
  npu_command_mac mac = convolution(s);
  if (random() % 4 == 0) mac.dilation_x = 2;
  if (random() % 4 == 0) {  // pixels with a gap: not a dense row
    mac.input.pixel_stride += 3;
    mac.input.row_stride += 3u * s.in_w;
    mac.weights += 3u * s.in_w * s.in_h;
    mac.output.address += 3u * s.in_w * s.in_h;
  }
  return mac;
}

TEST(SteppedCard, StageCyclesAreExact) {
  std::mt19937 random(6);
  npu_target small = *find_target("edge");  // several sub-tiles, weights that show
  small.mac_outputs = 8, small.mac_inputs = 16, small.accumulator_rows = 64;
  small.sram_word_bytes = 16;
  const npu_target* targets[] = {find_target("edge"), find_target("card"), &small};
  for (int round = 0; round < 1200; ++round) {
    const npu_target& target = *targets[round % 3];
    StreamBuilder builder;
    builder.append(random_command(random));
    const std::vector<Stream> streams = decoded({builder});
    const Command& command = streams[0].at(0);
    const testing::SteppedJob stepped = step(streams, target);
    EXPECT_EQ(mac_stage_cycles(command, target), stepped.array_cycles)
        << "round " << round << " on " << target.name << ": " << disassemble(command);
    EXPECT_EQ(mac_count(command), stepped.products) << disassemble(command);
  }
}

// The event simulation's cycles are within `percent` of the stepped card's.
void expect_close(const std::vector<StreamBuilder>& builders, double percent, bool host = false) {
  const std::vector<Stream> streams = decoded(builders);
  const npu_target& card = *find_target("card");
  TimingInput input;
  input.streams = streams;
  if (host)
    input.region_memory = [](unsigned region) {
      return region == kRegionCommands ? External::kCard : External::kHost;
    };
  const JobTiming simulated = simulate_job(input, card);
  const testing::SteppedJob stepped = step(streams, card, host);
  const auto expected = static_cast<double>(stepped.cycles);
  EXPECT_NEAR(static_cast<double>(simulated.cycles), expected, expected * percent / 100);
  EXPECT_EQ(simulated.card_bytes, stepped.card_bytes);
  EXPECT_EQ(simulated.pcie_bytes, stepped.pcie_bytes);
}

TEST(SteppedCard, TwoCoresShareTheChannel) {
  std::vector<StreamBuilder> builders(2);
  for (uint32_t core = 0; core < 2; ++core)
    for (uint32_t i = 0; i < 8; ++i) {
      builders[core].append(transfer(NPU_OP_LOAD, i * 40960, 32000, 40960ull * i + (core << 20)));
      npu_command_dma store = transfer(NPU_OP_STORE, i * 40960, 8000, 40960ull * i + (core << 20));
      store.region = 1;
      ASSERT_TRUE(add_wait(store.header, NPU_ENGINE_LOAD, i + 1, core));
      builders[core].append(store);
    }
  expect_close(builders, 1);
}

TEST(SteppedCard, HostMemoryBothWays) {
  StreamBuilder builder;
  for (uint32_t i = 0; i < 20; ++i) {
    builder.append(transfer(NPU_OP_LOAD, i * 40960, 20000, 40960ull * i));
    npu_command_dma store = transfer(NPU_OP_STORE, i * 40960, 20000, 40960ull * i);
    store.region = 1;
    ASSERT_TRUE(add_wait(store.header, NPU_ENGINE_LOAD, i + 1));
    builder.append(store);
  }
  expect_close({builder}, 2, true);
}

TEST(SteppedCard, SmallTransfers) {
  // One round trip for two of them, since the engine looks one ahead.
  StreamBuilder builder;
  for (uint32_t i = 0; i < 200; ++i) builder.append(transfer(NPU_OP_LOAD, 64 * i, 64, 64 * i));
  expect_close({builder}, 4);
}

TEST(SteppedCard, DispatchIsTheLimit) {
  StreamBuilder builder;
  for (uint32_t i = 0; i < 2000; ++i) {
    builder.append_nop();
    if (i % 8 == 0) builder.append(transfer(NPU_OP_FILL, 0, 64));
  }
  expect_close({builder}, 4);
}

TEST(SteppedCard, SramIsTheLimit) {
  // Two products and their output against three words of an addition and a
  // load: six words wanted, four given.
  StreamBuilder builder;
  for (uint32_t i = 0; i < 8; ++i) {
    npu_command_mac mac = convolution({16, 16, 64, 16, 16, 64, 3, 3, 1, 1});
    builder.append(mac);
    npu_command_vec add = elementwise(NPU_VEC_ADD, 64, 64, 64);
    add.a.address = 0x40000, add.b.address = 0x80000, add.out.address = 0xc0000;
    builder.append(add);
    builder.append(transfer(NPU_OP_LOAD, 0x100000, 0x20000, 0x20000ull * i));
  }
  expect_close({builder}, 2);
}

// Sums of four pieces, of two passes each, in the bank at `base`.
void append_split(StreamBuilder& builder, uint16_t base) {
  for (int piece = 0; piece < 4; ++piece) {
    npu_command_mac mac = convolution({8, 16, 64, 8, 16, 128, 1, 1, 1, 0});
    mac.accumulator_base = base;
    if (piece != 0) mac.accumulate |= NPU_ACCUMULATE_ADD;
    if (piece != 3) {
      mac.accumulate |= NPU_ACCUMULATE_KEEP;
      mac.types = NPU_TYPES(NPU_TYPE_INT8, NPU_TYPE_INT8, NPU_TYPE_NONE, 0);
      mac.output = {};
      mac.scale_f32 = 0, mac.clamp_low = mac.clamp_high = 0;
    }
    builder.append(mac);
  }
}

TEST(SteppedCard, AccumulatorBanks) {
  StreamBuilder same, alternating;
  for (uint16_t i = 0; i < 10; ++i) {
    append_split(same, 0);
    append_split(alternating, i % 2 == 0 ? 0 : 512);
  }
  expect_close({same}, 1);
  expect_close({alternating}, 1);
  const auto cycles = [](const StreamBuilder& builder) {
    const std::vector<Stream> streams = decoded({builder});
    TimingInput input;
    input.streams = streams;
    return simulate_job(input, *find_target("card")).cycles;
  };
  // The same bank must drain its 256 rows before it fills again.
  EXPECT_GT(cycles(same), cycles(alternating) + 9 * 100);
}

TEST(SteppedCard, WideOutputsHoldBackTheArray) {
  npu_command_mac mac = matmul(1024, 64, 64);
  mac.types = NPU_TYPES(NPU_TYPE_INT8, NPU_TYPE_INT8, NPU_TYPE_INT32, 0);
  mac.scale_f32 = 0, mac.clamp_low = mac.clamp_high = 0;
  mac.output = dense(mac.output.address, 1024, 256);
  StreamBuilder builder;
  builder.append(mac);
  builder.append(mac);
  expect_close({builder}, 2);
}

TEST(SteppedCard, WaitsBetweenCores) {
  // Core 1 follows core 0, which follows what core 1 did before.
  std::vector<StreamBuilder> builders(2);
  for (uint32_t i = 0; i < 50; ++i) {
    npu_command_dma fill = transfer(NPU_OP_FILL, 0, 6400);
    ASSERT_TRUE(add_wait(fill.header, NPU_ENGINE_LOAD, i, 1));
    builders[0].append(fill);
    fill = transfer(NPU_OP_FILL, 0, 6400);
    ASSERT_TRUE(add_wait(fill.header, NPU_ENGINE_LOAD, i + 1, 0));
    builders[1].append(fill);
  }
  expect_close(builders, 2);
}

}  // namespace
}  // namespace npu::arch
