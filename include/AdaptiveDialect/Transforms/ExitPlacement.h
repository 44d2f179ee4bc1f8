// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where the decision of an exit stands: as early as its score allows, before
// the layers that a leaving row skips. Shared by exit lowerings, in the tree
// and in plugins.

#ifndef ADAPTIVEDIALECT_TRANSFORMS_EXITPLACEMENT_H
#define ADAPTIVEDIALECT_TRANSFORMS_EXITPLACEMENT_H

#include "AdaptiveDialect/IR/Adaptive.h"

namespace adaptive {

/// The exits of a model in order of their index.
llvm::SmallVector<ExitPointOpInterface> exitsInOrder(ModelOp model);

/// Moves what score and state of `exit` need before the first layers that they
/// do not need, and returns that op (or the exit itself): insert the decision
/// there.
mlir::Operation *placeDecision(ExitPointOpInterface exit);

/// Moves the definition of `value`, and what it needs, before `place` (same
/// block).
void hoistBefore(mlir::Value value, mlir::Operation *place);

/// The decision of an exit: a `decide` at the builder's insertion point.
mlir::Value createDecision(mlir::OpBuilder &builder, ExitPointOpInterface exit);

} // namespace adaptive

#endif // ADAPTIVEDIALECT_TRANSFORMS_EXITPLACEMENT_H
