// SPDX-License-Identifier: MIT
//
// Jobs: address spaces, statuses, recovery, gangs.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "arch/stream.h"
#include "arch/test_commands.h"
#include "testing/harness.h"

namespace npu::model::testing {
namespace {

using arch::StreamBuilder;
constexpr uint32_t kQueue = JobBench::kQueue;
constexpr uint16_t kAsid = JobBench::kAsid;

npu_command_dma load(uint64_t offset, uint32_t sram, uint32_t bytes) {
  return contiguous(NPU_OP_LOAD, offset, sram, bytes);
}
npu_command_dma store(uint64_t offset, uint32_t sram, uint32_t bytes, uint32_t after_loads = 1) {
  npu_command_dma dma = contiguous(NPU_OP_STORE, offset, sram, bytes);
  dma.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, after_loads);
  return dma;
}

// LOAD `bytes` from offset 0, STORE them at 1 MiB.
StreamBuilder copy_stream(uint32_t bytes = 4096) {
  StreamBuilder s;
  s.append(load(0, 0, bytes));
  s.append(store(1 << 20, 0, bytes));
  return s;
}

npu_packet_tlb_invalidate invalidate(uint16_t asid, uint64_t va, uint64_t bytes) {
  npu_packet_tlb_invalidate packet = {};
  packet.opcode = NPU_PACKET_TLB_INVALIDATE;
  packet.asid = asid;
  packet.va = va;
  packet.bytes = bytes;
  return packet;
}

// A chain of matrix products that takes a while in modelled and host time.
StreamBuilder long_stream(int products = 40) {
  StreamBuilder s;
  npu_command_mac mac = arch::test::matmul(256, 512, 512);
  for (int i = 0; i < products; ++i) s.append(mac);
  return s;
}

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

TEST(Job, StridesPaddingAndTransposition) {
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
        ASSERT_EQ(out[c * kPlane + y * 7 + x],
                  inside ? d[((y - 1) * 5 + x - 1) * 4 + c] : 0xee)
            << c << " " << y << " " << x;
      }
}

TEST(Job, RandomTransfersAgainstDefinition) {
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
    const auto strides = [&](uint32_t (&stride)[4], const uint32_t (&size)[4]) {
      int order[4] = {0, 1, 2, 3};
      for (int i = 3; i > 0; --i)
        if (random(2) == 0) std::swap(order[i], order[random(static_cast<uint32_t>(i) + 1)]);
      uint32_t step = e;
      for (int i : order) {
        stride[i] = step;
        const uint32_t count = i == 2 && in.ring_rows != 0 && &size == &padded ? in.ring_rows
                                                                               : size[i];
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
            const uint32_t row =
                in.ring_rows != 0 ? (in.ring_first + i2) % in.ring_rows : i2;
            const uint32_t at = in.sram_address + i0 * in.sram_stride[0] +
                                i1 * in.sram_stride[1] + row * in.sram_stride[2] +
                                i3 * in.sram_stride[3];
            const uint32_t j0 = i0 - in.pad_before[0], j1 = i1 - in.pad_before[1],
                           j2 = i2 - in.pad_before[2];
            const bool inside = j0 < in.size[0] && j1 < in.size[1] && j2 < in.size[2];
            const uint64_t from = in.external_offset + uint64_t{j0} * in.external_stride[0] +
                                  uint64_t{j1} * in.external_stride[1] +
                                  uint64_t{j2} * in.external_stride[2] +
                                  uint64_t{i3} * in.external_stride[3];
            if (inside) std::memcpy(expected.data() + at, d + from, e);
            else std::memcpy(expected.data() + at, &in.pad_value, e);
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

TEST(Job, FillAndSramCopy) {
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

TEST(Job, NothingSurvivesInSram) {
  JobBench bench;
  std::memset(bench.data(), 0xab, 4096);
  ASSERT_EQ(bench.run(copy_stream().bytes()).status, 0u);
  StreamBuilder s;
  s.append(contiguous(NPU_OP_STORE, 0, 0, 2 << 20));
  ASSERT_EQ(bench.run(s.bytes()).status, 0u);
  for (uint32_t i = 0; i < 2u << 20; ++i) ASSERT_EQ(bench.data()[i], 0) << i;
}

TEST(Mmu, UnmappedAndForbiddenAccessesFault) {
  JobBench bench;
  bench.h().unmap(kAsid, JobBench::kDataVa + 8192, 4096);
  npu_completion c = bench.run(copy_stream(16384).bytes());
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(c.address, JobBench::kDataVa + 8192);
  EXPECT_EQ(c.command, 0u);
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_LOAD});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_READ});
  const auto events = bench.h().events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].type, uint32_t{NPU_EVENT_JOB_FAULT});
  EXPECT_EQ(events[0].status, uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(events[0].address, JobBench::kDataVa + 8192);
  EXPECT_EQ(bench.run(copy_stream(8192).bytes()).status, 0u) << "the queue goes on";

  JobBench read_only;
  uint64_t pte = read_only.h().pte_address(kAsid, JobBench::kDataVa + (1 << 20));
  const auto entry = read_only.h().load<uint64_t>(pte);
  read_only.h().store<uint64_t>(pte, entry & ~uint64_t{NPU_PTE_WRITE});
  c = read_only.run(copy_stream().bytes());
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_WRITE});
  EXPECT_EQ(c.command, 1u);
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_STORE});
  // Widening needs no invalidation, even for an entry the TLB holds.
  StreamBuilder touch;
  touch.append(load(1 << 20, 0, 4096));
  ASSERT_EQ(read_only.run(touch.bytes()).status, 0u);
  read_only.h().store<uint64_t>(pte, entry);
  EXPECT_EQ(read_only.run(copy_stream().bytes()).status, 0u);

  JobBench write_only;
  pte = write_only.h().pte_address(kAsid, JobBench::kDataVa);
  write_only.h().store<uint64_t>(pte,
                                 write_only.h().load<uint64_t>(pte) & ~uint64_t{NPU_PTE_READ});
  EXPECT_EQ(write_only.run(copy_stream().bytes()).status, uint32_t{NPU_STATUS_MMU_FAULT});
}

TEST(Mmu, MalformedTablesFault) {
  const auto status_with = [](int level, auto change) {
    JobBench bench;
    const uint64_t at = bench.h().pte_address(kAsid, JobBench::kDataVa, level);
    bench.h().store<uint64_t>(at, change(bench.h().load<uint64_t>(at)));
    return bench.run(copy_stream().bytes()).status;
  };
  using E = uint64_t;
  EXPECT_EQ(status_with(0, [](E e) { return e; }), uint32_t{NPU_STATUS_OK});
  for (int level = 0; level < 4; ++level) {
    EXPECT_EQ(status_with(level, [](E e) { return e | 1ull << 63; }),
              uint32_t{NPU_STATUS_MMU_FAULT});
    EXPECT_EQ(status_with(level, [](E e) { return e & ~E{NPU_PTE_VALID}; }),
              uint32_t{NPU_STATUS_MMU_FAULT});
  }
  EXPECT_EQ(status_with(0, [](E e) { return e & ~E{NPU_PTE_LEAF}; }),
            uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(status_with(2, [](E e) { return e | NPU_PTE_LEAF; }), uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(status_with(1, [](E e) { return e | NPU_PTE_LEAF | 1 << 12; }),
            uint32_t{NPU_STATUS_MMU_FAULT})
      << "an unaligned block";
  EXPECT_EQ(status_with(1, [](E) { return NPU_PTE_VALID | 0x000ff00000000000ull; }),
            uint32_t{NPU_STATUS_DMA_ERROR})
      << "a table that nothing answers for";
  EXPECT_EQ(status_with(0, [](E e) { return e | 0x000ff00000000000ull; }),
            uint32_t{NPU_STATUS_DMA_ERROR});
}

TEST(Mmu, BlocksOfTwoMegabytesAndTablesInCardMemory) {
  HarnessOptions options;
  JobBench bench(options);
  Harness& h = bench.h();
  const uint64_t block = h.allocate_card(2 << 20, 2 << 20);
  h.map_block(kAsid, 0x80000000, NPU_MEMORY_CARD, block);
  const uint64_t table = h.load<uint64_t>(h.pte_address(kAsid, JobBench::kTableVa)) &
                         NPU_PTE_ADDRESS;
  h.store<uint64_t>(table, 0x80000000);
  std::memset(h.card(block), 0x5a, 4096);
  ASSERT_EQ(bench.run(copy_stream().bytes()).status, 0u);
  EXPECT_EQ(h.card(block + (1 << 20))[4095], 0x5a);

  // The same address space through a level-0 table in card memory.
  const uint64_t leafs = h.allocate_card(4096);
  const uint64_t page = h.allocate_card(4096);
  const uint64_t entry = page | NPU_PTE_VALID | NPU_PTE_LEAF | NPU_PTE_CARD | NPU_PTE_READ;
  std::memcpy(h.card(leafs), &entry, 8);
  h.store<uint64_t>(h.pte_address(kAsid, 0x90000000, 1), leafs | NPU_PTE_VALID | NPU_PTE_CARD);
  h.store<uint64_t>(table, 0x90000000);
  StreamBuilder s;
  s.append(load(0, 0, 4096));
  EXPECT_EQ(bench.run(s.bytes()).status, 0u);
}

TEST(Mmu, StaleEntryUntilInvalidated) {
  JobBench bench;
  Harness& h = bench.h();
  h.start(0, 0);
  StreamBuilder s;
  s.append(load(0, 0, 64));
  ASSERT_EQ(bench.run(s.bytes()).status, 0u);
  h.unmap(kAsid, JobBench::kDataVa, 4096);
  EXPECT_EQ(bench.run(s.bytes()).status, 0u) << "the TLB still holds it";
  // Elsewhere, or of another address space: no effect.
  h.submit(0, invalidate(kAsid, JobBench::kDataVa + 4096, 4096));
  h.submit(0, invalidate(kAsid + 1, 0, 0));
  EXPECT_EQ(bench.run(s.bytes()).status, 0u);
  ASSERT_TRUE(npu_model_inject(h.model(), NPU_INJECT_DROP_TLB_INVALIDATE, 0, 0, 1, 0));
  EXPECT_EQ(h.submit(0, invalidate(kAsid, JobBench::kDataVa, 4096)).status, 0u);
  EXPECT_EQ(bench.run(s.bytes()).status, 0u) << "the invalidation was dropped";
  EXPECT_EQ(h.submit(0, invalidate(kAsid, JobBench::kDataVa, 4096)).status, 0u);
  EXPECT_EQ(bench.run(s.bytes()).status, uint32_t{NPU_STATUS_MMU_FAULT});
  // Mapping needs none: what is not valid is not cached.
  h.map(kAsid, JobBench::kDataVa, NPU_MEMORY_CARD, 0, 4096);
  EXPECT_EQ(bench.run(s.bytes()).status, 0u);
  h.unmap(kAsid, JobBench::kDataVa, 4096);
  h.submit(0, invalidate(kAsid, 0, 0));
  EXPECT_EQ(bench.run(s.bytes()).status, uint32_t{NPU_STATUS_MMU_FAULT});
}

TEST(Mmu, TlbHolds64Entries) {
  JobBench bench;
  StreamBuilder all;  // touches 65 other pages
  for (uint32_t i = 1; i <= 65; ++i) all.append(load(i * 4096, 0, 64));
  StreamBuilder first;
  first.append(load(0, 0, 64));
  ASSERT_EQ(bench.run(first.bytes()).status, 0u);
  bench.h().unmap(kAsid, JobBench::kDataVa, 4096);
  ASSERT_EQ(bench.run(first.bytes()).status, 0u);
  ASSERT_EQ(bench.run(all.bytes()).status, 0u);
  EXPECT_EQ(bench.run(first.bytes()).status, uint32_t{NPU_STATUS_MMU_FAULT}) << "evicted";
}

TEST(Mmu, AddressSpacesAreSeparate) {
  JobBench bench;
  Harness& h = bench.h();
  h.start(2, 2);  // nothing is mapped in address space 2
  h.run();
  const auto stream = copy_stream();
  const npu_completion c = h.submit(2, bench.packet(stream.bytes()));
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_FETCH});
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_PACKET});
  EXPECT_EQ(c.command, NPU_NO_COMMAND);
  EXPECT_EQ(c.address, JobBench::kTableVa);
  h.write(NPU_REG_CONTEXT_COUNT, 1);
  EXPECT_EQ(bench.run(stream.bytes()).status, uint32_t{NPU_STATUS_MMU_FAULT})
      << "beyond the context table, whatever the TLB holds of other pages";
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

TEST(Recovery, HangEndsWithCoreReset) {
  JobBench bench;
  Harness& h = bench.h();
  ASSERT_TRUE(npu_model_inject(h.model(), NPU_INJECT_HANG, kQueue, 0, 1, 1));
  const uint64_t index = h.put(kQueue, bench.packet(copy_stream().bytes(), NPU_PACKET_IRQ));
  h.ring(kQueue);
  EXPECT_EQ(h.run(), NPU_MODEL_IDLE);
  EXPECT_FALSE(h.completed(kQueue, index));
  EXPECT_EQ(h.queue_reg(kQueue, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_RUNNING});
  const uint32_t state = h.read(NPU_REG_CORE(0, NPU_CORE_STATE));
  EXPECT_EQ(state, 2u | kQueue << 8);
  EXPECT_EQ(h.read(NPU_REG_CORE(0, NPU_CORE_COMMAND)), 1u);
  EXPECT_TRUE(h.read(NPU_REG_STATUS) & NPU_DEVICE_HUNG);
  const uint32_t heartbeat = h.queue_reg(kQueue, NPU_QUEUE_HEARTBEAT);
  h.clock_ns += 1'000'000'000;
  h.run();
  EXPECT_EQ(h.queue_reg(kQueue, NPU_QUEUE_HEARTBEAT), heartbeat);

  // Another queue continues on the other core.
  h.start(2, kAsid);
  StreamBuilder small;
  small.append(load(0, 0, 64));
  npu_packet_job p = job_packet(JobBench::kStreamVa + 65536, small.bytes().size(),
                                JobBench::kTableVa, 1);
  const auto pte = h.load<uint64_t>(h.pte_address(kAsid, JobBench::kStreamVa)) & NPU_PTE_ADDRESS;
  std::memcpy(h.host(pte + 65536), small.bytes().data(), small.bytes().size());
  EXPECT_EQ(h.submit(2, p).status, 0u);
  EXPECT_EQ(h.submit(2, p).status, 0u);

  h.write(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_ABORT_JOB);
  h.run();
  EXPECT_FALSE(h.completed(kQueue, index)) << "a hung job does not react";

  const uint32_t resets = h.read(NPU_REG_RESETS);
  h.write(NPU_REG_RESET, NPU_RESET_KIND_CORE | 0 << 8);
  h.run();
  EXPECT_EQ(h.read(NPU_REG_RESETS), resets + 1);
  const npu_completion c = h.completion(kQueue, index);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_HANG});
  EXPECT_EQ(c.command, 1u);
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_STORE});
  EXPECT_EQ(h.read(NPU_REG_CORE(0, NPU_CORE_STATE)), 0u);
  EXPECT_EQ(h.read(NPU_REG_STATUS), uint32_t{NPU_DEVICE_READY});
  EXPECT_EQ(bench.run(copy_stream().bytes()).status, 0u);
  const auto events = h.events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].type, uint32_t{NPU_EVENT_JOB_FAULT});
  EXPECT_EQ(events[1].type, uint32_t{NPU_EVENT_RESET});
}

TEST(Recovery, OneHungCoreMakesTheOthersWait) {
  HarnessOptions options;
  options.target.cores = 1;
  JobBench bench(options);
  Harness& h = bench.h();
  npu_model_inject(h.model(), NPU_INJECT_HANG, kQueue, 0, 1, 0);
  h.put(kQueue, bench.packet(copy_stream().bytes()));
  h.ring(kQueue);
  h.run();
  h.start(2, kAsid);
  const uint64_t waiting = h.put(2, bench.packet(copy_stream().bytes()));
  h.ring(2);
  EXPECT_EQ(h.run(), NPU_MODEL_IDLE);
  EXPECT_FALSE(h.completed(2, waiting));
  EXPECT_EQ(h.queue_reg(2, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_WAITING});
  h.write(NPU_REG_RESET, NPU_RESET_KIND_CORE);
  h.run();
  EXPECT_EQ(h.completion(2, waiting).status, 0u);
  EXPECT_TRUE(h.completed(2, waiting));
}

TEST(Recovery, CardResetVictimisesAndRestarts) {
  JobBench bench;
  Harness& h = bench.h();
  npu_packet_job p = bench.packet(long_stream().bytes(), NPU_PACKET_CHAIN);
  h.put(kQueue, p);
  p.flags = 0;
  h.put(kQueue, p);
  h.put(kQueue, p);
  h.ring(kQueue);
  EXPECT_EQ(h.run(10), NPU_MODEL_MORE);
  h.write(NPU_REG_RESET, NPU_RESET_KIND_CARD);
  h.run();
  EXPECT_EQ(h.completion(kQueue, 0).status, uint32_t{NPU_STATUS_VICTIM});
  EXPECT_EQ(h.queue_reg(kQueue, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_FALSE(h.completed(kQueue, 1));
  h.start(kQueue, h.context(kQueue));
  h.run();
  EXPECT_EQ(h.completion(kQueue, 1).status, uint32_t{NPU_STATUS_ABORTED}) << "the chain's rest";
  EXPECT_EQ(h.completion(kQueue, 2).status, uint32_t{NPU_STATUS_OK});
}

TEST(Recovery, AbortEndsJobAndChain) {
  JobBench bench;
  Harness& h = bench.h();
  npu_packet_job p = bench.packet(long_stream().bytes(), NPU_PACKET_CHAIN);
  h.put(kQueue, p);
  p.flags = 0;
  h.put(kQueue, p);
  h.put(kQueue, p);
  h.ring(kQueue);
  EXPECT_EQ(h.run(10), NPU_MODEL_MORE);
  EXPECT_GT(h.read64(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_CYCLES), 0u);
  h.write(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_ABORT_JOB);
  h.run();
  EXPECT_EQ(h.completion(kQueue, 0).status, uint32_t{NPU_STATUS_ABORTED});
  EXPECT_EQ(h.completion(kQueue, 1).status, uint32_t{NPU_STATUS_ABORTED});
  EXPECT_EQ(h.completion(kQueue, 2).status, uint32_t{NPU_STATUS_OK});
  EXPECT_TRUE(h.events().empty());
}

TEST(Recovery, StopAbortsAndAHungJobDelaysIt) {
  JobBench bench;
  Harness& h = bench.h();
  h.put(kQueue, bench.packet(long_stream().bytes()));
  h.ring(kQueue);
  h.run(10);
  h.write(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_STOP);
  h.run();
  EXPECT_EQ(h.completion(kQueue, 0).status, uint32_t{NPU_STATUS_ABORTED});
  EXPECT_EQ(h.queue_reg(kQueue, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_EQ(h.read(NPU_REG_STATUS), uint32_t{NPU_DEVICE_READY});

  h.start(2, kAsid);
  npu_model_inject(h.model(), NPU_INJECT_HANG, 2, 0, 1, 0);
  h.put(2, bench.packet(copy_stream().bytes()));
  h.ring(2);
  h.run();
  h.write(NPU_QUEUE_PAGE(2) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_STOP);
  h.run();
  EXPECT_EQ(h.queue_reg(2, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_RUNNING});
  h.write(NPU_REG_RESET, NPU_RESET_KIND_CORE);
  h.run();
  EXPECT_EQ(h.queue_reg(2, NPU_QUEUE_STATE), uint32_t{NPU_QUEUE_DISABLED});
  EXPECT_EQ(h.completion(2, 0).status, uint32_t{NPU_STATUS_HANG});
}

TEST(Gang, TwoCoresExchangeThroughMemory) {
  JobBench bench;
  std::memset(bench.data(), 0x21, 4096);
  // Core 1 waits for core 0's STORE; core 0 for core 1's.
  StreamBuilder zero, one;
  zero.append(load(0, 0, 4096));
  zero.append(store(65536, 0, 4096, 1));
  npu_command_dma back = load(131072, 8192, 4096);
  back.header.wait[0] = arch::encode_wait(NPU_ENGINE_STORE, 1, 1);
  zero.append(back);
  zero.append(store(1 << 20, 8192, 4096, 2));
  npu_command_dma in = load(65536, 0, 4096);
  in.header.wait[0] = arch::encode_wait(NPU_ENGINE_STORE, 1, 0);
  one.append(in);
  npu_command_dma out = store(131072, 0, 4096, 1);
  out.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1, 1);
  one.append(out);
  const npu_completion c =
      bench.h().submit(kQueue, bench.packet(std::vector{zero.bytes(), one.bytes()}));
  ASSERT_EQ(c.status, 0u) << bench.h().log;
  EXPECT_EQ(bench.data()[(1 << 20) + 4095], 0x21);
}

TEST(Gang, BigJobIsNotStarved) {
  JobBench bench;
  Harness& h = bench.h();
  const auto s = long_stream(4).bytes();
  for (uint32_t queue : {2u, 3u, 4u}) h.start(queue, kAsid);
  npu_packet_job gang = bench.packet(std::vector{s, s});
  npu_packet_job single = gang;
  single.stream_count = 1;
  single.stream_bytes[1] = 0;
  for (int i = 0; i < 20; ++i) {
    h.put(2, single);
    h.put(3, single);
  }
  h.ring(2);
  h.ring(3);
  h.run(2);
  const uint64_t index = h.put(4, gang);
  h.ring(4);
  while (h.run(1) == NPU_MODEL_MORE && !h.completed(4, index)) {
  }
  EXPECT_TRUE(h.completed(4, index));
  EXPECT_LT(h.consumer(2) + h.consumer(3), 10u);
}

TEST(Fence, WaitsForWhatHasStarted) {
  JobBench bench;
  Harness& h = bench.h();
  h.start(0, 0);
  const uint64_t job = h.put(kQueue, bench.packet(long_stream().bytes()));
  h.ring(kQueue);
  h.run(5);
  npu_packet fence = {};
  fence.opcode = NPU_PACKET_FENCE;
  const uint64_t index = h.put(0, fence);
  h.ring(0);
  h.run(5);
  EXPECT_FALSE(h.completed(0, index));
  h.run();
  EXPECT_TRUE(h.completed(kQueue, job));
  EXPECT_TRUE(h.completed(0, index));
  EXPECT_EQ(h.completion(0, index).status, 0u);
}

TEST(Profile, WrittenBeforeCompletion) {
  JobBench bench;
  Harness& h = bench.h();
  const uint64_t va = 0x30000000;
  const uint64_t at = h.map_new(kAsid, va, 8192);
  npu_packet_job p = bench.packet(copy_stream().bytes(),
                                  NPU_PACKET_PROFILE | NPU_PACKET_PROFILE_COMMANDS);
  p.profile_va = va;
  const npu_completion c = h.submit(kQueue, p);
  ASSERT_EQ(c.status, 0u);
  const auto profile = h.load<npu_profile>(at);
  EXPECT_EQ(profile.completion.sequence, c.sequence);
  EXPECT_EQ(profile.completion.cycles_solo, c.cycles_solo);
  EXPECT_EQ(profile.commands, 2u);
  EXPECT_EQ(profile.sram_peak_bytes, 4096u);
  const auto record = h.load<npu_profile_command>(at + sizeof(profile) + sizeof(npu_profile_command));
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
    npu_command_dma dma = contiguous(i % 2 != 0 ? NPU_OP_LOAD : NPU_OP_STORE, 0,
                                     i % 2 != 0 ? 1 << 20 : 0, 1);
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
