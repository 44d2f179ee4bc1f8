// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// From Oniguruma's Ruby syntax to PCRE2's. An allow list: what the patterns of
// tokenizers use passes, with the classes that the two engines define
// differently spelt out; everything else is refused by name.
#include "split_regex.h"

#include "ee/file.h"

#include <algorithm>
#include <cstring>
#include <iterator>

using namespace ee;
using namespace ee::text;

namespace {

constexpr size_t maxPatternBytes = 8192;
constexpr unsigned maxRepeat = 1000;

// Oniguruma's \w: Alphabetic, marks, decimal numbers, connectors, and of the
// other numbers only those of Latin-1. PCRE2's is letters, numbers and '_'.
constexpr char wordCharacters[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
                                  "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";

bool isDigit(char c) { return c >= '0' && c <= '9'; }
bool isHex(char c) {
  return isDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

class Translator {
public:
  explicit Translator(std::string_view pattern) : pattern(pattern) {}

  Expected<std::string> run() {
    if (pattern.size() > maxPatternBytes)
      return Failure{"a pattern of " + std::to_string(pattern.size()) +
                     " bytes; at most " + std::to_string(maxPatternBytes) +
                     " are accepted"};
    while (at < pattern.size() && refusal.empty())
      item();
    if (!refusal.empty())
      return Failure{"the pattern " + inQuotes(pattern) + " uses " + refusal +
                     " at byte " + std::to_string(refusedAt) +
                     ", which is not supported"};
    return std::move(out);
  }

private:
  bool startsWith(std::string_view text) const {
    return pattern.substr(at).starts_with(text);
  }
  void refuse(std::string what) {
    if (!refusal.empty())
      return;
    refusal = std::move(what);
    refusedAt = at;
  }
  void copy(size_t count) {
    out += pattern.substr(at, count);
    at += count;
  }

  void item() {
    switch (pattern[at]) {
    case '\\':
      return escape(/*inClass=*/false);
    case '[':
      return characterClass();
    case '(':
      return group();
    case '{':
      return repeat();
    case '^':
    case '$':
      // Ruby's match at every line.
      return refuse("an anchor");
    default:
      return copy(1);
    }
  }

  void group() {
    // A plain group captures, which nothing here can refer to.
    static constexpr std::string_view openings[] = {
        "(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    for (std::string_view opening : openings)
      if (startsWith(opening))
        return copy(opening.size());
    if (startsWith("(?") || startsWith("(*"))
      return refuse("the group " + inQuotes(pattern.substr(at, 3)));
    copy(1);
  }

  /// {n}, {n,} or {n,m}; a suffix on it means something else in Ruby.
  void repeat() {
    size_t close = pattern.find('}', at);
    if (close == pattern.npos)
      return refuse("an open '{'");
    std::string_view bounds = pattern.substr(at + 1, close - at - 1);
    size_t digits = 0;
    unsigned value = 0, commas = 0;
    for (char c : bounds) {
      if (isDigit(c)) {
        value = value * 10 + unsigned(c - '0');
        ++digits;
      } else if (c == ',' && digits > 0 && commas == 0) {
        ++commas;
        value = 0;
      } else {
        return refuse("a '{' that is no repetition");
      }
      if (value > maxRepeat)
        return refuse("a repetition beyond " + std::to_string(maxRepeat));
    }
    if (digits == 0)
      return refuse("a '{' that is no repetition");
    if (close + 1 < pattern.size() && std::strchr("?+*", pattern[close + 1]))
      return refuse("a suffix after a '{}' repetition");
    copy(close + 1 - at);
  }

  void characterClass() {
    copy(1);
    if (at < pattern.size() && pattern[at] == '^')
      copy(1);
    if (at < pattern.size() && pattern[at] == ']')
      return refuse("an empty character class");
    while (at < pattern.size() && refusal.empty()) {
      if (pattern[at] == ']')
        return copy(1);
      if (pattern[at] == '\\')
        escape(/*inClass=*/true);
      else if (pattern[at] == '[')
        refuse("a character class inside of another");
      else if (startsWith("&&"))
        refuse("an intersection of character classes");
      else
        copy(1);
    }
    refuse("an open '['");
  }

  void escape(bool inClass) {
    if (at + 1 == pattern.size())
      return refuse("a final backslash");
    char c = pattern[at + 1];
    auto put = [&](const char *text) {
      out += text;
      at += 2;
    };
    switch (c) {
    // PCRE2's \s has U+180E in addition.
    case 's':
      return put("\\p{White_Space}");
    case 'S':
      return put("\\P{White_Space}");
    case 'd':
      return put("\\p{Nd}");
    case 'D':
      return put("\\P{Nd}");
    case 'w':
      out += inClass ? "" : "[";
      put(wordCharacters);
      out += inClass ? "" : "]";
      return;
    case 'W':
      if (inClass)
        return refuse("'\\W' in a character class");
      out += "[^";
      put(wordCharacters);
      out += ']';
      return;
    case 'v':
      return put("\\x{b}");
    case 'n':
    case 'r':
    case 't':
    case 'f':
      return copy(2);
    case 'p':
    case 'P':
      return property();
    case 'x':
    case 'u':
      return codePoint();
    default:
      if (isDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return refuse("the escape '\\" + std::string(1, c) + "'");
      return copy(2);
    }
  }

  /// \p{Name}, \P{Name}, \p{^Name}: general categories and common scripts.
  void property() {
    static constexpr std::string_view categories[] = {
        "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me",
        "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi",
        "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl",
        "Zp", "C",  "Cc", "Cf", "Co", "Cs", "Cn"};
    static constexpr std::string_view scripts[] = {
        "Arabic",   "Armenian", "Bengali", "Cyrillic", "Devanagari", "Ethiopic",
        "Georgian", "Greek",    "Hangul",  "Han",      "Hebrew",     "Hiragana",
        "Katakana", "Khmer",    "Lao",     "Latin",    "Mongolian",  "Myanmar",
        "Tamil",    "Telugu",   "Thai",    "Tibetan"};
    size_t close = pattern.find('}', at);
    if (at + 2 >= pattern.size() || pattern[at + 2] != '{' ||
        close == pattern.npos)
      return refuse("a '\\p' without '{name}'");
    std::string_view name = pattern.substr(at + 3, close - at - 3);
    bool negated = pattern[at + 1] == 'P';
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    auto among = [&](auto &list) {
      return std::find(std::begin(list), std::end(list), name) !=
             std::end(list);
    };
    bool script = among(scripts);
    if (!script && !among(categories))
      return refuse("the property " + inQuotes(name));
    out += negated ? "\\P{" : "\\p{";
    // Without "sc:" PCRE2 takes the script's extensions too.
    out += script ? "sc:" : "";
    out += name;
    out += '}';
    at = close + 1;
  }

  /// \x{H...} or \uHHHH. \xHH is a byte to Oniguruma, which no UTF-8 pattern
  /// of ours could match by itself.
  void codePoint() {
    bool braces = pattern[at + 1] == 'x';
    if (braces && (at + 2 >= pattern.size() || pattern[at + 2] != '{'))
      return refuse("a '\\x' without '{code point}'");
    size_t begin = at + (braces ? 3 : 2);
    size_t end = begin;
    while (end < pattern.size() && end - begin < 6 && isHex(pattern[end]) &&
           (braces || end - begin < 4))
      ++end;
    bool closed =
        braces ? end > begin && end < pattern.size() && pattern[end] == '}'
               : end - begin == 4;
    if (!closed)
      return refuse("a code point that is not written in full");
    out += "\\x{";
    out += pattern.substr(begin, end - begin);
    out += '}';
    at = end + braces;
  }

  std::string_view pattern;
  size_t at = 0;
  std::string out;
  std::string refusal;
  size_t refusedAt = 0;
};

} // namespace

Expected<std::string> text::translatePattern(std::string_view pattern) {
  return Translator(pattern).run();
}
