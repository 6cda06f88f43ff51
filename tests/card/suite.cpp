// SPDX-License-Identifier: MIT
#include "suite.h"

#include <ostream>

namespace npu::card {

std::ostream& operator<<(std::ostream& out, const Effects& e) {
  out << e.doorbells << " doorbells, " << e.packets << " packets, " << e.jobs << " jobs, "
      << e.faults << " faults, " << e.interrupts << " interrupts, messages {";
  for (const auto& [vector, count] : e.messages) out << " " << vector << ": " << count;
  out << " }, events {";
  for (const uint32_t type : e.events) out << " " << type;
  return out << " }";
}

void CardTest::SetUp() {
  const std::string why = GetParam().missing();
  if (!why.empty()) GTEST_SKIP() << why;
}

void CardTest::open(bool background) {
  port_ = GetParam().open(background);
  card_ = std::make_unique<CardDriver>(*port_, model::testing::read_target(*port_));
  card_->program();
  before_ = counters();
}

void CardTest::start(npu_memory data) {
  if (port_ == nullptr) open();
  space_ = std::make_unique<JobSpace>(card(), kAsid, data, JobSpace::Sizes{512 << 10, kDataBytes});
  card().start(0, 0);
  card().start(kQueue, kAsid);
  port().settle();
  ASSERT_TRUE(port().run_until([&] { return state(kQueue) == NPU_QUEUE_IDLE; }));
}

StreamBuilder CardTest::copy_stream(uint32_t bytes) {
  StreamBuilder stream;
  npu_command_dma store = packets::contiguous(NPU_OP_STORE, kHalf, 0, bytes);
  arch::add_wait(store.header, NPU_ENGINE_LOAD,
                 stream.append(packets::contiguous(NPU_OP_LOAD, 0, 0, bytes)));
  stream.append(store);
  return stream;
}

StreamBuilder CardTest::long_stream() {
  StreamBuilder stream;
  const npu_command_mac mac = arch::test::matmul(256, 512, 512);
  for (int i = 0; i < 3000; ++i) stream.append(mac);
  return stream;
}

void CardTest::fill_data(uint8_t seed) {
  std::vector<uint8_t> bytes(kDataBytes);
  for (size_t i = 0; i < kHalf; ++i) bytes[i] = static_cast<uint8_t>(seed + i * 31 + i / 251);
  space().write(0, bytes.data(), bytes.size());
}

void CardTest::inject(npu_inject_kind kind, uint32_t queue, uint64_t argument, uint32_t count,
                      uint32_t skip) {
  card().write(NPU_REG_INJECT_COUNT, count);
  card().write(NPU_REG_INJECT_SKIP, skip);
  card().write(NPU_REG_INJECT_QUEUE, queue);
  card().write64(NPU_REG_INJECT_ARG, argument);
  card().write(NPU_REG_INJECT_KIND, kind);
  port().settle();
}

void CardTest::wait_until_running() {
  ASSERT_TRUE(port().run_until([&] {
    return state(kQueue) == NPU_QUEUE_RUNNING && card().read(NPU_REG_CORE(0, NPU_CORE_COMMAND)) > 0;
  }));
}

Effects CardTest::counters() {
  Effects e;
  e.doorbells = card().read(NPU_REG_COUNT_DOORBELL);
  e.packets = card().read(NPU_REG_COUNT_PACKET);
  e.jobs = card().read(NPU_REG_COUNT_JOB);
  e.faults = card().read(NPU_REG_COUNT_FAULT);
  e.interrupts = card().read(NPU_REG_COUNT_INTERRUPT);
  return e;
}

Effects CardTest::effects() {
  const Effects now = counters();
  Effects e;
  e.doorbells = now.doorbells - before_.doorbells;
  e.packets = now.packets - before_.packets;
  e.jobs = now.jobs - before_.jobs;
  e.faults = now.faults - before_.faults;
  e.interrupts = now.interrupts - before_.interrupts;
  before_ = now;
  for (unsigned v = 0; v < card().target().vectors; ++v)
    if (const unsigned n = port().take_messages(v)) e.messages[v] = n;
  events_ = card().events();
  for (const npu_event& event : events_) e.events.push_back(event.type);
  return e;
}

void CardTest::expect_effects(Effects expected) {
  if (!port().counts_messages())
    for (auto& [vector, count] : expected.messages) count = 1;
  EXPECT_EQ(effects(), expected);
}

}  // namespace npu::card
