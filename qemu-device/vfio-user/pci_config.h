// SPDX-License-Identifier: MIT
//
// PCI configuration space of the card: an endpoint with power management,
// PCI Express with function-level reset, and MSI-X. The same identity, BARs and
// capabilities as the card in QEMU has, except for AER, for which the protocol
// has no messages.
#ifndef NPU_VFIO_USER_PCI_CONFIG_H_
#define NPU_VFIO_USER_PCI_CONFIG_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace npu::vfio_user {

inline constexpr uint32_t kConfigBytes = 4096;
// The BAR of MSI-X: table, and pending bits in its upper half.
inline constexpr uint32_t kMsixBarBytes = 4096;
inline constexpr uint32_t kMsixPending = kMsixBarBytes / 2;

class PciConfig {
 public:
  // BAR2 has `aperture` bytes, a power of two.
  PciConfig(uint32_t vectors, uint64_t aperture);

  void reset();
  // The range lies in configuration space.
  void read(uint32_t offset, std::span<std::byte> data) const;
  // True when function-level reset has been asked for.
  bool write(uint32_t offset, std::span<const std::byte> data);

  bool bus_master() const;
  bool asleep() const;  // in another power state than D0
  bool msix_enabled() const;
  bool msix_masked() const;

 private:
  template <typename T>
  void set(uint32_t offset, T value, T writable = 0);
  template <typename T>
  T get(uint32_t offset) const;

  const uint32_t vectors_;
  const uint64_t aperture_;
  std::array<uint8_t, kConfigBytes> bytes_ = {};
  std::array<uint8_t, kConfigBytes> writable_ = {};  // a set bit takes what is written
};

}  // namespace npu::vfio_user

#endif  // NPU_VFIO_USER_PCI_CONFIG_H_
