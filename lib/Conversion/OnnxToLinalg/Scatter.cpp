// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writing by index: ScatterND and ScatterElements, in the order of the updates.

#include "Indexing.h"
#include "Scalars.h"

#include <functional>

using namespace mlir;
using namespace adaptive::tolinalg;
namespace tl = adaptive::tolinalg;
using P = arith::CmpIPredicate;

namespace {

/// Writes all updates into `data`: `target` gives the index for the index of an
/// update, and whether it lies inside.
LogicalResult
scatter(Node &n, Tensor &data, Tensor &updates,
        function_ref<SmallVector<Value>(ArrayRef<Value>)> target) {
  StringRef reduction = n.stringAttr("reduction", "none");
  if (!llvm::is_contained({"none", "add", "mul", "max", "min"}, reduction))
    return n.error("reduction must be none, add, mul, max or min, but got '" +
                   reduction + "'");
  if (data.element != updates.element)
    return n.error("data and updates must have one element type");
  n.value(updates);
  Type element = data.element;
  SmallVector<Value> at;
  std::function<Value(Value)> write = [&](Value into) -> Value {
    if (int64_t(at.size()) < updates.rank())
      return n.loop(updates.sizes[at.size()], ValueRange{into},
                    [&](Value i, ValueRange carried) {
                      at.push_back(i);
                      Value result = write(carried[0]);
                      at.pop_back();
                      return SmallVector<Value>{result};
                    })[0];
    SmallVector<Value> to = target(at);
    Value update = n.at(updates, at);
    if (reduction != "none") {
      Value old =
          n.toCompute(tensor::ExtractOp::create(n.b, into, to), element);
      Value by = n.toCompute(update, element);
      Value both = reduction == "add"   ? tl::add(n, old, by)
                   : reduction == "mul" ? tl::mul(n, old, by)
                   : reduction == "max" ? tl::maximum(n, old, by, element)
                                        : tl::minimum(n, old, by, element);
      update = n.fromCompute(both, element);
    }
    return tensor::InsertOp::create(n.b, update, into, to);
  };
  Value result = write(n.value(data));
  return n.done(n.make(result, element, data.sizes));
}

LogicalResult lowerScatterElements(Node &n) {
  Tensor &data = n.in(0), &indices = n.in(1), &updates = n.in(2);
  auto axis = n.axis(n.intAttr("axis", 0), data.rank());
  if (!axis)
    return failure();
  if (indices.rank() != data.rank() || updates.rank() != data.rank() ||
      !isa<IntegerType>(indices.element))
    return n.error("indices and updates must have the rank of the data");
  for (int64_t dim = 0; dim < data.rank(); ++dim) {
    n.requireEqual(indices.sizes[dim], updates.sizes[dim],
                   "indices and updates must be of one shape");
    if (dim != *axis && !same(indices.sizes[dim], data.sizes[dim]))
      n.require(n.compare(P::sle, indices.sizes[dim], data.sizes[dim]),
                "indices must not be larger than the data on dimension " +
                    Twine(dim));
  }
  checkIndices(n, indices, data.sizes[*axis]);
  if (n.failed())
    return failure();
  n.value(indices);
  return scatter(n, data, updates, [&](ArrayRef<Value> at) {
    SmallVector<Value> to(at);
    to[*axis] = indexAt(n, indices, at, data.sizes[*axis]);
    return to;
  });
}

LogicalResult lowerScatterND(Node &n) {
  Tensor &data = n.in(0), &indices = n.in(1), &updates = n.in(2);
  auto depth = indices.rank() ? constant(indices.sizes.back()) : std::nullopt;
  if (!depth)
    return n.error("the last dimension of indices must be known");
  int64_t places = indices.rank() - 1;
  if (*depth > data.rank() || updates.rank() != places + data.rank() - *depth ||
      !isa<IntegerType>(indices.element))
    return n.error("indices and updates do not fit the rank of the data");
  for (int64_t dim = 0; dim < updates.rank(); ++dim)
    n.requireEqual(updates.sizes[dim],
                   dim < places ? indices.sizes[dim]
                                : data.sizes[*depth + dim - places],
                   "updates must have the shape that indices and data give");
  for (int64_t i = 0; i < *depth; ++i) {
    Sizes offsets(indices.rank(), n.size(0)), part = indices.sizes;
    offsets.back() = n.size(i);
    part.back() = n.size(1);
    Tensor column = n.slice(indices, offsets, part);
    checkIndices(n, column, data.sizes[i]);
  }
  if (n.failed())
    return failure();
  n.value(indices);
  return scatter(n, data, updates, [&](ArrayRef<Value> at) {
    SmallVector<Value> to, place(at.take_front(places));
    place.push_back(Value());
    for (int64_t i = 0; i < *depth; ++i) {
      place.back() = n.index(n.size(i));
      to.push_back(indexAt(n, indices, place, data.sizes[i]));
    }
    to.append(at.begin() + places, at.end());
    return to;
  });
}

} // namespace

void tl::addScatter(Registry &r) {
  r.family = "Indexing";
  r.add("ScatterElements", 3, lowerScatterElements);
  r.add("ScatterND", 3, lowerScatterND);
}
