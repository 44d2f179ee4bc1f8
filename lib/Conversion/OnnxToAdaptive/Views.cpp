// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Operators that only move elements: they change how a value is looked at.

#include "Raiser.h"

#include "ShapeRules.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::raising;

/// For each dimension of `to` the dimension of `from` it is, -1 for one of size
/// 1, when the two differ in dimensions of size 1 only.
static std::optional<SmallVector<int>>
unitMap(const Shape &from, const Shape &to, const SymbolicShapes &shapes) {
  SmallVector<int> result;
  size_t next = 0;
  auto skipUnits = [&] {
    while (next < from.size() && from[next].isConstant(1))
      ++next;
  };
  for (const SymExpr &size : to) {
    if (size.isConstant(1)) {
      result.push_back(-1);
      continue;
    }
    skipUnits();
    if (next == from.size() || !shapes.equal(from[next], size))
      return std::nullopt;
    result.push_back(int(next++));
  }
  skipUnits();
  return next == from.size() ? std::optional(result) : std::nullopt;
}

/// Position of `axis` in a map from new to old dimensions.
static std::optional<unsigned> mapped(ArrayRef<int> map, unsigned axis) {
  auto *found = llvm::find(map, int(axis));
  return found == map.end() ? std::nullopt
                            : std::optional<unsigned>(found - map.begin());
}

/// Values that are functions of indices, seen through a map from new to old
/// dimensions; nullopt for other values or when an axis that matters is lost.
static std::optional<Abstract> remap(const Abstract &value, ArrayRef<int> map) {
  if (auto *index = std::get_if<AffineIndex>(&value)) {
    AffineIndex result{{}, index->base};
    for (int axis : map)
      result.coefficients.push_back(axis < 0 ? 0 : index->coefficients[axis]);
    return result;
  }
  if (auto *region = std::get_if<MaskValue>(&value)) {
    if (region->isUniform())
      return *region;
    auto query = mapped(map, region->queryAxis),
         key = mapped(map, region->keyAxis);
    if (!query || !key)
      return std::nullopt;
    return MaskValue{int(*query), int(*key), region->values};
  }
  if (auto *table = std::get_if<PositionTable>(&value)) {
    auto position = mapped(map, table->positionAxis),
         column = mapped(map, table->columnAxis);
    if (!position || !column)
      return std::nullopt;
    return PositionTable{*position, *column, table->columns};
  }
  if (auto *mix = std::get_if<HeadMix>(&value)) {
    auto axis = mapped(map, mix->axis);
    if (!axis)
      return std::nullopt;
    HeadMix result{mix->base, *axis, mix->elements};
    result.base.axes.clear();
    for (int old : map)
      result.base.axes.push_back(old < 0 ? Axis() : mix->base.axes[old]);
    return result;
  }
  return std::nullopt;
}

static bool isIndexLike(const Abstract &value) {
  return std::holds_alternative<AffineIndex>(value) ||
         std::holds_alternative<MaskValue>(value) ||
         std::holds_alternative<PositionTable>(value);
}

Abstract Raiser::reshape(NodeOp node) {
  const Abstract &value = input(node, 0);
  const Shape &from = shapes.shape(node.getInputs()[0]),
              &to = shapes.shape(node.getResult(0));
  if (auto *ids = std::get_if<TokenIds>(&value)) {
    auto axes = reshapeAxes(ids->axes, to, shapes.symbols);
    return axes ? Abstract(TokenIds{*axes})
                : fail("reshape mixes sequences and tokens");
  }
  auto units = unitMap(from, to, shapes);
  if (isIndexLike(value) || (std::holds_alternative<HeadMix>(value) && units)) {
    if (auto number = uniformValue(value))
      return MaskValue::uniform(*number);
    if (units)
      if (auto result = remap(value, *units))
        return *result;
    return fail("reshape of a mask or table that changes more than dimensions "
                "of size 1");
  }
  if (std::holds_alternative<WeightRef>(value) && units)
    return value;
  if (std::holds_alternative<CacheInput>(value) && units)
    return value;
  if (std::holds_alternative<RowFlag>(value) && units)
    return value;
  if (std::holds_alternative<Scores>(value) && from.size() >= 2 &&
      to.size() >= 2 && shapes.equal(from.back(), to.back()) &&
      shapes.equal(from[from.size() - 2], to[to.size() - 2]))
    return value;
  if (auto *view = std::get_if<RowsView>(&value)) {
    auto axes = reshapeAxes(view->axes, to, shapes.symbols);
    if (!axes)
      return fail("reshape mixes rows or splits elements unevenly");
    return RowsView{view->rows, *axes, view->scale, view->past};
  }
  if (auto view = rows(value)) {
    auto axes = reshapeAxes(view->axes, to, shapes.symbols);
    if (axes)
      return RowsView{view->rows, *axes, view->scale, view->past};
  }
  return failUnlessBlamed(node, "reshape of a value that is no view of rows");
}

Abstract Raiser::transpose(NodeOp node) {
  const Abstract &value = input(node, 0);
  size_t rank = shapes.rank(node.getInputs()[0]);
  auto order = permutation(node, rank);
  if (!order)
    return failUnlessBlamed(node,
                            "perm is not a permutation of the dimensions");
  SmallVector<int> map(order->begin(), order->end());
  bool identity = llvm::is_sorted(map);
  if (identity && !std::holds_alternative<Unknown>(value))
    return value;
  auto permuted = [&](const Axes &axes) {
    Axes result;
    for (int axis : map)
      result.push_back(axes[axis]);
    return result;
  };
  if (auto *known = std::get_if<WeightRef>(&value)) {
    if (rank == 2 && known->storedShape().size() == 2) {
      WeightRef result = *known;
      result.transposed = !result.transposed;
      return result;
    }
    return fail("transpose of a weight that is no matrix");
  }
  if (auto *ids = std::get_if<TokenIds>(&value))
    return TokenIds{permuted(ids->axes)};
  if (std::holds_alternative<CacheInput>(value))
    return value;
  if (auto result = remap(value, map))
    return *result;
  if (auto *view = std::get_if<RowsView>(&value))
    return RowsView{view->rows, permuted(view->axes), view->scale, view->past};
  if (auto view = rows(value))
    return RowsView{view->rows, permuted(view->axes), view->scale, view->past};
  return failUnlessBlamed(node, "transpose of a value that is no view of rows");
}

Abstract Raiser::expand(NodeOp node) {
  const Abstract &value = input(node, 0);
  const Shape &from = shapes.shape(node.getInputs()[0]),
              &to = shapes.shape(node.getResult(0));
  if (from.size() > to.size())
    return failUnlessBlamed(node, "expands to fewer dimensions");
  size_t added = to.size() - from.size();
  SmallVector<int> map(added, -1);
  for (size_t i = 0; i < from.size(); ++i)
    map.push_back(from[i].isConstant(1) ? -1 : int(i));
  if (isIndexLike(value)) {
    if (auto number = uniformValue(value))
      return MaskValue::uniform(*number);
    // A dimension of size 1 holds one index value, whatever it is repeated to.
    if (auto result = remap(value, map))
      return *result;
    return fail("repeats a table along its own dimension");
  }
  bool same = added == 0 && shapes.equal(from, to);
  if (same && !std::holds_alternative<Unknown>(value))
    return value;
  if (std::holds_alternative<WeightRef>(value))
    return value;
  auto view = std::holds_alternative<RowsView>(value)
                  ? std::optional<RowsView>(std::get<RowsView>(value))
                  : rows(value);
  if (!view)
    return failUnlessBlamed(node, "repeats a value that is no view of rows");
  Axes axes(added);
  axes.append(view->axes.begin(), view->axes.end());
  for (size_t i = 0; i < to.size(); ++i) {
    SymExpr before = i < added ? SymExpr(1) : from[i - added];
    if (before.isConstant(1) && !to[i].isConstant(1)) {
      if (!to[i].isConstant())
        return fail("repeats rows along a dynamic dimension");
      axes[i].push_back({Factor::Feature, to[i], 0});
    }
  }
  return RowsView{view->rows, axes, view->scale, view->past};
}

std::optional<HeadMix> Raiser::asMix(const Abstract &value,
                                     unsigned axis) const {
  if (auto *mix = std::get_if<HeadMix>(&value))
    return mix->axis == axis ? std::optional(*mix) : std::nullopt;
  auto *view = std::get_if<RowsView>(&value);
  if (!view || axis >= view->axes.size() || view->axes[axis].size() != 1)
    return std::nullopt;
  const Factor &factor = view->axes[axis][0];
  auto size = factor.size.constant();
  if (factor.role != Factor::Feature || factor.stride == 0 || !size)
    return std::nullopt;
  HeadMix mix{*view, axis, {}};
  mix.base.scale = 1;
  for (int64_t i = 0; i < *size; ++i)
    mix.elements.push_back({Term{view->scale, i, {}}});
  return mix;
}

Abstract Raiser::sliceValue(NodeOp node, ArrayRef<SliceRange> ranges) {
  const Abstract &value = input(node, 0);
  const Shape &from = shapes.shape(node.getInputs()[0]);
  SmallVector<unsigned> partial;
  for (auto [axis, range] : llvm::enumerate(ranges))
    if (range.step != 1 || !shapes.equal(range.size, from[axis]))
      partial.push_back(axis);
  if (partial.empty() && !std::holds_alternative<Unknown>(value))
    return value;
  if (auto *index = std::get_if<AffineIndex>(&value)) {
    AffineIndex result = *index;
    for (unsigned axis : partial) {
      result.base =
          result.base + ranges[axis].start * SymExpr(result.coefficients[axis]);
      result.coefficients[axis] *= ranges[axis].step;
    }
    return result;
  }
  if (auto *region = std::get_if<MaskValue>(&value)) {
    for (unsigned axis : partial)
      if (!region->isUniform() &&
          (int(axis) == region->queryAxis || int(axis) == region->keyAxis) &&
          (ranges[axis].step != 1 || !ranges[axis].start.isConstant(0)))
        return fail("slice shifts a mask");
    return value;
  }
  if (partial.size() != 1)
    return failUnlessBlamed(node, "slice of several dimensions");
  unsigned axis = partial[0];
  auto start = ranges[axis].start.constant(),
       size = ranges[axis].size.constant();
  if (auto *table = std::get_if<PositionTable>(&value)) {
    if (axis != table->columnAxis || !start || !size)
      return fail("slice of a rotary table by position");
    PositionTable result{table->positionAxis, table->columnAxis, {}};
    for (int64_t i = 0; i < *size; ++i)
      result.columns.push_back(table->columns[*start + i * ranges[axis].step]);
    return result;
  }
  if (std::holds_alternative<Normalized>(value) ||
      std::holds_alternative<RowsView>(value) ||
      std::holds_alternative<HeadMix>(value)) {
    std::optional<HeadMix> mix = asMix(value, axis);
    if (!mix)
      if (auto view = rows(value))
        mix = asMix(*view, axis);
    if (!mix || !start || !size)
      return fail("slice takes some of the rows, or of elements that are not "
                  "side by side");
    HeadMix result{mix->base, mix->axis, {}};
    for (int64_t i = 0; i < *size; ++i)
      result.elements.push_back(mix->elements[*start + i * ranges[axis].step]);
    return result;
  }
  return failUnlessBlamed(node, "slice of a value that is no view of rows");
}

Abstract Raiser::slice(NodeOp node) {
  auto ranges = sliceRanges(shapes, node);
  if (ranges)
    return sliceValue(node, *ranges);
  if (auto number = uniformValue(input(node, 0)))
    return MaskValue::uniform(*number);
  return failUnlessBlamed(node, "bounds of the slice are not known");
}

void Raiser::split(NodeOp node, Results results) {
  const Shape &from = shapes.shape(node.getInputs()[0]);
  auto axis = normalAxis(intAttr(node, "axis", 0), from.size());
  SymExpr start(0);
  for (auto [value, result] : llvm::zip(node.getResults(), results)) {
    const Shape &to = shapes.shape(value);
    if (!axis || to.size() != from.size() || !to[*axis].isConstant()) {
      result = failUnlessBlamed(node, "sizes of the split are not known");
      continue;
    }
    SmallVector<SliceRange> ranges;
    for (const SymExpr &size : from)
      ranges.push_back({SymExpr(0), size, 1});
    ranges[*axis] = {start, to[*axis], 1};
    result = sliceValue(node, ranges);
    start = start + to[*axis];
  }
}

/// Cache then rows of the launch: the keys or values of all positions.
std::optional<Abstract> Raiser::concatCache(NodeOp node, unsigned axis) {
  auto *cache = inputAs<CacheInput>(node, 0);
  if (!cache || node.getInputs().size() != 2)
    return std::nullopt;
  auto view = rows(input(node, 1));
  if (!view)
    return failUnlessBlamed(node,
                            "what is appended to the cache is no view of rows");
  if (view->axes[axis].size() != 1 || view->axes[axis][0].role != Factor::Row)
    return fail(
        "the cache is extended along a dimension that is not the sequence");
  view->axes[axis][0].size = past + sequence;
  view->past = cache->argument;
  return *view;
}

std::optional<Abstract> Raiser::concatMixes(NodeOp node, unsigned axis) {
  std::optional<HeadMix> result;
  for (Value operand : node.getInputs()) {
    auto part = asMix(get(operand), axis);
    if (!part || (result && !result->base.sameRows(part->base)))
      return std::nullopt;
    if (!result)
      result = part;
    else
      result->elements.insert(result->elements.end(), part->elements.begin(),
                              part->elements.end());
  }
  return *result;
}

std::optional<Abstract> Raiser::concatTables(NodeOp node, unsigned axis) {
  std::optional<PositionTable> result;
  for (Value operand : node.getInputs()) {
    auto *part = std::get_if<PositionTable>(&get(operand));
    if (!part || part->columnAxis != axis ||
        (result && result->positionAxis != part->positionAxis))
      return std::nullopt;
    if (!result)
      result = *part;
    else
      result->columns.insert(result->columns.end(), part->columns.begin(),
                             part->columns.end());
  }
  return *result;
}

std::optional<Abstract> Raiser::concatIndices(NodeOp node, unsigned axis) {
  SmallVector<AffineIndex> parts;
  for (Value operand : node.getInputs()) {
    auto part = asIndex(operand);
    if (!part)
      return std::nullopt;
    parts.push_back(*part);
  }
  // Parts that continue one another are one range.
  bool continuous = true;
  SymExpr at = parts[0].base;
  int64_t step = parts.back().coefficients[axis];
  for (auto [part, operand] : llvm::zip(parts, node.getInputs())) {
    const SymExpr &size = shapes.shape(operand)[axis];
    continuous &= part.base == at &&
                  (size.isConstant(1) || part.coefficients[axis] == step);
    for (size_t i = 0; i < part.coefficients.size(); ++i)
      continuous &=
          i == axis || part.coefficients[i] == parts[0].coefficients[i];
    at = at + size * SymExpr(step);
  }
  if (continuous) {
    AffineIndex result = parts.back();
    result.base = parts[0].base;
    return result;
  }
  bool single = axis + 1 == parts[0].coefficients.size();
  for (Value operand : node.getInputs())
    single &= shapes.shape(operand)[axis].isConstant(1);
  if (single)
    return IndexTuple{{parts.begin(), parts.end()}};
  return std::nullopt;
}

Abstract Raiser::concat(NodeOp node) {
  if (node.getInputs().size() == 1)
    return input(node, 0);
  size_t rank = shapes.rank(node.getResult(0));
  auto axis = normalAxis(intAttr(node, "axis", 0), rank);
  if (!axis)
    return failUnlessBlamed(node, "axis lies outside of the tensor");
  for (Value operand : node.getInputs())
    if (shapes.rank(operand) != rank)
      return failUnlessBlamed(node, "its operands differ in rank");
  if (auto result = concatCache(node, *axis))
    return *result;
  if (auto result = concatMixes(node, *axis))
    return *result;
  if (auto result = concatTables(node, *axis))
    return *result;
  if (auto result = concatIndices(node, *axis))
    return *result;
  std::optional<double> number;
  for (Value operand : node.getInputs()) {
    auto region = asMask(operand);
    if (!region || !region->isUniform() ||
        (number && *number != region->values[0]))
      return failUnlessBlamed(
          node, "concatenates values that do not belong together");
    number = region->values[0];
  }
  return MaskValue::uniform(*number);
}
