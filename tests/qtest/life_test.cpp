// SPDX-License-Identifier: MIT
//
// Coming and going: properties, hot-plug by ACPI and by the slot itself, several
// cards, migration, trace events.
#include <linux/pci_regs.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "card.h"

namespace npu::qtest {
namespace {

using Words = std::vector<std::string>;

// A file name of our own, removed at the end.
class TemporaryFile {
 public:
  TemporaryFile() {
    const int fd = mkstemp(name_.data());
    if (fd >= 0) close(fd);
  }
  ~TemporaryFile() { unlink(name_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& name() const { return name_; }
  std::string text() const {
    std::ifstream file(name_);
    std::stringstream all;
    all << file.rdbuf();
    return all.str();
  }

 private:
  std::string name_ =
      (std::getenv("TMPDIR") ? std::string(std::getenv("TMPDIR")) : "/tmp") + "/npu-qtest.XXXXXX";
};

// --- Properties ---------------------------------------------------------------

class Properties : public MachineTest {};

TEST_F(Properties, BadOnesAreRefusedAndLeaveNothing) {
  machine_ = std::make_unique<QtestMachine>(
      Words{"-device", "pcie-root-port,id=rp0,chassis=1,slot=1,addr=3"});
  const std::string before = machine().hmp("info ramblock");
  for (const char* properties :
       {R"("aperture-mib":3)", R"("aperture-mib":32,"card-memory-mib":16)",
        R"("card-memory-mib":0)", R"("card-memory-mib":65537)", R"("vectors":0)", R"("vectors":65)",
        R"("preset":"none")", R"("name":"")",
        R"("name":"a name that is much too long for the field of the capability block")",
        R"("mode":"fast")", R"("cores":0)", R"("cores":1000)", R"("sram-bytes":7)", R"("queues":0)",
        R"("mac-outputs":0)", R"("no-such":1)", R"("card-memory-mib":"many")"}) {
    EXPECT_NO_THROW(machine().qmp_error(
        "device_add", R"({"driver":"npu","id":"bad","bus":"rp0",)" + std::string(properties) + "}"))
        << properties;
    EXPECT_EQ(machine().hmp("info ramblock"), before) << properties;
  }
  // The id and the slot are free for a good one; twice is once too often.
  machine().qmp("device_add", R"({"driver":"npu","id":"bad","bus":"rp0","card-memory-mib":16})");
  EXPECT_NE(machine()
                .qmp_error("device_add", R"({"driver":"npu","id":"bad","bus":"rp0"})")
                .find("Duplicate"),
            std::string::npos);
  machine().qmp_error("device_add", R"({"driver":"npu","id":"other","bus":"rp0"})");
  machine().qmp_error("device_del", R"({"id":"other"})");
}

TEST_F(Properties, ACardOnAConventionalBusIsRefused) {
  machine_ = std::make_unique<QtestMachine>(Words{});
  machine().qmp_error("device_add", R"({"driver":"npu","id":"late","bus":"pcie.0"})");
}

// --- Hot-plug -------------------------------------------------------------------

class HotPlug : public MachineTest, public testing::WithParamInterface<const char*> {
 protected:
  bool native() const { return std::string(GetParam()) == "Native"; }
  void start_empty_slot() {
    Words words = {"-device", "pcie-root-port,id=rp0,chassis=1,slot=1,addr=3"};
    if (native()) {
      words.emplace_back("-global");
      words.emplace_back("ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off");
    }
    machine_ = std::make_unique<QtestMachine>(words);
    port_.emplace(machine(), 3, 1, 0xc0000000, 0xcfffffff);
  }
  void plug(const std::string& properties = "") {
    machine().qmp("device_add", R"({"driver":"npu","id":"npu0","bus":"rp0","card-memory-mib":16)" +
                                    properties + "}");
    if (native()) set_slot(PCI_EXP_SLTCTL_PWR_ON, PCI_EXP_SLTCTL_PWR_IND_ON);
    card_ = std::make_unique<Card>(machine(), 1, 0);
    card_->bring_up();
  }
  // Asks for it, and answers as a guest does.
  void unplug() {
    machine().qmp("device_del", R"({"id":"npu0"})");
    if (native()) {
      set_slot(PCI_EXP_SLTCTL_PWR_OFF, PCI_EXP_SLTCTL_PWR_IND_OFF);
    } else {
      constexpr uint16_t kPorts = 0x0cc0, kEject = 0x8, kSelectBus = 0x10;
      for (uint32_t bus = 0; bus < 4; ++bus) {
        machine().out32(kPorts + kSelectBus, bus);
        machine().out32(kPorts + kEject, 1);
      }
    }
    machine().wait_event("DEVICE_DELETED");
  }
  void set_slot(uint32_t power, uint32_t indicator) {
    const unsigned at = port_->capability(PCI_CAP_ID_EXP) + PCI_EXP_SLTCTL;
    const uint32_t rest =
        port_->config_read(at, 2) & ~uint32_t{PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_PIC};
    port_->config_write(at, rest | power | indicator, 2);
  }

  std::optional<RootPort> port_;
};

INSTANTIATE_TEST_SUITE_P(Way, HotPlug, testing::Values("Acpi", "Native"),
                         [](const auto& info) { return std::string(info.param); });

// With a job, a transfer and interrupts in flight each time.
TEST_P(HotPlug, TenTimesUnderLoad) {
  start_empty_slot();
  const std::string empty = machine().hmp("info ramblock");
  const std::string tree = machine().hmp("info mtree");
  for (int i = 0; i < 10; ++i) {
    plug();
    card().start(0, 0);
    card().start(1, 1);
    card().map(1, Card::kDataVa, NPU_MEMORY_CARD, 0, 4 << 20);
    EXPECT_EQ(machine().load<uint32_t>(card().window()), 0u) << "a new card's memory";
    ASSERT_EQ(card().run(1, card().job(1, copy_stream(4096), NPU_PACKET_IRQ)).status, 0u);
    machine().store<uint32_t>(card().window(), 0x12345678);
    card().send(1, card().job(1, long_stream(4096, 1000), NPU_PACKET_IRQ));
    ASSERT_NO_FATAL_FAILURE(wait_until_running(1));
    card().send(0, with_flags(fill(8 << 20, 8 << 20, 1, NPU_MEMORY_CARD), NPU_PACKET_IRQ));
    unplug();
    EXPECT_EQ(machine().read_word(0xb0100000, 4), 0xffffffffu) << "nobody at 01:00.0";
  }
  EXPECT_EQ(machine().hmp("info ramblock"), empty);
  EXPECT_EQ(machine().hmp("info mtree"), tree);
}

TEST_P(HotPlug, ASleepingAndAGoneCardCanBeUnplugged) {
  start_empty_slot();
  plug();
  card().start(0, 0);
  card().send(0, fill(0, 16 << 20, 1, NPU_MEMORY_CARD));
  card().set_power_state(3);
  unplug();
  plug();
  card().set_reg(NPU_REG_INJECT_KIND, NPU_INJECT_GONE);
  unplug();
  plug(R"(,"sync":true)");
  card().start(0, 0);
  EXPECT_EQ(card().run(0, nop()).status, 0u);
  unplug();
}

// --- Two cards --------------------------------------------------------------------

class TwoCards : public MachineTest {};

TEST_F(TwoCards, AreIndependent) {
  machine_ = std::make_unique<QtestMachine>(
      Words{"-device", "npu,id=npu0,addr=4,card-memory-mib=16,serial=1", "-device",
            "npu,id=npu1,addr=5,card-memory-mib=32,serial=2,preset=edge"});
  card_ = std::make_unique<Card>(machine(), 0, 4);
  Card second(machine(), 0, 5, 32 << 20, 0xd0000000);
  card().bring_up();
  second.bring_up();
  EXPECT_EQ(card().reg64(NPU_REG_SERIAL), 1u);
  EXPECT_EQ(second.reg64(NPU_REG_SERIAL), 2u);
  card().start(0, 0);
  second.start(0, 0);
  EXPECT_EQ(
      card().run(0, with_flags(fill(0, 4096, 0x11111111, NPU_MEMORY_CARD), NPU_PACKET_IRQ)).status,
      0u);
  EXPECT_TRUE(eventually([&] { return card().take_message(1); }));
  EXPECT_FALSE(second.take_message(1));
  EXPECT_EQ(machine().load<uint32_t>(second.window()), 0u);
  EXPECT_EQ(second.reg(NPU_REG_COUNT_PACKET), 0u);

  // What happens to one is nothing to the other, in the midst of its work.
  const uint64_t packet = second.send(0, fill(0, 32 << 20, 0x22222222, NPU_MEMORY_CARD));
  card().function_level_reset();
  card().set_command(PCI_COMMAND_MEMORY);
  inject("gone");
  EXPECT_EQ(second.wait(0, packet).status, 0u);
  EXPECT_EQ(machine().load<uint32_t>(second.window() + (32 << 20) - 4), 0x22222222u);
  EXPECT_EQ(second.reg(NPU_REG_MAGIC), NPU_MAGIC);
}

// --- Migration --------------------------------------------------------------------

class Migration : public MachineTest {
 protected:
  // To a file, and from there into a new machine; the old one ends.
  void migrate(const std::string& properties = "") {
    machine().qmp("migrate", R"({"uri":"file:)" + file_.name() + "\"}");
    ASSERT_TRUE(eventually([&] {
      return status(machine()).find("completed") != std::string::npos;
    })) << status(machine());
    auto next = std::make_unique<QtestMachine>(
        Words{"-device", "npu,id=npu0,addr=4,card-memory-mib=16" + properties, "-incoming",
              "file:" + file_.name()});
    ASSERT_TRUE(eventually(
        [&] { return next->qmp("query-status").find("\"running\"") != std::string::npos; }));
    auto card = std::make_unique<Card>(*next, *card_);
    machine_ = std::move(next);
    card_ = std::move(card);
  }
  static std::string status(QtestMachine& machine) { return machine.qmp("query-migrate"); }

  void start_with_data() {
    start();
    card().start(0, 0);
    card().start(1, 1);
    card().map(1, Card::kDataVa, NPU_MEMORY_CARD, 0, 4 << 20);
    data_.resize(4096);
    for (size_t i = 0; i < data_.size(); ++i) data_[i] = static_cast<uint8_t>(i * 11 + (i >> 8));
    machine().write(card().window(), data_.data(), data_.size());
  }
  std::vector<uint8_t> result() {
    std::vector<uint8_t> out(data_.size());
    machine().read(card().window() + kCopyTo, out.data(), out.size());
    return out;
  }

  TemporaryFile file_;
  std::vector<uint8_t> data_;
};

TEST_F(Migration, AJobInFlightArrives) {
  start_with_data();
  const uint64_t packet = card().send(1, card().job(1, long_stream(4096, 1000), NPU_PACKET_IRQ));
  wait_until_running(1);
  ASSERT_NO_FATAL_FAILURE(migrate());
  const npu_completion c = card().wait(1, packet);
  EXPECT_EQ(c.status, uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(result(), data_);
  EXPECT_TRUE(eventually([&] { return card().take_message(2); })) << "and its interrupt";
  EXPECT_EQ(card().run(1, card().job(1, copy_stream(4096))).cycles_solo,
            card().run(1, card().job(1, copy_stream(4096))).cycles_solo);
}

TEST_F(Migration, ATransferInFlightArrives) {
  start_with_data();
  const uint64_t packet = card().send(0, fill(2 << 20, 14 << 20, 0x5a5a5a5a, NPU_MEMORY_CARD));
  ASSERT_NO_FATAL_FAILURE(migrate());
  EXPECT_EQ(card().wait(0, packet).status, uint32_t{NPU_STATUS_OK});
  for (uint64_t at = 2 << 20; at < 16 << 20; at += 1 << 18)
    ASSERT_EQ(machine().load<uint32_t>(card().window() + at), 0x5a5a5a5au) << at;
}

TEST_F(Migration, MasksPendingAndLateInterruptsArrive) {
  start_with_data();
  card().mask_vector(2, true);
  card().run(1, nop(NPU_PACKET_IRQ));
  ASSERT_TRUE(eventually([&] { return card().pending(2); }));
  inject("late-interrupt,arg=50000000");
  card().run(0, nop(NPU_PACKET_IRQ));
  inject("ecc,count=3");
  ASSERT_NO_FATAL_FAILURE(migrate());
  EXPECT_EQ(card().reg(NPU_REG_INJECT_ARMED), 3u);
  EXPECT_FALSE(card().take_message(2));
  card().mask_vector(2, false);
  EXPECT_TRUE(card().take_message(2));
  EXPECT_FALSE(card().take_message(1));
  machine().clock_step(60'000'000);
  EXPECT_TRUE(eventually([&] { return card().take_message(1); }));
}

TEST_F(Migration, ASleepingCardSleepsOn) {
  start_with_data();
  const uint64_t packet = card().send(1, card().job(1, long_stream(4096, 1000), NPU_PACKET_IRQ));
  wait_until_running(1);
  card().set_power_state(3);
  ASSERT_NO_FATAL_FAILURE(migrate());
  EXPECT_EQ(card().power_state(), 3u);
  expect_silence(1, packet);
  card().set_power_state(0);
  EXPECT_EQ(card().wait(1, packet).status, uint32_t{NPU_STATUS_OK});
  EXPECT_EQ(result(), data_);
}

TEST_F(Migration, AGoneCardIsGoneThere) {
  start_with_data();
  inject("gone");
  ASSERT_NO_FATAL_FAILURE(migrate());
  EXPECT_EQ(machine().load<uint32_t>(card().window()), 0xffffffffu);
  EXPECT_EQ(card().config_read(0), 0xffffffffu);
}

TEST_F(Migration, TheStateOfAnotherCardIsRefused) {
  start_with_data();
  machine().qmp("migrate", R"({"uri":"file:)" + file_.name() + "\"}");
  ASSERT_TRUE(eventually([&] { return status(machine()).find("completed") != std::string::npos; }));
  QtestMachine other({"-device", "npu,id=npu0,addr=4,card-memory-mib=16,sram-word-bytes=32",
                      "-incoming", "defer"});
  other.qmp("migrate-incoming", R"({"uri":"file:)" + file_.name() + R"(","exit-on-error":false})");
  EXPECT_TRUE(eventually([&] { return status(other).find("failed") != std::string::npos; }));
}

// --- Trace events -----------------------------------------------------------------

class Trace : public MachineTest {};

TEST_F(Trace, ShowsWhatTheCardDoes) {
  TemporaryFile log;
  start("sync=on", {"-trace", "npu_*", "-D", log.name()});
  card().start(0, 0);
  card().start(1, 1);
  card().map(1, Card::kDataVa, NPU_MEMORY_CARD, 0, 4 << 20);
  card().run(1, card().job(1, copy_stream(64), NPU_PACKET_IRQ));
  card().run(0, fill(0x90000000, 64, 1, NPU_MEMORY_HOST));
  card().function_level_reset();
  machine_.reset();
  const std::string text = log.text();
  for (const char* event :
       {"npu_register_write npu0: [0x01000] 4 bytes <- 0x1",
        "npu_register_read npu0: ", "npu_doorbell npu0: queue 1, producer 0x1",
        "npu_job_start npu0: queue 1, packet 0 on cores 0x1",
        "npu_packet_end npu0: queue 1, packet 0, status 0", "npu_irq npu0: vector 2, masked 0",
        "npu_dma_error npu0: 0x90000000, 64 bytes, write 1",
        "npu_packet_end npu0: queue 0, packet 0, status 9", "npu_reset npu0: FLR"})
    EXPECT_NE(text.find(event), std::string::npos) << event;
}

}  // namespace
}  // namespace npu::qtest
