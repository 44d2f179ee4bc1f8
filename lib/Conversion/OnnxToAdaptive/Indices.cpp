// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Values that depend on indices only: positions, masks, rotary tables. A mask
// is proven causal here, by what its numbers are at every distance between key
// and query.

#include "Raiser.h"

#include "ShapeRules.h"

#include <cmath>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::raising;

std::optional<AffineIndex> Raiser::asIndex(Value value) const {
  const Abstract &known = get(value);
  const TensorInfo &info = shapes.of(value);
  if (auto *index = std::get_if<AffineIndex>(&known))
    return *index;
  AffineIndex result{SmallVector<int64_t, 4>(info.shape.size(), 0), SymExpr(0)};
  if (auto *region = std::get_if<MaskValue>(&known)) {
    double whole = region->values[0];
    if (!region->isUniform() || whole != double(int64_t(whole)))
      return std::nullopt;
    result.base = SymExpr(int64_t(whole));
    return result;
  }
  if (!info.ranked || !info.elements || info.elements->empty())
    return std::nullopt;
  // One number, or numbers that go up evenly along one dimension.
  SymExpr step(0);
  for (size_t i = 0; i < info.elements->size(); ++i) {
    const Scalar &element = (*info.elements)[i];
    if (element.isFloat)
      return std::nullopt;
    if (i == 1)
      step = element.integer - (*info.elements)[0].integer;
    if (i > 0 && element.integer - (*info.elements)[i - 1].integer != step)
      return std::nullopt;
  }
  result.base = (*info.elements)[0].integer;
  if (step.isConstant(0))
    return result;
  for (auto [axis, size] : llvm::enumerate(info.shape)) {
    if (size.isConstant(1))
      continue;
    if (!size.isConstant(int64_t(info.elements->size())) || !step.isConstant())
      return std::nullopt;
    result.coefficients[axis] = *step.constant();
  }
  return result;
}

std::optional<MaskValue> Raiser::asMask(Value value) const {
  const Abstract &known = get(value);
  if (auto *region = std::get_if<MaskValue>(&known))
    return *region;
  if (auto number = uniformValue(known))
    return MaskValue::uniform(*number);
  const TensorInfo &info = shapes.of(value);
  if (!info.elements || info.elements->empty())
    return std::nullopt;
  auto first = info.elements->front().number();
  if (!first || !llvm::all_of(*info.elements, [&](const Scalar &e) {
        return e == info.elements->front();
      }))
    return std::nullopt;
  return MaskValue::uniform(*first);
}

bool Raiser::isPosition(const AffineIndex &index, unsigned axis) const {
  for (auto [i, coefficient] : llvm::enumerate(index.coefficients))
    if (coefficient != (i == axis ? 1 : 0))
      return false;
  return shapes.equal(index.base, past);
}

/// An operand's coefficients, aligned with the dimensions of a result of
/// `rank`.
static SmallVector<int64_t, 4> aligned(const AffineIndex &index, size_t rank) {
  SmallVector<int64_t, 4> result(rank, 0);
  llvm::copy(index.coefficients, result.end() - index.coefficients.size());
  return result;
}

std::optional<Abstract> Raiser::indexArithmetic(NodeOp node) {
  StringRef name = node.getOpType();
  auto a = asIndex(node.getInputs()[0]);
  if (!a)
    return std::nullopt;
  Type type = getElementTypeOrSelf(node.getResult(0).getType());
  if (name == "Identity" ||
      ((name == "Cast" || name == "CastLike") && !type.isInteger(1)))
    return *a;
  size_t rank = shapes.rank(node.getResult(0));
  AffineIndex result{aligned(*a, rank), a->base};
  if (name == "Neg") {
    for (int64_t &coefficient : result.coefficients)
      coefficient = -coefficient;
    result.base = SymExpr(0) - result.base;
    return result;
  }
  if (node.getInputs().size() != 2)
    return std::nullopt;
  auto b = asIndex(node.getInputs()[1]);
  if (!b)
    return std::nullopt;
  auto other = aligned(*b, rank);
  if (name == "Add" || name == "Sub") {
    int64_t sign = name == "Add" ? 1 : -1;
    for (size_t i = 0; i < rank; ++i)
      result.coefficients[i] += sign * other[i];
    result.base = result.base + b->base * SymExpr(sign);
    return result;
  }
  if (name == "Mul") {
    auto isNumber = [](const AffineIndex &index) {
      return index.base.isConstant() &&
             llvm::all_of(index.coefficients, [](int64_t c) { return c == 0; });
    };
    if (!isNumber(*a) && !isNumber(*b))
      return std::nullopt;
    const AffineIndex &number = isNumber(*b) ? *b : *a,
                      &index = isNumber(*b) ? *a : *b;
    result = {aligned(index, rank), index.base * number.base};
    for (int64_t &coefficient : result.coefficients)
      coefficient *= number.base.constantTerm();
    return result;
  }
  return std::nullopt;
}

/// Comparisons of two linear functions of the indices.
std::optional<Abstract> Raiser::compareIndices(NodeOp node) {
  StringRef name = node.getOpType();
  bool isComparison = name == "Less" || name == "LessOrEqual" ||
                      name == "Greater" || name == "GreaterOrEqual" ||
                      name == "Equal";
  if (!isComparison || node.getInputs().size() != 2)
    return std::nullopt;
  auto a = asIndex(node.getInputs()[0]), b = asIndex(node.getInputs()[1]);
  if (!a || !b)
    return std::nullopt;
  size_t rank = shapes.rank(node.getResult(0));
  auto left = aligned(*a, rank), right = aligned(*b, rank);
  SmallVector<unsigned> axes;
  SymExpr base = shapes.symbols.normalize(a->base - b->base), low = base,
          high = base;
  for (size_t i = 0; i < rank; ++i) {
    left[i] -= right[i];
    if (left[i] == 0)
      continue;
    axes.push_back(i);
    SymExpr reach =
        (shapes.shape(node.getResult(0))[i] - SymExpr(1)) * SymExpr(left[i]);
    (left[i] > 0 ? high : low) = (left[i] > 0 ? high : low) + reach;
  }
  // The same answer everywhere?
  Scalar zero(SymExpr(0));
  auto atLow =
      evaluate(name, {Scalar(shapes.symbols.normalize(low)), zero}, Type());
  auto atHigh =
      evaluate(name, {Scalar(shapes.symbols.normalize(high)), zero}, Type());
  if (atLow && atHigh && *atLow == *atHigh && (name != "Equal" || axes.empty()))
    return MaskValue::uniform(*atLow->number());
  if (axes.size() != 2 || left[axes[0]] != -left[axes[1]] ||
      std::abs(left[axes[0]]) != 1 || name == "Equal")
    return std::nullopt;
  // key - query + base OP 0, where key is the index with factor +1. Callers may
  // have written query - key: then the roles and the operator turn round.
  unsigned plus = left[axes[0]] > 0 ? axes[0] : axes[1];
  unsigned minus = plus == axes[0] ? axes[1] : axes[0];
  unsigned key = std::max(plus, minus), query = std::min(plus, minus);
  bool turned = plus != key;
  SymExpr bound = turned ? base : SymExpr(0) - base; // distance OP bound
  bool strict = name == "Less" || name == "Greater";
  bool atMost = (name == "Less" || name == "LessOrEqual") != turned;
  // Distances are integers: d < c is d <= c - 1, and d >= c is not d <= c - 1.
  if (strict == atMost)
    bound = bound - SymExpr(1);
  double inside = atMost ? 1 : 0;
  MaskValue result{int(query), int(key), {inside, inside, inside}};
  if (shapes.equal(bound, past))
    result.values[2] = 1 - inside;
  else if (bound.isConstant(0))
    result.values[1] = result.values[2] = 1 - inside;
  else
    return fail("mask compares key and query at distance " +
                shapes.symbols.text(bound) + ", which is not causal attention");
  return result;
}

std::optional<Abstract> Raiser::maskArithmetic(NodeOp node) {
  size_t rank = shapes.rank(node.getResult(0));
  MaskValue result = MaskValue::uniform(0);
  SmallVector<MaskValue> operands;
  size_t count = node.is("CastLike") ? 1 : node.getInputs().size();
  for (Value operand : node.getInputs().take_front(count)) {
    auto region = asMask(operand);
    if (!region)
      return std::nullopt;
    int shift = int(rank) - int(shapes.rank(operand));
    if (!region->isUniform()) {
      region->queryAxis += shift;
      region->keyAxis += shift;
      if (!result.isUniform() && (result.queryAxis != region->queryAxis ||
                                  result.keyAxis != region->keyAxis))
        return std::nullopt;
      result.queryAxis = region->queryAxis;
      result.keyAxis = region->keyAxis;
    }
    operands.push_back(*region);
  }
  Type type = getElementTypeOrSelf(node.getResult(0).getType());
  for (int i = 0; i < 3; ++i) {
    SmallVector<Scalar> numbers;
    for (auto [region, operand] : llvm::zip(operands, node.getInputs())) {
      bool isFloat = isa<FloatType>(getElementTypeOrSelf(operand.getType())) ||
                     !(std::fabs(region.values[i]) < 9e18);
      numbers.push_back(isFloat ? Scalar::ofFloat(region.values[i])
                                : Scalar(SymExpr(int64_t(region.values[i]))));
    }
    auto value = evaluate(node.getOpType(), numbers,
                          type.isIntOrFloat() ? type : Type());
    auto number = value ? value->number() : std::nullopt;
    if (!number)
      return std::nullopt;
    result.values[i] = *number;
  }
  if (result.values[0] == result.values[1] &&
      result.values[1] == result.values[2])
    return MaskValue::uniform(result.values[0]);
  return result;
}

/// Positions times frequencies, and functions of such products.
std::optional<Abstract> Raiser::tableArithmetic(NodeOp node) {
  StringRef name = node.getOpType();
  size_t rank = shapes.rank(node.getResult(0));
  for (unsigned side = 0; side < node.getInputs().size() && side < 2; ++side) {
    auto *table = inputAs<PositionTable>(node, side);
    if (!table)
      continue;
    PositionTable result = *table;
    unsigned shift = rank - shapes.rank(node.getInputs()[side]);
    result.positionAxis += shift;
    result.columnAxis += shift;
    if (name == "Identity" || name == "Cast" || name == "CastLike")
      return result;
    auto setKind = [&](Column::Kind kind) {
      for (Column &column : result.columns) {
        if (column.kind != Column::Angle || column.factor != 1)
          return false;
        column.kind = kind;
      }
      return true;
    };
    if (name == "Cos" || name == "Sin")
      return setKind(name == "Cos" ? Column::Cos : Column::Sin)
                 ? std::optional<Abstract>(result)
                 : std::nullopt;
    double factor = -1;
    if (name == "Mul" || name == "Div") {
      auto other = asMask(node.getInputs()[1 - side]);
      if (!other || !other->isUniform() || (name == "Div" && side == 1))
        return std::nullopt;
      factor = name == "Mul" ? other->values[0] : 1 / other->values[0];
    } else if (name != "Neg") {
      return std::nullopt;
    }
    for (Column &column : result.columns) {
      bool isAngle = column.kind == Column::Angle;
      (isAngle ? column.frequency : column.factor) *= factor;
    }
    return result;
  }
  if (name != "Mul" || node.getInputs().size() != 2)
    return std::nullopt;
  for (unsigned side = 0; side < 2; ++side) {
    Value tableSide = node.getInputs()[1 - side];
    auto *index = inputAs<AffineIndex>(node, side);
    auto frequencies = index ? vectorElements(tableSide) : std::nullopt;
    if (!frequencies || frequencies->size() < 2)
      continue;
    std::optional<unsigned> position, columns;
    size_t shift = rank - index->coefficients.size();
    for (auto [axis, coefficient] : llvm::enumerate(index->coefficients))
      if (coefficient != 0)
        position = axis;
    if (!position || !isPosition(*index, *position))
      continue;
    size_t otherShift = rank - shapes.rank(tableSide);
    for (auto [axis, size] : llvm::enumerate(shapes.shape(tableSide)))
      if (size.isConstant(int64_t(frequencies->size())))
        columns = axis + otherShift;
    if (!columns || *columns == *position + shift)
      continue;
    return angleTable(*position + shift, *columns, *frequencies);
  }
  return std::nullopt;
}

Abstract Raiser::range(NodeOp node) {
  if (node.getInputs().size() != 3)
    return fail("it takes start, limit and delta");
  auto start = shapes.scalar(node.getInputs()[0]),
       delta = shapes.scalar(node.getInputs()[2]);
  auto step = delta ? delta->number() : std::nullopt;
  auto first = start ? start->number() : std::nullopt;
  if (!start || !step || *step != double(int64_t(*step)) ||
      (start->isFloat && !first))
    return failUnlessBlamed(node, "start or step of the range is not known");
  SymExpr base = start->isFloat ? SymExpr(int64_t(*first)) : start->integer;
  if (start->isFloat && *first != double(int64_t(*first)))
    return fail("range of fractions");
  return AffineIndex{{int64_t(*step)}, base};
}

Abstract Raiser::trilu(NodeOp node) {
  size_t rank = shapes.rank(node.getResult(0));
  auto value = asMask(node.getInputs()[0]);
  if (!value || rank < 2)
    return failUnlessBlamed(node, "it masks a value that is no mask");
  if (!value->isUniform() &&
      (value->queryAxis != int(rank) - 2 || value->keyAxis != int(rank) - 1))
    return fail("the mask does not lie in the last two dimensions");
  SymExpr diagonal(0);
  if (hasInput(node, 1)) {
    auto given = shapes.scalar(node.getInputs()[1]);
    if (!given || given->isFloat)
      return failUnlessBlamed(node, "the diagonal is not known");
    diagonal = given->integer;
  }
  bool upper = intAttr(node, "upper", 1) != 0;
  // upper keeps distances >= diagonal, lower keeps distances <= diagonal.
  SymExpr bound = upper ? diagonal - SymExpr(1) : diagonal;
  int border;
  if (shapes.equal(bound, past))
    border = 2;
  else if (bound.isConstant(0))
    border = 1;
  else
    return fail("keeps distances up to " + shapes.symbols.text(bound) +
                ", which is not causal attention");
  MaskValue result{int(rank) - 2, int(rank) - 1, value->values};
  for (int i = 0; i < 3; ++i)
    if ((i >= border) != upper)
      result.values[i] = 0;
  return result;
}

Abstract Raiser::cumSum(NodeOp node) {
  auto value = asMask(node.getInputs()[0]);
  auto axis = node.getInputs().size() > 1 ? shapes.scalar(node.getInputs()[1])
                                          : std::nullopt;
  auto number = axis ? axis->number() : std::nullopt;
  size_t rank = shapes.rank(node.getResult(0));
  auto along = number ? normalAxis(int64_t(*number), rank) : std::nullopt;
  if (!value || !value->isUniform() || !along || intAttr(node, "reverse", 0))
    return failUnlessBlamed(node,
                            "sums a value that is not the same everywhere");
  double step = value->values[0];
  if (step == 0)
    return MaskValue::uniform(0);
  if (step != double(int64_t(step)))
    return fail("sums fractions");
  AffineIndex result{SmallVector<int64_t, 4>(rank, 0), SymExpr(0)};
  result.coefficients[*along] = int64_t(step);
  if (!intAttr(node, "exclusive", 0))
    result.base = SymExpr(int64_t(step));
  return result;
}

Abstract Raiser::gatherND(NodeOp node) {
  if (auto region = asMask(node.getInputs()[0]); region && region->isUniform())
    return *region;
  auto *tuple = inputAs<IndexTuple>(node, 1);
  auto data = asIndex(node.getInputs()[0]);
  if (!tuple || !data || intAttr(node, "batch_dims", 0) != 0 ||
      tuple->parts.size() != data->coefficients.size())
    return failUnlessBlamed(node, "gathers from a value that is no index");
  size_t rank = shapes.rank(node.getResult(0));
  AffineIndex result{SmallVector<int64_t, 4>(rank, 0), data->base};
  for (auto [coefficient, part] : llvm::zip(data->coefficients, tuple->parts)) {
    // The tuple's last dimension is consumed.
    for (size_t i = 0; i < rank && i < part.coefficients.size(); ++i)
      result.coefficients[i] += coefficient * part.coefficients[i];
    result.base = result.base + part.base * SymExpr(coefficient);
  }
  return result;
}

Abstract Raiser::constantOfShape(NodeOp node) {
  auto fill = dyn_cast_or_null<ElementsAttr>(node.getOnnxAttr("value"));
  if (!fill)
    return MaskValue::uniform(0);
  auto elements = readElements(fill, 1);
  auto number = elements && !elements->empty() ? elements->front().number()
                                               : std::nullopt;
  return number ? Abstract(MaskValue::uniform(*number))
                : fail("its value is no number");
}
