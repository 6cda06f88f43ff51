// SPDX-License-Identifier: MIT
//
// Address spaces: faults of each kind, permissions, the TLB.
#include <cstring>
#include <functional>

#include "suite.h"

namespace npu::card {
namespace {

class CardMmu : public CardTest {
 protected:
  static StreamBuilder load_stream(uint64_t offset = 0) {
    StreamBuilder stream;
    stream.append(packets::contiguous(NPU_OP_LOAD, offset, 0, 64));
    return stream;
  }
  uint64_t entry_of(uint64_t offset, int level = 0) {
    return card().pte_address(kAsid, JobSpace::kDataVa + offset, level);
  }
  // Like the driver after it has changed a table.
  void invalidate_all() {
    ASSERT_EQ(card().submit(0, packets::invalidate(kAsid, 0, 0)).status, uint32_t{NPU_STATUS_OK});
  }
};
NPU_CARD_SUITE(CardMmu);

TEST_P(CardMmu, UnmappedAddressFaults) {
  start();
  card().unmap(kAsid, JobSpace::kDataVa + 8192, 4096);
  effects();
  const npu_completion c = run(copy_stream(16384));
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(c.address, JobSpace::kDataVa + 8192);
  EXPECT_EQ(c.command, 0u);
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_LOAD});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_READ});
  expect_effects({.doorbells = 1,
                  .packets = 1,
                  .jobs = 1,
                  .faults = 1,
                  .interrupts = 1,
                  .messages = {{NPU_VECTOR_EVENTS, 1}},
                  .events = {NPU_EVENT_JOB_FAULT}});
  ASSERT_EQ(events().size(), 1u);
  EXPECT_EQ(events()[0].status, uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(events()[0].address, JobSpace::kDataVa + 8192);
  EXPECT_EQ(run(copy_stream(8192)).status, uint32_t{NPU_STATUS_OK}) << "the queue goes on";
}

TEST_P(CardMmu, PermissionsHold) {
  start();
  const auto entry = card().load<uint64_t>(entry_of(kHalf));
  card().store<uint64_t>(entry_of(kHalf), entry & ~uint64_t{NPU_PTE_WRITE});
  npu_completion c = run(copy_stream());
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_WRITE});
  EXPECT_EQ(c.command, 1u);
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_STORE});
  EXPECT_EQ(c.address, JobSpace::kDataVa + kHalf);
  EXPECT_EQ(run(load_stream(kHalf)).status, uint32_t{NPU_STATUS_OK}) << "it may be read";
  card().store<uint64_t>(entry_of(kHalf), entry);
  EXPECT_EQ(run(copy_stream()).status, uint32_t{NPU_STATUS_OK}) << "widening needs no invalidation";

  card().store<uint64_t>(entry_of(0), card().load<uint64_t>(entry_of(0)) & ~uint64_t{NPU_PTE_READ});
  invalidate_all();
  c = run(copy_stream());
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_READ});
}

TEST_P(CardMmu, MalformedTablesFault) {
  start();
  using E = uint64_t;
  struct Case {
    int level;
    std::function<E(E)> change;
    uint32_t status;
  };
  std::vector<Case> cases = {
      {0, [](E e) { return e & ~E{NPU_PTE_LEAF}; }, NPU_STATUS_MMU_FAULT},
      {2, [](E e) { return e | NPU_PTE_LEAF; }, NPU_STATUS_MMU_FAULT},
      {1, [](E e) { return e | NPU_PTE_LEAF | 1 << 12; }, NPU_STATUS_MMU_FAULT},  // unaligned
      {1, [](E) { return NPU_PTE_VALID | 0x000ff00000000000ull; }, NPU_STATUS_DMA_ERROR},
      {0, [](E e) { return (e & ~E{NPU_PTE_CARD}) | 0x000ff00000000000ull; }, NPU_STATUS_DMA_ERROR},
  };
  for (int level = 0; level < NPU_MMU_LEVELS; ++level) {
    cases.push_back({level, [](E e) { return e | 1ull << 63; }, NPU_STATUS_MMU_FAULT});
    cases.push_back({level, [](E e) { return e & ~E{NPU_PTE_VALID}; }, NPU_STATUS_MMU_FAULT});
  }
  // Entries above level 1 serve the streams too; what faults then is the fetch.
  for (size_t i = 0; i < cases.size(); ++i) {
    const uint64_t at = entry_of(0, cases[i].level);
    const auto entry = card().load<uint64_t>(at);
    card().store<uint64_t>(at, cases[i].change(entry));
    invalidate_all();
    EXPECT_EQ(run(load_stream()).status, cases[i].status) << i;
    card().store<uint64_t>(at, entry);
    invalidate_all();
    EXPECT_EQ(run(load_stream()).status, uint32_t{NPU_STATUS_OK}) << i;
  }
}

TEST_P(CardMmu, BlocksOfTwoMegabytesAndTablesInCardMemory) {
  start();
  fill_data(9);
  const uint64_t block = card().allocate_card(2 << 20, 2 << 20);
  constexpr uint64_t kBlockVa = 0x80000000;
  card().map_block(kAsid, kBlockVa, NPU_MEMORY_CARD, block);
  // A level-0 table in card memory, whose one page is within the block.
  const uint64_t table = card().allocate_card(4096);
  const uint64_t entry =
      (block + 0x5000) | NPU_PTE_VALID | NPU_PTE_LEAF | NPU_PTE_CARD | NPU_PTE_READ | NPU_PTE_WRITE;
  port().write_card(table, &entry, sizeof(entry));
  constexpr uint64_t kTableVa = 0x90000000;
  card().store<uint64_t>(card().pte_address(kAsid, kTableVa, 1),
                         table | NPU_PTE_VALID | NPU_PTE_CARD);
  // Stored through one, loaded through the other.
  StreamBuilder stream;
  npu_command_dma out =
      packets::contiguous(NPU_OP_STORE, kBlockVa + 0x5000 - JobSpace::kDataVa, 0, 4096);
  arch::add_wait(out.header, NPU_ENGINE_LOAD,
                 stream.append(packets::contiguous(NPU_OP_LOAD, 0, 0, 4096)));
  npu_command_dma in = packets::contiguous(NPU_OP_LOAD, kTableVa - JobSpace::kDataVa, 8192, 4096);
  arch::add_wait(in.header, NPU_ENGINE_STORE, stream.append(out));
  npu_command_dma back = packets::contiguous(NPU_OP_STORE, kHalf, 8192, 4096);
  arch::add_wait(back.header, NPU_ENGINE_LOAD, stream.append(in));
  stream.append(back);
  ASSERT_EQ(run(stream).status, uint32_t{NPU_STATUS_OK});
  uint8_t a[4096], b[4096], c[4096];
  space().read(0, a, sizeof(a));
  space().read(kHalf, b, sizeof(b));
  port().read_card(block + 0x5000, c, sizeof(c));
  EXPECT_EQ(std::memcmp(a, b, sizeof(a)), 0);
  EXPECT_EQ(std::memcmp(a, c, sizeof(a)), 0);
}

TEST_P(CardMmu, StaleEntryUntilInvalidated) {
  start();
  const auto status = [&] { return run(load_stream()).status; };
  ASSERT_EQ(status(), uint32_t{NPU_STATUS_OK});
  card().unmap(kAsid, JobSpace::kDataVa, 4096);
  EXPECT_EQ(status(), uint32_t{NPU_STATUS_OK}) << "the TLB still holds it";
  // Elsewhere, or of another address space: no effect.
  card().submit(0, packets::invalidate(kAsid, JobSpace::kDataVa + 4096, 4096));
  card().submit(0, packets::invalidate(kAsid + 1, 0, 0));
  EXPECT_EQ(status(), uint32_t{NPU_STATUS_OK});
  inject(NPU_INJECT_DROP_TLB_INVALIDATE);
  EXPECT_EQ(card().submit(0, packets::invalidate(kAsid, JobSpace::kDataVa, 4096)).status,
            uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(status(), uint32_t{NPU_STATUS_OK}) << "the invalidation was dropped";
  EXPECT_EQ(card().submit(0, packets::invalidate(kAsid, JobSpace::kDataVa, 4096)).status,
            uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(status(), uint32_t{NPU_STATUS_MMU_FAULT});
  card().map(kAsid, JobSpace::kDataVa, NPU_MEMORY_CARD, space().data_address(), 4096);
  EXPECT_EQ(status(), uint32_t{NPU_STATUS_OK}) << "what is not valid is not cached";
}

TEST_P(CardMmu, AddressSpacesAreSeparate) {
  start();
  card().start(2, 2);  // nothing is mapped in address space 2
  const npu_completion c = card().submit(2, space().packet(copy_stream().bytes()));
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_MMU_FAULT});
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_FETCH});
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_PACKET});
  EXPECT_EQ(c.command, NPU_NO_COMMAND);
  EXPECT_EQ(c.address, JobSpace::kTableVa);
  EXPECT_EQ(run(copy_stream()).status, uint32_t{NPU_STATUS_OK});
}

}  // namespace
}  // namespace npu::card
