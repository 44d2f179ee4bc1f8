// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// UTF-8: every code point, and the replacement of what is ill-formed.
#include "ee/utf8.h"

#include <gtest/gtest.h>
#include <random>

using namespace ee;

namespace {

constexpr const char *bad = "\xEF\xBF\xBD";

TEST(Utf8, EveryCodePoint) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000)
      continue;
    std::string text;
    appendUtf8(text, c);
    Utf8Step step = decodeUtf8(text);
    ASSERT_EQ(step.kind, Utf8Step::Kind::Scalar) << uint32_t(c);
    ASSERT_EQ(step.codePoint, c);
    ASSERT_EQ(step.length, text.size());
    ASSERT_EQ(findIllFormedUtf8(text), std::string::npos);
  }
}

// The examples of the Unicode standard, section 3.9, tables 3-8 to 3-11.
TEST(Utf8, ReplacesMaximalSubparts) {
  auto replaced = [](std::string_view text) {
    std::string shown;
    std::string result = replaceIllFormedUtf8(text);
    for (size_t at = 0; at < result.size();) {
      Utf8Step step = decodeUtf8(std::string_view(result).substr(at));
      shown += step.codePoint == 0xFFFD ? '?' : char(step.codePoint);
      at += step.length;
    }
    return shown;
  };
  EXPECT_EQ(replaced("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), "????????A");
  EXPECT_EQ(replaced("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), "????????A");
  EXPECT_EQ(replaced("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"), "?????A??B");
  EXPECT_EQ(replaced("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), "????A");
}

TEST(Utf8, StreamHoldsBackAndGivesUp) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("a\xF0"), "a");
  EXPECT_EQ(stream.push("\x9F\x99"), "");
  EXPECT_EQ(stream.push("\x82!"), "\xF0\x9F\x99\x82!");
  EXPECT_EQ(stream.push("\xE6\x97"), "");
  EXPECT_EQ(stream.push("b"), std::string(bad) + "b");
  EXPECT_EQ(stream.push("\xE6\x97"), "");
  EXPECT_EQ(stream.flush(), bad);
  EXPECT_EQ(stream.flush(), "");
  // What cannot become a code point any more is not held.
  EXPECT_EQ(stream.push("\xE0\x80"), std::string(bad) + bad);
  EXPECT_EQ(stream.push(std::string_view("\0", 1)), std::string("\0", 1));
}

TEST(Utf8, StreamEqualsWhole) {
  std::mt19937 random(1);
  // Bytes that often nearly make a code point.
  const std::string pool = "a\x80\x9F\xA0\xBF\xC2\xC0\xE0\xE6\xED\xEF\xF0\xF4"
                           "\xF5\x8F\x90";
  for (int round = 0; round < 20000; ++round) {
    std::string bytes;
    for (unsigned n = random() % 10; n > 0; --n)
      bytes += pool[random() % pool.size()];
    Utf8Stream stream;
    std::string joined;
    for (size_t at = 0; at < bytes.size();) {
      size_t count = 1 + random() % 3;
      joined += stream.push(std::string_view(bytes).substr(at, count));
      ASSERT_EQ(findIllFormedUtf8(joined), std::string::npos);
      at += count;
    }
    joined += stream.flush();
    ASSERT_EQ(joined, replaceIllFormedUtf8(bytes));
  }
}

} // namespace
