// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Shape questions that several verifiers ask.

#ifndef ADAPTIVE_LIB_DIALECT_OPUTILS_H
#define ADAPTIVE_LIB_DIALECT_OPUTILS_H

#include "mlir/IR/BuiltinTypes.h"

namespace adaptive {

/// Width of rows `tensor<?xD>`, or -1 when the type is no row type.
inline int64_t rowWidth(mlir::Type type) {
  auto rows = llvm::dyn_cast<mlir::RankedTensorType>(type);
  if (!rows || rows.getRank() != 2 || !rows.isDynamicDim(0) ||
      rows.isDynamicDim(1))
    return -1;
  return rows.getDimSize(1);
}

/// True for `tensor<?xT>`: one scalar per row.
inline bool isRowScalar(mlir::Type type) {
  auto rows = llvm::dyn_cast<mlir::RankedTensorType>(type);
  return rows && rows.getRank() == 1 && rows.isDynamicDim(0);
}

/// Extents of a static tensor, empty when it is not static.
inline llvm::ArrayRef<int64_t> staticShape(mlir::Type type) {
  auto tensor = llvm::dyn_cast<mlir::RankedTensorType>(type);
  return tensor && tensor.hasStaticShape() ? tensor.getShape()
                                           : llvm::ArrayRef<int64_t>();
}

} // namespace adaptive

#endif // ADAPTIVE_LIB_DIALECT_OPUTILS_H
