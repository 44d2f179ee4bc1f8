// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Convolution and pooling over any number of spatial dimensions.

#include "Reduce.h"
#include "Scalars.h"

#include "mlir/IR/AffineMap.h"

using namespace mlir;
using namespace adaptive::tolinalg;
namespace tl = adaptive::tolinalg;
using P = arith::CmpIPredicate;
using utils::IteratorType;

namespace {

/// How a window goes over the spatial dimensions.
struct Window {
  Sizes kernel;
  SmallVector<int64_t> strides, dilations;
  Sizes before, after; // padding
  Sizes output;

  int64_t rank() const { return strides.size(); }
};

/// Attribute `name` with `count` entries of at least `least`; nullopt after an
/// error.
std::optional<SmallVector<int64_t>> perDimension(Node &n, StringRef name,
                                                 int64_t count, int64_t absent,
                                                 int64_t least) {
  auto given = n.intsAttr(name);
  if (!given)
    return SmallVector<int64_t>(count, absent);
  if (int64_t(given->size()) != count || llvm::any_of(*given, [&](int64_t v) {
        return v < least || v > (int64_t(1) << 31);
      })) {
    (void)n.error(name + " must have " + Twine(count) +
                  " entries of at least " + Twine(least));
    return std::nullopt;
  }
  return given;
}

/// Reads the attributes that Conv and the pools share; `extents` are the
/// spatial sizes of the input.
std::optional<Window> readWindow(Node &n, ArrayRef<Size> extents,
                                 Sizes kernel) {
  int64_t rank = extents.size();
  Window w;
  w.kernel = std::move(kernel);
  auto strides = perDimension(n, "strides", rank, 1, 1);
  auto dilations = perDimension(n, "dilations", rank, 1, 1);
  auto pads = perDimension(n, "pads", 2 * rank, 0, 0);
  if (!strides || !dilations || !pads)
    return std::nullopt;
  w.strides = *strides;
  w.dilations = *dilations;
  StringRef automatic = n.stringAttr("auto_pad", "NOTSET");
  bool isSame = automatic == "SAME_UPPER" || automatic == "SAME_LOWER";
  if (!isSame && automatic != "NOTSET" && automatic != "VALID") {
    (void)n.error("auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER");
    return std::nullopt;
  }
  bool up = n.intAttr("ceil_mode", 0) != 0;
  for (int64_t i = 0; i < rank; ++i) {
    Size stride = n.size(w.strides[i]), one = n.size(1), zero = n.size(0);
    Size reach =
        n.add(n.mul(n.sub(w.kernel[i], one), n.size(w.dilations[i])), one);
    Size before = n.size(automatic == "NOTSET" ? (*pads)[i] : 0);
    Size after = n.size(automatic == "NOTSET" ? (*pads)[i + rank] : 0);
    Size output;
    if (isSame) {
      output = n.ceilDiv(extents[i], stride);
      Size total = n.max(
          n.sub(n.add(n.mul(n.sub(output, one), stride), reach), extents[i]),
          zero);
      Size less = n.floorDiv(total, n.size(2));
      Size more = n.sub(total, less);
      before = automatic == "SAME_UPPER" ? less : more;
      after = automatic == "SAME_UPPER" ? more : less;
    } else {
      Size room = n.sub(n.add(n.add(extents[i], before), after), reach);
      n.require(n.compare(P::sge, room, zero),
                "the window must not be larger than the padded input");
      output =
          n.add(up ? n.ceilDiv(room, stride) : n.floorDiv(room, stride), one);
      if (up) {
        // A window that starts in the padding at the end does not count.
        Size start = n.mul(n.sub(output, one), stride);
        Value inside = n.compare(P::slt, start, n.add(extents[i], before));
        output = n.select(inside, output, n.sub(output, one));
        Size end = n.add(n.mul(n.sub(output, one), stride), reach);
        after = n.max(after, n.sub(end, n.add(extents[i], before)));
      }
    }
    w.before.push_back(before);
    w.after.push_back(after);
    w.output.push_back(output);
  }
  return n.failed() ? std::nullopt : std::optional(w);
}

/// x with `scalar` around its last dimensions.
Tensor framed(Node &n, Tensor &x, ArrayRef<Size> before, ArrayRef<Size> after,
              Value scalar) {
  Sizes sizes = x.sizes, offsets(x.rank(), n.size(0));
  int64_t lead = x.rank() - before.size();
  bool any = false;
  for (auto [i, low] : llvm::enumerate(before)) {
    sizes[lead + i] = n.add(n.add(sizes[lead + i], low), after[i]);
    offsets[lead + i] = low;
    any |= !isConstant(low, 0) || !isConstant(after[i], 0);
  }
  if (!any)
    return x;
  Value frame = n.filled(sizes, scalar);
  return n.make(n.insert(n.value(x), frame, offsets, x.sizes), x.element,
                sizes);
}

/// Loops of a window: position of output `o` and kernel `k` along dimension i.
AffineExpr reading(const Window &w, int64_t i, AffineExpr o, AffineExpr k) {
  return o * w.strides[i] + k * w.dilations[i];
}

LogicalResult lowerConv(Node &n) {
  Tensor &x = n.in(0), &weight = n.in(1);
  int64_t spatial = x.rank() - 2;
  if (spatial < 1 || weight.rank() != x.rank() || x.element != weight.element)
    return n.error("Conv needs an input [N, C, ...] and weights of the same "
                   "rank and type");
  Size group = n.size(n.intAttr("group", 1));
  if (*constant(group) < 1)
    return n.error("group must be at least 1");
  auto window = readWindow(n, ArrayRef<Size>(x.sizes).drop_front(2),
                           Sizes(weight.sizes.begin() + 2, weight.sizes.end()));
  if (!window)
    return failure();
  Size inner = weight.sizes[1], outer = n.floorDiv(weight.sizes[0], group);
  n.requireEqual(n.mul(inner, group), x.sizes[1],
                 "the channels must be those of the weights times group");
  n.requireEqual(n.mul(outer, group), weight.sizes[0],
                 "group must divide the output channels");
  if (n.failed())
    return failure();
  Tensor padded = framed(n, x, window->before, window->after,
                         n.number(storageType(x.element), 0));
  auto regroup = [&](Tensor &t, Sizes head, int64_t from) {
    head.append(t.sizes.begin() + from, t.sizes.end());
    return n.reshape(t, head);
  };
  Tensor left = regroup(padded, {padded.sizes[0], group, inner}, 2);
  Tensor right = regroup(weight, {group, outer, inner}, 2);

  // Loops: n, g, m, o..., c, k...
  MLIRContext *context = n.b.getContext();
  int64_t loops = 4 + 2 * spatial;
  auto d = [&](int64_t i) { return getAffineDimExpr(i, context); };
  int64_t c = 3 + spatial;
  SmallVector<AffineExpr> in{d(0), d(1), d(c)}, kernel{d(1), d(2), d(c)},
      out{d(0), d(1), d(2)};
  SmallVector<IteratorType> iterators(c, IteratorType::parallel);
  iterators.append(1 + spatial, IteratorType::reduction);
  Sizes sizes{padded.sizes[0], group, outer};
  for (int64_t i = 0; i < spatial; ++i) {
    in.push_back(reading(*window, i, d(3 + i), d(c + 1 + i)));
    kernel.push_back(d(c + 1 + i));
    out.push_back(d(3 + i));
    sizes.push_back(window->output[i]);
  }
  auto map = [&](ArrayRef<AffineExpr> exprs) {
    return AffineMap::get(loops, 0, exprs, context);
  };
  AffineMap maps[] = {map(in), map(kernel), map(out)};
  Type wide = computeType(x.element);
  Value init = n.filled(sizes, n.number(wide, 0));
  Value sum =
      n.generic(ValueRange{n.value(left), n.value(right)}, ValueRange{init},
                maps, iterators, [&](ValueRange args) -> SmallVector<Value> {
                  Value a = n.toCompute(args[0], x.element);
                  Value b = n.toCompute(args[1], x.element);
                  return {tl::add(n, args[2], tl::mul(n, a, b))};
                })[0];
  Tensor result = n.make(sum, wide, sizes);
  result = regroup(result, {padded.sizes[0], weight.sizes[0]}, 3);
  if (n.has(2)) {
    if (n.in(2).rank() != 1)
      return n.error("the bias must be a vector");
    Sizes vector{n.in(2).sizes[0]};
    vector.append(spatial, n.size(1));
    Tensor bias = n.reshape(n.in(2), vector);
    Tensor pair[] = {result, bias};
    result = n.compute(
        pair, wide, [&](ArrayRef<Value> a) { return tl::add(n, a[0], a[1]); });
  }
  Tensor narrow = n.cast(result, x.element);
  narrow.element = x.element;
  return n.done(narrow);
}

/// Combines the elements under each window of the last dimensions.
Tensor pool(Node &n, Tensor &x, const Window &w, Value init,
            Emitter::Combine combine) {
  MLIRContext *context = n.b.getContext();
  int64_t spatial = w.rank(), lead = x.rank() - spatial,
          loops = x.rank() + spatial;
  auto d = [&](int64_t i) { return getAffineDimExpr(i, context); };
  SmallVector<AffineExpr> in, kernel, out;
  Sizes sizes(x.sizes.begin(), x.sizes.begin() + lead);
  for (int64_t i = 0; i < lead; ++i) {
    in.push_back(d(i));
    out.push_back(d(i));
  }
  for (int64_t i = 0; i < spatial; ++i) {
    in.push_back(reading(w, i, d(lead + i), d(x.rank() + i)));
    kernel.push_back(d(x.rank() + i));
    out.push_back(d(lead + i));
    sizes.push_back(w.output[i]);
  }
  auto map = [&](ArrayRef<AffineExpr> exprs) {
    return AffineMap::get(loops, 0, exprs, context);
  };
  AffineMap maps[] = {map(in), map(kernel), map(out)};
  SmallVector<IteratorType> iterators(x.rank(), IteratorType::parallel);
  iterators.append(spatial, IteratorType::reduction);
  // Only its shape counts: it says how far the kernel loops go.
  Value shape = n.empty(w.kernel, n.b.getI1Type());
  Value start = n.filled(sizes, init);
  Value result =
      n.generic(ValueRange{n.value(x), shape}, ValueRange{start}, maps,
                iterators, [&](ValueRange args) -> SmallVector<Value> {
                  return {combine(args[2], n.toCompute(args[0], x.element))};
                })[0];
  return n.make(result, init.getType(), sizes);
}

std::optional<Window> poolWindow(Node &n) {
  Tensor &x = n.in(0);
  auto kernel = n.intsAttr("kernel_shape");
  if (x.rank() < 3 || !kernel || int64_t(kernel->size()) != x.rank() - 2 ||
      llvm::any_of(*kernel,
                   [](int64_t k) { return k < 1 || k > (int64_t(1) << 31); })) {
    (void)n.error(
        "kernel_shape must have a positive entry for each spatial dimension");
    return std::nullopt;
  }
  Sizes sizes;
  for (int64_t k : *kernel)
    sizes.push_back(n.size(k));
  return readWindow(n, ArrayRef<Size>(x.sizes).drop_front(2), sizes);
}

LogicalResult lowerMaxPool(Node &n) {
  Tensor &x = n.in(0);
  if (n.wants(1))
    return n.error("the output Indices of MaxPool is not supported");
  auto window = poolWindow(n);
  if (!window)
    return failure();
  Value least = tl::lowest(n, x.element);
  Value filler = n.fromCompute(least, x.element);
  Tensor padded = framed(n, x, window->before, window->after, filler);
  Tensor result = pool(n, padded, *window, least, [&](Value best, Value item) {
    return tl::maximum(n, best, item, x.element);
  });
  Tensor narrow = result.element == storageType(x.element)
                      ? result
                      : n.cast(result, x.element);
  narrow.element = x.element;
  return n.done(narrow);
}

LogicalResult lowerAveragePool(Node &n) {
  auto window = poolWindow(n);
  if (!window)
    return failure();
  Tensor x = widened(n, n.in(0));
  Type type = storageType(x.element);
  Value zero = n.number(type, 0), one = n.number(type, 1);
  auto sum = [&](Value total, Value item) { return tl::add(n, total, item); };
  Tensor padded = framed(n, x, window->before, window->after, zero);
  Tensor sums = pool(n, padded, *window, zero, sum);
  // What each window covers, counted over a tensor of ones.
  Sizes spatial(x.sizes.begin() + 2, x.sizes.end());
  Sizes after = window->after;
  Tensor ones;
  if (n.intAttr("count_include_pad", 0)) {
    auto pads = perDimension(n, "pads", 2 * window->rank(), 0, 0);
    bool explicitPads = n.stringAttr("auto_pad", "NOTSET") == "NOTSET";
    Sizes low = window->before;
    for (int64_t i = 0; i < window->rank(); ++i) {
      Size given =
          explicitPads ? n.size((*pads)[i + window->rank()]) : after[i];
      spatial[i] = n.add(n.add(spatial[i], low[i]), given);
      // Padding that only rounding up adds does not count.
      after[i] = n.sub(after[i], given);
    }
    ones = n.fill(spatial, type, one);
    Sizes none(window->rank(), n.size(0));
    ones = framed(n, ones, none, after, zero);
  } else {
    ones = n.fill(spatial, type, one);
    ones = framed(n, ones, window->before, after, zero);
  }
  Tensor pair[] = {sums, pool(n, ones, *window, zero, sum)};
  Tensor result = n.map(pair, type, [&](ArrayRef<Value> a) {
    return n.op<arith::DivFOp>(a[0], a[1]);
  });
  return n.done(n.cast(result, n.in(0).element));
}

SmallVector<bool> spatialAxes(Node &n) {
  SmallVector<bool> axes(n.in(0).rank(), true);
  for (size_t i = 0; i < 2 && i < axes.size(); ++i)
    axes[i] = false;
  return axes;
}

LogicalResult lowerGlobalAveragePool(Node &n) {
  Tensor x = widened(n, n.in(0));
  Tensor mean = meanAlong(n, x, spatialAxes(n));
  return n.done(n.cast(mean, n.in(0).element));
}

LogicalResult lowerGlobalMaxPool(Node &n) {
  return n.done(maxAlong(n, n.in(0), spatialAxes(n)));
}

} // namespace

void tl::addConv(Registry &r) {
  r.family = "Convolution";
  r.add("Conv", 2, lowerConv);
  r.add("MaxPool", 1, lowerMaxPool, "the output Indices: refused");
  r.add("AveragePool", 1, lowerAveragePool);
  r.add("GlobalAveragePool", 1, lowerGlobalAveragePool);
  r.add("GlobalMaxPool", 1, lowerGlobalMaxPool);
}
