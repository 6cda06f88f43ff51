// SPDX-License-Identifier: MIT
#include "arch/target.h"

#include <gtest/gtest.h>

#include <cstring>

namespace npu::arch {
namespace {

TEST(Target, PresetsAreValid) {
  ASSERT_EQ(all_targets().size(), 2u);
  for (const npu_target& target : all_targets()) EXPECT_EQ(validate_target(target), "");
  EXPECT_EQ(find_target("none"), nullptr);
  const npu_target* card = find_target("card");
  const npu_target* edge = find_target("edge");
  ASSERT_NE(card, nullptr);
  ASSERT_NE(edge, nullptr);
  EXPECT_EQ(card->mac_outputs * card->mac_inputs, 64u * 64);
  EXPECT_EQ(edge->mac_outputs * edge->mac_inputs, 16u * 32);
  EXPECT_EQ(validate_target(configured_target()), "");
}

TEST(Target, EveryParameterIsBounded) {
  // All ones in any one word, reserved ones included, is refused by name.
  const size_t first_word = sizeof(npu_target::name) / 4;
  for (size_t word = first_word; word < NPU_TARGET_WORDS; ++word) {
    npu_target target = *find_target("card");
    const uint32_t ones = ~0u;
    std::memcpy(reinterpret_cast<char*>(&target) + 4 * word, &ones, 4);
    EXPECT_NE(validate_target(target), "") << "word " << word;
  }
}

TEST(Target, NamesTheField) {
  npu_target target = *find_target("card");
  target.mac_inputs = 48;
  EXPECT_NE(validate_target(target).find("mac_inputs"), std::string::npos);
  target = *find_target("card");
  target.sram_bytes = (16u << 20) + 1;
  EXPECT_NE(validate_target(target).find("sram_bytes"), std::string::npos);
  target = *find_target("card");
  target.mac_outputs = target.mac_inputs = 256;
  target.sram_word_bytes = 32;  // 2048 cycles to load the weights
  EXPECT_NE(validate_target(target).find("sram_word_bytes"), std::string::npos);
  target = *find_target("card");
  std::memset(target.name, 'x', sizeof(target.name));
  EXPECT_NE(validate_target(target).find("name"), std::string::npos);
}

}  // namespace
}  // namespace npu::arch
