// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Splits PTX text into words, numbers and punctuation.
#ifndef EE_GPU_SIM_LEXER_H
#define EE_GPU_SIM_LEXER_H

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ee::gpu {

/// Thrown inside of the parser only; `parseModule` turns it into a Failure.
class PtxError : public std::runtime_error {
public:
  PtxError(uint32_t line, const std::string &what)
      : std::runtime_error("PTX line " + std::to_string(line) + ": " + what) {}
};

struct Token {
  /// A word is a name, a register, a directive or an opcode with its dots.
  enum Kind : uint8_t { Word, Number, String, Punctuation, End };
  Kind kind = End;
  std::string_view text;
  uint32_t line = 0;

  bool is(char c) const { return kind == Punctuation && text[0] == c; }
  bool is(std::string_view word) const { return kind == Word && text == word; }
};

/// The tokens of `text`, the last an End. They point into `text`.
std::vector<Token> tokenize(std::string_view text);

/// The bits of a PTX number: decimal, 0x, octal, 0f and 0d (IEEE bits in hex).
uint64_t numberBits(const Token &token, bool negative);

} // namespace ee::gpu

#endif // EE_GPU_SIM_LEXER_H
