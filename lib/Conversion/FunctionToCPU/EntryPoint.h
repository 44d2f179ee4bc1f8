// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The exported symbols of a function's shared object.

#ifndef ADAPTIVE_LIB_CONVERSION_FUNCTIONTOCPU_ENTRYPOINT_H
#define ADAPTIVE_LIB_CONVERSION_FUNCTIONTOCPU_ENTRYPOINT_H

#include "AdaptiveDialect/Conversion/CPU/Function.h"

#include "mlir/IR/BuiltinTypes.h"

namespace adaptive::cpu {

inline constexpr const char *entrySymbol = "ee_function_main";

/// Adds the entry point of the function ABI and the constants that the loader
/// checks to a module in the LLVM dialect. `operands` and `results` are the
/// types of @main before it got there; the first `inputs` operands are fed from
/// the caller's tensors, the others from the weight table.
void emitEntryPoint(mlir::ModuleOp module,
                    llvm::ArrayRef<mlir::MemRefType> operands, size_t inputs,
                    llvm::ArrayRef<mlir::MemRefType> results, Level level);

} // namespace adaptive::cpu

#endif // ADAPTIVE_LIB_CONVERSION_FUNCTIONTOCPU_ENTRYPOINT_H
