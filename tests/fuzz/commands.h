// SPDX-License-Identifier: MIT
//
// Commands for the fuzzer: valid for any parameters that a script gives them, as
// far as cheaply possible.
#ifndef NPU_TESTS_FUZZ_COMMANDS_H_
#define NPU_TESTS_FUZZ_COMMANDS_H_

#include <cstdint>

#include "input.h"
#include "npu/command.h"

namespace npu::fuzz {

// 1 .. most
uint16_t extent(Input& in, unsigned most);

npu_command_dma dma_block(Input& in, npu_opcode opcode);
npu_command_dma run_of_bytes(Input& in, npu_opcode opcode);
// `extended`: the extension is part of it.
npu_command_mac mac_command(Input& in, npu_opcode opcode, npu_mac_extension& ext, bool& extended);
npu_command_vec vec_command(Input& in);
npu_command_yield yield_command(Input& in);

}  // namespace npu::fuzz

#endif  // NPU_TESTS_FUZZ_COMMANDS_H_
