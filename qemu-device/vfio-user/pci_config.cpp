// SPDX-License-Identifier: MIT
#include "pci_config.h"

#include <linux/pci_regs.h>

#include <cstring>

#include "npu/registers.h"

namespace npu::vfio_user {
namespace {

constexpr uint32_t kPm = 0x60, kExpress = 0x80, kMsix = 0xc0;

uint32_t bar(unsigned index) {
  return PCI_BASE_ADDRESS_0 + 4 * index;
}

}  // namespace

PciConfig::PciConfig(uint32_t vectors, uint64_t aperture) : vectors_(vectors), aperture_(aperture) {
  reset();
}

template <typename T>
void PciConfig::set(uint32_t offset, T value, T writable) {
  std::memcpy(&bytes_[offset], &value, sizeof(T));
  std::memcpy(&writable_[offset], &writable, sizeof(T));
}

template <typename T>
T PciConfig::get(uint32_t offset) const {
  T value;
  std::memcpy(&value, &bytes_[offset], sizeof(T));
  return value;
}

void PciConfig::reset() {
  bytes_ = {};
  writable_ = {};
  set<uint16_t>(PCI_VENDOR_ID, NPU_PCI_VENDOR_ID);
  set<uint16_t>(PCI_DEVICE_ID, NPU_PCI_DEVICE_ID);
  set<uint16_t>(PCI_COMMAND, 0,
                PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
                    PCI_COMMAND_INTX_DISABLE);
  set<uint16_t>(PCI_STATUS, PCI_STATUS_CAP_LIST);
  set<uint8_t>(PCI_REVISION_ID, NPU_VERSION_MAJOR);
  set<uint16_t>(PCI_CLASS_DEVICE, NPU_PCI_CLASS);
  set<uint8_t>(PCI_CACHE_LINE_SIZE, 0, 0xff);
  // QEMU's defaults for a device that sets none, so that both are one device.
  set<uint16_t>(PCI_SUBSYSTEM_VENDOR_ID, 0x1af4);
  set<uint16_t>(PCI_SUBSYSTEM_ID, 0x1100);
  set<uint8_t>(PCI_INTERRUPT_LINE, 0, 0xff);
  set<uint8_t>(PCI_CAPABILITY_LIST, kPm);

  constexpr uint64_t k64 = PCI_BASE_ADDRESS_MEM_TYPE_64;
  set<uint64_t>(bar(NPU_BAR_REGISTERS), k64, ~uint64_t{NPU_BAR_REGISTERS_SIZE - 1});
  set<uint64_t>(bar(NPU_BAR_APERTURE), k64 | PCI_BASE_ADDRESS_MEM_PREFETCH, ~(aperture_ - 1));
  set<uint32_t>(bar(NPU_BAR_MSIX), PCI_BASE_ADDRESS_MEM_TYPE_32, ~(kMsixBarBytes - 1));

  set<uint8_t>(kPm, PCI_CAP_ID_PM);
  set<uint8_t>(kPm + 1, kExpress);
  set<uint16_t>(kPm + PCI_PM_PMC, 3);  // version 1.2: D0 and D3 only
  // Nothing is lost in D3hot.
  set<uint16_t>(kPm + PCI_PM_CTRL, PCI_PM_CTRL_NO_SOFT_RESET, PCI_PM_CTRL_STATE_MASK);

  set<uint8_t>(kExpress, PCI_CAP_ID_EXP);
  set<uint8_t>(kExpress + 1, kMsix);
  set<uint16_t>(kExpress + PCI_EXP_FLAGS, 2 | PCI_EXP_TYPE_ENDPOINT << 4);
  set<uint32_t>(kExpress + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_RBER | PCI_EXP_DEVCAP_FLR);
  set<uint16_t>(
      kExpress + PCI_EXP_DEVCTL, 0,
      PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE | PCI_EXP_DEVCTL_FERE | PCI_EXP_DEVCTL_URRE);
  set<uint32_t>(kExpress + PCI_EXP_LNKCAP, PCI_EXP_LNKCAP_SLS_2_5GB | 1u << 4);
  set<uint16_t>(kExpress + PCI_EXP_LNKSTA, PCI_EXP_LNKSTA_CLS_2_5GB | 1u << 4);

  set<uint8_t>(kMsix, PCI_CAP_ID_MSIX);
  set<uint16_t>(kMsix + PCI_MSIX_FLAGS, static_cast<uint16_t>(vectors_ - 1),
                PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
  set<uint32_t>(kMsix + PCI_MSIX_TABLE, NPU_BAR_MSIX);
  set<uint32_t>(kMsix + PCI_MSIX_PBA, kMsixPending | NPU_BAR_MSIX);
}

void PciConfig::read(uint32_t offset, std::span<std::byte> data) const {
  std::memcpy(data.data(), &bytes_[offset], data.size());
}

bool PciConfig::write(uint32_t offset, std::span<const std::byte> data) {
  bool function_level_reset = false;
  for (size_t i = 0; i < data.size(); ++i) {
    const size_t at = offset + i;
    const auto value = std::to_integer<uint8_t>(data[i]);
    bytes_[at] = static_cast<uint8_t>((bytes_[at] & ~writable_[at]) | (value & writable_[at]));
    if (at == kExpress + PCI_EXP_DEVCTL + 1 && (value & PCI_EXP_DEVCTL_BCR_FLR >> 8) != 0)
      function_level_reset = true;
  }
  return function_level_reset;
}

bool PciConfig::bus_master() const {
  return (get<uint16_t>(PCI_COMMAND) & PCI_COMMAND_MASTER) != 0;
}

bool PciConfig::asleep() const {
  return (get<uint16_t>(kPm + PCI_PM_CTRL) & PCI_PM_CTRL_STATE_MASK) != 0;
}

bool PciConfig::msix_enabled() const {
  return (get<uint16_t>(kMsix + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_ENABLE) != 0;
}

bool PciConfig::msix_masked() const {
  return (get<uint16_t>(kMsix + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_MASKALL) != 0;
}

}  // namespace npu::vfio_user
