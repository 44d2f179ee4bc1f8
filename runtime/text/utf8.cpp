// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// UTF-8 decoding after table 3-7 of the Unicode standard, which restricts the
// second byte so that overlong forms, surrogates and values beyond U+10FFFF end
// at the first byte that shows them.
#include "ee/utf8.h"

using namespace ee;

Utf8Step ee::decodeUtf8(std::string_view text) {
  using Kind = Utf8Step::Kind;
  if (text.empty())
    return {};
  auto byteAt = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned lead = byteAt(0);
  if (lead < 0x80)
    return {1, Kind::Scalar, lead};
  if (lead < 0xC2 || lead > 0xF4)
    return {1, Kind::IllFormed, 0xFFFD};

  unsigned length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t codePoint = lead & (0x7Fu >> length);
  for (unsigned i = 1; i < length; ++i) {
    if (i == text.size())
      return {i, Kind::Incomplete, 0xFFFD};
    if (byteAt(i) < low || byteAt(i) > high)
      return {i, Kind::IllFormed, 0xFFFD};
    codePoint = codePoint << 6 | (byteAt(i) & 0x3F);
    low = 0x80;
    high = 0xBF;
  }
  return {length, Kind::Scalar, codePoint};
}

void ee::appendUtf8(std::string &out, char32_t codePoint) {
  if (codePoint < 0x80) {
    out += char(codePoint);
    return;
  }
  unsigned length = codePoint < 0x800 ? 2 : codePoint < 0x10000 ? 3 : 4;
  unsigned marker = 0xFF00u >> length & 0xFF;
  out += char(marker | codePoint >> 6 * (length - 1));
  for (unsigned i = length - 1; i-- > 0;)
    out += char(0x80 | (codePoint >> 6 * i & 0x3F));
}

size_t ee::findIllFormedUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    Utf8Step step = decodeUtf8(text.substr(at));
    if (step.kind != Utf8Step::Kind::Scalar)
      return at;
    at += step.length;
  }
  return std::string_view::npos;
}

std::string ee::replaceIllFormedUtf8(std::string_view text) {
  Utf8Stream stream;
  std::string result = stream.push(text);
  return result += stream.flush();
}

std::string Utf8Stream::push(std::string_view bytes) {
  std::string joined;
  if (!held.empty()) {
    joined = held;
    joined += bytes;
    held.clear();
    bytes = joined;
  }
  std::string result;
  result.reserve(bytes.size());
  while (!bytes.empty()) {
    Utf8Step step = decodeUtf8(bytes);
    if (step.kind == Utf8Step::Kind::Incomplete) {
      held = bytes;
      break;
    }
    if (step.kind == Utf8Step::Kind::Scalar)
      result += bytes.substr(0, step.length);
    else
      appendUtf8(result, 0xFFFD);
    bytes.remove_prefix(step.length);
  }
  return result;
}

std::string Utf8Stream::flush() {
  std::string result;
  if (!held.empty())
    appendUtf8(result, 0xFFFD);
  held.clear();
  return result;
}
