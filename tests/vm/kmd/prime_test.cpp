// SPDX-License-Identifier: MIT
//
// Buffers shared by dma-buf: with vgem and udmabuf, which this project did not
// write, between processes, and between two cards.
#include <glob.h>
#include <gtest/gtest.h>
#include <linux/dma-buf.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

#include "card_access.h"
#include "device.h"
#include "others.h"
#include "streams.h"

namespace kmd {
namespace {

constexpr uint64_t kVa = 1ull << 32;
constexpr uint64_t kSize = 16 * kPage;

uint64_t card_memory_used(const Device& device) {
  drm_npu_telemetry telemetry = {};
  drm_npu_dev_query args = {.type = DRM_NPU_QUERY_TELEMETRY,
                            .size = sizeof(telemetry),
                            .pointer = reinterpret_cast<uint64_t>(&telemetry)};
  EXPECT_EQ(device.ioctl(DRM_IOCTL_NPU_DEV_QUERY, &args), 0);
  return telemetry.card_memory_used;
}

// Whoever writes, everybody reads it.
void expect_shared(CardAccess& access, uint64_t va, uint64_t* words, uint64_t seed) {
  for (const uint64_t page : {0, 3, 15}) {
    const uint64_t address = va + page * kPage, word = page * kPage / 8;
    words[word] = seed + page;
    std::vector<CardAccess::Item> items;
    ASSERT_EQ(access.read({&address, 1}, items), 0);
    EXPECT_EQ(items[0][0], seed + page);
    ASSERT_EQ(access.write(address, {seed + 100 + page, seed}), 0);
    EXPECT_EQ(words[word], seed + 100 + page);
    EXPECT_EQ(words[word + 1], seed);
  }
}

enum class Other { kVgem, kUdmabuf };

class Import : public testing::TestWithParam<Other> {
 protected:
  void SetUp() override {
    if (GetParam() == Other::kVgem)
      other_ = std::make_unique<Vgem>(kSize);
    else
      other_ = std::make_unique<Udmabuf>(kSize);
    ASSERT_EQ(device_.import_buffer(other_->dma_buf(), handle_), 0);
  }

  Device device_;
  std::unique_ptr<OtherBuffer> other_;
  uint32_t handle_ = 0;
};

TEST_P(Import, JobsAndTheExporterSeeTheSame) {
  uint32_t vm = 0;
  ASSERT_EQ(device_.create_vm(vm), 0);
  ASSERT_EQ(device_.map(vm, handle_, kVa, kSize), 0);
  CardAccess access(device_, vm);
  expect_shared(access, kVa, other_->words(), 7);
  EXPECT_EQ(device_.map(vm, handle_, kVa, kSize + kPage), -EINVAL) << "longer than it is";
}

TEST_P(Import, InputOfAJob) {
  constexpr uint32_t kElements = kSize - kPage;
  LookupJob lookup(device_, kElements, 3);
  ASSERT_EQ(lookup.run_checked(9), 0);
  lookup.prepare(21);
  memcpy(other_->bytes().data(), lookup.input().bytes().data(), kElements);
  memset(lookup.input().bytes().data(), 0, kElements);
  ASSERT_EQ(device_.map(lookup.vm(), handle_, LookupJob::kBase, kElements), 0);
  const drm_npu_job job = lookup.job();
  ASSERT_EQ(device_.run(lookup.queue(), {&job, 1}), 0);
  EXPECT_TRUE(lookup.correct());
}

TEST_P(Import, IsMappedThroughOurNodeToo) {
  drm_npu_bo_mmap_offset offset = {};
  offset.handle = handle_;
  ASSERT_EQ(device_.ioctl(DRM_IOCTL_NPU_BO_MMAP_OFFSET, &offset), 0);
  void* data = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, device_.fd(),
                    static_cast<off_t>(offset.offset));
  ASSERT_NE(data, MAP_FAILED) << strerror(errno);
  other_->words()[kPage / 8 + 5] = 55;
  EXPECT_EQ(static_cast<uint64_t*>(data)[kPage / 8 + 5], 55u);
  munmap(data, kSize);
}

TEST_P(Import, OutlivesTheExportersHandle) {
  uint32_t vm = 0;
  ASSERT_EQ(device_.create_vm(vm), 0);
  ASSERT_EQ(device_.map(vm, handle_, kVa, kSize), 0);
  CardAccess access(device_, vm);
  other_->words()[0] = 1234;
  other_.reset();
  device_.close_buffer(handle_);
  const uint64_t address = kVa;
  std::vector<CardAccess::Item> items;
  ASSERT_EQ(access.read({&address, 1}, items), 0);
  EXPECT_EQ(items[0][0], 1234u);
}

INSTANTIATE_TEST_SUITE_P(From, Import, testing::Values(Other::kVgem, Other::kUdmabuf),
                         [](const auto& info) {
                           return info.param == Other::kVgem ? "vgem" : "udmabuf";
                         });

class Export : public testing::TestWithParam<uint32_t> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(wait_for_counts(device_, 1, 0, 0)) << "earlier tests' buffers";
    ASSERT_EQ(device_.create_vm(vm_), 0);
    ASSERT_EQ(device_.map(vm_, buffer_.handle(), kVa, kSize), 0);
    access_ = std::make_unique<CardAccess>(device_, vm_);
    fd_ = device_.export_buffer(buffer_.handle());
    ASSERT_GE(fd_, 0);
  }
  void TearDown() override { close(fd_); }

  Device device_;
  Buffer buffer_{device_, kSize, GetParam()};
  std::unique_ptr<CardAccess> access_;
  uint32_t vm_ = 0;
  int fd_ = -1;
};

TEST_P(Export, AnotherDriverIsAttached) {
  const uint64_t in_card = GetParam() == DRM_NPU_PLACEMENT_CARD ? kSize : 0;
  EXPECT_EQ(card_memory_used(device_), in_card);
  buffer_.as<uint64_t>()[1] = 17;
  {
    Vgem vgem(dup(fd_), kSize);
    EXPECT_EQ(vgem.words()[1], 17u) << "contents came along";
    expect_shared(*access_, kVa, vgem.words(), 1000);
    expect_shared(*access_, kVa, buffer_.as<uint64_t>(), 2000);
    EXPECT_EQ(card_memory_used(device_), 0u) << "in host memory while somebody else uses it";
  }
  expect_shared(*access_, kVa, buffer_.as<uint64_t>(), 3000);
  EXPECT_EQ(card_memory_used(device_), in_card) << "and then back";
}

TEST_P(Export, IsMappedAsADmaBuf) {
  void* data = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  ASSERT_NE(data, MAP_FAILED) << strerror(errno);
  expect_shared(*access_, kVa, static_cast<uint64_t*>(data), 4000);
  munmap(data, kSize);
}

// Eviction may not move what another device uses.
TEST_P(Export, StaysWhereItIsUnderPressure) {
  Vgem vgem(dup(fd_), kSize);
  for (int i = 0; i < 3; ++i) {
    Buffer hog(device_, uint64_t{device_.target().card_memory_mib} << 20, DRM_NPU_PLACEMENT_CARD);
    hog.bytes()[0] = 1;
    expect_shared(*access_, kVa, vgem.words(), 5000 + i);
  }
}

TEST_P(Export, ASecondProcessImportsIt) {
  fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    Device other;
    uint32_t handle = 0, vm = 0;
    if (other.import_buffer(fd_, handle) != 0 || other.create_vm(vm) != 0 ||
        other.map(vm, handle, kVa, kSize) != 0)
      _exit(1);
    CardAccess access(other, vm);
    if (access.write(kVa + kPage, {77, 78}) != 0) _exit(2);
    _exit(testing::Test::HasFailure() ? 3 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  const uint64_t address = kVa + kPage;
  std::vector<CardAccess::Item> items;
  ASSERT_EQ(access_->read({&address, 1}, items), 0);
  EXPECT_EQ(items[0][0], 77u);
  // The same file gets the same handle back.
  uint32_t again = 0;
  ASSERT_EQ(device_.import_buffer(fd_, again), 0);
  EXPECT_EQ(again, buffer_.handle());
}

INSTANTIATE_TEST_SUITE_P(Of, Export,
                         testing::Values(DRM_NPU_PLACEMENT_HOST, DRM_NPU_PLACEMENT_CARD),
                         [](const auto& info) {
                           return info.param == DRM_NPU_PLACEMENT_CARD ? "Card" : "Host";
                         });

TEST(Sharing, WhatIsNoDmaBufIsRefused) {
  Device device;
  uint32_t handle = 0;
  EXPECT_EQ(device.import_buffer(-1, handle), -EBADF);
  EXPECT_EQ(device.import_buffer(device.fd(), handle), -EINVAL);
  EXPECT_EQ(device.export_buffer(99), -ENOENT);
}

// ---- Implicit synchronisation: by sync files, never by itself ----

bool readable(int dma_buf) {
  pollfd item = {.fd = dma_buf, .events = POLLIN, .revents = 0};
  return poll(&item, 1, 0) == 1;
}

TEST(Sharing, AJobsFenceIsOnTheBufferIfUserSpacePutsItThere) {
  Device device;
  Udmabuf other(kSize);
  uint32_t handle = 0;
  ASSERT_EQ(device.import_buffer(other.dma_buf(), handle), 0);
  LookupJob lookup(device, 60000, 1, DRM_NPU_PLACEMENT_HOST, 0, 600);
  ASSERT_EQ(device.map(lookup.vm(), handle, kVa, kSize), 0);

  const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  const drm_npu_job job = lookup.job();
  ASSERT_EQ(device.submit(lookup.queue(), {&job, 1}, {}, {&done, 1}), 0);
  // The job's own fence, BOOKKEEP, concerns nobody who looks for readers and writers.
  EXPECT_TRUE(readable(other.dma_buf()));

  const int fence = device.export_fence(done.handle);
  ASSERT_GE(fence, 0);
  dma_buf_import_sync_file import = {.flags = DMA_BUF_SYNC_WRITE, .fd = fence};
  ASSERT_EQ(ioctl(other.dma_buf(), DMA_BUF_IOCTL_IMPORT_SYNC_FILE, &import), 0);
  const int read_after = other.export_sync_file();
  EXPECT_EQ(sync_file_status(read_after, 0), 0) << "the job should have taken longer";
  EXPECT_FALSE(readable(other.dma_buf()));

  ASSERT_EQ(device.wait_syncobj(done.handle), 0);
  EXPECT_EQ(sync_file_status(read_after, 0), 1);
  EXPECT_TRUE(readable(other.dma_buf()));
  close(read_after);
  close(fence);
}

TEST(Sharing, AJobWaitsForAnotherDriversFence) {
  Device device;
  Gate gate(device);
  LookupJob lookup(device, 4096, 5);
  const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  const drm_npu_job job = lookup.job();
  ASSERT_EQ(device.submit(lookup.queue(), {&job, 1}, {&gate.sync, 1}, {&done, 1}), 0);
  EXPECT_EQ(device.wait_syncobj(done.handle, 0.1), -ETIME);
  EXPECT_EQ(lookup.output().bytes()[0], 0xee) << "it ran before its fence";
  gate.open();
  ASSERT_EQ(device.wait_syncobj(done.handle), 0);
  EXPECT_TRUE(lookup.correct());
}

// What brings a buffer back keeps its hands off a bind that is still to come.
class BindInTurn : public testing::TestWithParam<const char*> {};

TEST_P(BindInTurn, AlsoIfItsBufferWas) {
  const bool evicted = GetParam() == std::string("Evicted");
  Device device;
  LookupJob lookup(device, 4096, 5);
  const drm_npu_job job = lookup.job();
  const drm_npu_sync done = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  const drm_npu_sync bound = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  const drm_npu_sync later = {.handle = device.create_syncobj(), .flags = 0, .point = 0};
  Gate first(device), second(device);
  ASSERT_EQ(device.submit(lookup.queue(), {&job, 1}, {&first.sync, 1}, {&done, 1}), 0);

  // The space has it since the job was submitted: no fence is on it.
  Buffer buffer(device, kPage, evicted ? DRM_NPU_PLACEMENT_CARD : DRM_NPU_PLACEMENT_HOST);
  ASSERT_EQ(device.map(lookup.vm(), buffer.handle(), kVa, kPage), 0);
  std::unique_ptr<Buffer> all;
  if (evicted) {
    const uint64_t total = device.telemetry().card_memory_total;
    all = std::make_unique<Buffer>(device, total, DRM_NPU_PLACEMENT_CARD);
    ASSERT_EQ(device.telemetry().card_memory_used, total) << "it is still there";
  }

  drm_npu_bind_op op = {};
  op.op = DRM_NPU_BIND_MAP;
  op.handle = buffer.handle();
  op.va = lookup.regions()[kInput];
  op.size = kPage;
  ASSERT_EQ(device.bind(lookup.vm(), {&op, 1}, DRM_NPU_VM_BIND_ASYNC, {&done, 1}, {&bound, 1}), 0);
  if (!evicted) Vgem attached(device.export_buffer(buffer.handle()), kPage);
  const drm_npu_sync waits[] = {bound, second.sync};
  ASSERT_EQ(device.submit(lookup.queue(), {&job, 1}, waits, {&later, 1}), 0);

  first.open();
  ASSERT_EQ(device.wait_syncobj(done.handle), 0);
  EXPECT_TRUE(lookup.correct()) << "the job before the bind had its memory";
  second.open();
  ASSERT_EQ(device.wait_syncobj(later.handle), 0);
  EXPECT_EQ(device.fence_status(later.handle), 1);
  EXPECT_FALSE(lookup.correct()) << "the job after it has not";
}

INSTANTIATE_TEST_SUITE_P(Sharing, BindInTurn, testing::Values("Evicted", "Detached"),
                         [](const auto& info) { return std::string(info.param); });

// ---- Two cards ----

class TwoCards : public testing::Test {
 protected:
  static std::vector<std::string> nodes() {
    glob_t found = {};
    std::vector<std::string> paths;
    if (glob("/dev/accel/accel*", 0, nullptr, &found) == 0)
      paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
    globfree(&found);
    return paths;
  }

  // One card's buffer in the other's space, `va` in both.
  struct Side {
    explicit Side(const std::string& path) : device(path) {
      EXPECT_EQ(device.create_vm(vm), 0);
      access = std::make_unique<CardAccess>(device, vm);
    }
    Device device;
    uint32_t vm = 0;
    std::unique_ptr<CardAccess> access;
  };
};

TEST_F(TwoCards, WorkOnOneBuffer) {
  ASSERT_EQ(nodes().size(), 2u);
  Side a(nodes()[0]), b(nodes()[1]);
  Buffer buffer(a.device, kSize, DRM_NPU_PLACEMENT_CARD);
  ASSERT_EQ(a.device.map(a.vm, buffer.handle(), kVa, kSize), 0);
  const int fd = a.device.export_buffer(buffer.handle());
  ASSERT_GE(fd, 0);
  uint32_t handle = 0;
  ASSERT_EQ(b.device.import_buffer(fd, handle), 0);
  close(fd);
  ASSERT_EQ(b.device.map(b.vm, handle, kVa, kSize), 0);
  for (uint64_t i = 0; i < 20; ++i) {
    ASSERT_EQ(a.access->write(kVa + 5 * kPage, {i}), 0);
    const uint64_t address = kVa + 5 * kPage;
    std::vector<CardAccess::Item> items;
    ASSERT_EQ(b.access->read({&address, 1}, items), 0);
    ASSERT_EQ(items[0][0], i);
    expect_shared(*b.access, kVa, buffer.as<uint64_t>(), i);
  }
}

// The exporter's card goes: the other's jobs still find the pages. Then the importer's.
TEST_F(TwoCards, EitherMayGoFirst) {
  for (const int first : {0, 1}) {
    ASSERT_EQ(nodes().size(), 2u);
    auto a = std::make_unique<Side>(nodes()[first]);
    auto b = std::make_unique<Side>(nodes()[1 - first]);
    std::string address[2];
    for (int i = 0; i < 2; ++i) {
      char path[4096];
      ASSERT_NE(
          realpath(("/sys/class/accel/accel" + nodes()[i].substr(nodes()[i].size() - 1) + "/device")
                       .c_str(),
                   path),
          nullptr);
      address[i] = strrchr(path, '/') + 1;
    }
    auto buffer = std::make_unique<Buffer>(a->device, kSize, DRM_NPU_PLACEMENT_HOST);
    buffer->as<uint64_t>()[0] = 4321;
    const int fd = a->device.export_buffer(buffer->handle());
    uint32_t handle = 0;
    ASSERT_EQ(b->device.import_buffer(fd, handle), 0);
    close(fd);
    ASSERT_EQ(b->device.map(b->vm, handle, kVa, kSize), 0);

    ASSERT_TRUE(write_file("/sys/bus/pci/devices/" + address[0] + "/remove", "1"));
    if (first == 0) {
      const uint64_t va = kVa;
      std::vector<CardAccess::Item> items;
      ASSERT_EQ(b->access->read({&va, 1}, items), 0);
      EXPECT_EQ(items[0][0], 4321u);
      ASSERT_EQ(b->access->write(kVa + kPage, {1}), 0);
    } else {
      buffer->as<uint64_t>()[1] = 1;
      EXPECT_EQ(buffer->as<uint64_t>()[0], 4321u);
    }
    buffer.reset();
    for (auto* side : {&a, &b}) {
      (*side)->access.reset();
      side->reset();
    }
    ASSERT_TRUE(write_file("/sys/bus/pci/rescan", "1"));
    for (int i = 0; i < 500 && nodes().size() < 2; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace
}  // namespace kmd
