// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A small tokenizer.json for the tests to use and to break.
#ifndef EE_UNITTESTS_TEXT_TINY_TOKENIZER_H
#define EE_UNITTESTS_TEXT_TINY_TOKENIZER_H

#include "ee/utf8.h"

#include <nlohmann/json.hpp>

/// The 256 bytes in the order of their characters, then merges up to "hello"
/// and "Ġhello", then <s> (special) and <x>.
inline nlohmann::json tinyTokenizer() {
  using nlohmann::json;
  json vocab = json::object();
  auto add = [&](const std::string &token) {
    vocab[token] = int(vocab.size());
  };
  for (char32_t c = 0; c < 0x144; ++c) {
    bool printable =
        (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || c >= 0xAE;
    std::string token;
    ee::appendUtf8(token, c);
    if (printable)
      add(token);
  }
  json merges = json::array();
  auto merge = [&](const char *left, const char *right) {
    add(std::string(left) + right);
    merges.push_back({left, right});
  };
  merge("h", "e");
  merge("l", "l");
  merge("he", "ll");
  merge("hell", "o");
  merge("Ġ", "hello");
  auto added = [](int id, const char *content, bool special) {
    return json{{"id", id},           {"content", content},
                {"special", special}, {"single_word", false},
                {"lstrip", false},    {"rstrip", false},
                {"normalized", false}};
  };
  return {
      {"version", "1.0"},
      {"added_tokens", {added(261, "<s>", true), added(262, "<x>", false)}},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

#endif // EE_UNITTESTS_TEXT_TINY_TOKENIZER_H
