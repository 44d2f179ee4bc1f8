// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// adaptive-expand-math: what would become a call of libm or of the compiler's
// run-time library is written out, and what would trap is guarded.
//
//   math.tanh %x : f32         -> a polynomial, exp, a division, a select
//   arith.truncf f64 to bf16   -> to f32 rounded to odd, then to bf16
//   arith.divsi %a, %b : i64   -> cf.assert %b != 0; MIN / -1 is MIN
//
// After arith-emulate-unsupported-floats and math-extend-to-supported-types:
// what computes, computes on f32 and f64.

#include "AdaptiveDialect/Conversion/Passes.h"
#include "MathFunctions.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "mlir/IR/Matchers.h"

#include <limits>

namespace adaptive {
#define GEN_PASS_DEF_EXPANDMATH
#include "AdaptiveDialect/Conversion/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

static Value integer(ImplicitLocOpBuilder &b, Type type, int64_t value) {
  return arith::ConstantOp::create(b, b.getIntegerAttr(type, value));
}

/// f64 to f32 such that a second rounding to a narrower type is right: toward
/// zero, and the last bit set where something was lost (round to odd).
static Value roundToOdd(ImplicitLocOpBuilder &b, Value x) {
  Type f32 = b.getF32Type(), f64 = b.getF64Type(), i32 = b.getI32Type();
  Value nearest = arith::TruncFOp::create(b, f32, x);
  Value back = arith::ExtFOp::create(b, f64, nearest);
  Value bits = arith::BitcastOp::create(b, i32, nearest);
  // One step toward zero where the nearest one lies beyond x.
  Value beyond = arith::CmpFOp::create(
      b, arith::CmpFPredicate::OGT, math::AbsFOp::create(b, back).getResult(),
      math::AbsFOp::create(b, x).getResult());
  Value down = arith::SubIOp::create(b, bits, integer(b, i32, 1));
  Value odd = arith::OrIOp::create(
      b, arith::SelectOp::create(b, beyond, down, bits).getResult(),
      integer(b, i32, 1));
  Value inexact = arith::CmpFOp::create(b, arith::CmpFPredicate::ONE, back, x);
  return arith::BitcastOp::create(
      b, f32, arith::SelectOp::create(b, inexact, odd, bits).getResult());
}

static bool isNarrow(Type type) { return type.isF16() || type.isBF16(); }

/// f64 and integers to f16 and bf16.
static void expandNarrowing(Operation *op) {
  ImplicitLocOpBuilder b(op->getLoc(), op);
  Type type = op->getResult(0).getType();
  Value wide = op->getOperand(0);
  Type f64 = b.getF64Type();
  if (isa<arith::SIToFPOp>(op))
    wide = arith::SIToFPOp::create(b, f64, wide);
  else if (isa<arith::UIToFPOp>(op))
    wide = arith::UIToFPOp::create(b, f64, wide);
  Value narrow = arith::TruncFOp::create(b, type, roundToOdd(b, wide));
  op->getResult(0).replaceAllUsesWith(narrow);
  op->erase();
}

/// Divisions trap on zero and on MIN / -1.
static void guardDivision(Operation *op) {
  ImplicitLocOpBuilder b(op->getLoc(), op);
  Value divisor = op->getOperand(1);
  Type type = divisor.getType();
  APInt known;
  bool isConstant = matchPattern(divisor, m_ConstantInt(&known));
  if (isConstant && !known.isZero() && !known.isAllOnes())
    return;
  Value nonZero = arith::CmpIOp::create(b, arith::CmpIPredicate::ne, divisor,
                                        integer(b, type, 0));
  cf::AssertOp::create(b, nonZero, "integer division by zero");
  if (!isa<arith::DivSIOp, arith::RemSIOp>(op))
    return;
  unsigned width = type.isIndex() ? 64 : type.getIntOrFloatBitWidth();
  APInt least = APInt::getSignedMinValue(width);
  Value min = arith::ConstantOp::create(b, b.getIntegerAttr(type, least));
  auto equal = [&](Value x, Value y) -> Value {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::eq, x, y);
  };
  Value overflows = arith::AndIOp::create(b, equal(op->getOperand(0), min),
                                          equal(divisor, integer(b, type, -1)));
  // MIN / 1 is MIN, as wrapping arithmetic has it; MIN % 1 is 0.
  op->setOperand(
      1, arith::SelectOp::create(b, overflows, integer(b, type, 1), divisor));
}

/// A loop that carries one f64: while `more(value)`, value = next(value).
static Value
whileLoop(ImplicitLocOpBuilder &b, Value start,
          function_ref<Value(ImplicitLocOpBuilder &, Value)> more,
          function_ref<Value(ImplicitLocOpBuilder &, Value)> next) {
  auto loop = scf::WhileOp::create(
      b, TypeRange{start.getType()}, ValueRange{start},
      [&](OpBuilder &builder, Location loc, ValueRange values) {
        ImplicitLocOpBuilder inner(loc, builder);
        scf::ConditionOp::create(inner, more(inner, values[0]), values);
      },
      [&](OpBuilder &builder, Location loc, ValueRange values) {
        ImplicitLocOpBuilder inner(loc, builder);
        scf::YieldOp::create(inner, next(inner, values[0]));
      });
  return loop.getResult(0);
}

/// The remainder by long division: take away the largest y 2^k until less than
/// y is left. Doubling and these differences are exact.
static Value expandRemainder(arith::RemFOp op) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  Type type = op.getType(), f64 = b.getF64Type();
  bool isWide = type == f64;
  auto widen = [&](Value v) -> Value {
    return isWide ? v : Value(arith::ExtFOp::create(b, f64, v));
  };
  auto constant = [&](double value) -> Value {
    return arith::ConstantOp::create(b, b.getF64FloatAttr(value));
  };
  auto compare = [](ImplicitLocOpBuilder &at, arith::CmpFPredicate predicate,
                    Value l, Value r) -> Value {
    return arith::CmpFOp::create(at, predicate, l, r);
  };
  auto twice = [](ImplicitLocOpBuilder &at, Value v) -> Value {
    return arith::AddFOp::create(at, v, v);
  };
  Value x = widen(op.getLhs());
  Value y = math::AbsFOp::create(b, widen(op.getRhs()));
  Value start = math::AbsFOp::create(b, x);
  // NaN unless x is finite and y is neither zero nor NaN.
  constexpr double inf = std::numeric_limits<double>::infinity();
  Value valid = arith::AndIOp::create(
      b, compare(b, arith::CmpFPredicate::OLT, start, constant(inf)),
      compare(b, arith::CmpFPredicate::OGT, y, constant(0.0)));
  start = arith::SelectOp::create(b, valid, start, constant(0.0));
  y = arith::SelectOp::create(b, valid, y, constant(1.0));
  Value rest = whileLoop(
      b, start,
      [&](ImplicitLocOpBuilder &at, Value left) {
        return compare(at, arith::CmpFPredicate::OGE, left, y);
      },
      [&](ImplicitLocOpBuilder &at, Value left) -> Value {
        Value step = whileLoop(
            at, y,
            [&](ImplicitLocOpBuilder &in, Value s) {
              return compare(in, arith::CmpFPredicate::OLE, twice(in, s), left);
            },
            [&](ImplicitLocOpBuilder &in, Value s) { return twice(in, s); });
        return arith::SubFOp::create(at, left, step);
      });
  rest = math::CopySignOp::create(b, rest, x);
  rest = arith::SelectOp::create(
      b, valid, rest, constant(std::numeric_limits<double>::quiet_NaN()));
  return isWide ? rest : Value(arith::TruncFOp::create(b, type, rest));
}

namespace {
struct ExpandMath : adaptive::impl::ExpandMathBase<ExpandMath> {
  void runOnOperation() override {
    SmallVector<Operation *> work;
    getOperation().walk([&](Operation *op) {
      if (isa<math::MathDialect>(op->getDialect()) ||
          isa<arith::RemFOp, arith::TruncFOp, arith::ExtFOp, arith::SIToFPOp,
              arith::UIToFPOp, arith::DivSIOp, arith::DivUIOp, arith::RemSIOp,
              arith::RemUIOp>(op))
        work.push_back(op);
    });
    for (Operation *op : work) {
      // The emulation of narrow floats says that roundings may be left out.
      if (auto flags = dyn_cast<arith::ArithFastMathInterface>(op))
        op->setAttr(flags.getFastMathAttrName(),
                    arith::FastMathFlagsAttr::get(&getContext(),
                                                  arith::FastMathFlags::none));
      expand(op);
    }
  }

  void expand(Operation *op) {
    if (isa<arith::DivSIOp, arith::DivUIOp, arith::RemSIOp, arith::RemUIOp>(op))
      return guardDivision(op);
    Type type = op->getResult(0).getType();
    if (isa<arith::TruncFOp, arith::SIToFPOp, arith::UIToFPOp>(op)) {
      if (isNarrow(type) && !op->getOperand(0).getType().isF32())
        expandNarrowing(op);
      return;
    }
    Value value;
    OpBuilder builder(op);
    if (auto remainder = dyn_cast<arith::RemFOp>(op))
      value = expandRemainder(remainder);
    else if (isa<math::MathDialect>(op->getDialect()))
      value = cpu::expandMath(builder, op);
    if (!value)
      return;
    op->getResult(0).replaceAllUsesWith(value);
    op->erase();
  }
};
} // namespace
