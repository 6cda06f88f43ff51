// SPDX-License-Identifier: MIT
//
// Field checks of single commands; internal to arch. Each function returns
// false with status and text of the first violation in `violation`.
#ifndef NPU_ARCH_COMMAND_CHECK_H_
#define NPU_ARCH_COMMAND_CHECK_H_

#include <cstdint>
#include <string>

#include "arch/stream.h"

namespace npu::arch {

struct Violation {
  npu_status_code status = NPU_STATUS_BAD_COMMAND;
  uint64_t address = 0;
  std::string text;

  // All return whether the rule holds.
  [[gnu::cold, gnu::format(printf, 2, 3)]] bool fail(const char* format, ...);  // always false
  bool zero(const char* field, uint64_t value) { return value == 0 || not_zero(field, value); }
  bool range(const char* field, int64_t value, int64_t low, int64_t high) {
    return (value >= low && value <= high) || not_in_range(field, value, low, high);
  }
  bool finite(const char* field, uint32_t bits);
  bool finite_positive(const char* field, uint32_t bits);
  bool aligned(const char* field, uint64_t value, uint32_t alignment);
  bool unused(const char* field, const npu_sram_tensor& tensor);
  bool flags(const char* field, uint64_t value, uint64_t known);
  bool not_implemented(const char* what);  // always false
  template <typename T, unsigned kCount>
  bool reserved(const char* field, const T (&words)[kCount]) {
    for (const T word : words)
      if (!zero(field, word)) return false;
    return true;
  }

  // A tensor operand of `rows` x `columns` pixels of `channels` elements, or
  // `batch` of them `batch_stride` apart. What is written must not overlap itself.
  bool tensor(const char* field, const npu_sram_tensor& tensor, uint32_t rows, uint32_t columns,
              uint32_t channels, unsigned type, bool write, uint32_t batch = 1,
              uint32_t batch_stride = 0);
  // `type` is one of int8 and uint8; the message tells types that the encoding
  // has and this card has not.
  bool type8(const char* field, unsigned type);
  bool type_none(const char* field, unsigned type);
  // `low` <= `high`, both values of `type`.
  bool clamp(const char* low_field, int low, const char* high_field, int high, unsigned type);
  bool zero_point(const char* field, int value, unsigned type);

 private:
  [[gnu::cold]] bool not_zero(const char* field, uint64_t value);
  [[gnu::cold]] bool not_in_range(const char* field, int64_t value, int64_t low, int64_t high);
};

// Of position `core` in a gang of `gang`.
bool check_dma(const npu_command_dma& dma, const npu_target& target, unsigned core, unsigned gang,
               Violation& violation);
bool check_mac(const npu_command_mac& mac, const npu_mac_extension& extension,
               const npu_target& target, Violation& violation);
bool check_vec(const npu_command_vec& vec, Violation& violation);

}  // namespace npu::arch

#endif  // NPU_ARCH_COMMAND_CHECK_H_
