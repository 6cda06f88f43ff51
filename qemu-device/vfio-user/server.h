// SPDX-License-Identifier: MIT
//
// The vfio-user protocol on one connection: requests of a client that is not
// trusted, answered with a Device.
#ifndef NPU_VFIO_USER_SERVER_H_
#define NPU_VFIO_USER_SERVER_H_

#include <functional>
#include <string>

#include "channel.h"
#include "device.h"

namespace npu::vfio_user {

// Serves the client until it closes the connection, breaks the protocol, or
// `stop` says so; then the device forgets it. Returns what it did wrong, or an
// empty text.
std::string serve(UniqueFd connection, Device& device, const std::function<bool()>& stop);

// A listening UNIX socket that goes with the object. Throws std::runtime_error.
class Listener {
 public:
  explicit Listener(const std::string& path);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  // The next client; none when `stop` says so.
  UniqueFd accept(const std::function<bool()>& stop);

 private:
  std::string path_;
  UniqueFd socket_;
};

}  // namespace npu::vfio_user

#endif  // NPU_VFIO_USER_SERVER_H_
