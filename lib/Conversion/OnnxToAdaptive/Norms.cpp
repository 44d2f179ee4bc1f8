// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Normalisations: as one operator, and put together from mean, square root and
// products.

#include "Raiser.h"

#include <cmath>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::raising;

Abstract Raiser::makeNorm(NormKind kind, const RowsView &x,
                          const WeightRef &scale, std::optional<WeightRef> bias,
                          double epsilon) {
  auto width = contiguousWidth(x.axes.empty() ? Axis() : x.axes.back());
  int64_t whole = cast<RankedTensorType>(x.rows.getType()).getDimSize(1);
  if (!width || *width < 1 || !isWholeRow(x.axes, whole))
    return fail("normalises elements that do not lie side by side in a row");
  Value rows = plainRows(x), scaleVector = useVector(scale, *width),
        biasVector = bias ? useVector(*bias, *width) : Value();
  if (!rows || !scaleVector || (bias && !biasVector))
    return fail("scale or bias of the normalisation is no vector of " +
                Twine(*width) + " elements");
  if (!(epsilon >= 0) || std::isinf(epsilon))
    return fail("epsilon must be a number of 0 or more");
  Value result =
      NormOp::create(builder, loc, rows.getType(), kind, rows, scaleVector,
                     biasVector, llvm::APFloat(epsilon));
  return RowsView{result, x.axes, 1, std::nullopt};
}

Abstract Raiser::normalization(NodeOp node) {
  auto x = rows(input(node, 0));
  size_t rank = shapes.rank(node.getInputs()[0]);
  auto axis = normalAxis(intAttr(node, "axis", -1), rank);
  auto scale =
      node.getInputs().size() > 1 ? weight(node.getInputs()[1]) : std::nullopt;
  if (!x || !scale)
    return failUnlessBlamed(
        node, "normalises a value that is no view of rows, or without a "
              "constant scale");
  if (!axis || *axis + 1 != rank)
    return fail("only the last dimension can be normalised");
  bool isLayer = node.is("LayerNormalization");
  std::optional<WeightRef> bias;
  if (isLayer && hasInput(node, 2)) {
    bias = weight(node.getInputs()[2]);
    if (!bias)
      return failUnlessBlamed(node, "its bias is no constant");
  }
  return makeNorm(isLayer ? NormKind::Layer : NormKind::RMS, *x, *scale, bias,
                  floatAttr(node, "epsilon", double(1e-5f)));
}

Abstract Raiser::reduceMean(NodeOp node) {
  auto axes = shapes.intsOf(node, 1, "axes");
  size_t rank = shapes.rank(node.getInputs()[0]);
  bool last =
      axes && axes->size() == 1 && normalAxis((*axes)[0], rank) == rank - 1;
  if (!last || !intAttr(node, "keepdims", 1))
    return failUnlessBlamed(
        node, "only the mean of the last dimension (kept) is supported");
  if (auto *square = inputAs<Square>(node, 0))
    return RowStat{square->x, true, square->centered, 0, 1};
  if (auto view = rows(input(node, 0)))
    return RowStat{*view, false, false, 0, 1};
  return failUnlessBlamed(node, "mean of a value that is no view of rows");
}

std::optional<Abstract> Raiser::normArithmetic(NodeOp node) {
  StringRef name = node.getOpType();
  auto number = [&](unsigned side) -> std::optional<double> {
    if (side >= node.getInputs().size())
      return std::nullopt;
    auto region = asMask(node.getInputs()[side]);
    return region && region->isUniform()
               ? std::optional<double>(region->values[0])
               : std::nullopt;
  };
  const Abstract &first = input(node, 0), &second = input(node, 1);
  auto holdsPiece = [](const Abstract &value) {
    return std::holds_alternative<Square>(value) ||
           std::holds_alternative<Centered>(value) ||
           std::holds_alternative<RowStat>(value) ||
           std::holds_alternative<Normalized>(value);
  };
  Type type = getElementTypeOrSelf(node.getResult(0).getType());
  if ((name == "Cast" || name == "CastLike" || name == "Identity") &&
      holdsPiece(first) && (type.isF32() || !type.isIntOrFloat()))
    return first;

  // x * x
  bool squares = (name == "Pow" && number(1) == 2.0) ||
                 (name == "Mul" && node.getInputs().size() == 2 &&
                  node.getInputs()[0] == node.getInputs()[1]);
  if (squares) {
    if (auto *centered = std::get_if<Centered>(&first))
      return Square{centered->x, true};
    if (auto *view = std::get_if<RowsView>(&first); view && !view->past)
      return Square{*view, false};
  }

  // sqrt(mean + epsilon) and its reciprocal
  for (unsigned side = 0; side < node.getInputs().size() && side < 2; ++side) {
    auto *stat = inputAs<RowStat>(node, side);
    if (!stat || !stat->ofSquares)
      continue;
    RowStat result = *stat;
    auto other = number(1 - side);
    if (name == "Add" && other && stat->power == 1) {
      result.epsilon += *other;
      return result;
    }
    if (name == "Sqrt" && stat->power == 1) {
      result.power = 0.5;
      return result;
    }
    if (name == "Pow" && side == 0 && stat->power == 1 && other &&
        (*other == 0.5 || *other == -0.5)) {
      result.power = *other;
      return result;
    }
    if ((name == "Reciprocal" ||
         (name == "Div" && side == 1 && other == 1.0)) &&
        stat->power == 0.5) {
      result.power = -0.5;
      return result;
    }
  }

  // x - mean(x)
  if (name == "Sub")
    if (auto *mean = std::get_if<RowStat>(&second); mean && !mean->ofSquares)
      if (auto *view = std::get_if<RowsView>(&first);
          view && view->sameRows(mean->x))
        return Centered{*view};

  // x / sqrt(...)
  for (unsigned side = 0; side < 2 && node.getInputs().size() == 2; ++side) {
    auto *stat = inputAs<RowStat>(node, side);
    if (!stat || !stat->ofSquares ||
        !((name == "Mul" && stat->power == -0.5) ||
          (name == "Div" && side == 1 && stat->power == 0.5)))
      continue;
    const Abstract &other = input(node, 1 - side);
    auto *view = std::get_if<RowsView>(&other);
    if (auto *centered = std::get_if<Centered>(&other))
      if (stat->centered && centered->x.sameRows(stat->x))
        return Normalized{NormKind::Layer, stat->x, stat->epsilon, {}};
    if (view && !stat->centered && view->sameRows(stat->x))
      return Normalized{NormKind::RMS, stat->x, stat->epsilon, {}};
  }

  // scale, then bias
  for (unsigned side = 0; side < 2 && node.getInputs().size() == 2; ++side) {
    auto *norm = inputAs<Normalized>(node, side);
    auto vector = norm ? weight(node.getInputs()[1 - side]) : std::nullopt;
    if (!vector)
      continue;
    if (name == "Mul" && !norm->scale) {
      if (norm->kind == NormKind::RMS)
        return makeNorm(norm->kind, norm->x, *vector, std::nullopt,
                        norm->epsilon);
      Normalized result = *norm;
      result.scale = vector;
      return result;
    }
    if (name == "Add" && norm->scale)
      return makeNorm(norm->kind, norm->x, *norm->scale, vector, norm->epsilon);
  }
  return std::nullopt;
}
