// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Byte-pair encoding of one piece of text: bytes to token ids by ranked merges.
#ifndef EE_TEXT_BPE_H
#define EE_TEXT_BPE_H

#include "ee/tokenizer.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace ee::text {

/// Lets string_view be looked up in a map of strings without a copy.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>()(text);
  }
};
template <typename T>
using StringMap =
    std::unordered_map<std::string, T, StringHash, std::equal_to<>>;

/// A merge of two adjacent symbols into one. Lower ranks go first.
struct Merge {
  TokenId left, right;
  uint32_t rank;
  TokenId merged;
};

class Bpe {
public:
  static constexpr TokenId none = ~TokenId(0);

  /// What the file says of bytes outside of the vocabulary.
  struct Unknown {
    bool present = false; ///< unk_token is not null
    TokenId id = none;    ///< `none` where unk_token is not in the vocabulary
    bool fuse = false;    ///< a run of unknown bytes gives one token
    std::string token;    ///< for the message
  };

  /// `byteIds[b]` is the token of byte b or `none`. `wholePieces`, used with
  /// ignore_merges, maps bytes to the token that takes them at once. Of several
  /// merges of one pair the last in the list counts.
  Bpe(std::array<TokenId, 256> byteIds, std::vector<Merge> merges,
      StringMap<TokenId> wholePieces, Unknown unknown);

  /// Buffers that `encode` uses again and again.
  struct Scratch {
    struct Symbol {
      TokenId id;
      int32_t previous, next; // -1: none
      bool live;
    };
    struct Candidate {
      uint32_t rank;
      int32_t position;
      TokenId merged;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  /// Appends the ids of `piece` (bytes, not empty, below 2 GiB). Fails only
  /// where an unknown byte needs an unk_token that does not exist.
  Expected<void> encode(std::string_view piece, std::vector<TokenId> &ids,
                        Scratch &scratch) const;

private:
  struct Target {
    TokenId right;
    uint32_t rank;
    TokenId merged;
  };
  const Target *find(TokenId left, TokenId right) const;
  Expected<void> addSymbols(std::string_view piece, Scratch &scratch) const;
  void mergeAll(Scratch &scratch) const;

  std::array<TokenId, 256> byteIds;
  // Merges in order of (left, right); those of `left` lie in
  // [rows[left], rows[left + 1]). No hashing, so no crafted collisions.
  std::vector<uint32_t> rows;
  std::vector<Target> targets;
  StringMap<TokenId> wholePieces;
  Unknown unknown;
};

} // namespace ee::text

#endif // EE_TEXT_BPE_H
