// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Passes between dialects: declarations and registration.

#ifndef ADAPTIVEDIALECT_CONVERSION_PASSES_H
#define ADAPTIVEDIALECT_CONVERSION_PASSES_H

#include "AdaptiveDialect/IR/Adaptive.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir {
namespace arith {
class ArithDialect;
} // namespace arith
namespace math {
class MathDialect;
} // namespace math
} // namespace mlir

namespace adaptive {
#define GEN_PASS_DECL
#include "AdaptiveDialect/Conversion/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "AdaptiveDialect/Conversion/Passes.h.inc"
} // namespace adaptive

#endif // ADAPTIVEDIALECT_CONVERSION_PASSES_H
