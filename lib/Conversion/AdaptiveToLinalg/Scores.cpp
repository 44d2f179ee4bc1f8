// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How sure an exit is: criteria, probe, cosine. Sums run in f64; exp and log
// in f32, which is what a score is good for.

#include "Decomposer.h"

#include <cmath>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::oracle;

static Value log(ImplicitLocOpBuilder &b, Value value) {
  return math::LogOp::create(b, value);
}

/// With t = z - max z and the largest logit left out of both sums:
/// rest = sum exp(t), moment = sum -t exp(t).
static std::pair<Value, Value> sums(Value logits, Value top, Value best,
                                    Decomposer &d) {
  Value zero = d.constant(0, d.f64());
  return d.reducePair(
      {{logits, {0, 1}}, {top, {0}}, {best, {0}}}, {d.extent(logits, 0)}, 1,
      {zero, zero}, [&](ImplicitLocOpBuilder &b, ValueRange e) {
        Value here =
            arith::IndexCastOp::create(b, b.getI32Type(), d.loop(b, 1));
        Value t = arith::SubFOp::create(b, e[0], e[1]);
        Value weight = math::ExpOp::create(b, t);
        // A weight of 0 may come with a t of -inf.
        Value none = d.narrow(b, zero);
        Value isBest =
            arith::CmpIOp::create(b, arith::CmpIPredicate::eq, here, e[2]);
        Value isNone =
            arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, weight, none);
        Value out = arith::OrIOp::create(b, isBest, isNone);
        Value w = arith::SelectOp::create(b, out, none, weight);
        Value s = arith::SelectOp::create(b, out, none, t);
        Value moment = arith::MulFOp::create(b, d.wide(b, w), d.wide(b, s));
        return std::pair<Value, Value>(
            arith::AddFOp::create(b, e[3], d.wide(b, w)),
            arith::SubFOp::create(b, e[4], moment));
      });
}

/// The largest logit but the one at `best`.
static Value second(Value logits, Value best, Decomposer &d) {
  Value none = d.constant(-INFINITY, d.f32());
  return d.reduce(
      {{logits, {0, 1}}, {best, {0}}}, {d.extent(logits, 0)}, 1, none,
      [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
        Value here =
            arith::IndexCastOp::create(b, b.getI32Type(), d.loop(b, 1));
        Value isBest =
            arith::CmpIOp::create(b, arith::CmpIPredicate::eq, here, e[1]);
        Value other = arith::SelectOp::create(b, isBest, none, e[0]);
        return arith::MaximumFOp::create(b, e[2], other);
      });
}

static void decompose(CriteriaOp op, Decomposer &d) {
  Value logits = op.getLogits();
  auto [top, best] = d.largest(logits);
  auto [rest, moment] = sums(logits, top, best, d);
  SmallVector<Decomposer::Input> inputs = {{rest, {0}}, {moment, {0}}};
  if (op.getKind() == Criterion::Margin) {
    inputs.push_back({top, {0}});
    inputs.push_back({second(logits, best, d), {0}});
  }
  double classes =
      double(cast<RankedTensorType>(logits.getType()).getDimSize(1));
  Value score = d.elementwise(
      inputs, {d.extent(logits, 0)}, d.f32(),
      [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
        auto f64 = [&](double value) {
          return arith::ConstantOp::create(b, b.getF64FloatAttr(value));
        };
        Value rest = d.narrow(b, e[0]);
        // ln p - ln(1 - p) with p = 1 / (1 + rest).
        if (op.getKind() == Criterion::MaxProb)
          return arith::NegFOp::create(b, log(b, rest));
        // p1 - p2 = (1 - exp(t2)) / (1 + rest), 1 - that = (rest + exp(t2)) /
        // ..
        if (op.getKind() == Criterion::Margin) {
          Value t = arith::SubFOp::create(b, e[3], e[2]);
          Value gap = arith::NegFOp::create(b, math::ExpM1Op::create(b, t));
          Value other =
              arith::AddFOp::create(b, rest, math::ExpOp::create(b, t));
          return arith::SubFOp::create(b, log(b, gap), log(b, other));
        }
        // H = ln(1 + rest) + moment / (1 + rest).
        Value all = arith::AddFOp::create(b, e[0], f64(1));
        Value spread = arith::DivFOp::create(b, e[1], all);
        Value entropy = d.wide(b, math::Log1pOp::create(b, rest));
        entropy = arith::AddFOp::create(b, entropy, spread);
        Value share = arith::DivFOp::create(b, entropy, f64(std::log(classes)));
        Value sure = arith::SubFOp::create(b, f64(1), share);
        return arith::SubFOp::create(b, log(b, d.narrow(b, sure)),
                                     log(b, d.narrow(b, share)));
      });
  op.getScore().replaceAllUsesWith(score);
}

static Value dot(Decomposer::Input x, Decomposer::Input y, Value rows,
                 Decomposer &d) {
  return d.reduce({x, y}, {d.extent(rows, 0)}, 1, d.constant(0, d.f64()),
                  [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
                    Value term = arith::MulFOp::create(b, d.wide(b, e[0]),
                                                       d.wide(b, e[1]));
                    return arith::AddFOp::create(b, e[2], term);
                  });
}

static void decompose(ProbeOp op, Decomposer &d) {
  Value x = op.getInput();
  Value sum = dot({x, {0, 1}}, {d.asVector(op.getWeight()), {1}}, x, d);
  Value zero = d.index(0);
  Value bias = d.element(d.b, op.getBias(), zero);
  op.getScore().replaceAllUsesWith(d.elementwise(
      {{sum, {0}}}, {d.extent(x, 0)}, d.f32(),
      [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
        return d.narrow(b, arith::AddFOp::create(b, e[0], d.wide(b, bias)));
      }));
}

/// ln (1 + c) / (1 - c); a row of zeros has c = 0.
static void decompose(CosineOp op, Decomposer &d) {
  Decomposer::Input x = {op.getPrevious(), {0, 1}}, y = {op.getState(), {0, 1}};
  Value rows = op.getState();
  Value xy = dot(x, y, rows, d), xx = dot(x, x, rows, d),
        yy = dot(y, y, rows, d);
  Value score = d.elementwise(
      {{xy, {0}}, {xx, {0}}, {yy, {0}}}, {d.extent(rows, 0)}, d.f32(),
      [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
        auto f64 = [&](double value) {
          return arith::ConstantOp::create(b, b.getF64FloatAttr(value));
        };
        Value norms =
            math::SqrtOp::create(b, arith::MulFOp::create(b, e[1], e[2]));
        Value any =
            arith::CmpFOp::create(b, arith::CmpFPredicate::OGT, norms, f64(0));
        Value divisor = arith::SelectOp::create(b, any, norms, f64(1));
        Value c = arith::DivFOp::create(b, e[0], divisor);
        Value ratio =
            arith::DivFOp::create(b, arith::AddFOp::create(b, f64(1), c),
                                  arith::SubFOp::create(b, f64(1), c));
        return log(b, d.narrow(b, ratio));
      });
  op.getScore().replaceAllUsesWith(score);
}

bool oracle::decomposeScores(Operation *op, Decomposer &d) {
  if (auto criteria = dyn_cast<CriteriaOp>(op))
    decompose(criteria, d);
  else if (auto probe = dyn_cast<ProbeOp>(op))
    decompose(probe, d);
  else if (auto cosine = dyn_cast<CosineOp>(op))
    decompose(cosine, d);
  else
    return false;
  return true;
}
