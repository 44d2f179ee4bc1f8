// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// UTF-8 decoding with the Unicode standard's recommended replacement of
// ill-formed input: one U+FFFD for each maximal subpart.
#ifndef EE_UTF8_H
#define EE_UTF8_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ee {

/// One step of decoding.
struct Utf8Step {
  /// Bytes this step takes; 0 only at the end of the text.
  unsigned length = 0;
  enum class Kind {
    Scalar,     ///< a well-formed code point
    IllFormed,  ///< a maximal subpart that no continuation could repair
    Incomplete, ///< the text ends inside of what may become a code point
  } kind = Kind::Incomplete;
  char32_t codePoint = 0xFFFD;
};

/// Decodes the code point at the start of `text`.
Utf8Step decodeUtf8(std::string_view text);

/// Appends the code point as UTF-8.
void appendUtf8(std::string &out, char32_t codePoint);

/// Position of the first byte that is not part of well-formed UTF-8, or npos.
size_t findIllFormedUtf8(std::string_view text);

/// `text` with every maximal ill-formed subpart replaced by U+FFFD.
std::string replaceIllFormedUtf8(std::string_view text);

/// Turns a stream of bytes into well-formed UTF-8 as early as possible: what
/// may still become a code point is held back (at most three bytes). All
/// results together equal `replaceIllFormedUtf8` of all bytes together.
class Utf8Stream {
public:
  std::string push(std::string_view bytes);
  /// Ends the text: a code point that never was completed becomes U+FFFD.
  std::string flush();

private:
  std::string held;
};

} // namespace ee

#endif // EE_UTF8_H
