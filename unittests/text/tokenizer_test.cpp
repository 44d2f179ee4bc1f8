// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The tokenizer's own interface; equality with the reference is tested in
// python/tests/test_tokenizer.py.
#include "ee/tokenizer.h"

#include "tiny_tokenizer.h"

#include <gtest/gtest.h>
#include <thread>

using namespace ee;
using nlohmann::json;

namespace {

Tokenizer load(const json &document) {
  auto tokenizer = Tokenizer::fromJson(document.dump());
  if (!tokenizer)
    throw std::runtime_error(tokenizer.error());
  return *std::move(tokenizer);
}

std::vector<TokenId> encode(const Tokenizer &tokenizer, std::string_view text,
                            EncodeOptions options = {}) {
  auto ids = tokenizer.encode(text, options);
  EXPECT_TRUE(bool(ids)) << ids.error();
  return *ids;
}

TEST(Tokenizer, EncodesAndNames) {
  Tokenizer tokenizer = load(tinyTokenizer());
  EXPECT_EQ(tokenizer.vocabSize(), 263u);
  EXPECT_EQ(tokenizer.idOf("Ġhello"), 260u);
  EXPECT_EQ(tokenizer.idOf("nothing"), std::nullopt);
  EXPECT_EQ(tokenizer.tokenOf(260), "Ġhello");
  EXPECT_EQ(tokenizer.tokenOf(263), std::nullopt);
  EXPECT_EQ(tokenizer.bytesOf(260), " hello");
  EXPECT_TRUE(tokenizer.isSpecial(261));
  EXPECT_FALSE(tokenizer.isSpecial(262));
  EXPECT_EQ(encode(tokenizer, "hello hello<s>"),
            (std::vector<TokenId>{259, 260, 261}));
  EXPECT_EQ(encode(tokenizer, ""), std::vector<TokenId>{});
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{259, 261, 260, 262, 9999}),
            "hello hello<x>");
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{259, 261}, false),
            "hello<s>");
}

TEST(Tokenizer, SpecialTokensAsText) {
  Tokenizer tokenizer = load(tinyTokenizer());
  auto ids = encode(tokenizer, "<s><x>", {.specialTokensAsText = true});
  EXPECT_EQ(ids.back(), 262u);
  EXPECT_EQ(ids.size(), 4u);
}

TEST(Tokenizer, TemplateAddsTokens) {
  json document = tinyTokenizer();
  document["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "begin"}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
        {{"SpecialToken", {{"id", "end"}, {"type_id", 0}}}}}},
      {"special_tokens",
       {{"begin", {{"id", "begin"}, {"ids", {261, 262}}}},
        {"end", {{"id", "end"}, {"ids", {262}}}}}}};
  Tokenizer tokenizer = load(document);
  EXPECT_EQ(encode(tokenizer, "hello"),
            (std::vector<TokenId>{261, 262, 259, 262}));
  EXPECT_EQ(encode(tokenizer, "hello", {.addSpecialTokens = false}),
            (std::vector<TokenId>{259}));
}

TEST(Tokenizer, RefusesBadText) {
  Tokenizer tokenizer = load(tinyTokenizer());
  auto ids = tokenizer.encode("ok\xff");
  ASSERT_FALSE(bool(ids));
  EXPECT_EQ(ids.error(), "the text is not valid UTF-8 at byte 2");
  EXPECT_FALSE(bool(tokenizer.encode("\xed\xa0\x80")));
  EXPECT_FALSE(
      bool(tokenizer.encode(std::string(Tokenizer::maxTextBytes + 1, 'a'))));
}

TEST(Tokenizer, MissingUnknownToken) {
  json document = tinyTokenizer();
  document["model"]["vocab"].erase("z");
  document["model"]["vocab"]["Z2"] = 89; // "z" had it; the ids stay dense
  document["model"]["unk_token"] = "nope";
  Tokenizer tokenizer = load(document);
  EXPECT_TRUE(bool(tokenizer.encode("hello")));
  auto ids = tokenizer.encode("z");
  ASSERT_FALSE(bool(ids));
  EXPECT_NE(ids.error().find("\"nope\""), std::string::npos);
}

TEST(Tokenizer, RefusesEndlessCombiningMarks) {
  json document = tinyTokenizer();
  document["normalizer"] = {{"type", "NFC"}};
  Tokenizer tokenizer = load(document);
  std::string text = "a";
  for (int i = 0; i < 100000; ++i)
    text += i % 2 ? "\u0301" : "\u0323";
  auto ids = tokenizer.encode(text);
  ASSERT_FALSE(bool(ids));
  EXPECT_NE(ids.error().find("combining"), std::string::npos);
}

// One piece of a megabyte must not take quadratic time.
TEST(Tokenizer, LongPiece) {
  Tokenizer tokenizer = load(tinyTokenizer());
  std::string text;
  for (int i = 0; i < 200000; ++i)
    text += "hello";
  auto ids = encode(tokenizer, text);
  EXPECT_EQ(ids, std::vector<TokenId>(200000, 259));
  EXPECT_EQ(tokenizer.decode(ids), text);
}

TEST(Tokenizer, ThreadsAgree) {
  Tokenizer tokenizer = load(tinyTokenizer());
  std::vector<std::vector<TokenId>> results(4);
  std::string text;
  for (int i = 0; i < 2000; ++i)
    text += "hello " + std::to_string(i) + " world";
  std::vector<std::thread> threads;
  for (auto &result : results)
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i)
        result = *tokenizer.encode(text);
    });
  for (std::thread &thread : threads)
    thread.join();
  for (const auto &result : results)
    EXPECT_EQ(result, results[0]);
  EXPECT_EQ(tokenizer.decode(results[0]), text);
}

TEST(StreamDecoder, GivesWholeCodePoints) {
  Tokenizer tokenizer = load(tinyTokenizer());
  auto ids = encode(tokenizer, "é\U0001F642");
  ASSERT_EQ(ids.size(), 6u);
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.push(ids[0]), "");
  EXPECT_EQ(decoder.push(261), ""); // special, skipped
  EXPECT_EQ(decoder.push(ids[1]), "é");
  EXPECT_EQ(decoder.push(ids[2]), "");
  EXPECT_EQ(decoder.push(ids[3]), "");
  EXPECT_EQ(decoder.push(262), "\uFFFD<x>");
  EXPECT_EQ(decoder.push(ids[4]), "\uFFFD");
  EXPECT_EQ(decoder.push(ids[2]), "");
  EXPECT_EQ(decoder.flush(), "\uFFFD");
  EXPECT_EQ(decoder.flush(), "");
}

} // namespace
