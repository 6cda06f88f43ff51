// SPDX-License-Identifier: MIT
#include "arch/text.h"

#include <cstdarg>
#include <cstdio>

namespace npu::arch {

std::string format_text(const char* format, ...) {
  char buffer[512];  // longer text is cut
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(buffer, sizeof(buffer), format, arguments);
  va_end(arguments);
  return buffer;
}

}  // namespace npu::arch
