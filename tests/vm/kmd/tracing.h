// SPDX-License-Identifier: MIT
#ifndef NPU_TESTS_VM_KMD_TRACING_H_
#define NPU_TESTS_VM_KMD_TRACING_H_

#include <string>

namespace kmd {

// The kernel's tracer, mounted if it was not: a folder, with "/" at its end.
std::string tracing_folder();

}  // namespace kmd

#endif  // NPU_TESTS_VM_KMD_TRACING_H_
