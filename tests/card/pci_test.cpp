// SPDX-License-Identifier: MIT
//
// The PCI function: on the front ends that are one, and the same on both.
#include <linux/pci_regs.h>

#include "suite.h"

namespace npu::card {
namespace {

class CardPci : public CardTest {
 protected:
  PciPort& pci() { return dynamic_cast<PciPort&>(port()); }
  uint32_t config(unsigned offset, unsigned bytes = 4) { return pci().config_read(offset, bytes); }
  unsigned capability(uint8_t id) {
    unsigned at = config(PCI_CAPABILITY_LIST, 1);
    for (int i = 0; i < 48 && at != 0 && config(at, 1) != id; ++i) at = config(at + 1, 1);
    return at;
  }
  void set_power_state(uint32_t power_state) {
    pci().config_write(capability(PCI_CAP_ID_PM) + PCI_PM_CTRL, power_state, 2);
  }
};
INSTANTIATE_TEST_SUITE_P(Card, CardPci, testing::ValuesIn(pci_front_ends()),
                         [](const auto& info) { return info.param.name; });

struct Field {
  unsigned offset, bytes;
  uint32_t value;
};

TEST_P(CardPci, Identity) {
  open();
  const Field kTable[] = {
      {PCI_VENDOR_ID, 2, NPU_PCI_VENDOR_ID},
      {PCI_DEVICE_ID, 2, NPU_PCI_DEVICE_ID},
      {PCI_CLASS_DEVICE, 2, NPU_PCI_CLASS},
      {PCI_CLASS_PROG, 1, 0},
      {PCI_REVISION_ID, 1, NPU_VERSION_MAJOR},
      {PCI_HEADER_TYPE, 1, PCI_HEADER_TYPE_NORMAL},
      {PCI_SUBSYSTEM_VENDOR_ID, 2, 0x1af4},
      {PCI_SUBSYSTEM_ID, 2, 0x1100},
      {PCI_INTERRUPT_PIN, 1, 0},
  };
  for (const Field& f : kTable)
    EXPECT_EQ(config(f.offset, f.bytes), f.value) << std::hex << f.offset;
  pci().config_write(PCI_VENDOR_ID, 0, 4);
  EXPECT_EQ(config(PCI_VENDOR_ID, 2), uint32_t{NPU_PCI_VENDOR_ID});
}

TEST_P(CardPci, BarsHaveTheirSizesAndTypes) {
  open();
  const auto bar = [](unsigned index) { return PCI_BASE_ADDRESS_0 + 4 * index; };
  pci().config_write(PCI_COMMAND, 0, 2);
  for (unsigned i = 0; i < 6; ++i) pci().config_write(bar(i), 0xffffffff, 4);
  constexpr uint32_t k64 = PCI_BASE_ADDRESS_MEM_TYPE_64;
  EXPECT_EQ(config(bar(0)), ~uint32_t{NPU_BAR_REGISTERS_SIZE - 1} | k64);
  EXPECT_EQ(config(bar(1)), 0xffffffffu);
  EXPECT_EQ(config(bar(2)), ~((kCardMemoryMib << 20) - 1) | k64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
  EXPECT_EQ(config(bar(3)), 0xffffffffu);
  EXPECT_EQ(config(bar(4)), ~uint32_t{4095});
  EXPECT_EQ(config(bar(5)), 0u);
}

TEST_P(CardPci, Capabilities) {
  open();
  const unsigned pm = capability(PCI_CAP_ID_PM), express = capability(PCI_CAP_ID_EXP),
                 msix = capability(PCI_CAP_ID_MSIX);
  ASSERT_TRUE(pm != 0 && express != 0 && msix != 0);
  EXPECT_EQ(config(pm + PCI_PM_CTRL, 2), uint32_t{PCI_PM_CTRL_NO_SOFT_RESET});
  EXPECT_TRUE(config(express + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR);
  EXPECT_EQ(config(express + PCI_EXP_FLAGS, 2) & PCI_EXP_FLAGS_VERS, 2u);
  EXPECT_EQ((config(msix + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1, card().target().vectors);
  EXPECT_EQ(config(msix + PCI_MSIX_TABLE), uint32_t{NPU_BAR_MSIX});
  EXPECT_EQ(config(msix + PCI_MSIX_PBA), 2048u | NPU_BAR_MSIX);
}

TEST_P(CardPci, D3hotKeepsEverythingAndAnswersNothing) {
  start();
  effects();
  set_power_state(3);
  EXPECT_NE(card().read(NPU_REG_MAGIC), uint32_t{NPU_MAGIC});  // what it is then, the bus says
  card().put(kQueue, packets::nop(NPU_PACKET_IRQ));
  card().ring(kQueue);  // goes nowhere
  port().settle();
  EXPECT_FALSE(card().completed(kQueue, 0));
  set_power_state(0);
  EXPECT_EQ(state(kQueue), uint32_t{NPU_QUEUE_IDLE});
  card().ring(kQueue);
  port().settle();
  EXPECT_TRUE(card().completed(kQueue, 0));
  EXPECT_EQ(effects().messages.size(), 1u);
}

TEST_P(CardPci, D3hotSuspendsAJob) {
  open(true);
  start();
  card().put(kQueue, space().packet(long_stream().bytes()));
  card().ring(kQueue);
  wait_until_running();
  set_power_state(3);
  set_power_state(0);
  EXPECT_EQ(state(kQueue), uint32_t{NPU_QUEUE_RUNNING});
  card().command(kQueue, NPU_QUEUE_CMD_ABORT_JOB);
  EXPECT_TRUE(port().run_until([&] { return card().completed(kQueue, 0); }));
}

TEST_P(CardPci, FunctionMaskKeepsMessagesPending) {
  start();
  effects();
  const unsigned at = capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS;
  pci().config_write(at, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 2);
  submit(packets::nop(NPU_PACKET_IRQ));
  EXPECT_TRUE(effects().messages.empty());
  const uint64_t pending = port().bar_read(NPU_BAR_MSIX, 2048, 4);
  EXPECT_EQ(pending, 1u << card().context(kQueue).vector);
  pci().config_write(at, PCI_MSIX_FLAGS_ENABLE, 2);
  expect_effects({.messages = {{card().context(kQueue).vector, 1}}});
  EXPECT_EQ(port().bar_read(NPU_BAR_MSIX, 2048, 4), 0u);
}

TEST_P(CardPci, GoneCoversConfigurationSpace) {
  start();
  card().write(NPU_REG_INJECT_KIND, NPU_INJECT_GONE);
  port().settle();
  EXPECT_EQ(config(PCI_VENDOR_ID), 0xffffffffu);
  EXPECT_EQ(port().bar_read(NPU_BAR_APERTURE, 0, 4), 0xffffffffu);
  EXPECT_EQ(port().bar_read(NPU_BAR_MSIX, 0, 4), 0xffffffffu);
  port().reset(ResetKind::kPower);
  EXPECT_EQ(config(PCI_VENDOR_ID, 2), uint32_t{NPU_PCI_VENDOR_ID});
}

}  // namespace
}  // namespace npu::card
