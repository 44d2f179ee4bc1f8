// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which functions of the math dialect compiled code can compute, and how.

#ifndef ADAPTIVE_LIB_CONVERSION_FUNCTIONTOCPU_MATHFUNCTIONS_H
#define ADAPTIVE_LIB_CONVERSION_FUNCTIONTOCPU_MATHFUNCTIONS_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/Operation.h"

namespace adaptive::cpu {

/// True for an op of the math dialect that the processor computes itself or
/// that `expandMath` writes out.
bool hasExpansion(mlir::Operation *op);

/// The value of a math op on f32 or f64 scalars, written out in front of it;
/// null where the processor computes it itself.
mlir::Value expandMath(mlir::OpBuilder &builder, mlir::Operation *op);

} // namespace adaptive::cpu

#endif // ADAPTIVE_LIB_CONVERSION_FUNCTIONTOCPU_MATHFUNCTIONS_H
