// SPDX-License-Identifier: MIT
//
// Decodes a stream a few commands at a time; internal to arch. decode_stream()
// is this in one go.
#ifndef NPU_ARCH_STREAM_DECODER_H_
#define NPU_ARCH_STREAM_DECODER_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "arch/command_check.h"
#include "arch/sram_access.h"
#include "arch/stream.h"

namespace npu::arch {

class StreamDecoder {
 public:
  // Appends to `stream`; all references must outlive the decoder.
  StreamDecoder(std::span<const std::byte> bytes, const npu_target& target, unsigned core,
                unsigned gang, Stream& stream, StreamError& error);

  // Takes up to `commands` more. False: refused, and `error` says why.
  bool decode(size_t commands);
  bool finished() const { return at_ == bytes_.size(); }
  // Of the commands taken: highest SRAM address touched + 1.
  uint32_t sram_peak_bytes() const { return sram_peak_bytes_; }

 private:
  // What an accumulator bank holds at a point of the stream.
  struct Bank {
    bool holds_sums = false;
    npu_command_mac producer = {};
  };

  bool check_size();
  bool decode_one();
  bool check(const Command& command);
  bool check_header(const npu_command_header& header);
  bool check_waits(const npu_command_header& header);
  bool check_operands(const Command& command);
  bool check_canonical(const Command& command);
  bool check_sequencer(const Command& command);
  bool check_accumulators(const Command& command);
  bool check_sram_range(const Command& command);
  [[gnu::cold]] bool refuse(uint32_t index, const npu_command_header& header);

  const std::span<const std::byte> bytes_;
  const npu_target& target_;
  const unsigned core_, gang_;
  Stream& stream_;
  StreamError& error_;
  size_t at_ = 0;  // bytes decoded
  uint32_t sram_peak_bytes_ = 0;
  Violation violation_;  // of the command that is refused
  uint32_t counts_[NPU_ENGINE_COUNT + 1] = {};
  Bank banks_[2];
  std::vector<SramAccess> accesses_;
};

}  // namespace npu::arch

#endif  // NPU_ARCH_STREAM_DECODER_H_
