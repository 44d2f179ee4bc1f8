// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Decisions and what they do to rows: decide, exit, select, or, mark_depth.

#include "Decomposer.h"

#include "ee/abi.h"

#include <cstddef>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::oracle;

/// Decides row by row, from the columns script, flags, policy and position and
/// the policy records as words.
static Value decide(Value score, int64_t index, int64_t depth, Decomposer &d) {
  Value policies = d.column("policies");
  return d.elementwise(
      {{score, {0}},
       {d.column("script"), {0}},
       {d.column("flags"), {0}},
       {d.column("policy"), {0}},
       {d.column("position"), {0}}},
      {d.extent(score, 0)}, d.b.getI1Type(),
      [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
        auto number = [&](int64_t value) -> Value {
          return arith::ConstantOp::create(b, b.getI32IntegerAttr(value));
        };
        auto test = [&](arith::CmpIPredicate how, Value x, Value y) -> Value {
          return arith::CmpIOp::create(b, how, x, y);
        };
        auto both = [&](Value x, Value y) -> Value {
          return arith::AndIOp::create(b, x, y);
        };
        auto either = [&](Value x, Value y) -> Value {
          return arith::OrIOp::create(b, x, y);
        };
        Value record = arith::IndexCastOp::create(b, b.getIndexType(), e[3]);
        auto word = [&](size_t offset) {
          Value at = arith::ConstantIndexOp::create(b, int64_t(offset / 4));
          return d.element(b, policies, {record, at});
        };
        auto real = [&](size_t offset) -> Value {
          return arith::BitcastOp::create(b, b.getF32Type(), word(offset));
        };
        Value zero = number(0);
        using P = arith::CmpIPredicate;
        Value scripted = test(P::eq, e[1], number(index));
        Value free = test(P::eq, e[1], number(EE_SCRIPT_NONE));
        Value enabled =
            arith::AndIOp::create(b, e[2], number(EE_ROW_EXIT_ENABLED));
        free = both(free, test(P::ne, enabled, zero));
        Value active =
            arith::AndIOp::create(b, word(offsetof(ee_policy, criterion_mask)),
                                  number(int64_t(int32_t(1u << index))));
        free = both(free, test(P::ne, active, zero));
        free = both(free,
                    test(P::eq, word(offsetof(ee_policy, force_full)), zero));
        free = both(free, test(P::sge, number(depth),
                               word(offsetof(ee_policy, min_depth))));
        // threshold(t) = threshold + decay_scale * exp(-decay_rate * t).
        Value time = arith::SIToFPOp::create(b, b.getF32Type(), e[4]);
        Value decay = arith::MulFOp::create(
            b, real(offsetof(ee_policy, decay_rate)), time);
        decay = math::ExpOp::create(b, arith::NegFOp::create(b, decay));
        decay = arith::MulFOp::create(b, real(offsetof(ee_policy, decay_scale)),
                                      decay);
        Value threshold = arith::AddFOp::create(
            b, real(offsetof(ee_policy, threshold) + 4 * size_t(index)), decay);
        Value sure = arith::CmpFOp::create(b, arith::CmpFPredicate::OGE, e[0],
                                           threshold);
        Value late =
            test(P::sge, number(depth), word(offsetof(ee_policy, max_depth)));
        return either(scripted, both(free, either(sure, late)));
      });
}

/// mask[i] ? yes[i] : no[i], for rows or one element per row.
static Value select(Value mask, Value yes, Value no, Decomposer &d) {
  auto type = cast<RankedTensorType>(yes.getType());
  SmallVector<unsigned> dims = {0};
  SmallVector<OpFoldResult> shape = {d.extent(mask, 0)};
  if (type.getRank() == 2) {
    dims.push_back(1);
    shape.push_back(d.b.getIndexAttr(type.getDimSize(1)));
  }
  return d.elementwise({{mask, {0}}, {yes, dims}, {no, dims}}, shape,
                       type.getElementType(),
                       [](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
                         return arith::SelectOp::create(b, e[0], e[1], e[2]);
                       });
}

/// The depth column, with `depth` in the rows of the mask.
static void decompose(MarkDepthOp op, Decomposer &d) {
  Value mask = op.getMask();
  Value marked = d.elementwise(
      {{mask, {0}}, {d.column("depth"), {0}}}, {d.extent(mask, 0)},
      d.b.getI32Type(), [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
        Value depth =
            arith::ConstantOp::create(b, b.getI32IntegerAttr(op.getDepth()));
        return arith::SelectOp::create(b, e[0], depth, e[1]);
      });
  d.setColumn("depth", marked);
}

bool oracle::decomposeExits(Operation *op, Decomposer &d) {
  if (auto decideOp = dyn_cast<DecideOp>(op)) {
    decideOp.getDecision().replaceAllUsesWith(decide(
        decideOp.getScore(), decideOp.getIndex(), decideOp.getDepth(), d));
  } else if (auto exit = dyn_cast<ExitOp>(op)) {
    Value leaves = decide(exit.getScore(), exit.getIndex(), exit.getDepth(), d);
    exit.getResult().replaceAllUsesWith(
        select(leaves, exit.getExitValue(), exit.getRestValue(), d));
  } else if (auto selectOp = dyn_cast<SelectOp>(op)) {
    selectOp.getResult().replaceAllUsesWith(
        select(selectOp.getMask(), selectOp.getTrueValue(),
               selectOp.getFalseValue(), d));
  } else if (auto orOp = dyn_cast<OrOp>(op)) {
    orOp.getResult().replaceAllUsesWith(
        d.elementwise({{orOp.getLhs(), {0}}, {orOp.getRhs(), {0}}},
                      {d.extent(orOp.getLhs(), 0)}, d.b.getI1Type(),
                      [](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
                        return arith::OrIOp::create(b, e[0], e[1]);
                      }));
  } else if (auto mark = dyn_cast<MarkDepthOp>(op)) {
    decompose(mark, d);
  } else {
    return false;
  }
  return true;
}
