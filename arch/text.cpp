// SPDX-License-Identifier: MIT
#include "arch/text.h"

#include <cstdarg>
#include <cstdint>
#include <cstdio>

namespace npu::arch {
namespace {

// Bytes of the character of UTF-8 that `text` begins with; 0 if there is none such, or if it is a
// control character: C0, DEL, C1, and what reverses the direction of writing.
size_t plain_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  if (byte(0) < 0x80) return byte(0) >= 0x20 && byte(0) != 0x7f ? 1 : 0;
  const size_t bytes = byte(0) < 0xc2 ? 0 : byte(0) < 0xe0 ? 2 : byte(0) < 0xf0 ? 3 : 4;
  if (bytes == 0 || byte(0) > 0xf4 || text.size() < bytes) return 0;
  uint32_t code = byte(0) & (0x7fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3f);
  }
  const bool overlong = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  const bool direction = (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
  return overlong || surrogate || direction || code < 0xa0 || code > 0x10ffff ? 0 : bytes;
}

}  // namespace

std::string format_text(const char* format, ...) {
  char buffer[512];  // longer text is cut
  std::va_list arguments;
  va_start(arguments, format);
  // clang-tidy 14 loses track of va_start when it is given several files.
  std::vsnprintf(buffer, sizeof(buffer), format, arguments);  // NOLINT(clang-analyzer-valist.*)
  va_end(arguments);
  return buffer;
}

std::string printable(std::string_view text, size_t most) {
  std::string out;
  while (!text.empty()) {
    if (out.size() >= most) return out + "...";
    const size_t bytes = plain_character(text);
    if (bytes == 0)
      out += '?';
    else
      out += text.substr(0, bytes);
    text.remove_prefix(bytes == 0 ? 1 : bytes);
  }
  return out;
}

}  // namespace npu::arch
