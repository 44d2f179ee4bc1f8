// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tensors as values of a function: small ones as constants, large ones as uses
// of weights. Equal contents become one op, whatever their names.

#ifndef ADAPTIVEDIALECT_LIB_IMPORT_CONSTANTS_H
#define ADAPTIVEDIALECT_LIB_IMPORT_CONSTANTS_H

#include "OnnxBorder.h"
#include "TensorIndex.h"

#include "AdaptiveDialect/IR/Adaptive.h"
#include "AdaptiveDialect/Import/WeightStore.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/StringMap.h"

#include <optional>

namespace adaptive {

/// What becomes of a tensor of the file: tensors of more than 4096 elements are
/// weights, but integers that may be indices or masks only above 1 MiB.
TensorRewrite placeTensor(const TensorEntry &entry, uint64_t bytes);

/// The tensor as an attribute; null if its element type is none of MLIR's.
mlir::DenseElementsAttr denseAttribute(const onnx_border::Tensor &tensor,
                                       mlir::MLIRContext *context);

class Constants {
public:
  Constants(mlir::ModuleOp module, WeightStore &store, std::string source);

  /// Values are made at the start of `block` from now on.
  void enterFunction(mlir::Block &block);

  /// The value of `tensor`; fails, in one line, when its bytes cannot be read,
  /// and gives null if its element type is none of MLIR's.
  ee::Expected<mlir::Value> get(const onnx_border::Tensor &tensor,
                                mlir::Location loc);
  /// The value of a small constant.
  mlir::Value constant(mlir::DenseElementsAttr value, mlir::Location loc);
  /// The value of an absent input.
  mlir::Value none();

  /// Writes down which initialisers share a weight. Call once, at the end.
  void finish();

private:
  struct Shared {
    WeightOp op;
    llvm::ArrayRef<char> data;
    llvm::SmallVector<std::string, 1> names;
  };
  template <typename Op, typename... Args> Op append(Args &&...args);
  ee::Expected<size_t> weight(const onnx_border::Tensor &tensor,
                              mlir::Location loc);

  mlir::ModuleOp module;
  WeightStore &store;
  std::string source;
  mlir::SymbolTable symbols;
  std::vector<Shared> weights;
  llvm::StringMap<llvm::SmallVector<size_t, 1>> byContent;

  mlir::OpBuilder builder;
  mlir::Block *entry = nullptr;
  mlir::Operation *last = nullptr; ///< the last constant of the function
  llvm::DenseMap<mlir::Attribute, mlir::Value> constants; ///< of this function
  llvm::DenseMap<size_t, mlir::Value> uses;
  mlir::Value absent;
};

} // namespace adaptive

#endif // ADAPTIVEDIALECT_LIB_IMPORT_CONSTANTS_H
