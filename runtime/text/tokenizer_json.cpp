// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reads tokenizer.json. The file is untrusted: each field is checked before it
// is used, and what is not supported is refused by name instead of ignored.
#include "byte_level.h"
#include "normalizer.h"
#include "tokenizer_impl.h"

#include "ee/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <unordered_set>

using namespace ee;
using namespace ee::text;
using nlohmann::json;

namespace {

constexpr size_t maxAddedTokenBytes = 1024;
constexpr size_t maxSteps = 64;

/// Thrown inside of this file only; the message lacks the file's name.
struct Refused : std::runtime_error {
  using runtime_error::runtime_error;
};

[[noreturn]] void refuse(const std::string &where, const std::string &why) {
  throw Refused(where + ": " + why);
}

template <typename T> T valueOrRefuse(Expected<T> value, std::string where) {
  if (!value)
    refuse(where, value.error());
  return std::move(*value);
}

/// A place in the document, with the path that leads to it for messages.
struct Field {
  const json *value; ///< null where the field is missing
  std::string path;

  bool absent() const { return !value || value->is_null(); }

  Field operator[](std::string_view key) const {
    std::string below = path.empty() ? "" : path + ".";
    return {find(key), below += key};
  }
  Field operator[](size_t index) const {
    return {&(*value)[index], path + "[" + std::to_string(index) + "]"};
  }

  const json::object_t &object() const {
    if (!value || !value->is_object())
      refuse(path, "a JSON object is expected");
    return value->get_ref<const json::object_t &>();
  }
  size_t arraySize() const {
    if (!value || !value->is_array())
      refuse(path, "a JSON array is expected");
    return value->size();
  }
  const std::string &string() const {
    if (!value || !value->is_string())
      refuse(path, "a string is expected");
    return value->get_ref<const std::string &>();
  }
  bool boolean() const {
    if (!value || !value->is_boolean())
      refuse(path, "true or false is expected");
    return value->get<bool>();
  }
  bool boolean(bool byDefault) const {
    return absent() ? byDefault : boolean();
  }
  TokenId tokenId() const {
    // Integers only: 3.0 is no id for the reference either.
    if (!value || !isTokenId(*value))
      refuse(path, "an integer in [0, " + std::to_string(Tokenizer::maxTokens) +
                       ") is expected");
    return TokenId(value->get<uint64_t>());
  }
  static bool isTokenId(const json &value) {
    return value.is_number_unsigned() &&
           value.get<uint64_t>() < Tokenizer::maxTokens;
  }
  const std::string &type() const { return (*this)["type"].string(); }

private:
  const json *find(std::string_view key) const {
    const json::object_t &members = object();
    auto found = members.find(key);
    return found == members.end() ? nullptr : &found->second;
  }
};

[[noreturn]] void unsupported(const Field &field, const std::string &what,
                              const std::string &accepted) {
  refuse(field.path, what + " is not supported; " + accepted + " accepted");
}

class Loader {
public:
  Loader(Field root, Tokenizer::Impl &impl)
      : root(std::move(root)), impl(impl) {}

  void run() {
    root.object();
    if (Field version = root["version"];
        !version.absent() && version.string() != "1.0")
      unsupported(version, "version " + inQuotes(version.string()),
                  "\"1.0\" is");
    if (Field truncation = root["truncation"]; !truncation.absent())
      unsupported(truncation, "truncation", "null is");
    if (Field padding = root["padding"]; !padding.absent())
      unsupported(padding, "padding", "null is");
    model(root["model"]);
    if (Field field = root["normalizer"]; !field.absent())
      normalizer(field);
    addedTokens(root["added_tokens"]);
    Field preTokenizer = root["pre_tokenizer"];
    if (preTokenizer.absent())
      unsupported(preTokenizer, "a tokenizer without one", "ByteLevel is");
    preTokenizerStep(preTokenizer);
    checkByteLevelLast(preTokenizer);
    decoder(root["decoder"]);
    if (Field field = root["post_processor"]; !field.absent())
      postProcessor(field);
  }

private:
  void addEntry(const Field &field, const std::string &spelling, TokenId id) {
    if (id >= impl.entryOf.size())
      impl.entryOf.resize(size_t(id) + 1, Tokenizer::Impl::noEntry);
    if (const Tokenizer::Impl::Entry *other = impl.find(id))
      refuse(field.path, "the tokens " + inQuotes(other->spelling) + " and " +
                             inQuotes(spelling) + " have the same id " +
                             std::to_string(id));
    impl.entryOf[id] = uint32_t(impl.entries.size());
    // A token with a character outside of the alphabet decodes to itself.
    impl.entries.push_back(
        {spelling, byteLevelBytes(spelling).value_or(spelling), false});
    impl.idOf.emplace(spelling, id);
  }

  void model(const Field &field) {
    field.object();
    // Files written by old versions have no type; merges tell BPE.
    Field type = field["type"];
    if (!type.absent() && type.string() != "BPE")
      unsupported(type, "the model " + inQuotes(type.string()), "\"BPE\" is");
    if (Field dropout = field["dropout"];
        !dropout.absent() &&
        !(dropout.value->is_number() && dropout.value->get<double>() == 0))
      unsupported(dropout, "dropout", "null is");
    for (const char *key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (Field affix = field[key]; !affix.absent() && !affix.string().empty())
        unsupported(affix, inQuotes(affix.string()), "null is");
    if (Field fallback = field["byte_fallback"]; fallback.boolean(false))
      unsupported(fallback, "byte fallback", "false is");

    Field vocab = field["vocab"];
    for (const auto &[token, id] : vocab.object())
      addEntry(vocab, token, [&] {
        // Paths are made for errors only; there are many tokens.
        if (Field::isTokenId(id))
          return TokenId(id.get<uint64_t>());
        return Field{&id, vocab.path + "[" + inQuotes(token) + "]"}.tokenId();
      }());
    modelTokens = impl.entries.size();

    std::array<TokenId, 256> byteIds;
    for (unsigned byte = 0; byte < 256; ++byte) {
      std::string spelling;
      appendUtf8(spelling, byteLevelChar(uint8_t(byte)));
      byteIds[byte] = idOf(spelling).value_or(Bpe::none);
    }
    Bpe::Unknown unknown;
    if (Field unk = field["unk_token"]; !unk.absent())
      unknown = {true, idOf(unk.string()).value_or(Bpe::none),
                 field["fuse_unk"].boolean(false), unk.string()};
    StringMap<TokenId> wholePieces;
    if (field["ignore_merges"].boolean(false))
      for (const auto &[token, id] : impl.idOf)
        if (auto bytes = byteLevelBytes(token); bytes && !bytes->empty())
          wholePieces.emplace(std::move(*bytes), id);
    impl.bpe.emplace(byteIds, merges(field["merges"]), std::move(wholePieces),
                     std::move(unknown));
  }

  std::optional<TokenId> idOf(std::string_view token) const {
    auto found = impl.idOf.find(token);
    if (found == impl.idOf.end())
      return std::nullopt;
    return found->second;
  }

  /// All of the list are "a b", as files had it once, or all are ["a", "b"].
  std::vector<Merge> merges(const Field &field) const {
    std::vector<Merge> result;
    size_t count = field.arraySize();
    bool joined = count > 0 && field[size_t(0)].value->is_string();
    for (size_t i = 0; i < count; ++i) {
      // Paths are made for errors only; there are many merges.
      const json &merge = (*field.value)[i];
      std::string_view left, right;
      bool good;
      if (joined) {
        std::string_view pair;
        if (merge.is_string())
          pair = merge.get_ref<const std::string &>();
        // The first line of a merges.txt; it has no rank.
        if (pair.starts_with("#version"))
          continue;
        size_t space = pair.find(' ');
        good = space != pair.npos && pair.find(' ', space + 1) == pair.npos;
        left = pair.substr(0, space);
        right = good ? pair.substr(space + 1) : "";
      } else {
        good = merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string();
        if (good) {
          left = merge[0].get_ref<const std::string &>();
          right = merge[1].get_ref<const std::string &>();
        }
      }
      if (!good)
        refuse(field[i].path, joined ? "a text of two tokens with one space "
                                       "between them is expected"
                                     : "an array of two tokens is expected");
      auto idOrRefuse = [&](std::string_view token) {
        std::optional<TokenId> id = idOf(token);
        if (!id)
          refuse(field[i].path,
                 "the token " + inQuotes(token) + " is not in the vocabulary");
        return *id;
      };
      std::string merged(left);
      merged += right;
      result.push_back({idOrRefuse(left), idOrRefuse(right),
                        uint32_t(result.size()), idOrRefuse(merged)});
    }
    return result;
  }

  void normalizer(const Field &field) {
    const std::string &type = field.type();
    if (type == "NFC") {
      impl.nfc = true;
    } else if (type == "Sequence") {
      Field members = field["normalizers"];
      for (size_t i = 0, e = members.arraySize(); i < e; ++i)
        normalizer(members[i]);
    } else {
      unsupported(field, "the normalizer " + inQuotes(type),
                  "\"NFC\" and \"Sequence\" are");
    }
  }

  void addedTokens(const Field &field) {
    if (field.absent())
      return;
    std::vector<AddedToken> tokens;
    std::unordered_set<std::string> contents;
    std::optional<TokenId> highest;
    for (size_t i = 0, e = field.arraySize(); i < e; ++i) {
      Field member = field[i];
      AddedToken token;
      token.id = member["id"].tokenId();
      token.content = member["content"].string();
      token.singleWord = member["single_word"].boolean();
      token.stripLeft = member["lstrip"].boolean();
      token.stripRight = member["rstrip"].boolean();
      token.normalized = member["normalized"].boolean();
      token.special = member["special"].boolean();
      if (token.content.empty() || token.content.size() > maxAddedTokenBytes)
        refuse(member.path + ".content",
               "a text of 1 to " + std::to_string(maxAddedTokenBytes) +
                   " bytes is expected");
      if (!contents.insert(token.content).second)
        refuse(member.path,
               "the added token " + inQuotes(token.content) + " appears twice");
      // A new token gets the id after all others whatever the file says, so
      // a file that says otherwise means two things at once.
      TokenId expected = idOf(token.content)
                             .value_or(std::max(TokenId(modelTokens),
                                                highest ? *highest + 1 : 0));
      if (token.id != expected)
        refuse(member.path, "the added token " + inQuotes(token.content) +
                                " has id " + std::to_string(token.id) +
                                "; id " + std::to_string(expected) +
                                " follows from the rest of the file");
      if (!idOf(token.content))
        addEntry(member, token.content, token.id);
      highest = std::max(highest.value_or(0), token.id);
      tokens.push_back(std::move(token));
    }
    std::unordered_set<std::string> specials;
    for (const AddedToken &token : tokens)
      if (token.special)
        specials.insert(token.content);
    // Where two patterns are equal the special token is found.
    for (bool special : {true, false}) {
      for (const AddedToken &token : tokens) {
        if (token.special != special)
          continue;
        std::string pattern = patternOf(field, token);
        (token.normalized ? impl.normalizedTokens : impl.rawTokens)
            .add(token, pattern);
        // The reference decodes to the pattern, and looks for that among the
        // special tokens.
        Tokenizer::Impl::Entry &entry = impl.entries[impl.entryOf[token.id]];
        entry.bytes = byteLevelBytes(pattern).value_or(pattern);
        entry.special = specials.contains(pattern);
      }
    }
  }

  /// How the text is searched for the token.
  std::string patternOf(const Field &field, const AddedToken &token) {
    if (token.normalized && impl.nfc)
      return valueOrRefuse(toNfc(token.content), field.path);
    return token.content;
  }

  void preTokenizerStep(const Field &field) {
    const std::string &type = field.type();
    if (impl.steps.size() >= maxSteps)
      refuse(field.path, "more than " + std::to_string(maxSteps) +
                             " pre-tokenizers are not accepted");
    if (type == "Sequence") {
      Field members = field["pretokenizers"];
      for (size_t i = 0, e = members.arraySize(); i < e; ++i)
        preTokenizerStep(members[i]);
    } else if (type == "ByteLevel") {
      impl.steps.push_back(valueOrRefuse(
          ByteLevelStep::create(field["add_prefix_space"].boolean(),
                                field["use_regex"].boolean(true)),
          field.path));
    } else if (type == "Digits") {
      impl.steps.push_back(DigitsStep{field["individual_digits"].boolean()});
    } else if (type == "Split") {
      impl.steps.push_back(split(field));
    } else {
      unsupported(field, "the pre-tokenizer " + inQuotes(type),
                  "\"ByteLevel\", \"Digits\", \"Split\" and \"Sequence\" are");
    }
  }

  SplitStep split(const Field &field) {
    static constexpr std::pair<const char *, SplitBehavior> behaviors[] = {
        {"Removed", SplitBehavior::Removed},
        {"Isolated", SplitBehavior::Isolated},
        {"MergedWithPrevious", SplitBehavior::MergedWithPrevious},
        {"MergedWithNext", SplitBehavior::MergedWithNext},
        {"Contiguous", SplitBehavior::Contiguous}};
    Field behavior = field["behavior"];
    auto found = std::find_if(
        std::begin(behaviors), std::end(behaviors),
        [&](const auto &known) { return behavior.string() == known.first; });
    if (found == std::end(behaviors))
      unsupported(behavior, inQuotes(behavior.string()),
                  "\"Removed\", \"Isolated\", \"MergedWithPrevious\", "
                  "\"MergedWithNext\" and \"Contiguous\" are");
    bool invert = field["invert"].boolean();
    Field pattern = field["pattern"];
    if (Field literal = pattern["String"]; literal.value) {
      if (literal.string().empty())
        unsupported(literal, "an empty pattern", "at least one byte is");
      return {literal.string(), found->second, invert};
    }
    Field regex = pattern["Regex"];
    return {valueOrRefuse(Regex::compile(regex.string()), regex.path),
            found->second, invert};
  }

  /// The model works on bytes, so ByteLevel must come once, and last.
  void checkByteLevelLast(const Field &field) {
    for (size_t i = 0; i < impl.steps.size(); ++i) {
      bool isLast = i + 1 == impl.steps.size();
      if (std::holds_alternative<ByteLevelStep>(impl.steps[i]) != isLast)
        unsupported(field, "this order of pre-tokenizers",
                    "one \"ByteLevel\" at the end is");
    }
    if (impl.steps.empty())
      unsupported(field, "an empty sequence",
                  "one \"ByteLevel\" at the end is");
  }

  void decoder(const Field &field) {
    if (field.absent())
      unsupported(field, "a tokenizer without one", "\"ByteLevel\" is");
    if (const std::string &type = field.type(); type != "ByteLevel")
      unsupported(field, "the decoder " + inQuotes(type), "\"ByteLevel\" is");
  }

  void postProcessor(const Field &field) {
    const std::string &type = field.type();
    if (type == "Sequence") {
      Field members = field["processors"];
      for (size_t i = 0, e = members.arraySize(); i < e; ++i)
        postProcessor(members[i]);
    } else if (type == "TemplateProcessing") {
      if (haveTemplate)
        unsupported(field, "a second TemplateProcessing", "one is");
      haveTemplate = true;
      templateTokens(field);
    } else if (type != "ByteLevel") {
      // ByteLevel moves offsets only, which we do not report.
      unsupported(field, "the post-processor " + inQuotes(type),
                  "\"ByteLevel\", \"TemplateProcessing\" and \"Sequence\" are");
    }
  }

  /// The template of a single sequence: tokens, the text as "A", tokens.
  void templateTokens(const Field &field) {
    Field single = field["single"];
    bool seenText = false;
    for (size_t i = 0, e = single.arraySize(); i < e; ++i) {
      Field part = single[i];
      if (Field sequence = part["Sequence"]; sequence.value) {
        if (seenText || sequence["id"].string() != "A")
          unsupported(sequence, "this sequence", "\"A\", once, is");
        seenText = true;
        continue;
      }
      const std::string &name = part["SpecialToken"]["id"].string();
      Field ids = field["special_tokens"][name]["ids"];
      for (size_t j = 0, count = ids.arraySize(); j < count; ++j) {
        TokenId id = ids[j].tokenId();
        if (!impl.find(id))
          refuse(ids[j].path, "no token has the id " + std::to_string(id));
        (seenText ? impl.after : impl.before).push_back(id);
      }
    }
    if (!seenText)
      unsupported(single, "a template without the text", "\"A\", once, is");
  }

  Field root;
  Tokenizer::Impl &impl;
  size_t modelTokens = 0;
  bool haveTemplate = false;
};

} // namespace

Expected<std::unique_ptr<const Tokenizer::Impl>>
Tokenizer::Impl::load(std::string_view text, std::string_view what) {
  JsonLimits limits;
  limits.maxBytes = maxFileBytes;
  Expected<json> document = parseJson(text, what, limits);
  if (!document)
    return document.takeFailure();
  auto impl = std::make_unique<Impl>();
  try {
    Loader(Field{&*document, ""}, *impl).run();
  } catch (const Refused &refused) {
    return Failure{std::string(what) + ": " + refused.what()};
  }
  return std::unique_ptr<const Impl>(std::move(impl));
}
