// SPDX-License-Identifier: MIT
//
// One end of a vfio-user connection: whole messages with file descriptors over
// a UNIX socket. Nothing that the peer sends is trusted.
#ifndef NPU_VFIO_USER_CHANNEL_H_
#define NPU_VFIO_USER_CHANNEL_H_

#include <cstddef>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "protocol.h"

namespace npu::vfio_user {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  ~UniqueFd() { reset(); }
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

// The peer broke the protocol, or the connection.
class ChannelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Message {
  Header header = {};
  std::vector<std::byte> payload;
  std::vector<UniqueFd> fds;

  // The payload's head; nothing when it is shorter than that.
  template <typename T>
  std::optional<T> head() const {
    if (payload.size() < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, payload.data(), sizeof(T));
    return value;
  }
};

class Channel {
 public:
  // `stop` is asked about four times a second while nothing arrives.
  Channel(UniqueFd socket, std::function<bool()> stop);

  // Nothing: the peer has closed the connection, or `stop` said so.
  std::optional<Message> receive();
  // False as above.
  bool send(const Header& header, std::span<const std::byte> payload,
            std::span<const int> fds = {});

 private:
  bool wait(short events);
  bool read_all(std::byte* data, size_t bytes);

  UniqueFd socket_;
  std::function<bool()> stop_;
};

}  // namespace npu::vfio_user

#endif  // NPU_VFIO_USER_CHANNEL_H_
