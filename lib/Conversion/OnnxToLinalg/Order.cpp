// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Operators that go along an axis in order: CumSum, TopK.

#include "Scalars.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace adaptive::tolinalg;
namespace tl = adaptive::tolinalg;

namespace {

template <bool product> LogicalResult cumulative(Node &n) {
  Tensor &x = n.in(0);
  auto given = n.constantInts(1, "axis");
  if (!given)
    return failure();
  if (!*given || (*given)->size() != 1)
    return n.error("axis must be one integer");
  auto axis = n.axis((**given)[0], x.rank());
  if (!axis)
    return failure();
  bool exclusive = n.intAttr("exclusive", 0), reverse = n.intAttr("reverse", 0);
  Type sumType = computeType(x.element);
  Sizes one = x.sizes, origin(x.rank(), n.size(0));
  one[*axis] = n.size(1);
  Size count = x.sizes[*axis];
  Value start = n.filled(one, n.number(sumType, product ? 1 : 0));
  Value result = n.empty(x.sizes, sumType);
  auto sums = n.loop(
      count, {start, result},
      [&](Value i, ValueRange carried) -> SmallVector<Value> {
        Size at = reverse ? n.sub(n.sub(count, n.size(1)), i) : Size(i);
        Sizes offsets = origin;
        offsets[*axis] = at;
        Tensor pair[] = {n.make(carried[0], sumType, one),
                         n.slice(x, offsets, one)};
        Tensor next = n.map(pair, sumType, [&](ArrayRef<Value> a) {
          Value item = n.toCompute(a[1], x.element);
          return product ? tl::mul(n, a[0], item) : tl::add(n, a[0], item);
        });
        Value written = exclusive ? carried[0] : next.value;
        return {next.value, n.insert(written, carried[1], offsets, one)};
      });
  Tensor wide = n.make(sums[1], sumType, x.sizes);
  Tensor narrow = n.cast(wide, x.element);
  narrow.element = x.element;
  return n.done(narrow);
}

/// A total order: like `order`, and not a number is the greatest of all, as
/// NumPy and PyTorch sort it. Without that every comparison with it is false
/// and a row that holds one has no best element.
Value totalOrder(Node &n, Order order, Value a, Value b, Type element) {
  Value plain = tl::compare(n, order, a, b, element);
  if (!tl::isFloat(a))
    return plain;
  Value aIs = n.condition(arith::CmpFPredicate::UNO, a, a),
        bIs = n.condition(arith::CmpFPredicate::UNO, b, b);
  Value decides;
  if (order == Order::Equal)
    decides = n.op<arith::AndIOp>(aIs, bIs);
  else if (order == Order::Greater)
    decides =
        n.op<arith::AndIOp>(aIs, n.condition(arith::CmpFPredicate::ORD, b, b));
  else
    decides =
        n.op<arith::AndIOp>(bIs, n.condition(arith::CmpFPredicate::ORD, a, a));
  return n.op<arith::OrIOp>(plain, decides);
}

/// For each place in the result, the best element that comes after the one
/// before it; equal elements come in the order of their indices.
LogicalResult lowerTopK(Node &n) {
  Tensor &x = n.in(0);
  auto axis = n.axis(n.intAttr("axis", -1), x.rank());
  auto k = n.elements(n.in(1), "k");
  if (!axis || !k)
    return failure();
  if (k->size() != 1)
    return n.error("k must be one integer");
  Size places = (*k)[0], extent = x.sizes[*axis];
  using P = arith::CmpIPredicate;
  n.require(n.op<arith::AndIOp>(n.compare(P::sge, places, n.size(0)),
                                n.compare(P::sle, places, extent)),
            "k must lie between 0 and the size of the axis");
  SmallVector<int64_t> toLast;
  for (int64_t dim = 0; dim < x.rank(); ++dim)
    if (dim != *axis)
      toLast.push_back(dim);
  toLast.push_back(*axis);
  Tensor last = n.transpose(x, toLast);
  Sizes outer(last.sizes.begin(), last.sizes.end() - 1);
  Size rows = n.product(outer);
  Tensor flat = n.reshape(last, {rows, extent});
  n.value(flat);

  bool largest = n.intAttr("largest", 1) != 0;
  Type element = storageType(x.element), index = n.b.getIndexType(),
       i64 = n.b.getI64Type();
  Order isBetter = largest ? Order::Greater : Order::Less;
  Value none = n.integer(index, -1);
  Value values = n.empty({rows, places}, x.element),
        indices = n.empty({rows, places}, i64);
  auto results =
      n.loop(rows, {values, indices}, [&](Value row, ValueRange outputs) {
        Value start = n.number(element, 0);
        auto chosen = n.loop(
            places, {outputs[0], outputs[1], start, none},
            [&](Value place, ValueRange carried) -> SmallVector<Value> {
              auto best = n.loop(
                  extent, {start, none},
                  [&](Value i, ValueRange b) -> SmallVector<Value> {
                    Value item = n.at(flat, {row, i});
                    Value wide = n.toCompute(item, x.element);
                    Value before = n.toCompute(carried[2], x.element);
                    Value so = n.toCompute(b[0], x.element);
                    Value isFirst = n.compare(P::eq, carried[3], none);
                    Value later = n.op<arith::AndIOp>(
                        totalOrder(n, Order::Equal, wide, before, x.element),
                        n.compare(P::sgt, i, carried[3]));
                    Value open = n.op<arith::OrIOp>(
                        isFirst, n.op<arith::OrIOp>(
                                     later, totalOrder(n, isBetter, before,
                                                       wide, x.element)));
                    Value better = n.op<arith::OrIOp>(
                        n.compare(P::eq, b[1], none),
                        totalOrder(n, isBetter, wide, so, x.element));
                    Value take = n.op<arith::AndIOp>(open, better);
                    return {tl::select(n, take, item, b[0]),
                            tl::select(n, take, i, b[1])};
                  });
              Value at = n.op<arith::IndexCastOp>(i64, best[1]);
              return {tensor::InsertOp::create(n.b, best[0], carried[0],
                                               ValueRange{row, place}),
                      tensor::InsertOp::create(n.b, at, carried[1],
                                               ValueRange{row, place}),
                      best[0], best[1]};
            });
        return SmallVector<Value>{chosen[0], chosen[1]};
      });
  SmallVector<int64_t> back(x.rank());
  for (auto [to, from] : llvm::enumerate(toLast))
    back[from] = to;
  Sizes sizes = outer;
  sizes.push_back(places);
  for (auto [i, type] : {std::pair<unsigned, Type>{0, x.element}, {1, i64}}) {
    Tensor result = n.make(results[i], type, {rows, places});
    result = n.reshape(result, sizes);
    n.out(i, n.transpose(result, back));
  }
  return success(!n.failed());
}

} // namespace

void tl::addOrder(Registry &r) {
  r.family = "Reductions";
  r.add("CumSum", 2, cumulative<false>, "the axis must be constant");
  r.add("CumProd", 2, cumulative<true>, "the axis must be constant");
  r.add("TopK", 2, lowerTopK);
}
