// SPDX-License-Identifier: MIT
#include "streams.h"

#include <algorithm>
#include <cstring>

#include "arch/stream.h"
#include "arch/test_commands.h"
#include "commands.h"

namespace npu::fuzz {
namespace {

// Waits as the script wants them; by default for everything before. `counts`: of the
// cores made so far and of this one.
void add_waits(Input& in, npu_command_header& header, const Counts& counts, unsigned gang) {
  const auto core = static_cast<unsigned>(counts.size() - 1);
  const auto for_all = [&](unsigned of) {
    for (unsigned e = 0; e < NPU_ENGINE_COUNT; ++e)
      arch::add_wait(header, static_cast<npu_engine>(e), counts[of][e], of);
  };
  const uint8_t how = in.u8();
  if (how >= 0xf0 && core > 0) {
    for_all(core - 1);
    for_all(core);
    return;
  }
  switch (how % 4) {
    case 0:
      for_all(core);
      break;
    case 1:
      break;
    case 2: {
      const auto engine = static_cast<npu_engine>(in.pick(NPU_ENGINE_COUNT));
      arch::add_wait(header, engine, counts[core][engine], core);
      break;
    }
    default:
      for (unsigned i = 1 + in.pick(4); i > 0; --i) {
        const auto engine = static_cast<npu_engine>(in.pick(NPU_ENGINE_COUNT));
        const uint32_t count = in.pick(4);
        header.wait[i - 1] = arch::encode_wait(engine, count, in.pick(gang));
      }
  }
}

// One stream; the commands' places in it.
class Maker {
 public:
  Maker(Input& in, unsigned gang, size_t most, Counts& counts)
      : in_(in), gang_(gang), most_(most), counts_(counts) {}

  void commands() {
    const uint8_t shape = in_.u8();
    if (shape >= 0xf0) return yields(shape & 0xf);
    for (unsigned i = shape % 24; i > 0 && fits(); --i) command();
  }

  std::vector<uint8_t> bytes() {
    std::vector<uint8_t> bytes(stream_.bytes().size());
    if (!bytes.empty()) std::memcpy(bytes.data(), stream_.bytes().data(), bytes.size());
    // Changes come last, so that a mutation of them leaves the stream's shape alone.
    for (unsigned n = in_.u8() & 3; n > 0 && !begins_.empty(); --n) {
      const size_t begin = begins_[in_.pick(static_cast<uint32_t>(begins_.size()))];
      const size_t size = std::min<size_t>(bytes.size() - begin, 2 * NPU_RECORD_BYTES);
      change_words(in_, bytes.data() + begin, size);
    }
    return bytes;
  }

 private:
  bool fits() const { return stream_.bytes().size() + 2 * NPU_RECORD_BYTES <= most_; }

  template <typename... Records>
  void append(Records&... records) {
    begins_.push_back(stream_.bytes().size());
    stream_.append(records...);
    for (unsigned e = 0; e < NPU_ENGINE_COUNT; ++e)
      counts_.back()[e] = stream_.count(static_cast<npu_engine>(e));
  }
  template <typename T>
  void place(T command) {
    add_waits(in_, command.header, counts_, gang_);
    append(command);
  }

  void command();
  void mac(npu_opcode opcode);
  void kept_sums();
  void gang_transfer();
  void long_command();
  void yields(unsigned count);

  Input& in_;
  const unsigned gang_;
  const size_t most_;
  Counts& counts_;
  arch::StreamBuilder stream_;
  std::vector<size_t> begins_;
};

void Maker::mac(npu_opcode opcode) {
  npu_mac_extension extension;
  bool extended;
  npu_command_mac mac = mac_command(in_, opcode, extension, extended);
  add_waits(in_, mac.header, counts_, gang_);
  if (extended)
    append(mac, extension);
  else
    append(mac);
}

// KEEP, and ADD of the same shape, or almost.
void Maker::kept_sums() {
  const uint16_t rows = extent(in_, 32), k = extent(in_, 64), n = extent(in_, 40);
  const uint8_t how = in_.u8();
  const npu_command_mac whole = arch::test::matmul(rows, k, n);
  npu_command_mac first = whole;
  first.accumulate = NPU_ACCUMULATE_KEEP;
  first.types = NPU_TYPES(NPU_TYPE_INT8, NPU_TYPE_INT8, 0, 0);
  first.output = {};
  first.scale_f32 = 0;
  first.clamp_low = first.clamp_high = 0;
  npu_command_mac second = (how & 1) != 0 ? first : whole;
  second.accumulate |= NPU_ACCUMULATE_ADD;
  if ((how & 2) != 0) first.accumulator_base = second.accumulator_base = 64;
  if ((how & 4) != 0) second.accumulator_base ^= 64;
  if ((how & 8) != 0) {  // as columns, or as fewer of them
    npu_command_mac conv = arch::test::convolution(
        {.in_h = rows, .in_w = 1, .in_c = k, .out_h = rows, .out_w = 1, .out_c = n});
    conv.accumulate = NPU_ACCUMULATE_ADD;
    conv.accumulator_base = second.accumulator_base;
    second = conv;
  }
  if ((how & 16) != 0) ++second.out_c, second.weight_bytes += k;
  place(first);
  if (fits()) place(second);
}

// Between the cores of a gang, bytes in a row or a block: a LOAD for several, or a
// PEER_LOAD.
void Maker::gang_transfer() {
  const uint8_t how = in_.u8();
  const auto core = static_cast<unsigned>(counts_.size() - 1);
  const bool peer = (how & 1) != 0;
  const npu_opcode opcode = peer ? NPU_OP_SRAM_COPY : NPU_OP_LOAD;
  npu_command_dma dma = (how & 2) != 0 ? dma_block(in_, opcode) : run_of_bytes(in_, opcode);
  if (peer) {
    dma.header.opcode = NPU_OP_PEER_LOAD;
    dma.region = 0;
    dma.source_address = static_cast<uint32_t>(dma.external_offset);
    dma.external_offset = 0;
    dma.external_stride[0] = dma.sram_stride[0];
    dma.peer_core = static_cast<uint8_t>((core + 1 + (how >> 2 & 7)) % gang_);
  } else {
    const auto others = static_cast<uint16_t>(((1u << gang_) - 1) & ~(1u << core));
    dma.multicast = (how & 0x80) != 0 ? in_.u8() : others;
  }
  place(dma);
}

// What takes longer than the card looks away.
void Maker::long_command() {
  const uint8_t how = in_.u8();
  const auto size = static_cast<uint16_t>(32 * (1 + (how >> 2 & 3)));
  switch (how & 3) {
    case 0:
      place(arch::test::matmul(size, size, size));
      break;
    case 1: {
      // The same weights, over and over.
      npu_command_mac mac = arch::test::matmul(size, size, 64);
      npu_mac_extension extension = {};
      extension.batch_count = static_cast<uint16_t>(2 + (how >> 4));
      extension.batch_output = 64;
      mac.output.pixel_stride = 64 * extension.batch_count;
      add_waits(in_, mac.header, counts_, gang_);
      append(mac, extension);
      break;
    }
    case 2:
      place(arch::test::pool(NPU_VEC_POOL_MAX, size / 4, size / 4, 64,
                             static_cast<uint8_t>(2 + (how >> 4)), 1, 1));
      break;
    default: {
      // An element of each page.
      npu_command_dma dma = arch::test::transfer(NPU_OP_LOAD, 0, 1);
      dma.size[0] = 16;
      dma.external_stride[0] = 4096;
      dma.size[1] = 256u * (1 + (how >> 2 & 15));
      dma.sram_stride[1] = 16;
      dma.external_stride[1] = 1;
      place(dma);
    }
  }
}

// Where the job can be put aside, again and again, with a part of the SRAM.
void Maker::yields(unsigned count) {
  const uint8_t size = in_.u8();
  for (; count > 0 && fits(); --count) {
    npu_command_dma dma =
        arch::test::transfer(NPU_OP_LOAD, 64 * count, 16 + size, 64 * uint64_t{count});
    arch::add_wait(dma.header, NPU_ENGINE_STORE, counts_.back()[NPU_ENGINE_STORE],
                   static_cast<unsigned>(counts_.size() - 1));
    append(dma);
    npu_command_yield yield = {};
    yield.range_count = 1;
    yield.live[0].bytes = 64 * count + 16 + size;
    append(yield);
    if (!fits()) return;
    dma.header.opcode = NPU_OP_STORE;
    dma.external_offset += 0x1000;
    append(dma);
  }
}

void Maker::command() {
  const uint8_t kind = in_.u8();
  if (kind >= 0xe0) {
    switch (kind & 3) {
      case 0:
        return kept_sums();
      case 1:
        return gang_transfer();
      case 2:
        return long_command();
      default:
        // All that the card's memory has for it.
        return place(arch::test::transfer(NPU_OP_LOAD, 0, 0xf000));
    }
  }
  switch (kind % 14) {
    case 0:
      return place(run_of_bytes(in_, NPU_OP_LOAD));
    case 1:
      return place(run_of_bytes(in_, NPU_OP_STORE));
    case 2:
      return place(dma_block(in_, NPU_OP_LOAD));
    case 3:
      return place(dma_block(in_, NPU_OP_STORE));
    case 4:
      return place(dma_block(in_, NPU_OP_FILL));
    case 5:
      return place(dma_block(in_, NPU_OP_SRAM_COPY));
    case 6: {
      npu_command_dma dma = dma_block(in_, NPU_OP_SRAM_COPY);
      dma.header.opcode = NPU_OP_PEER_LOAD;
      dma.peer_core = static_cast<uint8_t>(in_.pick(4));
      return place(dma);
    }
    case 7:
      return mac(NPU_OP_CONV);
    case 8:
      return mac(NPU_OP_DEPTHWISE);
    case 9:
      return mac(NPU_OP_MATMUL);
    case 10:
    case 11:
      return place(vec_command(in_));
    case 12:
      return place(yield_command(in_));
    default: {
      npu_command_yield nop = {};
      add_waits(in_, nop.header, counts_, gang_);
      begins_.push_back(stream_.bytes().size());
      stream_.append_nop(nop.header);
    }
  }
}

}  // namespace

void change_words(Input& in, uint8_t* bytes, size_t size) {
  for (unsigned n = in.u8() & 3; n > 0; --n) {
    const size_t at = in.pick(static_cast<uint32_t>(size / 2)) * size_t{2};
    const uint8_t how = in.u8();
    uint16_t word;
    std::memcpy(&word, bytes + at, 2);
    switch (how >> 6) {
      case 0:  // 0..3 and edges
        word = (how & 0x20) != 0 ? static_cast<uint16_t>(0x7ffe + (how & 0x1f))
                                 : static_cast<uint16_t>(how & 0x1f);
        break;
      case 1:
        word ^= static_cast<uint16_t>(1u << (how & 15));
        break;
      case 2:
        word = static_cast<uint16_t>(word + (how & 0x3f) - 0x20);
        break;
      default:
        word = (how & 0x20) != 0 ? in.u16() : static_cast<uint16_t>(0xffff - (how & 0x1f));
    }
    std::memcpy(bytes + at, &word, 2);
  }
}

std::vector<uint8_t> make_stream(Input& in, unsigned gang, size_t most, Counts& counts) {
  counts.emplace_back();
  Maker maker(in, gang, most, counts);
  maker.commands();
  return maker.bytes();
}

}  // namespace npu::fuzz
