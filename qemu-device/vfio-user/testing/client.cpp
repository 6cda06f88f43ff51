// SPDX-License-Identifier: MIT
#include "vfio-user/testing/client.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>

namespace npu::vfio_user {
namespace {

// Generous: only a server that hangs is waited for so long.
std::function<bool()> time_limit() {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  return [end] { return std::chrono::steady_clock::now() > end; };
}

}  // namespace

Client::Client(UniqueFd socket) : channel_(std::move(socket), time_limit()) {}

void Client::send_raw(const Header& header, std::span<const std::byte> payload,
                      std::span<const int> fds) {
  channel_.send(header, payload, fds);
}

std::optional<Client::Reply> Client::request(uint16_t command, std::span<const std::byte> payload,
                                             std::span<const int> fds) {
  Header header = {};
  header.id = next_id_++;
  header.command = command;
  if (!channel_.send(header, payload, fds)) return std::nullopt;
  std::optional<Message> message = channel_.receive();
  if (!message) return std::nullopt;
  if (message->header.id != header.id || message->header.command != command ||
      (message->header.flags & kTypeMask) != kTypeReply)
    throw std::runtime_error("a reply to something else");
  const bool failed = (message->header.flags & kError) != 0;
  if (failed && !message->payload.empty()) throw std::runtime_error("an error with a payload");
  return Reply{.error = failed ? static_cast<int>(message->header.error) : 0,
               .payload = std::move(message->payload),
               .fds = std::move(message->fds)};
}

Client::Reply Client::expect(std::optional<Reply> reply, const char* what) {
  if (!reply) throw std::runtime_error(std::string(what) + ": the server has gone");
  if (reply->error != 0)
    throw std::runtime_error(std::string(what) + ": " + std::strerror(reply->error));
  return std::move(*reply);
}

void Client::negotiate() {
  const std::string json = R"({"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576}})";
  std::vector<std::byte> payload(sizeof(VersionNumbers) + json.size() + 1);
  const VersionNumbers numbers = {kMajor, kMinor};
  std::memcpy(payload.data(), &numbers, sizeof(numbers));
  std::memcpy(payload.data() + sizeof(numbers), json.c_str(), json.size() + 1);
  expect(request(kVersion, std::span<const std::byte>(payload)), "VERSION");
}

void Client::map(uint64_t address, uint64_t bytes, int fd, uint64_t offset, bool writable) {
  const DmaMap map = {.argsz = sizeof(map),
                      .flags = kDmaReadable | (writable ? uint32_t{kDmaWritable} : 0),
                      .offset = offset,
                      .address = address,
                      .bytes = bytes};
  expect(request(kDmaMap, map, std::span(&fd, fd >= 0 ? 1 : 0)), "DMA_MAP");
}

void Client::unmap(uint64_t address, uint64_t bytes) {
  const DmaUnmap unmap = {.argsz = sizeof(unmap), .flags = 0, .address = address, .bytes = bytes};
  expect(request(kDmaUnmap, unmap), "DMA_UNMAP");
}

void Client::read(uint32_t region, uint64_t offset, void* data, uint32_t bytes) {
  const RegionAccess access = {offset, region, bytes};
  const Reply reply = expect(request(kRegionRead, access), "REGION_READ");
  if (reply.payload.size() != sizeof(access) + bytes) throw std::runtime_error("a short read");
  std::memcpy(data, reply.payload.data() + sizeof(access), bytes);
}

void Client::write(uint32_t region, uint64_t offset, const void* data, uint32_t bytes) {
  const RegionAccess access = {offset, region, bytes};
  std::vector<std::byte> payload(sizeof(access) + bytes);
  std::memcpy(payload.data(), &access, sizeof(access));
  std::memcpy(payload.data() + sizeof(access), data, bytes);
  expect(request(kRegionWrite, std::span<const std::byte>(payload)), "REGION_WRITE");
}

void Client::set_irqs(uint32_t flags, uint32_t start, uint32_t count, std::span<const int> fds) {
  const IrqSet set = {.argsz = sizeof(set),
                      .flags = flags,
                      .index = VFIO_PCI_MSIX_IRQ_INDEX,
                      .start = start,
                      .count = count};
  expect(request(kDeviceSetIrqs, set, fds), "SET_IRQS");
}

uint32_t Client::config_read(uint32_t offset, uint32_t bytes) {
  uint32_t value = 0;
  read(VFIO_PCI_CONFIG_REGION_INDEX, offset, &value, bytes);
  return value;
}

void Client::config_write(uint32_t offset, uint32_t value, uint32_t bytes) {
  write(VFIO_PCI_CONFIG_REGION_INDEX, offset, &value, bytes);
}

uint32_t Client::capability(uint8_t id) {
  uint32_t at = config_read(PCI_CAPABILITY_LIST, 1);
  for (int i = 0; i < 48 && at != 0; ++i) {
    if (config_read(at, 1) == id) return at;
    at = config_read(at + 1, 1);
  }
  return 0;
}

}  // namespace npu::vfio_user
