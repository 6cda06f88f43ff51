// SPDX-License-Identifier: MIT
//
// Faults on demand, every kind through both ways: the property of the device
// that the host sets, and page 2 of the registers, which the guest's root writes.
#include <linux/pci_regs.h>

#include <optional>
#include <string>
#include <vector>

#include "card.h"

namespace npu::qtest {
namespace {

constexpr uint32_t kQueue = 1;
constexpr uint16_t kAsid = 1;

struct Fault {
  uint32_t kind;
  const char* name;
  uint32_t queue = NPU_INJECT_ANY_QUEUE;
  uint32_t skip = 0;
  uint32_t count = 1;
  uint64_t argument = 0;
};

class Inject : public MachineTest, public testing::WithParamInterface<const char*> {
 protected:
  bool through_registers() const { return std::string(GetParam()) == "Registers"; }

  void arm(const Fault& fault) {
    if (through_registers()) {
      card().set_reg(NPU_REG_INJECT_COUNT, fault.count);
      card().set_reg(NPU_REG_INJECT_SKIP, fault.skip);
      card().set_reg(NPU_REG_INJECT_QUEUE, fault.queue);
      card().set_reg64(NPU_REG_INJECT_ARG, fault.argument);
      card().set_reg(NPU_REG_INJECT_KIND, fault.kind);
      return;
    }
    inject(std::string(fault.name) + ",queue=" + std::to_string(fault.queue) +
           ",skip=" + std::to_string(fault.skip) + ",count=" + std::to_string(fault.count) +
           ",arg=" + std::to_string(fault.argument));
  }
  // Runs everything inside the register write that starts it.
  void start_queues() {
    start("sync=on");
    card().start(0, 0);
    card().start(kQueue, kAsid);
    card().map(kAsid, Card::kDataVa, NPU_MEMORY_CARD, 0, 4 << 20);
  }
  npu_completion run_job() { return card().run(kQueue, card().job(kAsid, copy_stream(4096))); }
};

INSTANTIATE_TEST_SUITE_P(Way, Inject, testing::Values("Property", "Registers"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(Inject, Hang) {
  start_queues();
  arm({.kind = NPU_INJECT_HANG, .name = "hang", .argument = 1});
  const uint64_t packet = card().send(kQueue, card().job(kAsid, copy_stream(4096)));
  expect_silence(kQueue, packet);
  EXPECT_NE(card().reg(NPU_REG_STATUS) & NPU_DEVICE_HUNG, 0u);
  card().set_reg(NPU_QUEUE_PAGE(kQueue) + NPU_QUEUE_CONTROL, NPU_QUEUE_CMD_ABORT_JOB);
  expect_silence(kQueue, packet);
  card().set_reg(NPU_REG_RESET, NPU_RESET_KIND_CORE);
  const npu_completion c = card().wait(kQueue, packet);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_HANG});
  EXPECT_EQ(c.command, 1u);
  EXPECT_EQ(run_job().status, uint32_t{NPU_STATUS_OK});
}

TEST_P(Inject, LostInterrupt) {
  start_queues();
  arm({.kind = NPU_INJECT_LOST_INTERRUPT, .name = "lost-interrupt", .queue = 0, .skip = 1});
  card().run(0, nop(NPU_PACKET_IRQ));
  EXPECT_TRUE(card().take_message(1)) << "passed over";
  card().run(0, nop(NPU_PACKET_IRQ));
  EXPECT_FALSE(card().take_message(1));
  machine().clock_step(1'000'000'000);
  EXPECT_FALSE(card().take_message(1));
  card().run(0, nop(NPU_PACKET_IRQ));
  EXPECT_TRUE(card().take_message(1)) << "only one was asked for";
}

TEST_P(Inject, LateInterrupt) {
  start_queues();
  arm({.kind = NPU_INJECT_LATE_INTERRUPT, .name = "late-interrupt", .argument = 5'000'000});
  card().run(0, nop(NPU_PACKET_IRQ));
  machine().clock_step(4'999'999);
  EXPECT_FALSE(card().take_message(1));
  machine().clock_step(1);
  EXPECT_TRUE(card().take_message(1));
}

// A time beyond QEMU's signed clock was in its past: its timer never came to rest.
TEST_P(Inject, AnInterruptThatIsAbsurdlyLate) {
  start_queues();
  arm({.kind = NPU_INJECT_LATE_INTERRUPT,
       .name = "late-interrupt",
       .argument = 0xc100000000000000});
  card().run(0, nop(NPU_PACKET_IRQ));
  machine().clock_step(1'000'000'000);
  EXPECT_FALSE(card().take_message(1));
  EXPECT_EQ(card().run(0, nop(NPU_PACKET_IRQ)).status, uint32_t{NPU_STATUS_OK});
  EXPECT_TRUE(card().take_message(1));
}

TEST_P(Inject, Ecc) {
  start_queues();
  arm({.kind = NPU_INJECT_ECC, .name = "ecc", .queue = kQueue});
  const uint64_t host = card().allocate(4096);
  EXPECT_EQ(card().run(0, copy(NPU_MEMORY_CARD, 0, NPU_MEMORY_HOST, host, 64)).status, 0u)
      << "another queue";
  const npu_completion c = run_job();
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_ECC});
  EXPECT_EQ(c.engine, uint8_t{NPU_ENGINE_LOAD});
  EXPECT_EQ(run_job().status, uint32_t{NPU_STATUS_OK});
}

TEST_P(Inject, DmaError) {
  start_queues();
  const uint64_t host = card().allocate(4096);
  arm({.kind = NPU_INJECT_DMA_ERROR, .name = "dma-error", .count = 2});
  for (uint32_t status : {NPU_STATUS_DMA_ERROR, NPU_STATUS_DMA_ERROR, NPU_STATUS_OK}) {
    const npu_completion c = card().run(0, copy(NPU_MEMORY_HOST, host, NPU_MEMORY_CARD, 0, 64));
    EXPECT_EQ(c.status, status);
    EXPECT_EQ(c.address, status == NPU_STATUS_OK ? 0 : host);
  }
}

TEST_P(Inject, DropTlbInvalidate) {
  start_queues();
  ASSERT_EQ(run_job().status, 0u);
  const npu_packet_job job = card().job(kAsid, copy_stream(64));
  ASSERT_EQ(card().run(kQueue, job).status, 0u);
  card().unmap(kAsid, Card::kDataVa, 4096);
  EXPECT_EQ(card().run(kQueue, job).status, 0u) << "the stale entry is visible";
  arm({.kind = NPU_INJECT_DROP_TLB_INVALIDATE, .name = "drop-tlb-invalidate"});
  EXPECT_EQ(card().run(0, invalidate(kAsid, 0, 0)).status, 0u);
  EXPECT_EQ(card().run(kQueue, job).status, 0u) << "the invalidation was dropped";
  EXPECT_EQ(card().run(0, invalidate(kAsid, 0, 0)).status, 0u);
  EXPECT_EQ(card().run(kQueue, job).status, uint32_t{NPU_STATUS_MMU_FAULT}) << "gone with it";
}

TEST_P(Inject, ThermalTrip) {
  start_queues();
  arm({.kind = NPU_INJECT_THERMAL_TRIP, .name = "thermal-trip", .argument = 120'000});
  EXPECT_GE(card().reg(NPU_REG_TEMPERATURE_MC), 119'000u);
  EXPECT_NE(card().reg(NPU_REG_STATUS) & NPU_DEVICE_THROTTLED, 0u);
  EXPECT_TRUE(eventually([&] { return card().take_message(NPU_VECTOR_EVENTS); }));
  const auto events = card().events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].type, uint32_t{NPU_EVENT_THERMAL});
  EXPECT_GE(events[0].value, 119'000u);
}

TEST_P(Inject, Gone) {
  start_queues();
  arm({.kind = NPU_INJECT_GONE, .name = "gone"});
  EXPECT_EQ(card().reg(NPU_REG_MAGIC), 0xffffffffu);
  EXPECT_EQ(card().config_read(0), 0xffffffffu);
  EXPECT_EQ(machine().load<uint32_t>(card().window()), 0xffffffffu);
}

TEST_P(Inject, ClearDisarms) {
  start_queues();
  arm({.kind = NPU_INJECT_ECC, .name = "ecc", .count = 3});
  arm({.kind = NPU_INJECT_DMA_ERROR, .name = "dma-error", .count = 4});
  EXPECT_EQ(card().reg(NPU_REG_INJECT_ARMED), 7u);
  arm({.kind = NPU_INJECT_CLEAR, .name = "clear"});
  EXPECT_EQ(card().reg(NPU_REG_INJECT_ARMED), 0u);
  EXPECT_EQ(run_job().status, 0u);
}

// --- AER, behind a root port ----------------------------------------------------

class Aer : public Inject {
 protected:
  void start_behind_a_port() {
    machine_ = std::make_unique<QtestMachine>(
        std::vector<std::string>{"-device", "pcie-root-port,id=rp0,chassis=1,slot=1,addr=3",
                                 "-device", "npu,id=npu0,bus=rp0,card-memory-mib=16"});
    port_.emplace(*machine_, 3, 1, 0xc0000000, 0xcfffffff);
    card_ = std::make_unique<Card>(*machine_, 1, 0);
    card_->bring_up();
    // What an operating system does to hear of errors.
    const uint32_t all = PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE | PCI_EXP_DEVCTL_FERE;
    for (PciFunction* function :
         {static_cast<PciFunction*>(&*port_), static_cast<PciFunction*>(card_.get())})
      function->config_write(function->capability(PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL, all, 2);
    port_->config_write(PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_SERR, 2);
    aer_ = card().extended_capability(PCI_EXT_CAP_ID_ERR);
    port_aer_ = port_->extended_capability(PCI_EXT_CAP_ID_ERR);
    ASSERT_NE(aer_, 0u);
    ASSERT_NE(port_aer_, 0u);
  }
  uint32_t device_status() {
    return card().config_read(card().capability(PCI_CAP_ID_EXP) + PCI_EXP_DEVSTA, 2);
  }
  // Of the root port; clears it, as the handler does.
  uint32_t take_root_status() {
    const uint32_t status = port_->config_read(port_aer_ + PCI_ERR_ROOT_STATUS);
    port_->config_write(port_aer_ + PCI_ERR_ROOT_STATUS, status);
    return status;
  }
  void report(unsigned bit) { arm({.kind = NPU_INJECT_AER, .name = "aer", .argument = bit}); }

  std::optional<RootPort> port_;
  unsigned aer_ = 0, port_aer_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Way, Aer, testing::Values("Property", "Registers"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(Aer, Correctable) {
  ASSERT_NO_FATAL_FAILURE(start_behind_a_port());
  for (int i = 0; i < 2; ++i) {
    report(32);  // receiver error
    EXPECT_EQ(card().config_read(aer_ + PCI_ERR_COR_STATUS), uint32_t{PCI_ERR_COR_RCVR});
    EXPECT_NE(device_status() & PCI_EXP_DEVSTA_CED, 0u);
    EXPECT_EQ(take_root_status() & 0x7f, uint32_t{PCI_ERR_ROOT_COR_RCV});
    EXPECT_EQ(port_->config_read(port_aer_ + PCI_ERR_ROOT_ERR_SRC) & 0xffff, 1u << 8);
    card().config_write(aer_ + PCI_ERR_COR_STATUS, PCI_ERR_COR_RCVR);
    EXPECT_EQ(card().config_read(aer_ + PCI_ERR_COR_STATUS), 0u);
  }
}

TEST_P(Aer, NonFatal) {
  ASSERT_NO_FATAL_FAILURE(start_behind_a_port());
  report(15);  // completer abort
  report(15);
  EXPECT_EQ(card().config_read(aer_ + PCI_ERR_UNCOR_STATUS), uint32_t{PCI_ERR_UNC_COMP_ABORT});
  EXPECT_NE(device_status() & PCI_EXP_DEVSTA_NFED, 0u);
  const uint32_t root = take_root_status();
  EXPECT_NE(root & PCI_ERR_ROOT_UNCOR_RCV, 0u);
  EXPECT_NE(root & PCI_ERR_ROOT_NONFATAL_RCV, 0u);
  EXPECT_EQ(root & PCI_ERR_ROOT_FATAL_RCV, 0u);
  card().start(0, 0);
  EXPECT_EQ(card().run(0, nop()).status, 0u) << "reporting an error ends nothing";
}

TEST_P(Aer, Fatal) {
  ASSERT_NO_FATAL_FAILURE(start_behind_a_port());
  report(4);  // data link protocol
  EXPECT_EQ(card().config_read(aer_ + PCI_ERR_UNCOR_STATUS), uint32_t{PCI_ERR_UNC_DLP});
  EXPECT_NE(device_status() & PCI_EXP_DEVSTA_FED, 0u);
  EXPECT_NE(take_root_status() & PCI_ERR_ROOT_FATAL_RCV, 0u);
}

TEST_P(Aer, ReportingOffIsSilentUpstream) {
  ASSERT_NO_FATAL_FAILURE(start_behind_a_port());
  card().config_write(card().capability(PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL, 0, 2);
  report(32);
  report(15);
  EXPECT_EQ(take_root_status() & 0x7f, 0u);
  EXPECT_NE(card().config_read(aer_ + PCI_ERR_COR_STATUS), 0u) << "logged all the same";
}

// A bus reset, as after a fatal error, brings the card back.
TEST_P(Aer, SecondaryBusResetIsPowerOn) {
  ASSERT_NO_FATAL_FAILURE(start_behind_a_port());
  card().start(0, 0);
  card().run(0, fill(0, 4096, 0x11111111, NPU_MEMORY_CARD));
  report(4);
  port_->config_write(PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_SERR | PCI_BRIDGE_CTL_BUS_RESET, 2);
  port_->config_write(PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_SERR, 2);
  EXPECT_EQ(card().config_read(PCI_COMMAND, 2), 0u);
  card().bring_up();
  EXPECT_EQ(machine().load<uint32_t>(card().window()), 0u);
  card().start(0, 0);
  EXPECT_EQ(card().run(0, nop()).status, 0u);
}

// --- What is refused ------------------------------------------------------------

class InjectProperty : public MachineTest {};

TEST_F(InjectProperty, RefusesNonsense) {
  start();
  for (const char* value :
       {"", "nonsense", "hang,", "hang,queue", "hang,queue=", "hang,queue=x", "hang,size=1",
        "hang,count=-1", "hang,count=4294967296", "hang,skip=99999999999999999999", "aer,arg=64",
        "aer,arg=1", "aer,arg=35"}) {
    const std::string error = machine().qmp_error(
        "qom-set", R"({"path":"/machine/peripheral/npu0","property":"inject","value":")" +
                       std::string(value) + "\"}");
    EXPECT_NE(error.find("npu:"), std::string::npos) << error;
  }
  EXPECT_EQ(card().reg(NPU_REG_INJECT_ARMED), 0u);
}

TEST_F(InjectProperty, UnknownKindsInTheRegisterDoNothing) {
  start();
  card().start(0, 0);
  for (uint32_t kind : {uint32_t{NPU_INJECT_KINDS}, 100u, 0xffffffffu})
    card().set_reg(NPU_REG_INJECT_KIND, kind);
  card().set_reg64(NPU_REG_INJECT_ARG, ~uint64_t{0});
  card().set_reg(NPU_REG_INJECT_KIND, NPU_INJECT_AER);
  EXPECT_EQ(card().reg(NPU_REG_INJECT_ARMED), 0u);
  EXPECT_EQ(card().run(0, nop()).status, 0u);
}

}  // namespace
}  // namespace npu::qtest
