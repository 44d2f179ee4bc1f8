// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tokens and declarations; see kernel_parser.h.
#include "kernel_parser.h"

#include "ee/file.h"

#include <algorithm>

namespace ee::gpu {

Token Cursor::next() {
  Token token = tokens[at];
  if (token.kind == Token::End)
    throw PtxError(token.line, "the text ends too early");
  ++at;
  return token;
}

bool Cursor::takeIf(char punctuation) {
  if (!peek().is(punctuation))
    return false;
  ++at;
  return true;
}

void Cursor::expect(char punctuation) {
  if (!takeIf(punctuation))
    throw PtxError(peek().line, std::string("'") + punctuation +
                                    "' is expected before " +
                                    inQuotes(peek().text));
}

std::string Cursor::name(const char *what) {
  Token token = next();
  if (token.kind != Token::Word || token.text[0] == '.')
    throw PtxError(token.line, std::string(what) + " is expected, but got " +
                                   inQuotes(token.text));
  return std::string(token.text);
}

uint64_t Cursor::number() {
  bool negative = takeIf('-');
  return numberBits(next(), negative);
}

uint32_t Cursor::size(uint64_t limit, const char *what) {
  uint32_t line = peek().line;
  uint64_t value = numberBits(next(), false);
  if (value > limit)
    throw PtxError(line, std::string(what) + " must be at most " +
                             std::to_string(limit) + ", but is " +
                             std::to_string(value));
  return uint32_t(value);
}

void Cursor::skipBraces() {
  int depth = 0;
  do {
    Token token = next();
    depth += token.is('{') - token.is('}');
    if (token.is('}') && depth == 0)
      return;
  } while (true);
}

void Cursor::skipLine() {
  uint32_t line = peek().line;
  while (peek().kind != Token::End && peek().line == line)
    ++at;
}

uint32_t typeBytes(std::string_view type) {
  static const std::pair<std::string_view, uint32_t> types[] = {
      {".pred", 1}, {".b8", 1},  {".u8", 1},  {".s8", 1},    {".b16", 2},
      {".u16", 2},  {".s16", 2}, {".f16", 2}, {".bf16", 2},  {".b32", 4},
      {".u32", 4},  {".s32", 4}, {".f32", 4}, {".f16x2", 4}, {".bf16x2", 4},
      {".b64", 8},  {".u64", 8}, {".s64", 8}, {".f64", 8}};
  for (auto &[name, bytes] : types)
    if (type == name)
      return bytes;
  return 0;
}

Declaration Cursor::declaration() {
  constexpr uint64_t most = uint64_t(1) << 28;
  Declaration result;
  bool typed = false;
  result.line = peek().line;
  while (peek().kind == Token::Word && peek().text[0] == '.') {
    Token word = next();
    if (word.is(".align")) {
      result.align = size(1024, "an alignment");
      if (result.align == 0 || (result.align & (result.align - 1)))
        throw PtxError(word.line, "an alignment is a power of two");
    } else if (uint32_t bytes = typeBytes(word.text)) {
      typed = true;
      result.elementBytes = bytes;
      result.predicate = word.is(".pred");
    } else if (!word.is(".ptr") && !word.is(".global") && !word.is(".shared") &&
               !word.is(".const") && !word.is(".local")) {
      throw PtxError(word.line, "the simulator does not know " +
                                    inQuotes(word.text) + " here");
    }
  }
  if (!typed)
    throw PtxError(result.line, "a type is missing");
  result.name = name("a name");
  uint64_t count = 1;
  while (takeIf('[')) {
    count = peek().is(']') ? 0 : count * size(most, "an array");
    expect(']');
    if (count * result.elementBytes > most)
      throw PtxError(result.line, inQuotes(result.name) + " is too large");
  }
  result.bytes = count * result.elementBytes;
  result.align = std::max(result.align, result.elementBytes);
  return result;
}

void Cursor::declareShared(SharedSpace &space, bool isExtern) {
  constexpr uint64_t most = 232448; // what a CTA can have on sm_90
  Declaration declared = declaration();
  expect(';');
  if (isExtern || declared.bytes == 0) {
    if (!space.dynamic.empty() && space.dynamic != declared.name)
      throw PtxError(declared.line, "a second array of dynamic shared memory");
    space.dynamic = declared.name;
    return;
  }
  uint64_t begin =
      (space.bytes + declared.align - 1) / declared.align * declared.align;
  if (begin + declared.bytes > most)
    throw PtxError(declared.line, "shared memory has at most " +
                                      std::to_string(most) + " bytes");
  if (!space.offsets.emplace(declared.name, uint32_t(begin)).second)
    throw PtxError(declared.line, "shared variable " + inQuotes(declared.name) +
                                      " is defined twice");
  space.bytes = uint32_t(begin + declared.bytes);
}

void Cursor::file() {
  uint64_t index = number();
  Token token = next();
  if (token.kind != Token::String)
    throw PtxError(token.line, "a file name is expected");
  files[index] = std::string(token.text.substr(1, token.text.size() - 2));
  if (peek().is(','))
    skipLine();
}

uint32_t Cursor::location() {
  uint64_t index = number(), line = number(), column = number();
  auto it = files.find(index);
  if (peek().is(','))
    skipLine(); // where it was inlined
  if (line == 0)
    return 0;
  std::string text = (it == files.end() ? "?" : it->second) + ":" +
                     std::to_string(line) + ":" + std::to_string(column);
  if (module.locations.back() != text)
    module.locations.push_back(std::move(text));
  return uint32_t(module.locations.size() - 1);
}

} // namespace ee::gpu
