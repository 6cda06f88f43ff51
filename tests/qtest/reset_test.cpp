// SPDX-License-Identifier: MIT
//
// Resets and power states of the function.
#include <linux/pci_regs.h>

#include <chrono>
#include <thread>
#include <vector>

#include "card.h"

namespace npu::qtest {
namespace {

constexpr uint32_t kQueue = 1;
constexpr uint16_t kAsid = 1;

class Reset : public MachineTest {
 protected:
  // Queues 0 and kQueue, and 4 MiB of card memory as region 0 with `data_` in it.
  void start_with_data(const std::string& properties = "") {
    start(properties);
    prepare();
  }
  void prepare() {
    card().start(0, 0);
    card().start(kQueue, kAsid);
    card().map(kAsid, Card::kDataVa, NPU_MEMORY_CARD, 0, 4 << 20);
    data_.resize(4096);
    for (size_t i = 0; i < data_.size(); ++i) data_[i] = static_cast<uint8_t>(i * 7 + (i >> 8));
    machine().write(card().window(), data_.data(), data_.size());
  }
  std::vector<uint8_t> card_memory(uint64_t at) {
    std::vector<uint8_t> out(data_.size());
    machine().read(card().window() + at, out.data(), out.size());
    return out;
  }
  // Starts a job of some seconds, with an interrupt, and waits until it computes.
  uint64_t start_long_job() {
    const uint64_t packet =
        card().send(kQueue, card().job(kAsid, long_stream(4096, 3000), NPU_PACKET_IRQ));
    wait_until_running(kQueue);
    return packet;
  }
  // After a reset: everything from the beginning, and a job is right.
  void expect_a_working_card() {
    card().bring_up();
    prepare();
    expect_a_right_job();
  }
  void expect_a_right_job() {
    EXPECT_EQ(card().run(kQueue, card().job(kAsid, copy_stream(4096))).status,
              uint32_t{NPU_STATUS_OK});
    EXPECT_EQ(card_memory(kCopyTo), data_);
  }

  std::vector<uint8_t> data_;
};

TEST_F(Reset, FunctionLevelResetOfAnIdleCardWipesIt) {
  start_with_data();
  ASSERT_EQ(card().run(kQueue, card().job(kAsid, copy_stream(4096))).status, 0u);
  ASSERT_EQ(card_memory(kCopyTo), data_);
  const uint32_t jobs = card().reg(NPU_REG_COUNT_JOB);
  card().function_level_reset();

  EXPECT_EQ(card().config_read(PCI_COMMAND, 2), 0u);
  EXPECT_EQ(card().config_read(PCI_BASE_ADDRESS_0) & ~0xfu, 0u);
  EXPECT_EQ(card().config_read(card().capability(PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2) &
                PCI_MSIX_FLAGS_ENABLE,
            0u);
  EXPECT_EQ(card().config_read(card().capability(PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL, 2) &
                PCI_EXP_DEVCTL_BCR_FLR,
            0u);
  card().enable();
  EXPECT_EQ(card().reg(NPU_REG_CONTROL), 0u);
  EXPECT_EQ(card().reg64(NPU_REG_QUEUE_TABLE), 0u);
  EXPECT_EQ(card().state(kQueue), NPU_QUEUE_DISABLED);
  EXPECT_EQ(card().reg(NPU_REG_COUNT_JOB), jobs) << "counts since power-on stay";
  const std::vector<uint8_t> zeros(data_.size());
  EXPECT_EQ(card_memory(0), zeros);
  EXPECT_EQ(card_memory(kCopyTo), zeros);
  expect_a_working_card();
}

TEST_F(Reset, FunctionLevelResetEndsAJobInFlightWithoutATrace) {
  start_with_data();
  const uint64_t packet = start_long_job();
  card().function_level_reset();
  card().enable();
  EXPECT_EQ(card().state(kQueue), NPU_QUEUE_DISABLED);
  EXPECT_EQ(card().reg(NPU_REG_STATUS), uint32_t{NPU_DEVICE_READY}) << "no core is busy";
  expect_silence(kQueue, packet);
  EXPECT_EQ(card_memory(kCopyTo), std::vector<uint8_t>(data_.size()));
  expect_a_working_card();
}

TEST_F(Reset, FunctionLevelResetEndsAHungJob) {
  start_with_data();
  inject("hang");
  const uint64_t packet = card().send(kQueue, card().job(kAsid, copy_stream(64), NPU_PACKET_IRQ));
  ASSERT_TRUE(eventually([&] { return (card().reg(NPU_REG_STATUS) & NPU_DEVICE_HUNG) != 0; }));
  card().function_level_reset();
  card().enable();
  expect_silence(kQueue, packet);
  EXPECT_EQ(card().reg(NPU_REG_STATUS), uint32_t{NPU_DEVICE_READY});
  expect_a_working_card();
}

// An interrupt that is held back must not come after the reset.
TEST_F(Reset, FunctionLevelResetForgetsLateInterrupts) {
  start_with_data();
  inject("late-interrupt,arg=50000000");
  card().run(0, nop(NPU_PACKET_IRQ));
  card().function_level_reset();
  card().bring_up();
  machine().clock_step(100'000'000);
  EXPECT_FALSE(card().take_message(1));
  EXPECT_EQ(card().reg(NPU_REG_INJECT_ARMED), 0u);
}

TEST_F(Reset, TenResetsInARowUnderLoad) {
  start_with_data();
  for (int i = 0; i < 10; ++i) {
    card().send(kQueue, card().job(kAsid, long_stream(4096, 500), NPU_PACKET_IRQ));
    card().send(0, fill(0, 8 << 20, 0x5a5a5a5a, NPU_MEMORY_CARD));
    card().function_level_reset();
    card().bring_up();
    prepare();
  }
  expect_a_right_job();
}

TEST_F(Reset, ResetOfTheMachineIsPowerOn) {
  start_with_data();
  start_long_job();
  machine().reset();
  card().open_config();
  card().enable();
  EXPECT_EQ(card().reg(NPU_REG_COUNT_JOB), 0u);
  EXPECT_EQ(card().reg(NPU_REG_COUNT_DOORBELL), 0u);
  EXPECT_EQ(card_memory(0), std::vector<uint8_t>(data_.size()));
  expect_a_working_card();
}

// --- D0 and D3hot -------------------------------------------------------------

TEST_F(Reset, D3hotKeepsEverythingAndAnswersNothing) {
  start_with_data();
  const unsigned pm = card().capability(PCI_CAP_ID_PM);
  EXPECT_NE(card().config_read(pm + PCI_PM_CTRL, 2) & PCI_PM_CTRL_NO_SOFT_RESET, 0u);
  for (unsigned state : {1u, 2u}) {
    card().set_power_state(state);
    EXPECT_EQ(card().power_state(), 0u) << "there is no D" << state;
  }
  card().set_reg(NPU_REG_INJECT_SKIP, 5);
  const uint32_t reads = card().reg(NPU_REG_COUNT_MMIO_READ);
  const uint32_t writes = card().reg(NPU_REG_COUNT_MMIO_WRITE);
  card().set_power_state(3);
  EXPECT_EQ(card().power_state(), 3u);
  EXPECT_NE(card().reg(NPU_REG_MAGIC), NPU_MAGIC);
  card().set_reg(NPU_REG_INJECT_SKIP, 6);
  machine().store<uint32_t>(card().window(), 0xdeadbeef);
  EXPECT_EQ(card().config_read(PCI_VENDOR_ID, 2), uint32_t{NPU_PCI_VENDOR_ID});

  card().set_power_state(0);
  EXPECT_EQ(card().reg(NPU_REG_COUNT_MMIO_READ), reads + 2) << "none reached the card";
  EXPECT_EQ(card().reg(NPU_REG_COUNT_MMIO_WRITE), writes);
  EXPECT_EQ(card().reg(NPU_REG_INJECT_SKIP), 5u);
  EXPECT_EQ(card_memory(0), data_);
  EXPECT_EQ(card().state(kQueue), NPU_QUEUE_IDLE);
  EXPECT_EQ(card().run(kQueue, card().job(kAsid, copy_stream(4096), NPU_PACKET_IRQ)).status, 0u);
  EXPECT_TRUE(eventually([&] { return card().take_message(2); })) << "MSI-X is as it was";
  EXPECT_EQ(card_memory(kCopyTo), data_);
}

TEST_F(Reset, D3hotSuspendsAJobAndD0ContinuesIt) {
  start_with_data();
  const npu_packet_job job = card().job(kAsid, long_stream(4096, 500), NPU_PACKET_IRQ);
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(card().run(kQueue, job).status, 0u);
  const auto duration = std::chrono::steady_clock::now() - begin;
  ASSERT_TRUE(eventually([&] { return card().take_message(2); }));
  machine().store<uint64_t>(card().window() + kCopyTo, 0);

  const uint64_t packet = card().send(kQueue, job);
  wait_until_running(kQueue);
  card().set_power_state(3);
  std::this_thread::sleep_for(2 * duration);  // awake it would be done by now
  expect_silence(kQueue, packet);
  card().set_power_state(0);
  EXPECT_EQ(card().wait(kQueue, packet).status, uint32_t{NPU_STATUS_OK});
  EXPECT_TRUE(eventually([&] { return card().take_message(2); }));
  EXPECT_EQ(card_memory(kCopyTo), data_);
}

// Transfers move data by DMA all the time: they stop, too, and lose nothing.
TEST_F(Reset, D3hotSuspendsATransfer) {
  start_with_data();
  constexpr uint64_t kBytes = 12 << 20;
  const uint64_t target = card().allocate(kBytes);
  const std::vector<uint8_t> pattern(4096, 0x77);
  machine().write(card().window() + kBytes - 4096, pattern.data(), pattern.size());
  for (int i = 0; i < 8; ++i) {
    const uint64_t packet = card().send(
        0, with_flags(copy(NPU_MEMORY_CARD, 0, NPU_MEMORY_HOST, target, kBytes), NPU_PACKET_IRQ));
    card().set_power_state(3);
    const bool done = card().completed(0, packet);
    std::vector<uint8_t> before(1 << 16), after(1 << 16);
    machine().read(target + kBytes - before.size(), before.data(), before.size());
    machine().clock_step(20'000'000);
    machine().read(target + kBytes - after.size(), after.data(), after.size());
    EXPECT_EQ(before, after);
    EXPECT_EQ(card().completed(0, packet), done);
    card().set_power_state(0);
    EXPECT_EQ(card().wait(0, packet).status, uint32_t{NPU_STATUS_OK});
    std::vector<uint8_t> tail(4096);
    machine().read(target + kBytes - 4096, tail.data(), tail.size());
    EXPECT_EQ(tail, pattern);
    machine().store<uint64_t>(target + kBytes - 8, 0);
  }
}

TEST_F(Reset, NoInterruptLeavesInD3hot) {
  start_with_data();
  inject("late-interrupt,arg=1000000");
  card().run(0, nop(NPU_PACKET_IRQ));
  card().set_power_state(3);
  machine().clock_step(10'000'000);
  EXPECT_FALSE(card().take_message(1)) << "it fell due while the card slept";
  card().set_power_state(0);
  EXPECT_TRUE(eventually([&] { return card().take_message(1); }));

  card().mask_function(true);
  card().run(0, nop(NPU_PACKET_IRQ));
  ASSERT_TRUE(eventually([&] { return card().pending(1); }));
  card().set_power_state(3);
  card().mask_function(false);
  EXPECT_FALSE(card().take_message(1)) << "unmasked while the card slept";
}

TEST_F(Reset, FunctionLevelResetLeavesD3hot) {
  start_with_data();
  const uint64_t packet = start_long_job();
  card().set_power_state(3);
  card().function_level_reset();
  EXPECT_EQ(card().power_state(), 0u);
  card().enable();
  EXPECT_EQ(card().reg(NPU_REG_MAGIC), NPU_MAGIC);
  expect_silence(kQueue, packet);
  expect_a_working_card();
}

TEST_F(Reset, ResetOfTheMachineLeavesD3hot) {
  start_with_data();
  start_long_job();
  card().set_power_state(3);
  machine().reset();
  card().open_config();
  EXPECT_EQ(card().power_state(), 0u);
  expect_a_working_card();
}

}  // namespace
}  // namespace npu::qtest
