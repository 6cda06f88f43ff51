// SPDX-License-Identifier: MIT
//
// Where every value lies in external memory and in what order: regions of the
// job, strides, lifetimes, and the scratch memory shared by lifetime.
#ifndef NPU_COMPILER_PASSES_PLACEMENT_H_
#define NPU_COMPILER_PASSES_PLACEMENT_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "compiler/diagnostics.h"
#include "compiler/ir/graph.h"

namespace npu::compiler {

// A block of external memory that holds one tensor; views share it.
struct Storage {
  uint8_t region = 0;  // index in the job's region table
  uint64_t offset = 0;
  uint64_t bytes = 0;
  // Operators between which the bytes matter (scratch only).
  size_t first_op = 0, last_op = 0;
  bool on_chip = false;  // scratch that a schedule keeps in SRAM: needs no external memory
};

struct Placement {
  int storage = -1;
  int64_t offset = 0;            // bytes from the storage's start
  std::vector<int64_t> strides;  // bytes, per logical axis
};

struct MemoryPlan {
  std::vector<Storage> storages;
  std::vector<Placement> values;  // by ValueId
  // Bytes of constants that operators read as tensors, at the start of the
  // constants region.
  std::vector<uint8_t> constants;
  uint64_t scratch_bytes = 0;

  uint8_t region_of(ValueId id) const {
    return storages[static_cast<size_t>(values[id].storage)].region;
  }
};

// Strides of a row-major tensor of bytes.
std::vector<int64_t> row_major(const Shape& shape);

// Strides of `out` on the bytes of a tensor `in` with `strides`, if there are
// any.
std::optional<std::vector<int64_t>> reshape_strides(const Shape& in,
                                                    const std::vector<int64_t>& strides,
                                                    const Shape& out);

// Lays out the graph, inserting copies where no view can do and what is joined does not lie in its
// place. Region 0 holds constants, 1 scratch, then inputs and outputs in the graph's order.
std::optional<MemoryPlan> plan_memory(Graph& graph, Diagnostics& diagnostics);

// Gives scratch storages their offsets, those that never live at once the same ones. Done by
// plan_memory(), and again once it is known which of them stay on chip.
void pack_scratch(MemoryPlan& plan);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_PASSES_PLACEMENT_H_
