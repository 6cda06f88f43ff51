// SPDX-License-Identifier: MIT
//
// save and load, and input that nobody would write on purpose.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "arch/job_check.h"
#include "arch/stream.h"
#include "arch/test_commands.h"
#include "compute/kernels.h"
#include "shared.h"
#include "testing/harness.h"

namespace npu::model::testing {
namespace {

using arch::StreamBuilder;
constexpr uint32_t kQueue = JobBench::kQueue;

std::vector<uint8_t> save(npu_model* model) {
  std::vector<uint8_t> state(npu_model_save(model, nullptr, 0));
  EXPECT_EQ(npu_model_save(model, state.data(), state.size()), state.size());
  return state;
}

// LOADs operands, multiplies with sums kept over three commands, adds, stores.
StreamBuilder work_stream() {
  StreamBuilder s;
  s.append(contiguous(NPU_OP_LOAD, 0, 0, 600 * 1024));
  npu_command_mac mac = arch::test::matmul(300, 700, 60);
  mac.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1);
  mac.types = NPU_TYPES(NPU_TYPE_INT8, NPU_TYPE_INT8, 0, 0);
  npu_command_mac keep = mac;
  keep.accumulate = NPU_ACCUMULATE_KEEP;
  keep.output = {};
  keep.scale_f32 = 0;
  keep.clamp_low = keep.clamp_high = 0;
  s.append(keep);
  keep.accumulate |= NPU_ACCUMULATE_ADD;
  s.append(keep);
  mac.accumulate = NPU_ACCUMULATE_ADD;
  mac.types = NPU_TYPES(NPU_TYPE_INT8, NPU_TYPE_INT8, NPU_TYPE_INT8, 0);
  mac.output.address = 700 * 1024;
  mac.scale_f32 = arch::f32_bits(0.0001f);
  const uint32_t macs = s.append(mac);
  npu_command_vec lut = arch::test::elementwise(NPU_VEC_LUT, 1, 300, 60);
  lut.header.wait[0] = arch::encode_wait(NPU_ENGINE_MAC, macs);
  lut.a.address = 700 * 1024;
  lut.out = lut.a;
  lut.out.address = 800 * 1024;
  lut.table = 0;
  s.append(lut);
  npu_command_dma store = contiguous(NPU_OP_STORE, 1 << 20, 800 * 1024, 18000);
  store.header.wait[0] = arch::encode_wait(NPU_ENGINE_VEC, 1);
  s.append(store);
  return s;
}

void fill(JobBench& bench) {
  std::mt19937 random(3);
  for (uint32_t i = 0; i < 600 * 1024; ++i) bench.data()[i] = static_cast<uint8_t>(random());
}

TEST(State, RoundTripOfAnIdleCard) {
  JobBench bench;
  bench.h().write(NPU_REG_INJECT_SKIP, 3);
  npu_model_inject(bench.h().model(), NPU_INJECT_ECC, kQueue, 1, 2, 9);
  const auto state = save(bench.h().model());
  ASSERT_GT(state.size(), 0u);
  EXPECT_EQ(npu_model_save(bench.h().model(), const_cast<uint8_t*>(state.data()), 10), 0u);
  npu_model_reset(bench.h().model(), NPU_MODEL_RESET_FLR);
  ASSERT_TRUE(npu_model_load(bench.h().model(), state.data(), state.size()));
  EXPECT_EQ(save(bench.h().model()), state);
  EXPECT_EQ(bench.h().read(NPU_REG_INJECT_ARMED), 2u);
  EXPECT_EQ(bench.h().read(NPU_REG_INJECT_SKIP), 3u);
}

TEST(State, OfACardThatHasRunForAYear) {
  JobBench bench;
  bench.h().clock_ns += 365ull * 24 * 3600 * 1'000'000'000;
  const uint64_t energy = bench.h().read64(NPU_REG_ENERGY_NJ);
  EXPECT_GT(energy, 1'000'000'000'000'000u);
  const auto state = save(bench.h().model());
  ASSERT_TRUE(npu_model_load(bench.h().model(), state.data(), state.size()));
  EXPECT_EQ(bench.h().read64(NPU_REG_ENERGY_NJ), energy);
}

// Saves after every third number of polls and goes on elsewhere. `output` bytes
// at 1 MiB are the result.
void continues_elsewhere(const std::vector<std::vector<std::byte>>& streams, size_t output_bytes) {
  JobBench reference;
  fill(reference);
  const npu_completion expected = reference.h().submit(kQueue, reference.packet(streams));
  ASSERT_EQ(expected.status, 0u) << reference.h().log;
  const std::vector<uint8_t> output(reference.data() + (1 << 20),
                                    reference.data() + (1 << 20) + output_bytes);
  ASSERT_TRUE(std::any_of(output.begin(), output.end(), [](uint8_t b) { return b != 0; }));

  const Isa best = current_isa();
  for (int polls = 1; polls < 40; polls += 3) {
    force_isa_for_test(Isa::kScalar);
    JobBench bench;
    Harness& h = bench.h();
    fill(bench);
    h.put(kQueue, bench.packet(streams, NPU_PACKET_IRQ));
    h.ring(kQueue);
    // Stop in the midst of whatever is under way after so many polls; budgets
    // of one command make the early ones fall between commands.
    int seen = 0;
    h.cancelled = [&] { return ++seen > polls; };
    while (h.run(1) == NPU_MODEL_MORE && seen <= polls) {
    }
    h.cancelled = nullptr;
    const auto state = save(h.model());

    force_isa_for_test(best);
    JobBench other;  // the same machine elsewhere, with another processor
    std::memcpy(other.h().host(0), h.host(0), h.host_bytes());
    std::memcpy(other.h().card(0), h.card(0), uint64_t{h.target().card_memory_mib} << 20);
    ASSERT_TRUE(npu_model_load(other.h().model(), state.data(), state.size())) << polls;
    EXPECT_EQ(save(other.h().model()).size(), state.size());
    other.h().run();
    npu_completion c;
    std::memcpy(&c, other.h().host(h.context(kQueue).completions), sizeof(c));
    ASSERT_EQ(c.sequence, 1u) << polls;
    EXPECT_EQ(c.status, expected.status);
    EXPECT_EQ(c.cycles_solo, expected.cycles_solo);
    ASSERT_EQ(std::memcmp(other.data() + (1 << 20), output.data(), output.size()), 0) << polls;
  }
}

TEST(State, JobContinuesAfterEveryNumberOfSteps) {
  continues_elsewhere({work_stream().bytes()}, 18000);
}

// Every VEC function that looks at more than one pixel or has a table.
StreamBuilder vec_stream() {
  StreamBuilder s;
  s.append(contiguous(NPU_OP_LOAD, 0, 0, 600 * 1024));
  uint32_t at = 700 * 1024;
  const auto append = [&](npu_command_vec vec, uint32_t bytes) {
    vec.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1);
    vec.table = vec.table != 0 ? 500 * 1024 : 0;
    vec.out.address = at;
    at += (bytes + 15) / 16 * 16;
    s.append(vec);
  };
  using arch::test::row_function;
  append(row_function(NPU_VEC_SOFTMAX, 20, 30, 600), 360000);
  append(row_function(NPU_VEC_LAYER_NORM, 20, 30, 400), 240000);
  append(row_function(NPU_VEC_REDUCE, 200, 30, 60), 60);
  npu_command_vec resize = row_function(NPU_VEC_RESIZE, 30, 40, 100);
  resize.flags = NPU_VEC_RESIZE_LINEAR | NPU_VEC_RESIZE_TRUNCATE;
  append(resize, 120000);
  npu_command_dma store = contiguous(NPU_OP_STORE, 1 << 20, 700 * 1024, at - 700 * 1024);
  store.header.wait[0] = arch::encode_wait(NPU_ENGINE_VEC, s.count(NPU_ENGINE_VEC));
  s.append(store);
  return s;
}

TEST(State, VecCommandsContinueInTheirMidst) {
  continues_elsewhere({vec_stream().bytes()}, 720064);
}

// Core 0 loads for both, multiplies in batches and stores; core 1 fetches what
// core 0 loaded and made from its SRAM, transposed, and stores all of it.
std::vector<std::vector<std::byte>> gang_streams() {
  StreamBuilder zero, one;
  npu_command_dma in = contiguous(NPU_OP_LOAD, 0, 0, 600 * 1024);
  in.multicast = 2;
  zero.append(in);
  npu_command_mac mac = arch::test::matmul(150, 500, 64);
  mac.scale_f32 = arch::f32_bits(0.001f);
  mac.output.address = 700 * 1024;
  mac.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1);
  npu_mac_extension batch = {};
  batch.batch_count = 5;
  batch.batch_input = 150 * 500;
  batch.batch_weights = 0;
  batch.batch_output = 150 * 64;
  zero.append(mac, batch);
  npu_command_dma out = contiguous(NPU_OP_STORE, 1 << 20, 700 * 1024, 48000);
  out.header.wait[0] = arch::encode_wait(NPU_ENGINE_MAC, 1);
  zero.append(out);

  // Transposes `rows` of 64 bytes.
  const auto fetch = [&](uint32_t from, uint32_t to, uint32_t rows, npu_engine engine) {
    npu_command_dma peer = {};
    peer.header.opcode = NPU_OP_PEER_LOAD;
    peer.header.wait[0] = arch::encode_wait(engine, 1, 0);
    peer.source_address = from;
    peer.sram_address = to;
    for (uint32_t& size : peer.size) size = 1;
    peer.size[0] = 64, peer.size[1] = rows;
    peer.external_stride[0] = 1, peer.external_stride[1] = 64;
    peer.sram_stride[0] = rows, peer.sram_stride[1] = 1;
    one.append(peer);
  };
  fetch(0, 1024 * 1024, 3000, NPU_ENGINE_LOAD);  // what core 0 loaded
  fetch(700 * 1024, 800 * 1024, 750, NPU_ENGINE_MAC);
  out = contiguous(NPU_OP_STORE, (1 << 20) + 48000, 800 * 1024, 48000);
  out.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 2, 1);
  one.append(out);
  one.append(contiguous(NPU_OP_STORE, (1 << 20) + 96000, 1024 * 1024, 192000));
  out = contiguous(NPU_OP_STORE, (1 << 20) + 288000, 0, 600 * 1024);  // multicast
  out.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1, 0);
  one.append(out);
  return {zero.bytes(), one.bytes()};
}

TEST(State, GangContinuesInTheMidstOfBatchesAndExchange) {
  continues_elsewhere(gang_streams(), 288000 + 600 * 1024);
}

// A valid stream whose check alone takes a second: 150 additions that read every
// fourth granule of the SRAM and write every sixth, between them.
std::vector<std::byte> slow_to_check() {
  StreamBuilder s;
  npu_command_vec add = arch::test::elementwise(NPU_VEC_ADD, 160, 128, 1);
  add.a = {
      .address = 0, .row_stride = 128 * 64, .pixel_stride = 64, .ring_rows = 0, .ring_first = 0};
  add.b = add.out = {
      .address = 16, .row_stride = 128 * 96, .pixel_stride = 96, .ring_rows = 0, .ring_first = 0};
  for (int i = 0; i < 150; ++i) s.append(add);
  return s.bytes();
}

TEST(State, CheckingAStreamCanBeInterrupted) {
  JobBench bench;
  Harness& h = bench.h();
  const std::vector<std::byte> stream = slow_to_check();
  arch::JobCheck check({stream}, h.target());
  while (!check.by_granule && !check.run(1'000'000)) {
  }
  ASSERT_TRUE(check.by_granule) << "what is slow has become quick";
  h.put(kQueue, bench.packet(stream));
  h.ring(kQueue);
  int polls = 0;
  h.cancelled = [&] { return ++polls > 3; };
  EXPECT_EQ(h.run(), NPU_MODEL_MORE);
  h.cancelled = nullptr;
  EXPECT_LE(polls, 8);
  const uint32_t heartbeat = h.read(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_HEARTBEAT);
  EXPECT_GT(heartbeat, 0u);
  EXPECT_FALSE(h.completed(kQueue, 0));

  // The same machine elsewhere checks from the beginning, and comes to an end.
  const auto state = save(h.model());
  JobBench other;
  std::memcpy(other.h().host(0), h.host(0), h.host_bytes());
  std::memcpy(other.h().card(0), h.card(0), uint64_t{h.target().card_memory_mib} << 20);
  ASSERT_TRUE(npu_model_load(other.h().model(), state.data(), state.size()));
  other.h().run();
  npu_completion c;
  std::memcpy(&c, other.h().host(h.context(kQueue).completions), sizeof(c));
  EXPECT_EQ(c.sequence, 1u);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_OK});

  h.write(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_ABORT_JOB);
  h.run();
  ASSERT_TRUE(h.completed(kQueue, 0));
  EXPECT_EQ(h.completion(kQueue, 0).status, uint32_t{NPU_STATUS_ABORTED});
}

TEST(State, HungJobStaysHung) {
  JobBench bench;
  Harness& h = bench.h();
  npu_model_inject(h.model(), NPU_INJECT_HANG, kQueue, 0, 1, 2);
  h.put(kQueue, bench.packet(work_stream().bytes()));
  h.ring(kQueue);
  h.run();
  const auto state = save(h.model());
  ASSERT_TRUE(npu_model_load(h.model(), state.data(), state.size()));
  h.run();
  EXPECT_FALSE(h.completed(kQueue, 0));
  EXPECT_TRUE(h.read(NPU_REG_STATUS) & NPU_DEVICE_HUNG);
  h.write(NPU_REG_RESET, NPU_RESET_KIND_CORE);
  h.run();
  EXPECT_EQ(h.completion(kQueue, 0).status, uint32_t{NPU_STATUS_HANG});
  EXPECT_EQ(h.completion(kQueue, 0).command, 2u);
}

TEST(State, RequestsSurvive) {
  JobBench bench;
  Harness& h = bench.h();
  npu_packet nop = {};
  h.put(kQueue, nop);
  h.ring(kQueue);  // not run
  h.start(kQueue + 1, 1);
  const auto state = save(h.model());
  npu_model_reset(h.model(), NPU_MODEL_RESET_FLR);
  ASSERT_TRUE(npu_model_load(h.model(), state.data(), state.size()));
  EXPECT_EQ(h.queue_reg(kQueue + 1, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_IDLE});
  h.run();
  EXPECT_TRUE(h.completed(kQueue, 0));
}

// The lists of what is asked for index arrays.
TEST(State, RefusesRequestsOfQueuesThatDoNotExist) {
  JobBench bench;
  bench.h().ring(kQueue);
  auto state = save(bench.h().model());
  // In order: magic, target, mode, settings, count of queues with a request, those queues.
  const size_t at = sizeof(uint64_t) + sizeof(npu_target) + sizeof(uint32_t) + sizeof(Settings) +
                    sizeof(uint64_t);
  uint32_t queue;
  std::memcpy(&queue, &state[at], sizeof(queue));
  ASSERT_EQ(queue, kQueue);
  queue = 0x10000000;
  std::memcpy(&state[at], &queue, sizeof(queue));
  EXPECT_FALSE(npu_model_load(bench.h().model(), state.data(), state.size()));
  bench.h().run();
  EXPECT_EQ(bench.h().read(NPU_REG_CONTROL), 0u);
}

// A gang whose second core is the first again: it must not keep the one that it
// was given before that shows.
TEST(State, WhatIsRefusedLeavesNoCoreTaken) {
  JobBench bench;
  Harness& h = bench.h();
  const npu_packet_job packet = bench.packet(gang_streams());
  h.put(kQueue, packet);
  h.ring(kQueue);
  h.run(2);
  const auto state = save(h.model());
  std::vector<uint8_t> saved(sizeof(packet) + sizeof(uint64_t) + 2 * sizeof(uint32_t));
  const uint64_t count = 2;
  const uint32_t cores[] = {0, 1};
  std::memcpy(saved.data(), &packet, sizeof(packet));
  std::memcpy(&saved[sizeof(packet)], &count, sizeof(count));
  std::memcpy(&saved[sizeof(packet) + sizeof(count)], cores, sizeof(cores));
  auto wrong = state;
  const auto at = std::search(wrong.begin(), wrong.end(), saved.begin(), saved.end());
  ASSERT_NE(at, wrong.end());
  at[static_cast<std::ptrdiff_t>(saved.size() - sizeof(uint32_t))] = 0;
  EXPECT_FALSE(npu_model_load(h.model(), wrong.data(), wrong.size()));
  EXPECT_TRUE(npu_model_load(h.model(), state.data(), state.size()));
}

TEST(State, RefusesForeignAndDamagedState) {
  JobBench bench;
  Harness& h = bench.h();
  h.put(kQueue, bench.packet(work_stream().bytes()));
  h.ring(kQueue);
  h.run(2);
  const auto state = save(h.model());
  HarnessOptions options;
  options.target.sram_bytes /= 2;
  JobBench smaller(options);
  EXPECT_FALSE(npu_model_load(smaller.h().model(), state.data(), state.size()));
  EXPECT_EQ(smaller.h().read(NPU_REG_CONTROL), 0u);
  EXPECT_FALSE(npu_model_load(h.model(), nullptr, 0));
  EXPECT_EQ(h.read(NPU_REG_CONTROL), 0u) << "left reset";
  EXPECT_EQ(h.queue_reg(kQueue, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_DISABLED});

  std::mt19937 random(5);
  JobBench victim;
  for (int i = 0; i < 60; ++i) {
    auto damaged = state;
    if (i % 3 == 0) damaged.resize(random() % damaged.size());
    // Most of the state is SRAM; aim at what comes before it.
    else
      for (int n = 0; n < 4; ++n) damaged[512 + random() % 60000] = static_cast<uint8_t>(random());
    npu_model_load(victim.h().model(), damaged.data(), damaged.size());
    victim.h().run(50);  // whatever it is now, it must not crash
    victim.h().write(NPU_REG_RESET, NPU_RESET_KIND_CARD);
    victim.h().run(50);
  }
}

TEST(Fuzz, RandomRegisterAccesses) {
  std::mt19937 random(7);
  JobBench bench;
  Harness& h = bench.h();
  h.start(0, 0);
  h.run();
  const npu_packet_job job = bench.packet(work_stream().bytes());
  uint64_t beats = 0;
  for (int i = 0; i < 60000; ++i) {
    // Half of them where registers are.
    uint64_t offset = random() % NPU_BAR_REGISTERS_SIZE;
    switch (random() % 4) {
      case 0:
        offset = 0x1000 + random() % 0x140;
        break;
      case 1:
        offset = NPU_QUEUE_PAGE(random() % 66) + random() % 0x30;
        break;
      case 2:
        offset = 0x2000 + random() % 0x20;
        break;
      default:
        break;
    }
    if (random() % 8 != 0) offset &= ~uint64_t{3};
    const unsigned size = random() % 8 != 0 ? 4 : 1u << random() % 5;
    uint64_t value = random() % 2 != 0 ? random() % 16 : (uint64_t{random()} << 32 | random());
    // An absurd delay would only make the test wait; a gone card stays gone.
    if (offset == NPU_REG_INJECT_KIND && value == NPU_INJECT_GONE) value = 0;
    if (random() % 3 == 0)
      beats += npu_model_read(h.model(), offset, size);
    else
      npu_model_write(h.model(), offset, value, size);
    if (i % 16 == 0) {
      h.clock_ns += random() % 1000000;
      h.run(20);
    }
    if (i % 500 == 0) {
      npu_model_reset(h.model(), i % 1000 == 0 ? NPU_MODEL_RESET_FLR : NPU_MODEL_RESET_POWER);
      h.program();
      h.start(kQueue, h.context(kQueue));
      h.put(kQueue, job);
      h.ring(kQueue);
    }
  }
  npu_model_reset(h.model(), NPU_MODEL_RESET_POWER);
  h.program();
  npu_packet nop = {};
  h.start(kQueue, bench.h().make_context(kQueue, 1));
  EXPECT_EQ(h.submit(kQueue, nop).status, 0u) << beats;
}

// Streams that are valid but for a few bytes, and packets likewise.
TEST(Fuzz, MutatedStreamsAndPackets) {
  std::mt19937 random(11);
  JobBench bench;
  fill(bench);
  const auto base = work_stream().bytes();
  int statuses[NPU_STATUS_COUNT] = {};
  for (int i = 0; i < 3000; ++i) {
    auto stream = base;
    const int changes = 1 + static_cast<int>(random() % 3);
    for (int n = 0; n < changes; ++n) {
      std::byte& b = stream[random() % stream.size()];
      b = random() % 2 != 0 ? std::byte(random()) : b ^ std::byte(1u << random() % 8);
    }
    npu_packet_job packet = bench.packet(stream);
    if (i % 4 == 0) reinterpret_cast<uint8_t*>(&packet)[random() % 64] ^= 1u << random() % 8;
    const npu_completion c = bench.h().submit(kQueue, packet);
    ASSERT_LT(c.status, uint32_t{NPU_STATUS_COUNT});
    ASSERT_EQ(c.sequence, static_cast<uint64_t>(i) + 1);
    ++statuses[c.status];
    bench.h().events();
  }
  EXPECT_GT(statuses[NPU_STATUS_BAD_COMMAND], 100);
  EXPECT_GT(statuses[NPU_STATUS_OK], 10);
}

// Page tables and a context table of noise.
TEST(Fuzz, RandomPageTables) {
  std::mt19937 random(13);
  JobBench bench;
  Harness& h = bench.h();
  const auto stream = work_stream().bytes();
  const npu_packet_job packet = bench.packet(stream);
  h.start(0, 0);
  npu_packet_tlb_invalidate all = {};
  all.opcode = NPU_PACKET_TLB_INVALIDATE;
  all.asid = JobBench::kAsid;
  for (int i = 0; i < 500; ++i) {
    const int level = static_cast<int>(random() % 4);
    const uint64_t at =
        h.pte_address(JobBench::kAsid, JobBench::kDataVa + (random() % 150) * 4096, level);
    const auto before = h.load<uint64_t>(at);
    h.store<uint64_t>(at, random() % 2 != 0 ? before ^ 1ull << random() % 64
                                            : uint64_t{random()} << 32 | random());
    h.submit(0, all);
    const npu_completion c = h.submit(kQueue, packet);
    ASSERT_TRUE(c.status == NPU_STATUS_OK || c.status == NPU_STATUS_MMU_FAULT ||
                c.status == NPU_STATUS_DMA_ERROR)
        << c.status;
    h.store<uint64_t>(at, before);
    h.events();
  }
}

}  // namespace
}  // namespace npu::model::testing
