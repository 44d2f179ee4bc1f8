// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Normalisation and classes of characters, on top of utf8proc's tables.
#include "normalizer.h"

#include "ee/utf8.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utf8proc.h>

using namespace ee;

bool text::isWhiteSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool text::isWordChar(char32_t c) {
  // Alphabetic adds to the letters, marks and letter numbers below only the
  // circled and squared Latin letters; Join_Control has two characters.
  if ((c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
      (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189) ||
      c == 0x200C || c == 0x200D)
    return true;
  switch (utf8proc_category(utf8proc_int32_t(c))) {
  case UTF8PROC_CATEGORY_LU:
  case UTF8PROC_CATEGORY_LL:
  case UTF8PROC_CATEGORY_LT:
  case UTF8PROC_CATEGORY_LM:
  case UTF8PROC_CATEGORY_LO:
  case UTF8PROC_CATEGORY_MN:
  case UTF8PROC_CATEGORY_MC:
  case UTF8PROC_CATEGORY_ME:
  case UTF8PROC_CATEGORY_ND:
  case UTF8PROC_CATEGORY_NL:
  case UTF8PROC_CATEGORY_PC:
    return true;
  default:
    return false;
  }
}

bool text::isNumeric(char32_t c) {
  if (c < 0x80)
    return c >= '0' && c <= '9';
  utf8proc_category_t category = utf8proc_category(utf8proc_int32_t(c));
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
         category == UTF8PROC_CATEGORY_NO;
}

Expected<std::string> text::toNfc(std::string_view text) {
  constexpr unsigned maxMarks = 1024;
  // Below U+0300, whose encodings start at byte 0xCC, nothing composes.
  if (std::none_of(text.begin(), text.end(), [](char c) {
        return static_cast<unsigned char>(c) >= 0xCC;
      }))
    return std::string(text);

  unsigned marks = 0;
  for (std::string_view rest = text; !rest.empty();) {
    Utf8Step step = decodeUtf8(rest);
    rest.remove_prefix(step.length);
    bool isMark = utf8proc_get_property(utf8proc_int32_t(step.codePoint))
                      ->combining_class != 0;
    marks = isMark ? marks + 1 : 0;
    if (marks > maxMarks)
      return Failure{"the text has more than " + std::to_string(maxMarks) +
                     " combining marks in a row, which NFC normalisation does "
                     "not accept"};
  }
  utf8proc_uint8_t *raw = nullptr;
  utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t *>(text.data()),
                   utf8proc_ssize_t(text.size()), &raw,
                   utf8proc_option_t(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owned(raw, std::free);
  if (length < 0)
    return Failure{std::string("NFC normalisation failed: ") +
                   utf8proc_errmsg(length)};
  return std::string(reinterpret_cast<const char *>(raw), size_t(length));
}
