// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reading by index: Gather and its relatives, OneHot, NonZero, Compress.

#include "Indexing.h"
#include "Scalars.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/AffineMap.h"

using namespace mlir;
using namespace adaptive::tolinalg;
namespace tl = adaptive::tolinalg;
using P = arith::CmpIPredicate;

void tl::checkIndices(Node &n, Tensor &indices, Size extent) {
  std::string what = "indices must lie in [-size, size) of their axis";
  if (indices.ints) {
    for (Size index : *indices.ints) {
      Value low = n.compare(P::sge, index, n.sub(n.size(0), extent));
      n.require(n.op<arith::AndIOp>(low, n.compare(P::slt, index, extent)),
                what);
    }
    return;
  }
  SmallVector<bool> all(indices.rank(), true);
  Value low = n.index(n.sub(n.size(0), extent)), high = n.index(extent);
  Type i1 = n.b.getI1Type();
  Tensor inputs[] = {indices};
  Tensor fits = n.map(inputs, i1, [&](ArrayRef<Value> a) {
    Size index = n.fromElement(a[0], indices.element);
    return n.op<arith::AndIOp>(n.compare(P::sge, index, Size(low)),
                               n.compare(P::slt, index, Size(high)));
  });
  Tensor result =
      n.reduce(fits, all, i1, n.integer(i1, 1),
               [&](Value x, Value y) { return n.op<arith::AndIOp>(x, y); });
  n.require(n.single(result, "the check"), what);
}

Value tl::indexAt(Node &n, Tensor &indices, ArrayRef<Value> place,
                  Size extent) {
  Size index = n.fromElement(n.at(indices, place), indices.element);
  return n.index(n.wrapNegative(index, extent));
}

namespace {

LogicalResult lowerGather(Node &n) {
  Tensor &x = n.in(0), &indices = n.in(1);
  auto axis = n.axis(n.intAttr("axis", 0), x.rank());
  if (!axis)
    return failure();
  if (!isa<IntegerType>(indices.element))
    return n.error("indices must be integers");
  Size extent = x.sizes[*axis];
  checkIndices(n, indices, extent);
  if (n.failed())
    return failure();
  auto known = n.constantElements(indices);
  if (x.ints && x.rank() == 1 && known) {
    Sizes ints;
    for (int64_t index : *known)
      ints.push_back((*x.ints)[index < 0 ? index + x.ints->size() : index]);
    return n.done(n.makeInts(ints, x.element, indices.rank() == 0));
  }
  Sizes sizes(x.sizes.begin(), x.sizes.begin() + *axis);
  sizes.append(indices.sizes);
  sizes.append(x.sizes.begin() + *axis + 1, x.sizes.end());
  if (indices.ints && indices.ints->size() == 1) {
    Sizes offsets(x.rank(), n.size(0)), part = x.sizes;
    offsets[*axis] = n.wrapNegative(indices.ints->front(), extent);
    part[*axis] = n.size(1);
    Tensor one = n.slice(x, offsets, part);
    return n.done(n.reshape(one, sizes));
  }
  n.value(x);
  n.value(indices);
  return n.done(n.generate(sizes, x.element, [&](ArrayRef<Value> at) {
    SmallVector<Value> from(at.take_front(*axis));
    from.push_back(
        indexAt(n, indices, at.slice(*axis, indices.rank()), extent));
    from.append(at.begin() + *axis + indices.rank(), at.end());
    return n.at(x, from);
  }));
}

LogicalResult lowerGatherElements(Node &n) {
  Tensor &x = n.in(0), &indices = n.in(1);
  auto axis = n.axis(n.intAttr("axis", 0), x.rank());
  if (!axis)
    return failure();
  if (indices.rank() != x.rank() || !isa<IntegerType>(indices.element))
    return n.error("indices must be integers of the rank of the data");
  checkIndices(n, indices, x.sizes[*axis]);
  for (int64_t dim = 0; dim < x.rank(); ++dim)
    if (dim != *axis && !same(indices.sizes[dim], x.sizes[dim]))
      n.require(n.compare(P::sle, indices.sizes[dim], x.sizes[dim]),
                "indices must not be larger than the data on dimension " +
                    Twine(dim));
  if (n.failed())
    return failure();
  n.value(x);
  n.value(indices);
  return n.done(n.generate(indices.sizes, x.element, [&](ArrayRef<Value> at) {
    SmallVector<Value> from(at);
    from[*axis] = indexAt(n, indices, at, x.sizes[*axis]);
    return n.at(x, from);
  }));
}

LogicalResult lowerGatherND(Node &n) {
  Tensor &x = n.in(0), &indices = n.in(1);
  int64_t batch = n.intAttr("batch_dims", 0);
  auto depth = indices.rank() ? constant(indices.sizes.back()) : std::nullopt;
  if (!depth)
    return n.error("the last dimension of indices must be known");
  if (batch < 0 || batch >= indices.rank() || batch + *depth > x.rank() ||
      *depth < 1 || !isa<IntegerType>(indices.element))
    return n.error("indices do not fit the rank of the data");
  for (int64_t dim = 0; dim < batch; ++dim)
    n.requireEqual(x.sizes[dim], indices.sizes[dim],
                   "batch dimensions must agree");
  Sizes places(indices.sizes.begin(), indices.sizes.end() - 1);
  for (int64_t i = 0; i < *depth; ++i) {
    Sizes offsets(indices.rank(), n.size(0)), part = indices.sizes;
    offsets.back() = n.size(i);
    part.back() = n.size(1);
    Tensor column = n.slice(indices, offsets, part);
    checkIndices(n, column, x.sizes[batch + i]);
  }
  if (n.failed())
    return failure();
  Sizes sizes = places;
  sizes.append(x.sizes.begin() + batch + *depth, x.sizes.end());
  n.value(x);
  n.value(indices);
  return n.done(n.generate(sizes, x.element, [&](ArrayRef<Value> at) {
    SmallVector<Value> from(at.take_front(batch));
    SmallVector<Value> place(at.take_front(places.size()));
    place.push_back(Value());
    for (int64_t i = 0; i < *depth; ++i) {
      place.back() = n.index(n.size(i));
      from.push_back(indexAt(n, indices, place, x.sizes[batch + i]));
    }
    from.append(at.begin() + places.size(), at.end());
    return n.at(x, from);
  }));
}

LogicalResult lowerOneHot(Node &n) {
  Tensor &indices = n.in(0), &values = n.in(2);
  auto axis = n.axis(n.intAttr("axis", -1), indices.rank() + 1);
  Tensor depthTensor = n.cast(n.in(1), n.b.getI64Type());
  auto depth = n.elements(depthTensor, "depth");
  if (!axis || !depth)
    return failure();
  if (depth->size() != 1)
    return n.error("depth must be one integer");
  Size extent = (*depth)[0];
  if (!n.isNonNegative(extent))
    n.require(n.compare(P::sge, extent, n.size(0)),
              "depth must not be negative");
  if (values.rank() != 1)
    return n.error("values must be [off, on]");
  n.requireEqual(values.sizes[0], n.size(2), "values must be [off, on]");
  if (n.failed())
    return failure();
  Value off = n.at(values, {n.index(n.size(0))}),
        on = n.at(values, {n.index(n.size(1))});
  Sizes sizes = indices.sizes;
  sizes.insert(sizes.begin() + *axis, extent);
  Tensor whole = n.cast(indices, n.b.getI64Type());
  n.value(whole);
  return n.done(n.generate(sizes, values.element, [&](ArrayRef<Value> at) {
    SmallVector<Value> place(at);
    place.erase(place.begin() + *axis);
    Size index = n.fromElement(n.at(whole, place), whole.element);
    // Indices outside of [-depth, depth) are hot nowhere.
    Value isHot =
        n.compare(P::eq, n.wrapNegative(index, extent), Size(at[*axis]));
    return tl::select(n, isHot, on, off);
  }));
}

LogicalResult lowerEyeLike(Node &n) {
  Tensor &x = n.in(0);
  if (x.rank() != 2)
    return n.error("the input must be a matrix");
  Type element = x.element;
  if (auto type = adaptive::raising::findInt(n.carrier, "dtype"))
    element = n.elementType(*type);
  if (!element)
    return failure();
  Size k = n.size(n.intAttr("k", 0));
  Type type = storageType(element);
  return n.done(n.generate(x.sizes, element, [&](ArrayRef<Value> at) {
    Value isOn = n.compare(P::eq, n.sub(Size(at[1]), Size(at[0])), k);
    return tl::select(n, isOn, n.number(type, 1), n.number(type, 0));
  }));
}

/// Runs `body` for all indices of a shape in row-major order.
SmallVector<Value>
nest(Node &n, ArrayRef<Size> sizes, ValueRange carried,
     SmallVectorImpl<Value> &at,
     function_ref<SmallVector<Value>(ArrayRef<Value>, ValueRange)> body) {
  if (at.size() == sizes.size())
    return body(at, carried);
  return n.loop(sizes[at.size()], carried, [&](Value i, ValueRange inner) {
    at.push_back(i);
    auto result = nest(n, sizes, inner, at, body);
    at.pop_back();
    return result;
  });
}

/// Counts first, then writes: the number of results is known at run time only.
LogicalResult lowerNonZero(Node &n) {
  Tensor &x = n.in(0);
  n.value(x);
  Type i64 = n.b.getI64Type(), index = n.b.getIndexType();
  auto isSet = [&](ArrayRef<Value> at) {
    Value item = n.toCompute(n.at(x, at), x.element);
    Value zero = n.number(item.getType(), 0);
    return tl::isFloat(item)
               ? n.condition(arith::CmpFPredicate::UNE, item, zero)
               : n.op<arith::CmpIOp>(P::ne, item, zero);
  };
  Value zero = n.integer(index, 0), one = n.integer(index, 1);
  SmallVector<Value> at;
  Value count = nest(
      n, x.sizes, ValueRange{zero}, at, [&](ArrayRef<Value> at, ValueRange c) {
        Value next = n.op<arith::AddIOp>(c[0], one);
        return SmallVector<Value>{tl::select(n, isSet(at), next, c[0])};
      })[0];
  // One column more takes what is not set.
  Sizes room{n.size(x.rank()), n.add(Size(count), n.size(1))};
  Value start = n.empty(room, i64);
  Value written =
      nest(n, x.sizes, ValueRange{zero, start}, at,
           [&](ArrayRef<Value> at, ValueRange c) {
             Value set = isSet(at);
             Value column = tl::select(n, set, c[0], count);
             Value result = c[1];
             for (auto [dim, place] : llvm::enumerate(at))
               result = tensor::InsertOp::create(
                   n.b, n.op<arith::IndexCastOp>(i64, place), result,
                   ValueRange{n.integer(index, int64_t(dim)), column});
             Value next = n.op<arith::AddIOp>(c[0], one);
             return SmallVector<Value>{tl::select(n, set, next, c[0]), result};
           })[1];
  Tensor all = n.make(written, i64, room);
  return n.done(
      n.slice(all, {n.size(0), n.size(0)}, {n.size(x.rank()), Size(count)}));
}

/// The slices along an axis for which the condition holds.
LogicalResult lowerCompress(Node &n) {
  Tensor x = n.in(0);
  Tensor &chosen = n.in(1);
  int64_t axis = 0;
  if (auto given = adaptive::raising::findInt(n.carrier, "axis")) {
    auto normal = n.axis(*given, x.rank());
    if (!normal)
      return failure();
    axis = *normal;
  } else {
    x = n.reshape(x, {n.product(x.sizes)});
  }
  if (chosen.rank() != 1 || !chosen.isBool())
    return n.error("the condition must be a vector of bools");
  n.require(n.compare(P::sle, chosen.sizes[0], x.sizes[axis]),
            "the condition must not be longer than the axis");
  n.value(chosen);
  Type index = n.b.getIndexType();
  Value zero = n.integer(index, 0), one = n.integer(index, 1);
  Value count =
      n.loop(chosen.sizes[0], ValueRange{zero}, [&](Value i, ValueRange c) {
        Value next = n.op<arith::AddIOp>(c[0], one);
        return SmallVector<Value>{tl::select(n, n.at(chosen, {i}), next, c[0])};
      })[0];
  Sizes room = x.sizes, part = x.sizes, origin(x.rank(), n.size(0));
  room[axis] = n.add(Size(count), n.size(1));
  part[axis] = n.size(1);
  Value start = n.empty(room, x.element);
  n.value(x);
  Value written =
      n.loop(chosen.sizes[0], {zero, start}, [&](Value i, ValueRange c) {
        Value set = n.at(chosen, {i});
        Sizes from = origin, to = origin;
        from[axis] = i;
        to[axis] = tl::select(n, set, c[0], count);
        Tensor one = n.slice(x, from, part);
        Value next = n.op<arith::AddIOp>(c[0], n.integer(index, 1));
        return SmallVector<Value>{tl::select(n, set, next, c[0]),
                                  n.insert(one.value, c[1], to, part)};
      })[1];
  Sizes sizes = x.sizes;
  sizes[axis] = Size(count);
  Tensor all = n.make(written, x.element, room);
  return n.done(n.slice(all, origin, sizes));
}

} // namespace

void tl::addIndexing(Registry &r) {
  r.family = "Indexing";
  r.add("Gather", 2, lowerGather);
  r.add("GatherElements", 2, lowerGatherElements);
  r.add("GatherND", 2, lowerGatherND);
  r.add("OneHot", 3, lowerOneHot);
  r.add("EyeLike", 1, lowerEyeLike);
  r.add("NonZero", 1, lowerNonZero);
  r.add("Compress", 2, lowerCompress);
}
