// SPDX-License-Identifier: MIT
//
// Small streams and models for tests.
#ifndef NPU_UMD_TESTING_STREAMS_H_
#define NPU_UMD_TESTING_STREAMS_H_

#include <cstddef>
#include <vector>

#include "arch/stream.h"
#include "model_writer.h"

namespace npu::umd::testing {

// A LOAD or STORE of `bytes` contiguous bytes.
npu_command_dma transfer(npu_opcode opcode, unsigned region, uint64_t offset, uint32_t sram,
                         uint32_t bytes, uint32_t source_op = 0);

// Copies `bytes` from the start of region `from` to the start of region `to`.
std::vector<std::byte> copy_stream(unsigned from, unsigned to, uint32_t bytes);

// One command that does nothing: NOP.
std::vector<std::byte> nop_stream();

// A model with one input and one output of `bytes` uint8 that copies one to the
// other in `jobs` jobs, through scratch memory when there are several.
ModelDescription copy_model(const npu_target& target, uint32_t bytes, unsigned jobs = 1);

}  // namespace npu::umd::testing

#endif  // NPU_UMD_TESTING_STREAMS_H_
