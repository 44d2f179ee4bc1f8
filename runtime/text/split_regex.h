// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Regular expressions of a tokenizer's Split, run by PCRE2 within limits.
#ifndef EE_TEXT_SPLIT_REGEX_H
#define EE_TEXT_SPLIT_REGEX_H

#include "ee/result.h"

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ee::text {

/// A part of a text that a pattern matches or leaves between matches.
struct Span {
  size_t begin, end;
  bool matched;
};

/// `pattern`, written for Oniguruma in its Ruby syntax as tokenizer files do,
/// in PCRE2's syntax with the same meaning. Constructs whose meaning differs or
/// that could run for ever are refused by name.
Expected<std::string> translatePattern(std::string_view pattern);

/// Memory for matching; one for each thread that matches.
class MatchScratch {
public:
  MatchScratch();
  ~MatchScratch();
  MatchScratch(const MatchScratch &) = delete;
  MatchScratch &operator=(const MatchScratch &) = delete;

private:
  friend class Regex;
  void *data;
};

/// A compiled pattern. Matching changes nothing in it.
class Regex {
public:
  /// Compiles a pattern of a tokenizer file. One that can match the empty
  /// string is refused.
  static Expected<Regex> compile(std::string_view pattern);

  /// Covers `text`, which is well-formed UTF-8, with spans in order. Fails when
  /// the match limit is hit.
  Expected<void> spans(std::string_view text, std::vector<Span> &out,
                       MatchScratch &scratch) const;

private:
  struct Code;
  explicit Regex(std::shared_ptr<const Code> code) : code(std::move(code)) {}
  std::shared_ptr<const Code> code;
};

} // namespace ee::text

#endif // EE_TEXT_SPLIT_REGEX_H
