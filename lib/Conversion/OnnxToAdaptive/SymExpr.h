// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sizes that are known only by name: polynomials with integer coefficients over
// symbols such as `batch` and `past`. Half of the nodes of an exported graph
// compute with such sizes.

#ifndef ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_SYMEXPR_H
#define ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_SYMEXPR_H

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace adaptive::raising {

/// A polynomial over symbols, each of which stands for an integer >= 0.
/// Arithmetic wraps as ONNX's int64 does.
class SymExpr {
public:
  using Monomial = std::vector<unsigned>; // sorted symbols, with repetition

  SymExpr(int64_t value = 0) {
    if (value)
      terms[{}] = value;
  }
  static SymExpr symbol(unsigned id);

  bool isConstant() const {
    return terms.empty() || (terms.size() == 1 && terms.count({}));
  }
  bool isConstant(int64_t value) const {
    return isConstant() && constantTerm() == value;
  }
  std::optional<int64_t> constant() const {
    return isConstant() ? std::optional<int64_t>(constantTerm()) : std::nullopt;
  }
  int64_t constantTerm() const;
  /// The symbol this expression consists of, if it is a bare symbol.
  std::optional<unsigned> asSymbol() const;
  bool uses(unsigned symbol) const;

  /// True if the value is >= 0 (> 0) whatever the symbols are; false is no
  /// proof of the opposite.
  bool provablyNonNegative() const;
  bool provablyPositive() const {
    return provablyNonNegative() && constantTerm() > 0;
  }

  SymExpr operator+(const SymExpr &other) const;
  SymExpr operator-(const SymExpr &other) const;
  SymExpr operator*(const SymExpr &other) const;
  bool operator==(const SymExpr &other) const { return terms == other.terms; }
  bool operator!=(const SymExpr &other) const { return terms != other.terms; }

  /// The quotient if `divisor` is one term that divides every term of this.
  std::optional<SymExpr> divideExactly(const SymExpr &divisor) const;
  SymExpr substitute(unsigned symbol, const SymExpr &value) const;

  /// True for expressions no graph needs; a hostile file can make them grow
  /// without end, so whoever computes with expressions gives up on these.
  bool isTooComplex() const;

  const std::map<Monomial, int64_t> &getTerms() const { return terms; }

private:
  void add(const Monomial &monomial, int64_t coefficient);
  std::map<Monomial, int64_t> terms; // no zero coefficients
};

/// The symbols of one graph and what became known about them.
class Symbols {
public:
  SymExpr fresh(llvm::StringRef hint);
  /// The value of a dimension as ONNX files write it: a number, a name, or
  /// sums, differences and products of these. Anything else is a name of its
  /// own.
  SymExpr parse(llvm::StringRef text);
  SymExpr normalize(const SymExpr &value) const;
  bool equal(const SymExpr &a, const SymExpr &b) const {
    return a == b || normalize(a - b).isConstant(0);
  }
  /// Records that two sizes must agree for the graph to run at all. False if
  /// they cannot.
  bool unify(const SymExpr &a, const SymExpr &b);
  std::string text(const SymExpr &value) const;

  /// Records that a symbol stands for an integer >= 1.
  void setPositive(unsigned symbol) { positive.insert(symbol); }
  /// As the members of SymExpr, with what is known of the symbols.
  bool provablyNonNegative(const SymExpr &value) const;

private:
  llvm::StringMap<unsigned> byName;
  std::vector<std::string> names;
  std::map<unsigned, SymExpr> known;
  std::set<unsigned> positive;
};

} // namespace adaptive::raising

#endif // ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_SYMEXPR_H
