// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rules that PTX text keeps so that a GPU gives the CPU's bits, every time.

#include "AdaptiveDialect/Conversion/NVPTX/Ptx.h"

#include "llvm/ADT/StringExtras.h"

using namespace adaptive;
using llvm::StringRef;

/// Why an opcode such as "add.rn.f32" may not stand in a kernel, or empty.
static StringRef objection(StringRef opcode) {
  llvm::SmallVector<StringRef> parts;
  opcode.split(parts, '.');
  auto has = [&](StringRef part) { return llvm::is_contained(parts, part); };
  StringRef base = parts.front();
  if (has("approx"))
    return "is approximate";
  if (has("ftz"))
    return "flushes subnormals to zero";
  if (base == "atom" || base == "red")
    return "makes results depend on the order of threads";
  if (base == "call")
    return "calls a function";
  bool isFloat = llvm::any_of(parts, [](StringRef part) {
    return part == "f32" || part == "f64" || part == "f16" || part == "bf16" ||
           part == "f32x2" || part == "f16x2" || part == "bf16x2";
  });
  bool rounds = base == "add" || base == "sub" || base == "mul" ||
                base == "fma" || base == "mad" || base == "div" ||
                base == "rcp" || base == "sqrt";
  if (isFloat && rounds && !has("rn"))
    return "does not say how it rounds, so that ptxas may contract it";
  return "";
}

std::optional<std::string> nvptx::findInexact(StringRef ptx) {
  StringRef kernel = "none";
  for (StringRef line : llvm::split(ptx, '\n')) {
    line = line.split("//").first.trim();
    size_t entry = line.find(".entry ");
    if (entry != StringRef::npos) {
      kernel = line.drop_front(entry + 7).split('(').first.trim();
      continue;
    }
    if (line.starts_with(".extern"))
      return ("PTX refers to something outside of it: '" + line + "'").str();
    if (line.empty() || line.starts_with(".") || line.starts_with("{") ||
        line.ends_with(":"))
      continue;
    StringRef instruction = line;
    if (instruction.starts_with("@"))
      instruction = instruction.split(' ').second.trim();
    StringRef opcode =
        instruction.take_until([](char c) { return llvm::isSpace(c); });
    opcode = opcode.rtrim(';');
    if (StringRef why = objection(opcode); !why.empty())
      return ("'" + opcode + "' in the PTX of kernel " + kernel + " " + why)
          .str();
  }
  return std::nullopt;
}
