// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Byte-level BPE tokenizers in the format of Hugging Face's `tokenizers`
// library (tokenizer.json), giving the same ids and the same text as it does.
#ifndef EE_TOKENIZER_H
#define EE_TOKENIZER_H

#include "ee/file.h"
#include "ee/result.h"
#include "ee/utf8.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ee {

using TokenId = uint32_t;

struct EncodeOptions {
  /// Adds what the file's TemplateProcessing adds (a begin-of-text token, say).
  bool addSpecialTokens = true;
  /// Reads special tokens that stand in the text as the plain text they are
  /// spelt with. For text from people who must not forge a chat turn.
  bool specialTokensAsText = false;
};

/// A tokenizer that never changes once loaded; all members may be called from
/// several threads at once.
///
/// Accepted: model BPE (without dropout, byte fallback, subword prefix or
/// suffix); normalizers NFC and Sequence; pre-tokenizers Split, Digits and
/// Sequence that end in one ByteLevel; decoder ByteLevel; post-processors
/// ByteLevel, TemplateProcessing and Sequence. Anything else is refused by
/// name. Classes of characters follow the Unicode version of the libraries
/// built with (PCRE2, utf8proc): characters that a newer Unicode assigns may be
/// split otherwise than by a newer `tokenizers`.
class Tokenizer {
public:
  /// Bytes of tokenizer.json that are accepted.
  static constexpr size_t maxFileBytes = size_t(64) << 20;
  /// Bytes of text that `encode` accepts in one call.
  static constexpr size_t maxTextBytes = size_t(64) << 20;
  /// Ids must be below this.
  static constexpr TokenId maxTokens = TokenId(1) << 22;

  static Expected<Tokenizer> fromJson(std::string_view json,
                                      std::string_view what = "tokenizer.json");
  static Expected<Tokenizer> load(const File &file);

  Tokenizer(Tokenizer &&) noexcept;
  Tokenizer &operator=(Tokenizer &&) noexcept;
  ~Tokenizer();

  /// The ids of `text`. Fails if it is not well-formed UTF-8 (see
  /// `replaceIllFormedUtf8`), too long, or beyond the limits set to the regular
  /// expression of a Split.
  Expected<std::vector<TokenId>> encode(std::string_view text,
                                        EncodeOptions options = {}) const;

  /// The text of `ids`, always well-formed UTF-8. Ids without a token give
  /// nothing.
  std::string decode(std::span<const TokenId> ids,
                     bool skipSpecialTokens = true) const;

  /// One more than the highest id. There may be ids below without a token.
  TokenId vocabSize() const;
  /// The id of a token as spelt in the file ("Ġthe", "<|im_end|>").
  std::optional<TokenId> idOf(std::string_view token) const;
  /// The token as spelt in the file.
  std::optional<std::string_view> tokenOf(TokenId id) const;
  /// True for a token that `decode` leaves out with `skipSpecialTokens`.
  bool isSpecial(TokenId id) const;
  /// What the token stands for, in bytes; often not UTF-8 by itself. Empty for
  /// an id without a token.
  std::string_view bytesOf(TokenId id) const;

  struct Impl; // opaque

private:
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl;
};

/// Decodes token by token. The pieces together are what `Tokenizer::decode`
/// gives for all ids; no piece ends inside of a code point. The tokenizer must
/// live longer.
class StreamDecoder {
public:
  explicit StreamDecoder(const Tokenizer &tokenizer,
                         bool skipSpecialTokens = true)
      : tokenizer(&tokenizer), skipSpecialTokens(skipSpecialTokens) {}

  /// The text that `id` completes; may be empty.
  std::string push(TokenId id);
  /// The rest: U+FFFD for a code point that was not completed.
  std::string flush() { return stream.flush(); }

private:
  const Tokenizer *tokenizer;
  bool skipSpecialTokens;
  Utf8Stream stream;
};

} // namespace ee

#endif // EE_TOKENIZER_H
