// SPDX-License-Identifier: MIT
//
// Reads a fuzzer's bytes as a script. Every value has a meaning and the end of
// the input reads as zeros, so that any bytes are a valid script and short
// ones do something. Two values read in one expression would be read in the
// order that the compiler likes: read them one by one.
#ifndef NPU_TESTS_FUZZ_INPUT_H_
#define NPU_TESTS_FUZZ_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace npu::fuzz {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), left_(size) {}

  bool empty() const { return left_ == 0; }
  uint8_t u8() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  uint16_t u16() {
    const uint8_t low = u8();
    return static_cast<uint16_t>(low | u8() << 8);
  }
  uint32_t u32() {
    const uint32_t low = u16();
    return low | uint32_t{u16()} << 16;
  }
  uint64_t u64() {
    const uint64_t low = u32();
    return low | uint64_t{u32()} << 32;
  }
  // 0 .. count - 1
  uint32_t pick(uint32_t count) { return u8() % count; }
  bool flag() { return (u8() & 1) != 0; }

  // Mostly small, and every edge within one byte's mutation.
  uint64_t number() {
    const uint8_t code = u8();
    if (code < 0xa0) return code;
    if (code < 0xe0) return uint64_t{1} << (code - 0xa0);              // 2^0 .. 2^63
    if (code < 0xf0) return (uint64_t{2} << (2 * (code - 0xe0))) - 1;  // just below
    if (code < 0xf8) return ~uint64_t{0} - (code - 0xf0);
    if (code < 0xfb) return u16();
    if (code < 0xfe) return u32();
    return u64();
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

}  // namespace npu::fuzz

#endif  // NPU_TESTS_FUZZ_INPUT_H_
