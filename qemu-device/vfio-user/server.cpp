// SPDX-License-Identifier: MIT
#include "server.h"

#include <linux/vfio.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

#include "npu/registers.h"

namespace npu::vfio_user {
namespace {

// What a request is answered with.
struct Reply {
  int error = 0;  // errno; the reply then has no payload
  std::vector<std::byte> payload;
  int fd = -1;
};

template <typename T>
std::vector<std::byte> bytes_of(const T& value) {
  const auto* begin = reinterpret_cast<const std::byte*>(&value);
  return {begin, begin + sizeof(T)};
}

Reply failed(int error) {
  return {.error = error, .payload = {}};
}

class Connection {
 public:
  explicit Connection(Device& device) : device_(device) {}

  Reply answer(Message& message);

 private:
  Reply version(const Message& message);
  Reply dma_map(const Message& message);
  Reply dma_unmap(const Message& message);
  Reply device_info(const Message& message);
  Reply region_info(const Message& message);
  Reply irq_info(const Message& message);
  Reply set_irqs(Message& message);
  Reply region_read(const Message& message);
  Reply region_write(const Message& message);

  Device& device_;
  bool versioned_ = false;
};

Reply Connection::answer(Message& message) {
  if (!versioned_ && message.header.command != kVersion)
    throw ChannelError("the first message is not VERSION");
  switch (message.header.command) {
    case kVersion:
      return version(message);
    case kDmaMap:
      return dma_map(message);
    case kDmaUnmap:
      return dma_unmap(message);
    case kDeviceGetInfo:
      return device_info(message);
    case kDeviceGetRegionInfo:
      return region_info(message);
    case kDeviceGetIrqInfo:
      return irq_info(message);
    case kDeviceSetIrqs:
      return set_irqs(message);
    case kRegionRead:
      return region_read(message);
    case kRegionWrite:
      return region_write(message);
    case kDeviceReset:
      device_.power_on_reset();
      return {};
    default:
      return failed(ENOTSUP);
  }
}

Reply Connection::version(const Message& message) {
  const auto numbers = message.head<VersionNumbers>();
  if (versioned_ || !numbers) return failed(EINVAL);
  if (numbers->major != kMajor)
    throw ChannelError("the client speaks version " + std::to_string(numbers->major) +
                       " of the protocol");
  // The client's limits concern what a server sends by itself: nothing here.
  const nlohmann::json ours = {{"capabilities",
                                {{"max_msg_fds", kMaxFds},
                                 {"max_data_xfer_size", kMaxTransfer},
                                 {"max_dma_maps", kMaxDmaMaps},
                                 {"pgsizes", 4096}}}};
  const std::string text = ours.dump();
  Reply reply;
  reply.payload = bytes_of(VersionNumbers{kMajor, std::min(numbers->minor, kMinor)});
  const auto* begin = reinterpret_cast<const std::byte*>(text.c_str());
  reply.payload.insert(reply.payload.end(), begin, begin + text.size() + 1);
  versioned_ = true;
  return reply;
}

Reply Connection::dma_map(const Message& message) {
  const auto request = message.head<DmaMap>();
  if (!request || message.fds.size() > 1) return failed(EINVAL);
  const UniqueFd* file = message.fds.empty() ? nullptr : &message.fds[0];
  return failed(device_.memory().map(*request, file));
}

Reply Connection::dma_unmap(const Message& message) {
  const auto request = message.head<DmaUnmap>();
  if (!request) return failed(EINVAL);
  if ((request->flags & ~uint32_t{kDmaUnmapAll}) != 0) return failed(EINVAL);
  if ((request->flags & kDmaUnmapAll) != 0) {
    device_.memory().unmap_all();
  } else if (const int error = device_.memory().unmap(request->address, request->bytes)) {
    return failed(error);
  }
  return {.error = 0, .payload = bytes_of(*request)};
}

Reply Connection::device_info(const Message& message) {
  if (!message.head<DeviceInfo>()) return failed(EINVAL);
  return {.error = 0,
          .payload = bytes_of(DeviceInfo{.argsz = sizeof(DeviceInfo),
                                         .flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI,
                                         .num_regions = VFIO_PCI_NUM_REGIONS,
                                         .num_irqs = VFIO_PCI_NUM_IRQS})};
}

Reply Connection::region_info(const Message& message) {
  const auto request = message.head<vfio_region_info>();
  if (!request || request->argsz < sizeof(*request) || request->index >= VFIO_PCI_NUM_REGIONS)
    return failed(EINVAL);
  vfio_region_info info = {};
  info.argsz = sizeof(info);
  info.index = request->index;
  info.size = device_.region_bytes(request->index);
  if (info.size != 0) info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
  Reply reply;
  if (request->index == NPU_BAR_APERTURE) {
    info.flags |= VFIO_REGION_INFO_FLAG_MMAP;
    reply.fd = device_.aperture_fd();
  }
  reply.payload = bytes_of(info);
  return reply;
}

Reply Connection::irq_info(const Message& message) {
  const auto request = message.head<vfio_irq_info>();
  if (!request || request->argsz < sizeof(*request) || request->index >= VFIO_PCI_NUM_IRQS)
    return failed(EINVAL);
  vfio_irq_info info = {};
  info.argsz = sizeof(info);
  info.index = request->index;
  if (info.index == VFIO_PCI_MSIX_IRQ_INDEX) {
    info.flags = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE;
    info.count = device_.interrupts().count();
  }
  return {.error = 0, .payload = bytes_of(info)};
}

Reply Connection::set_irqs(Message& message) {
  const auto request = message.head<IrqSet>();
  if (!request || request->index != VFIO_PCI_MSIX_IRQ_INDEX) return failed(EINVAL);
  const uint32_t data = request->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
  const uint32_t action = request->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
  Interrupts& interrupts = device_.interrupts();
  if (!std::has_single_bit(data) || !std::has_single_bit(action) ||
      request->flags != (data | action) ||
      uint64_t{request->start} + request->count > interrupts.count())
    return failed(EINVAL);

  if (data == VFIO_IRQ_SET_DATA_EVENTFD) {
    if (action != VFIO_IRQ_SET_ACTION_TRIGGER ||
        (!message.fds.empty() && message.fds.size() != request->count))
      return failed(EINVAL);
    for (uint32_t i = 0; i < request->count; ++i) {
      UniqueFd fd = message.fds.empty() ? UniqueFd() : std::move(message.fds[i]);
      if (const int error = interrupts.assign(request->start + i, std::move(fd)))
        return failed(error);
    }
    return {};
  }
  const std::byte* chosen = nullptr;
  if (data == VFIO_IRQ_SET_DATA_BOOL) {
    if (message.payload.size() < sizeof(*request) + request->count) return failed(EINVAL);
    chosen = message.payload.data() + sizeof(*request);
  }
  if (action == VFIO_IRQ_SET_ACTION_TRIGGER && chosen == nullptr && request->count == 0) {
    for (uint32_t v = 0; v < interrupts.count(); ++v) interrupts.assign(v, UniqueFd());
    return {};
  }
  for (uint32_t i = 0; i < request->count; ++i) {
    if (chosen != nullptr && chosen[i] == std::byte{0}) continue;
    if (action == VFIO_IRQ_SET_ACTION_TRIGGER)
      interrupts.raise(request->start + i);
    else
      interrupts.mask(request->start + i, action == VFIO_IRQ_SET_ACTION_MASK);
  }
  return {};
}

Reply Connection::region_read(const Message& message) {
  const auto request = message.head<RegionAccess>();
  if (!request || request->count == 0 || request->count > kMaxTransfer) return failed(EINVAL);
  const uint64_t bytes = device_.region_bytes(request->region);
  if (request->offset > bytes || request->count > bytes - request->offset) return failed(EINVAL);
  Reply reply;
  reply.payload = bytes_of(*request);
  reply.payload.resize(sizeof(*request) + request->count);
  if (!device_.read(request->region, request->offset,
                    std::span(reply.payload).subspan(sizeof(*request))))
    return failed(EINVAL);
  return reply;
}

Reply Connection::region_write(const Message& message) {
  const auto request = message.head<RegionAccess>();
  if (!request || request->count == 0 || request->count > kMaxTransfer ||
      message.payload.size() - sizeof(*request) < request->count)
    return failed(EINVAL);
  const uint64_t bytes = device_.region_bytes(request->region);
  if (request->offset > bytes || request->count > bytes - request->offset) return failed(EINVAL);
  if (!device_.write(request->region, request->offset,
                     std::span(message.payload).subspan(sizeof(*request), request->count)))
    return failed(EINVAL);
  return {.error = 0, .payload = bytes_of(*request)};
}

void serve_requests(Channel& channel, Connection& connection) {
  while (std::optional<Message> message = channel.receive()) {
    if ((message->header.flags & kTypeMask) != kTypeCommand)
      throw ChannelError("a reply that nobody has asked for");
    const Reply reply = connection.answer(*message);
    if ((message->header.flags & kNoReply) != 0) continue;
    Header header = message->header;
    header.flags = kTypeReply | (reply.error != 0 ? uint32_t{kError} : 0u);
    header.error = static_cast<uint32_t>(reply.error);
    const std::span<const int> fds(&reply.fd, reply.fd >= 0 ? 1 : 0);
    if (!channel.send(header, reply.payload, fds)) return;
  }
}

}  // namespace

std::string serve(UniqueFd socket, Device& device, const std::function<bool()>& stop) {
  std::string wrong;
  try {
    Channel channel(std::move(socket), stop);
    Connection connection(device);
    serve_requests(channel, connection);
  } catch (const ChannelError& error) {
    wrong = error.what();
  }
  device.forget_client();
  return wrong;
}

Listener::Listener(const std::string& path)
    : path_(path), socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path))
    throw std::runtime_error(path + ": the path of a socket has 1 to " +
                             std::to_string(sizeof(address.sun_path) - 1) + " bytes");
  std::memcpy(address.sun_path, path.c_str(), path.size());
  // What an earlier server left behind; no other kind of file, and none in use.
  struct stat status;
  if (lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) {
    const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(probe.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 &&
        errno == ECONNREFUSED)
      unlink(path.c_str());
  }
  if (!socket_ || bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) ||
      listen(socket_.get(), 1) != 0) {
    const std::string why = std::strerror(errno);
    path_.clear();
    throw std::runtime_error(path + ": " + why);
  }
}

Listener::~Listener() {
  if (!path_.empty()) unlink(path_.c_str());
}

UniqueFd Listener::accept(const std::function<bool()>& stop) {
  for (;;) {
    if (stop()) return UniqueFd();
    pollfd p = {.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (poll(&p, 1, 250) <= 0) continue;
    UniqueFd connection(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (connection) return connection;
  }
}

}  // namespace npu::vfio_user
