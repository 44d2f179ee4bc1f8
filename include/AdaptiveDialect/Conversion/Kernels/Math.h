// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The kernels' elementary functions on f32, for other parts of the backend.

#ifndef ADAPTIVEDIALECT_CONVERSION_KERNELS_MATH_H
#define ADAPTIVEDIALECT_CONVERSION_KERNELS_MATH_H

#include "mlir/IR/Builders.h"

namespace adaptive::kernels {

enum class F32Function { Exp, Log, Tanh, Erf };

/// Writes f(x) for a scalar or vector of f32 at the insertion point, at most
/// 2 ulp off, as LLVM-dialect and arith ops.
mlir::Value emitF32Function(const mlir::OpBuilder &builder, mlir::Location loc,
                            F32Function function, mlir::Value x);

} // namespace adaptive::kernels

#endif // ADAPTIVEDIALECT_CONVERSION_KERNELS_MATH_H
