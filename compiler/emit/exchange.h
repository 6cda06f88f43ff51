// SPDX-License-Identifier: MIT
//
// What the cores of a gang bring to each other: every core's SRAM has the same
// map, and of a tensor that they made in parts each has its own.
#ifndef NPU_COMPILER_EMIT_EXCHANGE_H_
#define NPU_COMPILER_EMIT_EXCHANGE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "compiler/emit/emitter.h"
#include "compiler/schedule/gang.h"
#include "compiler/schedule/steps.h"

namespace npu::compiler {

// Who made what of the tensors in SRAM, and what was brought where.
class Exchange {
 public:
  explicit Exchange(unsigned cores) : cores_(cores) {}

  // Brings to `core` what its `part` of a placed layer reads and others made.
  void bring(const Layer& layer, Split split, const Box& part, unsigned core, Emitter& emitter);

  // A placed layer's output, if it stays in SRAM, has been made in `parts`, one for each core;
  // `unit` says in which pieces, one after the other.
  void made(const Layer& layer, Split split, const std::vector<Box>& parts, const Box& unit);

  // A dimension of a tensor: elements [begin, end) of `extent`, `stride` bytes apart.
  struct Axis {
    int64_t extent, stride, begin, end;
    int64_t unit = 0;  // finished at once; 0: all
  };

 private:
  using Region = std::vector<std::pair<int64_t, int64_t>>;  // along each axis; empty: nothing

  struct Piece {
    uint64_t offset = 0;
    std::vector<Axis> axes;                // largest stride first; begin and end without meaning
    std::vector<Region> parts;             // by core
    std::vector<std::vector<Region>> has;  // by core: brought from others

    Region all() const;
    std::optional<std::vector<Axis>> from_here(int64_t before, std::vector<Axis> read) const;
    // What of it may lie among these elements: more than that, if strides do not nest.
    Region holding(const Operand& operand, const std::vector<Axis>& read) const;
  };

  void bring(const Operand& operand, const std::vector<Axis>& read, unsigned core,
             Emitter& emitter);
  static void move(const Piece& piece, const Region& region, unsigned owner, Emitter& emitter);

  const unsigned cores_;
  std::map<int, std::vector<Piece>> pieces_;  // by storage
};

}  // namespace npu::compiler

#endif  // NPU_COMPILER_EMIT_EXCHANGE_H_
