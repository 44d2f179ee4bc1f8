// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a tensor of an exported graph means in terms of rows. Raising interprets
// the graph over these values: a reshape or a transpose changes only how rows
// are looked at, a mask is a function of how far apart query and key stand,
// rotary tables are columns of a function of the position. Only what a model
// must compute becomes an op.

#ifndef ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_ABSTRACTVALUE_H
#define ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_ABSTRACTVALUE_H

#include "SymbolicShapes.h"

#include "AdaptiveDialect/IR/Adaptive.h"

#include <array>
#include <variant>

namespace adaptive::raising {

/// Part of a dimension of the ONNX tensor: the sequences of the batch, the rows
/// of a sequence, or elements of a row `stride` apart (0: repeated).
struct Factor {
  enum Role { Batch, Row, Feature };
  Role role;
  SymExpr size;
  int64_t stride = 0;

  bool operator==(const Factor &other) const {
    return role == other.role && size == other.size && stride == other.stride;
  }
};
/// A dimension, as a product of factors, outermost first; none: size 1.
using Axis = llvm::SmallVector<Factor, 2>;
using Axes = llvm::SmallVector<Axis, 4>;

/// Rows `tensor<?xD>` seen as an ONNX tensor, times `scale`. With `past`, the
/// rows of that cache argument come before those of the launch.
struct RowsView {
  mlir::Value rows;
  Axes axes;
  double scale = 1;
  std::optional<unsigned> past;

  bool sameRows(const RowsView &other) const {
    return rows == other.rows && axes == other.axes && scale == other.scale &&
           past == other.past;
  }
};

/// The token ids, seen as an ONNX tensor.
struct TokenIds {
  Axes axes;
};

/// The K or V cache that argument `argument` brings.
struct CacheInput {
  unsigned argument;
};

/// Integers (or floats) linear in the indices of the dimensions.
struct AffineIndex {
  llvm::SmallVector<int64_t, 4> coefficients; // per dimension
  SymExpr base;
};

/// A number that depends on how far key index minus query index reaches:
/// values[0] up to 0, values[1] up to the length of the past, values[2] beyond.
/// Without axes all three are equal: the same number everywhere.
struct MaskValue {
  int queryAxis = -1, keyAxis = -1;
  std::array<double, 3> values;

  static MaskValue uniform(double value) {
    return {-1, -1, {value, value, value}};
  }
  bool isUniform() const { return keyAxis < 0; }
};

/// A trained tensor: stored outside the IR, or a constant. `transposed` swaps
/// the dimensions of a matrix; dimensions of size 1 may have been added or
/// removed.
struct WeightRef {
  WeightOp op;
  mlir::DenseElementsAttr value;
  bool transposed = false;
  mlir::StringAttr name = {}; ///< of the constant in the file

  llvm::ArrayRef<int64_t> storedShape() const;
  bool operator==(const WeightRef &other) const {
    return op == other.op && value == other.value &&
           transposed == other.transposed;
  }
};

/// One column of a table that is read by the row's position.
struct Column {
  enum Kind { None, Angle, Cos, Sin, Stored };
  Kind kind = None;
  double frequency = 0; ///< Angle, Cos, Sin: of position * frequency
  WeightRef table;      ///< Stored: column `index` of it
  int64_t index = 0;
  double factor = 1;

  bool sameFunction(const Column &other) const {
    return kind == other.kind && frequency == other.frequency &&
           index == other.index && (kind != Stored || table == other.table);
  }
};
/// A tensor whose element is a function of the position (along `positionAxis`)
/// chosen by the index along `columnAxis`.
struct PositionTable {
  unsigned positionAxis, columnAxis;
  std::vector<Column> columns;
};
/// The table of position * frequencies[i].
PositionTable angleTable(unsigned positionAxis, unsigned columnAxis,
                         llvm::ArrayRef<double> frequencies);

/// Elements mixed along one dimension of a view: element i is the sum of its
/// terms. Rotary embedding is such a mix.
struct Term {
  double factor;
  int64_t source; ///< index along the mixed dimension of the base
  Column column;
};
struct HeadMix {
  RowsView base;
  unsigned axis;
  std::vector<llvm::SmallVector<Term, 2>> elements;
};

/// Pieces of a normalisation on its way: x*x, x - mean(x), mean(...) and what
/// is computed from it, x / sqrt(mean(...) + epsilon).
struct Square {
  RowsView x;
  bool centered;
};
struct Centered {
  RowsView x;
};
struct RowStat {
  RowsView x;
  bool ofSquares, centered;
  double epsilon;
  double power; ///< 1, 0.5 or -0.5
};
struct Normalized {
  NormKind kind;
  RowsView x;
  double epsilon;
  std::optional<WeightRef> scale;
};

/// Query times key, on its way to attention.
struct Scores {
  RowsView query, key;
  double scale;
  bool causal = false;
  /// Added to the scores of later positions, in units of the scores: what
  /// hides them.
  double hiding = 0;
  enum Stage { Raw, Probabilities, IsNaN } stage = Raw;
};

/// A tuple of indices in the last dimension, as GatherND takes it.
struct IndexTuple {
  std::vector<AffineIndex> parts;
};

/// A truth value or score per row that only exits look at; matched by its
/// nodes.
struct RowFlag {
  unsigned argument;
};

/// An optional operand that is not given.
struct Absent {};

/// Elements that shape analysis knows: sizes, axes, small constants.
struct Known {};

/// Not understood. `root`: it starts here, otherwise an operand is to blame.
struct Unknown {
  std::string reason;
  bool root = false;
};

using Abstract = std::variant<Unknown, Absent, Known, RowsView, TokenIds,
                              CacheInput, AffineIndex, MaskValue, WeightRef,
                              PositionTable, HeadMix, Square, Centered, RowStat,
                              Normalized, Scores, IndexTuple, RowFlag>;

/// The number everywhere, if it is the same everywhere and no symbol.
std::optional<double> uniformValue(const Abstract &value);

//===-- Axes --------------------------------------------------------------===//

/// The view's dimensions as `target`: factors are regrouped in order and split
/// where needed. nullopt when they do not fit.
std::optional<Axes> reshapeAxes(const Axes &axes, const Shape &target,
                                const Symbols &symbols);

bool hasRole(const Axis &axis, Factor::Role role);

/// If the axis runs over consecutive elements (stride 1 innermost, without gaps
/// or repetition), their number.
std::optional<int64_t> contiguousWidth(const Axis &axis);

/// Whether all features of the view, in the order of its dimensions, are the
/// `width` elements of a row in order.
bool isWholeRow(const Axes &axes, int64_t width);

} // namespace adaptive::raising

#endif // ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_ABSTRACTVALUE_H
