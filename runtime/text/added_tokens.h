// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tokens that are found in the text as they stand, before the model sees it.
#ifndef EE_TEXT_ADDED_TOKENS_H
#define EE_TEXT_ADDED_TOKENS_H

#include "ee/tokenizer.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ee::text {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool singleWord = false; ///< only between characters that are of no word
  bool stripLeft = false;  ///< takes the white space before it along
  bool stripRight = false; ///< takes the white space after it along
  bool normalized = false; ///< looked for in the normalised text
  bool special = false;
};

/// A part of the text: an added token, or text for the model.
struct Segment {
  std::string_view text;
  std::optional<TokenId> token;
};

/// Finds added tokens, leftmost first, the longest of those that start at one
/// place, the first in the list of those with equal patterns.
class AddedTokenMatcher {
public:
  /// Adds `token`, to be found as `pattern` (its content, normalised where the
  /// token says so).
  void add(const AddedToken &token, std::string_view pattern);
  bool empty() const { return tokens.empty(); }

  /// Appends the segments of `text`.
  void split(std::string_view text, bool specialAsText,
             std::vector<Segment> &segments) const;

private:
  struct Node {
    std::vector<std::pair<unsigned char, uint32_t>> next;
    int32_t token = -1;
  };
  struct Found {
    size_t length = 0;
    const AddedToken *token = nullptr;
  };
  Found longestAt(std::string_view text) const;

  std::vector<AddedToken> tokens;
  // Node 0 is the root; its edges are in `first` (0: none) for speed.
  std::vector<Node> nodes = std::vector<Node>(1);
  std::array<uint32_t, 256> first{};
};

} // namespace ee::text

#endif // EE_TEXT_ADDED_TOKENS_H
