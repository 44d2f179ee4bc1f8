// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Regrouping of the dimensions of a view, and questions about abstract values.

#include "AbstractValue.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::raising;

ArrayRef<int64_t> WeightRef::storedShape() const {
  if (op)
    return cast<RankedTensorType>(const_cast<WeightOp &>(op).getType())
        .getShape();
  return value.getType().getShape();
}

PositionTable adaptive::raising::angleTable(unsigned positionAxis,
                                            unsigned columnAxis,
                                            ArrayRef<double> frequencies) {
  PositionTable table{positionAxis, columnAxis, {}};
  for (double frequency : frequencies) {
    Column column;
    column.kind = Column::Angle;
    column.frequency = frequency;
    table.columns.push_back(column);
  }
  return table;
}

std::optional<double> adaptive::raising::uniformValue(const Abstract &value) {
  if (auto *region = std::get_if<MaskValue>(&value))
    return region->isUniform() ? std::optional<double>(region->values[0])
                               : std::nullopt;
  if (auto *index = std::get_if<AffineIndex>(&value)) {
    auto base = index->base.constant();
    if (base &&
        llvm::all_of(index->coefficients, [](int64_t c) { return c == 0; }))
      return double(*base);
  }
  return std::nullopt;
}

bool adaptive::raising::hasRole(const Axis &axis, Factor::Role role) {
  return llvm::any_of(
      axis, [&](const Factor &factor) { return factor.role == role; });
}

/// Appends a factor, merged with the one before it if both run over the same
/// elements in order.
static void append(Axis &axis, const Factor &factor) {
  if (factor.size.isConstant(1))
    return;
  if (!axis.empty() && factor.role == Factor::Feature &&
      axis.back().role == Factor::Feature) {
    auto outer = axis.back().size.constant(), inner = factor.size.constant();
    if (outer && inner && axis.back().stride == factor.stride * *inner) {
      axis.back() = {Factor::Feature, SymExpr(*outer * *inner), factor.stride};
      return;
    }
  }
  axis.push_back(factor);
}

std::optional<Axes> adaptive::raising::reshapeAxes(const Axes &axes,
                                                   const Shape &target,
                                                   const Symbols &symbols) {
  Axis rest;
  for (const Axis &axis : axes)
    for (const Factor &factor : axis)
      if (!factor.size.isConstant(1))
        rest.push_back(factor);
  std::reverse(rest.begin(), rest.end()); // next factor at the back
  Axes result;
  for (const SymExpr &wanted : target) {
    Axis axis;
    SymExpr need = symbols.normalize(wanted);
    while (!need.isConstant(1)) {
      if (rest.empty())
        return std::nullopt;
      Factor factor = rest.pop_back_val();
      SymExpr size = symbols.normalize(factor.size);
      if (auto left = need.divideExactly(size)) {
        need = *left;
        append(axis, factor);
        continue;
      }
      auto whole = size.constant(), part = need.constant();
      if (!whole || !part || *part <= 0 || *whole % *part != 0 ||
          factor.role != Factor::Feature)
        return std::nullopt;
      int64_t inner = *whole / *part;
      append(axis, {Factor::Feature, SymExpr(*part), factor.stride * inner});
      rest.push_back({Factor::Feature, SymExpr(inner), factor.stride});
      need = SymExpr(1);
    }
    result.push_back(std::move(axis));
  }
  if (!rest.empty())
    return std::nullopt;
  return result;
}

std::optional<int64_t> adaptive::raising::contiguousWidth(const Axis &axis) {
  int64_t width = 1;
  for (const Factor &factor : llvm::reverse(axis)) {
    auto size = factor.size.constant();
    if (factor.role != Factor::Feature || !size || factor.stride != width)
      return std::nullopt;
    width *= *size;
  }
  return width;
}

bool adaptive::raising::isWholeRow(const Axes &axes, int64_t width) {
  Axis features;
  for (const Axis &axis : axes)
    for (const Factor &factor : axis)
      if (factor.role == Factor::Feature)
        features.push_back(factor);
  auto contiguous = contiguousWidth(features);
  return contiguous && *contiguous == width;
}
