// SPDX-License-Identifier: MIT
#include "channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace npu::vfio_user {
namespace {

// Room for as many descriptors as Linux passes at once: with less, a message
// with more of them would lose some silently.
constexpr size_t kControlFds = 253;

ChannelError system_error(const char* what) {
  return ChannelError(std::string(what) + ": " + std::strerror(errno));
}

bool again() {
  return errno == EAGAIN || errno == EINTR;
}

void take_fds(msghdr& header, std::vector<UniqueFd>& out) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      out.emplace_back(fd);
    }
  }
}

}  // namespace

void UniqueFd::reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Channel::Channel(UniqueFd socket, std::function<bool()> stop)
    : socket_(std::move(socket)), stop_(std::move(stop)) {
  const int flags = fcntl(socket_.get(), F_GETFL);
  if (flags < 0 || fcntl(socket_.get(), F_SETFL, flags | O_NONBLOCK) != 0)
    throw system_error("socket");
}

bool Channel::wait(short events) {
  for (;;) {
    if (stop_()) return false;
    pollfd p = {.fd = socket_.get(), .events = events, .revents = 0};
    const int n = poll(&p, 1, 250);
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) throw system_error("poll");
  }
}

bool Channel::read_all(std::byte* data, size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = recv(socket_.get(), data, bytes, 0);
    if (n == 0) return false;
    if (n < 0 && !again()) throw system_error("recv");
    if (n < 0) {
      if (!wait(POLLIN)) return false;
      continue;
    }
    data += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

std::optional<Message> Channel::receive() {
  Message message;
  alignas(cmsghdr) char control[CMSG_SPACE(kControlFds * sizeof(int))];
  iovec part = {.iov_base = &message.header, .iov_len = sizeof(message.header)};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  ssize_t n;
  do {
    if (!wait(POLLIN)) return std::nullopt;
    header.msg_controllen = sizeof(control);
    n = recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC);
  } while (n < 0 && again());
  if (n == 0) return std::nullopt;
  if (n < 0) {
    if (errno == ECONNRESET) return std::nullopt;
    throw system_error("recvmsg");
  }
  take_fds(header, message.fds);
  const auto got = static_cast<size_t>(n);
  if (!read_all(reinterpret_cast<std::byte*>(&message.header) + got, sizeof(Header) - got))
    return std::nullopt;
  if (message.header.size < sizeof(Header) || message.header.size > kMaxMessage)
    throw ChannelError("a message of " + std::to_string(message.header.size) + " bytes");
  if (message.fds.size() > kMaxFds)
    throw ChannelError("a message with " + std::to_string(message.fds.size()) +
                       " file descriptors");
  message.payload.resize(message.header.size - sizeof(Header));
  if (!read_all(message.payload.data(), message.payload.size())) return std::nullopt;
  return message;
}

bool Channel::send(const Header& header, std::span<const std::byte> payload,
                   std::span<const int> fds) {
  Header copy = header;
  copy.size = static_cast<uint32_t>(sizeof(Header) + payload.size());
  std::vector<std::byte> bytes(copy.size);
  std::memcpy(bytes.data(), &copy, sizeof(copy));
  if (!payload.empty()) std::memcpy(bytes.data() + sizeof(copy), payload.data(), payload.size());

  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))] = {};
  bool with_fds = !fds.empty();
  if (fds.size() > kMaxFds) throw ChannelError("too many file descriptors to send");
  for (size_t sent = 0; sent < bytes.size();) {
    iovec part = {.iov_base = bytes.data() + sent, .iov_len = bytes.size() - sent};
    msghdr out = {};
    out.msg_iov = &part;
    out.msg_iovlen = 1;
    if (with_fds) {
      out.msg_control = control;
      out.msg_controllen = CMSG_SPACE(fds.size_bytes());
      cmsghdr* c = CMSG_FIRSTHDR(&out);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(fds.size_bytes());
      std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
    }
    const ssize_t n = sendmsg(socket_.get(), &out, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EPIPE || errno == ECONNRESET) return false;
      if (!again()) throw system_error("sendmsg");
      if (!wait(POLLOUT)) return false;
      continue;
    }
    with_fds = false;
    sent += static_cast<size_t>(n);
  }
  return true;
}

}  // namespace npu::vfio_user
