// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reductions along axes, ArgMax and ArgMin, Softmax.

#include "Reduce.h"
#include "Scalars.h"

#include "mlir/IR/AffineMap.h"

using namespace mlir;
using namespace adaptive::tolinalg;
namespace tl = adaptive::tolinalg;

Tensor tl::widened(Emitter &e, Tensor &x) {
  return x.isFloat() ? e.cast(x, computeType(x.element)) : x;
}

Tensor tl::sumAlong(Emitter &e, Tensor &x, ArrayRef<bool> axes) {
  return e.reduce(x, axes, x.element, e.number(computeType(x.element), 0),
                  [&](Value sum, Value item) { return tl::add(e, sum, item); });
}

Tensor tl::maxAlong(Emitter &e, Tensor &x, ArrayRef<bool> axes) {
  return e.reduce(x, axes, x.element, tl::lowest(e, x.element),
                  [&](Value best, Value item) {
                    return tl::maximum(e, best, item, x.element);
                  });
}

static Size countAlong(Emitter &e, Tensor &x, ArrayRef<bool> axes) {
  Size count = e.size(1);
  for (auto [extent, reduced] : llvm::zip(x.sizes, axes))
    if (reduced)
      count = e.mul(count, extent);
  return count;
}

Tensor tl::meanAlong(Emitter &e, Tensor &x, ArrayRef<bool> axes) {
  Size count = countAlong(e, x, axes);
  Tensor sum = sumAlong(e, x, axes);
  Type i64 = e.b.getI64Type();
  Value divisor =
      e.convert(e.toElement(count, i64), i64, computeType(x.element));
  return e.compute(sum, x.element, [&](ArrayRef<Value> a) {
    return tl::divide(e, a[0], divisor, x.element);
  });
}

Tensor tl::softmax(Emitter &e, Tensor &input, ArrayRef<bool> axes, bool log) {
  Tensor x = widened(e, input);
  Type element = x.element;
  Tensor most[] = {x, maxAlong(e, x, axes)};
  Tensor shifted = e.map(
      most, element, [&](ArrayRef<Value> a) { return tl::sub(e, a[0], a[1]); });
  Tensor power = e.map(shifted, element, [&](ArrayRef<Value> a) {
    return e.op<math::ExpOp>(a[0]);
  });
  Tensor sum = sumAlong(e, power, axes);
  Tensor pair[] = {log ? shifted : power, sum};
  Tensor result = e.map(pair, element, [&](ArrayRef<Value> a) -> Value {
    if (log)
      return tl::sub(e, a[0], e.op<math::LogOp>(a[1]));
    return e.op<arith::DivFOp>(a[0], a[1]);
  });
  return e.cast(result, input.element);
}

namespace {

/// Which axes a Reduce node reduces; nullopt after an error.
std::optional<SmallVector<bool>> reducedAxes(Node &n) {
  int64_t rank = n.in(0).rank();
  auto given = n.constantInts(1, "axes");
  if (!given)
    return std::nullopt;
  bool isEmpty = !*given || (*given)->empty();
  SmallVector<bool> axes(rank,
                         isEmpty && n.intAttr("noop_with_empty_axes", 0) == 0);
  if (isEmpty)
    return axes;
  for (int64_t item : **given) {
    auto axis = n.axis(item, rank);
    if (!axis)
      return std::nullopt;
    axes[*axis] = true;
  }
  return axes;
}

Tensor dropped(Emitter &e, Tensor &x, ArrayRef<bool> axes) {
  Sizes kept;
  for (auto [extent, reduced] : llvm::zip(x.sizes, axes))
    if (!reduced)
      kept.push_back(extent);
  return e.reshape(x, kept);
}

/// f(node, x, axes) reduces floats of at least 32 bits, or integers.
template <auto reduce> LogicalResult reduction(Node &n) {
  auto axes = reducedAxes(n);
  if (!axes)
    return failure();
  Tensor x = widened(n, n.in(0));
  Tensor result = reduce(n, x, *axes);
  result = n.cast(result, n.in(0).element);
  if (n.intAttr("keepdims", 1) == 0)
    result = dropped(n, result, *axes);
  return n.done(result);
}

Tensor minAlong(Emitter &e, Tensor &x, ArrayRef<bool> axes) {
  return e.reduce(x, axes, x.element, tl::highest(e, x.element),
                  [&](Value best, Value item) {
                    return tl::minimum(e, best, item, x.element);
                  });
}

Tensor prodAlong(Emitter &e, Tensor &x, ArrayRef<bool> axes) {
  return e.reduce(
      x, axes, x.element, e.number(computeType(x.element), 1),
      [&](Value product, Value item) { return tl::mul(e, product, item); });
}

Tensor l1Along(Emitter &e, Tensor &x, ArrayRef<bool> axes) {
  return e.reduce(
      x, axes, x.element, e.number(computeType(x.element), 0),
      [&](Value sum, Value item) { return tl::add(e, sum, item); },
      [&](Value item) -> Value {
        if (tl::isFloat(item))
          return e.op<math::AbsFOp>(item);
        Value negative = tl::sub(e, tl::like(e, item, 0), item);
        return tl::isUnsigned(x.element)
                   ? item
                   : tl::maximum(e, item, negative, x.element);
      });
}

Tensor squaresAlong(Emitter &e, Tensor &x, ArrayRef<bool> axes) {
  return e.reduce(
      x, axes, x.element, e.number(computeType(x.element), 0),
      [&](Value sum, Value item) { return tl::add(e, sum, item); },
      [&](Value item) { return tl::mul(e, item, item); });
}

/// A float function of a result, through f64 where the operand has integers.
template <typename Op> Tensor apply(Emitter &e, Tensor x) {
  Type element = x.element;
  Tensor wide = x.isFloat() ? x : e.cast(x, e.b.getF64Type());
  Tensor result = e.map(wide, wide.element,
                        [&](ArrayRef<Value> a) { return e.op<Op>(a[0]); });
  return e.cast(result, element);
}

Tensor l2Along(Emitter &e, Tensor &x, ArrayRef<bool> axes) {
  return apply<math::SqrtOp>(e, squaresAlong(e, x, axes));
}

Tensor logSumAlong(Emitter &e, Tensor &x, ArrayRef<bool> axes) {
  return apply<math::LogOp>(e, sumAlong(e, x, axes));
}

Tensor logSumExpAlong(Emitter &e, Tensor &input, ArrayRef<bool> axes) {
  Tensor x = input.isFloat() ? input : e.cast(input, e.b.getF64Type());
  Tensor most = maxAlong(e, x, axes);
  // An infinite maximum must not become inf - inf.
  most = e.map(most, x.element, [&](ArrayRef<Value> a) {
    Value finite =
        e.condition(arith::CmpFPredicate::OLT, e.op<math::AbsFOp>(a[0]),
                    tl::highest(e, x.element));
    return tl::select(e, finite, a[0], tl::like(e, a[0], 0));
  });
  Tensor pair[] = {x, most};
  Tensor power = e.map(pair, x.element, [&](ArrayRef<Value> a) {
    return e.op<math::ExpOp>(tl::sub(e, a[0], a[1]));
  });
  Tensor sums[] = {sumAlong(e, power, axes), most};
  Tensor result = e.map(sums, x.element, [&](ArrayRef<Value> a) {
    return tl::add(e, e.op<math::LogOp>(a[0]), a[1]);
  });
  return e.cast(result, input.element);
}

/// Index of the largest (or least) element along an axis, which stays as one;
/// of equal ones the first or the last.
Tensor argumentAlong(Node &n, Tensor &x, int64_t axis, bool wantMax,
                     bool last) {
  n.require(n.compare(arith::CmpIPredicate::sgt, x.sizes[axis], n.size(0)),
            "the axis must not be empty");
  Sizes kept = x.sizes;
  kept.erase(kept.begin() + axis);
  Sizes ones = x.sizes;
  ones[axis] = n.size(1);
  MLIRContext *context = n.b.getContext();
  SmallVector<AffineExpr> exprs;
  SmallVector<utils::IteratorType> iterators(x.rank(),
                                             utils::IteratorType::parallel);
  iterators[axis] = utils::IteratorType::reduction;
  for (int64_t dim = 0; dim < x.rank(); ++dim)
    if (dim != axis)
      exprs.push_back(getAffineDimExpr(dim, context));
  AffineMap out = AffineMap::get(x.rank(), 0, exprs, context);
  AffineMap maps[] = {AffineMap::getMultiDimIdentityMap(x.rank(), context), out,
                      out};
  Type i64 = n.b.getI64Type();
  Value best = n.filled(kept, wantMax ? tl::lowest(n, x.element)
                                      : tl::highest(n, x.element));
  Value zero = n.filled(kept, n.integer(i64, 0));
  auto results = n.generic(
      ValueRange{n.value(x)}, ValueRange{best, zero}, maps, iterators,
      [&](ValueRange args) -> SmallVector<Value> {
        Value item = n.toCompute(args[0], x.element);
        Order order = wantMax ? (last ? Order::GreaterEqual : Order::Greater)
                              : (last ? Order::LessEqual : Order::Less);
        Value better = tl::compare(n, order, item, args[1], x.element);
        if (tl::isFloat(item)) {
          // The first value that is not a number wins, as in numpy.
          Value isNaN = n.condition(arith::CmpFPredicate::UNO, item, item);
          Value wasNumber =
              n.condition(arith::CmpFPredicate::ORD, args[1], args[1]);
          better =
              n.op<arith::OrIOp>(better, n.op<arith::AndIOp>(isNaN, wasNumber));
        }
        Value at =
            n.op<arith::IndexCastOp>(i64, linalg::IndexOp::create(n.b, axis));
        return {tl::select(n, better, item, args[1]),
                tl::select(n, better, at, args[2])};
      });
  Tensor result = n.make(results[1], i64, kept);
  return n.reshape(result, ones);
}

template <bool wantMax> LogicalResult argument(Node &n) {
  Tensor &x = n.in(0);
  auto axis = n.axis(n.intAttr("axis", 0), x.rank());
  if (!axis)
    return failure();
  bool last = n.intAttr("select_last_index", 0) != 0;
  Tensor result = argumentAlong(n, x, *axis, wantMax, last);
  SmallVector<bool> axes(x.rank(), false);
  axes[*axis] = true;
  return n.done(n.intAttr("keepdims", 1) ? result : dropped(n, result, axes));
}

/// 1 at the first largest element along the axis, 0 elsewhere.
LogicalResult lowerHardmax(Node &n) {
  Tensor &x = n.in(0);
  auto axis = n.axis(n.intAttr("axis", -1), x.rank());
  if (!axis)
    return failure();
  if (n.opset() < 13)
    return n.error("Hardmax before opset 13 is not supported");
  Tensor best = argumentAlong(n, x, *axis, true, false);
  n.value(best);
  Type type = storageType(x.element);
  return n.done(n.generate(x.sizes, x.element, [&](ArrayRef<Value> at) {
    SmallVector<Value> row(at);
    row[*axis] = n.index(n.size(0));
    Size index = n.fromElement(n.at(best, row), best.element);
    Value isBest = n.compare(arith::CmpIPredicate::eq, index, Size(at[*axis]));
    return tl::select(n, isBest, n.number(type, 1), n.number(type, 0));
  }));
}

template <bool log> LogicalResult lowerSoftmax(Node &n) {
  Tensor &x = n.in(0);
  // Before opset 13 everything from the axis on is one distribution.
  bool isOld = n.opset() < 13;
  auto axis = n.axis(n.intAttr("axis", isOld ? 1 : -1), x.rank());
  if (!axis)
    return failure();
  SmallVector<bool> axes(x.rank(), false);
  for (int64_t dim = *axis; dim < (isOld ? x.rank() : *axis + 1); ++dim)
    axes[dim] = true;
  return n.done(softmax(n, x, axes, log));
}

} // namespace

void tl::addReduce(Registry &r) {
  r.family = "Reductions";
  StringRef note = "axes must be constant";
  r.add("ReduceSum", 1, reduction<sumAlong>, note);
  r.add("ReduceMean", 1, reduction<meanAlong>, note);
  r.add("ReduceMax", 1, reduction<maxAlong>, note);
  r.add("ReduceMin", 1, reduction<minAlong>, note);
  r.add("ReduceProd", 1, reduction<prodAlong>, note);
  r.add("ReduceL1", 1, reduction<l1Along>, note);
  r.add("ReduceL2", 1, reduction<l2Along>, note);
  r.add("ReduceLogSum", 1, reduction<logSumAlong>, note);
  r.add("ReduceLogSumExp", 1, reduction<logSumExpAlong>, note);
  r.add("ReduceSumSquare", 1, reduction<squaresAlong>, note);
  r.add("ArgMax", 1, argument<true>);
  r.add("ArgMin", 1, argument<false>);
  r.add("Hardmax", 1, lowerHardmax);
  r.add("Softmax", 1, lowerSoftmax<false>);
  r.add("LogSoftmax", 1, lowerSoftmax<true>);
}
