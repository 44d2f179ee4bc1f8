// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Patterns of tokenizer files: what is accepted, what is refused, and that a
// hostile one costs bounded time. That accepted ones match as the reference
// does is tested against it in python/tests/test_tokenizer.py.
#include "split_regex.h"

#include <gtest/gtest.h>

using namespace ee;
using namespace ee::text;

namespace {

std::string refusal(std::string_view pattern) {
  auto regex = Regex::compile(pattern);
  return regex ? "" : regex.error();
}

std::vector<std::string> matches(std::string_view pattern,
                                 std::string_view text) {
  auto regex = Regex::compile(pattern);
  EXPECT_TRUE(bool(regex)) << regex.error();
  std::vector<Span> spans;
  MatchScratch scratch;
  EXPECT_TRUE(bool(regex->spans(text, spans, scratch)));
  std::vector<std::string> result;
  size_t end = 0;
  for (Span span : spans) {
    EXPECT_EQ(span.begin, end);
    end = span.end;
    if (span.matched)
      result.emplace_back(text.substr(span.begin, span.end - span.begin));
  }
  EXPECT_EQ(end, text.size());
  return result;
}

using Strings = std::vector<std::string>;

TEST(Regex, Matches) {
  EXPECT_EQ(matches("\\p{N}{1,3}", "12345 6"), (Strings{"123", "45", "6"}));
  EXPECT_EQ(matches("(?i:'ll|'d)", "I'LL he'D"), (Strings{"'LL", "'D"}));
  EXPECT_EQ(matches("\\s+(?!\\S)|\\s+", "a   b "), (Strings{"  ", " ", " "}));
  EXPECT_EQ(matches("[^\\s\\p{L}]+", "a-\u00e9\u4e00!?"), (Strings{"-", "!?"}));
  EXPECT_EQ(matches("\\s", "\u180e\u3000"), (Strings{"\u3000"}));
  EXPECT_EQ(matches("\\u4e00|\\x{1F600}", "\u4e00\U0001F600"),
            (Strings{"\u4e00", "\U0001F600"}));
  EXPECT_EQ(matches("a", ""), Strings{});
}

TEST(Regex, RefusesByName) {
  for (const char *pattern :
       {"^a",      "a$",    "(?P<n>a)", "(?R)",           "(*ACCEPT)a",
        "(?i)a",   "a\\b",  "(a)\\1",   "\\Ka",           "\\h",
        "\\Q",     "\\xff", "\\u12",    "\\x{110000000}", "\\p{Foo}",
        "\\pL",    "\\p{L", "[[a]b]",   "[a&&b]",         "[a",
        "[]a]",    "[\\W]", "a{1,2}+",  "a{1,2}?",        "a{,2}",
        "a{1001}", "a{",    "a\\",      "(?C1)a",         "\\C",
        "\\X",     "(?#c)a"}) {
    std::string message = refusal(pattern);
    EXPECT_NE(message.find("not supported"), std::string::npos)
        << pattern << ": " << message;
  }
  EXPECT_NE(refusal("a*").find("empty string"), std::string::npos);
  EXPECT_NE(refusal("(?=a)").find("empty string"), std::string::npos);
  EXPECT_NE(refusal("(a").find("does not compile"), std::string::npos);
  EXPECT_NE(refusal("+a").find("does not compile"), std::string::npos);
  EXPECT_NE(refusal("\xff").find("does not compile"), std::string::npos);
  EXPECT_NE(refusal(std::string(9000, 'a')), "");
  EXPECT_NE(refusal(std::string(2000, '(') + std::string(2000, ')')), "");
  EXPECT_NE(refusal("(?:(?:(?:(?:a{1000}){1000}){1000}){1000})"), "");
}

TEST(Regex, CatastrophicPatternIsAnError) {
  auto regex = Regex::compile("(?:a|a)+(?:a|a)+(?:a|a)+[bc]");
  ASSERT_TRUE(bool(regex));
  std::vector<Span> spans;
  MatchScratch scratch;
  std::string text(5000, 'a');
  auto found = regex->spans(text, spans, scratch);
  ASSERT_FALSE(bool(found));
  EXPECT_NE(found.error().find("limit"), std::string::npos) << found.error();
}

// Longer than the stack of compiled code could follow.
TEST(Regex, LongMatch) {
  std::string text(300000, 'a');
  EXPECT_EQ(matches("(?:a|b)+", text), (Strings{text}));
  EXPECT_EQ(matches("(?:(?:a|b)c?)+", text), (Strings{text}));
}

} // namespace
