// SPDX-License-Identifier: MIT
//
// Who touched which bytes last: from this the waits of every command follow.
#ifndef NPU_COMPILER_EMIT_DEPENDENCY_H_
#define NPU_COMPILER_EMIT_DEPENDENCY_H_

#include <cstdint>
#include <map>

#include "npu/status.h"
#include "npu/target.h"

namespace npu::compiler {

// Whose retirements are counted: an engine of a core of the gang.
struct Executor {
  unsigned core = 0;
  npu_engine engine = NPU_ENGINE_LOAD;
  unsigned index() const { return core * NPU_ENGINE_COUNT + engine; }
};

// Retirement counts that must be reached, by Executor::index().
struct Counts {
  uint32_t of[NPU_MAX_CORES * NPU_ENGINE_COUNT] = {};
  void raise(const Counts& other);
  bool operator==(const Counts&) const = default;
};

// One address space: a core's SRAM, or one region of external memory.
class DependencyTracker {
 public:
  // What an access of [begin, end) must wait for, added to `need`.
  void collect(uint64_t begin, uint64_t end, bool write, Counts& need) const;
  // Records an access by the command that is its engine's `count`th.
  void record(uint64_t begin, uint64_t end, bool write, Executor by, uint32_t count);
  void clear() { segments_.clear(); }

 private:
  struct Segment {
    uint64_t end;
    Counts writes, reads;  // since the last write
  };
  void split(uint64_t at);
  std::map<uint64_t, Segment> segments_;  // by first byte; they do not overlap
};

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_DEPENDENCY_H_
