// SPDX-License-Identifier: MIT
#include "arch/text.h"

#include <cstdarg>
#include <cstdio>

namespace npu::arch {

std::string format_text(const char* format, ...) {
  char buffer[512];  // longer text is cut
  std::va_list arguments;
  va_start(arguments, format);
  // clang-tidy 14 loses track of va_start when it is given several files.
  std::vsnprintf(buffer, sizeof(buffer), format, arguments);  // NOLINT(clang-analyzer-valist.*)
  va_end(arguments);
  return buffer;
}

}  // namespace npu::arch
