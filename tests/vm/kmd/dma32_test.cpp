// SPDX-License-Identifier: MIT
//
// A card with 32 address bits, accel0, in a machine with memory beyond them, where
// the kernel takes memory from first; and accel1, which has all 64. What the driver
// gives the first has to be in its reach: it must not be copied there.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "card_access.h"
#include "device.h"
#include "others.h"
#include "streams.h"

namespace kmd {
namespace {

constexpr uint64_t kVa = 1ull << 32;
constexpr uint64_t kSize = 16 * kPage;
constexpr char kNarrow[] = "/dev/accel/accel0", kWide[] = "/dev/accel/accel1";

// Bytes of a zone of the kernel's, on all nodes, that are free.
uint64_t free_bytes(const std::string& zone) {
  std::istringstream lines(read_file("/proc/zoneinfo"));
  std::string line, word;
  uint64_t pages = 0;
  bool inside = false;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    words >> word;
    if (word == "Node") inside = line.ends_with(" " + zone);
    uint64_t count = 0;
    if (inside && word == "pages" && words >> word >> count && word == "free") pages += count;
  }
  return pages * kPage;
}

// Where the pages of a large host buffer come from.
struct Taken {
  explicit Taken(const Device& device) {
    constexpr uint64_t kBytes = 256 << 20;
    const uint64_t low = free_bytes("DMA32"), high = free_bytes("Normal");
    Buffer buffer(device, kBytes, DRM_NPU_PLACEMENT_HOST);
    for (uint64_t at = 0; at < kBytes; at += kPage) buffer.bytes()[at] = 1;
    // Who else takes and frees memory meanwhile takes less.
    below = low > free_bytes("DMA32") + kBytes / 4 * 3;
    beyond = high > free_bytes("Normal") + kBytes / 4 * 3;
  }
  bool below = false, beyond = false;
};

// Bytes of bounce buffers that were in use at once since the last call.
uint64_t bounced() {
  constexpr char kHighWater[] = "/sys/kernel/debug/swiotlb/io_tlb_used_hiwater";
  const std::string slots = read_file(kHighWater);
  EXPECT_FALSE(slots.empty());
  EXPECT_TRUE(write_file(kHighWater, "0"));
  return std::stoull(slots) * 2048;
}

TEST(Dma32, BuffersAreWithinReach) {
  bounced();
  const Taken narrow(Device{kNarrow}), wide(Device{kWide});
  EXPECT_TRUE(narrow.below && !narrow.beyond);
  EXPECT_TRUE(wide.beyond && !wide.below) << "where the kernel takes memory from first";
  EXPECT_EQ(bounced(), 0u);
}

TEST(Dma32, JobsHaveTheirData) {
  Device device(kNarrow);
  bounced();
  for (const uint32_t placement : {DRM_NPU_PLACEMENT_HOST, DRM_NPU_PLACEMENT_CARD}) {
    LookupJob lookup(device, 60000, 5, placement);
    for (uint8_t key = 0; key < 20; ++key) ASSERT_EQ(lookup.run_checked(key), 0);
  }
  EXPECT_EQ(bounced(), 0u);
}

// More card buffers than card memory: they come and go through host memory.
TEST(Dma32, EvictedBuffersComeBack) {
  Device device(kNarrow);
  bounced();
  const uint64_t size = uint64_t{device.target().card_memory_mib} << 20 >> 2;
  std::vector<std::unique_ptr<Buffer>> buffers;
  for (unsigned i = 0; i < 12; ++i) {
    Buffer& buffer =
        *buffers.emplace_back(std::make_unique<Buffer>(device, size, DRM_NPU_PLACEMENT_CARD));
    std::mt19937_64 random(i);
    for (uint64_t at = 0; at < size; at += 512) buffer.as<uint64_t>()[at / 8] = random();
  }
  uint64_t wrong = 0;
  for (unsigned i = 0; i < buffers.size(); ++i) {
    std::mt19937_64 random(i);
    for (uint64_t at = 0; at < size; at += 512)
      wrong += buffers[i]->as<uint64_t>()[at / 8] != random();
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(bounced(), 0u);
}

// A mapping of theirs would be a copy, as it was when it was made.
TEST(Dma32, ImportsOutOfReachAreRefused) {
  Device narrow(kNarrow), wide(kWide);
  std::vector<std::unique_ptr<OtherBuffer>> others;
  others.push_back(std::make_unique<Vgem>(kSize));
  others.push_back(std::make_unique<Udmabuf>(kSize));
  for (const auto& other : others) {
    memset(other->bytes().data(), 1, kSize);
    uint32_t handle = 0;
    EXPECT_EQ(narrow.import_buffer(other->dma_buf(), handle), -EOPNOTSUPP);
    EXPECT_EQ(wide.import_buffer(other->dma_buf(), handle), 0);
  }
  Buffer buffer(wide, kSize, DRM_NPU_PLACEMENT_HOST);
  const int fd = wide.export_buffer(buffer.handle());
  ASSERT_GE(fd, 0);
  uint32_t handle = 0;
  EXPECT_EQ(narrow.import_buffer(fd, handle), -EOPNOTSUPP);
  close(fd);
  EXPECT_EQ(read_file("/sys/kernel/debug/swiotlb/io_tlb_used"), "0\n");
}

TEST(Dma32, ImportsWithinReachAreShared) {
  Device narrow(kNarrow), wide(kWide);
  bounced();
  Buffer buffer(narrow, kSize, DRM_NPU_PLACEMENT_HOST);
  const int fd = narrow.export_buffer(buffer.handle());
  ASSERT_GE(fd, 0);
  uint32_t vm = 0, handle = 0;
  ASSERT_EQ(wide.import_buffer(fd, handle), 0);
  close(fd);
  ASSERT_EQ(wide.create_vm(vm), 0);
  ASSERT_EQ(wide.map(vm, handle, kVa, kSize), 0);
  CardAccess access(wide, vm);
  for (uint64_t i = 0; i < 16; ++i) {
    const uint64_t address = kVa + i * kPage;
    ASSERT_EQ(access.write(address, {i + 1}), 0);
    EXPECT_EQ(buffer.as<uint64_t>()[i * kPage / 8], i + 1);
  }
  EXPECT_EQ(bounced(), 0u);
}

}  // namespace
}  // namespace kmd
