// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The ops on the way to a model's full-depth result. Heads and scores of exits
// branch off it.

#ifndef ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_MAINPATH_H
#define ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_MAINPATH_H

#include "AdaptiveDialect/IR/Adaptive.h"

#include "llvm/ADT/SetVector.h"

namespace adaptive::raising {

/// Operands of `op` on the way to the full-depth result.
llvm::SmallVector<mlir::Value> mainOperands(mlir::Operation *op);

/// The ops of that way, operands first, each as late as its users allow;
/// without reads of weights.
llvm::SetVector<mlir::Operation *> mainPath(ModelOp model);

} // namespace adaptive::raising

#endif // ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_MAINPATH_H
