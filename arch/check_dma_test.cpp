// SPDX-License-Identifier: MIT
//
// One deliberately wrong LOAD or STORE command per check.
#include <gtest/gtest.h>

#include "arch/test_decode.h"

namespace npu::arch {
namespace {

using namespace test;

TEST(CheckDma, BadFields) {
  const auto load = [](auto spoil) { return spoiled(transfer(NPU_OP_LOAD, 0, 64), spoil); };
  const auto store = [](auto spoil) { return spoiled(transfer(NPU_OP_STORE, 0, 64), spoil); };
  const auto fill = [](auto spoil) { return spoiled(transfer(NPU_OP_FILL, 0, 64), spoil); };
  const auto copy = [](auto spoil) {
    npu_command_dma dma = transfer(NPU_OP_SRAM_COPY, 0, 64);
    dma.source_address = 4096;
    dma.external_stride[0] = 1;
    return spoiled(dma, spoil);
  };
  expect_refused({
      {"multicast", store([](auto& d) { d.multicast = 2; })},
      {"peer_core", load([](auto& d) { d.peer_core = 1; })},
      {"reserved0", load([](auto& d) { d.reserved0 = 1; })},
      {"reserved1", load([](auto& d) { d.reserved1 = 1; })},
      {"reserved2", load([](auto& d) { d.reserved2[2] = 1; })},
      {"element_log2", load([](auto& d) { d.element_log2 = 3; })},
      {"size[3] is 0", load([](auto& d) { d.size[3] = 0; })},
      {"more than the SRAM", load([](auto& d) { d.size[1] = d.size[2] = d.size[3] = ~0u; })},
      {"more than the SRAM", load([](auto& d) { d.size[1] = 32769; })},
      {"more than the SRAM",
       load([](auto& d) { d.size[1] = 1024, d.pad_before[1] = 65535, d.pad_after[2] = 1; })},
      {"pad_value is 0x100", load([](auto& d) { d.pad_value = 0x100, d.pad_after[0] = 1; })},
      {"pad_value", load([](auto& d) { d.pad_value = 1; })},
      {"pad_value", store([](auto& d) { d.pad_value = 1; })},
      {"pad_before", store([](auto& d) { d.pad_before[0] = 1; })},
      {"pad_after", fill([](auto& d) { d.pad_after[2] = 1; })},
      {"ring_first", load([](auto& d) { d.ring_first = 1; })},
      {"ring_first", load([](auto& d) { d.ring_rows = 2, d.ring_first = 2; })},
      {"more than ring_rows", load([](auto& d) {
         d.ring_rows = 2, d.size[2] = 2, d.pad_after[2] = 1, d.sram_stride[2] = 64;
       })},
      {"overlaps itself", load([](auto& d) { d.size[1] = 2, d.sram_stride[1] = 63; })},
      {"overlaps itself", fill([](auto& d) { d.sram_stride[0] = 0; })},
      {"region", load([](auto& d) { d.region = 64; })},
      {"region", fill([](auto& d) { d.region = 1; })},
      {"external_offset", load([](auto& d) { d.external_offset = 1ull << 48; })},
      {"external_offset", load([](auto& d) { d.external_offset = ~0ull; })},
      {"external_offset", load([](auto& d) {
         d.external_offset = (1ull << 48) - 64, d.size[1] = 2, d.external_stride[1] = 64,
         d.sram_stride[1] = 64;
       })},
      {"external_offset", fill([](auto& d) { d.external_offset = 1; })},
      {"external_stride", fill([](auto& d) { d.external_stride[3] = 1; })},
      {"external_offset", copy([](auto& d) { d.external_offset = 1; })},
      {"source_address", load([](auto& d) { d.source_address = 1; })},
      {"written operand", load([](auto& d) { d.sram_address = (2u << 20) - 63; }),
       NPU_STATUS_SRAM_RANGE},
      {"read operand", store([](auto& d) { d.sram_address = 0xffffffff; }), NPU_STATUS_SRAM_RANGE},
      {"read operand", copy([](auto& d) { d.source_address = 2u << 20; }), NPU_STATUS_SRAM_RANGE},
      {"written operand",
       load([](auto& d) { d.ring_rows = 65535, d.ring_first = 65534, d.sram_stride[2] = 64; }),
       NPU_STATUS_SRAM_RANGE},
  });
}

// In the middle of a gang of three.
TEST(CheckDma, PeersOfAGang) {
  const auto decoded = [](const Bytes& bytes, Decoded& result) {
    result.ok = decode_stream(bytes, card(), 1, 3, result.stream, result.error);
    return result.ok;
  };
  const auto peer = [](auto spoil) {
    npu_command_dma dma = transfer(NPU_OP_PEER_LOAD, 0, 64);
    dma.external_stride[0] = 1;
    return spoiled(dma, spoil);
  };
  const auto load = [](auto spoil) { return spoiled(transfer(NPU_OP_LOAD, 0, 64), spoil); };
  for (const Bytes& good : {peer([](auto& d) { d.peer_core = 0; }),
                            peer([](auto& d) { d.peer_core = 2, d.source_address = 1 << 20; }),
                            load([](auto& d) { d.multicast = 5; })}) {
    Decoded result;
    EXPECT_TRUE(decoded(good, result)) << result.error.text;
  }
  const std::vector<BadCase> cases = {
      {"peer_core is 1, the own core", peer([](auto& d) { d.peer_core = 1; })},
      {"peer_core is 3, outside the gang of 3", peer([](auto& d) { d.peer_core = 3; })},
      {"multicast", peer([](auto& d) { d.multicast = 1; })},
      {"region", peer([](auto& d) { d.region = 1; })},
      {"external_offset", peer([](auto& d) { d.external_offset = 1; })},
      {"pad_before", peer([](auto& d) { d.pad_before[0] = 1; })},
      {"overlaps itself", peer([](auto& d) { d.sram_stride[0] = 0; })},
      {"multicast is 0x7, names the own core, 1", load([](auto& d) { d.multicast = 7; })},
      {"multicast is 0x8, names cores outside", load([](auto& d) { d.multicast = 8; })},
      {"multicast is 0x8001", load([](auto& d) { d.multicast = 0x8001; })},
      {"read operand", peer([](auto& d) { d.source_address = (2u << 20) - 63; }),
       NPU_STATUS_SRAM_RANGE},
      {"written operand", load([](auto& d) { d.multicast = 1, d.sram_address = (2u << 20) - 63; }),
       NPU_STATUS_SRAM_RANGE},
  };
  for (const BadCase& bad : cases) {
    Decoded result;
    EXPECT_FALSE(decoded(bad.stream, result)) << bad.text;
    EXPECT_EQ(result.error.status, bad.status) << bad.text;
    EXPECT_NE(result.error.text.find(bad.text), std::string::npos) << result.error.text;
  }
}

}  // namespace
}  // namespace npu::arch
