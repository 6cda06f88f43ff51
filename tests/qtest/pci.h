// SPDX-License-Identifier: MIT
//
// PCI as firmware sees it: configuration space (ECAM), bridges, BARs, MSI-X.
#ifndef NPU_TESTS_QTEST_PCI_H_
#define NPU_TESTS_QTEST_PCI_H_

#include <cstdint>

#include "machine.h"

namespace npu::qtest {

class PciFunction {
 public:
  PciFunction(QtestMachine& machine, unsigned bus, unsigned device, unsigned function = 0);

  // Opens the window on configuration space; again after a reset of the machine.
  void open_config();
  uint32_t config_read(unsigned offset, unsigned bytes = 4);
  void config_write(unsigned offset, uint32_t value, unsigned bytes = 4);
  // Offset of a capability, 0 if there is none.
  unsigned capability(uint8_t id);
  unsigned extended_capability(uint16_t id);

 protected:
  QtestMachine* machine_;

 private:
  uint64_t config_;
};

// Opens a root port of bus 0 to everything behind it: bus `secondary` and the
// memory from `base` up to and including `limit` (multiples of 1 MiB, below 4 GiB).
class RootPort : public PciFunction {
 public:
  RootPort(QtestMachine& machine, unsigned device, unsigned secondary, uint64_t base,
           uint64_t limit);
};

// An endpoint with memory BARs and MSI-X whose messages are words in memory.
class Endpoint : public PciFunction {
 public:
  // Where BARs are put, one after another: below 4 GiB, behind ECAM's window.
  static constexpr uint64_t kFirstBar = 0xc0000000;

  using PciFunction::PciFunction;

  // Places BARs from `at` on; does nothing else. Returns the next free address.
  uint64_t place_bars(uint64_t at = kFirstBar);
  // Memory decoding and bus mastering on. After a function-level reset: the
  // same, with the addresses that place_bars() chose.
  void enable();
  uint64_t bar(unsigned index) const { return bar_[index]; }
  uint64_t bar_bytes(unsigned index) const { return bar_bytes_[index]; }

  void set_command(uint16_t set, uint16_t clear = 0);

  // Power state through the PM capability: 0 is D0, 3 is D3hot.
  void set_power_state(unsigned state);
  unsigned power_state();
  // Initiates function-level reset; it is done when this returns.
  void function_level_reset();

  // Vector v writes kMessage + v to word v from `words` on.
  static constexpr uint32_t kMessage = 0x1000;
  void enable_msix(uint64_t words);
  void mask_vector(unsigned vector, bool masked);
  void mask_function(bool masked);
  bool pending(unsigned vector);
  unsigned vectors();
  // Whether the vector's message has come since the last call.
  bool take_message(unsigned vector);

 private:
  void write_bars();
  uint64_t table_entry(unsigned vector);
  uint64_t in_bar(uint32_t offset_and_bar) const;

  uint64_t bar_[6] = {};
  uint64_t bar_bytes_[6] = {};
  bool wide_[6] = {};
  uint64_t words_ = 0;
};

}  // namespace npu::qtest

#endif  // NPU_TESTS_QTEST_PCI_H_
