// SPDX-License-Identifier: MIT
//
// Any bytes as a gang of streams, through everything that reads streams. The
// first byte says how the rest is cut; opcode and engine bytes are repaired as
// often as not, so that the operand checks see work.
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "arch/job_check.h"
#include "arch/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace npu::arch;
  if (size < 2 || size > 64 * NPU_RECORD_BYTES) return 0;
  const npu_target& target = *find_target(data[0] & 1 ? "card" : "edge");
  const size_t gang = 1 + (data[0] >> 1) % target.cores;
  std::vector<std::byte> bytes(size - 1);
  std::memcpy(bytes.data(), data + 1, bytes.size());
  bytes.resize(bytes.size() / (gang * NPU_RECORD_BYTES) * (gang * NPU_RECORD_BYTES));
  for (size_t at = 0; at < bytes.size(); at += NPU_RECORD_BYTES) {
    npu_command_header header;
    std::memcpy(&header, &bytes[at], sizeof(header));
    npu_engine engine;
    if (data[0] & 0x80 && opcode_engine(header.opcode, engine)) {
      header.records = header.records == 2 ? 2 : 1;
      header.engine = static_cast<uint8_t>(engine);
      header.flags = 0;
      std::memcpy(&bytes[at], &header, sizeof(header));
    }
  }
  std::vector<std::span<const std::byte>> streams;
  const size_t each = bytes.size() / gang;
  for (size_t core = 0; core < gang; ++core) streams.emplace_back(bytes.data() + core * each, each);

  JobCheck check(streams, target);
  check.request_timing({});
  while (!check.run(100000)) {
  }
  if ((check.error.status == NPU_STATUS_OK) != check.error.text.empty()) std::abort();
  for (const Stream& stream : check.streams)
    for (const Command& command : stream)
      if (disassemble(command).empty()) std::abort();
  if (check.error.status == NPU_STATUS_OK &&
      (check.timing.cycles == 0 || check.timing.sram_peak_bytes > target.sram_bytes))
    std::abort();
  return 0;
}
