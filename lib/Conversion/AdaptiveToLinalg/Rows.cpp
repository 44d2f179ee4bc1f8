// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ops on single rows: embed, norm, rope, sample (at temperature 0), copy.

#include "Decomposer.h"

#include <cmath>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::oracle;

/// y[i, j] = table[ids[i], j]; ids outside of the table read row 0.
static void decompose(EmbedOp op, Decomposer &d) {
  Value table = op.getTable();
  auto type = cast<RankedTensorType>(table.getType());
  int64_t vocab = type.getDimSize(0), width = type.getDimSize(1);
  op.getResult().replaceAllUsesWith(d.elementwise(
      {{op.getIds(), {0}}}, {d.extent(op.getIds(), 0), d.b.getIndexAttr(width)},
      d.f32(), [&](ImplicitLocOpBuilder &b, ValueRange e) {
        return d.narrow(
            b, d.element(b, table, {d.clamped(b, e[0], vocab), d.loop(b, 1)}));
      }));
}

/// Sums of a group run in f64 and are rounded once.
static void decompose(NormOp op, Decomposer &d) {
  int64_t group = cast<RankedTensorType>(op.getScale().getType()).getDimSize(0);
  Value x = d.split(op.getInput(), group);
  SmallVector<OpFoldResult> groups = {
      d.extent(x, 0),
      d.b.getIndexAttr(cast<RankedTensorType>(x.getType()).getDimSize(1))};
  Value zero = d.constant(0, d.f64()), count = d.constant(group, d.f64());
  Value mean;
  if (op.getKind() == NormKind::Layer)
    mean = d.reduce({{x, {0, 1, 2}}}, groups, 1, zero,
                    [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
                      Value part =
                          arith::DivFOp::create(b, d.wide(b, e[0]), count);
                      return arith::AddFOp::create(b, e[1], part);
                    });
  auto centred = [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
    Value value = d.wide(b, e[0]);
    return mean ? arith::SubFOp::create(b, value, e[1]).getResult() : value;
  };
  SmallVector<Decomposer::Input> inputs = {{x, {0, 1, 2}}};
  if (mean)
    inputs.push_back({mean, {0, 1}});
  Value squares = d.reduce(inputs, groups, 1, zero,
                           [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
                             Value value = centred(b, e);
                             Value square =
                                 arith::MulFOp::create(b, value, value);
                             return arith::AddFOp::create(b, e.back(), square);
                           });
  Value epsilon = d.constant(op.getEpsilon().convertToDouble(), d.f64());
  inputs.push_back({squares, {0, 1}});
  inputs.push_back({op.getScale(), {2}});
  if (op.getBias())
    inputs.push_back({op.getBias(), {2}});
  SmallVector<OpFoldResult> shape = groups;
  shape.push_back(d.b.getIndexAttr(group));
  Value y = d.elementwise(
      inputs, shape, d.f32(),
      [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
        size_t next = mean ? 2 : 1;
        Value variance = arith::DivFOp::create(b, e[next], count);
        variance = arith::AddFOp::create(b, variance, epsilon);
        Value value = arith::DivFOp::create(b, centred(b, e),
                                            math::SqrtOp::create(b, variance));
        value = arith::MulFOp::create(b, value, d.wide(b, e[next + 1]));
        if (op.getBias())
          value = arith::AddFOp::create(b, value, d.wide(b, e[next + 2]));
        return d.narrow(b, value);
      });
  op.getResult().replaceAllUsesWith(d.join(y));
}

/// Element j of a head turns with its partner by the angle of the row's
/// position: (x, y) -> (x cos - y sin, y cos + x sin).
static void decompose(RopeOp op, Decomposer &d) {
  Value x = op.getInput(), position = d.column("position");
  auto table = cast<RankedTensorType>(op.getCos().getType());
  int64_t half = table.getDimSize(1), headDim = op.getHeadDim();
  int64_t width = cast<RankedTensorType>(x.getType()).getDimSize(1);
  auto y = d.elementwise(
      {{x, {0, 1}}, {position, {0}}}, {d.extent(x, 0), d.b.getIndexAttr(width)},
      d.f32(), [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
        auto number = [&](int64_t value) -> Value {
          return arith::ConstantIndexOp::create(b, value);
        };
        auto select = [&](Value which, Value yes, Value no) -> Value {
          return arith::SelectOp::create(b, which, yes, no);
        };
        Value i = d.loop(b, 0), j = d.loop(b, 1);
        Value place = arith::RemUIOp::create(b, j, number(headDim));
        Value turns = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, place,
                                            number(2 * half));
        Value second, angle, step = number(op.getInterleaved() ? 1 : half);
        if (op.getInterleaved()) {
          Value odd = arith::RemUIOp::create(b, place, number(2));
          second = arith::CmpIOp::create(b, arith::CmpIPredicate::eq, odd,
                                         number(1));
          angle = arith::DivUIOp::create(b, place, number(2));
        } else {
          second = arith::CmpIOp::create(b, arith::CmpIPredicate::uge, place,
                                         number(half));
          angle = arith::RemUIOp::create(b, place, number(half));
        }
        Value before = arith::SubIOp::create(b, j, step);
        Value behind = arith::AddIOp::create(b, j, step);
        // What does not turn reads itself and angle 0, and is selected away.
        Value other = select(turns, select(second, before, behind), j);
        angle = select(turns, angle, number(0));
        Value row = d.clamped(b, e[1], table.getDimSize(0));
        Value cos = d.narrow(b, d.element(b, op.getCos(), {row, angle}));
        Value sin = d.narrow(b, d.element(b, op.getSin(), {row, angle}));
        Value straight = arith::MulFOp::create(b, e[0], cos);
        Value cross =
            arith::MulFOp::create(b, d.element(b, x, {i, other}), sin);
        Value turned = select(second, arith::AddFOp::create(b, straight, cross),
                              arith::SubFOp::create(b, straight, cross));
        return select(turns, turned, e[0]);
      });
  op.getResult().replaceAllUsesWith(y);
}

/// Temperature 0. Other temperatures draw from a restricted, sorted softmax
/// with a counter-based generator: an algorithm, not a tensor expression.
static void decompose(SampleOp op, Decomposer &d) {
  op.getResult().replaceAllUsesWith(d.largest(op.getLogits()).second);
}

static void decompose(CopyOp op, Decomposer &d) {
  auto type = cast<RankedTensorType>(op.getInput().getType());
  SmallVector<OpFoldResult> shape = {d.extent(op.getInput(), 0)};
  SmallVector<unsigned> dims = {0};
  for (unsigned dim = 1; dim < type.getRank(); ++dim) {
    shape.push_back(d.b.getIndexAttr(type.getDimSize(dim)));
    dims.push_back(dim);
  }
  op.getResult().replaceAllUsesWith(
      d.elementwise({{op.getInput(), dims}}, shape, type.getElementType(),
                    [](ImplicitLocOpBuilder &, ValueRange e) { return e[0]; }));
}

bool oracle::decomposeRows(Operation *op, Decomposer &d) {
  if (auto embed = dyn_cast<EmbedOp>(op))
    decompose(embed, d);
  else if (auto norm = dyn_cast<NormOp>(op))
    decompose(norm, d);
  else if (auto rope = dyn_cast<RopeOp>(op))
    decompose(rope, d);
  else if (auto sample = dyn_cast<SampleOp>(op))
    decompose(sample, d);
  else if (auto copy = dyn_cast<CopyOp>(op))
    decompose(copy, d);
  else
    return false;
  return true;
}
