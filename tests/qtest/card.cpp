// SPDX-License-Identifier: MIT
#include "card.h"

#include <linux/pci_regs.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "arch/stream.h"
#include "arch/test_commands.h"

namespace npu::qtest {

namespace {

// The driver is made with the card's parameters, before there is a port to read them.
npu_target discover(QtestMachine& machine, Endpoint& card, uint64_t first_bar) {
  card.place_bars(first_bar);
  card.enable();
  npu_target target;
  static_assert(sizeof(target) == NPU_TARGET_WORDS * 4);
  uint32_t words[NPU_TARGET_WORDS];
  for (uint32_t i = 0; i < NPU_TARGET_WORDS; ++i)
    words[i] = static_cast<uint32_t>(
        machine.read_word(card.bar(NPU_BAR_REGISTERS) + NPU_REG_CAPS + 4 * i, 4));
  std::memcpy(&target, words, sizeof(target));
  return target;
}

}  // namespace

Card::Card(QtestMachine& machine, unsigned bus, unsigned device, uint64_t memory,
           uint64_t first_bar)
    : Endpoint(machine, bus, device),
      CardDriver(static_cast<CardPort&>(*this), discover(machine, *this, first_bar)),
      memory_(memory) {
  machine.zero(memory, kMemoryBytes);
}

Card::Card(QtestMachine& machine, const Card& before)
    : Endpoint(before),
      CardPort(before),
      CardDriver(static_cast<CardPort&>(*this), before),
      memory_(before.memory_),
      next_va_(before.next_va_) {
  machine_ = &machine;
}

void Card::bring_up() {
  enable();
  enable_msix(memory_);
  program();
}

void Card::reset(model::testing::ResetKind kind) {
  if (kind == model::testing::ResetKind::kPower) {
    machine_->reset();
    open_config();
  } else {
    function_level_reset();
  }
  enable();
  enable_msix(memory_);
}

void Card::set_bus_master(bool on) {
  set_command(on ? PCI_COMMAND_MASTER : 0, on ? 0 : PCI_COMMAND_MASTER);
}

void Card::start(uint32_t queue, const npu_queue_context& context) {
  CardDriver::start(queue, context);
  EXPECT_TRUE(eventually([&] { return state(queue) != NPU_QUEUE_DISABLED; })) << "queue " << queue;
}

npu_completion Card::wait(uint32_t queue, uint64_t index) {
  EXPECT_TRUE(eventually([&] { return completed(queue, index); }))
      << "packet " << index << " of queue " << queue << ", which is in state " << state(queue);
  return completion(queue, index);
}

npu_packet_job Card::job(uint16_t asid, std::span<const std::byte> stream, uint8_t flags) {
  const uint64_t stream_va = next_va_;
  const uint64_t table_va = stream_va + ((stream.size() + 4095) & ~uint64_t{4095});
  next_va_ = table_va + 4096;
  write_memory(map_new(asid, stream_va, stream.size()), stream.data(), stream.size());
  store<uint64_t>(map_new(asid, table_va, 4096), kDataVa);
  return model::testing::job_packet(stream_va, static_cast<uint32_t>(stream.size()), table_va, 1,
                                    flags);
}

// --- Streams ------------------------------------------------------------------

std::vector<std::byte> long_stream(uint32_t bytes, int products) {
  using model::testing::contiguous;
  arch::StreamBuilder stream;
  constexpr uint32_t kAt = 1 << 20;  // behind the operands of the products
  const uint32_t loaded = stream.append(contiguous(NPU_OP_LOAD, 0, kAt, bytes));
  const npu_command_mac mac = arch::test::matmul(256, 512, 512);
  uint32_t done = 0;
  for (int i = 0; i < products; ++i) done = stream.append(mac);
  npu_command_dma store = contiguous(NPU_OP_STORE, kCopyTo, kAt, bytes);
  arch::add_wait(store.header, NPU_ENGINE_LOAD, loaded);
  if (products > 0) arch::add_wait(store.header, NPU_ENGINE_MAC, done);
  stream.append(store);
  return stream.bytes();
}

std::vector<std::byte> copy_stream(uint32_t bytes) {
  return long_stream(bytes, 0);
}

// --- The fixture --------------------------------------------------------------

void MachineTest::inject(const std::string& fault) {
  machine().qmp("qom-set", R"({"path":"/machine/peripheral/npu0","property":"inject","value":")" +
                               fault + "\"}");
}

void MachineTest::wait_until_running(uint32_t queue) {
  const uint32_t heartbeat = NPU_QUEUE_PAGE(queue) + NPU_QUEUE_HEARTBEAT;
  ASSERT_TRUE(eventually([&] { return card().state(queue) == NPU_QUEUE_RUNNING; }));
  const uint32_t before = card().reg(heartbeat);
  ASSERT_TRUE(eventually([&] { return card().reg(heartbeat) != before; }));
  // Beyond the checks: it executes commands.
  ASSERT_TRUE(eventually([&] { return card().reg(NPU_REG_CORE(0, NPU_CORE_COMMAND)) > 1; }));
  ASSERT_EQ(card().state(queue), NPU_QUEUE_RUNNING) << "too short to be caught";
}

void MachineTest::expect_silence(uint32_t queue, uint64_t packet) {
  for (int i = 0; i < 10; ++i) {
    machine().clock_step(10'000'000);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_FALSE(card().completed(queue, packet));
    for (unsigned v = 0; v < 9; ++v) EXPECT_FALSE(card().take_message(v)) << "vector " << v;
  }
}

void MachineTest::SetUp() {
  const std::string why = QtestMachine::missing();
  if (!why.empty()) GTEST_SKIP() << why;
}

void MachineTest::start(const std::string& properties, const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {"-device", "npu,id=npu0,addr=4,card-memory-mib=16" +
                                                 (properties.empty() ? "" : "," + properties)};
  all.insert(all.end(), arguments.begin(), arguments.end());
  machine_ = std::make_unique<QtestMachine>(all);
  card_ = std::make_unique<Card>(*machine_, 0, 4);
  card_->bring_up();
}

}  // namespace npu::qtest
