// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The pre-tokenizer's steps. Each covers a piece with spans, matched or not,
// and a behaviour turns spans into pieces.
#include "pretokenizer.h"

#include "normalizer.h"

#include "ee/utf8.h"

#include <algorithm>

using namespace ee;
using namespace ee::text;

/// Joins `spans` in place as `behavior` says; afterwards `matched` means "to be
/// removed".
static void applyBehavior(SplitBehavior behavior, std::vector<Span> &spans) {
  if (behavior == SplitBehavior::Removed)
    return;
  // From the back, merging with the next is merging with the previous.
  bool backwards = behavior == SplitBehavior::MergedWithNext;
  if (backwards)
    std::reverse(spans.begin(), spans.end());
  size_t kept = 0;
  bool before = false;
  for (Span span : spans) {
    bool join = kept > 0;
    if (behavior == SplitBehavior::Isolated)
      join = false;
    else if (behavior == SplitBehavior::Contiguous)
      join = join && span.matched == before;
    else
      join = join && span.matched && !before;
    before = span.matched;
    if (join) {
      spans[kept - 1].begin = std::min(spans[kept - 1].begin, span.begin);
      spans[kept - 1].end = std::max(spans[kept - 1].end, span.end);
    } else {
      spans[kept++] = {span.begin, span.end, false};
    }
  }
  spans.resize(kept);
  if (backwards)
    std::reverse(spans.begin(), spans.end());
}

static void literalSpans(std::string_view text, std::string_view literal,
                         std::vector<Span> &spans) {
  size_t at = 0;
  for (size_t found; (found = text.find(literal, at)) != text.npos;
       at = found + literal.size()) {
    if (at < found)
      spans.push_back({at, found, false});
    spans.push_back({found, found + literal.size(), true});
  }
  if (at < text.size())
    spans.push_back({at, text.size(), false});
}

static void digitSpans(std::string_view text, std::vector<Span> &spans) {
  for (size_t at = 0; at < text.size();) {
    Utf8Step step = decodeUtf8(text.substr(at));
    bool numeric = isNumeric(step.codePoint);
    if (!numeric && !spans.empty() && !spans.back().matched)
      spans.back().end += step.length;
    else
      spans.push_back({at, at + step.length, numeric});
    at += step.length;
  }
}

namespace {

/// Splits one piece by one step: fills `spans` over `text`.
struct SpanFinder {
  std::string_view &text;
  std::vector<Span> &spans;
  Pieces &pieces;
  MatchScratch &scratch;

  Expected<void> operator()(const SplitStep &step) {
    if (const auto *literal = std::get_if<std::string>(&step.pattern))
      literalSpans(text, *literal, spans);
    else if (Expected<void> found =
                 std::get<Regex>(step.pattern).spans(text, spans, scratch);
             !found)
      return found;
    if (step.invert)
      for (Span &span : spans)
        span.matched = !span.matched;
    applyBehavior(step.behavior, spans);
    return {};
  }

  Expected<void> operator()(const DigitsStep &step) {
    digitSpans(text, spans);
    applyBehavior(step.individual ? SplitBehavior::Isolated
                                  : SplitBehavior::Contiguous,
                  spans);
    return {};
  }

  Expected<void> operator()(const ByteLevelStep &step) {
    if (step.addPrefixSpace && text.front() != ' ') {
      pieces.made.push_back(" ");
      pieces.made.back() += text;
      text = pieces.made.back();
    }
    if (!step.pattern) {
      spans.push_back({0, text.size(), false});
      return {};
    }
    if (Expected<void> found = step.pattern->spans(text, spans, scratch);
        !found)
      return found;
    applyBehavior(SplitBehavior::Isolated, spans);
    return {};
  }
};

} // namespace

Expected<ByteLevelStep> ByteLevelStep::create(bool addPrefixSpace,
                                              bool useRegex) {
  ByteLevelStep step{addPrefixSpace, std::nullopt};
  if (useRegex) {
    // The word pattern that GPT-2's tokenizer was published with.
    Expected<Regex> pattern =
        Regex::compile(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+|)"
                       R"( ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)");
    if (!pattern)
      return pattern.takeFailure();
    step.pattern = std::move(*pattern);
  }
  return step;
}

Expected<void> text::preTokenize(const std::vector<PreTokenizerStep> &steps,
                                 Pieces &pieces, MatchScratch &scratch) {
  std::vector<Span> spans;
  std::vector<std::string_view> next;
  for (const PreTokenizerStep &step : steps) {
    next.clear();
    for (std::string_view text : pieces.views) {
      if (text.empty())
        continue;
      spans.clear();
      if (Expected<void> split =
              std::visit(SpanFinder{text, spans, pieces, scratch}, step);
          !split)
        return split;
      for (const Span &span : spans)
        if (!span.matched && span.begin < span.end)
          next.push_back(text.substr(span.begin, span.end - span.begin));
    }
    pieces.views.swap(next);
  }
  return {};
}
