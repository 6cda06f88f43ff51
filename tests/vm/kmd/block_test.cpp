// SPDX-License-Identifier: MIT
//
// Leaves of 2 MiB: used where they can be, split where they must, and at all
// times the card sees what a plain table of pages says.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <random>
#include <sstream>

#include "card_access.h"
#include "device.h"

namespace kmd {
namespace {

constexpr uint64_t kBlock = 2 << 20;
constexpr uint64_t kPagesOfBlock = kBlock / kPage;

// Page tables of all spaces on the card, from debugfs.
unsigned tables() {
  std::istringstream state(read_file(first_match("/sys/kernel/debug/accel/*:*/state")));
  std::string line;
  unsigned asid = 0, count = 0, sum = 0;
  while (std::getline(state, line))
    if (sscanf(line.c_str(), "space %u: tables %u", &asid, &count) == 2) sum += count;
  return sum;
}

class Blocks : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(wait_for_counts(device_, 0, 0, 0)) << "earlier tests' spaces";
    ASSERT_EQ(device_.create_vm(vm_), 0);
  }

  Device device_;
  uint32_t vm_ = 0;
};

// Root, level 2, level 1; with pages, one level-0 table for each block.
TEST_F(Blocks, TakeNoLevel0Table) {
  Buffer card(device_, 8 * kBlock, DRM_NPU_PLACEMENT_CARD);
  ASSERT_EQ(tables(), 1u);
  ASSERT_EQ(device_.map(vm_, card.handle(), kBlock, 8 * kBlock), 0);
  EXPECT_EQ(tables(), 3u);
  ASSERT_EQ(device_.map(vm_, card.handle(), 32 * kBlock + kPage, 8 * kBlock), 0);
  EXPECT_EQ(tables(), 3u + 9u) << "address and memory are not aligned alike";

  // A hole in one block splits that one.
  ASSERT_EQ(device_.unmap(vm_, 3 * kBlock + kPage, kPage), 0);
  EXPECT_EQ(tables(), 13u);
  // Holes of whole blocks split none, nor does one where there is nothing.
  ASSERT_EQ(device_.unmap(vm_, 5 * kBlock, 2 * kBlock), 0);
  ASSERT_EQ(device_.unmap(vm_, 5 * kBlock + kPage, kPage), 0);
  EXPECT_EQ(tables(), 13u);
  // A table stays when a leaf takes its place.
  ASSERT_EQ(device_.map(vm_, card.handle(), kBlock, 8 * kBlock), 0);
  EXPECT_EQ(tables(), 13u);
}

TEST_F(Blocks, HostMemoryWhereItsPagesAreContiguous) {
  Buffer host(device_, 16 * kBlock, DRM_NPU_PLACEMENT_HOST);
  ASSERT_EQ(device_.map(vm_, host.handle(), kBlock, 16 * kBlock), 0);
  // Which pages the kernel gave is its affair; right after boot most are in large pieces.
  EXPECT_LT(tables(), 3u + 16u);
  RecordProperty("tables", static_cast<int>(tables()));
}

// What one page of the reference maps.
struct Page {
  const Buffer* buffer = nullptr;
  uint64_t page = 0;
  bool readonly = false;
};

// Addresses across the boundary of a level-1 table.
constexpr uint64_t kWindow = 8 * kBlock;
constexpr uint64_t kStart = (5ull << 30) - 3 * kBlock;

class Differential : public Blocks {
 protected:
  void SetUp() override {
    Blocks::SetUp();
    access_ = std::make_unique<CardAccess>(device_, vm_);
    for (const auto& [size, placement] : {std::pair{6 * kBlock, DRM_NPU_PLACEMENT_CARD},
                                          {6 * kBlock, DRM_NPU_PLACEMENT_HOST},
                                          {kBlock + 5 * kPage, DRM_NPU_PLACEMENT_CARD}})
      buffers_.push_back(std::make_unique<Buffer>(device_, size, placement));
    for (auto& buffer : buffers_)
      for (uint64_t page = 0; page < buffer->size() / kPage; ++page)
        buffer->as<uint64_t>()[page * kPage / 8] = tag(buffer.get(), page);
  }

  uint64_t tag(const Buffer* buffer, uint64_t page) const {
    return uint64_t{buffer->handle()} << 32 | (page + 1);
  }
  uint64_t random(uint64_t below) { return engine_() % below; }
  // Often a boundary of a block, else any page.
  uint64_t random_page(uint64_t bytes) {
    const uint64_t pages = bytes / kPage;
    return random(2) ? random(pages) : random(pages) / kPagesOfBlock * kPagesOfBlock;
  }
  static uint64_t va(uint64_t page) { return kStart + page * kPage; }

  drm_npu_bind_op random_op() {
    drm_npu_bind_op op = {};
    const uint64_t start = random_page(kWindow);
    uint64_t pages = random(2) ? 1 + random(kWindow / kPage) : (1 + random(5)) * kPagesOfBlock;
    pages = std::min(pages, kWindow / kPage - start);
    op.va = va(start);
    if (random(3) == 0) {
      op.op = DRM_NPU_BIND_UNMAP;
    } else {
      const Buffer& buffer = *buffers_[random(buffers_.size())];
      const uint64_t offset = random_page(buffer.size());
      pages = std::min(pages, buffer.size() / kPage - offset);
      op.op = DRM_NPU_BIND_MAP;
      op.flags = random(4) ? 0 : DRM_NPU_BIND_READONLY;
      op.handle = buffer.handle();
      op.bo_offset = offset * kPage;
    }
    op.size = pages * kPage;
    return op;
  }

  void apply(const drm_npu_bind_op& op) {
    const uint64_t start = (op.va - kStart) / kPage;
    for (uint64_t i = 0; i < op.size / kPage; ++i) {
      if (op.op == DRM_NPU_BIND_UNMAP) {
        reference_.erase(start + i);
        continue;
      }
      const auto buffer = std::ranges::find_if(
          buffers_, [&](const auto& each) { return each->handle() == op.handle; });
      reference_[start + i] = {buffer->get(), op.bo_offset / kPage + i,
                               (op.flags & DRM_NPU_BIND_READONLY) != 0};
    }
  }

  // Some pages that are mapped, read in one job.
  void check_mapped() {
    std::vector<uint64_t> pages;
    for (size_t i = 0; i < 3 * CardAccess::kMost && pages.size() < CardAccess::kMost; ++i)
      if (const uint64_t page = random(kWindow / kPage); reference_.contains(page))
        pages.push_back(page);
    std::vector<uint64_t> addresses;
    for (const uint64_t page : pages) addresses.push_back(va(page));
    std::vector<CardAccess::Item> items;
    ASSERT_EQ(access_->read(addresses, items), 0) << std::hex << access_->fault().address;
    for (size_t i = 0; i < pages.size(); ++i) {
      const Page& page = reference_[pages[i]];
      ASSERT_EQ(items[i][0], tag(page.buffer, page.page)) << std::hex << addresses[i];
    }
  }

  void check_one() {
    const uint64_t page = random(kWindow / kPage);
    const auto found = reference_.find(page);
    const bool mapped = found != reference_.end();
    const uint64_t address = va(page);
    std::vector<CardAccess::Item> items;
    ASSERT_EQ(access_->read({&address, 1}, items), mapped ? 0 : -EFAULT) << std::hex << address;
    const CardAccess::Item item = {mapped ? tag(found->second.buffer, found->second.page) : 0};
    const bool writable = mapped && !found->second.readonly;
    ASSERT_EQ(access_->write(address, item), writable ? 0 : -EFAULT) << std::hex << address;
    if (!writable) {
      ASSERT_EQ(access_->fault().address, address);
    }
  }

  std::minstd_rand engine_{20261126};
  std::map<uint64_t, Page> reference_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::unique_ptr<CardAccess> access_;
};

TEST_F(Differential, RandomMapsAndUnmaps) {
  for (int round = 0; round < 300; ++round) {
    std::vector<drm_npu_bind_op> ops(1 + random(3));
    for (drm_npu_bind_op& op : ops) {
      op = random_op();
      apply(op);
    }
    if (random(2)) {
      ASSERT_EQ(device_.bind(vm_, ops), 0);
    } else {
      const drm_npu_sync done = {.handle = device_.create_syncobj(), .flags = 0, .point = 0};
      ASSERT_EQ(device_.bind(vm_, ops, DRM_NPU_VM_BIND_ASYNC, {}, {&done, 1}), 0);
      ASSERT_EQ(device_.wait_syncobj(done.handle), 0);
      device_.destroy_syncobj(done.handle);
    }
    check_mapped();
    check_one();
    if (HasFatalFailure()) FAIL() << "in round " << round;
    if (round % 50 == 49) {
      // Everything leaves card memory, and comes back to other places or stays out.
      Buffer hog(device_, (uint64_t{device_.target().card_memory_mib} << 20) - kBlock,
                 DRM_NPU_PLACEMENT_CARD);
      if (random(2)) check_mapped();
    }
  }
}

// Binds that wait, one on another's work, while submissions validate buffers.
TEST_F(Differential, ManyBindsInFlight) {
  for (int round = 0; round < 20; ++round) {
    const uint32_t gate = device_.create_syncobj(false);
    const uint32_t done = device_.create_syncobj(false);
    ASSERT_EQ(device_.signal_point(gate, 1), 0);
    for (uint64_t i = 1; i <= 25; ++i) {
      const drm_npu_bind_op op = random_op();
      apply(op);
      const drm_npu_sync wait = {.handle = gate, .flags = DRM_NPU_SYNC_TIMELINE, .point = 1};
      const drm_npu_sync signal = {.handle = done, .flags = DRM_NPU_SYNC_TIMELINE, .point = i};
      ASSERT_EQ(device_.bind(vm_, {&op, 1}, DRM_NPU_VM_BIND_ASYNC, {&wait, 1}, {&signal, 1}), 0);
    }
    ASSERT_EQ(device_.wait_point(done, 25), 0);
    check_mapped();
    check_one();
    if (HasFatalFailure()) FAIL() << "in round " << round;
    device_.destroy_syncobj(gate);
    device_.destroy_syncobj(done);
  }
}

}  // namespace
}  // namespace kmd
