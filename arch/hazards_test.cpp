// SPDX-License-Identifier: MIT
#include "arch/hazards.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "arch/gang_order.h"
#include "arch/hazard_screen.h"
#include "arch/test_commands.h"

namespace npu::arch {
namespace {

using namespace test;

const npu_target& card() {
  return *find_target("card");
}

std::vector<Stream> decode_all(const std::vector<StreamBuilder>& builders) {
  std::vector<Stream> streams(builders.size());
  StreamError error;
  for (size_t i = 0; i < builders.size(); ++i)
    EXPECT_TRUE(decode_stream(builders[i].bytes(), card(), static_cast<unsigned>(i),
                              static_cast<unsigned>(builders.size()), streams[i], error))
        << error.text;
  return streams;
}

npu_command_dma waiting(npu_command_dma dma, npu_engine engine, uint32_t count, unsigned core = 0) {
  EXPECT_TRUE(add_wait(dma.header, engine, count, core));
  return dma;
}

bool hazard(const StreamBuilder& builder, StreamError& error) {
  const std::vector<Stream> streams = decode_all({builder});
  return !check_hazards(streams, card(), error);
}

// What the quick look alone says.
bool screened(const std::vector<Stream>& streams) {
  HazardScreen screen(static_cast<unsigned>(streams.size()), card());
  GangOrder order(streams);
  unsigned core;
  uint32_t index;
  while (order.next(core, index))
    if (!screen.add(streams[core][index], core)) return false;
  return true;
}

// What granules alone say.
bool detected(const std::vector<Stream>& streams) {
  HazardDetector detector(static_cast<unsigned>(streams.size()), card());
  GangOrder order(streams);
  StreamError error;
  unsigned core;
  uint32_t index;
  while (order.next(core, index))
    if (!detector.add(streams[core][index], core, index, error)) return true;
  return false;
}

npu_command_yield yield_keeping(std::vector<std::pair<uint32_t, uint32_t>> ranges) {
  npu_command_yield yield = {};
  for (const auto& [address, bytes] : ranges) {
    yield.live[yield.range_count].address = address;
    yield.live[yield.range_count++].bytes = bytes;
  }
  return yield;
}

TEST(Hazards, ReadAfterWrite) {
  StreamBuilder builder;
  builder.append(transfer(NPU_OP_LOAD, 0, 1024));
  npu_command_dma store = transfer(NPU_OP_STORE, 512, 64);
  store.header.source_op = 9;
  builder.append(store);
  StreamError error;
  ASSERT_TRUE(hazard(builder, error));
  EXPECT_EQ(error.status, NPU_STATUS_HAZARD);
  EXPECT_EQ(error.command, 1u);
  EXPECT_EQ(error.engine, NPU_ENGINE_STORE);
  EXPECT_EQ(error.source_op, 9u);
  EXPECT_EQ(error.address, 512u);
  EXPECT_NE(error.text.find("number 1 of LOAD"), std::string::npos) << error.text;

  StreamBuilder ordered;
  ordered.append(transfer(NPU_OP_LOAD, 0, 1024));
  ordered.append(waiting(transfer(NPU_OP_STORE, 512, 64), NPU_ENGINE_LOAD, 1));
  EXPECT_FALSE(hazard(ordered, error)) << error.text;
}

TEST(Hazards, WriteAfterReadAndWrite) {
  StreamError error;
  StreamBuilder after_read;
  after_read.append(transfer(NPU_OP_STORE, 0, 64));
  after_read.append(transfer(NPU_OP_LOAD, 0, 64));
  EXPECT_TRUE(hazard(after_read, error));

  // One engine executes in order: no wait needed.
  StreamBuilder same_engine;
  same_engine.append(transfer(NPU_OP_LOAD, 0, 64));
  same_engine.append(transfer(NPU_OP_FILL, 0, 64));
  EXPECT_FALSE(hazard(same_engine, error)) << error.text;

  StreamBuilder after_write;
  after_write.append(transfer(NPU_OP_LOAD, 4096, 64));
  npu_command_vec lut = elementwise(NPU_VEC_LUT, 1, 1, 64);
  lut.out.address = 4096 + 32;
  after_write.append(lut);
  EXPECT_TRUE(hazard(after_write, error));
}

TEST(Hazards, TwoReadsAndNeighboursAreFree) {
  StreamError error;
  StreamBuilder builder;
  builder.append(transfer(NPU_OP_STORE, 0, 64));
  npu_command_vec lut = elementwise(NPU_VEC_LUT, 1, 1, 64);
  lut.out.address = 8192;
  builder.append(lut);                                   // reads 0..63 too
  builder.append(transfer(NPU_OP_LOAD, 64, 64));         // next to it
  builder.append(transfer(NPU_OP_LOAD, 8192 + 64, 64));  // next to the output
  EXPECT_FALSE(hazard(builder, error)) << error.text;
}

TEST(Hazards, OrderIsTransitive) {
  StreamError error;
  StreamBuilder builder;
  builder.append(transfer(NPU_OP_LOAD, 0, 64));
  npu_command_vec lut = elementwise(NPU_VEC_LUT, 1, 1, 64);
  lut.a.address = 1 << 16;
  lut.out.address = 1 << 17;
  lut.table = 1 << 18;
  ASSERT_TRUE(add_wait(lut.header, NPU_ENGINE_LOAD, 1));
  builder.append(lut);
  // Through VEC the store comes after the load.
  builder.append(waiting(transfer(NPU_OP_STORE, 0, 64), NPU_ENGINE_VEC, 1));
  EXPECT_FALSE(hazard(builder, error)) << error.text;
}

TEST(Hazards, SequencerOrders) {
  StreamError error;
  for (const bool yield : {false, true}) {
    StreamBuilder builder;
    builder.append(transfer(NPU_OP_LOAD, 0, 64));
    if (yield) {
      builder.append(yield_keeping({{0, 64}}));
    } else {
      npu_command_header header = {};
      ASSERT_TRUE(add_wait(header, NPU_ENGINE_LOAD, 1));
      builder.append_nop(header);
    }
    builder.append(transfer(NPU_OP_STORE, 0, 64));
    EXPECT_FALSE(hazard(builder, error)) << error.text;
  }
  StreamBuilder plain_nop;
  plain_nop.append(transfer(NPU_OP_LOAD, 0, 64));
  plain_nop.append_nop();
  plain_nop.append(transfer(NPU_OP_STORE, 0, 64));
  EXPECT_TRUE(hazard(plain_nop, error));
}

TEST(Hazards, AYieldKeepsWhatItLists) {
  StreamError error;
  const auto stored = [&](std::vector<npu_command_yield> yields, uint32_t address) {
    StreamBuilder builder;
    builder.append(transfer(NPU_OP_LOAD, 0, 4096));
    for (const npu_command_yield& yield : yields) builder.append(yield);
    builder.append(transfer(NPU_OP_STORE, address, 64));
    return !hazard(builder, error);
  };
  EXPECT_TRUE(stored({yield_keeping({{0, 4096}})}, 4032)) << error.text;
  EXPECT_TRUE(stored({yield_keeping({{0, 1024}, {1024, 3072}})}, 992)) << error.text;
  EXPECT_TRUE(stored({yield_keeping({{100, 64}})}, 96 + 16)) << error.text;
  EXPECT_TRUE(stored({}, 8192)) << "never written, always zero";
  EXPECT_TRUE(stored({yield_keeping({})}, 8192));

  ASSERT_FALSE(stored({yield_keeping({})}, 2048));
  EXPECT_EQ(error.status, NPU_STATUS_HAZARD);
  EXPECT_EQ(error.command, 2u);
  EXPECT_EQ(error.address, 2048u);
  EXPECT_NE(error.text.find("number 1 of LOAD on core 0 writes before a YIELD that does not keep"),
            std::string::npos)
      << error.text;
  EXPECT_FALSE(stored({yield_keeping({{0, 2048}, {2112, 1000}})}, 2048)) << "a hole";
  EXPECT_FALSE(stored({yield_keeping({}), yield_keeping({{0, 4096}})}, 0)) << "too late";
  EXPECT_FALSE(stored({yield_keeping({{0, 4096}}), yield_keeping({})}, 0)) << "once is not enough";

  StreamBuilder again;
  again.append(transfer(NPU_OP_LOAD, 0, 64));
  again.append(yield_keeping({}));
  again.append(transfer(NPU_OP_LOAD, 0, 64));
  again.append(waiting(transfer(NPU_OP_STORE, 0, 64), NPU_ENGINE_LOAD, 2));
  EXPECT_FALSE(hazard(again, error)) << error.text;

  // Two halves of every row make the whole good again, one does not.
  StreamBuilder halves;
  npu_command_dma half = transfer(NPU_OP_LOAD, 0, 64);
  half.size[1] = 32, half.sram_stride[1] = 128, half.external_stride[1] = 64;
  halves.append(transfer(NPU_OP_LOAD, 0, 4096));
  halves.append(yield_keeping({}));
  halves.append(half);
  StreamBuilder missing = halves;
  missing.append(waiting(transfer(NPU_OP_STORE, 0, 4096), NPU_ENGINE_LOAD, 2));
  ASSERT_TRUE(hazard(missing, error));
  EXPECT_EQ(error.address, 64u);
  half.sram_address = 64;
  halves.append(half);
  halves.append(waiting(transfer(NPU_OP_STORE, 0, 4096), NPU_ENGINE_LOAD, 3));
  EXPECT_FALSE(hazard(halves, error)) << error.text;
}

TEST(Hazards, WithinACommand) {
  StreamError error;
  npu_command_vec add = elementwise(NPU_VEC_ADD, 4, 4, 16);
  StreamBuilder in_place;
  add.out = add.a;
  in_place.append(add);
  EXPECT_FALSE(hazard(in_place, error)) << error.text;

  StreamBuilder shifted;
  add.out.address += 16;
  shifted.append(add);
  EXPECT_TRUE(hazard(shifted, error));
  EXPECT_NE(error.text.find("also reads"), std::string::npos) << error.text;

  StreamBuilder convolved;
  npu_command_mac mac = convolution({4, 4, 16, 4, 4, 16});
  mac.output = mac.input;
  convolved.append(mac);
  EXPECT_TRUE(hazard(convolved, error));

  // Channel slices of one tensor, a granule each, do not touch.
  StreamBuilder slices;
  npu_command_vec lut = elementwise(NPU_VEC_LUT, 4, 4, 16);
  lut.a.pixel_stride = 32, lut.a.row_stride = 128;
  lut.out = lut.a;
  lut.out.address += 16;
  lut.table = 4096;
  slices.append(lut);
  EXPECT_FALSE(hazard(slices, error)) << error.text;
}

TEST(Hazards, RingThatWrapsIsNoConflictWithItself) {
  npu_command_dma load = transfer(NPU_OP_LOAD, 0, 24);  // rows that share granules
  load.size[2] = 4;
  load.sram_stride[2] = 24;
  load.external_stride[2] = 24;
  load.ring_rows = 4;
  load.ring_first = 3;
  StreamBuilder builder;
  builder.append(load);
  StreamError error;
  EXPECT_FALSE(hazard(builder, error)) << error.text;
}

TEST(GranuleSet, EqualsASet) {
  std::mt19937 random(5);
  for (const uint64_t size : {1u, 64u, 65u, 5000u}) {
    GranuleSet fast(size);
    std::set<uint64_t> plain;
    for (int round = 0; round < 5000; ++round) {
      const uint64_t n = random() % size;
      EXPECT_EQ(fast.contains(n), plain.count(n) != 0);
      const auto behind = plain.upper_bound(n);
      EXPECT_EQ(fast.after(n), behind == plain.end() ? GranuleSet::kNone : *behind);
      EXPECT_EQ(fast.at_or_before(n),
                behind == plain.begin() ? GranuleSet::kNone : *std::prev(behind));
      // One number, or a range of any length.
      const uint64_t last = random() % 4 != 0 ? n : n + random() % (size - n);
      if (random() % 2) {
        fast.insert(n, last);
        for (uint64_t i = n; i <= last; ++i) plain.insert(i);
      } else {
        fast.erase(n, last);
        plain.erase(plain.lower_bound(n), plain.upper_bound(last));
      }
    }
  }
}

TEST(Hazards, InterleavedIsNoConflict) {
  // Two engines write columns of the same rows at the same time: their ranges
  // overlap, their granules do not.
  StreamBuilder builder;
  npu_command_dma fill = transfer(NPU_OP_FILL, 0, 16);
  fill.size[1] = 8, fill.sram_stride[1] = 64;
  builder.append(fill);
  npu_command_vec lut = elementwise(NPU_VEC_LUT, 1, 8, 16);
  lut.a.address = 4096, lut.table = 8192;
  lut.out = {.address = 16, .row_stride = 512, .pixel_stride = 64, .ring_rows = 0, .ring_first = 0};
  builder.append(lut);
  const auto verdict = [&](const StreamBuilder& stream) {
    std::vector<Stream> streams(1);
    StreamError error;
    EXPECT_TRUE(decode_stream(stream.bytes(), *find_target("card"), 0, 1, streams[0], error))
        << error.text;
    check_hazards(streams, *find_target("card"), error);
    return error;
  };
  EXPECT_EQ(verdict(builder).status, NPU_STATUS_OK);
  lut.out.address = 8;  // half of it in the granule of the other
  builder.append(lut);
  const StreamError error = verdict(builder);
  EXPECT_EQ(error.status, NPU_STATUS_HAZARD);
  EXPECT_EQ(error.command, 2u);
  EXPECT_EQ(error.address, 8u);
}

TEST(Hazards, CoresHaveTheirOwnSram) {
  std::vector<StreamBuilder> builders(2);
  builders[0].append(transfer(NPU_OP_LOAD, 0, 64));
  builders[1].append(transfer(NPU_OP_STORE, 0, 64));
  StreamError error;
  EXPECT_TRUE(check_hazards(decode_all(builders), card(), error)) << error.text;
}

npu_command_dma peer_load(unsigned from, uint32_t source, uint32_t address, uint32_t bytes) {
  npu_command_dma dma = transfer(NPU_OP_PEER_LOAD, address, bytes);
  dma.peer_core = static_cast<uint8_t>(from);
  dma.source_address = source;
  dma.external_stride[0] = 1;
  return dma;
}

TEST(Hazards, PeerLoadAndWhatThePeerDoes) {
  StreamError error;
  // Core 1 reads what core 0 has loaded: only behind a wait for it.
  for (const bool waits : {false, true}) {
    std::vector<StreamBuilder> builders(2);
    builders[0].append(transfer(NPU_OP_LOAD, 4096, 256));
    const npu_command_dma peer = peer_load(0, 4096 + 128, 0, 64);
    builders[1].append(waits ? waiting(peer, NPU_ENGINE_LOAD, 1, 0) : peer);
    EXPECT_EQ(check_hazards(decode_all(builders), card(), error), waits) << error.text;
  }
  EXPECT_EQ(error.status, NPU_STATUS_HAZARD);
  EXPECT_EQ(error.core, 1u);
  EXPECT_EQ(error.address, 4096u + 128);
  EXPECT_NE(error.text.find("LOAD on core 0"), std::string::npos) << error.text;

  // Core 0 overwrites it: only behind a wait for core 1's command.
  for (const bool waits : {false, true}) {
    std::vector<StreamBuilder> builders(2);
    builders[0].append(transfer(NPU_OP_LOAD, 4096, 256));
    builders[1].append(waiting(peer_load(0, 4096, 0, 64), NPU_ENGINE_LOAD, 1, 0));
    const npu_command_dma fill = transfer(NPU_OP_FILL, 4096 + 48, 16);
    builders[0].append(waits ? waiting(fill, NPU_ENGINE_LOAD, 1, 1) : fill);
    EXPECT_EQ(check_hazards(decode_all(builders), card(), error), waits) << error.text;
  }
}

TEST(Hazards, MulticastWritesEverySramItNames) {
  StreamError error;
  const auto load = [] {
    npu_command_dma dma = transfer(NPU_OP_LOAD, 0, 256);
    dma.multicast = 4;
    return dma;
  };
  for (unsigned reader = 1; reader < 3; ++reader) {
    for (const bool waits : {false, true}) {
      std::vector<StreamBuilder> builders(3);
      builders[0].append(load());
      const npu_command_dma store = transfer(NPU_OP_STORE, 240, 16);
      builders[reader].append(waits ? waiting(store, NPU_ENGINE_LOAD, 1, 0) : store);
      // Core 1 is not named.
      EXPECT_EQ(check_hazards(decode_all(builders), card(), error), waits || reader == 1)
          << error.text;
    }
  }
  // Two cores multicast into each other at once.
  std::vector<StreamBuilder> builders(2);
  for (unsigned core = 0; core < 2; ++core) {
    npu_command_dma dma = transfer(NPU_OP_LOAD, 1024, 64);
    dma.multicast = core == 0 ? 2 : 1;
    builders[core].append(dma);
  }
  EXPECT_FALSE(check_hazards(decode_all(builders), card(), error));
}

TEST(Hazards, WaitsAcrossCoresOrder) {
  // core 0: LOAD, STORE after core 1's first LOAD, which comes after LOAD.
  std::vector<StreamBuilder> builders(2);
  builders[0].append(transfer(NPU_OP_LOAD, 0, 64));
  builders[0].append(waiting(transfer(NPU_OP_STORE, 0, 64), NPU_ENGINE_LOAD, 1, 1));
  builders[1].append(waiting(transfer(NPU_OP_LOAD, 0, 64), NPU_ENGINE_LOAD, 1, 0));
  StreamError error;
  EXPECT_TRUE(check_hazards(decode_all(builders), card(), error)) << error.text;
}

// ---- Deadlock ---------------------------------------------------------------

TEST(Deadlock, CyclesBetweenCores) {
  std::vector<StreamBuilder> builders(2);
  builders[0].append(waiting(transfer(NPU_OP_LOAD, 0, 64), NPU_ENGINE_LOAD, 1, 1));
  builders[1].append(waiting(transfer(NPU_OP_LOAD, 0, 64), NPU_ENGINE_LOAD, 1, 0));
  StreamError error;
  EXPECT_FALSE(check_deadlock(decode_all(builders), error));
  EXPECT_EQ(error.status, NPU_STATUS_DEADLOCK);
  EXPECT_EQ(error.command, 0u);
  EXPECT_NE(error.text.find("LOAD on core 1"), std::string::npos) << error.text;
}

TEST(Deadlock, MoreThanTheOtherCoreHas) {
  std::vector<StreamBuilder> builders(2);
  builders[0].append(transfer(NPU_OP_LOAD, 0, 64));
  builders[1].append(waiting(transfer(NPU_OP_LOAD, 0, 64), NPU_ENGINE_LOAD, 2, 0));
  StreamError error;
  EXPECT_FALSE(check_deadlock(decode_all(builders), error));
  EXPECT_EQ(error.core, 1u);
}

TEST(Deadlock, PingPongIsFine) {
  std::vector<StreamBuilder> builders(2);
  for (uint32_t i = 0; i < 50; ++i) {
    builders[0].append(waiting(transfer(NPU_OP_LOAD, 0, 64), NPU_ENGINE_LOAD, i, 1));
    builders[1].append(waiting(transfer(NPU_OP_LOAD, 0, 64), NPU_ENGINE_LOAD, i + 1, 0));
  }
  StreamError error;
  EXPECT_TRUE(check_deadlock(decode_all(builders), error)) << error.text;
}

// ---- Against a quadratic oracle ---------------------------------------------

// Reachability over "retires before it starts", by brute force, and sets of
// granules, element by element.
class Oracle {
 public:
  explicit Oracle(const std::vector<Stream>& streams) {
    GangOrder order(streams);
    unsigned core;
    uint32_t index;
    while (order.next(core, index)) add(streams[core][index], core);
  }

  bool hazard() const {
    for (size_t later = 0; later < nodes_.size(); ++later) {
      for (size_t earlier = 0; earlier <= later; ++earlier)
        if (conflict(earlier, later)) return true;
      for (const uint64_t granule : nodes_[later].reads)
        if (lost(later, granule)) return true;
    }
    return false;
  }

 private:
  struct Node {
    unsigned core, engine;
    uint32_t count;
    std::set<size_t> before;           // all of them, transitively
    std::set<uint64_t> reads, writes;  // granules, of which each core has its range
    bool yields;
    std::set<uint64_t> keeps;
  };

  void add(const Command& command, unsigned core) {
    Node node = {core, command.engine(), 1, {}, {}, {}, command.opcode() == NPU_OP_YIELD, {}};
    for (uint32_t i = 0; node.yields && i < command.yield().range_count; ++i)
      for (uint32_t byte = 0; byte < command.yield().live[i].bytes; ++byte)
        node.keeps.insert((uint64_t{core} << 32 | (command.yield().live[i].address + byte)) /
                          kHazardGranule);
    const auto after = [&](size_t other) {
      node.before.insert(other);
      node.before.insert(nodes_[other].before.begin(), nodes_[other].before.end());
    };
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const Node& other = nodes_[i];
      if (other.core == core && other.engine == node.engine) {
        ++node.count;
        after(i);
      }
      if (other.core == core && other.engine == NPU_ENGINE_DISPATCH) after(i);
      if (other.core == core && command.opcode() == NPU_OP_YIELD) after(i);
      for (const uint32_t wait : command.header().wait)
        if (wait != 0 && other.core == (wait >> 24 & 0xf) && other.engine == (wait >> 20 & 0xf) &&
            other.count <= (wait & 0xfffff))
          after(i);
    }
    if (node.engine != NPU_ENGINE_DISPATCH) touch(command, core, node);
    nodes_.push_back(std::move(node));
  }

  static void touch(const Command& command, unsigned core, Node& node) {
    const npu_command_dma& dma = command.dma();
    const auto walk = [&](unsigned sram, uint64_t address, const uint32_t* strides,
                          std::set<uint64_t>& out) {
      for (uint64_t d = 0; d < dma.size[3]; ++d)
        for (uint64_t c = 0; c < dma.size[2]; ++c)
          for (uint64_t b = 0; b < dma.size[1]; ++b)
            for (uint64_t a = 0; a < dma.size[0]; ++a) {
              const bool ring = dma.ring_rows != 0 && strides == dma.sram_stride;
              const uint64_t row = ring ? (dma.ring_first + c) % dma.ring_rows : c;
              const uint64_t first =
                  address + a * strides[0] + b * strides[1] + row * strides[2] + d * strides[3];
              for (uint64_t byte = 0; byte < 1u << dma.element_log2; ++byte)
                out.insert((uint64_t{sram} << 32 | (first + byte)) / kHazardGranule);
            }
    };
    const bool store = command.opcode() == NPU_OP_STORE;
    walk(core, dma.sram_address, dma.sram_stride, store ? node.reads : node.writes);
    for (unsigned peer = 0; peer < NPU_MAX_CORES; ++peer)
      if (dma.multicast >> peer & 1) walk(peer, dma.sram_address, dma.sram_stride, node.writes);
    if (command.opcode() == NPU_OP_SRAM_COPY)
      walk(core, dma.source_address, dma.external_stride, node.reads);
    if (command.opcode() == NPU_OP_PEER_LOAD)
      walk(dma.peer_core, dma.source_address, dma.external_stride, node.reads);
  }

  static bool intersects(const std::set<uint64_t>& a, const std::set<uint64_t>& b) {
    return std::any_of(a.begin(), a.end(), [&](uint64_t x) { return b.count(x) != 0; });
  }

  bool conflict(size_t earlier, size_t later) const {
    const Node &a = nodes_[earlier], &b = nodes_[later];
    if (earlier == later) return intersects(a.reads, a.writes);
    if (b.before.count(earlier) != 0) return false;
    return intersects(a.writes, b.writes) || intersects(a.writes, b.reads) ||
           intersects(a.reads, b.writes);
  }

  // Written, and then a YIELD of the core it belongs to did not keep it.
  bool lost(size_t reader, uint64_t granule) const {
    bool forgotten = false;
    for (size_t i = reader; i-- > 0;) {
      const Node& node = nodes_[i];
      if (node.writes.count(granule) != 0) return forgotten;
      forgotten = forgotten || (node.yields && node.core == granule * kHazardGranule >> 32 &&
                                node.keeps.count(granule) == 0);
    }
    return false;
  }

  std::vector<Node> nodes_;
};

// Small blocks in a small part of SRAM, so that they meet often.
npu_command_dma random_transfer(std::mt19937& random, unsigned core, unsigned gang) {
  static constexpr npu_opcode kOpcodes[] = {NPU_OP_LOAD, NPU_OP_STORE, NPU_OP_FILL,
                                            NPU_OP_SRAM_COPY, NPU_OP_PEER_LOAD};
  const npu_opcode opcode = kOpcodes[random() % (gang > 1 ? 5 : 4)];
  npu_command_dma dma = transfer(opcode, random() % 6000, 1 + random() % 40);
  if (random() % 8 == 0) dma.size[0] = 1500;  // covers blocks of granules as a whole
  dma.element_log2 = random() % 3;
  dma.sram_stride[0] = 1u << dma.element_log2;
  uint32_t extent = dma.size[0] << dma.element_log2;
  for (int i = 1; i < 4; ++i) {
    dma.sram_stride[i] = extent + random() % 60;
    dma.size[i] = dma.size[0] == 1500 ? 1 : 1 + random() % 3;
    if (i == 2 && random() % 3 == 0) {
      dma.ring_rows = static_cast<uint16_t>(dma.size[2] + random() % 3);
      dma.ring_first = static_cast<uint16_t>(random() % dma.ring_rows);
      extent = dma.sram_stride[i] * dma.ring_rows;
    } else {
      extent += dma.sram_stride[i] * (dma.size[i] - 1);
    }
  }
  if (opcode == NPU_OP_STORE) std::copy(dma.sram_stride, dma.sram_stride + 4, dma.external_stride);
  if (opcode == NPU_OP_LOAD && random() % 3 == 0)
    dma.multicast = static_cast<uint16_t>(random() & ((1u << gang) - 1) & ~(1u << core));
  if (opcode == NPU_OP_PEER_LOAD)
    dma.peer_core = static_cast<uint8_t>((core + 1 + random() % (gang - 1)) % gang);
  if (opcode == NPU_OP_SRAM_COPY || opcode == NPU_OP_PEER_LOAD) {
    dma.source_address = random() % 6000;
    // Dense or nested; interleaved reads count as their whole range.
    dma.external_stride[0] = dma.sram_stride[0];
    for (int i = 1; i < 4; ++i)
      dma.external_stride[i] = dma.external_stride[i - 1] * dma.size[i - 1] + random() % 2 * 40;
  }
  return dma;
}

TEST(Hazards, EqualsTheOracleOnRandomStreams) {
  std::mt19937 random(3);
  int hazards = 0, clean = 0, quick = 0;
  for (int round = 0; round < 4000; ++round) {
    const unsigned gang = 1 + random() % 3;
    std::vector<StreamBuilder> builders(gang);
    const unsigned commands = 2 + random() % 6;
    for (unsigned i = 0; i < commands; ++i) {
      const unsigned core = random() % gang;
      npu_command_dma dma = random_transfer(random, core, gang);
      npu_command_header sequencer = {};
      const unsigned kind = random() % 12;
      npu_command_header& header = kind == 0 ? sequencer : dma.header;
      for (unsigned waits = random() % 4; waits != 0; --waits) {
        const unsigned other = random() % gang;
        const npu_engine engine = random() % 2 ? NPU_ENGINE_LOAD : NPU_ENGINE_STORE;
        add_wait(header, engine, builders[other].count(engine), other);
      }
      if (kind == 0)
        builders[core].append_nop(sequencer);
      else if (kind == 1)
        builders[core].append(yield_keeping(
            {{static_cast<uint32_t>(random() % 2000), static_cast<uint32_t>(1 + random() % 6000)},
             {static_cast<uint32_t>(random() % 6000), 1000}}));
      else
        builders[core].append(dma);
    }
    const std::vector<Stream> streams = decode_all(builders);
    StreamError error;
    ASSERT_TRUE(check_deadlock(streams, error)) << error.text;
    const bool expected = Oracle(streams).hazard();
    EXPECT_EQ(!check_hazards(streams, card(), error), expected)
        << "round " << round << ": " << error.text;
    EXPECT_EQ(detected(streams), expected) << "round " << round;
    (expected ? hazards : clean) += 1;
    if (!screened(streams)) continue;
    ++quick;
    EXPECT_FALSE(expected) << "round " << round << ": the quick look has missed it";
  }
  EXPECT_GT(hazards, 500);
  EXPECT_GT(clean, 500);
  EXPECT_GT(quick, clean * 3 / 4);
}

// In a line, so that only YIELDs can make hazards: ranges may find more of them
// than granules, and granules find those that there are.
TEST(Hazards, YieldsAndWritesWithGaps) {
  std::mt19937 random(11);
  int outcomes[3] = {};  // by who passes it: none, granules, both
  for (int round = 0; round < 3000; ++round) {
    StreamBuilder builder;
    for (unsigned left = 4 + random() % 8; left != 0; --left) {
      if (random() % 4 == 0) {
        builder.append(yield_keeping(
            {{static_cast<uint32_t>(random() % 800), static_cast<uint32_t>(1 + random() % 600)},
             {static_cast<uint32_t>(random() % 800), static_cast<uint32_t>(1 + random() % 200)}}));
        continue;
      }
      npu_command_dma dma = random_transfer(random, 0, 1);
      if (dma.header.opcode == NPU_OP_SRAM_COPY) continue;  // may overlap itself
      dma.sram_address %= 800;
      if (dma.header.opcode == NPU_OP_STORE) dma = transfer(NPU_OP_STORE, dma.sram_address, 8);
      for (const npu_engine engine : {NPU_ENGINE_LOAD, NPU_ENGINE_STORE})
        add_wait(dma.header, engine, builder.count(engine));
      // Columns of a tensor, which fill each other's gaps.
      for (unsigned tiles = dma.header.opcode == NPU_OP_FILL ? 1 + random() % 3 : 1; tiles != 0;
           --tiles) {
        builder.append(dma);
        dma.sram_address += dma.size[0] << dma.element_log2;
      }
    }
    const std::vector<Stream> streams = decode_all({builder});
    const bool quick = screened(streams);
    const bool exact = !detected(streams);
    EXPECT_EQ(exact, !Oracle(streams).hazard()) << "round " << round;
    EXPECT_TRUE(exact || !quick) << "round " << round;
    StreamError error;
    EXPECT_EQ(check_hazards(streams, card(), error), exact) << "round " << round;
    ++outcomes[quick + exact];
  }
  EXPECT_GT(outcomes[0], 200);
  EXPECT_GT(outcomes[1], 20);
  EXPECT_GT(outcomes[2], 500);
}

}  // namespace
}  // namespace npu::arch
