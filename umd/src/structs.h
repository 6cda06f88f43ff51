// SPDX-License-Identifier: MIT
//
// Structs that cross the C interface: they start with struct_size and may be
// shorter or longer than this library's.
#ifndef NPU_UMD_STRUCTS_H_
#define NPU_UMD_STRUCTS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace npu::umd {

// Reads the caller's struct into `out`. Missing bytes are zero; bytes that
// this library does not know must be. `minimum`: size of its first version.
template <typename T>
bool load_struct(const T* from, size_t minimum, T& out) {
  out = T{};
  if (from == nullptr || from->struct_size < minimum || from->struct_size > 4096) return false;
  const size_t known = std::min<size_t>(from->struct_size, sizeof(T));
  std::memcpy(&out, from, known);
  const char* bytes = reinterpret_cast<const char*>(from);
  return std::all_of(bytes + known, bytes + from->struct_size, [](char b) { return b == 0; });
}

// Stores `value` into the caller's struct, whose struct_size stays. Bytes
// beyond what this library knows become zero.
template <typename T>
void store_struct(T& value, T* to, size_t size) {
  value.struct_size = static_cast<uint32_t>(size);
  const size_t known = std::min(size, sizeof(T));
  std::memcpy(static_cast<void*>(to), &value, known);
  std::memset(reinterpret_cast<char*>(to) + known, 0, size - known);
}
template <typename T>
void store_struct(T& value, T* to) {
  store_struct(value, to, to->struct_size);
}

// Copies into a fixed, always terminated text field, cut if too long.
template <size_t N>
void copy_text(char (&to)[N], std::string_view from) {
  const size_t n = std::min(from.size(), N - 1);
  std::memcpy(to, from.data(), n);
  std::memset(to + n, 0, N - n);
}

}  // namespace npu::umd

#endif  // NPU_UMD_STRUCTS_H_
