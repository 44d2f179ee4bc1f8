// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Arithmetic, comparisons, logic and casts, element by element.

#include "Scalars.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

#include <limits>

using namespace mlir;
using namespace adaptive::tolinalg;
namespace tl = adaptive::tolinalg;

Value tl::compare(Emitter &e, Order order, Value x, Value y, Type element) {
  using F = arith::CmpFPredicate;
  using I = arith::CmpIPredicate;
  struct Row {
    F onFloat;
    I onSigned, onUnsigned;
  };
  static constexpr Row rows[] = {{F::OLT, I::slt, I::ult},
                                 {F::OLE, I::sle, I::ule},
                                 {F::OGT, I::sgt, I::ugt},
                                 {F::OGE, I::sge, I::uge},
                                 {F::OEQ, I::eq, I::eq}};
  const Row &row = rows[static_cast<int>(order)];
  if (tl::isFloat(x))
    return e.op<arith::CmpFOp>(row.onFloat, x, y);
  return e.op<arith::CmpIOp>(
      tl::isUnsigned(element) ? row.onUnsigned : row.onSigned, x, y);
}

/// A divisor by which the processor can divide: zero and -1, which overflows,
/// become 1. `special` tells which of them it was.
static Value safeDivisor(Emitter &e, Value y, Type element, Value &isZero,
                         Value &isMinusOne) {
  Value one = e.integer(y.getType(), 1);
  isZero = e.op<arith::CmpIOp>(arith::CmpIPredicate::eq, y,
                               e.integer(y.getType(), 0));
  isMinusOne = Value();
  Value special = isZero;
  if (!tl::isUnsigned(element)) {
    isMinusOne = e.op<arith::CmpIOp>(arith::CmpIPredicate::eq, y,
                                     e.integer(y.getType(), -1));
    special = e.op<arith::OrIOp>(isZero, isMinusOne);
  }
  return tl::select(e, special, one, y);
}

Value tl::divide(Emitter &e, Value x, Value y, Type element) {
  if (tl::isFloat(x))
    return e.op<arith::DivFOp>(x, y);
  Value isZero, isMinusOne;
  Value divisor = safeDivisor(e, y, element, isZero, isMinusOne);
  Value zero = e.integer(x.getType(), 0);
  if (!isMinusOne)
    return tl::select(e, isZero, zero, e.op<arith::DivUIOp>(x, divisor));
  Value quotient = e.op<arith::DivSIOp>(x, divisor);
  quotient = tl::select(e, isMinusOne, tl::sub(e, zero, x), quotient);
  return tl::select(e, isZero, zero, quotient);
}

static Value remainder(Emitter &e, Value x, Value y, Type element,
                       bool isFmod) {
  if (tl::isFloat(x)) {
    Value rest = e.op<arith::RemFOp>(x, y);
    if (isFmod)
      return rest;
    // Takes the sign of the divisor.
    Value zero = tl::like(e, x, 0);
    Value differs =
        e.op<arith::XOrIOp>(e.condition(arith::CmpFPredicate::OLT, rest, zero),
                            e.condition(arith::CmpFPredicate::OLT, y, zero));
    Value fix = e.op<arith::AndIOp>(
        differs, e.condition(arith::CmpFPredicate::UNE, rest, zero));
    return tl::select(e, fix, tl::add(e, rest, y), rest);
  }
  Value isZero, isMinusOne;
  Value divisor = safeDivisor(e, y, element, isZero, isMinusOne);
  if (!isMinusOne)
    return e.op<arith::RemUIOp>(x, divisor);
  Value rest = e.op<arith::RemSIOp>(x, divisor);
  if (isFmod)
    return rest;
  Value zero = e.integer(x.getType(), 0);
  using P = arith::CmpIPredicate;
  Value differs =
      e.op<arith::XOrIOp>(e.op<arith::CmpIOp>(P::slt, rest, zero),
                          e.op<arith::CmpIOp>(P::slt, divisor, zero));
  Value fix =
      e.op<arith::AndIOp>(differs, e.op<arith::CmpIOp>(P::ne, rest, zero));
  return tl::select(e, fix, tl::add(e, rest, divisor), rest);
}

Value tl::lowest(Emitter &e, Type element) {
  Type type = computeType(element);
  if (isa<FloatType>(type))
    return e.number(type, -std::numeric_limits<double>::infinity());
  unsigned bits = type.getIntOrFloatBitWidth();
  return e.integer(type, tl::isUnsigned(element)
                             ? 0
                             : APInt::getSignedMinValue(bits).getSExtValue());
}

Value tl::highest(Emitter &e, Type element) {
  Type type = computeType(element);
  if (isa<FloatType>(type))
    return e.number(type, std::numeric_limits<double>::infinity());
  unsigned bits = type.getIntOrFloatBitWidth();
  return e.integer(type, tl::isUnsigned(element)
                             ? -1
                             : APInt::getSignedMaxValue(bits).getSExtValue());
}

namespace {

/// A body of one operand that keeps its type: f(emitter, x, element).
template <auto body> LogicalResult unary(Node &n) {
  Type element = n.in(0).element;
  return n.done(n.compute(n.in(0), element, [&](ArrayRef<Value> a) {
    return body(n, a[0], element);
  }));
}

template <typename Op> LogicalResult unaryFloat(Node &n) {
  if (!n.in(0).isFloat())
    return n.error(n.carrier.getOpType() + " needs a float operand");
  return unary<[](Emitter &e, Value x, Type) { return e.op<Op>(x); }>(n);
}

bool sameElements(Node &n) {
  for (Tensor &input : n.inputs)
    if (input.element != n.in(0).element) {
      (void)n.error("operands must have one element type");
      return false;
    }
  return true;
}

/// All operands of one type, combined from the left.
template <auto body> LogicalResult variadic(Node &n) {
  if (!sameElements(n))
    return failure();
  Type element = n.in(0).element;
  return n.done(n.compute(n.inputs, element, [&](ArrayRef<Value> a) {
    Value result = a[0];
    for (Value next : a.drop_front())
      result = body(n, result, next, element);
    return result;
  }));
}

template <Order order> LogicalResult comparison(Node &n) {
  if (!sameElements(n))
    return failure();
  Type element = n.in(0).element;
  return n.done(n.compute(n.inputs, n.b.getI1Type(), [&](ArrayRef<Value> a) {
    return tl::compare(n, order, a[0], a[1], element);
  }));
}

template <typename Op> LogicalResult bitwise(Node &n) {
  if (!sameElements(n) || n.in(0).isFloat())
    return n.failed() ? failure()
                      : n.error("operands must be bools or integers");
  return variadic<[](Emitter &e, Value x, Value y, Type) {
    return e.op<Op>(x, y);
  }>(n);
}

Value absolute(Emitter &e, Value x, Type element) {
  if (tl::isFloat(x))
    return e.op<math::AbsFOp>(x);
  return tl::isUnsigned(element)
             ? x
             : tl::maximum(e, x, tl::sub(e, tl::like(e, x, 0), x), element);
}

Value negate(Emitter &e, Value x, Type) {
  return tl::isFloat(x) ? e.op<arith::NegFOp>(x)
                        : tl::sub(e, tl::like(e, x, 0), x);
}

Value sign(Emitter &e, Value x, Type element) {
  Value zero = tl::like(e, x, 0);
  Value isPositive = tl::compare(e, Order::Greater, x, zero, element);
  // Zero, and not a number, stay what they are.
  Value result = tl::select(e, isPositive, tl::like(e, x, 1), x);
  if (tl::isUnsigned(element))
    return result;
  Value isNegative = tl::compare(e, Order::Less, x, zero, element);
  return tl::select(e, isNegative, tl::like(e, x, -1), result);
}

Value complement(Emitter &e, Value x, Type) {
  return e.op<arith::XOrIOp>(x, e.integer(x.getType(), -1));
}

/// x to an integer power by squaring; negative powers are those of 1 / x.
Value integerPower(Emitter &e, Value x, Value y, Type xElement, Type yElement) {
  auto &b = e.b;
  Type type = x.getType();
  Value exponent = e.convert(y, yElement, b.getI64Type());
  Value zero = e.integer(b.getI64Type(), 0), one = e.integer(type, 1);
  auto loop = scf::WhileOp::create(
      b, TypeRange{type, type, b.getI64Type()}, ValueRange{one, x, exponent},
      [&](OpBuilder &inner, Location loc, ValueRange args) {
        Value more = arith::CmpIOp::create(
            inner, loc, arith::CmpIPredicate::sgt, args[2], zero);
        scf::ConditionOp::create(inner, loc, more, args);
      },
      [&](OpBuilder &inner, Location loc, ValueRange args) {
        Value bit =
            arith::TruncIOp::create(inner, loc, inner.getI1Type(), args[2]);
        Value times = arith::MulIOp::create(inner, loc, args[0], args[1]);
        Value result = arith::SelectOp::create(inner, loc, bit, times, args[0]);
        Value square = arith::MulIOp::create(inner, loc, args[1], args[1]);
        Value shift = arith::ConstantIntOp::create(inner, loc, 1, 64);
        Value rest = arith::ShRUIOp::create(inner, loc, args[2], shift);
        scf::YieldOp::create(inner, loc, ValueRange{result, square, rest});
      });
  Value result = loop.getResult(0);
  if (tl::isUnsigned(yElement))
    return result;
  Value odd = e.op<arith::TruncIOp>(b.getI1Type(), exponent);
  Value isOne = e.op<arith::CmpIOp>(arith::CmpIPredicate::eq, x, one);
  Value minusOne = e.integer(type, -1);
  Value isMinusOne =
      tl::isUnsigned(xElement)
          ? e.integer(b.getI1Type(), 0)
          : e.op<arith::CmpIOp>(arith::CmpIPredicate::eq, x, minusOne);
  Value inverse =
      tl::select(e, isOne, one,
                 tl::select(e, isMinusOne, tl::select(e, odd, minusOne, one),
                            e.integer(type, 0)));
  Value isNegative =
      e.op<arith::CmpIOp>(arith::CmpIPredicate::slt, exponent, zero);
  return tl::select(e, isNegative, inverse, result);
}

Value power(Emitter &e, Value x, Value y, Type xElement, Type yElement) {
  if (!tl::isFloat(x) && !tl::isFloat(y))
    return integerPower(e, x, y, xElement, yElement);
  // Computed in the wider of the types, at least that of the operands' floats.
  Type type = xElement;
  if (!tl::isFloat(x))
    type = xElement.getIntOrFloatBitWidth() > 16 ? e.b.getF64Type()
                                                 : e.b.getF32Type();
  else if (isa<Float64Type>(yElement))
    type = yElement;
  Type wide = computeType(type);
  Value base = e.convert(x, xElement, wide),
        exponent = e.convert(y, yElement, wide);
  APFloat known(0.0);
  Value result;
  if (matchPattern(exponent, m_ConstantFloat(&known))) {
    double value = known.convertToDouble();
    if (value == 1)
      result = base;
    else if (value == 2)
      result = tl::mul(e, base, base);
    else if (value == 3)
      result = tl::mul(e, tl::mul(e, base, base), base);
    else if (value == 0.5)
      result = e.op<math::SqrtOp>(base);
    else if (value == -1)
      result = e.op<arith::DivFOp>(e.number(wide, 1), base);
  }
  if (!result)
    result = e.op<math::PowFOp>(base, exponent);
  Value narrow = e.convert(result, wide, xElement);
  return e.toCompute(narrow, xElement);
}

LogicalResult lowerPow(Node &n) {
  Type x = n.in(0).element, y = n.in(1).element;
  return n.done(n.compute(n.inputs, x, [&](ArrayRef<Value> a) {
    return power(n, a[0], a[1], x, y);
  }));
}

LogicalResult lowerMod(Node &n) {
  if (!sameElements(n))
    return failure();
  bool isFmod = n.intAttr("fmod", 0) != 0;
  Type element = n.in(0).element;
  return n.done(n.compute(n.inputs, element, [&](ArrayRef<Value> a) {
    return remainder(n, a[0], a[1], element, isFmod);
  }));
}

LogicalResult lowerMean(Node &n) {
  if (!sameElements(n))
    return failure();
  Type element = n.in(0).element;
  return n.done(n.compute(n.inputs, element, [&](ArrayRef<Value> a) {
    Value sum = a[0];
    for (Value next : a.drop_front())
      sum = tl::add(n, sum, next);
    return tl::divide(n, sum, tl::like(n, sum, double(a.size())), element);
  }));
}

/// Shifts by the width or more, which a negative amount counts as, leave
/// nothing but the sign.
LogicalResult lowerBitShift(Node &n) {
  if (!sameElements(n) || n.in(0).isFloat())
    return n.failed() ? failure() : n.error("operands must be integers");
  StringRef direction = n.stringAttr("direction");
  if (direction != "LEFT" && direction != "RIGHT")
    return n.error("direction must be LEFT or RIGHT, but got '" + direction +
                   "'");
  bool isSigned = !n.in(0).isUnsigned();
  return n.done(n.map(n.inputs, n.in(0).element, [&](ArrayRef<Value> a) {
    Type type = a[0].getType();
    Value last = n.integer(type, type.getIntOrFloatBitWidth() - 1);
    Value fits = n.op<arith::CmpIOp>(arith::CmpIPredicate::ule, a[1], last);
    if (isSigned && direction == "RIGHT")
      return n.op<arith::ShRSIOp>(a[0], tl::select(n, fits, a[1], last));
    Value by = tl::select(n, fits, a[1], n.integer(type, 0));
    Value result = direction == "LEFT" ? n.op<arith::ShLIOp>(a[0], by)
                                       : n.op<arith::ShRUIOp>(a[0], by);
    return tl::select(n, fits, result, n.integer(type, 0));
  }));
}

LogicalResult lowerWhere(Node &n) {
  if (!n.in(0).isBool() || n.in(1).element != n.in(2).element)
    return n.error("Where needs a bool and two operands of one element type");
  return n.done(n.map(n.inputs, n.in(1).element, [&](ArrayRef<Value> a) {
    return tl::select(n, a[0], a[1], a[2]);
  }));
}

LogicalResult lowerNot(Node &n) {
  if (n.in(0).isFloat())
    return n.error("the operand must be a bool or an integer");
  return unary<complement>(n);
}

LogicalResult lowerIsNaN(Node &n) {
  return n.done(n.compute(n.in(0), n.b.getI1Type(), [&](ArrayRef<Value> a) {
    return n.condition(arith::CmpFPredicate::UNO, a[0], a[0]);
  }));
}

LogicalResult lowerIsInf(Node &n) {
  bool positive = n.intAttr("detect_positive", 1) != 0;
  bool negative = n.intAttr("detect_negative", 1) != 0;
  return n.done(
      n.compute(n.in(0), n.b.getI1Type(), [&](ArrayRef<Value> a) -> Value {
        double infinity = std::numeric_limits<double>::infinity();
        Value never = n.integer(n.b.getI1Type(), 0);
        Value up = positive ? n.condition(arith::CmpFPredicate::OEQ, a[0],
                                          tl::like(n, a[0], infinity))
                            : never;
        Value down = negative ? n.condition(arith::CmpFPredicate::OEQ, a[0],
                                            tl::like(n, a[0], -infinity))
                              : never;
        return n.op<arith::OrIOp>(up, down);
      }));
}

LogicalResult lowerCast(Node &n) {
  Type element = n.elementType(n.intAttr("to", 0));
  return element ? n.done(n.cast(n.in(0), element)) : failure();
}

LogicalResult lowerCastLike(Node &n) {
  return n.done(n.cast(n.in(0), n.in(1).element));
}

/// x between the bounds that are given.
LogicalResult lowerClip(Node &n) {
  Type element = n.in(0).element;
  SmallVector<Tensor> operands{n.in(0)};
  bool hasMin = n.has(1), hasMax = n.has(2);
  for (unsigned i : {1u, 2u})
    if (n.has(i))
      operands.push_back(n.in(i));
  for (auto [name, has] :
       {std::pair<StringRef, bool *>{"min", &hasMin}, {"max", &hasMax}})
    if (auto bound = adaptive::raising::findFloat(n.carrier, name);
        bound && !*has) {
      operands.insert(name == "min" ? operands.begin() + 1 : operands.end(),
                      n.scalar(element, *bound));
      *has = true;
    }
  return n.done(n.compute(operands, element, [&](ArrayRef<Value> a) {
    Value result = a[0];
    if (hasMin)
      result = tl::maximum(n, result, a[1], element);
    if (hasMax)
      result = tl::minimum(n, result, a.back(), element);
    return result;
  }));
}

Value reciprocal(Emitter &e, Value x, Type) {
  return e.op<arith::DivFOp>(tl::like(e, x, 1), x);
}

} // namespace

void tl::addElementwise(Registry &r) {
  r.family = "Elementwise";
  r.add("Abs", 1, unary<absolute>);
  r.add("Neg", 1, unary<negate>);
  r.add("Sign", 1, unary<sign>);
  r.add("Not", 1, lowerNot);
  r.add("BitwiseNot", 1, lowerNot);
  r.add("Ceil", 1, unaryFloat<math::CeilOp>);
  r.add("Floor", 1, unaryFloat<math::FloorOp>);
  r.add("Round", 1, unaryFloat<math::RoundEvenOp>);
  r.add("Sqrt", 1, unaryFloat<math::SqrtOp>);
  r.add("Exp", 1, unaryFloat<math::ExpOp>);
  r.add("Log", 1, unaryFloat<math::LogOp>);
  r.add("Sin", 1, unaryFloat<math::SinOp>);
  r.add("Cos", 1, unaryFloat<math::CosOp>);
  r.add("Tan", 1, unaryFloat<math::TanOp>);
  r.add("Asin", 1, unaryFloat<math::AsinOp>);
  r.add("Acos", 1, unaryFloat<math::AcosOp>);
  r.add("Atan", 1, unaryFloat<math::AtanOp>);
  r.add("Sinh", 1, unaryFloat<math::SinhOp>);
  r.add("Cosh", 1, unaryFloat<math::CoshOp>);
  r.add("Asinh", 1, unaryFloat<math::AsinhOp>);
  r.add("Acosh", 1, unaryFloat<math::AcoshOp>);
  r.add("Atanh", 1, unaryFloat<math::AtanhOp>);
  r.add("Erf", 1, unaryFloat<math::ErfOp>);
  r.add("Reciprocal", 1, unary<reciprocal>);
  r.add("IsNaN", 1, lowerIsNaN);
  r.add("IsInf", 1, lowerIsInf);
  auto addTwo = [&](StringRef name, LowerFunction lower) {
    r.add(name, 2, lower);
  };
  addTwo("Add", variadic<[](Emitter &e, Value x, Value y, Type) {
           return tl::add(e, x, y);
         }>);
  addTwo("Sub", variadic<[](Emitter &e, Value x, Value y, Type) {
           return tl::sub(e, x, y);
         }>);
  addTwo("Mul", variadic<[](Emitter &e, Value x, Value y, Type) {
           return tl::mul(e, x, y);
         }>);
  addTwo("Div", variadic<tl::divide>);
  addTwo("Pow", lowerPow);
  addTwo("Mod", lowerMod);
  r.add("Sum", 1, variadic<[](Emitter &e, Value x, Value y, Type) {
          return tl::add(e, x, y);
        }>);
  r.add("Max", 1, variadic<tl::maximum>);
  r.add("Min", 1, variadic<tl::minimum>);
  r.add("Mean", 1, lowerMean);
  addTwo("And", bitwise<arith::AndIOp>);
  addTwo("Or", bitwise<arith::OrIOp>);
  addTwo("Xor", bitwise<arith::XOrIOp>);
  addTwo("BitwiseAnd", bitwise<arith::AndIOp>);
  addTwo("BitwiseOr", bitwise<arith::OrIOp>);
  addTwo("BitwiseXor", bitwise<arith::XOrIOp>);
  addTwo("BitShift", lowerBitShift);
  addTwo("Equal", comparison<Order::Equal>);
  addTwo("Less", comparison<Order::Less>);
  addTwo("LessOrEqual", comparison<Order::LessEqual>);
  addTwo("Greater", comparison<Order::Greater>);
  addTwo("GreaterOrEqual", comparison<Order::GreaterEqual>);
  r.add("Where", 3, lowerWhere);
  r.add("Clip", 1, lowerClip);
  r.add(
      "Cast", 1, lowerCast,
      "to and from strings and types below 8 bits or of 8-bit floats: refused");
  r.add("CastLike", 2, lowerCastLike);
}
