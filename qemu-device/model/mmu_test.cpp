// SPDX-License-Identifier: MIT
//
// Address translation, permissions and the TLB.
#include <gtest/gtest.h>

#include <cstring>

#include "testing/streams.h"

namespace npu::model::testing {
namespace {

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
  write_only.h().store<uint64_t>(pte, write_only.h().load<uint64_t>(pte) & ~uint64_t{NPU_PTE_READ});
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
  const uint64_t table =
      h.load<uint64_t>(h.pte_address(kAsid, JobBench::kTableVa)) & NPU_PTE_ADDRESS;
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

}  // namespace
}  // namespace npu::model::testing
