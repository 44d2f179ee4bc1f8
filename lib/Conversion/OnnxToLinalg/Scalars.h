// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Arithmetic on scalars of float or integer type, as the bodies of elementwise
// operators and reductions write it.

#ifndef ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_SCALARS_H
#define ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_SCALARS_H

#include "Node.h"

#include "mlir/Dialect/Math/IR/Math.h"

namespace adaptive::tolinalg {

inline bool isFloat(mlir::Value x) {
  return llvm::isa<mlir::FloatType>(x.getType());
}
/// Bool counts as unsigned.
inline bool isUnsigned(mlir::Type element) {
  return element.isUnsignedInteger() || element.isInteger(1);
}

inline mlir::Value add(Emitter &e, mlir::Value x, mlir::Value y) {
  return isFloat(x) ? e.op<mlir::arith::AddFOp>(x, y)
                    : e.op<mlir::arith::AddIOp>(x, y);
}
inline mlir::Value sub(Emitter &e, mlir::Value x, mlir::Value y) {
  return isFloat(x) ? e.op<mlir::arith::SubFOp>(x, y)
                    : e.op<mlir::arith::SubIOp>(x, y);
}
inline mlir::Value mul(Emitter &e, mlir::Value x, mlir::Value y) {
  return isFloat(x) ? e.op<mlir::arith::MulFOp>(x, y)
                    : e.op<mlir::arith::MulIOp>(x, y);
}
/// Not a number wins, as ONNX has it.
inline mlir::Value maximum(Emitter &e, mlir::Value x, mlir::Value y,
                           mlir::Type element) {
  return isFloat(x)            ? e.op<mlir::arith::MaximumFOp>(x, y)
         : isUnsigned(element) ? e.op<mlir::arith::MaxUIOp>(x, y)
                               : e.op<mlir::arith::MaxSIOp>(x, y);
}
inline mlir::Value minimum(Emitter &e, mlir::Value x, mlir::Value y,
                           mlir::Type element) {
  return isFloat(x)            ? e.op<mlir::arith::MinimumFOp>(x, y)
         : isUnsigned(element) ? e.op<mlir::arith::MinUIOp>(x, y)
                               : e.op<mlir::arith::MinSIOp>(x, y);
}
inline mlir::Value select(Emitter &e, mlir::Value condition, mlir::Value x,
                          mlir::Value y) {
  mlir::Type type = x.getType();
  if (!type.isBF16())
    return e.op<mlir::arith::SelectOp>(condition, x, y);
  // LLVM makes library calls of selects between vectors of bf16.
  mlir::Value wide = e.op<mlir::arith::SelectOp>(
      condition, e.toCompute(x, type), e.toCompute(y, type));
  return e.fromCompute(wide, type);
}
/// A constant of the type of `like`.
inline mlir::Value like(Emitter &e, mlir::Value x, double value) {
  return e.number(x.getType(), value);
}

enum class Order { Less, LessEqual, Greater, GreaterEqual, Equal };
mlir::Value compare(Emitter &e, Order order, mlir::Value x, mlir::Value y,
                    mlir::Type element);
/// Truncating division. Integers by zero give zero; nothing traps.
mlir::Value divide(Emitter &e, mlir::Value x, mlir::Value y,
                   mlir::Type element);
/// The neutral element of a maximum (or minimum) in the compute type.
mlir::Value lowest(Emitter &e, mlir::Type element);
mlir::Value highest(Emitter &e, mlir::Type element);
mlir::Value sigmoid(Emitter &e, mlir::Value x);

} // namespace adaptive::tolinalg

#endif // ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_SCALARS_H
