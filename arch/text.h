// SPDX-License-Identifier: MIT
#ifndef NPU_ARCH_TEXT_H_
#define NPU_ARCH_TEXT_H_

#include <string>

namespace npu::arch {

// printf into a string of at most 511 characters.
[[gnu::format(printf, 1, 2)]] std::string format_text(const char* format, ...);

}  // namespace npu::arch

#endif  // NPU_ARCH_TEXT_H_
