// SPDX-License-Identifier: MIT
//
// Device coredumps of the npu driver, laid out as drm/npu_coredump.h says. The
// file may be damaged, and what it holds of user memory may be anything.
#ifndef NPU_TOOLS_OBJDUMP_COREDUMP_H_
#define NPU_TOOLS_OBJDUMP_COREDUMP_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arch/stream.h"
#include "drm/npu_coredump.h"
#include "npu/queue.h"
#include "npu/target.h"
#include "tools/common/json_output.h"

namespace npu::tools {

struct Coredump {
  struct Slot {
    npu_packet packet;
    npu_completion completion;
  };
  struct Ring {
    uint32_t hwq = 0;
    uint64_t producer = 0, consumer = 0, first = 0;
    std::vector<Slot> slots;
  };
  struct Register {
    uint32_t offset = 0;
    uint32_t value = 0;
  };

  drm_npu_dump_event event = {};
  std::optional<npu_target> target;
  std::vector<Register> registers;
  std::optional<Ring> ring;
  uint64_t walk_va = 0;
  std::vector<uint64_t> walk;  // empty: none
  uint64_t regions_va = 0;
  std::vector<uint64_t> regions;
  uint64_t stream_va = 0;
  std::vector<std::byte> stream;
};

// Throws ToolError; `name` is for its message.
Coredump parse_coredump(std::span<const std::byte> data, const std::string& name);

// A command as it lies in memory, whether the card takes it or not.
struct RawCommand {
  uint32_t index = 0;
  arch::Command command = {};
};
std::vector<RawCommand> raw_commands(std::span<const std::byte> stream);

// What arch's checker, the card's own, has against the dumped commands; empty: nothing.
std::string stream_problem(const Coredump& dump);

// `all_commands`: not only those around the guilty one.
std::string coredump_text(const Coredump& dump, bool all_commands);
Json coredump_json(const Coredump& dump, bool all_commands);

}  // namespace npu::tools

#endif  // NPU_TOOLS_OBJDUMP_COREDUMP_H_
