// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Operators that make and change shapes. Shapes that are known as integers or
// as sizes of other tensors are followed, so that results stay as static as
// they can be; others are read at run time.

#include "Scalars.h"

using namespace mlir;
using namespace adaptive::tolinalg;
namespace tl = adaptive::tolinalg;
using P = arith::CmpIPredicate;

namespace {

LogicalResult lowerShape(Node &n) {
  Tensor &x = n.in(0);
  auto bound = [&](StringRef name, int64_t absent) {
    int64_t value = n.intAttr(name, absent);
    return std::clamp<int64_t>(value < 0 ? value + x.rank() : value, 0,
                               x.rank());
  };
  int64_t start = bound("start", 0), end = bound("end", x.rank());
  Sizes sizes;
  for (int64_t dim = start; dim < end; ++dim)
    sizes.push_back(x.sizes[dim]);
  return n.done(n.makeInts(sizes, n.b.getI64Type()));
}

LogicalResult lowerSize(Node &n) {
  return n.done(n.makeInts({n.product(n.in(0).sizes)}, n.b.getI64Type(), true));
}

/// Factors of a product, constants gathered in `known`.
void factorsOf(Size x, int64_t &known, SmallVectorImpl<Value> &factors) {
  if (auto value = constant(x)) {
    known *= *value;
    return;
  }
  Value value = cast<Value>(x);
  auto product = value.getDefiningOp<arith::MulIOp>();
  if (!product) {
    factors.push_back(value);
    return;
  }
  factorsOf(getAsOpFoldResult(product.getLhs()), known, factors);
  factorsOf(getAsOpFoldResult(product.getRhs()), known, factors);
}

/// The quotient of two products with what they share cancelled.
struct Quotient {
  int64_t above = 1, below = 1;
  SmallVector<Value> more, less;

  Quotient(ArrayRef<Size> total, ArrayRef<Size> parts) {
    for (Size factor : total)
      factorsOf(factor, above, more);
    for (Size factor : parts)
      factorsOf(factor, below, less);
    for (Value factor : llvm::make_early_inc_range(llvm::to_vector(less)))
      if (auto at = llvm::find(more, factor); at != more.end()) {
        more.erase(at);
        less.erase(llvm::find(less, factor));
      }
  }
  bool isOne() const { return above == below && more.empty() && less.empty(); }
  bool isWhole() const {
    return less.empty() && below != 0 && above % below == 0;
  }
};

Size multiply(Emitter &e, int64_t known, ArrayRef<Value> factors) {
  Size result = e.size(known);
  for (Value factor : factors)
    result = e.mul(result, Size(factor));
  return result;
}

/// The sizes a Reshape asks for; nullopt after an error.
std::optional<Sizes> reshapedSizes(Node &n) {
  Tensor &x = n.in(0);
  Sizes wanted;
  if (n.has(1)) {
    auto elements = n.elements(n.in(1), "the shape");
    if (!elements)
      return std::nullopt;
    wanted = *elements;
  } else if (auto attribute = n.intsAttr("shape")) {
    for (int64_t value : *attribute)
      wanted.push_back(n.size(value));
  }
  bool zeroCopies = n.intAttr("allowzero", 0) == 0;
  Sizes known; // with 1 in place of what is to be inferred
  SmallVector<Value> isOpen;
  std::optional<size_t> open;
  bool anyUnknown = false;
  for (auto [i, size] : llvm::enumerate(wanted)) {
    isOpen.push_back(Value());
    if (auto value = constant(size)) {
      if (*value == 0 && zeroCopies) {
        if (int64_t(i) >= x.rank()) {
          (void)n.error("0 at position " + Twine(i) +
                        " of the shape has no dimension to copy");
          return std::nullopt;
        }
        size = x.sizes[i];
      } else if (*value == -1 && !open) {
        open = i;
        size = n.size(1);
      } else if (*value < 0) {
        (void)n.error("the shape must hold sizes and at most one -1");
        return std::nullopt;
      }
    } else if (!n.isNonNegative(size)) {
      anyUnknown = true;
      if (zeroCopies && int64_t(i) < x.rank())
        size = n.select(n.compare(P::eq, size, n.size(0)), x.sizes[i], size);
      isOpen.back() = n.compare(P::eq, size, n.size(-1));
      size = n.select(isOpen.back(), n.size(1), size);
      n.require(n.compare(P::sge, size, n.size(0)),
                "the shape must hold sizes and at most one -1");
    }
    known.push_back(size);
  }
  Quotient quotient(x.sizes, known);
  StringRef mismatch = "the shape must have as many elements as the input";
  if (!open && !anyUnknown) {
    if (!quotient.isOne())
      n.requireEqual(n.product(x.sizes), n.product(known), mismatch);
    return known;
  }
  Size inferred;
  if (quotient.isWhole()) {
    inferred = multiply(n, quotient.above / quotient.below, quotient.more);
  } else {
    // Dimensions of zero leave nothing to divide by.
    Size divisor = n.max(multiply(n, quotient.below, quotient.less), n.size(1));
    inferred = n.floorDiv(multiply(n, quotient.above, quotient.more), divisor);
  }
  for (auto [i, size] : llvm::enumerate(known)) {
    if (open && *open == i)
      size = inferred;
    else if (isOpen[i])
      size = n.select(isOpen[i], inferred, size);
  }
  if (!quotient.isWhole() || anyUnknown)
    n.requireEqual(n.product(x.sizes), n.product(known), mismatch);
  return known;
}

LogicalResult lowerReshape(Node &n) {
  auto sizes = reshapedSizes(n);
  return sizes && !n.failed() ? n.done(n.reshape(n.in(0), *sizes)) : failure();
}

LogicalResult lowerFlatten(Node &n) {
  Tensor &x = n.in(0);
  int64_t axis = n.intAttr("axis", 1);
  if (axis < 0)
    axis += x.rank();
  if (axis < 0 || axis > x.rank())
    return n.error("axis must lie in [" + Twine(-x.rank()) + ", " +
                   Twine(x.rank()) + "]");
  ArrayRef<Size> sizes = x.sizes;
  return n.done(n.reshape(x, {n.product(sizes.take_front(axis)),
                              n.product(sizes.drop_front(axis))}));
}

LogicalResult lowerSqueeze(Node &n) {
  Tensor &x = n.in(0);
  auto given = n.constantInts(1, "axes");
  if (!given)
    return failure();
  SmallVector<bool> gone(x.rank(), false);
  if (!*given) {
    for (int64_t dim = 0; dim < x.rank(); ++dim) {
      if (!constant(x.sizes[dim]))
        return n.error("axes must be given, as dimension " + Twine(dim) +
                       " may be 1 or not");
      gone[dim] = isConstant(x.sizes[dim], 1);
    }
  } else {
    for (int64_t item : **given) {
      auto axis = n.axis(item, x.rank());
      if (!axis)
        return failure();
      n.requireEqual(x.sizes[*axis], n.size(1),
                     "dimension " + Twine(*axis) + " must be 1 to be squeezed");
      gone[*axis] = true;
    }
  }
  Sizes sizes;
  for (int64_t dim = 0; dim < x.rank(); ++dim)
    if (!gone[dim])
      sizes.push_back(x.sizes[dim]);
  return n.failed() ? failure() : n.done(n.reshape(x, sizes));
}

LogicalResult lowerUnsqueeze(Node &n) {
  Tensor &x = n.in(0);
  auto given = n.constantInts(1, "axes");
  if (!given)
    return failure();
  if (!*given)
    return n.error("axes must be given");
  int64_t rank = x.rank() + (*given)->size();
  SmallVector<bool> isNew(rank, false);
  for (int64_t item : **given) {
    auto axis = n.axis(item, rank);
    if (!axis)
      return failure();
    if (isNew[*axis])
      return n.error("axes must name each axis once");
    isNew[*axis] = true;
  }
  Sizes sizes;
  for (int64_t dim = 0, from = 0; dim < rank; ++dim)
    sizes.push_back(isNew[dim] ? n.size(1) : x.sizes[from++]);
  return n.done(n.reshape(x, sizes));
}

LogicalResult lowerTranspose(Node &n) {
  auto permutation = adaptive::raising::permutation(n.carrier, n.in(0).rank());
  if (!permutation)
    return n.error("perm must be a permutation of the dimensions");
  return n.done(n.transpose(
      n.in(0), SmallVector<int64_t>(permutation->begin(), permutation->end())));
}

/// The sizes that an operand lists; run-time ones are checked not to be
/// negative.
std::optional<Sizes> listedSizes(Node &n, unsigned i) {
  auto sizes = n.elements(n.in(i), "the shape");
  if (sizes)
    for (Size size : *sizes)
      if (!n.isNonNegative(size))
        n.require(n.compare(P::sge, size, n.size(0)),
                  "sizes must not be negative");
  return n.failed() ? std::nullopt : sizes;
}

LogicalResult lowerExpand(Node &n) {
  auto sizes = listedSizes(n, 1);
  if (!sizes)
    return failure();
  return n.done(n.broadcastTo(n.in(0), n.broadcast({n.in(0).sizes, *sizes})));
}

LogicalResult lowerConcat(Node &n) {
  Tensor &first = n.in(0);
  auto axis = n.axis(n.intAttr("axis", 0), first.rank());
  if (!axis)
    return failure();
  bool allInts = first.rank() == 1;
  Size total = n.size(0);
  Sizes sizes = first.sizes;
  for (Tensor &x : n.inputs) {
    if (!x.element || x.element != first.element || x.rank() != first.rank())
      return n.error("operands must have one element type and one rank");
    allInts &= x.ints.has_value();
    total = n.add(total, x.sizes[*axis]);
    for (int64_t dim = 0; dim < x.rank(); ++dim) {
      if (dim == *axis)
        continue;
      n.requireEqual(sizes[dim], x.sizes[dim],
                     "dimension " + Twine(dim) + " of the operands must agree");
      if (constant(x.sizes[dim]))
        sizes[dim] = x.sizes[dim];
    }
  }
  if (allInts) {
    Sizes ints;
    for (Tensor &x : n.inputs)
      ints.append(*x.ints);
    return n.done(n.makeInts(ints, first.element));
  }
  if (n.inputs.size() == 1)
    return n.done(first);
  sizes[*axis] = total;
  Value result = n.empty(sizes, first.element);
  Sizes offsets(sizes.size(), n.size(0));
  for (Tensor &x : n.inputs) {
    Sizes part = sizes;
    part[*axis] = x.sizes[*axis];
    Value source = n.castTo(n.value(x), n.typeOf(part, x.element));
    result = n.insert(source, result, offsets, part);
    offsets[*axis] = n.add(offsets[*axis], x.sizes[*axis]);
  }
  return n.done(n.make(result, first.element, sizes));
}

LogicalResult lowerIdentity(Node &n) { return n.done(n.in(0)); }

LogicalResult lowerConstant(Node &n) {
  auto value =
      dyn_cast_or_null<DenseElementsAttr>(n.carrier.getOnnxAttr("value"));
  if (!value || !isa<RankedTensorType>(value.getType()) ||
      !storageType(value.getElementType()))
    return n.error("the constant must be a tensor of bools, integers or floats "
                   "of at least 8 bits");
  return n.done(n.fromConstant(value));
}

LogicalResult lowerConstantOfShape(Node &n) {
  auto sizes = listedSizes(n, 0);
  if (!sizes)
    return failure();
  auto value =
      dyn_cast_or_null<DenseElementsAttr>(n.carrier.getOnnxAttr("value"));
  Tensor item;
  if (!value) {
    item = n.scalar(n.b.getF32Type(), 0);
  } else {
    if (value.getNumElements() != 1 || !storageType(value.getElementType()))
      return n.error("value must be one number");
    item = n.fromConstant(value);
  }
  auto count = sizes->size() == 1 ? constant((*sizes)[0]) : std::nullopt;
  if (item.ints && count && *count <= 64)
    return n.done(n.makeInts(Sizes(*count, item.ints->front()), item.element));
  Tensor result = n.fill(*sizes, item.element, n.single(item, "value"));
  result.splat = item.splat;
  return n.done(result);
}

/// How many steps of `delta` lie between; by sign of delta.
Size stepsBetween(Node &n, Size start, Size limit, Size delta) {
  auto up = [&](Size by) {
    return n.max(n.ceilDiv(n.sub(limit, start), by), n.size(0));
  };
  auto down = [&](Size by) {
    return n.max(n.ceilDiv(n.sub(start, limit), by), n.size(0));
  };
  if (auto known = constant(delta))
    return *known > 0 ? up(delta) : down(n.size(-*known));
  Value isUp = n.compare(P::sgt, delta, n.size(0));
  // The branch that is not taken must not divide by zero.
  Size forward = n.select(isUp, delta, n.size(1));
  Size backward = n.select(isUp, n.size(1), n.sub(n.size(0), delta));
  return n.select(isUp, up(forward), down(backward));
}

LogicalResult lowerRange(Node &n) {
  Type element = n.in(0).element;
  Value scalars[3];
  for (unsigned i = 0; i < 3; ++i) {
    if (n.in(i).element != element)
      return n.error("operands must have one element type");
    scalars[i] =
        n.toCompute(n.single(n.in(i), "start, limit and delta"), element);
  }
  Size count;
  bool followed = n.in(0).ints && n.in(1).ints && n.in(2).ints;
  if (isa<FloatType>(element)) {
    n.require(n.condition(arith::CmpFPredicate::UNE, scalars[2],
                          tl::like(n, scalars[2], 0)),
              "delta must not be zero");
    Value steps = n.op<math::CeilOp>(
        n.op<arith::DivFOp>(tl::sub(n, scalars[1], scalars[0]), scalars[2]));
    Type i64 = n.b.getI64Type();
    Value whole = n.convert(steps, computeType(element), i64);
    count = n.max(n.fromElement(whole, i64), n.size(0));
  } else {
    Size bounds[3];
    for (unsigned i = 0; i < 3; ++i)
      bounds[i] =
          followed ? n.in(i).ints->front() : n.fromElement(scalars[i], element);
    n.require(n.compare(P::ne, bounds[2], n.size(0)), "delta must not be zero");
    if (n.failed())
      return failure();
    count = stepsBetween(n, bounds[0], bounds[1], bounds[2]);
    if (auto known = constant(count); followed && known && *known <= 64) {
      Sizes ints;
      for (int64_t i = 0; i < *known; ++i)
        ints.push_back(n.add(bounds[0], n.mul(n.size(i), bounds[2])));
      return n.done(n.makeInts(ints, element));
    }
  }
  return n.done(n.generate({count}, element, [&](ArrayRef<Value> at) {
    Type i64 = n.b.getI64Type();
    Value i = n.op<arith::IndexCastOp>(i64, at[0]);
    Value step = n.toCompute(n.convert(i, i64, computeType(element)),
                             computeType(element));
    return n.fromCompute(tl::add(n, scalars[0], tl::mul(n, step, scalars[2])),
                         element);
  }));
}

} // namespace

void tl::addShape(Registry &r) {
  r.family = "Shapes";
  r.add("Shape", 1, lowerShape);
  r.add("Size", 1, lowerSize);
  r.add("Reshape", 1, lowerReshape, "the rank of the result must be known");
  r.add("Flatten", 1, lowerFlatten);
  r.add("Squeeze", 1, lowerSqueeze, "axes must be constant");
  r.add("Unsqueeze", 1, lowerUnsqueeze, "axes must be constant");
  r.add("Transpose", 1, lowerTranspose);
  r.add("Expand", 2, lowerExpand, "the rank of the result must be known");
  r.add("Concat", 1, lowerConcat);
  r.add("Identity", 1, lowerIdentity);
  r.add("Constant", 0, lowerConstant, "strings and sparse tensors: refused");
  r.add("ConstantOfShape", 1, lowerConstantOfShape,
        "the rank of the result must be known");
  r.add("Range", 3, lowerRange);
}
