// SPDX-License-Identifier: MIT
#include "others.h"

#include <drm.h>
#include <drm_mode.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/dma-buf.h>
#include <linux/udmabuf.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace kmd {
namespace {

// From the kernel's drm/vgem_drm.h, which Debian does not install.
struct drm_vgem_fence_attach {
  uint32_t handle;
  uint32_t flags;
  uint32_t out_fence;
  uint32_t pad;
};
struct drm_vgem_fence_signal {
  uint32_t fence;
  uint32_t flags;
};
constexpr uint32_t kVgemFenceWrite = 1;
constexpr unsigned long kVgemFenceAttach = DRM_IOWR(DRM_COMMAND_BASE + 1, drm_vgem_fence_attach);
constexpr unsigned long kVgemFenceSignal = DRM_IOW(DRM_COMMAND_BASE + 2, drm_vgem_fence_signal);

uint8_t* map_shared(int fd, uint64_t size, uint64_t offset) {
  void* data =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
  EXPECT_NE(data, MAP_FAILED) << strerror(errno);
  return data == MAP_FAILED ? nullptr : static_cast<uint8_t*>(data);
}

}  // namespace

OtherBuffer::~OtherBuffer() {
  if (data_) munmap(data_, size_);
  if (dma_buf_ >= 0) close(dma_buf_);
}

int OtherBuffer::export_sync_file() const {
  dma_buf_export_sync_file args = {.flags = DMA_BUF_SYNC_READ, .fd = -1};
  EXPECT_EQ(::ioctl(dma_buf_, DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &args), 0) << strerror(errno);
  return args.fd;
}

Udmabuf::Udmabuf(uint64_t size) {
  size_ = size;
  const int memory = memfd_create("kmd", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  EXPECT_EQ(ftruncate(memory, static_cast<off_t>(size)), 0);
  EXPECT_EQ(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK), 0);
  data_ = map_shared(memory, size, 0);
  const int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
  EXPECT_GE(device, 0) << strerror(errno);
  udmabuf_create create = {};
  create.memfd = static_cast<uint32_t>(memory);
  create.flags = UDMABUF_FLAGS_CLOEXEC;
  create.size = size;
  dma_buf_ = ioctl(device, UDMABUF_CREATE, &create);
  EXPECT_GE(dma_buf_, 0) << strerror(errno);
  close(device);
  close(memory);
}

void Vgem::open_node() {
  fd_ = open("/dev/dri/card0", O_RDWR | O_CLOEXEC);
  EXPECT_GE(fd_, 0) << strerror(errno);
}

Vgem::Vgem(uint64_t size) {
  open_node();
  drm_mode_create_dumb create = {};
  create.width = 1024;
  create.bpp = 32;
  create.height = static_cast<uint32_t>(size / 4096);
  EXPECT_EQ(ioctl(fd_, DRM_IOCTL_MODE_CREATE_DUMB, &create), 0) << strerror(errno);
  handle_ = create.handle;
  size_ = create.size;
  drm_mode_map_dumb offset = {};
  offset.handle = handle_;
  EXPECT_EQ(ioctl(fd_, DRM_IOCTL_MODE_MAP_DUMB, &offset), 0) << strerror(errno);
  data_ = map_shared(fd_, size_, offset.offset);
  drm_prime_handle prime = {.handle = handle_, .flags = DRM_CLOEXEC | DRM_RDWR, .fd = -1};
  EXPECT_EQ(ioctl(fd_, DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime), 0) << strerror(errno);
  dma_buf_ = prime.fd;
}

Vgem::Vgem(int dma_buf, uint64_t size) {
  open_node();
  size_ = size;
  dma_buf_ = dma_buf;
  drm_prime_handle prime = {.handle = 0, .flags = 0, .fd = dma_buf};
  EXPECT_EQ(ioctl(fd_, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime), 0) << strerror(errno);
  handle_ = prime.handle;
  // DRM maps an import only through the dma-buf that it came as.
  data_ = map_shared(dma_buf, size, 0);
}

Vgem::~Vgem() {
  close(fd_);
}

uint32_t Vgem::attach_fence() {
  drm_vgem_fence_attach args = {
      .handle = handle_, .flags = kVgemFenceWrite, .out_fence = 0, .pad = 0};
  EXPECT_EQ(ioctl(fd_, kVgemFenceAttach, &args), 0) << strerror(errno);
  return args.out_fence;
}

void Vgem::signal_fence(uint32_t fence) {
  drm_vgem_fence_signal args = {.fence = fence, .flags = 0};
  EXPECT_EQ(ioctl(fd_, kVgemFenceSignal, &args), 0) << strerror(errno);
}

Gate::Gate(const Device& device) : other(kPage), write(other.attach_fence()) {
  const int fence = other.export_sync_file();
  sync = {.handle = device.import_fence(fence), .flags = 0, .point = 0};
  close(fence);
}

}  // namespace kmd
