// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Removal of ops whose results nobody reads.

#ifndef ADAPTIVEDIALECT_TRANSFORMS_DEADOPS_H
#define ADAPTIVEDIALECT_TRANSFORMS_DEADOPS_H

#include "mlir/IR/Block.h"
#include "mlir/IR/Operation.h"

namespace adaptive {

/// Erases the ops for which `isDead` holds, last first, so that what only dead
/// ops read is dead in time. The terminator stays.
template <typename Predicate>
void eraseDeadOps(mlir::Block &block, Predicate isDead) {
  mlir::Operation *op = block.getTerminator()->getPrevNode();
  while (op) {
    mlir::Operation *previous = op->getPrevNode();
    if (isDead(op))
      op->erase();
    op = previous;
  }
}

} // namespace adaptive

#endif // ADAPTIVEDIALECT_TRANSFORMS_DEADOPS_H
