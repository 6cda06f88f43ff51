// SPDX-License-Identifier: MIT
//
// Decoding what a test has built, and expecting why it is refused.
#ifndef NPU_ARCH_TEST_DECODE_H_
#define NPU_ARCH_TEST_DECODE_H_

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "arch/test_commands.h"

namespace npu::arch::test {

inline const npu_target& card() {
  return *find_target("card");
}

struct Decoded {
  bool ok;
  Stream stream;
  StreamError error;
};

using Bytes = std::vector<std::byte>;

inline Decoded decode(const Bytes& bytes) {
  Decoded result;
  result.ok = decode_stream(bytes, card(), 0, 1, result.stream, result.error);
  return result;
}

inline Decoded decode(const StreamBuilder& builder) {
  return decode(builder.bytes());
}

struct BadCase {
  const char* text;  // must occur in the error's text
  Bytes stream;
  npu_status_code status = NPU_STATUS_BAD_COMMAND;
};

template <typename T, typename Spoil>
Bytes spoiled(T command, Spoil spoil) {
  spoil(command);
  StreamBuilder builder;
  builder.append(command);
  return builder.bytes();
}

inline void expect_refused(const std::vector<BadCase>& cases) {
  for (const BadCase& bad : cases) {
    const Decoded result = decode(bad.stream);
    EXPECT_FALSE(result.ok) << bad.text;
    EXPECT_EQ(result.error.status, bad.status) << bad.text << ": " << result.error.text;
    EXPECT_NE(result.error.text.find(bad.text), std::string::npos)
        << "expected \"" << bad.text << "\" in \"" << result.error.text << '"';
  }
}

// Sums of a split layer; with KEEP, without an output.
inline npu_command_mac partial(uint8_t accumulate, uint16_t base, uint16_t out_c = 32) {
  npu_command_mac mac = convolution({8, 8, 16, 8, 8, out_c});
  mac.accumulate = accumulate;
  mac.accumulator_base = base;
  if (accumulate & NPU_ACCUMULATE_KEEP) {
    mac.types = NPU_TYPES(NPU_TYPE_INT8, NPU_TYPE_INT8, 0, 0);
    mac.output = {};
    mac.clamp_low = mac.clamp_high = 0;
    mac.scale_f32 = 0;
  }
  return mac;
}

inline constexpr uint8_t kKeep = NPU_ACCUMULATE_KEEP, kAdd = NPU_ACCUMULATE_ADD;

}  // namespace npu::arch::test

#endif  // NPU_ARCH_TEST_DECODE_H_
