// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Shapes of all values of a carrier function as expressions over its inputs'
// dimensions, and the elements of those values that are known: constants and
// shape arithmetic. Both simplification and raising stand on it.

#ifndef ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_SYMBOLICSHAPES_H
#define ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_SYMBOLICSHAPES_H

#include "Nodes.h"
#include "Scalars.h"
#include "SymExpr.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseMap.h"

namespace adaptive::raising {

/// Elements of at most this many are kept: shapes, frequencies and small masks
/// are far smaller, and weights are not read at all.
inline constexpr size_t kMaxElements = 1 << 16;

using Shape = llvm::SmallVector<SymExpr, 4>;

/// What is known of one tensor. `elements` is row-major and complete if set;
/// then the shape is constant.
struct TensorInfo {
  bool ranked = false;
  Shape shape;
  std::optional<std::vector<Scalar>> elements;
};

class SymbolicShapes {
public:
  /// Analyses the function; operators without a rule get the shape of their
  /// type, with a fresh symbol per unknown dimension.
  explicit SymbolicShapes(mlir::func::FuncOp function);

  const TensorInfo &of(mlir::Value value) const;
  const Shape &shape(mlir::Value value) const { return of(value).shape; }
  size_t rank(mlir::Value value) const { return of(value).shape.size(); }

  /// Elements of a one-dimensional (or scalar) integer tensor, all constant.
  std::optional<llvm::SmallVector<int64_t>>
  constantInts(mlir::Value value) const;
  /// The single element of a tensor of one element.
  std::optional<Scalar> scalar(mlir::Value value) const;
  /// Operand `index` as integers, or else attribute `name` (older opsets).
  std::optional<llvm::SmallVector<int64_t>> intsOf(NodeOp node, unsigned index,
                                                   llvm::StringRef name) const;

  Symbols symbols;
  bool equal(const SymExpr &a, const SymExpr &b) const {
    return symbols.equal(a, b);
  }
  bool equal(const Shape &a, const Shape &b) const;

private:
  void visit(NodeOp node);
  void finish(mlir::Value value, TensorInfo info);
  TensorInfo fromType(mlir::Type type);
  TensorInfo elementwise(NodeOp node);
  void broadcastInto(Shape &result, const Shape &other);
  friend struct ShapeRules;

  llvm::DenseMap<mlir::Value, TensorInfo> infos;
};

} // namespace adaptive::raising

#endif // ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_SYMBOLICSHAPES_H
