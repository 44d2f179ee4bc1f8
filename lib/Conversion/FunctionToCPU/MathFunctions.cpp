// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Each function of the math dialect by name: native, from the kernels (f32), or
// a series in f64.

#include "MathFunctions.h"

#include "AdaptiveDialect/Conversion/Kernels/Math.h"
#include "MathSeries.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::cpu;
using namespace adaptive::kernels;

/// Instructions of every level, for floats and integers.
static bool isNative(Operation *op) {
  return isa<math::AbsFOp, math::AbsIOp, math::CeilOp, math::CopySignOp,
             math::CountLeadingZerosOp, math::CountTrailingZerosOp,
             math::CtPopOp, math::FloorOp, math::FmaOp, math::IsFiniteOp,
             math::IsInfOp, math::IsNaNOp, math::IsNormalOp, math::RoundEvenOp,
             math::SqrtOp, math::TruncOp>(op);
}

using Unary = Value (MathSeries::*)(Value);

/// The series of a function of one operand, or null.
static Unary seriesOf(Operation *op) {
  static const llvm::StringMap<Unary> table = {
      {"math.acos", &MathSeries::acos},   {"math.acosh", &MathSeries::acosh},
      {"math.asin", &MathSeries::asin},   {"math.asinh", &MathSeries::asinh},
      {"math.atan", &MathSeries::atan},   {"math.atanh", &MathSeries::atanh},
      {"math.cbrt", &MathSeries::cbrt},   {"math.cos", &MathSeries::cos},
      {"math.cosh", &MathSeries::cosh},   {"math.erf", &MathSeries::erf},
      {"math.erfc", &MathSeries::erfc},   {"math.exp", &MathSeries::exp},
      {"math.exp2", &MathSeries::exp2},   {"math.expm1", &MathSeries::expm1},
      {"math.log", &MathSeries::log},     {"math.log10", &MathSeries::log10},
      {"math.log1p", &MathSeries::log1p}, {"math.log2", &MathSeries::log2},
      {"math.sin", &MathSeries::sin},     {"math.sinh", &MathSeries::sinh},
      {"math.tan", &MathSeries::tan},     {"math.tanh", &MathSeries::tanh}};
  return table.lookup(op->getName().getStringRef());
}

/// The kernels' own function on f32, where there is one.
static std::optional<F32Function> kernelFunction(Operation *op) {
  if (isa<math::ExpOp>(op))
    return F32Function::Exp;
  if (isa<math::LogOp>(op))
    return F32Function::Log;
  if (isa<math::TanhOp>(op))
    return F32Function::Tanh;
  if (isa<math::ErfOp>(op))
    return F32Function::Erf;
  return std::nullopt;
}

bool cpu::hasExpansion(Operation *op) {
  return isNative(op) || seriesOf(op) ||
         isa<math::RsqrtOp, math::RoundOp, math::ClampFOp, math::PowFOp,
             math::FPowIOp, math::Atan2Op>(op);
}

/// Half away from zero: x - trunc(x) is exact, unlike adding a half.
static Value expandRound(ImplicitLocOpBuilder &b, Value x) {
  auto constant = [&](double value) -> Value {
    return arith::ConstantOp::create(b, b.getFloatAttr(x.getType(), value));
  };
  Value whole = math::TruncOp::create(b, x);
  Value rest =
      math::AbsFOp::create(b, arith::SubFOp::create(b, x, whole).getResult());
  Value up =
      arith::CmpFOp::create(b, arith::CmpFPredicate::OGE, rest, constant(0.5));
  Value step = math::CopySignOp::create(b, constant(1.0), x);
  Value away = arith::AddFOp::create(b, whole, step);
  return arith::SelectOp::create(b, up, away, whole);
}

Value cpu::expandMath(OpBuilder &builder, Operation *op) {
  ImplicitLocOpBuilder b(op->getLoc(), builder);
  if (isNative(op))
    return nullptr;
  Value x = op->getOperand(0);
  Type type = x.getType();
  if (isa<math::RsqrtOp>(op)) {
    Value one = arith::ConstantOp::create(b, b.getFloatAttr(type, 1.0));
    return arith::DivFOp::create(b, one,
                                 math::SqrtOp::create(b, x).getResult());
  }
  if (isa<math::RoundOp>(op))
    return expandRound(b, x);
  if (isa<math::ClampFOp>(op))
    return arith::MinimumFOp::create(
        b, arith::MaximumFOp::create(b, x, op->getOperand(1)).getResult(),
        op->getOperand(2));
  if (auto kernel = kernelFunction(op); kernel && type.isF32()) {
    Value y = emitF32Function(b, op->getLoc(), *kernel, x);
    // The kernels' tanh does not keep the sign of zero.
    return isa<math::TanhOp>(op) ? Value(math::CopySignOp::create(b, y, x)) : y;
  }

  Type f64 = b.getF64Type();
  auto widen = [&](Value value) -> Value {
    if (isa<IntegerType>(value.getType()))
      return arith::SIToFPOp::create(b, f64, value);
    return value.getType() == f64 ? value
                                  : Value(arith::ExtFOp::create(b, f64, value));
  };
  MathSeries series(b);
  Value wide;
  if (isa<math::PowFOp, math::FPowIOp>(op))
    wide = series.pow(widen(x), widen(op->getOperand(1)));
  else if (isa<math::Atan2Op>(op))
    wide = series.atan2(widen(x), widen(op->getOperand(1)));
  else
    wide = (series.*seriesOf(op))(widen(x));
  return type == f64 ? wide : Value(arith::TruncFOp::create(b, type, wide));
}
