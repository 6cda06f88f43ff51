// SPDX-License-Identifier: MIT
//
// Command streams for the fuzzer: templates that are valid for any parameters a
// script gives them as far as cheaply possible, then changed field by field.
#ifndef NPU_TESTS_FUZZ_COMMANDS_H_
#define NPU_TESTS_FUZZ_COMMANDS_H_

#include <cstdint>
#include <vector>

#include "input.h"

namespace npu::fuzz {

// One stream of a gang of `gang`, at most `most` bytes.
std::vector<uint8_t> make_stream(Input& in, unsigned core, unsigned gang, size_t most);

// Changes a few words of `bytes`, if the script wants it.
void change_words(Input& in, uint8_t* bytes, size_t size);

}  // namespace npu::fuzz

#endif  // NPU_TESTS_FUZZ_COMMANDS_H_
