// SPDX-License-Identifier: MIT
//
// Registers: tables of what is read and written.
#include <cstring>

#include "suite.h"

namespace npu::card {
namespace {

class CardRegisters : public CardTest {};
NPU_CARD_SUITE(CardRegisters);

TEST_P(CardRegisters, Discovery) {
  open();
  EXPECT_EQ(card().read(NPU_REG_MAGIC), uint32_t{NPU_MAGIC});
  EXPECT_EQ(card().read(NPU_REG_VERSION), uint32_t{NPU_VERSION_MAJOR << 16 | NPU_VERSION_MINOR});
  EXPECT_EQ(card().read64(NPU_REG_SERIAL), kSerial);
  EXPECT_EQ(card().read(NPU_REG_DMA_BITS), 64u);
  const uint64_t features = card().read64(NPU_REG_FEATURES);
  for (const uint64_t bit : {NPU_FEATURE_TIMING, NPU_FEATURE_HAZARDS, NPU_FEATURE_INJECT,
                             NPU_FEATURE_PREEMPT, NPU_FEATURE_COALESCE})
    EXPECT_TRUE(features & bit) << bit;
  npu_target expected = *arch::find_target("card");
  expected.card_memory_mib = kCardMemoryMib;
  EXPECT_EQ(std::memcmp(&card().target(), &expected, sizeof(expected)), 0);
}

struct ResetValue {
  uint32_t offset;
  uint64_t value;
  unsigned bytes = 4;
};

TEST_P(CardRegisters, ResetValues) {
  open();
  port().reset(ResetKind::kPower);
  const npu_target& target = card().target();
  const ResetValue kTable[] = {
      {NPU_REG_CONTROL, 0},
      {NPU_REG_STATUS, NPU_DEVICE_READY},
      {NPU_REG_RESET, 0},
      {NPU_REG_RESETS, 0},
      {NPU_REG_CONTEXT_TABLE, 0, 8},
      {NPU_REG_CONTEXT_COUNT, 0},
      {NPU_REG_QUEUE_TABLE, 0, 8},
      {NPU_REG_QUEUE_COUNT, 0},
      {NPU_REG_EVENT_RING, 0, 8},
      {NPU_REG_EVENT_LOG2, 0},
      {NPU_REG_EVENT_HEAD, 0},
      {NPU_REG_EVENT_TAIL, 0},
      {NPU_REG_EVENT_LOST, 0},
      {NPU_REG_TEMPERATURE_MC, target.ambient_mc},
      {NPU_REG_CLOCK_MHZ, target.clock_mhz},
      {NPU_REG_THROTTLES, 0},
      {NPU_REG_BUSY_NS, 0, 8},
      {NPU_REG_CYCLES, 0, 8},
      {NPU_REG_COUNT_DOORBELL, 0},
      {NPU_REG_COUNT_INTERRUPT, 0},
      {NPU_REG_COUNT_PACKET, 0},
      {NPU_REG_COUNT_JOB, 0},
      {NPU_REG_COUNT_FAULT, 0},
      {NPU_REG_CORE(0, NPU_CORE_STATE), 0},
      {NPU_REG_CORE(1, NPU_CORE_STATE), 0},
      {NPU_REG_INJECT_KIND, 0},
      {NPU_REG_INJECT_COUNT, 1},
      {NPU_REG_INJECT_SKIP, 0},
      {NPU_REG_INJECT_QUEUE, NPU_INJECT_ANY_QUEUE},
      {NPU_REG_INJECT_ARG, 0, 8},
      {NPU_REG_INJECT_ARMED, 0},
      {NPU_QUEUE_PAGE(0) + NPU_QUEUE_STATE, NPU_QUEUE_DISABLED},
      {NPU_QUEUE_PAGE(63) + NPU_QUEUE_STATE, NPU_QUEUE_DISABLED},
      {NPU_QUEUE_PAGE(1) + NPU_QUEUE_DOORBELL, 0},
      {NPU_QUEUE_PAGE(1) + NPU_QUEUE_PRODUCER, 0, 8},
      {NPU_QUEUE_PAGE(1) + NPU_QUEUE_CONSUMER, 0, 8},
      {NPU_QUEUE_PAGE(1) + NPU_QUEUE_COUNT_IRQ, 0},
  };
  for (const ResetValue& r : kTable)
    EXPECT_EQ(port().bar_read(NPU_BAR_REGISTERS, r.offset, r.bytes), r.value)
        << std::hex << r.offset;
}

struct WrittenValue {
  uint32_t offset;
  uint32_t written;
  uint32_t read;
};

TEST_P(CardRegisters, WritesStickWhereTheyMay) {
  open();
  port().reset(ResetKind::kPower);
  const WrittenValue kTable[] = {
      {NPU_REG_CONTEXT_TABLE, 0x12345000, 0x12345000},
      {NPU_REG_CONTEXT_TABLE + 4, 0x00000077, 0x00000077},
      {NPU_REG_QUEUE_TABLE, 0x22345000, 0x22345000},
      {NPU_REG_EVENT_RING, 0x32345000, 0x32345000},
      {NPU_REG_CONTEXT_COUNT, 7, 7},
      {NPU_REG_QUEUE_COUNT, 9, 9},
      {NPU_REG_EVENT_HEAD, 0x89abcdef, 0x89abcdef},
      {NPU_REG_INJECT_COUNT, 5, 5},
      {NPU_REG_INJECT_SKIP, 6, 6},
      {NPU_REG_INJECT_QUEUE, 3, 3},
      {NPU_REG_INJECT_ARG + 4, 0xabcd, 0xabcd},
      // Read only.
      {NPU_REG_MAGIC, 0, NPU_MAGIC},
      {NPU_REG_CAPS, 0, 0x64726163},  // "card"
      {NPU_REG_STATUS, 0xffffffff, NPU_DEVICE_READY},
      {NPU_REG_EVENT_TAIL, 5, 0},
      {NPU_REG_COUNT_PACKET, 5, 0},
      // Not there.
      {0x0ffc, 1, 0},
      {0x3000, 1, 0},
      {NPU_BAR_REGISTERS_SIZE - 4, 1, 0},
  };
  for (const WrittenValue& w : kTable) {
    card().write(w.offset, w.written);
    EXPECT_EQ(card().read(w.offset), w.read) << std::hex << w.offset;
  }
  EXPECT_EQ(card().read64(NPU_REG_CONTEXT_TABLE), 0x0000007712345000u);
  card().write64(NPU_REG_QUEUE_TABLE, 0x0000005562345000);
  EXPECT_EQ(card().read(NPU_REG_QUEUE_TABLE), 0x62345000u);
  EXPECT_EQ(card().read(NPU_REG_QUEUE_TABLE + 4), 0x55u);
}

struct Access {
  uint32_t offset;
  unsigned bytes;
  uint64_t value;
};

TEST_P(CardRegisters, WidthAndAlignment) {
  open();
  const Access kReads[] = {
      {NPU_REG_MAGIC, 4, NPU_MAGIC},
      {NPU_REG_MAGIC, 1, 0},
      {NPU_REG_MAGIC, 2, 0},
      {NPU_REG_MAGIC + 2, 2, 0},
      {NPU_REG_MAGIC + 2, 4, 0},
      {NPU_REG_MAGIC, 8, 0},
      {NPU_REG_SERIAL, 8, kSerial},
      {NPU_REG_SERIAL + 4, 8, 0},
      {NPU_REG_SERIAL + 4, 4, kSerial >> 32},
  };
  for (const Access& a : kReads)
    EXPECT_EQ(port().bar_read(NPU_BAR_REGISTERS, a.offset, a.bytes), a.value)
        << std::hex << a.offset << ", " << a.bytes << " bytes";
  card().write(NPU_REG_INJECT_SKIP, 0x11223344);
  for (const unsigned bytes : {1u, 2u})
    port().bar_write(NPU_BAR_REGISTERS, NPU_REG_INJECT_SKIP, 0, bytes);
  port().bar_write(NPU_BAR_REGISTERS, NPU_REG_INJECT_SKIP + 2, 0, 4);
  EXPECT_EQ(card().read(NPU_REG_INJECT_SKIP), 0x11223344u);
}

TEST_P(CardRegisters, ApertureIsCardMemory) {
  start();
  std::vector<uint8_t> bytes(20000), back(20000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 7 + i / 253);
  const uint64_t at = (uint64_t{kCardMemoryMib} << 20) - bytes.size();  // up to its end
  port().write_card(at, bytes.data(), bytes.size());
  port().read_card(at, back.data(), back.size());
  EXPECT_EQ(bytes, back);
  const uint64_t host = card().allocate(bytes.size());
  EXPECT_EQ(card()
                .submit(0, packets::copy(NPU_MEMORY_CARD, at, NPU_MEMORY_HOST, host, bytes.size()))
                .status,
            uint32_t{NPU_STATUS_OK});
  port().read_memory(host, back.data(), back.size());
  EXPECT_EQ(bytes, back);
  port().bar_write(NPU_BAR_APERTURE, 3, 0xa5, 1);  // any width and alignment
  port().bar_write(NPU_BAR_APERTURE, 4, 0x1234, 2);
  EXPECT_EQ(port().bar_read(NPU_BAR_APERTURE, 0, 8), 0x00001234a5000000u);
}

TEST_P(CardRegisters, AccessesAreCounted) {
  start();
  const uint32_t reads = card().read(NPU_REG_COUNT_MMIO_READ);
  EXPECT_EQ(card().read(NPU_REG_COUNT_MMIO_READ), reads + 1);
  const uint32_t writes = card().read(NPU_REG_COUNT_MMIO_WRITE);
  submit(packets::nop());
  submit(packets::nop());
  EXPECT_EQ(card().read(NPU_REG_COUNT_MMIO_WRITE), writes + 2) << "doorbells and nothing else";
}

TEST_P(CardRegisters, TimebaseIsTheClockOfTheMachine) {
  open();
  const uint64_t before = card().read64(NPU_REG_TIMEBASE);
  EXPECT_EQ(card().read64(NPU_REG_TIMEBASE), before);
  port().advance(123'456'789);
  EXPECT_EQ(card().read64(NPU_REG_TIMEBASE), before + 123'456'789);
}

}  // namespace
}  // namespace npu::card
