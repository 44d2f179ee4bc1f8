// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Test tool: answers tokenizer requests, one JSON object a line, so that a test
// can compare with another implementation. `ee-tokenize tokenizer.json`, then
//   {"text": ..., "special": bool, "plain": bool} -> {"ids": [...]}
//   {"ids": [...], "skip": bool} -> {"text": ..., "stream": [...]}
//   {"size": true} -> {"size": n}
// or {"error": ...}.
#include "ee/tokenizer.h"

#include <iostream>
#include <nlohmann/json.hpp>

using nlohmann::json;

static json answer(const ee::Tokenizer &tokenizer, const json &request) {
  if (request.contains("text")) {
    ee::EncodeOptions options{request.value("special", true),
                              request.value("plain", false)};
    auto ids = tokenizer.encode(request.at("text").get<std::string>(), options);
    return ids ? json{{"ids", *ids}} : json{{"error", ids.error()}};
  }
  if (request.contains("ids")) {
    auto ids = request.at("ids").get<std::vector<ee::TokenId>>();
    bool skip = request.value("skip", true);
    ee::StreamDecoder decoder(tokenizer, skip);
    json stream = json::array();
    for (ee::TokenId id : ids)
      stream.push_back(decoder.push(id));
    stream.push_back(decoder.flush());
    return {{"text", tokenizer.decode(ids, skip)}, {"stream", stream}};
  }
  return {{"size", tokenizer.vocabSize()}};
}

int main(int argc, char **argv) {
  if (argc != 2) {
    std::cerr << "usage: ee-tokenize tokenizer.json\n";
    return 1;
  }
  auto file = ee::File::open(argv[1], ee::Tokenizer::maxFileBytes);
  if (!file) {
    std::cerr << "ee-tokenize: " << file.error() << '\n';
    return 1;
  }
  auto tokenizer = ee::Tokenizer::load(*file);
  if (!tokenizer) {
    std::cerr << "ee-tokenize: " << tokenizer.error() << '\n';
    return 1;
  }
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);)
    std::cout << answer(*tokenizer, json::parse(line)).dump() << '\n'
              << std::flush;
}
