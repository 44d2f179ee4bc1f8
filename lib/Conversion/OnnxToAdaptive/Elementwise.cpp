// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Elementwise operators on rows become `map` ops of one scalar operation each;
// fusing them is another pass's work.

#include "Raiser.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/StringSwitch.h"

#include <cmath>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::raising;

static Value constantF32(OpBuilder &b, Location loc, double value) {
  return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(float(value)));
}

/// tanh-approximated or exact GELU, as ONNX's Gelu defines them.
static Value emitGelu(OpBuilder &b, Location loc, Value x, bool isTanh) {
  auto constant = [&](double value) { return constantF32(b, loc, value); };
  Value inner;
  if (isTanh) {
    Value square = arith::MulFOp::create(b, loc, x, x);
    Value cube = arith::MulFOp::create(b, loc, square, x);
    Value sum = arith::AddFOp::create(
        b, loc, x, arith::MulFOp::create(b, loc, constant(0.044715), cube));
    inner = math::TanhOp::create(
        b, loc,
        arith::MulFOp::create(b, loc, constant(std::sqrt(2 / M_PI)), sum));
  } else {
    inner = math::ErfOp::create(
        b, loc, arith::MulFOp::create(b, loc, x, constant(std::sqrt(0.5))));
  }
  Value half = arith::MulFOp::create(b, loc, constant(0.5), x);
  return arith::MulFOp::create(
      b, loc, half, arith::AddFOp::create(b, loc, inner, constant(1)));
}

static Value emitSigmoid(OpBuilder &b, Location loc, Value x) {
  Value power = math::ExpOp::create(b, loc, arith::NegFOp::create(b, loc, x));
  Value one = constantF32(b, loc, 1);
  return arith::DivFOp::create(b, loc, one,
                               arith::AddFOp::create(b, loc, one, power));
}

/// The scalar form of an ONNX operator; null if it has none here.
static Value emitScalar(OpBuilder &b, Location loc, NodeOp node,
                        ArrayRef<Value> in) {
  StringRef name = node.getOpType();
  Value a = in[0];
  if (in.size() == 2) {
    Value c = in[1];
    if (name == "Add")
      return arith::AddFOp::create(b, loc, a, c);
    if (name == "Sub")
      return arith::SubFOp::create(b, loc, a, c);
    if (name == "Mul")
      return arith::MulFOp::create(b, loc, a, c);
    if (name == "Div")
      return arith::DivFOp::create(b, loc, a, c);
    if (name == "Max")
      return arith::MaximumFOp::create(b, loc, a, c);
    if (name == "Min")
      return arith::MinimumFOp::create(b, loc, a, c);
    return {};
  }
  if (in.size() != 1)
    return {};
  if (name == "Neg")
    return arith::NegFOp::create(b, loc, a);
  if (name == "Sigmoid")
    return emitSigmoid(b, loc, a);
  if (name == "Swish")
    return arith::MulFOp::create(
        b, loc, a,
        emitSigmoid(
            b, loc,
            arith::MulFOp::create(
                b, loc, constantF32(b, loc, floatAttr(node, "alpha", 1)), a)));
  if (name == "Gelu")
    return emitGelu(b, loc, a, stringAttr(node, "approximate") == "tanh");
  if (name == "Tanh")
    return math::TanhOp::create(b, loc, a);
  if (name == "Erf")
    return math::ErfOp::create(b, loc, a);
  if (name == "Exp")
    return math::ExpOp::create(b, loc, a);
  if (name == "Log")
    return math::LogOp::create(b, loc, a);
  if (name == "Sqrt")
    return math::SqrtOp::create(b, loc, a);
  if (name == "Abs")
    return math::AbsFOp::create(b, loc, a);
  if (name == "Cos")
    return math::CosOp::create(b, loc, a);
  if (name == "Sin")
    return math::SinOp::create(b, loc, a);
  if (name == "Reciprocal")
    return arith::DivFOp::create(b, loc, constantF32(b, loc, 1), a);
  if (name == "Relu")
    return arith::MaximumFOp::create(b, loc, a, constantF32(b, loc, 0));
  return {};
}

Value Raiser::makeMap(ValueRange operands, Type type,
                      function_ref<Value(OpBuilder &, ArrayRef<Value>)> body) {
  auto map = MapOp::create(builder, loc, type, operands);
  Block &block = map.getBody().emplaceBlock();
  SmallVector<Value> arguments;
  for (size_t i = 0; i < operands.size(); ++i)
    arguments.push_back(block.addArgument(builder.getF32Type(), loc));
  OpBuilder inner = OpBuilder::atBlockEnd(&block);
  Value result = body(inner, arguments);
  if (!result) {
    map.erase();
    return {};
  }
  YieldOp::create(inner, loc, result);
  return map;
}

Value Raiser::plainRows(const RowsView &view) {
  if (view.past)
    return {};
  if (view.scale == 1)
    return view.rows;
  Value &known = scaledRows[{view.rows.getAsOpaquePointer(), view.scale}];
  if (!known)
    known = makeMap(view.rows, view.rows.getType(),
                    [&](OpBuilder &b, ArrayRef<Value> in) {
                      return arith::MulFOp::create(
                          b, loc, in[0], constantF32(b, loc, view.scale));
                    });
  return known;
}

std::optional<RowsView> Raiser::rows(const Abstract &value) {
  if (auto *view = std::get_if<RowsView>(&value))
    return *view;
  if (auto *mix = std::get_if<HeadMix>(&value))
    return mixAsRows(*mix);
  if (auto *norm = std::get_if<Normalized>(&value)) {
    if (!norm->scale)
      return std::nullopt;
    Abstract made = makeNorm(norm->kind, norm->x, *norm->scale, std::nullopt,
                             norm->epsilon);
    auto *view = std::get_if<RowsView>(&made);
    return view ? std::optional(*view) : std::nullopt;
  }
  if (auto *square = std::get_if<Square>(&value)) {
    Value x = square->centered ? Value() : plainRows(square->x);
    if (!x)
      return std::nullopt;
    Value result =
        makeMap(x, x.getType(), [&](OpBuilder &b, ArrayRef<Value> in) {
          return arith::MulFOp::create(b, loc, in[0], in[0]);
        });
    return RowsView{result, square->x.axes, 1, std::nullopt};
  }
  return std::nullopt;
}

/// Width of rows.
static int64_t widthOf(Value rows) {
  return cast<RankedTensorType>(rows.getType()).getDimSize(1);
}

Abstract Raiser::rowArithmetic(NodeOp node) {
  StringRef name = node.getOpType();
  size_t rank = shapes.rank(node.getResult(0));
  std::optional<RowsView> first;
  bool isCast = name == "Cast" || name == "CastLike";
  size_t count = isCast ? 1 : node.getInputs().size();
  struct Operand {
    std::optional<RowsView> view;
    std::optional<double> number;
    Value vector;
  };
  SmallVector<Operand, 2> operands;
  for (Value input :
       node.getInputs().take_front(name == "Dropout" ? 1 : count)) {
    Operand operand;
    // A vector whose elements happen to be equal stays a vector: layers that
    // differ in values only must look alike.
    bool isVector =
        shapes.of(input).elements && shapes.of(input).elements->size() > 1;
    if (auto number = asMask(input); number && number->isUniform() && !isVector)
      operand.number = number->values[0];
    else
      operand.view = rows(get(input));
    if (operand.view && !first)
      first = operand.view;
    operands.push_back(operand);
  }
  if (!first)
    return failUnlessBlamed(node, "no rule for these operands");
  if (first->axes.size() != rank)
    return fail("rows are broadcast against more dimensions");
  Type type = getElementTypeOrSelf(node.getResult(0).getType());
  bool toFloat = type.isF32() || !type.isIntOrFloat();
  if (name == "Identity" || name == "Dropout" || (isCast && toFloat))
    return *first;
  if (isCast)
    return fail("casts rows to a type other than f32");
  if (name == "Neg" ||
      ((name == "Mul" || name == "Div") && operands.size() == 2 &&
       operands[1].number) ||
      (name == "Mul" && operands.size() == 2 && operands[0].number)) {
    RowsView result = *first;
    double factor = name == "Neg"        ? -1
                    : operands[1].number ? *operands[1].number
                                         : *operands[0].number;
    result.scale *= name == "Div" ? 1 / factor : factor;
    return result;
  }
  int64_t width = widthOf(first->rows);
  SmallVector<Value> tensors;
  for (auto [operand, input] : llvm::zip(operands, node.getInputs())) {
    if (operand.number)
      continue;
    if (operand.view) {
      if (operand.view->axes != first->axes ||
          widthOf(operand.view->rows) != width)
        return fail("combines rows that are laid out differently");
      operand.vector = plainRows(*operand.view);
      if (!operand.vector)
        return fail("computes with the whole KV cache");
    } else {
      auto known = weight(input);
      auto last = contiguousWidth(first->axes.back());
      if (!known || !last || *last != width || shapes.rank(input) > rank)
        return failUnlessBlamed(
            node, "combines rows with a value that is neither rows, a "
                  "number nor a vector of their width");
      operand.vector = useVector(*known, width);
      if (!operand.vector)
        return fail(
            "combines rows with a weight that is no vector of their width");
    }
    if (!llvm::is_contained(tensors, operand.vector))
      tensors.push_back(operand.vector);
  }
  bool isPower = name == "Pow" && operands.size() == 2 && operands[1].number;
  Value result = makeMap(
      tensors, first->rows.getType(),
      [&](OpBuilder &b, ArrayRef<Value> in) -> Value {
        SmallVector<Value> scalars;
        for (const Operand &operand : operands)
          scalars.push_back(
              operand.number
                  ? constantF32(b, loc, *operand.number)
                  : in[llvm::find(tensors, operand.vector) - tensors.begin()]);
        if (!isPower)
          return emitScalar(b, loc, node, scalars);
        double exponent = *operands[1].number;
        if (exponent != 2 && exponent != 3)
          return {};
        Value square = arith::MulFOp::create(b, loc, scalars[0], scalars[0]);
        return exponent == 2
                   ? square
                   : arith::MulFOp::create(b, loc, square, scalars[0]);
      });
  if (!result)
    return fail("no rule for this operator on rows");
  return RowsView{result, first->axes, 1, std::nullopt};
}

/// Mixes of head elements: times a table, times a number, added up.
std::optional<Abstract> Raiser::mixArithmetic(NodeOp node) {
  StringRef name = node.getOpType();
  if (name == "Neg") {
    auto *mix = inputAs<HeadMix>(node, 0);
    if (!mix)
      return std::nullopt;
    HeadMix result = *mix;
    for (auto &terms : result.elements)
      for (Term &term : terms)
        term.factor = -term.factor;
    return result;
  }
  if (node.getInputs().size() != 2)
    return std::nullopt;
  size_t rank = shapes.rank(node.getResult(0));
  auto isMixOrRows = [&](unsigned side) {
    return inputAs<HeadMix>(node, side) || inputAs<RowsView>(node, side);
  };
  for (unsigned side = 0; side < 2; ++side) {
    // A vector norm of a lazily scaled value must be rows before it is mixed.
    if (!isMixOrRows(side) || shapes.rank(node.getInputs()[side]) != rank)
      continue;
    auto *mix = inputAs<HeadMix>(node, side);
    if (auto *table = inputAs<PositionTable>(node, 1 - side);
        table && name == "Mul") {
      size_t shift = rank - shapes.rank(node.getInputs()[1 - side]);
      auto result = asMix(input(node, side), table->columnAxis + shift);
      if (!result || result->elements.size() != table->columns.size() ||
          !hasRole(result->base.axes[table->positionAxis + shift], Factor::Row))
        return fail("multiplies with a rotary table of another layout");
      for (auto [terms, column] : llvm::zip(result->elements, table->columns))
        for (Term &term : terms) {
          if (term.column.kind != Column::None || column.kind == Column::Angle)
            return fail("multiplies with two rotary tables");
          term.factor *= column.factor;
          term.column = column;
          term.column.factor = 1;
        }
      return *result;
    }
    auto number = asMask(node.getInputs()[1 - side]);
    if (mix && number && number->isUniform() &&
        (name == "Mul" || (name == "Div" && side == 0))) {
      HeadMix result = *mix;
      for (auto &terms : result.elements)
        for (Term &term : terms)
          term.factor *=
              name == "Mul" ? number->values[0] : 1 / number->values[0];
      return result;
    }
    if (mix && side == 0 && (name == "Add" || name == "Sub")) {
      auto other = asMix(input(node, 1), mix->axis);
      if (!other || !other->base.sameRows(mix->base) ||
          other->elements.size() != mix->elements.size())
        continue;
      HeadMix result = *mix;
      for (auto [terms, more] : llvm::zip(result.elements, other->elements))
        for (Term term : more) {
          term.factor *= name == "Sub" ? -1 : 1;
          terms.push_back(term);
        }
      return result;
    }
  }
  return std::nullopt;
}

Abstract Raiser::elementwise(NodeOp node) {
  for (Value operand : node.getInputs())
    if (shapes.rank(operand) > shapes.rank(node.getResult(0)) &&
        !node.is("CastLike"))
      return failUnlessBlamed(
          node, "the rank of its result does not follow from its operands");
  if (auto result = scoreArithmetic(node))
    return *result;
  if (auto result = normArithmetic(node))
    return *result;
  if (auto result = mixArithmetic(node))
    return *result;
  if (auto result = compareIndices(node))
    return *result;
  if (auto result = indexArithmetic(node))
    return *result;
  if (auto result = maskArithmetic(node))
    return *result;
  if (auto result = tableArithmetic(node))
    return *result;
  StringRef name = node.getOpType();
  bool copies = name == "Identity" || name == "Cast" || name == "CastLike";
  const Abstract &value = input(node, 0);
  // Weights and caches may be stored in another float type.
  if (copies && (std::holds_alternative<WeightRef>(value) ||
                 std::holds_alternative<CacheInput>(value) ||
                 std::holds_alternative<TokenIds>(value) ||
                 std::holds_alternative<RowFlag>(value)))
    return value;
  return rowArithmetic(node);
}
