// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Bounded JSON: limits are met exactly, and broken text is an error.
#include "ee/json.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

using namespace ee;

namespace {

std::string failure(std::string_view text, JsonLimits limits = {}) {
  auto parsed = parseJson(text, "doc", limits);
  return parsed ? "" : parsed.error();
}

TEST(Json, Parses) {
  auto parsed =
      parseJson(R"({"a": [1, "]]]\"{{", null], "b": {"a": 2.5}})", "doc");
  ASSERT_TRUE(bool(parsed)) << parsed.error();
  EXPECT_EQ((*parsed)["a"][1], "]]]\"{{");
  EXPECT_EQ((*parsed)["b"]["a"], 2.5);
}

TEST(Json, Depth) {
  JsonLimits limits;
  limits.maxDepth = 3;
  EXPECT_EQ(failure("[[[1]]]", limits), "");
  EXPECT_EQ(failure("[[[[1]]]]", limits),
            "doc: JSON nested deeper than 3 is not accepted");
  EXPECT_NE(failure(std::string(1 << 20, '[')), "");
  std::string objects;
  for (int i = 0; i < 100000; ++i)
    objects += "{\"a\":";
  EXPECT_NE(failure(objects), "");
}

TEST(Json, SizeAndCount) {
  JsonLimits limits;
  limits.maxBytes = 5;
  EXPECT_EQ(failure("[1,2]", limits), "");
  EXPECT_NE(failure("[1, 2]", limits), "");
  limits = {};
  limits.maxValues = 4;
  EXPECT_EQ(failure("[1,2]", limits), "");
  EXPECT_NE(failure("[1,2,3,4]", limits), "");
}

TEST(Json, BrokenText) {
  for (std::string_view text :
       {"", "{", "[1,]", "nul", "{\"a\" 1}", "\"\\ud800\"", "\"\xff\"",
        "\"\xed\xa0\x80\"", "[1] 2", "\"a\nb\"", "1e999", "'a'", "NaN"}) {
    std::string message = failure(text);
    EXPECT_EQ(message.rfind("doc: ", 0), 0u) << text;
    EXPECT_EQ(message.find('\n'), std::string::npos) << text;
  }
}

TEST(Json, RepeatedKeys) {
  EXPECT_NE(failure(R"({"a": 1, "b": 2, "a": 3})").find("\"a\" appears twice"),
            std::string::npos);
  EXPECT_NE(failure(R"({"x": [{"a": 1, "\u0061": 3}]})"), "");
  EXPECT_EQ(failure(R"([{"a": 1}, {"a": {"a": 1}}])"), "");
}

} // namespace
