// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Indices that a graph computes: checked before they are used, never trusted.

#ifndef ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_INDEXING_H
#define ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_INDEXING_H

#include "Node.h"

namespace adaptive::tolinalg {

/// Checks that `indices` lie in [-extent, extent), once for all of them, so
/// that the loops that use them need not.
void checkIndices(Node &n, Tensor &indices, Size extent);

/// The index at a place of `indices`, counted from the front.
mlir::Value indexAt(Node &n, Tensor &indices, llvm::ArrayRef<mlir::Value> place,
                    Size extent);

} // namespace adaptive::tolinalg

#endif // ADAPTIVE_LIB_CONVERSION_ONNXTOLINALG_INDEXING_H
