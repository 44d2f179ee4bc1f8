// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Interprets a carrier function over abstract values and builds the model
// beside it. Rules of operator families are in the files named after them.

#ifndef ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_RAISER_H
#define ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_RAISER_H

#include "AbstractValue.h"
#include "ShapeRules.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/MapVector.h"

namespace adaptive::raising {

class Raiser {
public:
  /// `maxPosition`: positions of computed rotary tables when the file has no
  /// stored table that bounds them; 0: a default, which a remark tells.
  Raiser(mlir::func::FuncOp function, int64_t maxPosition);

  /// Builds the model in the function's module and erases the function. On
  /// failure reports every node that is in the way and leaves the module as it
  /// was.
  llvm::LogicalResult run();

private:
  using Results = llvm::MutableArrayRef<Abstract>;

  //===-- Raiser.cpp
  //--------------------------------------------------------===//
  llvm::LogicalResult bindArguments();
  void addInput(mlir::BlockArgument argument, InputRole role);
  void visit(NodeOp node);
  void apply(NodeOp node, Results results);
  const Abstract &get(mlir::Value value) const;
  const Abstract &input(NodeOp node, unsigned index) const;
  /// `input` as a T, or null.
  template <typename T> const T *inputAs(NodeOp node, unsigned index) const {
    return std::get_if<T>(&input(node, index));
  }
  Unknown fail(const llvm::Twine &reason) const { return {reason.str(), true}; }
  /// `fail`, unless an operand is unknown already: then that one is to blame.
  Unknown failUnlessBlamed(NodeOp node, const llvm::Twine &reason) const;
  bool isCache(mlir::Value output) const;
  std::optional<unsigned> findLogits();
  void reportDropped(unsigned logits);
  std::string outputName(unsigned index);
  llvm::LogicalResult finish();
  void reportUnknowns(llvm::ArrayRef<mlir::Value> roots);
  void discard();
  std::string nameOf(NodeOp node) const;

  //===-- Weights.cpp
  //-------------------------------------------------------===//
  std::optional<WeightRef> weight(mlir::Value value) const;
  /// The weight as a vector or matrix of exactly `shape`; null if it is not
  /// one.
  mlir::Value useVector(const WeightRef &weight, int64_t size);
  mlir::Value useMatrix(const WeightRef &weight, int64_t rows, int64_t columns);
  mlir::Value useTable(llvm::StringRef function,
                       llvm::ArrayRef<double> frequencies);
  mlir::Value useSymbol(mlir::StringRef name, mlir::Type type);
  mlir::Value useConstant(mlir::DenseElementsAttr value, mlir::StringAttr name);
  llvm::StringRef addSymbol(mlir::Operation *op);
  std::optional<llvm::SmallVector<double>>
  vectorElements(mlir::Value value) const;
  void eraseUnusedWeights();

  //===-- Views.cpp
  //---------------------------------------------------------===//
  Abstract reshape(NodeOp node);
  Abstract transpose(NodeOp node);
  Abstract expand(NodeOp node);
  Abstract slice(NodeOp node);
  Abstract sliceValue(NodeOp node, llvm::ArrayRef<SliceRange> ranges);
  Abstract concat(NodeOp node);
  std::optional<Abstract> concatCache(NodeOp node, unsigned axis);
  std::optional<Abstract> concatMixes(NodeOp node, unsigned axis);
  std::optional<Abstract> concatTables(NodeOp node, unsigned axis);
  std::optional<Abstract> concatIndices(NodeOp node, unsigned axis);
  void split(NodeOp node, Results results);
  std::optional<HeadMix> asMix(const Abstract &value, unsigned axis) const;

  //===-- Indices.cpp
  //-------------------------------------------------------===//
  std::optional<AffineIndex> asIndex(mlir::Value value) const;
  std::optional<MaskValue> asMask(mlir::Value value) const;
  /// True if the index along `axis` plus base is the row's position.
  bool isPosition(const AffineIndex &index, unsigned axis) const;
  std::optional<Abstract> indexArithmetic(NodeOp node);
  std::optional<Abstract> compareIndices(NodeOp node);
  std::optional<Abstract> maskArithmetic(NodeOp node);
  std::optional<Abstract> tableArithmetic(NodeOp node);
  Abstract range(NodeOp node), trilu(NodeOp node), cumSum(NodeOp node),
      gatherND(NodeOp node), constantOfShape(NodeOp node);

  //===-- Elementwise.cpp
  //---------------------------------------------------===//
  Abstract elementwise(NodeOp node);
  std::optional<Abstract> mixArithmetic(NodeOp node);
  std::optional<Abstract> scoreArithmetic(NodeOp node);
  Abstract rowArithmetic(NodeOp node);
  /// The value as rows, computed now if it was not yet; nullopt if it is not
  /// rows.
  std::optional<RowsView> rows(const Abstract &value);
  /// The rows themselves, with the scale applied; null for keys with a past.
  mlir::Value plainRows(const RowsView &view);
  /// A `map` over `operands`; null if `body` gives null.
  mlir::Value
  makeMap(mlir::ValueRange operands, mlir::Type type,
          llvm::function_ref<mlir::Value(mlir::OpBuilder &,
                                         llvm::ArrayRef<mlir::Value>)>
              body);

  //===-- Linear.cpp
  //--------------------------------------------------------===//
  Abstract gather(NodeOp node);
  Abstract matmul(NodeOp node);
  Abstract gemm(NodeOp node);
  Abstract linear(const RowsView &x, const WeightRef &weight,
                  bool transposeWeight);

  //===-- Norms.cpp
  //---------------------------------------------------------===//
  Abstract normalization(NodeOp node);
  Abstract reduceMean(NodeOp node);
  std::optional<Abstract> normArithmetic(NodeOp node);
  Abstract makeNorm(NormKind kind, const RowsView &x, const WeightRef &scale,
                    std::optional<WeightRef> bias, double epsilon);

  //===-- Rotary.cpp
  //--------------------------------------------------------===//
  Abstract rotaryEmbedding(NodeOp node);
  std::optional<RowsView> mixAsRows(const HeadMix &mix);
  std::optional<mlir::Value> tableOf(llvm::ArrayRef<Column> columns);
  std::optional<PositionTable> positionTable(NodeOp node, unsigned index);

  //===-- Attention.cpp
  //-----------------------------------------------------===//
  void attention(NodeOp node, Results results);
  Abstract softmax(NodeOp node);
  std::optional<Abstract> attentionMatmul(NodeOp node);
  Abstract attend(const Scores &scores, const RowsView &value,
                  const Axes &resultAxes);
  std::optional<std::string> applyMask(Scores &scores, const MaskValue &mask,
                                       size_t rank, bool replaces) const;

  //===-- Exits.cpp
  //---------------------------------------------------------===//
  Abstract exitPoint(NodeOp node);
  Abstract keep(NodeOp node);
  mlir::Value score(mlir::Value value, Criterion &criterion,
                    std::string &reason);
  int64_t depthOf(mlir::Value value) const;
  llvm::LogicalResult finishExits();

  mlir::func::FuncOp function;
  mlir::ModuleOp module;
  mlir::SymbolTable symbols;
  SymbolicShapes shapes;
  mlir::OpBuilder builder;
  mlir::Location loc;
  int64_t maxPosition;
  bool isDefaultPosition = false; ///< nobody said how long sequences may be
  bool hasComputedTable = false;
  std::optional<int64_t>
      tableLimit; ///< rows of the shortest stored rotary table

  llvm::DenseMap<mlir::Value, Abstract> values;
  ModelOp model;
  SymExpr batch, sequence, past; ///< sizes; `past` is 0 without cache
  std::optional<unsigned> idsArgument;
  llvm::SmallVector<mlir::Attribute> inputs; ///< #adaptive.input
  llvm::StringMap<mlir::Value> uses;
  llvm::DenseMap<mlir::Attribute, std::string>
      madeWeights; ///< symbols by what they hold
  llvm::SmallVector<mlir::Operation *>
      created; ///< module-level ops, for `discard`
  std::map<std::pair<const void *, double>, mlir::Value> scaledRows;
  llvm::DenseMap<mlir::Value, mlir::Value> appended; ///< keys -> kv
  struct ExitRecord {
    NodeOp node;
    ExitOp op;
  };
  struct KeepRecord {
    NodeOp node;
    int64_t layer; ///< attends before the block's input
  };
  llvm::SmallVector<ExitRecord> exits;
  llvm::SmallVector<KeepRecord> keeps;
};

} // namespace adaptive::raising

#endif // ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_RAISER_H
