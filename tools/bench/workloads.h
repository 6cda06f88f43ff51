// SPDX-License-Identifier: MIT
//
// Models made for measuring: an empty job, transfers, one GEMM, one
// convolution, each with the simplest schedule that keeps the array busy.
#ifndef NPU_TOOLS_BENCH_WORKLOADS_H_
#define NPU_TOOLS_BENCH_WORKLOADS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model_writer.h"
#include "npu/target.h"

namespace npu::tools {

// One NOP; no inputs, one output that nothing writes.
umd::ModelDescription empty_workload(const npu_target& target);

enum class Transfer { kCardRead, kCardWrite, kHostRead, kHostWrite };
const char* transfer_name(Transfer transfer);
// Moves `bytes` (a multiple of 64 KiB) between SRAM and memory.
umd::ModelDescription transfer_workload(const npu_target& target, Transfer transfer,
                                        uint64_t bytes);

// uint8 A[m][k] times int8 B[k][n], requantized to uint8.
struct Gemm {
  uint32_t m, n, k;
  std::string name() const;
  uint64_t macs() const { return uint64_t{m} * n * k; }
};
// uint8 NHWC input, int8 OHWI weights, requantized to uint8.
struct Conv {
  uint32_t in_c, out_c, size, kernel, stride, pad;
  uint32_t out_size() const { return (size + 2 * pad - kernel) / stride + 1; }
  std::string name() const;
  uint64_t macs() const {
    return uint64_t{out_size()} * out_size() * out_c * in_c * kernel * kernel;
  }
};

// Random weights, the same each time. Throw ToolError if the card cannot hold it.
umd::ModelDescription gemm_workload(const npu_target& target, const Gemm& gemm);
umd::ModelDescription conv_workload(const npu_target& target, const Conv& conv);

// Compares some outputs, spread over all, with a plain computation; returns the
// number that differ.
unsigned check_gemm(const Gemm& gemm, const umd::ModelDescription& model,
                    std::span<const uint8_t> input, std::span<const uint8_t> output);
unsigned check_conv(const Conv& conv, const umd::ModelDescription& model,
                    std::span<const uint8_t> input, std::span<const uint8_t> output);

}  // namespace npu::tools

#endif  // NPU_TOOLS_BENCH_WORKLOADS_H_
