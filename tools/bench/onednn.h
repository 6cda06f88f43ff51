// SPDX-License-Identifier: MIT
//
// oneDNN as a yardstick, loaded at run time if it is installed.
#ifndef NPU_TOOLS_BENCH_ONEDNN_H_
#define NPU_TOOLS_BENCH_ONEDNN_H_

#include <cstdint>

#include "tools/bench/workloads.h"

namespace npu::tools {

// Median nanoseconds of the same GEMM (uint8 x int8 -> int32) in one thread.
// Throws ToolError if the library is not there.
int64_t onednn_gemm_ns(const Gemm& gemm, unsigned repetitions);

}  // namespace npu::tools

#endif  // NPU_TOOLS_BENCH_ONEDNN_H_
