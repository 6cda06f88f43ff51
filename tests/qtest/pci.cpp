// SPDX-License-Identifier: MIT
#include "pci.h"

#include <linux/pci_regs.h>

#include <stdexcept>

namespace npu::qtest {
namespace {

constexpr uint64_t kEcam = 0xb0000000;
constexpr uint32_t kQ35PciExBar = 0x60;  // of the host bridge; bit 0 enables 256 MiB

}  // namespace

PciFunction::PciFunction(QtestMachine& machine, unsigned bus, unsigned device, unsigned function)
    : machine_(&machine), config_(kEcam | bus << 20 | device << 15 | function << 12) {
  open_config();
}

void PciFunction::open_config() {
  machine_->out32(0xcf8, 0x80000000u | kQ35PciExBar);
  machine_->out32(0xcfc, static_cast<uint32_t>(kEcam) | 1);
}

uint32_t PciFunction::config_read(unsigned offset, unsigned bytes) {
  return static_cast<uint32_t>(machine_->read_word(config_ + offset, bytes));
}

void PciFunction::config_write(unsigned offset, uint32_t value, unsigned bytes) {
  machine_->write_word(config_ + offset, value, bytes);
}

unsigned PciFunction::capability(uint8_t id) {
  unsigned at = config_read(PCI_CAPABILITY_LIST, 1);
  for (int i = 0; i < 48 && at != 0; ++i) {
    if (config_read(at, 1) == id) return at;
    at = config_read(at + 1, 1);
  }
  return 0;
}

unsigned PciFunction::extended_capability(uint16_t id) {
  unsigned at = PCI_CFG_SPACE_SIZE;
  for (int i = 0; i < 96 && at != 0; ++i) {
    const uint32_t header = config_read(at);
    if (header == 0 || header == 0xffffffffu) return 0;
    if (PCI_EXT_CAP_ID(header) == id) return at;
    at = PCI_EXT_CAP_NEXT(header);
  }
  return 0;
}

RootPort::RootPort(QtestMachine& machine, unsigned device, unsigned secondary, uint64_t base,
                   uint64_t limit)
    : PciFunction(machine, 0, device) {
  config_write(PCI_PRIMARY_BUS, secondary << 8 | secondary << 16);
  config_write(PCI_MEMORY_BASE, static_cast<uint32_t>(base >> 16 & 0xfff0) |
                                    static_cast<uint32_t>(limit & 0xfff00000));
  config_write(PCI_PREF_MEMORY_BASE, 0x0000fff0);  // none: base above limit
  config_write(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

uint64_t Endpoint::place_bars(uint64_t at) {
  for (unsigned i = 0; i < 6; ++i) {
    const unsigned offset = PCI_BASE_ADDRESS_0 + 4 * i;
    config_write(offset, 0xffffffffu);
    const uint32_t low = config_read(offset);
    if (low == 0 || (low & PCI_BASE_ADDRESS_SPACE) != PCI_BASE_ADDRESS_SPACE_MEMORY) continue;
    uint64_t mask = 0xffffffff00000000ull | (low & ~0xfu);
    wide_[i] = (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
    if (wide_[i]) {
      config_write(offset + 4, 0xffffffffu);
      mask = uint64_t{config_read(offset + 4)} << 32 | (low & ~0xfu);
    }
    bar_bytes_[i] = ~mask + 1;
    at = (at + bar_bytes_[i] - 1) & mask;
    bar_[i] = at;
    at += bar_bytes_[i];
    if (wide_[i]) ++i;
  }
  write_bars();
  return at;
}

void Endpoint::write_bars() {
  for (unsigned i = 0; i < 6; ++i) {
    if (bar_bytes_[i] == 0) continue;
    config_write(PCI_BASE_ADDRESS_0 + 4 * i, static_cast<uint32_t>(bar_[i]));
    if (wide_[i])
      config_write(PCI_BASE_ADDRESS_0 + 4 * i + 4, static_cast<uint32_t>(bar_[i] >> 32));
  }
}

void Endpoint::enable() {
  write_bars();
  set_command(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

void Endpoint::set_command(uint16_t set, uint16_t clear) {
  const uint32_t command = config_read(PCI_COMMAND, 2);
  config_write(PCI_COMMAND, (command & ~uint32_t{clear}) | set, 2);
}

void Endpoint::set_power_state(unsigned state) {
  const unsigned at = capability(PCI_CAP_ID_PM) + PCI_PM_CTRL;
  config_write(at, (config_read(at, 2) & ~uint32_t{PCI_PM_CTRL_STATE_MASK}) | state, 2);
}

unsigned Endpoint::power_state() {
  return config_read(capability(PCI_CAP_ID_PM) + PCI_PM_CTRL, 2) & PCI_PM_CTRL_STATE_MASK;
}

void Endpoint::function_level_reset() {
  const unsigned at = capability(PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL;
  config_write(at, config_read(at, 2) | PCI_EXP_DEVCTL_BCR_FLR, 2);
}

// --- MSI-X -------------------------------------------------------------------

uint64_t Endpoint::in_bar(uint32_t offset_and_bar) const {
  return bar_[offset_and_bar & PCI_MSIX_TABLE_BIR] + (offset_and_bar & PCI_MSIX_TABLE_OFFSET);
}

uint64_t Endpoint::table_entry(unsigned vector) {
  return in_bar(config_read(capability(PCI_CAP_ID_MSIX) + PCI_MSIX_TABLE)) +
         uint64_t{vector} * PCI_MSIX_ENTRY_SIZE;
}

unsigned Endpoint::vectors() {
  const unsigned at = capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS;
  return (config_read(at, 2) & PCI_MSIX_FLAGS_QSIZE) + 1;
}

void Endpoint::enable_msix(uint64_t words) {
  words_ = words;
  const unsigned count = vectors();
  const uint64_t table = table_entry(0);
  for (unsigned v = 0; v < count; ++v) {
    const uint64_t entry = table + uint64_t{v} * PCI_MSIX_ENTRY_SIZE;
    machine_->store<uint32_t>(words + uint64_t{v} * 4, 0);
    machine_->write_word(entry + PCI_MSIX_ENTRY_LOWER_ADDR, words + uint64_t{v} * 4, 4);
    machine_->write_word(entry + PCI_MSIX_ENTRY_UPPER_ADDR, 0, 4);
    machine_->write_word(entry + PCI_MSIX_ENTRY_DATA, kMessage + v, 4);
    machine_->write_word(entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 0, 4);
  }
  const unsigned at = capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS;
  config_write(at, PCI_MSIX_FLAGS_ENABLE, 2);
}

void Endpoint::mask_vector(unsigned vector, bool masked) {
  machine_->write_word(table_entry(vector) + PCI_MSIX_ENTRY_VECTOR_CTRL,
                       masked ? PCI_MSIX_ENTRY_CTRL_MASKBIT : 0, 4);
}

void Endpoint::mask_function(bool masked) {
  const unsigned at = capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS;
  config_write(at, PCI_MSIX_FLAGS_ENABLE | (masked ? PCI_MSIX_FLAGS_MASKALL : 0), 2);
}

bool Endpoint::pending(unsigned vector) {
  const uint64_t bits = in_bar(config_read(capability(PCI_CAP_ID_MSIX) + PCI_MSIX_PBA));
  return (machine_->read_word(bits + vector / 32 * 4, 4) >> vector % 32 & 1) != 0;
}

bool Endpoint::take_message(unsigned vector) {
  const uint64_t at = words_ + uint64_t{vector} * 4;
  const auto word = machine_->load<uint32_t>(at);
  if (word == 0) return false;
  if (word != kMessage + vector) throw std::runtime_error("a message of another vector");
  machine_->store<uint32_t>(at, 0);
  return true;
}

}  // namespace npu::qtest
