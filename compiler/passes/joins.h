// SPDX-License-Identifier: MIT
//
// A value lies inside the result of a Concat that holds the same bytes anyway: a part, a Concat
// that is a part of another one, a Concat whose parts are a run of another one's. Then no byte is
// moved.
#ifndef NPU_COMPILER_PASSES_JOINS_H_
#define NPU_COMPILER_PASSES_JOINS_H_

#include <cstdint>
#include <vector>

#include "compiler/ir/graph.h"

namespace npu::compiler {

// Elements from `start` on along the axis of the Concat that makes `whole`.
struct Home {
  ValueId whole = kNoValue;  // kNoValue: none
  int64_t start = 0;
};

// By ValueId; whole within whole ends at one that has no home. `may_lie_inside`: by ValueId, which
// values can be placed freely. What lies in a graph output, of those in `is_output`, is read by
// Concats only, as that is far.
std::vector<Home> find_homes(const Graph& graph, const std::vector<bool>& may_lie_inside,
                             const std::vector<bool>& is_output);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_PASSES_JOINS_H_
