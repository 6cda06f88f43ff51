// SPDX-License-Identifier: MIT
//
// Registers through PCI: reset values, access widths, what is unknown.
#include <linux/pci_regs.h>

#include <cstring>

#include "card.h"
#include "npu/target.h"

namespace npu::qtest {
namespace {

class Registers : public MachineTest {};

TEST_F(Registers, IdentityAndCapabilitiesOfTheFunction) {
  start();
  Card& c = card();
  EXPECT_EQ(c.config_read(PCI_VENDOR_ID, 2), uint32_t{NPU_PCI_VENDOR_ID});
  EXPECT_EQ(c.config_read(PCI_DEVICE_ID, 2), uint32_t{NPU_PCI_DEVICE_ID});
  EXPECT_EQ(c.config_read(PCI_CLASS_DEVICE, 2), uint32_t{NPU_PCI_CLASS});
  EXPECT_EQ(c.bar_bytes(NPU_BAR_REGISTERS), uint64_t{NPU_BAR_REGISTERS_SIZE});
  EXPECT_EQ(c.bar_bytes(NPU_BAR_APERTURE), 16u << 20);
  EXPECT_NE(c.config_read(PCI_BASE_ADDRESS_2) & PCI_BASE_ADDRESS_MEM_PREFETCH, 0u);
  EXPECT_NE(c.capability(PCI_CAP_ID_MSIX), 0u);
  EXPECT_NE(c.capability(PCI_CAP_ID_PM), 0u);
  const unsigned express = c.capability(PCI_CAP_ID_EXP);
  ASSERT_NE(express, 0u);
  EXPECT_NE(c.config_read(express + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR, 0u);
  EXPECT_NE(c.extended_capability(PCI_EXT_CAP_ID_ERR), 0u);
}

TEST_F(Registers, ResetValues) {
  start("serial=0x1122334455667788,preset=edge");
  Card& c = card();
  c.function_level_reset();
  c.enable();
  EXPECT_EQ(c.reg(NPU_REG_MAGIC), NPU_MAGIC);
  EXPECT_EQ(c.reg(NPU_REG_VERSION), uint32_t{NPU_VERSION_MAJOR} << 16 | NPU_VERSION_MINOR);
  EXPECT_EQ(c.reg64(NPU_REG_SERIAL), 0x1122334455667788u);
  npu_target target;
  for (uint32_t i = 0; i < NPU_TARGET_WORDS; ++i) {
    const uint32_t word = c.reg(NPU_REG_CAPS + 4 * i);
    memcpy(reinterpret_cast<char*>(&target) + 4 * i, &word, 4);
  }
  EXPECT_STREQ(target.name, "edge");
  EXPECT_EQ(target.card_memory_mib, 16u);
  for (uint32_t offset :
       {NPU_REG_CONTROL, NPU_REG_CONTEXT_TABLE, NPU_REG_CONTEXT_COUNT, NPU_REG_QUEUE_TABLE,
        NPU_REG_QUEUE_COUNT, NPU_REG_EVENT_RING, NPU_REG_EVENT_LOG2, NPU_REG_EVENT_HEAD,
        NPU_REG_EVENT_TAIL, NPU_REG_EVENT_LOST, NPU_REG_INJECT_SKIP, NPU_REG_INJECT_ARG,
        NPU_REG_INJECT_ARMED, NPU_QUEUE_PAGE(3) + NPU_QUEUE_STATE,
        NPU_QUEUE_PAGE(3) + NPU_QUEUE_PRODUCER, NPU_REG_CORE(0, NPU_CORE_STATE)})
    EXPECT_EQ(c.reg(offset), 0u) << std::hex << offset;
  EXPECT_EQ(c.reg(NPU_REG_STATUS), uint32_t{NPU_DEVICE_READY});
  EXPECT_EQ(c.reg(NPU_REG_INJECT_COUNT), 1u);
  EXPECT_EQ(c.reg(NPU_REG_INJECT_QUEUE), NPU_INJECT_ANY_QUEUE);
}

TEST_F(Registers, OnlyAlignedWordsAndPairsAreAccesses) {
  start();
  Card& c = card();
  const uint64_t base = c.bar(NPU_BAR_REGISTERS);
  for (unsigned bytes : {1u, 2u}) {
    EXPECT_EQ(machine().read_word(base + NPU_REG_MAGIC, bytes), 0u) << bytes;
    machine().write_word(base + NPU_REG_CONTEXT_COUNT, 1, bytes);
  }
  EXPECT_EQ(machine().read_word(base + NPU_REG_MAGIC + 2, 4), 0u);
  EXPECT_EQ(machine().read_word(base + NPU_REG_FEATURES + 4, 8), 0u) << "not at a pair";
  EXPECT_EQ(machine().read_word(base + NPU_REG_CONTROL, 8), 0u) << "two registers at once";
  EXPECT_EQ(c.reg(NPU_REG_CONTEXT_COUNT), c.target().asids);
  c.set_reg64(NPU_REG_EVENT_RING, 0x123456789abcdef0u);
  EXPECT_EQ(c.reg(NPU_REG_EVENT_RING), 0x9abcdef0u);
  EXPECT_EQ(c.reg(NPU_REG_EVENT_RING + 4), 0x12345678u);
  c.set_reg(NPU_REG_EVENT_RING + 4, 7);
  EXPECT_EQ(c.reg64(NPU_REG_EVENT_RING), 0x79abcdef0u);
}

TEST_F(Registers, UnknownOnesReadZeroAndIgnoreWrites) {
  start();
  Card& c = card();
  for (uint32_t offset : {0x1cu, 0xffcu, 0x10fcu, 0x1f00u, 0x201cu, 0x3000u, 0xfffcu,
                          NPU_QUEUE_PAGE(0u) + 0x2cu, NPU_QUEUE_PAGE(64u), 0xffffcu}) {
    c.set_reg(offset, 0xffffffffu);
    EXPECT_EQ(c.reg(offset), 0u) << std::hex << offset;
  }
  EXPECT_EQ(c.reg(NPU_REG_MAGIC), NPU_MAGIC);
}

}  // namespace
}  // namespace npu::qtest
