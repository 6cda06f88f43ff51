// SPDX-License-Identifier: MIT
#include "card_access.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "streams.h"

namespace kmd {
namespace {

// The control buffer: read stream, write stream, region table, data.
constexpr uint64_t kWriteAt = 0x4000, kRegionsAt = 0x5000, kDataAt = 0x6000, kSize = 0x8000;

constexpr uint8_t kDataRegion = CardAccess::kMost;

}  // namespace

CardAccess::CardAccess(const Device& device, uint32_t vm)
    : device_(device), vm_(vm), control_(device, kSize, DRM_NPU_PLACEMENT_HOST) {
  EXPECT_EQ(device.create_queue(vm, queue_), 0);
  EXPECT_EQ(device.map(vm, control_.handle(), kVa, kSize), 0);

  std::vector<std::pair<uint8_t, uint8_t>> reads;
  for (uint8_t i = 0; i < kMost; ++i) reads.emplace_back(i, i);
  const std::vector<std::byte> read = copy_stream(reads, kDataRegion, kBytes);
  const std::vector<std::byte> write = copy_stream({{kDataRegion, 0}}, 0, kBytes);
  EXPECT_LE(read.size(), kWriteAt);
  read_bytes_ = static_cast<uint32_t>(read.size());
  write_bytes_ = static_cast<uint32_t>(write.size());
  memcpy(control_.bytes().data(), read.data(), read.size());
  memcpy(control_.bytes().data() + kWriteAt, write.data(), write.size());
}

CardAccess::~CardAccess() {
  device_.destroy_queue(queue_);
  device_.unmap(vm_, kVa, kSize);
}

int CardAccess::run(uint64_t stream_va, uint32_t stream_bytes) {
  drm_npu_job job = {};
  job.stream_va = stream_va;
  job.region_va = kVa + kRegionsAt;
  job.stream_count = 1;
  job.region_count = kMost + 1;
  job.stream_bytes[0] = stream_bytes;
  return device_.run(queue_, {&job, 1});
}

int CardAccess::read(std::span<const uint64_t> addresses, std::vector<Item>& items) {
  auto* regions = reinterpret_cast<uint64_t*>(control_.bytes().data() + kRegionsAt);
  std::fill_n(regions, kMost + 1, kVa + kDataAt);
  std::copy_n(addresses.begin(), std::min(addresses.size(), kMost), regions);
  const int ret = run(kVa, read_bytes_);
  items.resize(addresses.size());
  memcpy(items.data(), control_.bytes().data() + kDataAt, items.size() * kBytes);
  return ret;
}

int CardAccess::write(uint64_t address, const Item& item) {
  auto* regions = reinterpret_cast<uint64_t*>(control_.bytes().data() + kRegionsAt);
  std::fill_n(regions, kMost + 1, kVa + kDataAt);
  regions[0] = address;
  memcpy(control_.bytes().data() + kDataAt, item.data(), kBytes);
  return run(kVa + kWriteAt, write_bytes_);
}

}  // namespace kmd
