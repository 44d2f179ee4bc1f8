// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Linear quantisation of activations and weights that a file spells out.

#include "Scalars.h"

using namespace mlir;
using namespace adaptive::tolinalg;
namespace tl = adaptive::tolinalg;

namespace {

/// Scale or zero point as an operand that broadcasts to x: one for all, one per
/// index of the axis, or one per block along it. Nullopt after an error.
std::optional<Tensor> alongAxis(Node &n, Tensor scale, Tensor &x) {
  if (scale.rank() == 0)
    return scale;
  auto axis = n.axis(n.intAttr("axis", 1), x.rank());
  if (!axis)
    return std::nullopt;
  int64_t block = n.intAttr("block_size", 0);
  if (scale.rank() == 1 && block == 0) {
    if (isConstant(scale.sizes[0], 1) && !isConstant(x.sizes[*axis], 1))
      return n.reshape(scale, {});
    n.requireEqual(scale.sizes[0], x.sizes[*axis],
                   "scale must have an entry per index of the axis");
    Sizes sizes{scale.sizes[0]};
    sizes.append(x.rank() - 1 - *axis, n.size(1));
    return n.reshape(scale, sizes);
  }
  if (block < 1 || scale.rank() != x.rank()) {
    (void)n.error("scale must be a scalar, a vector, or of the rank of the "
                  "input with a block_size");
    return std::nullopt;
  }
  n.requireEqual(scale.sizes[*axis], n.ceilDiv(x.sizes[*axis], n.size(block)),
                 "scale must have an entry per block");
  Sizes single = scale.sizes, repeated, merged = scale.sizes;
  single.insert(single.begin() + *axis + 1, n.size(1));
  repeated = single;
  repeated[*axis + 1] = n.size(block);
  merged[*axis] = n.mul(scale.sizes[*axis], n.size(block));
  Tensor apart = n.reshape(scale, single);
  Tensor spread = n.broadcastTo(apart, repeated);
  Tensor whole = n.reshape(spread, merged);
  Sizes sizes = merged;
  sizes[*axis] = x.sizes[*axis];
  return n.slice(whole, Sizes(x.rank(), n.size(0)), sizes);
}

LogicalResult lowerDequantize(Node &n) {
  Tensor &x = n.in(0);
  if (x.isFloat())
    return n.error("the input must be of integers");
  Type element = n.in(1).element;
  if (int64_t type = n.intAttr("output_dtype", 0))
    element = n.elementType(type);
  auto scale = alongAxis(n, n.in(1), x);
  if (!scale || !element)
    return failure();
  SmallVector<Tensor> operands{x, *scale};
  if (n.has(2)) {
    auto zero = alongAxis(n, n.in(2), x);
    if (!zero)
      return failure();
    operands.push_back(*zero);
  }
  Type i64 = n.b.getI64Type(), compute = computeType(scale->element);
  return n.done(n.map(operands, element, [&](ArrayRef<Value> a) {
    Value steps = n.convert(a[0], x.element, i64);
    if (a.size() > 2)
      steps = tl::sub(n, steps, n.convert(a[2], operands[2].element, i64));
    Value wide = n.convert(steps, i64, compute);
    Value product = tl::mul(n, wide, n.toCompute(a[1], scale->element));
    return n.convert(product, compute, element);
  }));
}

LogicalResult lowerQuantize(Node &n) {
  Tensor x = n.in(0);
  Type element = IntegerType::get(n.b.getContext(), 8, IntegerType::Unsigned);
  if (n.has(2))
    element = n.in(2).element;
  else if (int64_t type = n.intAttr("output_dtype", 0))
    element = n.elementType(type);
  if (!element)
    return failure();
  if (!isa<IntegerType>(element) || element.getIntOrFloatBitWidth() > 16)
    return n.error("the result must be of integers of 8 or 16 bits");
  Tensor scaleInput = n.in(1);
  auto scale = alongAxis(n, scaleInput, x);
  if (!scale)
    return failure();
  SmallVector<Tensor> operands{x, *scale};
  if (n.has(2)) {
    auto zero = alongAxis(n, n.in(2), x);
    if (!zero)
      return failure();
    operands.push_back(*zero);
  }
  Type compute = isa<Float64Type>(x.element) ? Type(n.b.getF64Type())
                                             : Type(n.b.getF32Type());
  unsigned bits = element.getIntOrFloatBitWidth();
  double low =
      element.isUnsignedInteger() ? 0 : -double(int64_t(1) << (bits - 1));
  double high = low + double((int64_t(1) << bits) - 1);
  return n.done(n.map(operands, element, [&](ArrayRef<Value> a) {
    Value value = n.convert(n.toCompute(a[0], x.element),
                            computeType(x.element), compute);
    Value by = n.convert(n.toCompute(a[1], scale->element),
                         computeType(scale->element), compute);
    value = n.op<math::RoundEvenOp>(n.op<arith::DivFOp>(value, by));
    if (a.size() > 2)
      value = tl::add(n, value, n.convert(a[2], operands[2].element, compute));
    value = n.op<arith::MaximumFOp>(value, n.number(compute, low));
    value = n.op<arith::MinimumFOp>(value, n.number(compute, high));
    return n.convert(value, compute, element);
  }));
}

} // namespace

void tl::addQuantize(Registry &r) {
  r.family = "Quantisation";
  r.add("DequantizeLinear", 2, lowerDequantize,
        "types below 8 bits and 8-bit floats: refused");
  r.add("QuantizeLinear", 2, lowerQuantize,
        "results other than of 8 and 16 bits: refused");
}
