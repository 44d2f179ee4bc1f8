// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The directives of a PTX module: target, variables, kernels; see parser.h.
#include "parser.h"

#include "ee/checked.h"
#include "ee/file.h"
#include "kernel_parser.h"

#include <algorithm>
#include <cstring>

namespace ee::gpu {
namespace {

class ModuleParser {
public:
  ModuleParser(Module &module, const PlaceVariable &place)
      : module(module), place(place), tokens(tokenize(module.text)),
        cursor(tokens, module) {}

  void run() {
    while (cursor.peek().kind != Token::End)
      directive();
    if (module.target.empty())
      throw PtxError(1, "no .target");
  }

private:
  void directive() {
    Token word = cursor.next();
    if (word.kind != Token::Word || word.text[0] != '.')
      throw PtxError(word.line, "unexpected " + inQuotes(word.text) +
                                    ": a directive is expected");
    if (word.is(".version"))
      cursor.next();
    else if (word.is(".address_size"))
      addressSize();
    else if (word.is(".target"))
      target();
    else if (word.is(".visible") || word.is(".weak") || word.is(".extern"))
      isExtern = word.is(".extern");
    else if (word.is(".entry"))
      kernel();
    else if (word.is(".func"))
      skipFunction();
    else if (word.is(".global") || word.is(".const"))
      variable();
    else if (word.is(".shared"))
      cursor.declareShared(shared, isExtern), isExtern = false;
    else if (word.is(".file"))
      cursor.file();
    else if (word.is(".section"))
      cursor.skipBraces();
    else
      throw PtxError(word.line, "the simulator does not know the directive " +
                                    inQuotes(word.text));
  }

  void addressSize() {
    Token size = cursor.next();
    if (size.text != "64")
      throw PtxError(size.line,
                     ".address_size must be 64, but is " + inQuotes(size.text));
  }

  void target() {
    module.target = cursor.name("a target");
    while (cursor.takeIf(','))
      cursor.next();
  }

  void kernel() {
    Token at = cursor.peek();
    Kernel kernel;
    parseKernel(cursor, kernel, shared);
    std::string name = kernel.name;
    if (!module.kernels.emplace(name, std::move(kernel)).second)
      throw PtxError(at.line, "kernel " + inQuotes(name) + " is defined twice");
  }

  /// Only a call could need it, and calls are refused where they stand.
  void skipFunction() {
    while (!cursor.peek().is('{') && !cursor.peek().is(';') &&
           cursor.peek().kind != Token::End)
      cursor.next();
    if (!cursor.takeIf(';'))
      cursor.skipBraces();
    isExtern = false;
  }

  void variable() {
    Variable variable;
    auto declared = cursor.declaration();
    if (isExtern)
      throw PtxError(declared.line, "variable " + inQuotes(declared.name) +
                                        " lies in another module");
    variable.name = declared.name;
    variable.align = declared.align;
    variable.bytes.resize(declared.bytes);
    if (cursor.takeIf('=')) {
      variable.initialised = true;
      initialise(variable, declared.elementBytes);
    }
    cursor.expect(';');
    auto [it, isNew] =
        module.variables.emplace(declared.name, std::move(variable));
    if (!isNew)
      throw PtxError(declared.line, "variable " + inQuotes(declared.name) +
                                        " is defined twice");
    if (auto placed = place(it->second); !placed)
      throw PtxError(declared.line, placed.error());
  }

  void initialise(Variable &variable, uint32_t elementBytes) {
    bool list = cursor.takeIf('{');
    size_t at = 0;
    do {
      Token number = cursor.peek();
      uint64_t bits = cursor.number();
      if (!rangeFits<size_t>(at, elementBytes, variable.bytes.size()))
        throw PtxError(number.line,
                       "too many values for " + inQuotes(variable.name));
      std::memcpy(variable.bytes.data() + at, &bits, elementBytes);
      at += elementBytes;
    } while (list && cursor.takeIf(','));
    if (list)
      cursor.expect('}');
  }

  Module &module;
  const PlaceVariable &place;
  std::vector<Token> tokens;
  Cursor cursor;
  SharedSpace shared;
  bool isExtern = false;
};

} // namespace

Expected<std::unique_ptr<Module>> parseModule(std::string text,
                                              const PlaceVariable &place) {
  auto module = std::make_unique<Module>();
  module->text = std::move(text);
  module->locations.emplace_back();
  try {
    ModuleParser(*module, place).run();
  } catch (const PtxError &error) {
    return Failure{error.what()};
  }
  return module;
}

} // namespace ee::gpu
