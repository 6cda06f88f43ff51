// SPDX-License-Identifier: MIT
#include "front_end.h"

#include <ostream>

#include "machine.h"
#include "testing/harness.h"

namespace npu::card {

namespace {

std::string always() {
  return "";
}

}  // namespace

std::vector<FrontEnd> pci_front_ends() {
  return {{"Qemu", qtest::QtestMachine::missing, open_qemu}, {"VfioUser", always, open_vfio_user}};
}

std::vector<FrontEnd> front_ends() {
  std::vector<FrontEnd> all = pci_front_ends();
  all.insert(all.begin(), {"InProcess", always, open_in_process});
  return all;
}

void PrintTo(const FrontEnd& front_end, std::ostream* out) {
  *out << front_end.name;
}

std::unique_ptr<CardPort> open_in_process(bool /*background*/) {
  model::testing::HarnessOptions options;
  options.target.card_memory_mib = kCardMemoryMib;
  return std::make_unique<model::testing::Harness>(options);
}

}  // namespace npu::card
