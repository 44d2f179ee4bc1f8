// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Splits text into the pieces that the model encodes one by one.
#ifndef EE_TEXT_PRETOKENIZER_H
#define EE_TEXT_PRETOKENIZER_H

#include "split_regex.h"

#include "ee/result.h"

#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace ee::text {

/// What becomes of the parts of a text that a pattern matches.
enum class SplitBehavior {
  Removed,
  Isolated,
  MergedWithPrevious,
  MergedWithNext,
  Contiguous, ///< adjacent matches are one piece
};

/// Splits at a regular expression or a literal string.
struct SplitStep {
  std::variant<Regex, std::string> pattern;
  SplitBehavior behavior;
  bool invert; ///< what lies between the matches counts as the match
};

/// Splits off numeric characters, each by itself or in runs.
struct DigitsStep {
  bool individual;
};

/// The byte-level step. Turning bytes into characters is left to the model,
/// which works on bytes; this adds the space and applies GPT-2's pattern.
struct ByteLevelStep {
  bool addPrefixSpace;
  std::optional<Regex> pattern;

  static Expected<ByteLevelStep> create(bool addPrefixSpace, bool useRegex);
};

using PreTokenizerStep = std::variant<SplitStep, DigitsStep, ByteLevelStep>;

/// Views of the text's pieces, and the texts that had to be made for them.
struct Pieces {
  std::vector<std::string_view> views;
  std::deque<std::string> made;
};

/// Applies the steps in order to each piece. A pattern sees one piece at a time
/// and nothing of its neighbours. Pieces that become empty disappear.
Expected<void> preTokenize(const std::vector<PreTokenizerStep> &steps,
                           Pieces &pieces, MatchScratch &scratch);

} // namespace ee::text

#endif // EE_TEXT_PRETOKENIZER_H
