// SPDX-License-Identifier: MIT
//
// The ways to reach a card. Every case of the suite runs on each of them.
#ifndef NPU_TESTS_CARD_FRONT_END_H_
#define NPU_TESTS_CARD_FRONT_END_H_

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

#include "testing/card_port.h"

namespace npu::card {

using model::testing::CardPort;

// The card that every front end is asked for: preset "card" with this much
// memory and this serial number.
inline constexpr uint32_t kCardMemoryMib = 16;
inline constexpr uint64_t kSerial = 0x1122334455667788;

// A front end that is a PCI function.
class PciPort : public CardPort {
 public:
  virtual uint32_t config_read(unsigned offset, unsigned bytes) = 0;
  virtual void config_write(unsigned offset, uint32_t value, unsigned bytes) = 0;
};

struct FrontEnd {
  const char* name;
  // Why it cannot be tried here; empty if it can.
  std::string (*missing)();
  // `background`: the card works while the test does something else; otherwise
  // a front end may do all the work inside the access that asks for it.
  std::unique_ptr<CardPort> (*open)(bool background);
};

std::vector<FrontEnd> front_ends();
std::vector<FrontEnd> pci_front_ends();  // those whose ports are PciPorts
void PrintTo(const FrontEnd& front_end, std::ostream* out);

// The front ends.
std::unique_ptr<CardPort> open_in_process(bool background);
std::unique_ptr<CardPort> open_qemu(bool background);
std::unique_ptr<CardPort> open_vfio_user(bool background);

}  // namespace npu::card

#endif  // NPU_TESTS_CARD_FRONT_END_H_
