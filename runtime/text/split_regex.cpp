// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// PCRE2 behind the tokenizer's regular expressions.
#include "split_regex.h"

#include "ee/file.h"

#include <new>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

using namespace ee;
using namespace ee::text;

struct Regex::Code {
  pcre2_code *code = nullptr;
  pcre2_match_context *limits = nullptr;

  Code() = default;
  Code(const Code &) = delete;
  Code &operator=(const Code &) = delete;
  ~Code() {
    pcre2_match_context_free(limits);
    pcre2_code_free(code);
  }
};

// Only the whole match is asked for; groups of a pattern need no room.
MatchScratch::MatchScratch() : data(pcre2_match_data_create(1, nullptr)) {
  if (!data)
    throw std::bad_alloc();
}

MatchScratch::~MatchScratch() {
  pcre2_match_data_free(static_cast<pcre2_match_data *>(data));
}

static std::string pcreMessage(int code) {
  PCRE2_UCHAR text[256];
  if (pcre2_get_error_message(code, text, sizeof(text)) < 0)
    return "PCRE2 error " + std::to_string(code);
  return reinterpret_cast<const char *>(text);
}

Expected<Regex> Regex::compile(std::string_view pattern) {
  Expected<std::string> translated = translatePattern(pattern);
  if (!translated)
    return translated.takeFailure();

  auto compiled = std::make_shared<Code>();
  std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)>
      context(pcre2_compile_context_create(nullptr),
              pcre2_compile_context_free);
  compiled->limits = pcre2_match_context_create(nullptr);
  if (!context || !compiled->limits)
    throw std::bad_alloc();
  // '.' excludes the line feed only.
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);

  int error;
  PCRE2_SIZE where;
  compiled->code = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(translated->data()), translated->size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE,
      &error, &where, context.get());
  if (!compiled->code)
    return Failure{"the pattern " + inQuotes(pattern) +
                   " does not compile: " + pcreMessage(error)};
  uint32_t matchesEmpty = 0;
  pcre2_pattern_info(compiled->code, PCRE2_INFO_MATCHEMPTY, &matchesEmpty);
  if (matchesEmpty)
    return Failure{"the pattern " + inQuotes(pattern) +
                   " can match the empty string; one that always takes at "
                   "least one character is accepted"};
  pcre2_set_match_limit(compiled->limits, 10'000'000);
  pcre2_set_heap_limit(compiled->limits, 256 * 1024); // KiB
  // Without just-in-time compilation matching is slower, no more.
  (void)pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);
  return Regex(std::move(compiled));
}

Expected<void> Regex::spans(std::string_view text, std::vector<Span> &out,
                            MatchScratch &scratch) const {
  auto *match = static_cast<pcre2_match_data *>(scratch.data);
  auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t at = 0;
  while (at < text.size()) {
    int found = pcre2_match(code->code, subject, text.size(), at,
                            PCRE2_NO_UTF_CHECK, match, code->limits);
    // Compiled code has a small stack; the interpreter uses the heap.
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
      found =
          pcre2_match(code->code, subject, text.size(), at,
                      PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match, code->limits);
    if (found == PCRE2_ERROR_NOMATCH)
      break;
    if (found < 0)
      return Failure{"splitting the text failed at byte " + std::to_string(at) +
                     " of a piece of " + std::to_string(text.size()) +
                     " bytes: " + pcreMessage(found)};
    const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(match);
    size_t begin = bounds[0], end = bounds[1];
    // MATCHEMPTY is an upper bound by PCRE2's analysis; never loop on an error
    // in it.
    if (begin < at || end <= begin)
      return Failure{"splitting the text failed at byte " + std::to_string(at) +
                     ": the pattern matched the empty string"};
    if (at < begin)
      out.push_back({at, begin, false});
    out.push_back({begin, end, true});
    at = end;
  }
  if (at < text.size())
    out.push_back({at, text.size(), false});
  return {};
}
