// SPDX-License-Identifier: MIT
#ifndef NPU_COMPILER_PARALLEL_H_
#define NPU_COMPILER_PARALLEL_H_

#include <cstddef>
#include <functional>

namespace npu::compiler {

// Calls body(i) for every i below `count`, each once, on as many threads as there are
// processors. If one throws, no more are begun and the exception is passed on.
void for_each_index(size_t count, const std::function<void(size_t)>& body);

}  // namespace npu::compiler

#endif  // NPU_COMPILER_PARALLEL_H_
