// SPDX-License-Identifier: MIT
//
// What a graph computes, in plain loops over whole tensors: the judge of every
// pass, tiling and command. It shares the element formulas of
// arch/numerics.h with the card and nothing else.
#ifndef NPU_COMPILER_REFERENCE_INTERPRETER_H_
#define NPU_COMPILER_REFERENCE_INTERPRETER_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "compiler/ir/graph.h"

namespace npu::compiler {

using Bytes = std::vector<uint8_t>;

// Inputs in the graph's order, row major; returns the outputs likewise. `poll` is called now and
// then, and may throw.
std::vector<Bytes> interpret(const Graph& graph, const std::vector<Bytes>& inputs,
                             const std::function<void()>& poll = {});

// The same with every value kept, by ValueId; values that nothing makes stay
// empty.
std::vector<Bytes> interpret_all(const Graph& graph, const std::vector<Bytes>& inputs,
                                 const std::function<void()>& poll = {});

}  // namespace npu::compiler

#endif  // NPU_COMPILER_REFERENCE_INTERPRETER_H_
