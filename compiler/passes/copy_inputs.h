// SPDX-License-Identifier: MIT
//
// Graph inputs that several operators read come over the bus once.
#ifndef NPU_COMPILER_PASSES_COPY_INPUTS_H_
#define NPU_COMPILER_PASSES_COPY_INPUTS_H_

#include "compiler/ir/graph.h"

namespace npu::compiler {

// Copies each input that is read more than once, so that it can stay in SRAM, or else lie in the
// card's memory. Not where an image operator reads it: in stripes those share a single reading.
void copy_repeated_inputs(Graph& graph);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_PASSES_COPY_INPUTS_H_
