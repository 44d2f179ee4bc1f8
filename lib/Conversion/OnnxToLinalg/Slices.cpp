// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Parts of tensors and what is put around them: Slice, Split, Pad, Tile, Trilu.

#include "Scalars.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace adaptive::tolinalg;
namespace tl = adaptive::tolinalg;
using P = arith::CmpIPredicate;

namespace {

// Bounds from here on mean "to the end"; exporters write INT32_MAX, INT64_MAX.
constexpr int64_t kEnd = std::numeric_limits<int32_t>::max();

/// A bound counted from the front and kept in [low, high].
Size clampBound(Node &n, Size bound, Size extent, Size low, Size high) {
  if (auto known = constant(bound)) {
    if (*known >= kEnd)
      return high;
    if (*known <= -kEnd)
      return low;
  }
  Size wrapped = n.wrapNegative(bound, extent);
  if (isConstant(wrapped, 0) && isConstant(low, 0))
    return wrapped;
  return n.max(n.min(wrapped, high), low);
}

struct Range {
  Size start, size, step;
};

std::optional<Sizes> bounds(Node &n, unsigned i, StringRef name) {
  if (n.has(i))
    return n.elements(n.in(i), name);
  Sizes result;
  auto attribute = n.intsAttr(name);
  for (int64_t value : attribute.value_or(SmallVector<int64_t>()))
    result.push_back(n.size(value));
  return result;
}

Range sliceRange(Node &n, Size start, Size end, Size step, Size extent) {
  Size zero = n.size(0), last = n.sub(extent, n.size(1));
  auto up = [&]() -> Range {
    Size from = clampBound(n, start, extent, zero, extent);
    Size to = clampBound(n, end, extent, zero, extent);
    Size length = n.sub(to, from);
    // Nothing to clamp where the whole axis or its tail is taken.
    if (!same(to, extent) || !isConstant(from, 0))
      length = n.max(length, zero);
    return {from, constant(step) ? n.ceilDiv(length, step) : length, step};
  };
  auto down = [&]() -> Range {
    Size from = clampBound(n, start, extent, n.size(-1), last);
    Size to = clampBound(n, end, extent, n.size(-1), last);
    if (auto known = constant(end); known && *known <= -kEnd)
      to = n.size(-1);
    Size length = n.max(n.sub(from, to), zero);
    return {from,
            constant(step) ? n.ceilDiv(length, n.sub(zero, step)) : length,
            step};
  };
  if (auto known = constant(step))
    return *known > 0 ? up() : down();
  Value isUp = n.compare(P::sgt, step, zero);
  Range a = up(), b = down();
  Size length = n.select(isUp, a.size, b.size);
  Size by = n.max(n.select(isUp, step, n.sub(zero, step)), n.size(1));
  return {n.select(isUp, a.start, b.start), n.ceilDiv(length, by), step};
}

LogicalResult lowerSlice(Node &n) {
  Tensor &x = n.in(0);
  auto starts = bounds(n, 1, "starts"), ends = bounds(n, 2, "ends");
  auto axes = n.constantInts(3, "axes");
  if (!starts || !ends || !axes)
    return failure();
  Sizes steps(starts->size(), n.size(1));
  if (n.has(4)) {
    auto given = n.elements(n.in(4), "steps");
    if (!given)
      return failure();
    steps = *given;
  }
  if (!*axes) {
    axes->emplace();
    for (size_t i = 0; i < starts->size(); ++i)
      (*axes)->push_back(int64_t(i));
  }
  if (ends->size() != starts->size() || steps.size() != starts->size() ||
      (*axes)->size() != starts->size())
    return n.error("starts, ends, axes and steps must be of one length");
  Sizes offsets(x.rank(), n.size(0)), sizes = x.sizes,
                                      strides(x.rank(), n.size(1));
  bool isView = true;
  for (auto [i, item] : llvm::enumerate(**axes)) {
    auto axis = n.axis(item, x.rank());
    if (!axis)
      return failure();
    n.require(n.compare(P::ne, steps[i], n.size(0)), "steps must not be zero");
    if (n.failed())
      return failure();
    Range range =
        sliceRange(n, (*starts)[i], (*ends)[i], steps[i], x.sizes[*axis]);
    offsets[*axis] = range.start;
    sizes[*axis] = range.size;
    strides[*axis] = range.step;
    isView &= constant(range.step).value_or(-1) > 0;
  }
  if (same(sizes, x.sizes) && isView)
    return n.done(x);
  auto first = constant(offsets.empty() ? Size(n.size(0)) : offsets[0]);
  auto count = constant(sizes.empty() ? Size(n.size(0)) : sizes[0]);
  auto stride = constant(strides.empty() ? Size(n.size(1)) : strides[0]);
  if (x.ints && x.rank() == 1 && first && count && stride) {
    Sizes ints;
    for (int64_t i = 0; i < *count; ++i)
      ints.push_back((*x.ints)[*first + i * *stride]);
    return n.done(n.makeInts(ints, x.element));
  }
  if (isView)
    return n.done(n.slice(x, offsets, sizes, strides));
  n.value(x);
  return n.done(n.generate(sizes, x.element, [&](ArrayRef<Value> at) {
    SmallVector<Value> from;
    for (auto [i, index] : llvm::enumerate(at))
      from.push_back(
          n.index(n.add(offsets[i], n.mul(Size(index), strides[i]))));
    return n.at(x, from);
  }));
}

LogicalResult lowerSplit(Node &n) {
  Tensor &x = n.in(0);
  auto axis = n.axis(n.intAttr("axis", 0), x.rank());
  if (!axis)
    return failure();
  Size extent = x.sizes[*axis];
  int64_t count = n.carrier.getNumResults();
  Sizes parts;
  auto given = n.intsAttr("split");
  if (n.has(1)) {
    auto elements = n.elements(n.in(1), "split");
    if (!elements)
      return failure();
    parts = *elements;
  } else if (given) {
    for (int64_t part : *given)
      parts.push_back(n.size(part));
  } else {
    int64_t outputs = n.intAttr("num_outputs", count);
    if (outputs != count)
      return n.error("num_outputs must be the number of outputs, " +
                     Twine(count));
    // The last part may be smaller.
    Size part = n.ceilDiv(extent, n.size(count));
    for (int64_t i = 0; i + 1 < count; ++i)
      parts.push_back(part);
    parts.push_back(n.sub(extent, n.mul(part, n.size(count - 1))));
  }
  if (int64_t(parts.size()) != count)
    return n.error("split must have an entry for each of the " + Twine(count) +
                   " outputs");
  Size sum = n.size(0);
  for (Size part : parts) {
    if (!n.isNonNegative(part))
      n.require(n.compare(P::sge, part, n.size(0)),
                "parts must not be negative");
    sum = n.add(sum, part);
  }
  if (n.has(1) || given)
    n.requireEqual(sum, extent, "split must add up to the size of the axis");
  if (n.failed())
    return failure();
  Sizes offsets(x.rank(), n.size(0));
  for (auto [i, part] : llvm::enumerate(parts)) {
    Sizes sizes = x.sizes;
    sizes[*axis] = part;
    n.out(i, n.slice(x, offsets, sizes));
    offsets[*axis] = n.add(offsets[*axis], part);
  }
  return success(!n.failed());
}

/// Index in [0, extent) that a padded index reads; one of the modes edge,
/// reflect and wrap.
Value sourceIndex(Node &n, StringRef mode, Value at, Size before, Size extent) {
  Size i = n.sub(Size(at), before);
  Size last = n.sub(extent, n.size(1));
  if (mode == "edge")
    return n.index(n.max(n.min(i, last), n.size(0)));
  auto modulo = [&](Size x, Size by) {
    Size rest =
        getAsOpFoldResult(n.op<arith::RemSIOp>(n.index(x), n.index(by)));
    return n.select(n.compare(P::slt, rest, n.size(0)), n.add(rest, by), rest);
  };
  if (mode == "wrap")
    return n.index(modulo(i, extent));
  // Back and forth with a period of 2 * (extent - 1).
  Size period = n.max(n.mul(n.size(2), last), n.size(1));
  Size phase = modulo(i, period);
  Size mirrored = n.sub(period, phase);
  return n.index(n.select(n.compare(P::sgt, phase, last), mirrored, phase));
}

LogicalResult lowerPad(Node &n) {
  Tensor &x = n.in(0);
  auto pads = bounds(n, 1, "pads");
  auto axes = n.constantInts(3, "axes");
  if (!pads || !axes)
    return failure();
  if (!*axes) {
    axes->emplace();
    for (int64_t dim = 0; dim < x.rank(); ++dim)
      (*axes)->push_back(dim);
  }
  size_t count = (*axes)->size();
  if (pads->size() != 2 * count)
    return n.error("pads must have two entries per axis");
  Sizes before(x.rank(), n.size(0)), after = before;
  for (auto [i, item] : llvm::enumerate(**axes)) {
    auto axis = n.axis(item, x.rank());
    if (!axis)
      return failure();
    before[*axis] = (*pads)[i];
    after[*axis] = (*pads)[count + i];
  }
  StringRef mode = n.stringAttr("mode", "constant");
  Sizes sizes;
  for (int64_t dim = 0; dim < x.rank(); ++dim) {
    Size padded = n.add(n.add(x.sizes[dim], before[dim]), after[dim]);
    if (!n.isNonNegative(padded))
      n.require(n.compare(P::sge, padded, n.size(0)),
                "pads must not remove more than there is");
    sizes.push_back(padded);
  }
  if (n.failed())
    return failure();
  if (mode != "constant") {
    if (mode != "edge" && mode != "reflect" && mode != "wrap")
      return n.error("mode must be constant, edge, reflect or wrap, but got '" +
                     mode + "'");
    for (int64_t dim = 0; dim < x.rank(); ++dim) {
      bool isPadded = !isConstant(before[dim], 0) || !isConstant(after[dim], 0);
      if (isPadded)
        n.require(n.compare(P::sgt, x.sizes[dim], n.size(0)),
                  "mode " + mode + " needs a value on each padded axis");
    }
    n.value(x);
    return n.done(n.generate(sizes, x.element, [&](ArrayRef<Value> at) {
      SmallVector<Value> from;
      for (auto [dim, index] : llvm::enumerate(at))
        from.push_back(
            isConstant(before[dim], 0) && isConstant(after[dim], 0)
                ? index
                : sourceIndex(n, mode, index, before[dim], x.sizes[dim]));
      return n.at(x, from);
    }));
  }
  Value filler =
      n.has(2) ? n.single(n.in(2), "constant_value")
               : n.number(storageType(x.element), n.floatAttr("value", 0));
  Value frame = n.filled(sizes, filler);
  // Negative pads cut; what is left goes into the frame.
  Size zero = n.size(0);
  Sizes from, part, to;
  for (int64_t dim = 0; dim < x.rank(); ++dim) {
    Size cutBefore = n.max(n.sub(zero, before[dim]), zero);
    Size cutAfter = n.max(n.sub(zero, after[dim]), zero);
    from.push_back(cutBefore);
    part.push_back(
        n.max(n.sub(n.sub(x.sizes[dim], cutBefore), cutAfter), zero));
    to.push_back(n.max(before[dim], zero));
  }
  Tensor inner = same(part, x.sizes) ? x : n.slice(x, from, part);
  return n.done(
      n.make(n.insert(n.value(inner), frame, to, part), x.element, sizes));
}

LogicalResult lowerTile(Node &n) {
  Tensor &x = n.in(0);
  auto repeats = n.elements(n.in(1), "repeats");
  if (!repeats)
    return failure();
  if (int64_t(repeats->size()) != x.rank())
    return n.error("repeats must have an entry for each dimension");
  Sizes sizes;
  for (auto [extent, times] : llvm::zip(x.sizes, *repeats)) {
    if (!n.isNonNegative(times))
      n.require(n.compare(P::sge, times, n.size(0)),
                "repeats must not be negative");
    sizes.push_back(n.mul(extent, times));
  }
  if (n.failed())
    return failure();
  n.value(x);
  return n.done(n.generate(sizes, x.element, [&](ArrayRef<Value> at) {
    SmallVector<Value> from;
    for (auto [dim, index] : llvm::enumerate(at))
      from.push_back(isConstant((*repeats)[dim], 1)
                         ? index
                         : n.op<arith::RemUIOp>(index, n.index(x.sizes[dim])));
    return n.at(x, from);
  }));
}

LogicalResult lowerTrilu(Node &n) {
  Tensor &x = n.in(0);
  if (x.rank() < 2)
    return n.error("the input must have at least two dimensions");
  Size k = n.size(0);
  if (n.has(1)) {
    auto given = n.elements(n.in(1), "k");
    if (!given)
      return failure();
    if (given->size() != 1)
      return n.error("k must be one integer");
    k = (*given)[0];
  }
  bool upper = n.intAttr("upper", 1) != 0;
  n.value(x);
  Type type = storageType(x.element);
  return n.done(n.generate(x.sizes, x.element, [&](ArrayRef<Value> at) {
    Size row = at[at.size() - 2], column = at.back();
    Value kept = n.compare(upper ? P::sge : P::sle, n.sub(column, row), k);
    return tl::select(n, kept, n.at(x, at), n.number(type, 0));
  }));
}

} // namespace

void tl::addSlices(Registry &r) {
  r.family = "Shapes";
  r.add("Slice", 1, lowerSlice, "axes must be constant");
  r.add("Split", 1, lowerSplit);
  r.add("Pad", 1, lowerPad, "axes must be constant");
  r.add("Tile", 2, lowerTile);
  r.add("Trilu", 1, lowerTrilu);
}
