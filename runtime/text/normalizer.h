// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Normalisation of text, and the classes of characters that the tokenizer
// tests outside of regular expressions.
#ifndef EE_TEXT_NORMALIZER_H
#define EE_TEXT_NORMALIZER_H

#include "ee/result.h"

#include <string>
#include <string_view>

namespace ee::text {

/// Unicode's White_Space.
bool isWhiteSpace(char32_t codePoint);
/// A character of a word as regular expressions see it: Alphabetic, Mark,
/// decimal number, connector punctuation, join control.
bool isWordChar(char32_t codePoint);
/// General category N.
bool isNumeric(char32_t codePoint);

/// `text` in Unicode normalisation form C. Fails on a run of more than 1024
/// combining marks, whose reordering costs quadratic time.
Expected<std::string> toNfc(std::string_view text);

} // namespace ee::text

#endif // EE_TEXT_NORMALIZER_H
