// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Shape rules of ONNX operators, one per operator or family.

#ifndef ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_SHAPERULES_H
#define ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_SHAPERULES_H

#include "SymbolicShapes.h"

namespace adaptive::raising {

/// The sizes of a shape without symbols; nullopt otherwise or when negative.
std::optional<llvm::SmallVector<int64_t>> constantShape(const Shape &shape);

/// Number of elements of a constant shape; nullopt for others and above 2^31.
std::optional<size_t> numElements(const Shape &shape);

/// Whether a tensor of `extents` broadcasts to `sizes`; a file may claim so.
bool broadcastsTo(llvm::ArrayRef<int64_t> extents,
                  llvm::ArrayRef<int64_t> sizes);

/// Row-major index into a tensor of `extents` for element `at` of the shape
/// `sizes` it is broadcast to.
size_t broadcastIndex(size_t at, llvm::ArrayRef<int64_t> sizes,
                      llvm::ArrayRef<int64_t> extents);

/// Range that Slice takes along one axis.
struct SliceRange {
  SymExpr start, size;
  int64_t step;
};
/// The range for the given bounds on an axis of size `size`; nullopt when it
/// depends on how symbols compare.
std::optional<SliceRange> sliceRange(const SymExpr &start, const SymExpr &end,
                                     int64_t step, const SymExpr &size,
                                     const Symbols &symbols);

/// The ranges of a Slice node per axis of its input; axes it does not name keep
/// their whole range.
std::optional<llvm::SmallVector<SliceRange>>
sliceRanges(const SymbolicShapes &shapes, NodeOp node);

/// Applies the rule of one node. A result left unranked takes its type's shape.
struct ShapeRules {
  SymbolicShapes &shapes;
  NodeOp node;

  void apply(llvm::MutableArrayRef<TensorInfo> results);

private:
  const TensorInfo &in(unsigned index);
  TensorInfo ranked(Shape shape) const;
  TensorInfo shapeOf(), size(), gather(), slice(), concat(), squeeze(),
      unsqueeze(), reshape(), flatten(), expand(), transpose(), range(),
      constantOfShape(), matmul(), gemm(), reduce(), gatherND();
  void attention(llvm::MutableArrayRef<TensorInfo> results);
  void split(llvm::MutableArrayRef<TensorInfo> results);
};

} // namespace adaptive::raising

#endif // ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_SHAPERULES_H
