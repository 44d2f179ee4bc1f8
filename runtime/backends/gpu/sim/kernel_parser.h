// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The cursor over tokens that the parsers of modules and kernels share.
#ifndef EE_GPU_SIM_KERNEL_PARSER_H
#define EE_GPU_SIM_KERNEL_PARSER_H

#include "statement.h"

#include <map>
#include <string>
#include <vector>

namespace ee::gpu {

/// Shared variables placed so far; those of the module serve every kernel.
struct SharedSpace {
  std::map<std::string, uint32_t, std::less<>> offsets;
  uint32_t bytes = 0;
  std::string dynamic; // the extern array that begins after the others
};

/// A declared variable: `.align 4 .b8 name[12]`.
struct Declaration {
  std::string name;
  uint32_t align = 1, elementBytes = 1, line = 0;
  uint64_t bytes = 0; // 0 for name[]
  bool predicate = false;
};

class Cursor {
public:
  Cursor(const std::vector<Token> &tokens, Module &module)
      : module(module), tokens(tokens) {}

  const Token &peek() const { return tokens[at]; }
  const Token &ahead() const {
    return tokens[std::min(at + 1, tokens.size() - 1)];
  }
  Token next();
  bool takeIf(char punctuation);
  void expect(char punctuation);
  std::string name(const char *what);
  uint64_t number();
  /// A number of at most `limit`.
  uint32_t size(uint64_t limit, const char *what);
  /// From here to the brace that closes the next one.
  void skipBraces();
  void skipLine();

  Declaration declaration();
  void declareShared(SharedSpace &space, bool isExtern);
  /// After `.file` and `.loc`.
  void file();
  uint32_t location();

  Module &module;

private:
  const std::vector<Token> &tokens;
  size_t at = 0;
  std::map<uint64_t, std::string> files;
};

/// Bytes of a type such as ".b32"; 0 if it is none. A predicate has 1.
uint32_t typeBytes(std::string_view type);

/// After `.entry`: name, parameters, body. Throws PtxError.
void parseKernel(Cursor &cursor, Kernel &kernel, SharedSpace shared);

} // namespace ee::gpu

#endif // EE_GPU_SIM_KERNEL_PARSER_H
