// SPDX-License-Identifier: MIT
//
// The client's side of vfio-user, as a hypervisor has it: for tests.
#ifndef NPU_VFIO_USER_TESTING_CLIENT_H_
#define NPU_VFIO_USER_TESTING_CLIENT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "vfio-user/channel.h"

namespace npu::vfio_user {

class Client {
 public:
  explicit Client(UniqueFd socket);

  struct Reply {
    int error = 0;
    std::vector<std::byte> payload;
    std::vector<UniqueFd> fds;
  };
  // Nothing when the server has closed the connection.
  std::optional<Reply> request(uint16_t command, std::span<const std::byte> payload,
                               std::span<const int> fds = {});
  template <typename T>
  std::optional<Reply> request(uint16_t command, const T& payload, std::span<const int> fds = {}) {
    return request(command, std::as_bytes(std::span(&payload, 1)), fds);
  }
  // A message as it is, whatever it says.
  void send_raw(const Header& header, std::span<const std::byte> payload,
                std::span<const int> fds = {});
  std::optional<Message> receive() { return channel_.receive(); }

  // These throw when the server refuses.
  void negotiate();
  void map(uint64_t address, uint64_t bytes, int fd, uint64_t offset, bool writable = true);
  void unmap(uint64_t address, uint64_t bytes);
  void read(uint32_t region, uint64_t offset, void* data, uint32_t bytes);
  void write(uint32_t region, uint64_t offset, const void* data, uint32_t bytes);
  void set_irqs(uint32_t flags, uint32_t start, uint32_t count, std::span<const int> fds = {});

  uint32_t config_read(uint32_t offset, uint32_t bytes = 4);
  void config_write(uint32_t offset, uint32_t value, uint32_t bytes = 4);
  uint32_t capability(uint8_t id);

 private:
  Reply expect(std::optional<Reply> reply, const char* what);

  Channel channel_;
  uint16_t next_id_ = 1;
};

}  // namespace npu::vfio_user

#endif  // NPU_VFIO_USER_TESTING_CLIENT_H_
