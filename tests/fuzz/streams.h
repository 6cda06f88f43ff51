// SPDX-License-Identifier: MIT
//
// Command streams for the fuzzer, of commands that are mostly right and then
// changed field by field.
#ifndef NPU_TESTS_FUZZ_STREAMS_H_
#define NPU_TESTS_FUZZ_STREAMS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "input.h"
#include "npu/status.h"

namespace npu::fuzz {

// Commands of each engine, of the cores of a gang made so far.
using Counts = std::vector<std::array<uint32_t, NPU_ENGINE_COUNT>>;

// The stream of the next core of a gang of `gang`, at most `most` bytes.
std::vector<uint8_t> make_stream(Input& in, unsigned gang, size_t most, Counts& counts);

// Changes a few words of `bytes`, if the script wants it.
void change_words(Input& in, uint8_t* bytes, size_t size);

}  // namespace npu::fuzz

#endif  // NPU_TESTS_FUZZ_STREAMS_H_
