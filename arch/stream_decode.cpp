// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstring>

#include "arch/canonical.h"
#include "arch/mac_shape.h"
#include "arch/stream_decoder.h"
#include "arch/text.h"

namespace npu::arch {
StreamDecoder::StreamDecoder(std::span<const std::byte> bytes, const npu_target& target,
                             unsigned core, unsigned gang, Stream& stream, StreamError& error)
    : bytes_(bytes), target_(target), core_(core), gang_(gang), stream_(stream), error_(error) {
  stream_.clear();
  error_ = {};
}

bool StreamDecoder::refuse(uint32_t index, const npu_command_header& header) {
  error_.status = violation_.status;
  error_.command = index;
  error_.engine =
      header.engine <= NPU_ENGINE_DISPATCH ? header.engine : uint8_t{NPU_ENGINE_DISPATCH};
  error_.core = static_cast<uint8_t>(core_);
  error_.source_op = header.source_op;
  error_.address = violation_.address;
  error_.text = format_text("command %u (%s, operator %u): ", index, opcode_name(header.opcode),
                            header.source_op) +
                violation_.text;
  return false;
}

bool StreamDecoder::check_size() {
  const uint32_t longest = std::min<uint32_t>(target_.max_stream_bytes, NPU_STREAM_MAX_BYTES);
  if (bytes_.size() <= longest && bytes_.size() % NPU_RECORD_BYTES == 0) return true;
  error_.status = NPU_STATUS_BAD_COMMAND;
  error_.core = static_cast<uint8_t>(core_);
  error_.text = format_text("the stream has %zu bytes, must be a multiple of %u and at most %u",
                            bytes_.size(), NPU_RECORD_BYTES, longest);
  return false;
}

bool StreamDecoder::decode(size_t commands) {
  if (at_ == 0) {
    if (!check_size()) return false;
    stream_.reserve(bytes_.size() / NPU_RECORD_BYTES);
  }
  for (; commands != 0 && !finished(); --commands)
    if (!decode_one()) return false;
  return true;
}

// In place: there is room for all, since a command has at least one record.
bool StreamDecoder::decode_one() {
  const std::span<const std::byte> rest = bytes_.subspan(at_);
  const uint32_t index = static_cast<uint32_t>(stream_.size());
  Command& command = stream_.emplace_back();
  std::memcpy(command.records, rest.data(), NPU_RECORD_BYTES);
  const npu_command_header header = command.header();
  bool good = check_header(header);
  if (good && header.records == 2) {
    good = rest.size() >= 2 * NPU_RECORD_BYTES ||
           violation_.fail("records is 2, but the stream ends after the first");
    if (good)
      std::memcpy(command.records + NPU_RECORD_BYTES, rest.data() + NPU_RECORD_BYTES,
                  NPU_RECORD_BYTES);
  }
  if (!good || !check(command)) {
    stream_.pop_back();
    return refuse(index, header);
  }
  ++counts_[header.engine];
  at_ += header.records * size_t{NPU_RECORD_BYTES};
  return true;
}

bool StreamDecoder::check(const Command& command) {
  return check_waits(command.header()) && check_operands(command) && check_canonical(command) &&
         check_sram_range(command) && check_accumulators(command);
}

bool StreamDecoder::check_header(const npu_command_header& header) {
  npu_engine engine;
  if (!opcode_engine(header.opcode, engine))
    return violation_.fail("opcode %#x is unknown", header.opcode);
  if (header.engine != engine)
    return violation_.fail("engine is %u (%s), must be %u (%s)", header.engine,
                           engine_name(header.engine), engine, engine_name(engine));
  return violation_.range("records", header.records, 1, engine == NPU_ENGINE_MAC ? 2 : 1) &&
         violation_.zero("header flags", header.flags);
}

bool StreamDecoder::check_waits(const npu_command_header& header) {
  for (int i = 0; i < NPU_WAITS; ++i) {
    const uint32_t wait = header.wait[i];
    if (wait == 0) continue;
    const uint32_t count = wait & NPU_WAIT_COUNT_MASK;
    const unsigned engine = wait >> NPU_WAIT_ENGINE_SHIFT & 0xf;
    const unsigned core = wait >> NPU_WAIT_CORE_SHIFT & 0xf;
    if (wait & NPU_WAIT_RESERVED)
      return violation_.fail("wait[%d] is %#x, has reserved bits set", i, wait);
    if (count == 0)
      return violation_.fail("wait[%d] is %#x, its count is 0: no wait is all zero", i, wait);
    if (engine >= NPU_ENGINE_COUNT)
      return violation_.fail("wait[%d]: engine %u does not exist", i, engine);
    if (core >= gang_)
      return violation_.fail("wait[%d]: core %u is outside the gang of %u", i, core, gang_);
    if (core == core_ && count > counts_[engine]) {
      violation_.status = NPU_STATUS_DEADLOCK;
      return violation_.fail("wait[%d]: %u commands of %s, but only %u come earlier in the list", i,
                             count, engine_name(engine), counts_[engine]);
    }
  }
  return true;
}

bool StreamDecoder::check_operands(const Command& command) {
  switch (command.engine()) {
    case NPU_ENGINE_LOAD:
    case NPU_ENGINE_STORE:
      return check_dma(command.dma(), target_, core_, gang_, violation_);
    case NPU_ENGINE_MAC:
      return check_mac(command.mac(), command.extension(), target_, violation_);
    case NPU_ENGINE_VEC:
      return check_vec(command.vec(), violation_);
    default:
      return check_sequencer(command);
  }
}

bool StreamDecoder::check_canonical(const Command& command) {
  const auto differs = [this](const char* tensor, const char* name, const auto& field, auto value) {
    return field == value ||
           violation_.fail("%s%s%s is %u, must be %u: another value would mean the same", tensor,
                           *tensor != 0 ? "." : "", name, unsigned{field}, unsigned{value});
  };
  switch (command.engine()) {
    case NPU_ENGINE_LOAD:
    case NPU_ENGINE_STORE:
      return visit_fixed_fields(command.dma(), differs);
    case NPU_ENGINE_MAC:
      return visit_fixed_fields(command.mac(), command.extension(), differs);
    case NPU_ENGINE_VEC:
      return visit_fixed_fields(command.vec(), differs);
    default:
      return true;
  }
}

bool StreamDecoder::check_sequencer(const Command& command) {
  if (command.opcode() == NPU_OP_NOP) {
    for (size_t i = sizeof(npu_command_header); i < NPU_RECORD_BYTES; ++i)
      if (command.records[i] != std::byte{0})
        return violation_.fail("byte %zu is %#x, must be 0", i,
                               static_cast<unsigned>(command.records[i]));
    return true;
  }
  const npu_command_yield& yield = command.yield();
  if (!violation_.range("range_count", yield.range_count, 0, NPU_YIELD_RANGES) ||
      !violation_.zero("reserved0", yield.reserved0) ||
      !violation_.reserved("reserved", yield.reserved))
    return false;
  for (uint32_t i = 0; i < NPU_YIELD_RANGES; ++i) {
    const auto& range = yield.live[i];
    if (i >= yield.range_count) {
      if (range.address != 0 || range.bytes != 0)
        return violation_.fail("live[%u] is beyond range_count and must be zero", i);
      continue;
    }
    if (range.bytes == 0) return violation_.fail("live[%u].bytes is 0, must be at least 1", i);
    if (uint64_t{range.address} + range.bytes > target_.sram_bytes) {
      violation_.status = NPU_STATUS_SRAM_RANGE;
      violation_.address = range.address;
      return violation_.fail("live[%u] ends at %#llx, the SRAM at %#x", i,
                             uint64_t{range.address} + range.bytes + 0ull, target_.sram_bytes);
    }
  }
  return true;
}

bool StreamDecoder::check_sram_range(const Command& command) {
  accesses_.clear();
  append_sram_accesses(command, core_, accesses_);
  for (const SramAccess& access : accesses_) {
    const uint64_t end = access.end();
    if (end <= target_.sram_bytes) {
      sram_peak_bytes_ = std::max(sram_peak_bytes_, static_cast<uint32_t>(end));
      continue;
    }
    violation_.status = NPU_STATUS_SRAM_RANGE;
    violation_.address = access.address;
    return violation_.fail("%s operand at %#llx ends at %#llx, the SRAM at %#x",
                           access.write ? "written" : "read",
                           static_cast<unsigned long long>(access.address),
                           static_cast<unsigned long long>(end), target_.sram_bytes);
  }
  return true;
}

// The sums that ADD continues are those of a KEEP of the same shape, with
// nothing between that overwrites them.
bool StreamDecoder::check_accumulators(const Command& command) {
  if (command.opcode() == NPU_OP_YIELD) {
    banks_[0].holds_sums = banks_[1].holds_sums = false;
    return true;
  }
  if (command.engine() != NPU_ENGINE_MAC) return true;
  const npu_command_mac& mac = command.mac();
  if (mac.accumulate == 0) {
    banks_[0].holds_sums = banks_[1].holds_sums = false;
    return true;
  }
  Bank& bank = banks_[mac.accumulator_base != 0 ? 1 : 0];
  if (mac.accumulate & NPU_ACCUMULATE_ADD) {
    if (!bank.holds_sums)
      return violation_.fail("accumulate: ADD, but accumulator row %u holds no sums of a KEEP",
                             mac.accumulator_base);
    const npu_command_mac& kept = bank.producer;
    const MacShape now = mac_shape(mac), then = mac_shape(kept);
    if (mac.out_h != kept.out_h || mac.out_w != kept.out_w || mac.out_c != kept.out_c ||
        now.passes(target_.mac_outputs) != then.passes(target_.mac_outputs))
      return violation_.fail("accumulate: ADD of %ux%ux%u to sums of %ux%ux%u", mac.out_h,
                             mac.out_w, mac.out_c, kept.out_h, kept.out_w, kept.out_c);
  }
  bank.holds_sums = mac.accumulate & NPU_ACCUMULATE_KEEP;
  bank.producer = mac;
  return true;
}

bool decode_stream(std::span<const std::byte> bytes, const npu_target& target, unsigned core,
                   unsigned gang, Stream& stream, StreamError& error) {
  return StreamDecoder(bytes, target, core, gang, stream, error)
      .decode(bytes.size() / NPU_RECORD_BYTES + 1);
}

}  // namespace npu::arch
