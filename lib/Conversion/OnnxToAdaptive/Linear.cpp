// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Lookups and products with weights.

#include "Raiser.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::raising;

Abstract Raiser::gather(NodeOp node) {
  if (node.getInputs().size() != 2)
    return fail("it takes data and indices");
  const Abstract &data = input(node, 0);
  size_t rank = shapes.rank(node.getInputs()[0]);
  auto axis = normalAxis(intAttr(node, "axis", 0), rank);
  if (!axis)
    return failUnlessBlamed(node, "axis lies outside of the tensor");
  if (auto number = uniformValue(data))
    return MaskValue::uniform(*number);
  auto table = weight(node.getInputs()[0]);
  if (table && rank == 2 && *axis == 0) {
    ArrayRef<int64_t> shape = table->storedShape();
    if (auto *ids = inputAs<TokenIds>(node, 1)) {
      int64_t vocabulary =
          shape.size() == 2 ? shape[table->transposed ? 1 : 0] : 0;
      int64_t width = shape.size() == 2 ? shape[table->transposed ? 0 : 1] : 0;
      Value matrix = useMatrix(*table, vocabulary, width);
      if (!matrix)
        return fail("the table is no matrix");
      auto type = RankedTensorType::get({ShapedType::kDynamic, width},
                                        builder.getF32Type());
      Value result = EmbedOp::create(
          builder, loc, type, model.getBody().front().getArgument(0), matrix);
      Axes axes = ids->axes;
      axes.push_back({{Factor::Feature, SymExpr(width), 1}});
      return RowsView{result, axes, 1, std::nullopt};
    }
    if (auto *index = inputAs<AffineIndex>(node, 1)) {
      std::optional<unsigned> position;
      for (auto [i, coefficient] : llvm::enumerate(index->coefficients))
        if (coefficient != 0)
          position = i;
      if (shape.size() != 2 || table->transposed || !position ||
          !isPosition(*index, *position))
        return fail("looks up a weight by something that is not the position");
      PositionTable result{*position, unsigned(index->coefficients.size()), {}};
      for (int64_t i = 0; i < shape[1]; ++i) {
        Column column;
        column.kind = Column::Stored;
        column.table = *table;
        column.index = i;
        result.columns.push_back(column);
      }
      return result;
    }
  }
  // One element of a dimension: a slice of size 1 without the dimension.
  auto index = shapes.scalar(node.getInputs()[1]);
  auto number = index ? index->number() : std::nullopt;
  auto size = shapes.shape(node.getInputs()[0])[*axis].constant();
  auto at = number && size ? normalAxis(int64_t(*number), *size) : std::nullopt;
  auto mix = at && shapes.rank(node.getInputs()[1]) == 0 ? asMix(data, *axis)
                                                         : std::nullopt;
  if (mix) {
    // The dimension is kept as one of size 1 and dropped by a reshape.
    HeadMix one{mix->base, mix->axis, {mix->elements[*at]}};
    if (auto view = mixAsRows(one))
      if (auto axes = reshapeAxes(view->axes, shapes.shape(node.getResult(0)),
                                  shapes.symbols))
        return RowsView{view->rows, *axes, view->scale, view->past};
  }
  return failUnlessBlamed(
      node, "looks up something that is neither an embedding nor a position");
}

Abstract Raiser::linear(const RowsView &x, const WeightRef &weight,
                        bool transposeWeight) {
  auto width = contiguousWidth(x.axes.back());
  auto type = cast<RankedTensorType>(x.rows.getType());
  if (!width || *width != type.getDimSize(1))
    return fail("multiplies a weight with part of a row");
  for (const Axis &axis : ArrayRef(x.axes).drop_back())
    if (hasRole(axis, Factor::Feature))
      return fail("multiplies a weight with part of a row");
  WeightRef matrix = weight;
  matrix.transposed = matrix.transposed != transposeWeight;
  ArrayRef<int64_t> shape = matrix.storedShape();
  if (shape.size() != 2)
    return fail("the weight is no matrix");
  int64_t outputs = shape[matrix.transposed ? 1 : 0];
  Value operand = useMatrix(matrix, outputs, *width);
  Value input = plainRows(x);
  if (!operand || !input)
    return fail("the weight does not fit the rows");
  auto result = RankedTensorType::get({ShapedType::kDynamic, outputs},
                                      builder.getF32Type());
  auto op = LinearOp::create(builder, loc, TypeRange{result}, input, operand,
                             ValueRange());
  Axes axes(x.axes.begin(), x.axes.end() - 1);
  axes.push_back({{Factor::Feature, SymExpr(outputs), 1}});
  return RowsView{op.getOutputs()[0], axes, 1, std::nullopt};
}

Abstract Raiser::matmul(NodeOp node) {
  if (node.getInputs().size() != 2)
    return fail("it takes two matrices");
  if (auto result = attentionMatmul(node))
    return *result;
  Value left = node.getInputs()[0], right = node.getInputs()[1];
  // A column of frequencies times a row of positions.
  auto *index = inputAs<AffineIndex>(node, 1);
  if (auto frequencies = index ? vectorElements(left) : std::nullopt) {
    size_t rank = shapes.rank(node.getResult(0)),
           indexRank = index->coefficients.size();
    if (indexRank >= 2 && rank >= 2 && isPosition(*index, indexRank - 1) &&
        shapes.shape(right)[indexRank - 2].isConstant(1) &&
        shapes.shape(node.getResult(0))[rank - 2].isConstant(
            int64_t(frequencies->size()))) {
      return angleTable(rank - 1, rank - 2, *frequencies);
    }
  }
  auto x = rows(input(node, 0));
  auto matrix = weight(right);
  if (!x || !matrix || shapes.rank(right) != 2)
    return failUnlessBlamed(
        node, "multiplies values that are neither rows and a weight nor "
              "parts of attention");
  return linear(*x, *matrix, /*transposeWeight=*/true);
}

Abstract Raiser::gemm(NodeOp node) {
  auto x = node.getInputs().size() >= 2 ? rows(input(node, 0)) : std::nullopt;
  auto matrix = x ? weight(node.getInputs()[1]) : std::nullopt;
  if (!matrix)
    return failUnlessBlamed(node,
                            "multiplies values that are not rows and a weight");
  if (intAttr(node, "transA", 0) || floatAttr(node, "alpha", 1) != 1)
    return fail("transA and alpha are not supported");
  Abstract product = linear(*x, *matrix, intAttr(node, "transB", 0) == 0);
  auto *view = std::get_if<RowsView>(&product);
  if (!view || !hasInput(node, 2))
    return product;
  auto bias = weight(node.getInputs()[2]);
  int64_t width = cast<RankedTensorType>(view->rows.getType()).getDimSize(1);
  Value vector = bias ? useVector(*bias, width) : Value();
  if (!vector || floatAttr(node, "beta", 1) != 1)
    return fail(
        "its bias is no vector of the output's width, or beta is not 1");
  Value sum = makeMap({view->rows, vector}, view->rows.getType(),
                      [&](OpBuilder &b, ArrayRef<Value> in) {
                        return arith::AddFOp::create(b, loc, in[0], in[1]);
                      });
  return RowsView{sum, view->axes, 1, std::nullopt};
}
