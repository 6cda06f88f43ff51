// SPDX-License-Identifier: MIT
//
// Buffers of drivers that are not ours, as memory and as a dma-buf: vgem, the DRM
// driver without hardware, and udmabuf, which makes a dma-buf of a memfd.
#ifndef NPU_TESTS_VM_KMD_OTHERS_H_
#define NPU_TESTS_VM_KMD_OTHERS_H_

#include <cstdint>
#include <memory>
#include <span>

#include "device.h"

namespace kmd {

class OtherBuffer {
 public:
  virtual ~OtherBuffer();
  OtherBuffer(const OtherBuffer&) = delete;
  OtherBuffer& operator=(const OtherBuffer&) = delete;

  int dma_buf() const { return dma_buf_; }
  std::span<uint8_t> bytes() const { return {data_, size_}; }
  uint64_t* words() const { return reinterpret_cast<uint64_t*>(data_); }
  // What a reader of the dma-buf has to wait for.
  int export_sync_file() const;

 protected:
  OtherBuffer() = default;
  int dma_buf_ = -1;
  uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
};

class Udmabuf : public OtherBuffer {
 public:
  explicit Udmabuf(uint64_t size);
};

// An open vgem device and one buffer of it: its own, or somebody's dma-buf.
class Vgem : public OtherBuffer {
 public:
  explicit Vgem(uint64_t size);
  // Attaches vgem to what `dma_buf` is. Takes over `dma_buf`, and maps it.
  Vgem(int dma_buf, uint64_t size);
  ~Vgem() override;

  // A fence on the buffer that this process signals: as if vgem wrote to it.
  uint32_t attach_fence();
  void signal_fence(uint32_t fence);

 private:
  void open_node();

  int fd_ = -1;
  uint32_t handle_ = 0;
};

// A fence of vgem to wait for, until it is opened.
struct Gate {
  explicit Gate(const Device& device);
  void open() { other.signal_fence(write); }

  Vgem other;
  const uint32_t write;
  drm_npu_sync sync;
};

}  // namespace kmd

#endif  // NPU_TESTS_VM_KMD_OTHERS_H_
