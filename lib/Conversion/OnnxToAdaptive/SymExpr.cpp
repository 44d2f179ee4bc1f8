// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Polynomials over named sizes.

#include "SymExpr.h"

#include "llvm/ADT/StringExtras.h"

#include <algorithm>

using namespace adaptive::raising;

// ONNX integers wrap; signed overflow must not be undefined here.
static int64_t wrappingAdd(int64_t a, int64_t b) {
  return int64_t(uint64_t(a) + uint64_t(b));
}
static int64_t wrappingMul(int64_t a, int64_t b) {
  return int64_t(uint64_t(a) * uint64_t(b));
}

SymExpr SymExpr::symbol(unsigned id) {
  SymExpr result;
  result.terms[{id}] = 1;
  return result;
}

int64_t SymExpr::constantTerm() const {
  auto found = terms.find({});
  return found == terms.end() ? 0 : found->second;
}

std::optional<unsigned> SymExpr::asSymbol() const {
  if (terms.size() != 1 || terms.begin()->first.size() != 1 ||
      terms.begin()->second != 1)
    return std::nullopt;
  return terms.begin()->first.front();
}

bool SymExpr::uses(unsigned symbol) const {
  return std::any_of(terms.begin(), terms.end(), [&](const auto &term) {
    return std::find(term.first.begin(), term.first.end(), symbol) !=
           term.first.end();
  });
}

bool SymExpr::provablyNonNegative() const {
  return std::all_of(terms.begin(), terms.end(),
                     [](const auto &term) { return term.second > 0; });
}

bool SymExpr::isTooComplex() const {
  constexpr size_t kMaxTerms = 32, kMaxDegree = 12;
  return terms.size() > kMaxTerms ||
         std::any_of(terms.begin(), terms.end(), [](const auto &term) {
           return term.first.size() > kMaxDegree;
         });
}

void SymExpr::add(const Monomial &monomial, int64_t coefficient) {
  int64_t &known = terms[monomial];
  known = wrappingAdd(known, coefficient);
  if (known == 0)
    terms.erase(monomial);
}

SymExpr SymExpr::operator+(const SymExpr &other) const {
  SymExpr result = *this;
  for (const auto &[monomial, coefficient] : other.terms)
    result.add(monomial, coefficient);
  return result;
}

SymExpr SymExpr::operator-(const SymExpr &other) const {
  return *this + other * SymExpr(-1);
}

SymExpr SymExpr::operator*(const SymExpr &other) const {
  SymExpr result;
  for (const auto &[left, a] : terms)
    for (const auto &[right, b] : other.terms) {
      Monomial both = left;
      both.insert(both.end(), right.begin(), right.end());
      std::sort(both.begin(), both.end());
      result.add(both, wrappingMul(a, b));
    }
  return result;
}

std::optional<SymExpr> SymExpr::divideExactly(const SymExpr &divisor) const {
  if (divisor.terms.size() != 1)
    return divisor == *this && !terms.empty() ? std::optional<SymExpr>(1)
                                              : std::nullopt;
  const auto &[by, factor] = *divisor.terms.begin();
  SymExpr result;
  for (const auto &[monomial, coefficient] : terms) {
    if (factor == -1 ? false : coefficient % factor != 0)
      return std::nullopt;
    Monomial rest;
    std::set_difference(monomial.begin(), monomial.end(), by.begin(), by.end(),
                        std::back_inserter(rest));
    if (rest.size() + by.size() != monomial.size())
      return std::nullopt;
    result.add(rest, factor == -1 ? wrappingMul(coefficient, -1)
                                  : coefficient / factor);
  }
  return result;
}

SymExpr SymExpr::substitute(unsigned symbol, const SymExpr &value) const {
  SymExpr result;
  for (const auto &[monomial, coefficient] : terms) {
    SymExpr term(coefficient);
    for (unsigned factor : monomial)
      term = term * (factor == symbol ? value : SymExpr::symbol(factor));
    result = result + term;
  }
  return result;
}

SymExpr Symbols::fresh(llvm::StringRef hint) {
  names.push_back((hint + "'" + llvm::Twine(names.size())).str());
  return SymExpr::symbol(names.size() - 1);
}

namespace {
/// Reads sums of products of names and numbers.
class Parser {
public:
  Parser(llvm::StringRef text,
         llvm::function_ref<SymExpr(llvm::StringRef)> named)
      : rest(text), named(named) {}

  std::optional<SymExpr> run() {
    auto value = sum();
    skipSpace();
    return rest.empty() ? value : std::nullopt;
  }

private:
  void skipSpace() { rest = rest.ltrim(); }
  bool take(char c) {
    skipSpace();
    return rest.consume_front(llvm::StringRef(&c, 1));
  }
  std::optional<SymExpr> sum() {
    auto value = product();
    while (value) {
      bool minus = false;
      if (!take('+')) {
        if (!take('-'))
          break;
        minus = true;
      }
      auto next = product();
      if (!next)
        return std::nullopt;
      value = minus ? *value - *next : *value + *next;
    }
    return value;
  }
  std::optional<SymExpr> product() {
    auto value = atom();
    while (value && take('*')) {
      auto next = atom();
      if (!next)
        return std::nullopt;
      value = *value * *next;
    }
    return value;
  }
  std::optional<SymExpr> atom() {
    if (take('(')) {
      if (++depth > 64) // hostile nesting must not exhaust the stack
        return std::nullopt;
      auto value = sum();
      return value && take(')') ? value : std::nullopt;
    }
    skipSpace();
    llvm::StringRef word = rest.take_while(
        [](char c) { return llvm::isAlnum(c) || c == '_' || c == '.'; });
    rest = rest.drop_front(word.size());
    int64_t number;
    if (word.empty())
      return std::nullopt;
    if (!word.getAsInteger(10, number))
      return SymExpr(number);
    return named(word);
  }

  llvm::StringRef rest;
  llvm::function_ref<SymExpr(llvm::StringRef)> named;
  unsigned depth = 0;
};
} // namespace

SymExpr Symbols::parse(llvm::StringRef text) {
  auto named = [&](llvm::StringRef name) {
    auto [entry, isNew] = byName.try_emplace(name, names.size());
    if (isNew)
      names.push_back(name.str());
    return SymExpr::symbol(entry->second);
  };
  text = text.trim();
  if (text.empty())
    return fresh("d");
  if (auto value = Parser(text, named).run())
    return normalize(*value);
  return normalize(named(text));
}

SymExpr Symbols::normalize(const SymExpr &value) const {
  SymExpr result = value;
  for (const auto &[symbol, meaning] : known)
    if (result.uses(symbol))
      result = result.substitute(symbol, meaning);
  return result;
}

bool Symbols::provablyNonNegative(const SymExpr &value) const {
  SymExpr shifted = normalize(value);
  // Write n >= 1 as 1 + m with m >= 0.
  for (unsigned symbol : positive)
    if (shifted.uses(symbol))
      shifted =
          shifted.substitute(symbol, SymExpr::symbol(symbol) + SymExpr(1));
  return shifted.provablyNonNegative();
}

bool Symbols::unify(const SymExpr &a, const SymExpr &b) {
  SymExpr left = normalize(a), right = normalize(b);
  if (left == right)
    return true;
  if (left.isConstant() && right.isConstant())
    return false;
  // The younger symbol is replaced: names of the first inputs survive.
  auto symbol = right.asSymbol();
  SymExpr meaning = left;
  if (auto other = left.asSymbol(); other && (!symbol || *other > *symbol)) {
    symbol = other;
    meaning = right;
  }
  if (!symbol || meaning.uses(*symbol) || meaning.isTooComplex())
    return true; // nothing simple to learn; the runtime would check
  for (auto &[unused, old] : known)
    old = old.substitute(*symbol, meaning);
  known[*symbol] = meaning;
  return true;
}

std::string Symbols::text(const SymExpr &value) const {
  std::string result;
  SymExpr normal = normalize(value);
  for (const auto &[monomial, coefficient] : normal.getTerms()) {
    if (!result.empty())
      result += " + ";
    std::string factors;
    for (unsigned symbol : monomial)
      factors += (factors.empty() ? "" : "*") + names[symbol];
    if (factors.empty() || coefficient != 1)
      result += std::to_string(coefficient) + (factors.empty() ? "" : "*");
    result += factors;
  }
  return result.empty() ? "0" : result;
}
