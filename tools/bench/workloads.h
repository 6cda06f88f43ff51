// SPDX-License-Identifier: MIT
//
// Models made for measuring: an empty job, transfers, and one GEMM or
// convolution as the compiler schedules it.
#ifndef NPU_TOOLS_BENCH_WORKLOADS_H_
#define NPU_TOOLS_BENCH_WORKLOADS_H_

#include <cstddef>
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

// A convolution, or a product of a matrix of `width` rows with a constant one:
// uint8 input, int8 weights, uint8 output with one scale and zero points of 0.
// Images have their channels last.
struct Layer {
  static Layer gemm(uint32_t m, uint32_t n, uint32_t k);
  static Layer conv(uint32_t in_c, uint32_t out_c, uint32_t size, uint32_t kernel, uint32_t stride,
                    uint32_t pad);

  std::string name;
  bool product;
  uint32_t height, width, in_c, out_c;
  uint32_t kernel = 1, stride = 1, pad = 0;
  float scale = 1;                   // of a sum; results then fill the output's range
  std::vector<int8_t> weights = {};  // [output channel][ky][kx][input channel], random

  uint32_t out_h() const { return (height + 2 * pad - kernel) / stride + 1; }
  uint32_t out_w() const { return (width + 2 * pad - kernel) / stride + 1; }
  uint64_t terms() const { return uint64_t{kernel} * kernel * in_c; }
  uint64_t macs() const { return uint64_t{out_h()} * out_w() * out_c * terms(); }
};

// The compiled model. Throws ToolError if the card cannot hold it.
std::vector<std::byte> compile_layer(const Layer& layer, const npu_target& target);

// Compares some outputs, spread over all, with a plain computation; returns the
// number that differ.
unsigned check_layer(const Layer& layer, std::span<const uint8_t> input,
                     std::span<const uint8_t> output);

}  // namespace npu::tools

#endif  // NPU_TOOLS_BENCH_WORKLOADS_H_
