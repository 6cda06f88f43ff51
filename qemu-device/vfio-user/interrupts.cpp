// SPDX-License-Identifier: MIT
#include "interrupts.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace npu::vfio_user {
namespace {

bool is_eventfd(int fd) {
  char target[32] = {};
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return readlink(path.c_str(), target, sizeof(target) - 1) > 0 &&
         std::string(target) == "anon_inode:[eventfd]";
}

}  // namespace

int Interrupts::assign(uint32_t vector, UniqueFd eventfd) {
  if (eventfd) {
    // Writing to it must never block the card.
    if (!is_eventfd(eventfd.get())) return EINVAL;
    const int flags = fcntl(eventfd.get(), F_GETFL);
    if (flags < 0 || fcntl(eventfd.get(), F_SETFL, flags | O_NONBLOCK) != 0) return errno;
  }
  std::lock_guard lock(mutex_);
  vectors_[vector].eventfd = std::move(eventfd);
  return 0;
}

void Interrupts::mask(uint32_t vector, bool masked) {
  std::lock_guard lock(mutex_);
  vectors_[vector].masked = masked;
  deliver(vectors_[vector]);
}

void Interrupts::reset() {
  std::lock_guard lock(mutex_);
  for (Vector& vector : vectors_) vector = {};
}

void Interrupts::set_control(bool enabled, bool masked) {
  std::lock_guard lock(mutex_);
  enabled_ = enabled;
  function_masked_ = masked;
  for (Vector& vector : vectors_) {
    if (!enabled) vector.pending = false;
    deliver(vector);
  }
}

void Interrupts::raise(uint32_t vector) {
  std::lock_guard lock(mutex_);
  if (vector >= vectors_.size() || !enabled_ || !vectors_[vector].eventfd) return;
  vectors_[vector].pending = true;
  deliver(vectors_[vector]);
}

void Interrupts::deliver(Vector& vector) {
  if (!vector.pending || vector.masked || function_masked_ || !vector.eventfd) return;
  const uint64_t one = 1;
  // It fails only when the counter is full of messages that nobody has taken.
  [[maybe_unused]] const ssize_t n = write(vector.eventfd.get(), &one, sizeof(one));
  vector.pending = false;
}

uint64_t Interrupts::pending() {
  std::lock_guard lock(mutex_);
  uint64_t bits = 0;
  for (size_t i = 0; i < vectors_.size(); ++i) bits |= uint64_t{vectors_[i].pending} << i;
  return bits;
}

}  // namespace npu::vfio_user
