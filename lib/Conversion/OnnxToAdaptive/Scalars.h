// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One element of a tensor that is known at compile time, and ONNX's elementwise
// operators on such elements. Integers may be symbolic sizes.

#ifndef ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_SCALARS_H
#define ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_SCALARS_H

#include "SymExpr.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Types.h"
#include "llvm/ADT/ArrayRef.h"

namespace adaptive::raising {

/// An integer (also a truth value, 0 or 1) or a float.
struct Scalar {
  Scalar() = default;
  Scalar(SymExpr value) : integer(std::move(value)) {}
  static Scalar ofFloat(double value) {
    Scalar result;
    result.isFloat = true;
    result.real = value;
    return result;
  }

  /// The number, unless it depends on a symbol.
  std::optional<double> number() const {
    if (isFloat)
      return real;
    auto value = integer.constant();
    return value ? std::optional<double>(double(*value)) : std::nullopt;
  }
  bool operator==(const Scalar &other) const {
    return isFloat == other.isFloat &&
           (isFloat ? real == other.real : integer == other.integer);
  }

  bool isFloat = false;
  double real = 0;
  SymExpr integer;
};

/// True for ONNX operators that `evaluate` knows: result element i depends on
/// element i of the (broadcast) operands.
bool isElementwise(llvm::StringRef opType);

/// The value of elementwise operator `opType`, rounded to `type` (may be null).
/// nullopt when it is not decided by what is known.
std::optional<Scalar> evaluate(llvm::StringRef opType,
                               llvm::ArrayRef<Scalar> inputs, mlir::Type type);

/// The elements of a constant; nullopt for types without a number.
std::optional<std::vector<Scalar>> readElements(mlir::ElementsAttr value,
                                                size_t limit);

} // namespace adaptive::raising

#endif // ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_SCALARS_H
