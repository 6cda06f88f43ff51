// SPDX-License-Identifier: MIT
//
// What the function does on the bus: DMA, MSI-X, bus mastering, the aperture,
// absence, and an IOMMU in between.
#include <linux/pci_regs.h>

#include <vector>

#include "card.h"

namespace npu::qtest {
namespace {

class Bus : public MachineTest {
 protected:
  std::vector<uint8_t> bytes_at(uint64_t address, size_t bytes) {
    std::vector<uint8_t> out(bytes);
    machine().read(address, out.data(), bytes);
    return out;
  }
};

TEST_F(Bus, CopiesAndFillsBothWays) {
  start();
  card().start(0, 0);
  const uint64_t from = card().allocate(300 * 1024), to = card().allocate(300 * 1024);
  std::vector<uint8_t> data(300 * 1024);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<uint8_t>(i ^ i >> 9);
  machine().write(from, data.data(), data.size());
  EXPECT_EQ(card().run(0, copy(NPU_MEMORY_HOST, from, NPU_MEMORY_CARD, 64, data.size())).status,
            0u);
  EXPECT_EQ(bytes_at(card().window() + 64, data.size()), data);
  EXPECT_EQ(card().run(0, copy(NPU_MEMORY_CARD, 64, NPU_MEMORY_HOST, to, data.size())).status, 0u);
  EXPECT_EQ(bytes_at(to, data.size()), data);
  EXPECT_EQ(card().run(0, fill(to, 8, 0x04030201, NPU_MEMORY_HOST)).status, 0u);
  EXPECT_EQ(bytes_at(to, 8), (std::vector<uint8_t>{1, 2, 3, 4, 1, 2, 3, 4}));
  EXPECT_EQ(machine().load<uint8_t>(to + 8), data[8]);
}

TEST_F(Bus, AnAddressWithoutMemoryIsADmaError) {
  start();
  card().start(0, 0);
  const uint64_t nowhere = 0x9000'0000;
  const npu_completion c = card().run(0, copy(NPU_MEMORY_HOST, nowhere, NPU_MEMORY_CARD, 0, 64));
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(c.address, nowhere);
  EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_READ});
  EXPECT_EQ(card().run(0, fill(nowhere, 64, 1, NPU_MEMORY_HOST)).access, uint8_t{NPU_ACCESS_WRITE});
  // Registers are no memory: a card does not program its neighbours, nor itself.
  const uint64_t self = card().bar(NPU_BAR_REGISTERS);
  EXPECT_EQ(
      card()
          .run(0, with_flags(copy(NPU_MEMORY_HOST, self, NPU_MEMORY_CARD, 0, 64), NPU_PACKET_IRQ))
          .status,
      uint32_t{NPU_STATUS_DMA_ERROR});
  // The event follows the completion, and the interrupt the event.
  ASSERT_TRUE(eventually([&] { return card().take_message(1); }));
  const auto events = card().events();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(events[0].address, nowhere);
  EXPECT_EQ(card().run(0, nop()).status, 0u) << "the queue goes on";
}

TEST_F(Bus, RingsWrapAndDoorbellsDoNotOverrun) {
  start("sync=on");
  card().start(0, 0);
  for (uint64_t i = 0; i < 200; ++i)
    ASSERT_EQ(card().wait(0, card().send(0, nop())).sequence, i + 1);
  card().set_reg(NPU_QUEUE_PAGE(0) + NPU_QUEUE_DOORBELL, 200 + 65);
  EXPECT_EQ(card().state(0), NPU_QUEUE_ERROR);
  const auto events = card().events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].type, uint32_t{NPU_EVENT_QUEUE_ERROR});
  EXPECT_TRUE(card().take_message(NPU_VECTOR_EVENTS));
}

TEST_F(Bus, BusMasteringOffCutsDmaAndInterrupts) {
  start("sync=on");
  card().start(0, 0);
  const uint64_t to = card().allocate(4096);
  card().set_command(0, PCI_COMMAND_MASTER);
  const uint64_t packet =
      card().send(0, with_flags(fill(to, 4096, 0xffffffff, NPU_MEMORY_HOST), NPU_PACKET_IRQ));
  EXPECT_EQ(card().state(0), NPU_QUEUE_ERROR) << "the ring cannot be read";
  EXPECT_EQ(bytes_at(to, 4096), std::vector<uint8_t>(4096));
  expect_silence(0, packet);
  EXPECT_EQ(card().reg(NPU_REG_EVENT_LOST), 1u);
  EXPECT_EQ(card().reg(NPU_REG_MAGIC), NPU_MAGIC) << "registers answer all the same";

  card().set_command(PCI_COMMAND_MASTER);
  card().set_reg(NPU_QUEUE_PAGE(0) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_START);
  EXPECT_EQ(card().wait(0, packet).status, uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(bytes_at(to, 4096), std::vector<uint8_t>(4096, 0xff));
  EXPECT_TRUE(card().take_message(1));
}

// --- MSI-X --------------------------------------------------------------------

TEST_F(Bus, EachQueueHasItsVector) {
  start("sync=on");
  EXPECT_EQ(card().vectors(), 9u);
  for (uint32_t queue : {0u, 1u, 5u, 9u}) {
    card().start(queue, 0);
    card().run(queue, nop());
    for (unsigned v = 0; v < card().vectors(); ++v) EXPECT_FALSE(card().take_message(v));
    card().run(queue, nop(NPU_PACKET_IRQ));
    EXPECT_TRUE(card().take_message(1 + queue % 8)) << "queue " << queue;
  }
}

TEST_F(Bus, AMaskedVectorIsPendingUntilUnmasked) {
  start("sync=on");
  card().start(0, 0);
  card().start(1, 0);
  card().mask_vector(1, true);
  card().run(0, nop(NPU_PACKET_IRQ));
  card().run(0, nop(NPU_PACKET_IRQ));
  card().run(1, nop(NPU_PACKET_IRQ));
  EXPECT_FALSE(card().take_message(1));
  EXPECT_TRUE(card().pending(1));
  EXPECT_TRUE(card().take_message(2)) << "another vector is not masked";
  EXPECT_FALSE(card().pending(2));
  card().mask_vector(1, false);
  EXPECT_TRUE(card().take_message(1));
  EXPECT_FALSE(card().pending(1));
  card().mask_vector(1, true);
  card().mask_vector(1, false);
  EXPECT_FALSE(card().take_message(1)) << "one message for what was pending";
}

TEST_F(Bus, AMaskedFunctionIsPendingOnEveryVector) {
  start("sync=on");
  card().start(0, 0);
  card().start(1, 0);
  card().mask_function(true);
  card().run(0, nop(NPU_PACKET_IRQ));
  card().run(1, nop(NPU_PACKET_IRQ));
  for (unsigned v = 0; v < card().vectors(); ++v) {
    EXPECT_FALSE(card().take_message(v));
    EXPECT_EQ(card().pending(v), v == 1 || v == 2) << v;
  }
  card().mask_vector(2, true);
  card().mask_function(false);
  EXPECT_TRUE(card().take_message(1));
  EXPECT_FALSE(card().take_message(2)) << "still masked on its own";
  card().mask_vector(2, false);
  EXPECT_TRUE(card().take_message(2));
}

TEST_F(Bus, CoalescedInterruptsComeByCountOrByTime) {
  start("sync=on");
  npu_queue_context context = card().make_context(0, 0);
  context.coalesce_count = 4;
  context.coalesce_ns = 1'000'000;
  card().start(0, context);
  for (int i = 0; i < 3; ++i) card().run(0, nop(NPU_PACKET_IRQ));
  EXPECT_FALSE(card().take_message(1));
  card().run(0, nop(NPU_PACKET_IRQ));
  EXPECT_TRUE(card().take_message(1)) << "the fourth";
  card().run(0, nop(NPU_PACKET_IRQ));
  machine().clock_step(999'999);
  EXPECT_FALSE(card().take_message(1));
  machine().clock_step(1);
  EXPECT_TRUE(card().take_message(1)) << "after a millisecond";
  EXPECT_EQ(card().reg(NPU_QUEUE_PAGE(0) + NPU_QUEUE_COUNT_IRQ), 2u);
}

// --- Surprise removal -----------------------------------------------------------

TEST_F(Bus, ACardThatIsGoneIsGoneEverywhere) {
  start();
  card().start(1, 1);
  card().map(1, Card::kDataVa, NPU_MEMORY_CARD, 0, 4 << 20);
  const uint64_t packet = card().send(1, card().job(1, long_stream(4096, 3000), NPU_PACKET_IRQ));
  wait_until_running(1);
  inject("gone");
  EXPECT_NE(machine()
                .qmp("qom-get", R"({"path":"/machine/peripheral/npu0","property":"gone"})")
                .find("true"),
            std::string::npos);
  for (unsigned bar : {NPU_BAR_REGISTERS, NPU_BAR_APERTURE, NPU_BAR_MSIX}) {
    for (uint64_t at : {uint64_t{0}, uint64_t{0x800}})
      EXPECT_EQ(machine().load<uint32_t>(card().bar(bar) + at), 0xffffffffu) << bar;
    EXPECT_EQ(machine().load<uint8_t>(card().bar(bar) + card().bar_bytes(bar) - 1), 0xff) << bar;
  }
  EXPECT_EQ(card().config_read(0), 0xffffffffu);
  EXPECT_EQ(card().config_read(PCI_CFG_SPACE_SIZE), 0xffffffffu);
  card().config_write(PCI_COMMAND, 0, 2);
  expect_silence(1, packet);

  inject("clear");
  EXPECT_EQ(card().config_read(PCI_VENDOR_ID, 2), uint32_t{NPU_PCI_VENDOR_ID});
  EXPECT_EQ(card().config_read(PCI_COMMAND, 2) & PCI_COMMAND_MASTER, unsigned{PCI_COMMAND_MASTER})
      << "what was written meanwhile went nowhere";
  EXPECT_EQ(card().state(1), NPU_QUEUE_DISABLED) << "its queues are stopped";
}

TEST_F(Bus, ACardThatIsGoneIsThereAfterPowerOn) {
  start();
  card().set_reg(NPU_REG_INJECT_KIND, NPU_INJECT_GONE);  // the guest's way
  EXPECT_EQ(machine().load<uint32_t>(card().window()), 0xffffffffu);
  EXPECT_EQ(card().config_read(0), 0xffffffffu);
  machine().reset();
  card().open_config();
  card().bring_up();
  EXPECT_EQ(card().reg(NPU_REG_MAGIC), NPU_MAGIC);
  card().start(0, 0);
  EXPECT_EQ(card().run(0, nop()).status, 0u);
}

// --- The aperture ---------------------------------------------------------------

TEST_F(Bus, AnApertureMayBeSmallerThanCardMemory) {
  start("aperture-mib=4");
  card().start(0, 0);
  EXPECT_EQ(card().bar_bytes(NPU_BAR_APERTURE), 4u << 20);
  machine().store<uint32_t>(card().window() + (4 << 20) - 4, 0x12345678);
  const uint64_t host = card().allocate(4096);
  // What lies behind the window is there for the card.
  EXPECT_EQ(
      card().run(0, copy(NPU_MEMORY_CARD, (4 << 20) - 4, NPU_MEMORY_CARD, 15 << 20, 4)).status, 0u);
  EXPECT_EQ(card().run(0, copy(NPU_MEMORY_CARD, 15 << 20, NPU_MEMORY_HOST, host, 4)).status, 0u);
  EXPECT_EQ(machine().load<uint32_t>(host), 0x12345678u);
  EXPECT_EQ(card().run(0, copy(NPU_MEMORY_CARD, (16 << 20) - 4, NPU_MEMORY_HOST, host, 8)).status,
            uint32_t{NPU_STATUS_DMA_ERROR});
}

// --- An IOMMU -------------------------------------------------------------------

// VT-d with a second-level table of 2 MiB pages in the machine's memory.
class Iommu : public Bus {
 protected:
  static constexpr uint64_t kRegisters = 0xfed90000;
  static constexpr uint64_t kRoot = 0x7000000, kContext = kRoot + 0x1000, kLevel3 = kRoot + 0x2000,
                            kLevel2 = kRoot + 0x3000;
  static constexpr uint64_t kReadWrite = 3, kLargePage = 1 << 7;
  static constexpr uint64_t kGlobalCommand = 0x18, kGlobalStatus = 0x1c, kRootTable = 0x20,
                            kFaultStatus = 0x34, kCapability = 0x08;
  static constexpr uint32_t kSetRootTable = 1u << 30, kTranslate = 1u << 31;

  void start_translated(const std::string& properties = "") {
    start(properties, {"-machine", "kernel-irqchip=split", "-device", "intel-iommu"});
    const uint64_t devfn = 4 << 3;
    machine().store<uint64_t>(kRoot, kContext | 1);  // bus 0
    machine().store<uint64_t>(kContext + devfn * 16, kLevel3 | 1);
    machine().store<uint64_t>(kContext + devfn * 16 + 8, 1 << 8 | 1);  // domain 1, 39 bits
    machine().store<uint64_t>(kLevel3, kLevel2 | kReadWrite);
    for (uint64_t i = 0; i < 64; ++i)  // 128 MiB, one to one
      machine().store<uint64_t>(kLevel2 + i * 8, i << 21 | kReadWrite | kLargePage);
    machine().write_word(kRegisters + kRootTable, kRoot, 8);
    machine().write_word(kRegisters + kGlobalCommand, kSetRootTable, 4);
    machine().write_word(kRegisters + kGlobalCommand, kTranslate, 4);
    ASSERT_NE(machine().read_word(kRegisters + kGlobalStatus, 4) & kTranslate, 0u);
  }
  // Whether a fault has been recorded since the last call.
  bool take_fault() {
    const uint64_t offset = (machine().read_word(kRegisters + kCapability, 8) >> 24 & 0x3ff) * 16;
    const uint64_t record = kRegisters + offset + 8;
    const bool fault = machine().read_word(record, 8) >> 63 != 0;
    machine().write_word(record, 1ull << 63, 8);
    machine().write_word(kRegisters + kFaultStatus, 0xff, 4);
    return fault;
  }
};

TEST_F(Iommu, TranslatedAccessesWork) {
  ASSERT_NO_FATAL_FAILURE(start_translated());
  // Bus address 96 MiB leads elsewhere.
  machine().store<uint64_t>(kLevel2 + 48 * 8, (uint64_t{49} << 21) | kReadWrite | kLargePage);
  machine().store<uint32_t>(uint64_t{49} << 21, 0xcafe);
  card().start(0, 0);
  EXPECT_EQ(card().run(0, copy(NPU_MEMORY_HOST, uint64_t{48} << 21, NPU_MEMORY_CARD, 0, 4)).status,
            0u);
  EXPECT_EQ(machine().load<uint32_t>(card().window()), 0xcafeu);
  EXPECT_FALSE(take_fault());
}

TEST_F(Iommu, AFaultInTranslationIsAnArchitectedError) {
  ASSERT_NO_FATAL_FAILURE(start_translated());
  machine().store<uint64_t>(kLevel2 + 50 * 8, 0);
  machine().store<uint64_t>(kLevel2 + 51 * 8, (uint64_t{51} << 21) | 1 | kLargePage);  // read only
  card().start(0, 0);
  constexpr uint64_t kAbsent = uint64_t{50} << 21, kReadOnly = uint64_t{51} << 21;
  for (int i = 0; i < 3; ++i) {
    npu_completion c = card().run(0, copy(NPU_MEMORY_HOST, kAbsent, NPU_MEMORY_CARD, 0, 4096));
    EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DMA_ERROR});
    EXPECT_EQ(c.address, kAbsent);
    EXPECT_TRUE(take_fault());
    c = card().run(0, fill(kReadOnly, 64, 1, NPU_MEMORY_HOST));
    EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DMA_ERROR});
    EXPECT_EQ(c.access, uint8_t{NPU_ACCESS_WRITE});
    EXPECT_TRUE(take_fault());
  }
  EXPECT_EQ(card().run(0, nop()).status, 0u);

  // A job whose pages the IOMMU does not know: its own status, the queue goes on.
  card().start(1, 1);
  card().map(1, Card::kDataVa, NPU_MEMORY_HOST, kAbsent, 2 << 20);
  const npu_completion c = card().run(1, card().job(1, copy_stream(64)));
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_DMA_ERROR});
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_LOAD});
  EXPECT_EQ(card().run(1, nop()).status, 0u);
}

// Everything faults: rings, completions, events. The card must stay quiet and alive.
TEST_F(Iommu, NothingTranslatedStopsTheQueue) {
  ASSERT_NO_FATAL_FAILURE(start_translated());
  card().start(0, 0);
  ASSERT_EQ(card().run(0, nop()).status, 0u);
  machine().store<uint64_t>(kLevel3, 0);
  machine().write_word(kRegisters + kGlobalCommand, 0, 4);  // off and on: caches are empty
  machine().write_word(kRegisters + kGlobalCommand, kSetRootTable, 4);
  machine().write_word(kRegisters + kGlobalCommand, kTranslate, 4);
  card().send(0, nop(NPU_PACKET_IRQ));
  EXPECT_TRUE(eventually([&] { return card().state(0) == NPU_QUEUE_ERROR; }));
  EXPECT_TRUE(take_fault());
  EXPECT_TRUE(eventually([&] { return card().reg(NPU_REG_EVENT_LOST) >= 1; }));
  EXPECT_EQ(card().reg(NPU_REG_MAGIC), NPU_MAGIC);
}

}  // namespace
}  // namespace npu::qtest
