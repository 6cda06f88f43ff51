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

// A bench whose region 0 is elsewhere.
class MmuRegion : public ::testing::Test {
 protected:
  void set_region(uint64_t va) {
    const uint64_t table =
        h().load<uint64_t>(h().pte_address(kAsid, JobBench::kTableVa)) & NPU_PTE_ADDRESS;
    h().store<uint64_t>(table, va);
  }
  npu_completion run_load(uint64_t offset, uint32_t bytes) {
    StreamBuilder s;
    s.append(load(offset, 0, bytes));
    return bench_.run(s.bytes());
  }
  Harness& h() { return bench_.h(); }

  static constexpr uint64_t kBlockVa = 0x80000000, kBlock = 2 << 20;
  JobBench bench_;
};

TEST_F(MmuRegion, AddressesHave48Bits) {
  const uint64_t last = (1ull << NPU_VA_BITS) - 4096;
  h().map_new(kAsid, last, 4096, NPU_MEMORY_CARD);
  set_region(last);
  EXPECT_EQ(run_load(0, 4096).status, 0u);
  npu_completion c = run_load(0, 4097);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(c.address, 1ull << NPU_VA_BITS);
  // Bits above the 48th are not ignored: this is no other name of `last`.
  set_region(last | 1ull << 48);
  EXPECT_EQ(run_load(0, 64).status, uint32_t{NPU_STATUS_MMU_FAULT});
  set_region(~uint64_t{0} - 31);
  EXPECT_EQ(run_load(0, 64).status, uint32_t{NPU_STATUS_MMU_FAULT}) << "wraps around";
}

TEST_F(MmuRegion, BlocksHavePermissions) {
  const uint64_t at = h().allocate_card(kBlock, kBlock);
  set_region(kBlockVa);
  h().map_block(kAsid, kBlockVa, NPU_MEMORY_CARD, at, NPU_PTE_READ);
  npu_completion c = bench_.run(copy_stream().bytes());
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_WRITE});
  EXPECT_EQ(c.address, kBlockVa + (1 << 20));
  h().map_block(kAsid, kBlockVa, NPU_MEMORY_CARD, at, NPU_PTE_READ | NPU_PTE_WRITE);
  EXPECT_EQ(bench_.run(copy_stream().bytes()).status, 0u) << "widening needs no invalidation";
  h().start(0, 0);
  h().map_block(kAsid, kBlockVa, NPU_MEMORY_CARD, at, NPU_PTE_WRITE);
  EXPECT_EQ(run_load(0, 64).status, 0u) << "narrowing does";
  ASSERT_EQ(h().submit(0, invalidate(kAsid, kBlockVa, kBlock)).status, 0u);
  c = run_load(0, 64);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_READ});
}

TEST_F(MmuRegion, InvalidatingOnePageDropsTheBlockAroundIt) {
  h().start(0, 0);
  set_region(kBlockVa);
  const uint64_t at = h().allocate_card(kBlock, kBlock);
  h().map_block(kAsid, kBlockVa, NPU_MEMORY_CARD, at);
  ASSERT_EQ(run_load(0, 64).status, 0u);
  h().store<uint64_t>(h().pte_address(kAsid, kBlockVa, 1), 0);
  EXPECT_EQ(run_load(0, 64).status, 0u) << "stale";
  h().submit(0, invalidate(kAsid, kBlockVa - 4096, 4096));
  h().submit(0, invalidate(kAsid, kBlockVa + kBlock, 4096));
  EXPECT_EQ(run_load(0, 64).status, 0u) << "its neighbours are not it";
  h().submit(0, invalidate(kAsid, kBlockVa + 37 * 4096, 4096));
  EXPECT_EQ(run_load(0, 64).status, uint32_t{NPU_STATUS_MMU_FAULT});
}

TEST_F(MmuRegion, AnAccessCrossesFromABlockToPages) {
  const uint64_t block = h().allocate_card(kBlock, kBlock);
  h().map_block(kAsid, kBlockVa, NPU_MEMORY_CARD, block);
  const uint64_t page = h().map_new(kAsid, kBlockVa + kBlock, 8192, NPU_MEMORY_HOST);
  std::memset(h().card(block + kBlock - 1000), 0x11, 1000);
  std::memset(h().host(page), 0x22, 5000);
  const uint64_t target = h().map_new(kAsid, kBlockVa + (1 << 24), 8192, NPU_MEMORY_CARD);
  set_region(kBlockVa + kBlock - 1000);
  npu_command_dma store = contiguous(NPU_OP_STORE, (1 << 24) - kBlock + 1000, 0, 6000);
  store.header.wait[0] = arch::encode_wait(NPU_ENGINE_LOAD, 1);
  StreamBuilder ordered;
  ordered.append(load(0, 0, 6000));
  ordered.append(store);
  ASSERT_EQ(bench_.run(ordered.bytes()).status, 0u) << h().log;
  const uint8_t* out = h().card(target);
  for (int i = 0; i < 6000; ++i) ASSERT_EQ(out[i], i < 1000 ? 0x11 : 0x22) << i;
}

// Its completion means that no access through the old entry is in flight, and
// none will be: of a job that is under way, too.
TEST_F(MmuRegion, InvalidationEndsTheUseByAJobUnderWay) {
  h().start(0, 0);
  StreamBuilder s;
  for (int i = 0; i < 40; ++i) s.append(load(0, static_cast<uint32_t>(i) * 64, 64));
  const uint64_t job = h().put(kQueue, bench_.packet(s.bytes()));
  h().ring(kQueue);
  ASSERT_EQ(h().run(10), NPU_MODEL_MORE);
  ASSERT_FALSE(h().completed(kQueue, job));
  h().unmap(kAsid, JobBench::kDataVa, 4096);
  const uint64_t flush = h().put(0, invalidate(kAsid, JobBench::kDataVa, 4096));
  h().ring(0);
  for (int i = 0; i < 40 && !h().completed(0, flush); ++i) h().run(1);
  ASSERT_TRUE(h().completed(0, flush));
  ASSERT_FALSE(h().completed(kQueue, job)) << "too short to show anything";
  h().run();
  const npu_completion c = h().completion(kQueue, job);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_GE(c.command, 9u);
  EXPECT_LT(c.command, 39u);
}

TEST_F(MmuRegion, AnAsidIsReusedAfterItsInvalidation) {
  h().start(0, 0);
  h().start(2, 2);
  const uint64_t theirs = h().map_new(2, JobBench::kDataVa, 4096, NPU_MEMORY_CARD);
  ASSERT_EQ(run_load(0, 64).status, 0u);
  // Another address space takes the number: other tables at the same addresses.
  const uint64_t page = h().load<uint64_t>(h().pte_address(kAsid, JobBench::kDataVa));
  h().store<uint64_t>(h().pte_address(kAsid, JobBench::kDataVa),
                      (page & ~uint64_t{NPU_PTE_ADDRESS}) | theirs);
  ASSERT_EQ(h().submit(0, invalidate(kAsid, 0, 0)).status, 0u);
  std::memset(h().card(theirs), 0x33, 64);
  StreamBuilder s;
  s.append(load(0, 0, 64));
  s.append(store(1 << 20, 0, 64));
  ASSERT_EQ(bench_.run(s.bytes()).status, 0u);
  EXPECT_EQ(bench_.data()[1 << 20], 0x33) << "through the new entry";
}

}  // namespace
}  // namespace npu::model::testing
