// SPDX-License-Identifier: MIT
//
// Jobs: exact results, modelled time, and each status that a stream can earn.
#include <algorithm>
#include <cstring>

#include "arch/numerics.h"
#include "suite.h"

namespace npu::card {
namespace {

class CardJob : public CardTest {};
NPU_CARD_SUITE(CardJob);

TEST_P(CardJob, CopiesThroughSram) {
  for (const npu_memory memory : {NPU_MEMORY_CARD, NPU_MEMORY_HOST}) {
    open();
    start(memory);
    fill_data(3);
    effects();
    const npu_completion c = run(copy_stream(kHalf), NPU_PACKET_IRQ);
    ASSERT_EQ(c.status, uint32_t{NPU_STATUS_OK});
    EXPECT_EQ(c.command, NPU_NO_COMMAND);
    EXPECT_EQ(c.flags, NPU_COMPLETION_CYCLES_VALID);
    EXPECT_GT(c.cycles_solo, 0u);
    EXPECT_EQ(c.cycles_observed, c.cycles_solo);
    EXPECT_GE(memory == NPU_MEMORY_CARD ? c.card_bytes : c.pcie_bytes, 2 * kHalf);
    EXPECT_LT(memory == NPU_MEMORY_CARD ? c.pcie_bytes : c.card_bytes, kHalf);
    EXPECT_GT(c.energy_pj, 0u);
    EXPECT_EQ(card().read64(NPU_REG_CYCLES), c.cycles_solo);
    expect_effects({.doorbells = 1,
                    .packets = 1,
                    .jobs = 1,
                    .interrupts = 1,
                    .messages = {{card().context(kQueue).vector, 1}}});
    std::vector<uint8_t> data(kDataBytes);
    space().read(0, data.data(), data.size());
    EXPECT_EQ(std::memcmp(data.data(), data.data() + kHalf, kHalf), 0);
  }
}

// Bytes of a 3x3 convolution with padding, summed as its definition says.
std::vector<int8_t> convolution_of(const arch::test::ConvShape& s, float scale, int zero,
                                   const std::vector<int8_t>& x, const std::vector<int8_t>& w) {
  std::vector<int8_t> y;
  for (int oy = 0; oy < s.out_h; ++oy)
    for (int ox = 0; ox < s.out_w; ++ox)
      for (int oc = 0; oc < s.out_c; ++oc) {
        int32_t sum = 0;
        for (int ky = 0; ky < s.kernel_h; ++ky)
          for (int kx = 0; kx < s.kernel_w; ++kx) {
            const int iy = oy * s.stride + ky - s.pad, ix = ox * s.stride + kx - s.pad;
            if (iy < 0 || iy >= s.in_h || ix < 0 || ix >= s.in_w) continue;
            for (int c = 0; c < s.in_c; ++c)
              sum += x[(iy * s.in_w + ix) * s.in_c + c] *
                     w[((oc * s.kernel_h + ky) * s.kernel_w + kx) * s.in_c + c];
          }
        y.push_back(static_cast<int8_t>(arch::requantize(sum, scale, zero, -128, 127)));
      }
  return y;
}

TEST_P(CardJob, ConvolvesExactly) {
  start();
  const arch::test::ConvShape shape = {.in_h = 9,
                                       .in_w = 7,
                                       .in_c = 24,
                                       .out_h = 9,
                                       .out_w = 7,
                                       .out_c = 40,
                                       .kernel_h = 3,
                                       .kernel_w = 3,
                                       .stride = 1,
                                       .pad = 1};
  npu_command_mac mac = arch::test::convolution(shape);
  mac.scale_f32 = arch::f32_bits(0.0037f);
  mac.output_zero = 5;
  std::vector<int8_t> x(9 * 7 * 24), w(40 * 9 * 24);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<int8_t>(i * 37 + i / 17);
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<int8_t>(i * 11 - i / 13);
  const auto bytes = [](const auto& v) { return static_cast<uint32_t>(v.size()); };
  space().write(0, x.data(), x.size());
  space().write(16384, w.data(), w.size());
  const uint32_t out_bytes = 9 * 7 * 40;
  StreamBuilder stream;
  stream.append(packets::contiguous(NPU_OP_LOAD, 0, 0, bytes(x)));
  arch::add_wait(mac.header, NPU_ENGINE_LOAD,
                 stream.append(packets::contiguous(NPU_OP_LOAD, 16384, mac.weights, bytes(w))));
  npu_command_dma out = packets::contiguous(NPU_OP_STORE, kHalf, mac.output.address, out_bytes);
  arch::add_wait(out.header, NPU_ENGINE_MAC, stream.append(mac));
  stream.append(out);
  const npu_completion c = run(stream);
  ASSERT_EQ(c.status, uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(c.macs, uint64_t{9 * 7 * 40} * 9 * 24);
  std::vector<int8_t> y(out_bytes);
  space().read(kHalf, y.data(), y.size());
  EXPECT_EQ(y, convolution_of(shape, 0.0037f, 5, x, w));
}

TEST_P(CardJob, NothingSurvivesInSram) {
  start();
  fill_data(0xab);
  ASSERT_EQ(run(copy_stream(kHalf)).status, uint32_t{NPU_STATUS_OK});
  StreamBuilder stream;
  stream.append(packets::contiguous(NPU_OP_STORE, kHalf, 0, kHalf));
  ASSERT_EQ(run(stream).status, uint32_t{NPU_STATUS_OK});
  std::vector<uint8_t> data(kHalf);
  space().read(kHalf, data.data(), data.size());
  EXPECT_EQ(std::count(data.begin(), data.end(), 0), std::ptrdiff_t{kHalf});
}

// Everything modelled is a function of the job, whichever way the card is reached.
TEST_P(CardJob, CostsTheSameEverywhere) {
  start();
  const npu_completion here = run(copy_stream(20000));
  const npu_completion again = run(copy_stream(20000));
  const std::unique_ptr<CardPort> other = open_in_process(false);
  CardDriver driver(*other, model::testing::read_target(*other));
  driver.program();
  JobSpace there(driver, kAsid, NPU_MEMORY_CARD, {512 << 10, kDataBytes});
  driver.start(kQueue, kAsid);
  const npu_completion reference = driver.submit(kQueue, there.packet(copy_stream(20000).bytes()));
  const auto modelled = [](npu_completion c) {
    c.sequence = c.start_ns = c.end_ns = 0;
    return std::string(reinterpret_cast<const char*>(&c), sizeof(c));
  };
  EXPECT_GT(reference.cycles_solo, 0u);
  EXPECT_EQ(here.cycles_solo, reference.cycles_solo);
  EXPECT_EQ(modelled(here), modelled(reference));
  EXPECT_EQ(modelled(again), modelled(reference));
}

TEST_P(CardJob, TwoCoresExchangeThroughMemory) {
  start();
  fill_data(0x21);
  const auto load = [](uint64_t from, uint32_t to) {
    return packets::contiguous(NPU_OP_LOAD, from, to, 4096);
  };
  const auto store = [](uint64_t to, uint32_t from, uint32_t loads) {
    npu_command_dma dma = packets::contiguous(NPU_OP_STORE, to, from, 4096);
    arch::add_wait(dma.header, NPU_ENGINE_LOAD, loads);
    return dma;
  };
  // Core 1 waits for core 0's first STORE, core 0 for core 1's.
  StreamBuilder zero, one;
  zero.append(load(0, 0));
  zero.append(store(16384, 0, 1));
  npu_command_dma back = load(32768, 8192);
  arch::add_wait(back.header, NPU_ENGINE_STORE, 1, 1);
  zero.append(back);
  zero.append(store(kHalf, 8192, 2));
  npu_command_dma in = load(16384, 0);
  arch::add_wait(in.header, NPU_ENGINE_STORE, 1, 0);
  one.append(in);
  npu_command_dma out = packets::contiguous(NPU_OP_STORE, 32768, 0, 4096);
  arch::add_wait(out.header, NPU_ENGINE_LOAD, 1, 1);
  one.append(out);
  ASSERT_EQ(submit(space().packet(std::vector{zero.bytes(), one.bytes()})).status,
            uint32_t{NPU_STATUS_OK});
  uint8_t a[4096], b[4096];
  space().read(0, a, sizeof(a));
  space().read(kHalf, b, sizeof(b));
  EXPECT_EQ(std::memcmp(a, b, sizeof(a)), 0);
}

TEST_P(CardJob, BadPacketsAreRefused) {
  start();
  const npu_packet_job good = space().packet(copy_stream().bytes());
  using P = npu_packet_job;
  const std::pair<const char*, void (*)(P&)> kSpoilers[] = {
      {"no stream", [](P& p) { p.stream_count = 0; }},
      {"more streams than cores", [](P& p) { p.stream_count = 3; }},
      {"regions", [](P& p) { p.region_count = NPU_MAX_REGIONS + 1; }},
      {"no such core", [](P& p) { p.core_mask = 4; }},
      {"unaligned streams", [](P& p) { p.stream_va += 64; }},
      {"unaligned regions", [](P& p) { p.region_va += 4; }},
      {"profile without flag", [](P& p) { p.profile_va = 128; }},
      {"commands without profile", [](P& p) { p.flags = NPU_PACKET_PROFILE_COMMANDS; }},
      {"length", [](P& p) { p.stream_bytes[0] += 4; }},
      {"too long", [](P& p) { p.stream_bytes[0] = (16u << 20) + 128; }},
      {"length of no stream", [](P& p) { p.stream_bytes[1] = 128; }},
  };
  EXPECT_EQ(submit(good).status, uint32_t{NPU_STATUS_OK});
  for (const auto& [what, spoil] : kSpoilers) {
    P p = good;
    spoil(p);
    const npu_completion c = submit(p);
    EXPECT_EQ(c.status, uint32_t{NPU_STATUS_BAD_COMMAND}) << what;
    EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_PACKET}) << what;
  }
}

struct BadStream {
  const char* what;
  StreamBuilder (*make)();
  uint32_t status;
  uint32_t command;
  uint8_t engine;
};

TEST_P(CardJob, BadStreamsAreBlamedOnTheirCommand) {
  start();
  fill_data(1);
  const BadStream kTable[] = {
      {"reserved field",
       [] {
         StreamBuilder s = copy_stream();
         npu_command_dma bad = packets::contiguous(NPU_OP_LOAD, 0, 65536, 64);
         bad.header.source_op = 77;
         bad.reserved2[1] = 1;
         s.append(bad);
         return s;
       },
       NPU_STATUS_BAD_COMMAND, 2, NPU_ENGINE_LOAD},
      {"region that is not there",
       [] {
         StreamBuilder s;
         npu_command_dma bad = packets::contiguous(NPU_OP_LOAD, 0, 0, 64);
         bad.region = 1;
         s.append(bad);
         return s;
       },
       NPU_STATUS_BAD_COMMAND, 0, NPU_ENGINE_LOAD},
      {"beyond SRAM",
       [] {
         StreamBuilder s;
         s.append(packets::contiguous(NPU_OP_LOAD, 0, (2 << 20) - 64, 128));
         return s;
       },
       NPU_STATUS_SRAM_RANGE, 0, NPU_ENGINE_LOAD},
      {"a STORE that does not wait",
       [] {
         StreamBuilder s;
         s.append(packets::contiguous(NPU_OP_LOAD, 0, 0, 4096));
         s.append(packets::contiguous(NPU_OP_STORE, kHalf, 0, 4096));
         return s;
       },
       NPU_STATUS_HAZARD, 1, NPU_ENGINE_STORE},
      {"a wait for what comes later",
       [] {
         StreamBuilder s;
         npu_command_dma store = packets::contiguous(NPU_OP_STORE, kHalf, 0, 64);
         store.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1);
         s.append(store);
         s.append(packets::contiguous(NPU_OP_LOAD, 0, 4096, 64));
         return s;
       },
       NPU_STATUS_DEADLOCK, 0, NPU_ENGINE_STORE},
  };
  for (const BadStream& bad : kTable) {
    effects();
    const npu_completion c = run(bad.make());
    EXPECT_EQ(c.status, bad.status) << bad.what;
    EXPECT_EQ(c.command, bad.command) << bad.what;
    EXPECT_EQ(c.engine, bad.engine) << bad.what;
    EXPECT_EQ(effects().events, std::vector<uint32_t>{NPU_EVENT_JOB_FAULT}) << bad.what;
    uint8_t stored = 1;
    space().read(kHalf, &stored, 1);
    EXPECT_EQ(stored, 0) << bad.what << ": nothing ran";
  }
  EXPECT_EQ(run(copy_stream()).status, uint32_t{NPU_STATUS_OK});
}

TEST_P(CardJob, CycleLimit) {
  start();
  const uint64_t cycles = run(copy_stream()).cycles_solo;
  for (const uint64_t limit : {cycles, cycles - 1}) {
    npu_queue_context context = card().make_context(2, kAsid);
    context.cycle_limit = limit;
    card().start(2, context);
    const npu_completion c = card().submit(2, space().packet(copy_stream().bytes()));
    EXPECT_EQ(c.status, uint32_t{limit == cycles ? NPU_STATUS_OK : NPU_STATUS_BUDGET});
    stop_queue(2);
    port().settle();
  }
}

TEST_P(CardJob, ProfileIsWrittenBeforeTheCompletion) {
  start();
  constexpr uint64_t kVa = 0x30000000;
  const uint64_t at = card().map_new(kAsid, kVa, 4096);
  npu_packet_job p =
      space().packet(copy_stream().bytes(), NPU_PACKET_PROFILE | NPU_PACKET_PROFILE_COMMANDS);
  p.profile_va = kVa;
  const npu_completion c = submit(p);
  ASSERT_EQ(c.status, uint32_t{NPU_STATUS_OK});
  const auto profile = card().load<npu_profile>(at);
  EXPECT_EQ(profile.completion.sequence, c.sequence);
  EXPECT_EQ(profile.completion.cycles_solo, c.cycles_solo);
  EXPECT_EQ(profile.commands, 2u);
  EXPECT_EQ(profile.sram_peak_bytes, 4096u);
  const auto second =
      card().load<npu_profile_command>(at + sizeof(npu_profile) + sizeof(npu_profile_command));
  EXPECT_EQ(second.command, 1u);
  EXPECT_EQ(second.opcode, uint8_t{NPU_OP_STORE});
  EXPECT_GT(second.start_cycle + second.execute_cycles, c.cycles_solo / 2);
  EXPECT_LE(second.start_cycle + second.execute_cycles, c.cycles_solo);
}

}  // namespace
}  // namespace npu::card
