// SPDX-License-Identifier: MIT
//
// Command streams: building them, and decoding them with every check that does
// not need memory contents. Card, compiler, loader and objdump use this one
// checker, so that they agree on what a valid stream is.
#ifndef NPU_ARCH_STREAM_H_
#define NPU_ARCH_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "npu/command.h"
#include "npu/status.h"
#include "npu/target.h"

namespace npu::arch {

// One decoded command. The records are copies: nothing refers to the stream's
// memory after decoding.
struct Command {
  alignas(8) std::byte records[2 * NPU_RECORD_BYTES];

  const npu_command_header& header() const { return as<npu_command_header>(); }
  const npu_command_yield& yield() const { return as<npu_command_yield>(); }
  const npu_command_dma& dma() const { return as<npu_command_dma>(); }
  const npu_command_mac& mac() const { return as<npu_command_mac>(); }
  const npu_command_vec& vec() const { return as<npu_command_vec>(); }
  // All zero if the command has one record.
  const npu_mac_extension& extension() const {
    return *reinterpret_cast<const npu_mac_extension*>(records + NPU_RECORD_BYTES);
  }
  npu_opcode opcode() const { return static_cast<npu_opcode>(header().opcode); }
  npu_engine engine() const { return static_cast<npu_engine>(header().engine); }

 private:
  template <typename T>
  const T& as() const {
    return *reinterpret_cast<const T*>(records);
  }
};

// Why a stream is refused.
struct StreamError {
  npu_status_code status = NPU_STATUS_OK;  // BAD_COMMAND, SRAM_RANGE, HAZARD or DEADLOCK
  uint32_t command = NPU_NO_COMMAND;
  uint8_t engine = NPU_ENGINE_DISPATCH;
  uint8_t core = 0;        // position in the gang
  uint32_t source_op = 0;  // of the command
  uint64_t address = 0;    // SRAM address for SRAM_RANGE and HAZARD
  std::string text;        // one sentence: field, value, rule
};

using Stream = std::vector<Command>;

// Decodes and checks one stream: encoding, operand ranges, SRAM ranges, wait
// rule on the own core, accumulator rules. `bytes` is at most
// NPU_STREAM_MAX_BYTES and a multiple of NPU_RECORD_BYTES, or BAD_COMMAND.
// `core` is the stream's position in a gang of `gang` cores.
// Returns true and fills `stream`, or false and fills `error`.
bool decode_stream(std::span<const std::byte> bytes, const npu_target& target, unsigned core,
                   unsigned gang, Stream& stream, StreamError& error);

// From the first byte of a LOAD's or STORE's external side to behind its last one. It does not
// overflow if no size is 0 and the block fits the SRAM, as in every decoded stream.
inline uint64_t external_extent(const npu_command_dma& dma) {
  uint64_t bytes = uint64_t{1} << dma.element_log2;
  for (int i = 0; i < 4; ++i) bytes += uint64_t{dma.size[i] - 1} * dma.external_stride[i];
  return bytes;
}

// Checks that hold across the streams of a gang: waits on other cores can be
// met in some order (else DEADLOCK), and no two accesses to the same SRAM bytes
// are unordered (else HAZARD; granularity: kHazardGranule bytes). Streams that
// deadlock are checked for hazards up to where they do. HazardDetector in
// arch/hazards.h is the same check command by command.
inline constexpr uint32_t kHazardGranule = 16;
bool check_deadlock(std::span<const Stream> streams, StreamError& error);
bool check_hazards(std::span<const Stream> streams, const npu_target& target, StreamError& error);

// A wait field: `count` retirements of `engine` on `core`.
constexpr uint32_t encode_wait(npu_engine engine, uint32_t count, unsigned core = 0) {
  return count == 0 ? 0
                    : count | uint32_t{engine} << NPU_WAIT_ENGINE_SHIFT |
                          uint32_t{core} << NPU_WAIT_CORE_SHIFT;
}

// Adds a wait to a command. A wait that the command already has for the same
// engine is raised if needed; count 0 adds nothing. False, and nothing changed,
// if all NPU_WAITS fields are taken by others.
bool add_wait(npu_command_header& header, npu_engine engine, uint32_t count, unsigned core = 0);

// Appends commands and keeps the retirement counts that waits refer to.
class StreamBuilder {
 public:
  // Fills in the header's size and engine and gives fields that mean nothing at
  // the command's sizes the value that they must have (command.h); the waits are the caller's.
  // Returns the number of commands of its engine up to and including this one: what a
  // later command waits for.
  uint32_t append(npu_command_dma command);
  uint32_t append(npu_command_mac command);
  uint32_t append(npu_command_mac command, npu_mac_extension extension);
  uint32_t append(npu_command_vec command);
  void append(const npu_command_yield& command);
  void append_nop(const npu_command_header& header = {});

  uint32_t count(npu_engine engine) const { return counts_[engine]; }
  uint32_t commands() const { return commands_; }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  uint32_t append_records(const void* first, const void* second, unsigned opcode);

  std::vector<std::byte> bytes_;
  uint32_t counts_[NPU_ENGINE_COUNT + 1] = {};
  uint32_t commands_ = 0;
};

// One line of text: opcode, operands, waits; for objdump, dumps and messages.
std::string disassemble(const Command& command);

const char* engine_name(unsigned engine);                 // "LOAD", ..., "?" beyond the last
const char* opcode_name(unsigned opcode);                 // "CONV", ..., "?"
const char* status_name(unsigned status);                 // "OK", "MMU_FAULT", ..., "?"
const char* data_type_name(unsigned type);                // "uint8", ..., "?"
unsigned data_type_bits(unsigned type);                   // 0 if unknown
const char* vec_function_name(unsigned function);         // "ADD", ..., "?"
bool opcode_engine(unsigned opcode, npu_engine& engine);  // false if unknown

}  // namespace npu::arch

#endif  // NPU_ARCH_STREAM_H_
