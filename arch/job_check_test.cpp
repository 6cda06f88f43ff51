// SPDX-License-Identifier: MIT
#include "arch/job_check.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "arch/test_commands.h"

namespace npu::arch {
namespace {

using namespace test;

const npu_target& card() {
  return *find_target("card");
}

// The four functions one after the other.
void check_at_once(const std::vector<StreamBuilder>& builders, JobCheck& out) {
  out.streams.resize(builders.size());
  for (unsigned i = 0; i < builders.size(); ++i)
    if (!decode_stream(builders[i].bytes(), card(), i, static_cast<unsigned>(builders.size()),
                       out.streams[i], out.error))
      return;
  if (!check_deadlock(out.streams, out.error) || !check_hazards(out.streams, card(), out.error))
    return;
  TimingInput input;
  input.streams = out.streams;
  out.timing = simulate_job(input, card(), &out.trace);
}

std::vector<StreamBuilder> random_gang(std::mt19937& random) {
  std::vector<StreamBuilder> builders(1 + random() % 3);
  for (unsigned left = 1 + random() % 200; left != 0; --left) {
    StreamBuilder& builder = builders[random() % builders.size()];
    const auto wait_for_all = [&](npu_command_header& header) {
      const unsigned core = static_cast<unsigned>(&builder - builders.data());
      for (const npu_engine engine : {NPU_ENGINE_LOAD, NPU_ENGINE_STORE, NPU_ENGINE_MAC})
        if (random() % 100 != 0) add_wait(header, engine, builder.count(engine), core);
      // Now and then on something of another core that never comes.
      if (random() % 300 == 0) add_wait(header, NPU_ENGINE_VEC, 1, (core + 1) % builders.size());
    };
    if (random() % 3 == 0) {
      npu_command_mac mac = convolution({8, 8, 16, 8, 8, 16, 3, 3, 1, 1});
      wait_for_all(mac.header);
      if (random() % 500 == 0) mac.out_c = 0;
      builder.append(mac);
    } else {
      npu_command_dma dma =
          transfer(random() % 2 ? NPU_OP_LOAD : NPU_OP_STORE, random() % 4096, 1 + random() % 4096);
      wait_for_all(dma.header);
      builder.append(dma);
    }
  }
  return builders;
}

TEST(JobCheck, SlicesDoNotMatter) {
  std::mt19937 random(7);
  int outcomes[NPU_STATUS_COUNT] = {}, pauses = 0;
  for (int round = 0; round < 400; ++round) {
    const std::vector<StreamBuilder> builders = random_gang(random);
    std::vector<std::span<const std::byte>> bytes;
    for (const StreamBuilder& builder : builders) bytes.emplace_back(builder.bytes());

    JobCheck expected({}, card());
    check_at_once(builders, expected);
    JobCheck sliced(bytes, card());
    sliced.request_timing({});
    while (!sliced.run(1 + random() % 3000)) ++pauses;
    EXPECT_TRUE(sliced.run(1));  // still done

    ++outcomes[expected.error.status];
    EXPECT_EQ(sliced.error.status, expected.error.status) << expected.error.text;
    EXPECT_EQ(sliced.error.text, expected.error.text);
    EXPECT_EQ(sliced.error.command, expected.error.command);
    if (expected.error.status != NPU_STATUS_OK) continue;
    EXPECT_EQ(sliced.timing.cycles, expected.timing.cycles);
    EXPECT_EQ(sliced.timing.energy_pj, expected.timing.energy_pj);
    EXPECT_EQ(sliced.timing.sram_peak_bytes, expected.timing.sram_peak_bytes);
    ASSERT_EQ(sliced.trace.size(), expected.trace.size());
    EXPECT_EQ(std::memcmp(sliced.trace.data(), expected.trace.data(),
                          expected.trace.size() * sizeof(npu_profile_command)),
              0);
  }
  EXPECT_GT(pauses, 1000);
  EXPECT_GT(outcomes[NPU_STATUS_OK], 20);
  EXPECT_GT(outcomes[NPU_STATUS_BAD_COMMAND], 5);
  EXPECT_GT(outcomes[NPU_STATUS_DEADLOCK], 5);
  EXPECT_GT(outcomes[NPU_STATUS_HAZARD], 20);
}

TEST(JobCheck, WithoutTimingNothingIsSimulated) {
  StreamBuilder builder;
  builder.append(transfer(NPU_OP_LOAD, 0, 64));
  JobCheck check({builder.bytes()}, card());
  EXPECT_TRUE(check.run(~uint64_t{0}));
  EXPECT_EQ(check.error.status, NPU_STATUS_OK);
  EXPECT_EQ(check.timing.cycles, 0u);
  EXPECT_TRUE(check.trace.empty());
}

// What is done at the same time lies interleaved: columns of the same rows tell
// that it is no hazard, but of rows of different length only granules do.
TEST(JobCheck, SaysWhetherItHadToCompareGranules) {
  const auto by_granule = [](uint32_t other, uint32_t stride) {
    StreamBuilder builder;
    npu_command_dma fill = transfer(NPU_OP_FILL, 0, 16);
    fill.size[1] = 8, fill.sram_stride[1] = 64;
    builder.append(fill);
    npu_command_vec lut = elementwise(NPU_VEC_LUT, 1, 8, 16);
    lut.a.address = 65536, lut.table = 131072;
    lut.out.address = other, lut.out.pixel_stride = stride;
    builder.append(lut);
    JobCheck check({builder.bytes()}, card());
    EXPECT_TRUE(check.run(~uint64_t{0}));
    EXPECT_EQ(check.error.status, NPU_STATUS_OK) << check.error.text;
    return check.by_granule;
  };
  EXPECT_TRUE(by_granule(16, 96));
  EXPECT_FALSE(by_granule(16, 64));
  EXPECT_FALSE(by_granule(1024, 96));
}

}  // namespace
}  // namespace npu::arch
