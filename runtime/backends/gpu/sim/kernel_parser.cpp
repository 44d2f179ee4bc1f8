// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A kernel: its header, registers, labels and statements.
#include "kernel_parser.h"

#include "ee/file.h"

#include <algorithm>

namespace ee::gpu {
namespace {

constexpr uint64_t mostRegisterBytes = uint64_t(1) << 26;

class KernelParser {
public:
  KernelParser(Cursor &cursor, Kernel &kernel, SharedSpace shared)
      : cursor(cursor), kernel(kernel), shared(std::move(shared)),
        builder(kernel) {
    scopes.emplace_back();
    static const char *const names[SpecialCount] = {
        "%tid.x",       "%tid.y",       "%tid.z",       "%ctaid.x",
        "%ctaid.y",     "%ctaid.z",     "%ntid.x",      "%ntid.y",
        "%ntid.z",      "%nctaid.x",    "%nctaid.y",    "%nctaid.z",
        "%laneid",      "%warpid",      "%nwarpid",     "%lanemask_eq",
        "%lanemask_lt", "%lanemask_le", "%lanemask_gt", "%lanemask_ge"};
    for (uint32_t i = 0; i < SpecialCount; ++i) {
      Argument argument;
      argument.kind = Argument::Register;
      argument.ref = specialRegister(i);
      scopes[0][names[i]] = argument;
    }
  }

  void run() {
    kernel.name = cursor.name("a kernel name");
    if (cursor.takeIf('('))
      parameters();
    while (!cursor.peek().is('{')) {
      Token word = cursor.next(); // .maxntid 128, 1, 1 and its like
      if (word.is(';'))
        throw PtxError(word.line,
                       "kernel " + inQuotes(kernel.name) + " has no body");
    }
    cursor.expect('{');
    for (depth = 1; depth > 0;)
      item();
    closeCode();
  }

private:
  void parameters() {
    while (!cursor.takeIf(')')) {
      Token word = cursor.next();
      if (!word.is(".param"))
        throw PtxError(word.line,
                       ".param is expected before " + inQuotes(word.text));
      parameter();
      if (!cursor.peek().is(')'))
        cursor.expect(',');
    }
  }

  /// `.ptr .global .align 16` says what a pointer points to, so the alignment
  /// after it is not the parameter's.
  void parameter() {
    Declaration declared = cursor.declaration();
    uint32_t align = declared.bytes == declared.elementBytes
                         ? declared.elementBytes
                         : declared.align;
    uint32_t offset = (kernel.parameterBytes + align - 1) / align * align;
    if (declared.bytes == 0 || offset + declared.bytes > 32764)
      throw PtxError(declared.line, "parameter " + inQuotes(declared.name) +
                                        " does not fit the 32764 bytes that "
                                        "parameters can have");
    kernel.parameters.push_back(
        {declared.name, offset, uint32_t(declared.bytes)});
    kernel.parameterBytes = offset + uint32_t(declared.bytes);
  }

  void item() {
    Token token = cursor.peek();
    if (cursor.takeIf('{')) {
      ++depth;
      scopes.emplace_back();
    } else if (cursor.takeIf('}')) {
      --depth;
      scopes.pop_back();
    } else if (cursor.takeIf(';')) {
    } else if (token.kind == Token::Word && token.text[0] == '.') {
      directive();
    } else if (token.kind == Token::Word && cursor.ahead().is(':')) {
      label();
    } else {
      statement();
    }
  }

  void label() {
    Token token = cursor.next();
    cursor.expect(':');
    if (!cursor.peek().is(".branchtargets"))
      return builder.defineLabel(token.text, token.line);
    cursor.next();
    std::vector<std::string> targets;
    do
      targets.push_back(cursor.name("a label"));
    while (cursor.takeIf(','));
    cursor.expect(';');
    builder.defineTable(token.text, std::move(targets));
  }

  void directive() {
    Token word = cursor.next();
    if (word.is(".reg"))
      return registers();
    if (word.is(".shared"))
      return cursor.declareShared(shared, false);
    if (word.is(".local"))
      return local();
    if (word.is(".loc")) {
      location = cursor.location();
      return;
    }
    if (!word.is(".pragma"))
      throw PtxError(word.line, "the simulator does not know the directive " +
                                    inQuotes(word.text));
    while (!cursor.takeIf(';'))
      cursor.next();
  }

  void registers() {
    Token type = cursor.next();
    uint32_t bytes = typeBytes(type.text);
    if (bytes == 0)
      throw PtxError(type.line, "the simulator does not know the type " +
                                    inQuotes(type.text));
    do {
      std::string name = cursor.name("a register");
      if (!cursor.takeIf('<')) {
        declare(name, type, bytes);
        continue;
      }
      uint32_t count = cursor.size(1 << 20, "a number of registers");
      cursor.expect('>');
      for (uint32_t i = 0; i < count; ++i)
        declare(name + std::to_string(i), type, bytes);
    } while (cursor.takeIf(','));
    cursor.expect(';');
  }

  void declare(const std::string &name, const Token &type, uint32_t bytes) {
    Argument argument;
    if (type.is(".pred")) {
      argument.kind = Argument::Predicate;
      argument.predicate.index = builder.newPredicate();
    } else {
      argument.kind = Argument::Register;
      argument.ref = builder.newRegister(bytes == 8);
    }
    if (kernel.registerBytes > mostRegisterBytes)
      throw PtxError(type.line, "too many registers");
    if (!scopes.back().emplace(name, argument).second)
      throw PtxError(type.line,
                     "register " + inQuotes(name) + " is defined twice");
  }

  void local() {
    Declaration declared = cursor.declaration();
    cursor.expect(';');
    uint64_t begin = (uint64_t(kernel.localBytes) + declared.align - 1) /
                     declared.align * declared.align;
    if (begin + declared.bytes > 512 << 10)
      throw PtxError(declared.line, "local memory has at most 524288 bytes");
    locals[declared.name] = uint32_t(begin);
    kernel.localBytes = uint32_t(begin + declared.bytes);
  }

  void statement() {
    Statement result;
    const char *begin = cursor.peek().text.data();
    result.base.line = cursor.peek().line;
    result.base.location = location;
    if (cursor.takeIf('@'))
      guard(result.base);
    Token opcode = cursor.next();
    if (opcode.kind != Token::Word)
      throw PtxError(opcode.line, "an instruction is expected before " +
                                      inQuotes(opcode.text));
    result.opcode = opcode.text;
    while (!cursor.peek().is(';')) {
      result.arguments.push_back(operand());
      if (!cursor.peek().is(';'))
        cursor.expect(',');
    }
    const char *end = cursor.next().text.data();
    result.base.text = {begin, size_t(end - begin)};
    decode(builder, result);
  }

  void guard(Instruction &instruction) {
    bool inverted = cursor.takeIf('!');
    Argument argument = named(cursor.next());
    if (argument.kind != Argument::Predicate)
      throw PtxError(instruction.line,
                     inQuotes(argument.name) + " is not a predicate");
    instruction.guarded = true;
    instruction.guard = {argument.predicate.index, inverted};
  }

  Argument operand() {
    if (cursor.peek().is('{'))
      return vector();
    if (cursor.peek().is('['))
      return address();
    bool inverted = cursor.takeIf('!');
    Argument first = scalar();
    first.predicate.inverted = inverted;
    if (cursor.takeIf('|')) {
      Token token = cursor.next();
      Argument second = named(token);
      if (second.kind != Argument::Predicate)
        throw PtxError(token.line,
                       inQuotes(token.text) + " is not a predicate");
      first.hasSecond = true;
      first.second = second.predicate;
    }
    return first;
  }

  Argument scalar() {
    const Token &token = cursor.peek();
    if (token.kind != Token::Number && !token.is('-'))
      return named(cursor.next());
    Argument argument;
    argument.kind = Argument::Immediate;
    argument.name = token.text;
    argument.value = cursor.number();
    return argument;
  }

  Argument vector() {
    Argument argument;
    argument.kind = Argument::Vector;
    argument.name = cursor.peek().text;
    cursor.expect('{');
    do
      argument.elements.push_back(scalar());
    while (cursor.takeIf(','));
    cursor.expect('}');
    return argument;
  }

  Argument address() {
    cursor.expect('[');
    Argument base = scalar();
    uint32_t line = cursor.peek().line;
    if (cursor.takeIf('+'))
      base.displacement = int64_t(cursor.number());
    else if (cursor.peek().is('-'))
      base.displacement = int64_t(cursor.number());
    cursor.expect(']');
    if (base.kind == Argument::Parameter)
      return base;
    if (base.kind == Argument::Immediate)
      base.ref = builder.constant(base.value, true);
    else if (base.kind != Argument::Register)
      throw PtxError(line, inQuotes(base.name) + " is not an address");
    base.kind = Argument::Address;
    return base;
  }

  /// A register, variable, parameter or label.
  Argument named(const Token &token) {
    Argument argument;
    if (token.kind != Token::Word)
      throw PtxError(token.line, "unexpected " + inQuotes(token.text) +
                                     " where an operand is expected");
    std::string name(token.text);
    for (auto scope = scopes.rbegin(); scope != scopes.rend(); ++scope)
      if (auto it = scope->find(name); it != scope->end()) {
        argument = it->second;
        argument.name = token.text;
        return argument;
      }
    argument.name = token.text;
    if (name[0] == '%')
      throw PtxError(token.line,
                     "register " + inQuotes(name) + " is not defined");
    if (name == "_")
      return argument;
    argument.kind = Argument::Label;
    for (const Parameter &parameter : kernel.parameters)
      if (parameter.name == name) {
        argument.kind = Argument::Parameter;
        argument.value = parameter.offset;
        return argument;
      }
    if (auto value = symbol(name)) {
      argument.kind = Argument::Immediate;
      argument.value = *value;
    }
    return argument;
  }

  std::optional<uint64_t> symbol(const std::string &name) const {
    if (auto it = shared.offsets.find(name); it != shared.offsets.end())
      return sharedWindow + it->second;
    if (name == shared.dynamic)
      return sharedWindow + (shared.bytes + 15) / 16 * 16;
    if (auto it = locals.find(name); it != locals.end())
      return localWindow + it->second;
    auto it = cursor.module.variables.find(name);
    if (it != cursor.module.variables.end())
      return reinterpret_cast<uint64_t>(it->second.address);
    if (name == "true" || name == "false")
      return name == "true";
    return std::nullopt;
  }

  void closeCode() {
    Instruction end;
    end.kind = Kind::Exit;
    end.text = "ret";
    kernel.code.push_back(end);
    kernel.sharedBytes = (shared.bytes + 15) / 16 * 16;
    builder.resolve();
  }

  Cursor &cursor;
  Kernel &kernel;
  SharedSpace shared;
  KernelBuilder builder;
  std::vector<std::unordered_map<std::string, Argument>> scopes;
  std::map<std::string, uint32_t> locals;
  uint32_t location = 0;
  int depth = 0;
};

} // namespace

void parseKernel(Cursor &cursor, Kernel &kernel, SharedSpace shared) {
  KernelParser(cursor, kernel, std::move(shared)).run();
}

} // namespace ee::gpu
