// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Turns a region of scalar arith and math ops into the same ops on 16 lanes:
// epilogues of linear and the body of map.

#include "AdaptiveDialect/Conversion/Kernels/Builder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace adaptive::kernels;

/// Math ops that are functions of one operand. Null when there is no vector
/// form.
static Value emitUnary(Kernel &k, Operation *op, Value x) {
  Type type = x.getType();
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case<math::ExpOp>([&](auto) { return emitExp(k, x); })
      .Case<math::LogOp>([&](auto) { return emitLog(k, x); })
      .Case<math::TanhOp>([&](auto) { return emitTanh(k, x); })
      .Case<math::ErfOp>([&](auto) { return emitErf(k, x); })
      .Case<math::SqrtOp>([&](auto) { return k.sqrt(x); })
      .Case<math::RsqrtOp>(
          [&](auto) { return k.div(k.like(x, 1.0f), k.sqrt(x)); })
      .Case<math::AbsFOp>([&](auto) { return k.abs(x); })
      .Case<math::FloorOp>(
          [&](auto) { return LLVM::FFloorOp::create(k.b, k.loc, type, x); })
      .Case<math::CeilOp>(
          [&](auto) { return LLVM::FCeilOp::create(k.b, k.loc, type, x); })
      .Case<math::RoundEvenOp>(
          [&](auto) { return LLVM::RoundEvenOp::create(k.b, k.loc, type, x); })
      .Default([](Operation *) { return Value(); });
}

FailureOr<Value> adaptive::kernels::emitRegion(Kernel &k, Region &region,
                                               ValueRange arguments) {
  IRMapping map;
  Block &block = region.front();
  map.map(block.getArguments(), arguments);
  for (Operation &op : block.without_terminator()) {
    Value result;
    if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
      auto value = dyn_cast<FloatAttr>(constant.getValue());
      if (value && value.getType().isF32())
        result = k.vcf(value.getValue().convertToFloat());
    } else if (isa<arith::MaxNumFOp, arith::MinNumFOp>(op)) {
      // Machines differ in the zero that they take of +0 and -0: here the
      // second.
      Value x = map.lookup(op.getOperand(0)), y = map.lookup(op.getOperand(1));
      Cmp better = isa<arith::MaxNumFOp>(op) ? Cmp::GT : Cmp::LT;
      result = k.select(k.isNaN(y), x, k.select(k.cmp(better, x, y), x, y));
    } else if (isa<math::FmaOp>(op)) {
      result = k.fma(map.lookup(op.getOperand(0)), map.lookup(op.getOperand(1)),
                     map.lookup(op.getOperand(2)));
    } else if (isa<arith::AddFOp, arith::SubFOp, arith::MulFOp, arith::DivFOp,
                   arith::NegFOp, arith::MaximumFOp, arith::MinimumFOp,
                   arith::CmpFOp, arith::SelectOp>(op)) {
      // The same op on 16 lanes; fast-math flags are dropped.
      OperationState state(k.loc, op.getName());
      for (Value operand : op.getOperands())
        state.operands.push_back(map.lookup(operand));
      state.types.push_back(k.vec(op.getResult(0).getType()));
      if (auto compare = dyn_cast<arith::CmpFOp>(op))
        state.addAttribute(compare.getPredicateAttrName(),
                           compare.getPredicateAttr());
      result = k.b.create(state)->getResult(0);
    } else if (op.getNumOperands() == 1 && op.getNumResults() == 1 &&
               op.getResult(0).getType().isF32()) {
      result = emitUnary(k, &op, map.lookup(op.getOperand(0)));
    }
    if (!result)
      return op.emitError("there is no kernel for '") << op.getName() << "'";
    map.map(op.getResult(0), result);
  }
  return map.lookup(block.getTerminator()->getOperand(0));
}
