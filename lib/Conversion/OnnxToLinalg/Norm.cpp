// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Normalisations. All compute in f32 at least.

#include "Reduce.h"
#include "Scalars.h"

using namespace mlir;
using namespace adaptive::tolinalg;
namespace tl = adaptive::tolinalg;

namespace {

SmallVector<bool> axesFrom(int64_t first, int64_t rank) {
  SmallVector<bool> axes(rank, false);
  for (int64_t dim = first; dim < rank; ++dim)
    axes[dim] = true;
  return axes;
}

/// A vector over the channels, dimension 1 of a tensor of `rank`.
Tensor perChannel(Node &n, unsigned input, int64_t rank) {
  Tensor x = widened(n, n.in(input));
  Sizes sizes{x.sizes[0]};
  sizes.append(rank - 2, n.size(1));
  return n.reshape(x, sizes);
}

Tensor inverseRoot(Emitter &e, Tensor variance, double epsilon) {
  return e.map(variance, variance.element, [&](ArrayRef<Value> a) -> Value {
    Value root =
        e.op<math::SqrtOp>(tl::add(e, a[0], tl::like(e, a[0], epsilon)));
    return e.op<arith::DivFOp>(tl::like(e, root, 1), root);
  });
}

struct Normalized {
  Tensor value, mean, inverse;
};

/// (x - mean) / sqrt(variance + epsilon) over the axes.
Normalized normalize(Emitter &e, Tensor x, ArrayRef<bool> axes,
                     double epsilon) {
  Tensor mean = meanAlong(e, x, axes);
  Tensor pair[] = {x, mean};
  Tensor centred = e.map(pair, x.element, [&](ArrayRef<Value> a) {
    return tl::sub(e, a[0], a[1]);
  });
  Tensor squares = e.map(centred, x.element, [&](ArrayRef<Value> a) {
    return tl::mul(e, a[0], a[0]);
  });
  Tensor inverse = inverseRoot(e, meanAlong(e, squares, axes), epsilon);
  Tensor scaled[] = {centred, inverse};
  Tensor value = e.map(scaled, x.element, [&](ArrayRef<Value> a) {
    return tl::mul(e, a[0], a[1]);
  });
  return {value, mean, inverse};
}

/// x * scale + bias where these are given, in the element type of the node.
Tensor affine(Node &n, Tensor x, std::optional<Tensor> scale,
              std::optional<Tensor> bias) {
  SmallVector<Tensor> operands{x};
  for (std::optional<Tensor> operand : {scale, bias})
    if (operand)
      operands.push_back(widened(n, *operand));
  Tensor result = n.map(operands, x.element, [&](ArrayRef<Value> a) {
    Value value = a[0];
    if (scale)
      value = tl::mul(n, value, a[1]);
    return bias ? tl::add(n, value, a.back()) : value;
  });
  return n.cast(result, n.in(0).element);
}

std::optional<Tensor> optional(Node &n, unsigned i) {
  return n.has(i) ? std::optional<Tensor>(n.in(i)) : std::nullopt;
}

LogicalResult lowerLayerNorm(Node &n) {
  Tensor &x = n.in(0);
  auto axis = n.axis(n.intAttr("axis", -1), x.rank());
  if (!axis)
    return failure();
  Normalized normal = normalize(n, widened(n, x), axesFrom(*axis, x.rank()),
                                n.floatAttr("epsilon", 1e-5f));
  Type stash = n.elementType(n.intAttr("stash_type", 1));
  if (!stash)
    return failure();
  n.out(1, n.cast(normal.mean, stash));
  n.out(2, n.cast(normal.inverse, stash));
  return n.done(affine(n, normal.value, n.in(1), optional(n, 2)));
}

LogicalResult lowerRMSNorm(Node &n) {
  auto axis = n.axis(n.intAttr("axis", -1), n.in(0).rank());
  if (!axis)
    return failure();
  Tensor x = widened(n, n.in(0));
  Tensor squares = n.map(
      x, x.element, [&](ArrayRef<Value> a) { return tl::mul(n, a[0], a[0]); });
  Tensor mean = meanAlong(n, squares, axesFrom(*axis, x.rank()));
  Tensor pair[] = {x, inverseRoot(n, mean, n.floatAttr("epsilon", 1e-5f))};
  Tensor value = n.map(pair, x.element, [&](ArrayRef<Value> a) {
    return tl::mul(n, a[0], a[1]);
  });
  return n.done(affine(n, value, n.in(1), std::nullopt));
}

bool hasChannels(Node &n, unsigned last) {
  bool ok = n.in(0).rank() >= 2;
  for (unsigned i = 1; i <= last; ++i)
    ok &= n.in(i).rank() == 1;
  if (!ok)
    (void)n.error(
        "X must have at least two dimensions, and the other inputs one");
  return ok;
}

LogicalResult lowerBatchNorm(Node &n) {
  if (n.intAttr("training_mode", 0) != 0)
    return n.error("BatchNormalization in training mode is not supported");
  if (!hasChannels(n, 4))
    return failure();
  int64_t rank = n.in(0).rank();
  Tensor x = widened(n, n.in(0));
  Tensor operands[] = {
      x, perChannel(n, 3, rank),
      inverseRoot(n, perChannel(n, 4, rank), n.floatAttr("epsilon", 1e-5f))};
  Tensor value = n.map(operands, x.element, [&](ArrayRef<Value> a) {
    return tl::mul(n, tl::sub(n, a[0], a[1]), a[2]);
  });
  return n.done(
      affine(n, value, perChannel(n, 1, rank), perChannel(n, 2, rank)));
}

LogicalResult lowerInstanceNorm(Node &n) {
  if (!hasChannels(n, 2))
    return failure();
  int64_t rank = n.in(0).rank();
  Normalized normal = normalize(n, widened(n, n.in(0)), axesFrom(2, rank),
                                n.floatAttr("epsilon", 1e-5f));
  return n.done(
      affine(n, normal.value, perChannel(n, 1, rank), perChannel(n, 2, rank)));
}

LogicalResult lowerGroupNorm(Node &n) {
  if (!hasChannels(n, 2))
    return failure();
  Tensor x = widened(n, n.in(0));
  Size groups = n.size(n.intAttr("num_groups", 1));
  if (*constant(groups) < 1)
    return n.error("num_groups must be at least 1");
  // Before opset 21, scale and bias were per group.
  if (n.opset() < 21)
    return n.error("GroupNormalization before opset 21 is not supported");
  Size perGroup = n.floorDiv(x.sizes[1], groups);
  n.requireEqual(n.mul(perGroup, groups), x.sizes[1],
                 "num_groups must divide the number of channels");
  Size rest = n.mul(perGroup, n.product(ArrayRef<Size>(x.sizes).drop_front(2)));
  Tensor grouped = n.reshape(x, {x.sizes[0], groups, rest});
  Normalized normal = normalize(n, grouped, {false, false, true},
                                n.floatAttr("epsilon", 1e-5f));
  Tensor value = n.reshape(normal.value, x.sizes);
  return n.done(
      affine(n, value, perChannel(n, 1, x.rank()), perChannel(n, 2, x.rank())));
}

LogicalResult lowerLpNorm(Node &n) {
  auto axis = n.axis(n.intAttr("axis", -1), n.in(0).rank());
  int64_t p = n.intAttr("p", 2);
  if (!axis)
    return failure();
  if (p != 1 && p != 2)
    return n.error("p must be 1 or 2, but got " + Twine(p));
  Tensor x = widened(n, n.in(0));
  SmallVector<bool> axes(x.rank(), false);
  axes[*axis] = true;
  Tensor parts = n.map(x, x.element, [&](ArrayRef<Value> a) -> Value {
    return p == 1 ? n.op<math::AbsFOp>(a[0]) : tl::mul(n, a[0], a[0]);
  });
  Tensor pair[] = {x, sumAlong(n, parts, axes)};
  Tensor result = n.map(pair, x.element, [&](ArrayRef<Value> a) {
    Value norm = p == 1 ? a[1] : n.op<math::SqrtOp>(a[1]);
    Value zero = tl::like(n, norm, 0);
    Value isZero = n.condition(arith::CmpFPredicate::OEQ, norm, zero);
    return tl::select(n, isZero, zero, n.op<arith::DivFOp>(a[0], norm));
  });
  return n.done(n.cast(result, n.in(0).element));
}

} // namespace

void tl::addNorm(Registry &r) {
  r.family = "Normalisation";
  r.add("LayerNormalization", 2, lowerLayerNorm);
  r.add("RMSNormalization", 2, lowerRMSNorm);
  r.add("BatchNormalization", 5, lowerBatchNorm, "training mode: refused");
  r.add("InstanceNormalization", 3, lowerInstanceNorm);
  r.add("GroupNormalization", 3, lowerGroupNorm, "before opset 21: refused");
  r.add("LpNormalization", 1, lowerLpNorm);
}
