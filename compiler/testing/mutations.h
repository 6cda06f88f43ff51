// SPDX-License-Identifier: MIT
//
// How often tests of hostile files try: NPU_MUTATIONS times, from number NPU_MUTATIONS_FROM on
// (a failure tells its number), if they are set.
#ifndef NPU_COMPILER_TESTING_MUTATIONS_H_
#define NPU_COMPILER_TESTING_MUTATIONS_H_

#include <cstdint>
#include <cstdlib>

namespace npu::compiler::testing {

struct Mutations {
  uint32_t first, end;
  uint32_t count() const { return end - first; }
};

inline Mutations mutations(uint32_t usual) {
  const auto number = [](const char* name, uint32_t otherwise) {
    const char* text = std::getenv(name);
    return text != nullptr ? static_cast<uint32_t>(std::strtoul(text, nullptr, 10)) : otherwise;
  };
  const uint32_t first = number("NPU_MUTATIONS_FROM", 0);
  return {first, first + number("NPU_MUTATIONS", usual)};
}

}  // namespace npu::compiler::testing

#endif  // NPU_COMPILER_TESTING_MUTATIONS_H_
