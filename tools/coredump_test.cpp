// SPDX-License-Identifier: MIT
//
// Coredumps: what is shown of a whole one, and that a damaged one is refused or
// shown, never worse.
#include "tools/objdump/coredump.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "arch/target.h"
#include "npu/mmu.h"
#include "npu/registers.h"
#include "tools/common/program.h"

namespace npu::tools {
namespace {

using Bytes = std::vector<std::byte>;

constexpr uint64_t kFaultVa = 0x6666'0000'1008;

template <typename T>
void append(Bytes& bytes, const T& item) {
  const auto* data = reinterpret_cast<const std::byte*>(&item);
  bytes.insert(bytes.end(), data, data + sizeof item);
}

void append_section(Bytes& dump, uint32_t type, uint64_t address, const Bytes& payload) {
  append(dump,
         drm_npu_dump_section{
             .type = type, .bytes = static_cast<uint32_t>(payload.size()), .address = address});
  dump.insert(dump.end(), payload.begin(), payload.end());
  while (dump.size() % 8 != 0) dump.push_back({});
}

// Says its length in its header.
void finish(Bytes& dump) {
  const drm_npu_dump_header header = {.magic = DRM_NPU_DUMP_MAGIC,
                                      .version = DRM_NPU_DUMP_VERSION,
                                      .bytes = static_cast<uint32_t>(dump.size())};
  std::memcpy(dump.data(), &header, sizeof header);
}

// LOAD, then a STORE that waits for it, of two regions.
Bytes stream() {
  arch::StreamBuilder builder;
  npu_command_dma dma = {};
  dma.header.opcode = NPU_OP_LOAD;
  dma.size[0] = 64;
  dma.size[1] = dma.size[2] = dma.size[3] = 1;
  dma.external_stride[0] = dma.sram_stride[0] = 1;
  const uint32_t loaded = builder.append(dma);
  dma.header.opcode = NPU_OP_STORE;
  dma.header.source_op = 7;
  dma.region = 1;
  arch::add_wait(dma.header, NPU_ENGINE_LOAD, loaded);
  builder.append(dma);
  return builder.bytes();
}

// A job whose second command, a STORE, wrote to where nothing is mapped.
Bytes page_fault_dump() {
  Bytes dump(sizeof(drm_npu_dump_header));
  drm_npu_dump_event event = {};
  event.reason = DRM_NPU_DUMP_JOB;
  event.interface_version = 0x10001;
  event.realtime_ns = 1'800'000'000'000'000'000;
  std::strcpy(event.device, "0000:01:00.0");
  std::strcpy(event.release, "6.12");
  std::strcpy(event.comm, "classify");
  event.pid = 42;
  event.hwq = 3;
  event.asid = 5;
  event.packet = 1;
  event.fault = {};
  event.fault.status = NPU_STATUS_MMU_FAULT;
  event.fault.queue_id = 2;
  event.fault.job = 1;
  event.fault.command = 1;
  event.fault.engine = NPU_ENGINE_STORE;
  event.fault.access = NPU_ACCESS_WRITE;
  event.fault.source_op = 7;
  event.fault.address = kFaultVa;
  Bytes payload;
  append(payload, event);
  append_section(dump, DRM_NPU_DUMP_EVENT, 0, payload);

  payload.clear();
  append(payload, *arch::find_target("card"));
  append_section(dump, DRM_NPU_DUMP_TARGET, 0, payload);

  payload.clear();
  for (const uint32_t word : {uint32_t{NPU_CONTROL_ENABLE}, uint32_t{NPU_DEVICE_READY}})
    append(payload, word);
  append_section(dump, DRM_NPU_DUMP_REGISTERS, NPU_REG_CONTROL, payload);
  payload.clear();
  for (const uint32_t word : {uint32_t{NPU_QUEUE_RUNNING}, 9u, 2u, 1u}) append(payload, word);
  append_section(dump, DRM_NPU_DUMP_REGISTERS, NPU_QUEUE_PAGE(3) + NPU_QUEUE_STATE, payload);

  payload.clear();
  drm_npu_dump_ring ring = {};
  ring.producer = 2;
  ring.consumer = 1;
  for (uint64_t i = 0; i < 2; i++) {
    npu_packet_job job = {};
    job.opcode = NPU_PACKET_JOB;
    job.flags = NPU_PACKET_IRQ;
    job.stream_count = 1;
    job.region_count = 2;
    job.stream_va = 0x10000;
    std::memcpy(ring.slot[i].packet, &job, sizeof job);
    npu_completion completion = {};
    completion.sequence = i + 1;
    completion.status = i == 0 ? NPU_STATUS_OK : NPU_STATUS_MMU_FAULT;
    std::memcpy(ring.slot[i].completion, &completion, sizeof completion);
  }
  append(payload, ring);
  append_section(dump, DRM_NPU_DUMP_RING, 3, payload);

  payload.clear();
  for (const uint64_t entry : {uint64_t{0x1000 | NPU_PTE_VALID}, uint64_t{0}})
    append(payload, entry);
  append_section(dump, DRM_NPU_DUMP_WALK, kFaultVa, payload);

  payload.clear();
  for (const uint64_t base : {uint64_t{0x20000}, kFaultVa - 8}) append(payload, base);
  append_section(dump, DRM_NPU_DUMP_REGIONS, 0x30000, payload);
  append_section(dump, DRM_NPU_DUMP_STREAM, 0x10000, stream());
  append_section(dump, 999, 0, Bytes(24));  // a later driver's
  finish(dump);
  return dump;
}

TEST(Coredump, NamesWhoWhatAndWhere) {
  const std::string text = coredump_text(parse_coredump(page_fault_dump(), "dump"), false);
  for (const char* expected :
       {"reason       a job failed\n", "process      classify[42]\n",
        "queue        2, address space 5\n", "job          1\n", "status       MMU_FAULT\n",
        "command      1 of core 0, operator 7\n", "engine       STORE\n",
        "address      0x666600001008\n", "access       write\n", "region       region 1 + 0x8\n",
        "\n>      1  STORE ", "level 3, entry 204   0x0000000000000000  nothing is mapped here\n",
        "CONTROL                  0x1  ENABLE\n", "queue 3 STATE            0x3  RUNNING\n",
        "queue 3 PRODUCER         0x100000002\n",
        "\n>      1  JOB 1 streams at 0x10000, 2 regions at 0x0, cores 0x0  [IRQ]  -> MMU_FAULT"})
    EXPECT_NE(text.find(expected), std::string::npos) << expected << "\nin\n" << text;
  EXPECT_EQ(text.find("\n! "), std::string::npos) << "nothing is wrong with the commands\n" << text;
}

TEST(Coredump, JsonSaysTheSame) {
  const Json json = coredump_json(parse_coredump(page_fault_dump(), "dump"), true);
  EXPECT_EQ(json["schema"], "npu-coredump/1");
  EXPECT_EQ(json["job"]["status"], "MMU_FAULT");
  EXPECT_EQ(json["job"]["address"], kFaultVa);
  EXPECT_EQ(json["commands"][1]["guilty"], true);
  EXPECT_EQ(json["page_walk"].size(), 2u);
  EXPECT_EQ(json["ring"][1]["index"], 1u);
}

TEST(Coredump, TheCheckerSaysWhatIsWrongWithACommand) {
  Coredump dump = parse_coredump(page_fault_dump(), "dump");
  dump.event.fault.status = NPU_STATUS_BAD_COMMAND;
  dump.stream[NPU_RECORD_BYTES + 1] = std::byte{0xff};
  EXPECT_NE(stream_problem(dump).find("BAD_COMMAND: command 1 "), std::string::npos)
      << stream_problem(dump);
  EXPECT_NE(coredump_text(dump, false).find("\n! BAD_COMMAND: command 1 "), std::string::npos);
}

TEST(Coredump, OtherFilesAreRefused) {
  const auto status = [](const Bytes& data) {
    try {
      parse_coredump(data, "file");
    } catch (const ToolError& error) {
      return error.code();
    }
    return kExitOk;
  };
  EXPECT_EQ(status({}), kExitBadInput);
  EXPECT_EQ(status(Bytes(1000)), kExitBadInput);
  Bytes dump = page_fault_dump();
  EXPECT_EQ(status(dump), kExitOk);
  dump[8] = std::byte{2};
  EXPECT_EQ(status(dump), kExitVersion);
  dump = page_fault_dump();
  dump.resize(dump.size() - 8);
  EXPECT_EQ(status(dump), kExitBadInput) << "cut off";
  finish(dump);
  EXPECT_EQ(status(dump), kExitBadInput) << "a section reaches beyond the end";
  dump.resize(sizeof(drm_npu_dump_header));
  finish(dump);
  EXPECT_EQ(status(dump), kExitBadInput) << "empty";
}

// Every length, and random damage: an error or a text, never more than that.
TEST(Coredump, DamagedFilesAreRefusedOrShown) {
  const Bytes whole = page_fault_dump();
  unsigned shown = 0, refused = 0;
  const auto try_one = [&](const Bytes& data) {
    try {
      const Coredump dump = parse_coredump(data, "file");
      EXPECT_FALSE(coredump_text(dump, true).empty());
      EXPECT_FALSE(coredump_json(dump, false).dump().empty());
      shown++;
    } catch (const ToolError&) {
      refused++;
    }
  };
  for (size_t length = sizeof(drm_npu_dump_header); length < whole.size(); length += 4) {
    Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    finish(cut);
    try_one(cut);
  }
  std::mt19937 random(1);
  for (int round = 0; round < 3000; round++) {
    Bytes data = whole;
    for (uint32_t changes = 1 + random() % 16; changes != 0; changes--) {
      const size_t at = sizeof(drm_npu_dump_header) + random() % (data.size() - 16);
      static constexpr uint8_t kInteresting[] = {0, 1, 2, 0x7f, 0x80, 0xff};
      data[at] =
          std::byte{random() % 2 ? kInteresting[random() % 6] : static_cast<uint8_t>(random())};
    }
    try_one(data);
  }
  EXPECT_GT(shown, 1000u);
  EXPECT_GT(refused, 100u);
}

}  // namespace
}  // namespace npu::tools
