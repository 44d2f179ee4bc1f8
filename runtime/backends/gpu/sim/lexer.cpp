// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Splits PTX text into tokens; see lexer.h.
#include "lexer.h"

#include "ee/file.h"

#include <charconv>
#include <cstring>

namespace ee::gpu {
namespace {

bool isDigit(char c) { return c >= '0' && c <= '9'; }

bool isWordStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         c == '$' || c == '%' || c == '.';
}

bool isWordPart(char c) { return isWordStart(c) || isDigit(c); }

class Lexer {
public:
  explicit Lexer(std::string_view text) : text(text) {}

  std::vector<Token> run() {
    std::vector<Token> tokens;
    do
      tokens.push_back(next());
    while (tokens.back().kind != Token::End);
    return tokens;
  }

private:
  void skipBlanks() {
    while (at < text.size()) {
      char c = text[at];
      if (c == '\n')
        ++line, ++at;
      else if (c == ' ' || c == '\t' || c == '\r')
        ++at;
      else if (text.substr(at, 2) == "//")
        at = std::min(text.find('\n', at), text.size());
      else if (text.substr(at, 2) == "/*")
        skipBlock();
      else
        return;
    }
  }

  void skipBlock() {
    size_t end = text.find("*/", at + 2);
    if (end == text.npos)
      throw PtxError(line, "comment without an end");
    for (; at < end + 2; ++at)
      line += text[at] == '\n';
  }

  Token take(Token::Kind kind, size_t length) {
    Token token{kind, text.substr(at, length), line};
    at += length;
    return token;
  }

  Token next() {
    skipBlanks();
    if (at == text.size())
      return {Token::End, {}, line};
    char c = text[at];
    size_t end = at + 1;
    if (isWordStart(c) || isDigit(c)) {
      while (end < text.size() && isWordPart(text[end]))
        ++end;
      return take(isDigit(c) ? Token::Number : Token::Word, end - at);
    }
    if (c == '"') {
      end = text.find('"', end);
      if (end == text.npos || text.substr(at, end - at).find('\n') != text.npos)
        throw PtxError(line, "string without an end");
      return take(Token::String, end + 1 - at);
    }
    if (!std::strchr("{}[]()<>,;:+-!@|=&*", c))
      throw PtxError(line, "unexpected character " + inQuotes({&c, 1}));
    return take(Token::Punctuation, 1);
  }

  std::string_view text;
  size_t at = 0;
  uint32_t line = 1;
};

} // namespace

std::vector<Token> tokenize(std::string_view text) { return Lexer(text).run(); }

uint64_t numberBits(const Token &token, bool negative) {
  std::string_view digits = token.text;
  int base = 10;
  char mark = digits.size() > 1 && digits[0] == '0' ? digits[1] : ' ';
  bool floating = mark == 'f' || mark == 'F' || mark == 'd' || mark == 'D';
  if (floating || mark == 'x' || mark == 'X') {
    base = 16;
    digits.remove_prefix(2);
  } else if (isDigit(mark)) {
    base = 8;
  }
  if (base != 16 && !digits.empty() && digits.back() == 'U')
    digits.remove_suffix(1);
  uint64_t value = 0;
  auto [end, error] = std::from_chars(
      digits.data(), digits.data() + digits.size(), value, base);
  if (token.kind != Token::Number || error != std::errc() ||
      end != digits.data() + digits.size() || (floating && negative))
    throw PtxError(token.line, inQuotes(token.text) +
                                   " is no number of PTX: a decimal, "
                                   "0x, 0f or 0d number is expected");
  return negative ? 0 - value : value;
}

} // namespace ee::gpu
