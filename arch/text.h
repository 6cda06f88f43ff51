// SPDX-License-Identifier: MIT
#ifndef NPU_ARCH_TEXT_H_
#define NPU_ARCH_TEXT_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace npu::arch {

// printf into a string of at most 511 characters.
[[gnu::format(printf, 1, 2)]] std::string format_text(const char* format, ...);

// Text that a file, a process or a device gave, for a terminal: '?' for each control character and
// byte that is not UTF-8, so that it stays what it is, on its line; "..." for what is behind `most`
// bytes.
std::string printable(std::string_view text, size_t most = std::string_view::npos);

}  // namespace npu::arch

#endif  // NPU_ARCH_TEXT_H_
