// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the decompositions of the kernel ops share: the function they rewrite,
// the columns of the row store that ops read without naming them, and a few
// forms of linalg.generic. Only Decomposer.cpp includes linalg's headers.

#ifndef ADAPTIVE_LIB_CONVERSION_ADAPTIVETOLINALG_DECOMPOSER_H
#define ADAPTIVE_LIB_CONVERSION_ADAPTIVETOLINALG_DECOMPOSER_H

#include "AdaptiveDialect/IR/Adaptive.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

namespace adaptive::oracle {

/// Computes one element; `b` stands in the body of the loop nest.
using Body = llvm::function_ref<mlir::Value(mlir::ImplicitLocOpBuilder &b,
                                            mlir::ValueRange elements)>;
/// The same for two results; the last two elements are the results so far.
using PairBody = llvm::function_ref<std::pair<mlir::Value, mlir::Value>(
    mlir::ImplicitLocOpBuilder &b, mlir::ValueRange elements)>;

class Decomposer {
public:
  explicit Decomposer(mlir::func::FuncOp function);

  /// Rewrites all ops of the dialect in the function; fails, with an error at
  /// each op that has no decomposition, before anything is changed.
  mlir::LogicalResult run();

  mlir::ImplicitLocOpBuilder b;

  //===-- Columns and KV
  //---------------------------------------------------===//

  /// The value of a column: tensor<?xi32>, one entry per row of the function.
  /// `policies` is tensor<?x64xi32>, the words of the policy records. First use
  /// adds an argument with `adaptive.column = name`.
  mlir::Value column(llvm::StringRef name);
  /// The function returns the new value behind its own results, with the same
  /// attribute.
  void setColumn(llvm::StringRef name, mlir::Value value);

  /// Keys and values, tensor<?x?xWxf32> each: [sequence, position, width].
  struct KV {
    mlir::Value keys, values;
  };
  KV kv(mlir::Value value);
  /// What the KV of an append held before: two new arguments.
  KV previousKV(KVType type);
  /// The KV after an append; the function returns it.
  void setKV(mlir::Value value, KV kv);

  //===-- Tensors
  //----------------------------------------------------------===//

  mlir::Value constant(double value, mlir::Type type);
  mlir::Value index(int64_t value);
  /// Extent `dim` of `tensor`.
  mlir::Value extent(mlir::Value tensor, int64_t dim);
  /// A tensor of `shape` (dynamic where `sizes` says so) filled with `value`.
  mlir::Value filled(llvm::ArrayRef<mlir::OpFoldResult> shape,
                     mlir::Value value);
  mlir::Value element(mlir::ImplicitLocOpBuilder &b, mlir::Value tensor,
                      mlir::ValueRange indices);
  /// [n, D] as [n, D / inner, inner], and back.
  mlir::Value split(mlir::Value rows, int64_t inner);
  mlir::Value join(mlir::Value groups);
  /// [1, D] as [D]; a vector as it is.
  mlir::Value asVector(mlir::Value tensor);

  //===-- Loop nests
  //-------------------------------------------------------===//

  /// result[i...] = body(inputs...), over the dimensions of `shape`; `dims` of
  /// an input are the loops that index it.
  struct Input {
    mlir::Value tensor;
    llvm::SmallVector<unsigned> dims;
  };
  mlir::Value elementwise(llvm::ArrayRef<Input> inputs,
                          llvm::ArrayRef<mlir::OpFoldResult> shape,
                          mlir::Type type, Body body);
  /// Sums (or whatever body does) over the loops behind those of `shape`; the
  /// last element given to `body` is the result so far, which starts as
  /// `initial`.
  mlir::Value reduce(llvm::ArrayRef<Input> inputs,
                     llvm::ArrayRef<mlir::OpFoldResult> shape,
                     unsigned reductions, mlir::Value initial, Body body);
  std::pair<mlir::Value, mlir::Value>
  reducePair(llvm::ArrayRef<Input> inputs,
             llvm::ArrayRef<mlir::OpFoldResult> shape, unsigned reductions,
             std::pair<mlir::Value, mlir::Value> initial, PairBody body);
  /// Index of the largest element of each row and that element; ties go to the
  /// lowest index.
  std::pair<mlir::Value, mlir::Value> largest(mlir::Value rows);
  /// The loop index `dim` inside of a body.
  mlir::Value loop(mlir::ImplicitLocOpBuilder &b, unsigned dim);

  /// The region of `op` as the body of a loop nest over its operands.
  mlir::Value inlined(mlir::ImplicitLocOpBuilder &b, mlir::Region &region,
                      mlir::ValueRange elements);

  //===-- Scalars
  //----------------------------------------------------------===//

  mlir::Type f32() { return b.getF32Type(); }
  mlir::Type f64() { return b.getF64Type(); }
  /// A float of any width as f64, or f32: sums run in f64, exp and log in f32.
  mlir::Value wide(mlir::ImplicitLocOpBuilder &b, mlir::Value value);
  mlir::Value narrow(mlir::ImplicitLocOpBuilder &b, mlir::Value value);
  /// An i32 element as an index, clamped to [0, size).
  mlir::Value clamped(mlir::ImplicitLocOpBuilder &b, mlir::Value id,
                      int64_t size);

private:
  mlir::Value argument(mlir::Type type, llvm::StringRef name);
  void replaceKVArguments();
  void finish();

  mlir::func::FuncOp function;
  llvm::MapVector<mlir::StringAttr, mlir::Value> columns;
  llvm::SmallSetVector<mlir::StringAttr, 4> changed;
  llvm::DenseMap<mlir::Value, KV> kvs;
  llvm::SmallVector<KV> appended;
  llvm::SmallVector<unsigned> kvPlaces; ///< of arguments of a KV type
};

/// Rewrite `op` when it is one of the group; false when it is not.
bool decomposeRows(mlir::Operation *op, Decomposer &d);   ///< Rows.cpp
bool decomposeLinear(mlir::Operation *op, Decomposer &d); ///< Linear.cpp
bool decomposeScores(mlir::Operation *op, Decomposer &d); ///< Scores.cpp
bool decomposeExits(mlir::Operation *op, Decomposer &d);  ///< Exits.cpp
bool decomposeKV(mlir::Operation *op, Decomposer &d);     ///< KV.cpp

/// True when one of the groups rewrites ops of this name.
bool hasDecomposition(mlir::Operation *op);

} // namespace adaptive::oracle

#endif // ADAPTIVE_LIB_CONVERSION_ADAPTIVETOLINALG_DECOMPOSER_H
