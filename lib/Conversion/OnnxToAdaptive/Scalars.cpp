// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ONNX's elementwise operators on known elements.

#include "Scalars.h"

#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/StringMap.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace adaptive::raising;

namespace {
enum class Op {
  Copy,
  Add,
  Sub,
  Mul,
  Div,
  Mod,
  Neg,
  Abs,
  Min,
  Max,
  Pow,
  Sqrt,
  Reciprocal,
  Exp,
  Log,
  Cos,
  Sin,
  Tanh,
  Sigmoid,
  Erf,
  Floor,
  Ceil,
  Round,
  Relu,
  IsNaN,
  Equal,
  Less,
  LessOrEqual,
  Greater,
  GreaterOrEqual,
  And,
  Or,
  Xor,
  Not,
  Where,
  Sign
};
} // namespace

static const llvm::StringMap<Op> &table() {
  static const llvm::StringMap<Op> ops = {
      {"Identity", Op::Copy},
      {"Cast", Op::Copy},
      {"CastLike", Op::Copy},
      {"Add", Op::Add},
      {"Sub", Op::Sub},
      {"Mul", Op::Mul},
      {"Div", Op::Div},
      {"Mod", Op::Mod},
      {"Neg", Op::Neg},
      {"Abs", Op::Abs},
      {"Min", Op::Min},
      {"Max", Op::Max},
      {"Pow", Op::Pow},
      {"Sqrt", Op::Sqrt},
      {"Reciprocal", Op::Reciprocal},
      {"Exp", Op::Exp},
      {"Log", Op::Log},
      {"Cos", Op::Cos},
      {"Sin", Op::Sin},
      {"Tanh", Op::Tanh},
      {"Sigmoid", Op::Sigmoid},
      {"Erf", Op::Erf},
      {"Floor", Op::Floor},
      {"Ceil", Op::Ceil},
      {"Round", Op::Round},
      {"Relu", Op::Relu},
      {"IsNaN", Op::IsNaN},
      {"Equal", Op::Equal},
      {"Less", Op::Less},
      {"LessOrEqual", Op::LessOrEqual},
      {"Greater", Op::Greater},
      {"GreaterOrEqual", Op::GreaterOrEqual},
      {"And", Op::And},
      {"Or", Op::Or},
      {"Xor", Op::Xor},
      {"Not", Op::Not},
      {"Where", Op::Where},
      {"Sign", Op::Sign}};
  return ops;
}

bool adaptive::raising::isElementwise(StringRef opType) {
  return table().contains(opType);
}

static std::optional<bool> compare(Op op, const SymExpr &a, const SymExpr &b) {
  SymExpr up = b - a, down = a - b;
  bool less = up.provablyPositive(), atMost = up.provablyNonNegative();
  bool more = down.provablyPositive(), atLeast = down.provablyNonNegative();
  auto decide = [](bool yes, bool no) -> std::optional<bool> {
    if (yes || no)
      return yes;
    return std::nullopt;
  };
  switch (op) {
  case Op::Equal:
    return decide(a == b, less || more);
  case Op::Less:
    return decide(less, atLeast);
  case Op::LessOrEqual:
    return decide(atMost, more);
  case Op::Greater:
    return decide(more, atMost);
  default:
    return decide(atLeast, less);
  }
}

static std::optional<Scalar> onIntegers(Op op, ArrayRef<Scalar> in) {
  auto truth = [](bool value) { return Scalar(SymExpr(value ? 1 : 0)); };
  const SymExpr &a = in[0].integer,
                &b = in.size() > 1 ? in[1].integer : in[0].integer;
  auto x = a.constant(), y = b.constant();
  switch (op) {
  case Op::Add:
    return Scalar(a + b);
  case Op::Sub:
    return Scalar(a - b);
  case Op::Mul:
    return Scalar(a * b);
  case Op::Neg:
    return Scalar(SymExpr(0) - a);
  case Op::Div:
    if (x && y && *y != 0 &&
        !(*x == std::numeric_limits<int64_t>::min() && *y == -1))
      return Scalar(SymExpr(*x / *y));
    if (auto quotient = a.divideExactly(b))
      return Scalar(*quotient);
    return std::nullopt;
  case Op::Mod:
    if (x && y && *y > 0)
      return Scalar(SymExpr(((*x % *y) + *y) % *y));
    return std::nullopt;
  case Op::Abs:
    if (a.provablyNonNegative())
      return in[0];
    return x ? std::optional<Scalar>(SymExpr(0) - a) : std::nullopt;
  case Op::Sign:
    return x ? std::optional<Scalar>(SymExpr((*x > 0) - (*x < 0)))
             : std::nullopt;
  case Op::Relu:
  case Op::Min:
  case Op::Max: {
    SymExpr best = op == Op::Relu ? SymExpr(0) : a;
    for (const Scalar &next : op == Op::Relu ? in : in.drop_front()) {
      auto smaller = compare(Op::LessOrEqual, best, next.integer);
      if (!smaller)
        return std::nullopt;
      best = *smaller == (op == Op::Min) ? best : next.integer;
    }
    return Scalar(best);
  }
  case Op::Equal:
  case Op::Less:
  case Op::LessOrEqual:
  case Op::Greater:
  case Op::GreaterOrEqual: {
    auto known = compare(op, a, b);
    return known ? std::optional<Scalar>(truth(*known)) : std::nullopt;
  }
  case Op::And:
  case Op::Or:
  case Op::Xor:
    if (!x || !y)
      return std::nullopt;
    return truth(op == Op::And  ? (*x && *y)
                 : op == Op::Or ? (*x || *y)
                                : (!*x != !*y));
  case Op::Not:
    return x ? std::optional<Scalar>(truth(!*x)) : std::nullopt;
  case Op::IsNaN:
    return truth(false);
  default:
    return std::nullopt; // a function of real numbers
  }
}

static std::optional<Scalar> onFloats(Op op, ArrayRef<double> in) {
  auto real = [](double value) { return Scalar::ofFloat(value); };
  auto truth = [](bool value) { return Scalar(SymExpr(value ? 1 : 0)); };
  double a = in[0], b = in.size() > 1 ? in[1] : 0;
  switch (op) {
  case Op::Add:
    return real(a + b);
  case Op::Sub:
    return real(a - b);
  case Op::Mul:
    return real(a * b);
  case Op::Div:
    return real(a / b);
  case Op::Mod:
    return real(std::fmod(a, b));
  case Op::Neg:
    return real(-a);
  case Op::Abs:
    return real(std::fabs(a));
  case Op::Min:
    return real(*std::min_element(in.begin(), in.end()));
  case Op::Max:
    return real(*std::max_element(in.begin(), in.end()));
  case Op::Pow:
    return real(std::pow(a, b));
  case Op::Sqrt:
    return real(std::sqrt(a));
  case Op::Reciprocal:
    return real(1 / a);
  case Op::Exp:
    return real(std::exp(a));
  case Op::Log:
    return real(std::log(a));
  case Op::Cos:
    return real(std::cos(a));
  case Op::Sin:
    return real(std::sin(a));
  case Op::Tanh:
    return real(std::tanh(a));
  case Op::Sigmoid:
    return real(1 / (1 + std::exp(-a)));
  case Op::Erf:
    return real(std::erf(a));
  case Op::Floor:
    return real(std::floor(a));
  case Op::Ceil:
    return real(std::ceil(a));
  case Op::Round:
    return real(std::nearbyint(a));
  case Op::Relu:
    return real(a > 0 ? a : 0);
  case Op::Sign:
    return real((a > 0) - (a < 0));
  case Op::IsNaN:
    return truth(std::isnan(a));
  case Op::Equal:
    return truth(a == b);
  case Op::Less:
    return truth(a < b);
  case Op::LessOrEqual:
    return truth(a <= b);
  case Op::Greater:
    return truth(a > b);
  case Op::GreaterOrEqual:
    return truth(a >= b);
  default:
    return std::nullopt;
  }
}

/// Rounds a result as a tensor of `type` would hold it.
static std::optional<Scalar> rounded(Scalar value, Type type) {
  if (!type)
    return value;
  if (isa<FloatType>(type)) {
    if (!value.isFloat) {
      // A symbolic size stays an integer: casting it is exact.
      if (auto number = value.number())
        return Scalar::ofFloat(type.isF32() ? double(float(*number)) : *number);
      return value;
    }
    return Scalar::ofFloat(type.isF32() ? double(float(value.real))
                                        : value.real);
  }
  if (type.isInteger(1)) {
    if (auto number = value.number())
      return Scalar(SymExpr(*number != 0 ? 1 : 0));
    if (value.integer.provablyPositive())
      return Scalar(SymExpr(1));
    return std::nullopt;
  }
  if (!value.isFloat)
    return value;
  double whole = std::trunc(value.real);
  if (!(std::fabs(whole) < 9.2e18))
    return std::nullopt;
  return Scalar(SymExpr(int64_t(whole)));
}

std::optional<Scalar> adaptive::raising::evaluate(StringRef opType,
                                                  ArrayRef<Scalar> inputs,
                                                  Type type) {
  auto found = table().find(opType);
  if (found == table().end() || inputs.empty())
    return std::nullopt;
  Op op = found->second;
  if (op == Op::Copy)
    return rounded(inputs[0], type);
  if (op == Op::Where) {
    if (inputs.size() != 3)
      return std::nullopt;
    if (inputs[1] == inputs[2])
      return rounded(inputs[1], type);
    auto condition = inputs[0].number();
    return condition ? rounded(inputs[*condition != 0 ? 1 : 2], type)
                     : std::nullopt;
  }
  std::optional<Scalar> result;
  bool anyFloat =
      llvm::any_of(inputs, [](const Scalar &value) { return value.isFloat; });
  if (!anyFloat)
    result = onIntegers(op, inputs);
  if (!result) {
    SmallVector<double> numbers;
    for (const Scalar &value : inputs) {
      auto number = value.number();
      if (!number)
        return std::nullopt;
      numbers.push_back(*number);
    }
    if (!anyFloat && (op == Op::Div || op == Op::Mod))
      return std::nullopt; // an integer division that has no value
    result = onFloats(op, numbers);
  }
  if (!result || (!result->isFloat && result->integer.isTooComplex()))
    return std::nullopt;
  return rounded(*result, type);
}

std::optional<std::vector<Scalar>>
adaptive::raising::readElements(ElementsAttr value, size_t limit) {
  auto dense = dyn_cast_or_null<DenseElementsAttr>(value);
  if (!dense || size_t(dense.getNumElements()) > limit)
    return std::nullopt;
  std::vector<Scalar> result;
  result.reserve(dense.getNumElements());
  if (isa<FloatType>(dense.getElementType())) {
    for (const APFloat &element : dense.getValues<APFloat>()) {
      APFloat wide = element;
      bool lossy;
      wide.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lossy);
      result.push_back(Scalar::ofFloat(wide.convertToDouble()));
    }
    return result;
  }
  auto integer = dyn_cast<IntegerType>(dense.getElementType());
  if (!integer || integer.getWidth() > 64)
    return std::nullopt;
  for (const APInt &element : dense.getValues<APInt>())
    result.push_back(
        Scalar(SymExpr(integer.getWidth() == 1 || integer.isUnsigned()
                           ? int64_t(element.getZExtValue())
                           : element.getSExtValue())));
  return result;
}
