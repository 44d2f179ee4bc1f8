// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// kv_append and attend over dense keys and values, [sequence, position, width].
// Pages, block tables and levels are the business of backends.

#include "Decomposer.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

#include <cmath>

using namespace mlir;
using namespace adaptive;
using namespace adaptive::oracle;

/// `into` with row `row` of `from` at [sequence, position].
static Value insertRow(OpBuilder &b, Location loc, Value from, Value row,
                       Value into, Value sequence, Value position) {
  int64_t width = cast<RankedTensorType>(from.getType()).getDimSize(1);
  OpFoldResult one = b.getIndexAttr(1), zero = b.getIndexAttr(0),
               all = b.getIndexAttr(width);
  auto slice = tensor::ExtractSliceOp::create(
      b, loc, from, ArrayRef<OpFoldResult>{row, zero},
      ArrayRef<OpFoldResult>{one, all}, ArrayRef<OpFoldResult>{one, one});
  return tensor::InsertSliceOp::create(
      b, loc, slice, into, ArrayRef<OpFoldResult>{sequence, position, zero},
      ArrayRef<OpFoldResult>{one, one, all},
      ArrayRef<OpFoldResult>{one, one, one});
}

static void decompose(KVAppendOp op, Decomposer &d) {
  Decomposer::KV before = d.previousKV(op.getKv().getType());
  Value sequences = d.column("sequence"), positions = d.column("position");
  auto loop = scf::ForOp::create(
      d.b, d.index(0), d.extent(op.getKeys(), 0), d.index(1),
      ValueRange{before.keys, before.values},
      [&](OpBuilder &builder, Location loc, Value row, ValueRange state) {
        ImplicitLocOpBuilder b(loc, builder);
        auto at = [&](Value column) -> Value {
          return arith::IndexCastOp::create(b, b.getIndexType(),
                                            d.element(b, column, row));
        };
        Value sequence = at(sequences), position = at(positions);
        Value keys = insertRow(builder, loc, op.getKeys(), row, state[0],
                               sequence, position);
        Value values = insertRow(builder, loc, op.getValues(), row, state[1],
                                 sequence, position);
        scf::YieldOp::create(b, ValueRange{keys, values});
      });
  d.setKV(op.getKv(), {loop.getResult(0), loop.getResult(1)});
}

/// softmax(scale q . k) v over the positions 0 to the row's own. What lies
/// behind them may hold anything, NaN included.
static void decompose(AttendOp op, Decomposer &d) {
  KVType type = op.getKv().getType();
  Decomposer::KV kv = d.kv(op.getKv());
  int64_t heads = op.getHeads(), dim = type.getHeadDim();
  int64_t share = heads / type.getHeads();
  Value q = d.split(op.getQuery(), dim);
  SmallVector<OpFoldResult> rowsHeads = {d.extent(q, 0),
                                         d.b.getIndexAttr(heads)};
  SmallVector<OpFoldResult> scoresShape = rowsHeads, resultShape = rowsHeads;
  scoresShape.push_back(d.extent(kv.keys, 1));
  resultShape.push_back(d.b.getIndexAttr(dim));
  Value sequence = d.column("sequence"), position = d.column("position");
  Value scale = d.constant(op.getScale().convertToDouble(), d.f64());
  Value none = d.constant(-INFINITY, d.f32());

  // Element `element` of the KV head that query head `head` reads.
  auto stored = [&](ImplicitLocOpBuilder &b, Value tensor, Value sequence,
                    Value place, Value head, Value element) -> Value {
    auto number = [&](int64_t value) -> Value {
      return arith::ConstantIndexOp::create(b, value);
    };
    Value kvHead = arith::DivUIOp::create(b, head, number(share));
    Value first = arith::MulIOp::create(b, kvHead, number(dim));
    Value at = arith::IndexCastOp::create(b, b.getIndexType(), sequence);
    return d.element(b, tensor,
                     {at, place, arith::AddIOp::create(b, first, element)});
  };
  // Whether the loop `dim` is at a position that the row sees.
  auto seen = [&](ImplicitLocOpBuilder &b, Value position,
                  unsigned dim) -> Value {
    Value last = arith::IndexCastOp::create(b, b.getIndexType(), position);
    return arith::CmpIOp::create(b, arith::CmpIPredicate::ule, d.loop(b, dim),
                                 last);
  };

  // Loops: row, head, position, element.
  Value dots = d.reduce(
      {{q, {0, 1, 3}}, {sequence, {0}}}, scoresShape, 1, d.constant(0, d.f64()),
      [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
        Value key =
            stored(b, kv.keys, e[1], d.loop(b, 2), d.loop(b, 1), d.loop(b, 3));
        Value term = arith::MulFOp::create(b, d.wide(b, e[0]), d.wide(b, key));
        return arith::AddFOp::create(b, e[2], term);
      });
  Value scores = d.elementwise(
      {{dots, {0, 1, 2}}, {position, {0}}}, scoresShape, d.f32(),
      [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
        Value scaled = d.narrow(b, arith::MulFOp::create(b, e[0], scale));
        return arith::SelectOp::create(b, seen(b, e[1], 2), scaled, none);
      });
  Value top = d.reduce({{scores, {0, 1, 2}}}, rowsHeads, 1, none,
                       [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
                         return arith::MaximumFOp::create(b, e[0], e[1]);
                       });
  Value weights = d.elementwise(
      {{scores, {0, 1, 2}}, {top, {0, 1}}}, scoresShape, d.f32(),
      [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
        return math::ExpOp::create(b, arith::SubFOp::create(b, e[0], e[1]));
      });
  Value total =
      d.reduce({{weights, {0, 1, 2}}}, rowsHeads, 1, d.constant(0, d.f64()),
               [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
                 return arith::AddFOp::create(b, e[1], d.wide(b, e[0]));
               });
  // Loops: row, head, element, position.
  Value mixed = d.reduce(
      {{weights, {0, 1, 3}}, {sequence, {0}}, {position, {0}}}, resultShape, 1,
      d.constant(0, d.f64()),
      [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
        Value value = stored(b, kv.values, e[1], d.loop(b, 3), d.loop(b, 1),
                             d.loop(b, 2));
        Value term =
            arith::MulFOp::create(b, d.wide(b, e[0]), d.wide(b, value));
        Value next = arith::AddFOp::create(b, e[3], term);
        return arith::SelectOp::create(b, seen(b, e[2], 3), next, e[3]);
      });
  Value y =
      d.elementwise({{mixed, {0, 1, 2}}, {total, {0, 1}}}, resultShape, d.f32(),
                    [&](ImplicitLocOpBuilder &b, ValueRange e) -> Value {
                      return d.narrow(b, arith::DivFOp::create(b, e[0], e[1]));
                    });
  op.getResult().replaceAllUsesWith(d.join(y));
}

bool oracle::decomposeKV(Operation *op, Decomposer &d) {
  if (auto append = dyn_cast<KVAppendOp>(op))
    decompose(append, d);
  else if (auto attend = dyn_cast<AttendOp>(op))
    decompose(attend, d);
  else
    return false;
  return true;
}
