// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rotary embedding: as one operator, and recognised from what a chain of
// slices, negations, products with tables and sums does to each element of a
// head.

#include "Raiser.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::raising;

std::optional<Value> Raiser::tableOf(ArrayRef<Column> columns) {
  if (columns.empty())
    return std::nullopt;
  SmallVector<double> frequencies;
  for (auto [index, column] : llvm::enumerate(columns)) {
    if (column.kind != columns[0].kind || column.factor != 1)
      return std::nullopt;
    if (column.kind == Column::Stored &&
        (!(column.table == columns[0].table) || column.index != int64_t(index)))
      return std::nullopt;
    frequencies.push_back(column.frequency);
  }
  if (columns[0].kind == Column::Stored) {
    ArrayRef<int64_t> shape = columns[0].table.storedShape();
    if (shape.size() != 2 || shape[1] != int64_t(columns.size()))
      return std::nullopt;
    tableLimit = std::min(tableLimit.value_or(shape[0]), shape[0]);
    return useMatrix(columns[0].table, shape[0], shape[1]);
  }
  if (columns[0].kind != Column::Cos && columns[0].kind != Column::Sin)
    return std::nullopt;
  hasComputedTable = true;
  return useTable(columns[0].kind == Column::Cos ? "cos" : "sin", frequencies);
}

namespace {
/// What a mix must be to be a rotation of pairs.
struct Rotation {
  bool interleaved;
  double factor;
  SmallVector<Column> cos, sin;
};
} // namespace

/// Reads the mix as a rotation of the first 2 * pairs elements.
static std::optional<Rotation> readRotation(const HeadMix &mix, size_t pairs,
                                            bool interleaved) {
  Rotation result{interleaved, 0, {}, {}};
  for (size_t i = 0; i < mix.elements.size(); ++i) {
    const auto &terms = mix.elements[i];
    if (i == 0)
      result.factor = terms[0].factor;
    if (i >= 2 * pairs) {
      if (terms.size() != 1 || terms[0].source != int64_t(i) ||
          terms[0].column.kind != Column::None ||
          terms[0].factor != result.factor)
        return std::nullopt;
      continue;
    }
    if (terms.size() != 2)
      return std::nullopt;
    bool isFirst = interleaved ? i % 2 == 0 : i < pairs;
    size_t pair = interleaved ? i / 2 : i % pairs;
    size_t partner = interleaved ? i ^ 1 : isFirst ? i + pairs : i - pairs;
    // Terms come in either order.
    unsigned own = terms[0].source == int64_t(i) ? 0 : 1;
    const Term &self = terms[own], &other = terms[1 - own];
    if (self.source != int64_t(i) || other.source != int64_t(partner) ||
        self.factor != result.factor ||
        other.factor != (isFirst ? -result.factor : result.factor))
      return std::nullopt;
    if (isFirst) {
      if (result.cos.size() != pair)
        return std::nullopt;
      result.cos.push_back(self.column);
      result.sin.push_back(other.column);
    } else if (!self.column.sameFunction(result.cos[pair]) ||
               !other.column.sameFunction(result.sin[pair])) {
      return std::nullopt;
    }
  }
  return result;
}

/// True if the mix leaves every element where it is, times one factor.
static bool isPlain(const HeadMix &mix, int64_t size) {
  if (int64_t(mix.elements.size()) != size)
    return false;
  for (auto [i, terms] : llvm::enumerate(mix.elements))
    if (terms.size() != 1 || terms[0].source != int64_t(i) ||
        terms[0].column.kind != Column::None ||
        terms[0].factor != mix.elements[0][0].factor)
      return false;
  return size > 0;
}

std::optional<RowsView> Raiser::mixAsRows(const HeadMix &mix) {
  RowsView view = mix.base;
  const Axis &axis = view.axes[mix.axis];
  auto size = axis.size() == 1 ? axis[0].size.constant() : std::nullopt;
  if (!size || int64_t(mix.elements.size()) != *size)
    return std::nullopt;
  if (isPlain(mix, *size)) {
    view.scale *= mix.elements[0][0].factor;
    return view;
  }
  size_t rotated = llvm::count_if(
      mix.elements, [](const auto &terms) { return terms.size() == 2; });
  int64_t whole = cast<RankedTensorType>(view.rows.getType()).getDimSize(1);
  if (rotated < 2 || rotated % 2 || axis[0].stride != 1 || whole % *size ||
      view.past)
    return std::nullopt;
  auto rotation = readRotation(mix, rotated / 2, false);
  if (!rotation)
    rotation = readRotation(mix, rotated / 2, true);
  if (!rotation)
    return std::nullopt;
  auto cos = tableOf(rotation->cos), sin = tableOf(rotation->sin);
  Value input = plainRows(view);
  if (!cos || !sin || !*cos || !*sin || !input)
    return std::nullopt;
  bool sinFirst = rotation->cos[0].kind == Column::Sin ||
                  rotation->sin[0].kind == Column::Cos;
  if (sinFirst)
    return std::nullopt;
  view.rows = RopeOp::create(builder, loc, input.getType(), input, *cos, *sin,
                             *size, rotation->interleaved);
  view.scale = rotation->factor;
  return view;
}

/// Operand `index` of RotaryEmbedding as columns by position: gathered before,
/// or a stored table with position ids.
std::optional<PositionTable> Raiser::positionTable(NodeOp node,
                                                   unsigned index) {
  if (auto *table = inputAs<PositionTable>(node, index))
    return *table;
  if (!hasInput(node, 3))
    return std::nullopt;
  auto stored = weight(node.getInputs()[index]);
  auto *position = inputAs<AffineIndex>(node, 3);
  if (!stored || !position || stored->transposed ||
      stored->storedShape().size() != 2 || position->coefficients.size() != 2 ||
      !isPosition(*position, 1))
    return std::nullopt;
  PositionTable result{1, 2, {}};
  for (int64_t i = 0; i < stored->storedShape()[1]; ++i) {
    Column column;
    column.kind = Column::Stored;
    column.table = *stored;
    column.index = i;
    result.columns.push_back(column);
  }
  return result;
}

Abstract Raiser::rotaryEmbedding(NodeOp node) {
  auto view = rows(input(node, 0));
  if (!view)
    return failUnlessBlamed(node, "rotates a value that is no view of rows");
  auto cos = positionTable(node, 1), sin = positionTable(node, 2);
  if (!cos || !sin)
    return failUnlessBlamed(node, "its tables are not read by the position");
  int64_t heads = intAttr(node, "num_heads", 0), headDim;
  if (view->axes.size() == 4) {
    auto width = contiguousWidth(view->axes[3]);
    if (!width)
      return fail("heads do not lie side by side in a row");
    headDim = *width;
  } else {
    auto width =
        view->axes.size() == 3 ? contiguousWidth(view->axes[2]) : std::nullopt;
    if (!width || heads <= 0 || *width % heads)
      return fail("num_heads does not divide the row");
    headDim = *width / heads;
  }
  int64_t rotated = intAttr(node, "rotary_embedding_dim", 0);
  rotated = rotated > 0 ? rotated : headDim;
  int64_t whole = cast<RankedTensorType>(view->rows.getType()).getDimSize(1);
  auto pairsFit = [&](const PositionTable &table) {
    return int64_t(table.columns.size()) * 2 == rotated;
  };
  if (rotated > headDim || !pairsFit(*cos) || !pairsFit(*sin) ||
      !isWholeRow(view->axes, whole) || whole % headDim)
    return fail("tables, heads and row do not fit together");
  auto cosTable = tableOf(cos->columns), sinTable = tableOf(sin->columns);
  Value input = plainRows(*view);
  if (!cosTable || !sinTable || !*cosTable || !*sinTable || !input)
    return fail("its tables are not whole tables of cosines and sines");
  Value result =
      RopeOp::create(builder, loc, input.getType(), input, *cosTable, *sinTable,
                     headDim, intAttr(node, "interleaved", 0) != 0);
  return RowsView{result, view->axes, 1, std::nullopt};
}
