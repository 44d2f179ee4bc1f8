// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Hostile and unsupported tokenizer.json: an error of one line that names the
// field, never a crash.
#include "ee/tokenizer.h"

#include "tiny_tokenizer.h"

#include <gtest/gtest.h>
#include <random>

using namespace ee;
using nlohmann::json;

namespace {

std::string failure(const std::string &text) {
  auto tokenizer = Tokenizer::fromJson(text, "f.json");
  return tokenizer ? "" : tokenizer.error();
}

/// Sets the value at a JSON pointer and expects the error to hold `expected`.
void expectFailure(const char *pointer, const json &value,
                   const char *expected) {
  json document = tinyTokenizer();
  document[json::json_pointer(pointer)] = value;
  std::string message = failure(document.dump());
  EXPECT_NE(message.find(expected), std::string::npos)
      << pointer << " = " << value.dump() << "\n  " << message;
  EXPECT_EQ(message.rfind("f.json: ", 0), 0u) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

TEST(TokenizerErrors, TheTinyOneIsGood) {
  EXPECT_EQ(failure(tinyTokenizer().dump()), "");
}

TEST(TokenizerErrors, UnsupportedComponentsByName) {
  expectFailure("/version", "2.0", "version: version \"2.0\"");
  expectFailure("/truncation", json::object(), "truncation");
  expectFailure("/padding", json::object(), "padding");
  expectFailure("/model/type", "Unigram", "model.type: the model \"Unigram\"");
  expectFailure("/model/byte_fallback", true, "model.byte_fallback");
  expectFailure("/model/dropout", 0.1, "model.dropout");
  expectFailure("/model/continuing_subword_prefix", "##",
                "model.continuing_subword_prefix: \"##\"");
  expectFailure("/model/end_of_word_suffix", "</w>", "\"</w>\"");
  expectFailure("/normalizer", {{"type", "NFKC"}}, "normalizer \"NFKC\"");
  expectFailure("/normalizer",
                {{"type", "Sequence"}, {"normalizers", {{{"type", "Strip"}}}}},
                "normalizer.normalizers[0]: the normalizer \"Strip\"");
  expectFailure("/pre_tokenizer", {{"type", "Metaspace"}},
                "pre-tokenizer \"Metaspace\"");
  expectFailure("/pre_tokenizer", nullptr, "pre_tokenizer");
  expectFailure("/pre_tokenizer",
                {{"type", "Digits"}, {"individual_digits", true}},
                "one \"ByteLevel\" at the end");
  expectFailure("/pre_tokenizer",
                {{"type", "Sequence"}, {"pretokenizers", json::array()}},
                "empty sequence");
  expectFailure("/decoder", {{"type", "Metaspace"}}, "decoder \"Metaspace\"");
  expectFailure("/decoder", nullptr, "decoder");
  expectFailure("/post_processor", {{"type", "RobertaProcessing"}},
                "post-processor \"RobertaProcessing\"");
}

TEST(TokenizerErrors, WrongTypes) {
  for (const char *pointer : {"/version",
                              "/model",
                              "/model/type",
                              "/model/vocab",
                              "/model/merges",
                              "/model/merges/0",
                              "/model/merges/0/0",
                              "/model/vocab/h",
                              "/added_tokens",
                              "/added_tokens/0",
                              "/added_tokens/0/id",
                              "/added_tokens/0/content",
                              "/added_tokens/0/special",
                              "/added_tokens/1/lstrip",
                              "/pre_tokenizer",
                              "/pre_tokenizer/type",
                              "/pre_tokenizer/add_prefix_space",
                              "/decoder",
                              "/decoder/type",
                              "/normalizer",
                              "/post_processor"}) {
    for (const json &wrong :
         {json(3.5), json(json::array({1})), json({{"a", 1}})})
      expectFailure(pointer, wrong, "f.json: ");
  }
  for (const char *text : {"3", "[]", "null", "\"x\"", "{}"})
    EXPECT_NE(failure(text), "") << text;
}

TEST(TokenizerErrors, BadIds) {
  expectFailure("/model/vocab/h", -1, "an integer in [0, 4194304)");
  expectFailure("/model/vocab/h", 5.0, "model.vocab[\"h\"]");
  expectFailure("/model/vocab/h", 4194304, "4194304");
  expectFailure("/model/vocab/h", UINT64_MAX, "4194304");
  expectFailure("/model/vocab/h", 3, "have the same id 3");
  expectFailure("/added_tokens/0/id", -1, "added_tokens[0].id");
  expectFailure("/added_tokens/0/id", 400, "id 261 follows");
  expectFailure("/added_tokens/0/id", 0, "id 261 follows");
  expectFailure("/added_tokens/0/content", "hello", "id 259 follows");
  expectFailure("/added_tokens/1/content", "<s>", "appears twice");
  expectFailure("/added_tokens/0/content", "", "1 to 1024 bytes");
  expectFailure("/added_tokens/0/content", std::string(2000, 'a'), "1024");
  // A number too large for any type, a repeated key.
  std::string text = tinyTokenizer().dump();
  std::string huge = text;
  huge.replace(huge.find("\"id\":261"), 8, "\"id\":1e400");
  EXPECT_NE(failure(huge), "");
  std::string twice = text;
  twice.replace(twice.find("\"id\":261"), 8, "\"id\":261,\"id\":261");
  EXPECT_NE(failure(twice).find("appears twice"), std::string::npos);
}

TEST(TokenizerErrors, BadMerges) {
  expectFailure("/model/merges/0", {"h", "nope"}, "model.merges[0]");
  expectFailure("/model/merges/0", {"e", "h"}, "\"eh\" is not in");
  expectFailure("/model/merges/0", {"h", "e", "l"}, "two tokens");
  expectFailure("/model/merges/1", "l l", "two tokens");
  expectFailure("/model/merges", {"h e", "l"}, "one space");
  expectFailure("/model/merges", {"h e", "l  l"}, "one space");
}

TEST(TokenizerErrors, BadSplits) {
  auto withSplit = [](json split) {
    split["type"] = "Split";
    return json{
        {"type", "Sequence"},
        {"pretokenizers",
         {split, {{"type", "ByteLevel"}, {"add_prefix_space", false}}}}};
  };
  json good = {{"pattern", {{"Regex", "a+"}}},
               {"behavior", "Isolated"},
               {"invert", false}};
  json document = tinyTokenizer();
  document["pre_tokenizer"] = withSplit(good);
  EXPECT_EQ(failure(document.dump()), "");
  auto broken = [&](const char *key, const json &value) {
    json split = good;
    split[key] = value;
    return withSplit(split);
  };
  expectFailure("/pre_tokenizer", broken("behavior", "Sideways"),
                "pretokenizers[0].behavior: \"Sideways\"");
  expectFailure("/pre_tokenizer", broken("pattern", {{"Regex", "(?R)a"}}),
                "pretokenizers[0].pattern.Regex");
  expectFailure("/pre_tokenizer", broken("pattern", {{"Regex", "a*"}}),
                "empty string");
  expectFailure("/pre_tokenizer", broken("pattern", {{"String", ""}}),
                "empty pattern");
  expectFailure("/pre_tokenizer", broken("pattern", json::object()), "pattern");
}

TEST(TokenizerErrors, BadTemplates) {
  json text = {{"Sequence", {{"id", "A"}}}};
  json token = {{"SpecialToken", {{"id", "t"}}}};
  auto with = [](json single, json ids) {
    return json{{"type", "TemplateProcessing"},
                {"single", single},
                {"special_tokens", {{"t", {{"ids", ids}}}}}};
  };
  expectFailure("/post_processor", with({token}, {1}), "without the text");
  expectFailure("/post_processor", with({text, text}, {1}), "once");
  expectFailure("/post_processor", with({{{"Sequence", {{"id", "B"}}}}}, {1}),
                "once");
  expectFailure("/post_processor", with({text, token}, {9999}),
                "no token has the id 9999");
  expectFailure("/post_processor", with({text, token}, {-1}), "ids[0]");
  expectFailure("/post_processor",
                with({text, {{"SpecialToken", {{"id", "u"}}}}}, {1}),
                "special_tokens.u");
}

TEST(TokenizerErrors, DeepNesting) {
  EXPECT_NE(failure(std::string(1 << 20, '[')), "");
  std::string text = tinyTokenizer().dump();
  std::string deep = "\"normalizer\":";
  for (int i = 0; i < 50000; ++i)
    deep += R"({"type":"Sequence","normalizers":[)";
  text.replace(text.find("\"normalizer\":null"), 17, deep);
  EXPECT_NE(failure(text).find("nested deeper"), std::string::npos);
  std::string many = R"({"type":"NFC"})";
  for (int i = 0; i < 20; ++i)
    many = R"({"type":"Sequence","normalizers":[)" + many + "]}";
  json document = tinyTokenizer();
  document["normalizer"] = json::parse(many);
  EXPECT_EQ(failure(document.dump()), "");
}

// Damaged files: whatever happens, it ends in a tokenizer or in an error.
TEST(TokenizerErrors, RandomDamage) {
  std::mt19937 random(3);
  std::string good = tinyTokenizer().dump();
  const std::string bytes = "{}[]\",:-019.eE\\u\xff\x80 ntf";
  int survived = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string text = good;
    for (unsigned n = 1 + random() % 3; n > 0; --n) {
      size_t at = random() % text.size();
      if (random() % 4 == 0)
        text.erase(at, 1 + random() % 40);
      else
        text[at] = bytes[random() % bytes.size()];
    }
    auto tokenizer = Tokenizer::fromJson(text, "f.json");
    if (tokenizer) {
      ++survived;
      EXPECT_TRUE(bool(tokenizer->encode("hello <s> \u00e9")));
    } else {
      EXPECT_EQ(tokenizer.error().find('\n'), std::string::npos);
    }
  }
  EXPECT_LT(survived, 2000);
}

} // namespace
