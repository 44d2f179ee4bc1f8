// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Access to the attributes of carrier nodes. Attributes come from a file, so a
// wrong kind counts as absent.

#ifndef ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_NODES_H
#define ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_NODES_H

#include "AdaptiveDialect/IR/Onnx.h"

#include "mlir/IR/BuiltinAttributes.h"

namespace adaptive::raising {

using onnx_carrier::NodeOp;

inline std::optional<int64_t> findInt(NodeOp node, llvm::StringRef name) {
  auto value =
      llvm::dyn_cast_or_null<mlir::IntegerAttr>(node.getOnnxAttr(name));
  if (!value || value.getValue().getSignificantBits() > 64)
    return std::nullopt;
  return value.getValue().getSExtValue();
}

inline int64_t intAttr(NodeOp node, llvm::StringRef name, int64_t absent) {
  return findInt(node, name).value_or(absent);
}

inline std::optional<double> findFloat(NodeOp node, llvm::StringRef name) {
  auto value = llvm::dyn_cast_or_null<mlir::FloatAttr>(node.getOnnxAttr(name));
  return value ? std::optional<double>(value.getValueAsDouble()) : std::nullopt;
}

inline double floatAttr(NodeOp node, llvm::StringRef name, double absent) {
  return findFloat(node, name).value_or(absent);
}

inline llvm::StringRef stringAttr(NodeOp node, llvm::StringRef name) {
  auto value = llvm::dyn_cast_or_null<mlir::StringAttr>(node.getOnnxAttr(name));
  return value ? value.getValue() : llvm::StringRef();
}

inline std::optional<llvm::SmallVector<int64_t>>
findInts(NodeOp node, llvm::StringRef name) {
  if (auto dense = llvm::dyn_cast_or_null<mlir::DenseI64ArrayAttr>(
          node.getOnnxAttr(name)))
    return llvm::SmallVector<int64_t>(dense.asArrayRef());
  return std::nullopt;
}

/// True if operand `index` exists and is not absent.
inline bool hasInput(NodeOp node, unsigned index) {
  return index < node.getInputs().size() &&
         !llvm::isa_and_nonnull<onnx_carrier::NoneOp>(
             node.getInputs()[index].getDefiningOp());
}

/// `axis` of a tensor of `rank` dimensions, counted from the front; nullopt
/// when it lies outside.
inline std::optional<unsigned> normalAxis(int64_t axis, size_t rank) {
  if (axis < 0)
    axis += int64_t(rank);
  if (axis < 0 || axis >= int64_t(rank))
    return std::nullopt;
  return unsigned(axis);
}

/// Attribute `perm` of a Transpose of `rank` dimensions (absent: reversed);
/// nullopt when it is no permutation.
inline std::optional<llvm::SmallVector<unsigned>> permutation(NodeOp node,
                                                              size_t rank) {
  auto given = findInts(node, "perm");
  if (given && given->size() != rank)
    return std::nullopt;
  llvm::SmallVector<unsigned> result;
  llvm::SmallVector<bool> seen(rank, false);
  for (size_t i = 0; i < rank; ++i) {
    auto axis = given ? normalAxis((*given)[i], rank)
                      : std::optional<unsigned>(rank - 1 - i);
    if (!axis || seen[*axis])
      return std::nullopt;
    seen[*axis] = true;
    result.push_back(*axis);
  }
  return result;
}

} // namespace adaptive::raising

#endif // ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_NODES_H
