// SPDX-License-Identifier: MIT
#include "host_work.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#include "arch/job_check.h"

namespace {

std::atomic<uint64_t> allocations, allocated_bytes;

void* allocate(std::size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  allocated_bytes.fetch_add(bytes, std::memory_order_relaxed);
  void* memory = std::malloc(bytes != 0 ? bytes : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// All of this program's.
void* operator new(std::size_t bytes) {
  return allocate(bytes);
}
void* operator new[](std::size_t bytes) {
  return allocate(bytes);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace npu::testing {

void expect_little_work(const std::string& name, std::vector<std::span<const std::byte>> streams,
                        const npu_target& target) {
  const auto gang = static_cast<double>(streams.size());
  const uint64_t allocations_before = allocations, bytes_before = allocated_bytes;
  arch::JobCheck check(std::move(streams), target);
  check.request_timing({});
  EXPECT_TRUE(check.run(~uint64_t{0}));
  const auto made = static_cast<double>(allocations - allocations_before);
  const auto bytes = static_cast<double>(allocated_bytes - bytes_before);
  ASSERT_EQ(check.error.status, NPU_STATUS_OK) << name << ": " << check.error.text;
  double commands = 0;
  for (const arch::Stream& stream : check.streams) commands += static_cast<double>(stream.size());
  // The vectors that grow with the stream do so in few steps, and nothing has the
  // size of an SRAM but a bit per granule behind a YIELD.
  EXPECT_LE(made, 30 + 25 * gang) << name;
  EXPECT_LE(bytes, gang * 49152 + 1024 * commands) << name;
  EXPECT_FALSE(check.by_granule) << name;
  EXPECT_LE(static_cast<double>(check.compared), 10 * gang * commands) << name;
  EXPECT_LE(static_cast<double>(check.events), 5 * commands) << name;
}

}  // namespace npu::testing
