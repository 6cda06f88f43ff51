// SPDX-License-Identifier: MIT
#include "arch/text.h"

#include <gtest/gtest.h>

namespace npu::arch {
namespace {

TEST(Printable, KeepsTextAsItIs) {
  for (const char* text : {"", "layer1/conv.0:1", "日本語", "größe", "😀", "\xf4\x8f\xbf\xbf"})
    EXPECT_EQ(printable(text), text);
}

TEST(Printable, ControlCharactersAreReplaced) {
  EXPECT_EQ(printable("a\x1b[2Jb"), "a?[2Jb");
  EXPECT_EQ(printable("a\nb\r\t\x7f"), "a?b???");
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a?b");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "??31m");  // CSI, as one character
  EXPECT_EQ(printable("\xe2\x80\xae"
                      "cba"),
            "???cba");  // right to left
}

TEST(Printable, WhatIsNotUtf8IsReplaced) {
  EXPECT_EQ(printable("\x9b"
                      "31m"),
            "?31m");                                        // CSI, as one byte
  EXPECT_EQ(printable("\xc0\x9b"), "??");                   // overlong
  EXPECT_EQ(printable("\xe0\x82\x9b"), "???");              // overlong
  EXPECT_EQ(printable("\xf0\x80\x82\x9b"), "????");         // overlong
  EXPECT_EQ(printable("\xed\xa0\x80"), "???");              // half of a pair
  EXPECT_EQ(printable("\xf4\x90\x80\x80 \xff"), "???? ?");  // beyond Unicode
  EXPECT_EQ(printable("a\xe6\x97"), "a??");                 // cut off
}

TEST(Printable, LongTextIsCut) {
  EXPECT_EQ(printable("abcdef", 6), "abcdef");
  EXPECT_EQ(printable("abcdefg", 6), "abcdef...");
  EXPECT_EQ(printable("日本語", 4), "日本...");
}

}  // namespace
}  // namespace npu::arch
