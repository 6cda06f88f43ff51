// SPDX-License-Identifier: MIT
//
// The card in the project's QEMU, whose processor is this process (tests/qtest).
#include <linux/pci_regs.h>

#include "front_end.h"
#include "npu/registers.h"
#include "pci.h"

namespace npu::card {
namespace {

using model::testing::ResetKind;

class QemuPort : public PciPort {
 public:
  explicit QemuPort(bool background)
      : machine_({"-device", "npu,id=npu0,addr=4,preset=card,card-memory-mib=" +
                                 std::to_string(kCardMemoryMib) + ",serial=" +
                                 std::to_string(kSerial) + (background ? "" : ",sync=on")}),
        function_(machine_, 0, 4) {
    function_.place_bars();
    set_up();
  }

  uint64_t bar_read(unsigned bar, uint64_t offset, unsigned bytes) override {
    return machine_.read_word(function_.bar(bar) + offset, bytes);
  }
  void bar_write(unsigned bar, uint64_t offset, uint64_t value, unsigned bytes) override {
    machine_.write_word(function_.bar(bar) + offset, value, bytes);
  }
  void read_card(uint64_t offset, void* data, size_t bytes) override {
    machine_.read(function_.bar(NPU_BAR_APERTURE) + offset, data, bytes);
  }
  void write_card(uint64_t offset, const void* data, size_t bytes) override {
    machine_.write(function_.bar(NPU_BAR_APERTURE) + offset, data, bytes);
  }
  void read_memory(uint64_t address, void* data, size_t bytes) override {
    machine_.read(address, data, bytes);
  }
  void write_memory(uint64_t address, const void* data, size_t bytes) override {
    machine_.write(address, data, bytes);
  }
  uint64_t memory_begin() override { return kMessages + 4096; }
  uint64_t memory_end() override { return qtest::QtestMachine::kMemoryBytes; }

  unsigned take_messages(unsigned vector) override { return function_.take_message(vector); }
  bool counts_messages() const override { return false; }  // they are words in memory
  void mask_vector(unsigned vector, bool masked) override { function_.mask_vector(vector, masked); }

  bool run_until(const std::function<bool()>& done) override { return qtest::eventually(done); }
  void settle() override {}  // sync=on
  void advance(uint64_t ns) override { machine_.clock_step(ns); }

  void reset(ResetKind kind) override {
    if (kind == ResetKind::kPower) {
      machine_.reset();
      function_.open_config();
    } else {
      function_.function_level_reset();
    }
    set_up();
  }
  void set_bus_master(bool on) override {
    function_.set_command(on ? PCI_COMMAND_MASTER : 0, on ? 0 : PCI_COMMAND_MASTER);
  }

  uint32_t config_read(unsigned offset, unsigned bytes) override {
    return function_.config_read(offset, bytes);
  }
  void config_write(unsigned offset, uint32_t value, unsigned bytes) override {
    function_.config_write(offset, value, bytes);
  }

 private:
  static constexpr uint64_t kMessages = 1 << 20;

  void set_up() {
    function_.enable();
    function_.enable_msix(kMessages);
  }

  qtest::QtestMachine machine_;
  qtest::Endpoint function_;
};

}  // namespace

std::unique_ptr<CardPort> open_qemu(bool background) {
  return std::make_unique<QemuPort>(background);
}

}  // namespace npu::card
