// SPDX-License-Identifier: MIT
//
// The protocol, and clients that break it. What the card does behind it is the
// matter of tests/card.
#include "vfio-user/server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "arch/target.h"
#include "npu/registers.h"
#include "vfio-user/testing/client.h"

namespace npu::vfio_user {
namespace {

constexpr uint64_t kPage = 4096;

UniqueFd shared_file(uint64_t bytes) {
  UniqueFd file(memfd_create("guest", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(file.get(), static_cast<off_t>(bytes)), 0);
  return file;
}

DeviceOptions small_card() {
  DeviceOptions options;
  options.target = *arch::find_target("card");
  options.target.card_memory_mib = 1;
  return options;
}

class VfioUser : public testing::Test {
 protected:
  // One client after another, on the same card.
  Client& connect() {
    disconnect();
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    server_ = std::thread([this, end = ends[1]] {
      wrong_ = serve(UniqueFd(end), device_, [this] { return stop_.load(); });
    });
    client_ = std::make_unique<Client>(UniqueFd(ends[0]));
    return *client_;
  }
  Client& connect_and_negotiate() {
    connect().negotiate();
    return *client_;
  }
  // What the client did wrong, in the server's words.
  std::string disconnect() {
    client_.reset();
    if (server_.joinable()) server_.join();
    return std::exchange(wrong_, "");
  }
  void TearDown() override { disconnect(); }

  int error_of(uint16_t command, std::span<const std::byte> payload,
               std::span<const int> fds = {}) {
    const auto reply = client_->request(command, payload, fds);
    return reply ? reply->error : -1;
  }
  template <typename T>
  int error_of(uint16_t command, const T& payload, std::span<const int> fds = {}) {
    return error_of(command, std::as_bytes(std::span(&payload, 1)), fds);
  }
  bool alive() {
    uint32_t magic = 0;
    client_->read(NPU_BAR_REGISTERS, NPU_REG_MAGIC, &magic, 4);
    return magic == NPU_MAGIC;
  }

  Device device_{small_card()};
  std::atomic<bool> stop_{false};
  std::string wrong_;
  std::thread server_;
  std::unique_ptr<Client> client_;
};

TEST_F(VfioUser, VersionComesFirstAndOnce) {
  connect();
  EXPECT_EQ(error_of(kDeviceGetInfo, DeviceInfo{}), -1) << "the connection is closed";
  EXPECT_NE(disconnect(), "");
  connect();
  EXPECT_EQ(error_of(kVersion, VersionNumbers{7, 0}), -1);
  EXPECT_NE(disconnect(), "");
  connect();
  EXPECT_EQ(error_of(kVersion, std::span<const std::byte>()), EINVAL);
  const auto reply = client_->request(kVersion, VersionNumbers{kMajor, 9});
  ASSERT_TRUE(reply && reply->error == 0);
  VersionNumbers numbers;
  std::memcpy(&numbers, reply->payload.data(), sizeof(numbers));
  EXPECT_EQ(numbers.major, kMajor);
  EXPECT_LE(numbers.minor, 9);
  EXPECT_EQ(reply->payload.back(), std::byte{0}) << "the JSON ends with NUL";
  EXPECT_EQ(error_of(kVersion, VersionNumbers{kMajor, 0}), EINVAL);
  EXPECT_TRUE(alive());
  EXPECT_EQ(disconnect(), "");
}

TEST_F(VfioUser, DescribesAPciDevice) {
  Client& client = connect_and_negotiate();
  const auto device = client.request(kDeviceGetInfo, DeviceInfo{sizeof(DeviceInfo), 0, 0, 0});
  DeviceInfo info;
  std::memcpy(&info, device->payload.data(), sizeof(info));
  EXPECT_EQ(info.flags, uint32_t{VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI});
  EXPECT_EQ(info.num_regions, uint32_t{VFIO_PCI_NUM_REGIONS});
  for (uint32_t index = 0; index <= VFIO_PCI_NUM_REGIONS; ++index) {
    vfio_region_info request = {};
    request.argsz = sizeof(request);
    request.index = index;
    const auto reply = client.request(kDeviceGetRegionInfo, request);
    ASSERT_EQ(reply->error, index < VFIO_PCI_NUM_REGIONS ? 0 : EINVAL);
    if (reply->error != 0) continue;
    std::memcpy(&request, reply->payload.data(), sizeof(request));
    EXPECT_EQ(request.size, device_.region_bytes(index));
    EXPECT_EQ(reply->fds.size(), index == NPU_BAR_APERTURE ? 1u : 0u);
  }
  vfio_irq_info irq = {};
  irq.argsz = sizeof(irq);
  irq.index = VFIO_PCI_MSIX_IRQ_INDEX;
  const auto reply = client.request(kDeviceGetIrqInfo, irq);
  std::memcpy(&irq, reply->payload.data(), sizeof(irq));
  EXPECT_EQ(irq.count, device_.interrupts().count());
}

TEST_F(VfioUser, ApertureIsSharedAndItsSizeIsSealed) {
  Client& client = connect_and_negotiate();
  vfio_region_info request = {};
  request.argsz = sizeof(request);
  request.index = NPU_BAR_APERTURE;
  const auto reply = client.request(kDeviceGetRegionInfo, request);
  ASSERT_EQ(reply->fds.size(), 1u);
  const int fd = reply->fds[0].get();
  void* memory = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ASSERT_NE(memory, MAP_FAILED);
  std::memcpy(memory, "npu", 3);
  char read[3];
  client.read(NPU_BAR_APERTURE, 0, read, sizeof(read));
  EXPECT_EQ(std::memcmp(read, "npu", 3), 0);
  munmap(memory, kPage);
  EXPECT_NE(ftruncate(fd, 0), 0) << "that would be a fault of the card's process";
}

TEST_F(VfioUser, MemoryMapsAreChecked) {
  connect_and_negotiate();
  const UniqueFd file = shared_file(16 * kPage);
  const int fd = file.get();
  const auto map = [&](uint64_t address, uint64_t bytes, uint64_t offset, int with = -2,
                       uint32_t flags = kDmaReadable | kDmaWritable) {
    if (with == -2) with = fd;
    return error_of(kDmaMap, DmaMap{sizeof(DmaMap), flags, offset, address, bytes},
                    std::span(&with, with >= 0 ? 1 : 0));
  };
  EXPECT_EQ(map(0x10000, 4 * kPage, 0), 0);
  EXPECT_EQ(map(0x10000, 4 * kPage, 0), EEXIST);
  EXPECT_EQ(map(0x13000, kPage, 0), EEXIST);
  EXPECT_EQ(map(0xf000, 2 * kPage, 0), EEXIST);
  EXPECT_EQ(map(0, 16 * kPage + 0x10000, 0, -1), EEXIST);
  EXPECT_EQ(map(0xf000, kPage, 0), 0);
  EXPECT_EQ(map(0x14000, kPage, 0), 0);
  EXPECT_EQ(map(0x100000, 0, 0), EINVAL);
  EXPECT_EQ(map(0x100001, kPage, 0), EINVAL);
  EXPECT_EQ(map(0x100000, kPage + 1, 0), EINVAL);
  EXPECT_EQ(map(0x100000, kPage, 1), EINVAL);
  EXPECT_EQ(map(0x100000, kPage, 0, -2, 8), EINVAL);
  EXPECT_EQ(map(0x100000, 17 * kPage, 0), EINVAL) << "longer than the file";
  EXPECT_EQ(map(0x100000, kPage, 16 * kPage), EINVAL);
  EXPECT_EQ(map(0x100000, kPage, ~uint64_t{0} & ~(kPage - 1)), EINVAL);
  EXPECT_EQ(map(~uint64_t{0} & ~(kPage - 1), 2 * kPage, 0), EINVAL) << "around the end";
  int pipes[2];
  ASSERT_EQ(pipe2(pipes, O_CLOEXEC), 0);
  EXPECT_EQ(map(0x100000, kPage, 0, pipes[0]), EINVAL) << "no file";
  close(pipes[0]);
  close(pipes[1]);
  const int two[] = {fd, fd};
  EXPECT_EQ(error_of(kDmaMap, DmaMap{sizeof(DmaMap), 3, 0, 0x100000, kPage}, two), EINVAL);
  EXPECT_EQ(map(uint64_t{1} << 50, uint64_t{1} << 50, 0, -1), 0) << "without a file";

  const auto unmap = [&](uint64_t address, uint64_t bytes, uint32_t flags = 0) {
    return error_of(kDmaUnmap, DmaUnmap{sizeof(DmaUnmap), flags, address, bytes});
  };
  EXPECT_EQ(unmap(0x10000, kPage), ENOENT) << "not as it was mapped";
  EXPECT_EQ(unmap(0x11000, 3 * kPage), ENOENT);
  EXPECT_EQ(unmap(0x10000, 4 * kPage), 0);
  EXPECT_EQ(unmap(0x10000, 4 * kPage), ENOENT);
  EXPECT_EQ(map(0x10000, 4 * kPage, 0), 0);
  EXPECT_EQ(unmap(0, 0, kDmaUnmapAll), 0);
  EXPECT_EQ(map(0x10000, 4 * kPage, 0), 0);
  EXPECT_EQ(unmap(0, 0, 1), EINVAL);
}

TEST_F(VfioUser, MapsAreLimited) {
  connect_and_negotiate();
  for (uint64_t i = 0; i <= kMaxDmaMaps; ++i)
    ASSERT_EQ(error_of(kDmaMap, DmaMap{sizeof(DmaMap), 3, 0, i * kPage, kPage}),
              i < kMaxDmaMaps ? 0 : ENOSPC);
}

// The card reads and writes through the maps, within their rights; a file that
// the client has shrunk is a bus error.
TEST(GuestMemoryTest, AccessesStayWithinMaps) {
  GuestMemory memory;
  UniqueFd file = shared_file(4 * kPage);
  const auto map = [&](uint64_t address, uint64_t bytes, uint64_t offset, uint32_t flags) {
    return memory.map(DmaMap{sizeof(DmaMap), flags, offset, address, bytes}, &file);
  };
  ASSERT_EQ(map(0x1000, kPage, 0, 3), 0);
  ASSERT_EQ(map(0x2000, kPage, 2 * kPage, 3), 0);
  ASSERT_EQ(map(0x3000, kPage, kPage, kDmaReadable), 0);
  std::vector<uint8_t> data(2 * kPage, 0x5a), back(2 * kPage);
  EXPECT_EQ(memory.write(0x1000, data.data(), 2 * kPage), NPU_BUS_OK) << "across two maps";
  EXPECT_EQ(memory.read(0x1000, back.data(), 2 * kPage), NPU_BUS_OK);
  EXPECT_EQ(data, back);
  EXPECT_EQ(memory.write(0x3000, data.data(), 8), NPU_BUS_IOMMU_FAULT);
  EXPECT_EQ(memory.write(0x2ff8, data.data(), 16), NPU_BUS_IOMMU_FAULT);
  EXPECT_EQ(memory.read(0x3ff8, back.data(), 16), NPU_BUS_DECODE_ERROR);
  EXPECT_EQ(memory.read(0xff8, back.data(), 16), NPU_BUS_DECODE_ERROR);
  EXPECT_EQ(memory.read(~uint64_t{0}, back.data(), 1), NPU_BUS_DECODE_ERROR);
  ASSERT_EQ(ftruncate(file.get(), kPage), 0);
  EXPECT_EQ(memory.read(0x2000, back.data(), 8), NPU_BUS_DECODE_ERROR);
  EXPECT_EQ(memory.write(0x2000, back.data(), kPage), NPU_BUS_DECODE_ERROR);
  EXPECT_EQ(memory.read(0x1000, back.data(), kPage), NPU_BUS_OK);
  EXPECT_EQ(memory.unmap(0x1000, kPage), 0);
  EXPECT_EQ(memory.read(0x1000, back.data(), 8), NPU_BUS_DECODE_ERROR);
}

TEST_F(VfioUser, RegionAccessesAreChecked) {
  connect_and_negotiate();
  const auto read = [&](uint32_t region, uint64_t offset, uint32_t count) {
    return error_of(kRegionRead, RegionAccess{offset, region, count});
  };
  EXPECT_EQ(read(NPU_BAR_REGISTERS, 0, 4), 0);
  EXPECT_EQ(read(NPU_BAR_REGISTERS, 0, 3), EINVAL);
  EXPECT_EQ(read(NPU_BAR_REGISTERS, 0, 16), EINVAL);
  EXPECT_EQ(read(NPU_BAR_REGISTERS, 0, 0), EINVAL);
  EXPECT_EQ(read(NPU_BAR_REGISTERS, NPU_BAR_REGISTERS_SIZE - 4, 8), EINVAL);
  EXPECT_EQ(read(NPU_BAR_REGISTERS, ~uint64_t{0} - 3, 4), EINVAL);
  EXPECT_EQ(read(NPU_BAR_APERTURE, (1 << 20) - 1, 1), 0);
  EXPECT_EQ(read(NPU_BAR_APERTURE, 1 << 20, 1), EINVAL);
  EXPECT_EQ(read(NPU_BAR_APERTURE, 0, kMaxTransfer), 0);
  EXPECT_EQ(read(NPU_BAR_APERTURE, 0, kMaxTransfer + 1), EINVAL);
  EXPECT_EQ(read(NPU_BAR_MSIX, 4088, 8), 0);
  EXPECT_EQ(read(NPU_BAR_MSIX, 4090, 8), EINVAL);
  EXPECT_EQ(read(VFIO_PCI_CONFIG_REGION_INDEX, kConfigBytes - 1, 1), 0);
  EXPECT_EQ(read(VFIO_PCI_CONFIG_REGION_INDEX, kConfigBytes - 1, 2), EINVAL);
  EXPECT_EQ(read(VFIO_PCI_ROM_REGION_INDEX, 0, 1), EINVAL);
  EXPECT_EQ(read(99, 0, 4), EINVAL);
  // Less data than is announced.
  EXPECT_EQ(error_of(kRegionWrite, RegionAccess{0, NPU_BAR_APERTURE, 8}), EINVAL);
  EXPECT_TRUE(alive());
}

TEST_F(VfioUser, InterruptsAreChecked) {
  connect_and_negotiate();
  const UniqueFd event(eventfd(0, EFD_CLOEXEC));
  int pipes[2];
  ASSERT_EQ(pipe2(pipes, O_CLOEXEC), 0);
  const auto set = [&](uint32_t flags, uint32_t start, uint32_t count, std::vector<int> fds = {},
                       uint32_t index = VFIO_PCI_MSIX_IRQ_INDEX) {
    return error_of(kDeviceSetIrqs, IrqSet{sizeof(IrqSet), flags, index, start, count}, fds);
  };
  constexpr uint32_t kEvent = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
  constexpr uint32_t kMask = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK;
  const uint32_t vectors = device_.interrupts().count();
  EXPECT_EQ(set(kEvent, 0, 1, {event.get()}), 0);
  EXPECT_EQ(set(kEvent, 0, 1), 0) << "gives it back";
  EXPECT_EQ(set(kEvent, 0, 2, {event.get()}), EINVAL);
  EXPECT_EQ(set(kEvent, vectors - 1, 2, {event.get(), event.get()}), EINVAL);
  EXPECT_EQ(set(kEvent, ~0u, 2), EINVAL);
  EXPECT_EQ(set(kEvent, 0, 1, {pipes[1]}), EINVAL) << "writing could block";
  EXPECT_EQ(set(kEvent, 0, 1, {event.get()}, VFIO_PCI_INTX_IRQ_INDEX), EINVAL);
  EXPECT_EQ(set(VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_MASK, 0, 1, {event.get()}), EINVAL);
  EXPECT_EQ(set(kMask, 0, vectors), 0);
  EXPECT_EQ(set(kMask, 1, vectors), EINVAL);
  EXPECT_EQ(set(kMask | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1), EINVAL);
  EXPECT_EQ(set(VFIO_IRQ_SET_DATA_NONE, 0, 1), EINVAL);
  EXPECT_EQ(set(0xffffffff, 0, 1), EINVAL);
  EXPECT_EQ(set(VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1), EINVAL) << "no data";
  EXPECT_EQ(set(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0), 0) << "disables all";
  close(pipes[0]);
  close(pipes[1]);
  EXPECT_TRUE(alive());
}

TEST_F(VfioUser, MessagesThatAreNoneCloseTheConnection) {
  for (const uint32_t size : {0u, 15u, kMaxMessage + 1, 0xffffffffu}) {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    Header header = {};
    header.command = kVersion;
    header.size = size;
    ASSERT_EQ(write(ends[0], &header, sizeof(header)), ssize_t{sizeof(header)});
    EXPECT_NE(serve(UniqueFd(ends[1]), device_, [] { return false; }), "") << size;
    close(ends[0]);
  }
  // Half a header, and half a payload.
  for (const size_t bytes : {size_t{7}, sizeof(Header) + 3}) {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    std::byte message[64] = {};
    Header header = {};
    header.command = kVersion;
    header.size = sizeof(message);
    std::memcpy(message, &header, sizeof(header));
    ASSERT_EQ(write(ends[0], message, bytes), static_cast<ssize_t>(bytes));
    close(ends[0]);
    EXPECT_EQ(serve(UniqueFd(ends[1]), device_, [] { return false; }), "");
  }
  connect_and_negotiate();
  const UniqueFd event(eventfd(0, EFD_CLOEXEC));
  Header reply = {};
  reply.flags = kTypeReply;
  client_->send_raw(reply, {});
  EXPECT_FALSE(client_->receive());
  EXPECT_NE(disconnect(), "");
}

TEST_F(VfioUser, UnknownCommandsAndShortPayloadsAreErrors) {
  connect_and_negotiate();
  for (uint16_t command = 0; command < 40; ++command) {
    if (command == kVersion || command == kDeviceReset) continue;
    for (size_t bytes = 0; bytes < 12; bytes += 3) {
      const std::vector<std::byte> payload(bytes, std::byte{0xff});
      const int error = error_of(command, std::span<const std::byte>(payload));
      EXPECT_TRUE(error == EINVAL || error == ENOTSUP) << command << ": " << error;
    }
  }
  EXPECT_TRUE(alive());
}

TEST_F(VfioUser, NothingAnswersWhereNoReplyIsWanted) {
  Client& client = connect_and_negotiate();
  Header header = {};
  header.command = 77;
  header.flags = kNoReply;
  client.send_raw(header, {});
  EXPECT_TRUE(alive()) << "the next reply is the next request's";
}

TEST_F(VfioUser, TheNextClientFindsNothingOfTheLast) {
  Client& first = connect_and_negotiate();
  const UniqueFd file = shared_file(kPage);
  first.map(0x10000, kPage, file.get(), 0);
  const uint64_t secret = 0x1234567812345678;
  first.write(NPU_BAR_APERTURE, 64, &secret, sizeof(secret));
  first.write(NPU_BAR_REGISTERS, NPU_REG_QUEUE_TABLE, &secret, 8);
  first.config_write(0x04, 6, 2);
  EXPECT_EQ(disconnect(), "");
  Client& second = connect_and_negotiate();
  uint64_t word = 1;
  second.read(NPU_BAR_APERTURE, 64, &word, sizeof(word));
  EXPECT_EQ(word, 0u);
  second.read(NPU_BAR_REGISTERS, NPU_REG_QUEUE_TABLE, &word, sizeof(word));
  EXPECT_EQ(word, 0u);
  EXPECT_EQ(second.config_read(0x04, 2), 0u);
  second.map(0x10000, kPage, file.get(), 0);
}

TEST_F(VfioUser, StopEndsAnIdleConnection) {
  connect_and_negotiate();
  stop_ = true;
  server_.join();
  EXPECT_FALSE(client_->receive());
}

// Random messages, most of them nearly right. Seeds are fixed: a failure repeats.
TEST_F(VfioUser, RandomMessagesEndNothing) {
  const UniqueFd file = shared_file(16 * kPage);
  const UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  std::mt19937_64 random(1);
  const auto pick = [&](std::initializer_list<uint64_t> values) {
    return *(values.begin() + random() % values.size());
  };
  for (int round = 0; round < 4; ++round) {
    connect_and_negotiate();
    for (int i = 0; i < 3000; ++i) {
      uint64_t words[8];
      for (uint64_t& word : words)
        word = pick({0, 1, 2, 3, 4, 7, 8, 0x1000, 0x2000, 0x10000, 0xffff, 1ull << 32, 1ull << 63,
                     ~0ull, (random() % 64) << 32 | random() % 64, random()});
      const uint64_t command = pick({kDmaMap, kDmaUnmap, kDeviceGetInfo, kDeviceGetRegionInfo,
                                     kDeviceGetIrqInfo, kDeviceSetIrqs, kRegionRead, kRegionWrite,
                                     kRegionWrite, kRegionWrite, kDeviceReset, random() % 32});
      if (command == kRegionRead || command == kRegionWrite) {
        words[0] = pick({0, 4, 0x1000, 0x1008, 0x2000, 0x10004, random() % 0x20000, words[0]});
        words[1] = pick({0, 0, 2, 4, VFIO_PCI_CONFIG_REGION_INDEX}) | pick({1, 2, 4, 8, 64}) << 32;
      }
      std::vector<int> fds;
      for (uint64_t n = pick({0, 0, 0, 1, 1, 2, 8}); n > 0; --n)
        fds.push_back(static_cast<int>(
            pick({static_cast<uint64_t>(file.get()), static_cast<uint64_t>(event.get())})));
      const size_t bytes = pick({16, 20, 24, 32, 32, 64, random() % 65});
      const auto payload = std::as_bytes(std::span(words)).first(bytes);
      const auto reply = client_->request(static_cast<uint16_t>(command), payload, fds);
      ASSERT_TRUE(reply) << "round " << round << ", message " << i;
    }
    EXPECT_EQ(disconnect(), "");
  }
  connect_and_negotiate();
  EXPECT_TRUE(alive());
}

TEST(ListenerTest, OwnsItsSocket) {
  const std::string folder = testing::TempDir() + "npu-listener-XXXXXX";
  std::string name = folder;
  ASSERT_NE(mkdtemp(name.data()), nullptr);
  const std::string path = name + "/socket";
  {
    const Listener first(path);
    EXPECT_THROW(Listener second(path), std::runtime_error) << "in use";
  }
  EXPECT_NE(access(path.c_str(), F_OK), 0) << "it goes with the object";
  std::ofstream(path) << "a file of somebody's";
  EXPECT_THROW(Listener third(path), std::runtime_error);
  EXPECT_EQ(access(path.c_str(), F_OK), 0);
  unlink(path.c_str());
  EXPECT_THROW(Listener(std::string(200, 'x')), std::runtime_error);
  EXPECT_THROW(Listener(""), std::runtime_error);
  rmdir(name.c_str());
}

TEST(DeviceTest, RefusesBadParameters) {
  DeviceOptions options = small_card();
  options.aperture_bytes = 3 << 20;
  EXPECT_THROW(Device{options}, std::runtime_error);
  options = small_card();
  options.target.card_memory_mib = 0;
  EXPECT_THROW(Device{options}, std::runtime_error);
  options = small_card();
  options.target.vectors = 65;
  EXPECT_THROW(Device{options}, std::runtime_error);
  options = small_card();
  options.target.cores = 99;
  EXPECT_THROW(Device{options}, std::runtime_error);
}

}  // namespace
}  // namespace npu::vfio_user
