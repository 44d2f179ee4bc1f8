// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Passes between dialects: declarations and registration.

#ifndef ADAPTIVEDIALECT_CONVERSION_PASSES_H
#define ADAPTIVEDIALECT_CONVERSION_PASSES_H

#include "AdaptiveDialect/IR/Adaptive.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace mlir {
namespace LLVM {
class LLVMDialect;
} // namespace LLVM
namespace affine {
class AffineDialect;
} // namespace affine
namespace arith {
class ArithDialect;
} // namespace arith
namespace cf {
class ControlFlowDialect;
} // namespace cf
namespace linalg {
class LinalgDialect;
} // namespace linalg
namespace math {
class MathDialect;
} // namespace math
namespace memref {
class MemRefDialect;
} // namespace memref
namespace scf {
class SCFDialect;
} // namespace scf
namespace tensor {
class TensorDialect;
} // namespace tensor
namespace vector {
class VectorDialect;
} // namespace vector
namespace ub {
class UBDialect;
} // namespace ub
} // namespace mlir

namespace adaptive {
#define GEN_PASS_DECL
#include "AdaptiveDialect/Conversion/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "AdaptiveDialect/Conversion/Passes.h.inc"
} // namespace adaptive

#endif // ADAPTIVEDIALECT_CONVERSION_PASSES_H
