// SPDX-License-Identifier: MIT
//
// Messages of the vfio-user protocol, version 0 (QEMU's docs/interop/vfio-user.rst),
// as far as a PCI device without migration needs them. Flags, region and
// interrupt indexes are those of <linux/vfio.h>. Integers are in host order.
#ifndef NPU_VFIO_USER_PROTOCOL_H_
#define NPU_VFIO_USER_PROTOCOL_H_

#include <cstddef>
#include <cstdint>

namespace npu::vfio_user {

inline constexpr uint16_t kMajor = 0, kMinor = 0;

enum Command : uint16_t {
  kVersion = 1,
  kDmaMap = 2,
  kDmaUnmap = 3,
  kDeviceGetInfo = 4,
  kDeviceGetRegionInfo = 5,
  kDeviceGetIrqInfo = 7,
  kDeviceSetIrqs = 8,
  kRegionRead = 9,
  kRegionWrite = 10,
  kDeviceReset = 13,
};

enum Flags : uint32_t {
  kTypeMask = 0xf,
  kTypeCommand = 0,
  kTypeReply = 1,
  kNoReply = 1u << 4,
  kError = 1u << 5,
};

struct Header {
  uint16_t id;
  uint16_t command;
  uint32_t size;  // of the whole message
  uint32_t flags;
  uint32_t error;  // errno, in a reply with kError
};

struct VersionNumbers {  // followed by JSON, NUL-terminated
  uint16_t major;
  uint16_t minor;
};

enum DmaFlags : uint32_t {
  kDmaReadable = 1u << 0,
  kDmaWritable = 1u << 1,
  kDmaUnmapAll = 1u << 1,  // of an UNMAP
};

struct DmaMap {
  uint32_t argsz;
  uint32_t flags;
  uint64_t offset;
  uint64_t address;
  uint64_t bytes;
};

struct DmaUnmap {
  uint32_t argsz;
  uint32_t flags;
  uint64_t address;
  uint64_t bytes;
};

struct DeviceInfo {
  uint32_t argsz;
  uint32_t flags;
  uint32_t num_regions;
  uint32_t num_irqs;
};

struct IrqSet {  // followed by booleans, with VFIO_IRQ_SET_DATA_BOOL
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t start;
  uint32_t count;
};

struct RegionAccess {  // followed by the data
  uint64_t offset;
  uint32_t region;
  uint32_t count;
};

static_assert(sizeof(Header) == 16 && sizeof(DmaMap) == 32 && sizeof(DmaUnmap) == 24 &&
              sizeof(DeviceInfo) == 16 && sizeof(IrqSet) == 20 && sizeof(RegionAccess) == 16);

// What is announced and enforced.
inline constexpr uint32_t kMaxTransfer = 1 << 20;  // data of one region access
inline constexpr uint32_t kMaxMessage = kMaxTransfer + 4096;
inline constexpr unsigned kMaxFds = 8;  // in one message; QEMU refuses more than 16
inline constexpr unsigned kMaxDmaMaps = 4096;

}  // namespace npu::vfio_user

#endif  // NPU_VFIO_USER_PROTOCOL_H_
