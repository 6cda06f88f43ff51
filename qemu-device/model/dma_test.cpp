// SPDX-License-Identifier: MIT
//
// LOAD, STORE, FILL and SRAM_COPY against their definition.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "testing/streams.h"

namespace npu::model::testing {
namespace {

TEST(Dma, StridesPaddingAndTransposition) {
  JobBench bench;
  uint8_t* d = bench.data();
  for (int i = 0; i < 6 * 5 * 4; ++i) d[i] = static_cast<uint8_t>(i + 1);
  // 6 rows of 5 pixels of 4 channels (NHWC) to channel planes with one pixel of
  // padding around rows and columns.
  npu_command_dma in = {};
  in.header.opcode = NPU_OP_LOAD;
  in.size[0] = 4, in.size[1] = 5, in.size[2] = 6, in.size[3] = 1;
  in.external_stride[0] = 1, in.external_stride[1] = 4, in.external_stride[2] = 20;
  constexpr uint32_t kPlane = 7 * 8;
  in.sram_stride[0] = kPlane, in.sram_stride[1] = 1, in.sram_stride[2] = 7;
  in.pad_before[1] = in.pad_after[1] = in.pad_before[2] = in.pad_after[2] = 1;
  in.pad_value = 0xee;
  StreamBuilder s;
  s.append(in);
  s.append(store(1 << 20, 0, 4 * kPlane));
  ASSERT_EQ(bench.run(s.bytes()).status, uint32_t{NPU_STATUS_OK}) << bench.h().log;
  const uint8_t* out = d + (1 << 20);
  for (int c = 0; c < 4; ++c)
    for (int y = 0; y < 8; ++y)
      for (int x = 0; x < 7; ++x) {
        const bool inside = y >= 1 && y <= 6 && x >= 1 && x <= 5;
        ASSERT_EQ(out[c * kPlane + y * 7 + x], inside ? d[((y - 1) * 5 + x - 1) * 4 + c] : 0xee)
            << c << " " << y << " " << x;
      }
}

// Every element lies in a page of its own, and few of them in the TLB: each costs
// a walk on the bus. The card must be stoppable between any few of them.
TEST(Dma, ScatteredTransferCanBeStopped) {
  constexpr uint32_t kElements = 1 << 16;
  constexpr uint64_t kStride = 2u << 20;
  constexpr uint64_t kVa = 1ull << 40;
  JobBench bench;
  Harness& h = bench.h();
  for (uint64_t i = 0; i < 512; ++i) h.map_block(kAsid, kVa + i * kStride, NPU_MEMORY_CARD, 0);
  for (uint64_t i = 512; i < kElements; i += 512)  // one table serves all
    h.store(h.pte_address(kAsid, kVa + i * kStride, 2),
            h.load<uint64_t>(h.pte_address(kAsid, kVa, 2)));
  npu_command_dma in = contiguous(NPU_OP_LOAD, kVa - JobBench::kDataVa, 0, kElements);
  in.external_stride[0] = kStride;
  StreamBuilder s;
  s.append(in);
  const uint64_t job = h.put(kQueue, bench.packet(s.bytes()));
  h.ring(kQueue);
  uint64_t longest = 0, last = h.bus_accesses;
  h.cancelled = [&] {
    longest = std::max(longest, h.bus_accesses - last);
    last = h.bus_accesses;
    return false;
  };
  h.run();
  EXPECT_EQ(h.completion(kQueue, job).status, uint32_t{NPU_STATUS_OK}) << h.log;
  EXPECT_GT(h.bus_accesses, kElements);
  EXPECT_LT(longest, 20000u) << "bus accesses without asking whether to stop";
}

TEST(Dma, RandomTransfersAgainstDefinition) {
  uint32_t seed = 12345;
  const auto random = [&seed](uint32_t below) {
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
  };
  JobBench bench;
  JobBench host_bench({}, NPU_MEMORY_HOST);
  for (int round = 0; round < 300; ++round) {
    JobBench& b = round % 2 != 0 ? bench : host_bench;
    npu_command_dma in = {};
    in.header.opcode = NPU_OP_LOAD;
    in.element_log2 = static_cast<uint8_t>(random(3));
    const uint32_t e = 1u << in.element_log2;
    for (uint32_t& size : in.size) size = 1 + random(6);
    if (random(3) == 0) in.size[0] = 1 + random(100);
    uint32_t padded[4];
    for (int i = 0; i < 4; ++i) {
      if (i < 3 && random(3) == 0) in.pad_before[i] = static_cast<uint16_t>(random(3));
      if (i < 3 && random(3) == 0) in.pad_after[i] = static_cast<uint16_t>(random(3));
      padded[i] = in.size[i] + (i < 3 ? in.pad_before[i] + in.pad_after[i] : 0);
      if (padded[i] != in.size[i]) in.pad_value = random(250) + 1;
    }
    if (random(3) == 0) {
      in.ring_rows = static_cast<uint16_t>(padded[2] + random(4));
      in.ring_first = static_cast<uint16_t>(random(in.ring_rows));
    }
    // Both sides: a random order of dimensions, sometimes with gaps.
    const auto strides = [&](uint32_t(&stride)[4], const uint32_t(&size)[4]) {
      int order[4] = {0, 1, 2, 3};
      for (int i = 3; i > 0; --i)
        if (random(2) == 0) std::swap(order[i], order[random(static_cast<uint32_t>(i) + 1)]);
      uint32_t step = e;
      for (int i : order) {
        stride[i] = step;
        const uint32_t count =
            i == 2 && in.ring_rows != 0 && &size == &padded ? in.ring_rows : size[i];
        step *= count;
        if (random(4) == 0) step += e * random(40);
      }
      return step;
    };
    const uint32_t external_bytes = strides(in.external_stride, in.size);
    const uint32_t sram_bytes = strides(in.sram_stride, padded);
    if (sram_bytes > 1 << 20 || external_bytes > 1 << 20) continue;
    in.sram_address = random(1000);
    in.external_offset = random(10000);
    uint8_t* d = b.data();
    for (uint32_t i = 0; i < external_bytes + 10000; ++i) d[i] = static_cast<uint8_t>(random(256));

    StreamBuilder s;
    s.append(in);
    const uint32_t total = sram_bytes + 2000;
    s.append(store(2 << 20, 0, total));
    ASSERT_EQ(b.run(s.bytes()).status, uint32_t{NPU_STATUS_OK}) << b.h().log;

    std::vector<uint8_t> expected(total, 0);
    for (uint32_t i3 = 0; i3 < padded[3]; ++i3)
      for (uint32_t i2 = 0; i2 < padded[2]; ++i2)
        for (uint32_t i1 = 0; i1 < padded[1]; ++i1)
          for (uint32_t i0 = 0; i0 < padded[0]; ++i0) {
            const uint32_t row = in.ring_rows != 0 ? (in.ring_first + i2) % in.ring_rows : i2;
            const uint32_t at = in.sram_address + i0 * in.sram_stride[0] + i1 * in.sram_stride[1] +
                                row * in.sram_stride[2] + i3 * in.sram_stride[3];
            const uint32_t j0 = i0 - in.pad_before[0], j1 = i1 - in.pad_before[1],
                           j2 = i2 - in.pad_before[2];
            const bool inside = j0 < in.size[0] && j1 < in.size[1] && j2 < in.size[2];
            const uint64_t from = in.external_offset + uint64_t{j0} * in.external_stride[0] +
                                  uint64_t{j1} * in.external_stride[1] +
                                  uint64_t{j2} * in.external_stride[2] +
                                  uint64_t{i3} * in.external_stride[3];
            if (inside)
              std::memcpy(expected.data() + at, d + from, e);
            else
              std::memcpy(expected.data() + at, &in.pad_value, e);
          }
    ASSERT_EQ(std::memcmp(expected.data(), d + (2 << 20), total), 0) << "round " << round;

    // And back: STORE with the same strides returns what LOAD took.
    npu_command_dma out = in;
    out.header.opcode = NPU_OP_STORE;
    out.sram_address += in.pad_before[0] * in.sram_stride[0] + in.pad_before[1] * in.sram_stride[1];
    if (in.ring_rows != 0)
      out.ring_first = static_cast<uint16_t>((in.ring_first + in.pad_before[2]) % in.ring_rows);
    else
      out.sram_address += in.pad_before[2] * in.sram_stride[2];
    std::memset(out.pad_before, 0, sizeof(out.pad_before));
    std::memset(out.pad_after, 0, sizeof(out.pad_after));
    out.pad_value = 0;
    out.external_offset += 3 << 20;
    out.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1);
    StreamBuilder back;
    back.append(in);
    back.append(out);
    std::memset(d + (3 << 20), 0, external_bytes + 10000);
    ASSERT_EQ(b.run(back.bytes()).status, uint32_t{NPU_STATUS_OK}) << b.h().log;
    for (uint32_t i3 = 0; i3 < in.size[3]; ++i3)
      for (uint32_t i2 = 0; i2 < in.size[2]; ++i2)
        for (uint32_t i1 = 0; i1 < in.size[1]; ++i1)
          for (uint32_t i0 = 0; i0 < in.size[0]; ++i0) {
            const uint64_t at = in.external_offset + uint64_t{i0} * in.external_stride[0] +
                                uint64_t{i1} * in.external_stride[1] +
                                uint64_t{i2} * in.external_stride[2] +
                                uint64_t{i3} * in.external_stride[3];
            ASSERT_EQ(std::memcmp(d + at, d + (3 << 20) + at, e), 0) << "round " << round;
          }
  }
}

TEST(Dma, FillAndSramCopy) {
  JobBench bench;
  StreamBuilder s;
  npu_command_dma fill = {};
  fill.header.opcode = NPU_OP_FILL;
  fill.element_log2 = 2;
  fill.pad_value = 0x11223344;
  for (uint32_t& size : fill.size) size = 1;
  fill.size[0] = 16, fill.size[1] = 2;
  fill.sram_stride[0] = 4, fill.sram_stride[1] = 128;
  s.append(fill);
  npu_command_dma copy = {};
  copy.header.opcode = NPU_OP_SRAM_COPY;
  for (uint32_t& size : copy.size) size = 1;
  copy.size[0] = 192;
  copy.external_stride[0] = copy.sram_stride[0] = 1;
  copy.sram_address = 1024;
  s.append(copy);
  s.append(store(0, 1024, 192, 2));
  ASSERT_EQ(bench.run(s.bytes()).status, uint32_t{NPU_STATUS_OK}) << bench.h().log;
  EXPECT_EQ(bench.data()[0], 0x44);
  EXPECT_EQ(bench.data()[63], 0x11);
  EXPECT_EQ(bench.data()[64], 0);
  EXPECT_EQ(bench.data()[128], 0x44);
}

// Core 0 multicasts a padded block; core 1 takes part of it back through
// core 0's SRAM, transposed; both store what they have.
std::vector<std::vector<std::byte>> gang_streams() {
  npu_command_dma in = load(0, 4096, 60);
  in.size[1] = 50, in.external_stride[1] = 60, in.sram_stride[1] = 64;
  in.pad_before[0] = 1, in.pad_after[0] = 3, in.pad_value = 0x5a;
  in.multicast = 2;
  StreamBuilder first, second;
  first.append(in);
  first.append(store(1 << 20, 4096, 3200));
  npu_command_dma peer = {};
  peer.header.opcode = NPU_OP_PEER_LOAD;
  peer.peer_core = 0;
  peer.source_address = 4096;
  peer.sram_address = 65536;
  for (uint32_t& size : peer.size) size = 1;
  peer.size[0] = 64, peer.size[1] = 50;
  peer.external_stride[0] = 1, peer.external_stride[1] = 64;
  peer.sram_stride[0] = 50, peer.sram_stride[1] = 1;
  peer.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1, 0);
  second.append(peer);
  second.append(store(2 << 20, 4096, 3200));  // behind core 0's LOAD
  npu_command_dma out = store((2 << 20) + 4096, 65536, 3200);
  out.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1, 1);
  second.append(out);
  return {first.bytes(), second.bytes()};
}

void check_gang(const uint8_t* d) {
  for (int row = 0; row < 50; ++row) {
    for (int i = 0; i < 64; ++i) {
      const int expected = i >= 1 && i <= 60 ? d[row * 60 + i - 1] : 0x5a;
      ASSERT_EQ(d[(1 << 20) + row * 64 + i], expected) << row << " " << i;
      ASSERT_EQ(d[(2 << 20) + row * 64 + i], expected) << row << " " << i;
      ASSERT_EQ(d[(2 << 20) + 4096 + i * 50 + row], expected) << row << " " << i;
    }
  }
}

TEST(Dma, MulticastAndPeerLoad) {
  JobBench bench;
  for (int i = 0; i < 3000; ++i) bench.data()[i] = static_cast<uint8_t>(i * 7 + i / 256);
  const npu_completion c = bench.h().submit(kQueue, bench.packet(gang_streams()));
  ASSERT_EQ(c.status, uint32_t{NPU_STATUS_OK}) << bench.h().log;
  check_gang(bench.data());
}

// No state passes between jobs, through a multicast neither.
TEST(Dma, MulticastIsClearedOnEveryCore) {
  JobBench bench;
  for (int i = 0; i < 3000; ++i) bench.data()[i] = 0xff;
  ASSERT_EQ(bench.h().submit(kQueue, bench.packet(gang_streams())).status, 0u);
  StreamBuilder nothing, look;
  nothing.append_nop();
  npu_command_dma out = contiguous(NPU_OP_STORE, 0, 4096, 3200);
  look.append(out);
  ASSERT_EQ(bench.h().submit(kQueue, bench.packet({nothing.bytes(), look.bytes()})).status, 0u);
  for (int i = 0; i < 3200; ++i) ASSERT_EQ(bench.data()[i], 0) << i;
}

}  // namespace
}  // namespace npu::model::testing
