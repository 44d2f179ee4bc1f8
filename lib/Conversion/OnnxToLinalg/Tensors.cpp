// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tensors from tensors: elementwise, by index, by reduction, as views.

#include "Emitter.h"

#include "mlir/IR/AffineMap.h"

using namespace mlir;
using namespace adaptive::tolinalg;
using utils::IteratorType;

// Followed integers are emitted one by one; shapes are far shorter.
static constexpr size_t kMaxInts = 64;

RankedTensorType Emitter::typeOf(ArrayRef<Size> sizes, Type element) {
  SmallVector<int64_t> shape;
  for (Size size : sizes) {
    auto known = constant(size);
    shape.push_back(known && *known >= 0 ? *known : ShapedType::kDynamic);
  }
  return RankedTensorType::get(shape, storageType(element));
}

Value Emitter::castTo(Value value, RankedTensorType type) {
  return value.getType() == type ? value : op<tensor::CastOp>(type, value);
}

Value Emitter::value(Tensor &tensor) {
  if (tensor.value)
    return tensor.value;
  RankedTensorType type = typeOf(tensor.sizes, tensor.element);
  if (auto known = constantElements(tensor)) {
    SmallVector<Attribute> attributes;
    for (int64_t element : *known)
      attributes.push_back(b.getIntegerAttr(
          type.getElementType(),
          APInt(type.getElementTypeBitWidth(), uint64_t(element), true, true)));
    tensor.value =
        arith::ConstantOp::create(b, DenseElementsAttr::get(type, attributes));
  } else {
    SmallVector<Value> elements;
    for (Size element : *tensor.ints)
      elements.push_back(toElement(element, tensor.element));
    tensor.value = tensor::FromElementsOp::create(b, type, elements);
  }
  return tensor.value;
}

Tensor Emitter::make(Value value, Type element, Sizes sizes) {
  RankedTensorType type = typeOf(sizes, element);
  return {castTo(value, type), element, std::move(sizes), std::nullopt, {}};
}

Tensor Emitter::makeInts(Sizes ints, Type element, bool scalar) {
  Tensor result;
  result.element = element;
  if (!scalar)
    result.sizes.push_back(size(ints.size()));
  result.ints = std::move(ints);
  return result;
}

Tensor Emitter::fromConstant(DenseElementsAttr attribute) {
  auto type = cast<RankedTensorType>(attribute.getType());
  Type storage = storageType(type.getElementType());
  if (storage != type.getElementType())
    attribute = DenseElementsAttr::getFromRawBuffer(type.clone(storage),
                                                    attribute.getRawData());
  Sizes sizes;
  for (int64_t dim : type.getShape())
    sizes.push_back(size(dim));
  Tensor result = make(arith::ConstantOp::create(b, attribute),
                       type.getElementType(), sizes);
  if (attribute.isSplat() && attribute.getNumElements() > 0)
    result.splat = attribute.getSplatValue<Attribute>();
  if (isa<IntegerType>(storage) && type.getRank() <= 1 &&
      size_t(attribute.getNumElements()) <= kMaxInts) {
    result.ints.emplace();
    for (const APInt &element : attribute.getValues<APInt>())
      result.ints->push_back(size(result.isUnsigned()
                                      ? int64_t(element.getZExtValue())
                                      : element.getSExtValue()));
  }
  return result;
}

Tensor Emitter::scalar(Type element, double value) {
  auto type = RankedTensorType::get({}, storageType(element));
  Attribute attribute;
  if (isa<FloatType>(element))
    attribute = b.getFloatAttr(type.getElementType(), value);
  else
    attribute = b.getIntegerAttr(type.getElementType(),
                                 APInt(type.getElementTypeBitWidth(),
                                       uint64_t(int64_t(value)), true, true));
  Tensor result = fromConstant(DenseElementsAttr::get(type, attribute));
  result.element = element;
  return result;
}

Value Emitter::empty(ArrayRef<Size> sizes, Type element) {
  return tensor::EmptyOp::create(b, sizes, storageType(element));
}

Value Emitter::filled(ArrayRef<Size> sizes, Value scalar) {
  Value init = tensor::EmptyOp::create(b, sizes, scalar.getType());
  return linalg::FillOp::create(b, ValueRange{scalar}, ValueRange{init})
      .getResult(0);
}

Tensor Emitter::fill(Sizes sizes, Type element, Value scalar) {
  Value value = filled(sizes, scalar);
  return make(value, element, std::move(sizes));
}

Value Emitter::at(Tensor &tensor, ArrayRef<Value> indices) {
  return op<tensor::ExtractOp>(value(tensor), indices);
}

Value Emitter::single(Tensor &tensor, StringRef what) {
  for (Size extent : tensor.sizes)
    requireEqual(extent, size(1), what + " must have one element");
  if (tensor.ints && tensor.ints->size() == 1)
    return toElement(tensor.ints->front(), tensor.element);
  return at(tensor, SmallVector<Value>(tensor.rank(), index(size(0))));
}

SmallVector<Value>
Emitter::generic(ValueRange inputs, ValueRange outputs,
                 ArrayRef<AffineMap> maps, ArrayRef<IteratorType> iterators,
                 function_ref<SmallVector<Value>(ValueRange)> body) {
  auto generic = linalg::GenericOp::create(
      b, outputs.getTypes(), inputs, outputs, maps, iterators,
      [&](OpBuilder &inner, Location, ValueRange arguments) {
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPointToEnd(inner.getInsertionBlock());
        linalg::YieldOp::create(b, body(arguments));
      });
  return SmallVector<Value>(generic.getResults());
}

Sizes Emitter::broadcast(ArrayRef<Sizes> shapes) {
  size_t rank = 0;
  for (const Sizes &shape : shapes)
    rank = std::max(rank, shape.size());
  Sizes result(rank, size(1));
  for (size_t back = 1; back <= rank; ++back) {
    // A constant other than 1 decides; else the first of the unknown ones.
    Size &extent = result[rank - back];
    SmallVector<Size> others;
    for (const Sizes &shape : shapes)
      if (shape.size() >= back && !isConstant(shape[shape.size() - back], 1))
        others.push_back(shape[shape.size() - back]);
    llvm::stable_sort(others, [](Size a, Size b) {
      return constant(a).has_value() > constant(b).has_value();
    });
    std::string what = "dimension " + std::to_string(rank - back) +
                       " of the operands must agree or be 1";
    for (Size other : others) {
      if (isConstant(extent, 1)) {
        extent = other;
        continue;
      }
      if (same(extent, other))
        continue;
      using P = arith::CmpIPredicate;
      Value ok = op<arith::OrIOp>(compare(P::eq, extent, other),
                                  compare(P::eq, other, size(1)));
      if (constant(extent)) {
        require(ok, what);
        continue;
      }
      Value isOne = compare(P::eq, extent, size(1));
      require(op<arith::OrIOp>(ok, isOne), what);
      extent = select(isOne, other, extent);
    }
  }
  return result;
}

std::optional<Tensor> Emitter::mapInts(MutableArrayRef<Tensor> inputs,
                                       Type element, Body body) {
  if (!isa<IntegerType>(element))
    return std::nullopt;
  size_t count = 1;
  bool isScalar = true;
  for (Tensor &input : inputs) {
    if (!input.ints)
      return std::nullopt;
    isScalar &= input.rank() == 0;
    if (input.ints->size() != 1)
      count = input.ints->size();
  }
  if (count > kMaxInts)
    return std::nullopt;
  for (Tensor &input : inputs)
    if (input.ints->size() != 1 && input.ints->size() != count)
      return std::nullopt;
  Sizes result;
  for (size_t i = 0; i < count; ++i) {
    SmallVector<Value> arguments;
    for (Tensor &input : inputs)
      arguments.push_back(toElement(
          (*input.ints)[input.ints->size() == 1 ? 0 : i], input.element));
    result.push_back(fromElement(body(arguments), element));
  }
  return makeInts(std::move(result), element, isScalar);
}

Tensor Emitter::map(MutableArrayRef<Tensor> inputs, Type element, Body body) {
  return mapTyped(inputs, element, body, /*compute=*/false);
}

Tensor Emitter::compute(MutableArrayRef<Tensor> inputs, Type element,
                        Body body) {
  return mapTyped(inputs, element, body, /*compute=*/true);
}

Tensor Emitter::mapTyped(MutableArrayRef<Tensor> inputs, Type element,
                         Body body, bool compute) {
  if (auto ints = mapInts(inputs, element, body))
    return *ints;
  SmallVector<Sizes> shapes;
  for (Tensor &input : inputs)
    shapes.push_back(input.sizes);
  return mapOnto(broadcast(shapes), inputs, element, body, compute);
}

Tensor Emitter::mapOnto(Sizes sizes, MutableArrayRef<Tensor> inputs,
                        Type element, Body body, bool compute) {
  int64_t rank = sizes.size();
  MLIRContext *context = b.getContext();
  SmallVector<Value> operands;
  SmallVector<AffineMap> maps;
  struct Access {
    int64_t operand = -1;      // of the generic op
    Attribute splat;           // or a constant
    SmallVector<Value> factor; // or read at index * factor; null: index
  };
  SmallVector<Access> accesses;
  for (Tensor &input : inputs) {
    Access access;
    SmallVector<AffineExpr> exprs;
    bool atRunTime = false;
    for (auto [i, extent] : llvm::enumerate(input.sizes)) {
      int64_t dim = rank - input.rank() + i;
      if (same(extent, sizes[dim])) {
        exprs.push_back(getAffineDimExpr(dim, context));
        access.factor.push_back(Value());
        continue;
      }
      exprs.push_back(getAffineConstantExpr(0, context));
      Value isOne = compare(arith::CmpIPredicate::eq, extent, size(1));
      access.factor.push_back(index(select(isOne, size(0), size(1))));
      atRunTime |= !isConstant(extent, 1);
    }
    if (input.splat) {
      access.splat = input.splat;
    } else if (!atRunTime) {
      access.operand = operands.size();
      operands.push_back(value(input));
      maps.push_back(AffineMap::get(rank, 0, exprs, context));
    } else {
      value(input);
    }
    accesses.push_back(std::move(access));
  }
  maps.push_back(AffineMap::getMultiDimIdentityMap(rank, context));
  SmallVector<IteratorType> iterators(rank, IteratorType::parallel);
  Value init = empty(sizes, element);
  SmallVector<Value> results = generic(
      operands, ValueRange{init}, maps, iterators,
      [&](ValueRange arguments) -> SmallVector<Value> {
        SmallVector<Value> values;
        for (auto [input, access] : llvm::zip(inputs, accesses)) {
          Value value;
          if (access.operand >= 0) {
            value = arguments[access.operand];
          } else if (access.splat) {
            value = arith::ConstantOp::create(b, cast<TypedAttr>(access.splat));
          } else {
            SmallVector<Value> indices;
            for (auto [i, factor] : llvm::enumerate(access.factor)) {
              Value at = linalg::IndexOp::create(b, rank - input.rank() + i);
              indices.push_back(factor ? op<arith::MulIOp>(at, factor) : at);
            }
            value = this->at(input, indices);
          }
          values.push_back(compute ? toCompute(value, input.element) : value);
        }
        Value result = body(values);
        return {compute ? fromCompute(result, element) : result};
      });
  return make(results[0], element, std::move(sizes));
}

Tensor Emitter::generate(Sizes sizes, Type element, Body body) {
  int64_t rank = sizes.size();
  Value init = empty(sizes, element);
  SmallVector<IteratorType> iterators(rank, IteratorType::parallel);
  SmallVector<Value> results =
      generic({}, ValueRange{init},
              AffineMap::getMultiDimIdentityMap(rank, b.getContext()),
              iterators, [&](ValueRange) -> SmallVector<Value> {
                SmallVector<Value> indices;
                for (int64_t dim = 0; dim < rank; ++dim)
                  indices.push_back(linalg::IndexOp::create(b, dim));
                return {body(indices)};
              });
  return make(results[0], element, std::move(sizes));
}

Tensor Emitter::reduce(Tensor &x, ArrayRef<bool> axes, Type element, Value init,
                       Combine combine, function_ref<Value(Value)> before) {
  int64_t rank = x.rank();
  MLIRContext *context = b.getContext();
  Sizes kept, ones;
  SmallVector<AffineExpr> exprs;
  SmallVector<IteratorType> iterators;
  for (int64_t dim = 0; dim < rank; ++dim) {
    iterators.push_back(axes[dim] ? IteratorType::reduction
                                  : IteratorType::parallel);
    ones.push_back(axes[dim] ? size(1) : x.sizes[dim]);
    if (axes[dim])
      continue;
    kept.push_back(x.sizes[dim]);
    exprs.push_back(getAffineDimExpr(dim, context));
  }
  Value start = filled(kept, init);
  SmallVector<AffineMap> maps{AffineMap::getMultiDimIdentityMap(rank, context),
                              AffineMap::get(rank, 0, exprs, context)};
  SmallVector<Value> results =
      generic(ValueRange{value(x)}, ValueRange{start}, maps, iterators,
              [&](ValueRange arguments) -> SmallVector<Value> {
                Value item = toCompute(arguments[0], x.element);
                return {combine(arguments[1], before ? before(item) : item)};
              });
  Type type = init.getType();
  Tensor reduced = make(results[0], type, kept);
  if (type != storageType(element)) {
    Tensor narrow[] = {reduced};
    reduced = map(narrow, element, [&](ArrayRef<Value> arguments) {
      return fromCompute(arguments[0], element);
    });
  }
  reduced.element = element;
  return reshape(reduced, ones);
}

Tensor Emitter::broadcastTo(Tensor &x, Sizes sizes) {
  if (same(x.sizes, sizes))
    return x;
  Tensor inputs[] = {x};
  Tensor result = mapOnto(
      std::move(sizes), inputs, x.element,
      [](ArrayRef<Value> arguments) { return arguments[0]; }, false);
  result.splat = x.splat;
  return result;
}

Tensor Emitter::transpose(Tensor &x, ArrayRef<int64_t> permutation) {
  if (llvm::is_sorted(permutation))
    return x;
  Sizes sizes;
  for (int64_t dim : permutation)
    sizes.push_back(x.sizes[dim]);
  Value init = empty(sizes, x.element);
  Value result =
      linalg::TransposeOp::create(b, value(x), init, permutation)->getResult(0);
  Tensor transposed = make(result, x.element, std::move(sizes));
  transposed.splat = x.splat;
  return transposed;
}

Tensor Emitter::slice(Tensor &x, Sizes offsets, Sizes sizes, Sizes strides) {
  if (strides.empty())
    strides.assign(x.rank(), size(1));
  if (same(sizes, x.sizes))
    return x;
  for (auto [offset, extent, have] : llvm::zip(offsets, sizes, x.sizes)) {
    auto from = constant(offset), limit = constant(have);
    bool isPast = from && limit && *from >= *limit;
    // The verifier wants the offset of a slice inside, though it be empty.
    if (isConstant(extent, 0) || (isPast && *limit == 0)) {
      Sizes none = sizes;
      return make(empty(none, x.element), x.element, none);
    }
    if (isPast)
      offset = size(0);
  }
  Value result = op<tensor::ExtractSliceOp>(value(x), offsets, sizes, strides);
  Tensor slice = make(result, x.element, std::move(sizes));
  slice.splat = x.splat;
  return slice;
}

Value Emitter::insert(Value source, Value into, Sizes offsets, Sizes sizes,
                      Sizes strides) {
  if (strides.empty())
    strides.assign(offsets.size(), size(1));
  if (llvm::any_of(sizes, [](Size extent) { return isConstant(extent, 0); }))
    return into;
  return tensor::InsertSliceOp::create(b, source, into, offsets, sizes,
                                       strides);
}

Tensor Emitter::cast(Tensor &x, Type element) {
  if (x.element == element)
    return x;
  Tensor inputs[] = {x};
  return map(inputs, element, [&](ArrayRef<Value> arguments) {
    return convert(arguments[0], x.element, element);
  });
}

/// Groups [0, before) one by one, then `middle` in one group, then `after` one
/// by one.
static SmallVector<ReassociationIndices> groups(int64_t before, int64_t middle,
                                                int64_t after) {
  SmallVector<ReassociationIndices> result;
  for (int64_t dim = 0; dim < before; ++dim)
    result.push_back({dim});
  ReassociationIndices &group = result.emplace_back();
  for (int64_t dim = before; dim < before + middle; ++dim)
    group.push_back(dim);
  for (int64_t dim = before + middle; dim < before + middle + after; ++dim)
    result.push_back({dim});
  return result;
}

Tensor Emitter::reshape(Tensor &x, Sizes sizes) {
  if (same(x.sizes, sizes))
    return x;
  if (x.ints && sizes.size() <= 1)
    return makeInts(*x.ints, x.element, sizes.empty());
  Attribute splat = x.splat;
  auto finish = [&](Value value) {
    Tensor result = make(value, x.element, sizes);
    result.splat = splat;
    return result;
  };
  auto allOnes = [&](int64_t rank) {
    return RankedTensorType::get(SmallVector<int64_t>(rank, 1),
                                 storageType(x.element));
  };
  int64_t from = x.rank(), to = sizes.size();
  if (from == 0 && to == 0)
    return x;
  if (from == 0)
    return finish(op<tensor::ExpandShapeOp>(allOnes(to), value(x),
                                            ArrayRef<ReassociationIndices>{}));
  if (to == 0)
    return finish(op<tensor::CollapseShapeOp>(
        castTo(value(x), allOnes(from)), ArrayRef<ReassociationIndices>{}));
  // Dimensions that agree at both ends stay as they are; the others between
  // them, at least one on each side, are merged and split again.
  int64_t before = 0, after = 0, most = std::min(from, to) - 1;
  while (before < most && same(x.sizes[before], sizes[before]))
    ++before;
  while (before + after < most &&
         same(x.sizes[from - 1 - after], sizes[to - 1 - after]))
    ++after;
  ArrayRef<Size> source =
      ArrayRef<Size>(x.sizes).slice(before, from - before - after);
  ArrayRef<Size> target =
      ArrayRef<Size>(sizes).slice(before, to - before - after);
  auto isUnknown = [](Size part) { return !constant(part); };
  if (target.size() > 1 && llvm::count_if(target, isUnknown) > 1) {
    // memref's expansion of strides takes one unknown size per group only.
    SmallVector<Value> shape;
    for (Size part : sizes)
      shape.push_back(index(part));
    Value list = tensor::FromElementsOp::create(b, shape);
    return finish(
        tensor::ReshapeOp::create(b, typeOf(sizes, x.element), value(x), list));
  }
  Value merged = value(x);
  if (source.size() > 1)
    merged = op<tensor::CollapseShapeOp>(merged,
                                         groups(before, source.size(), after));
  if (target.size() == 1)
    return finish(merged);
  // The middle must be of unknown size exactly if a part of it is.
  auto type = cast<RankedTensorType>(merged.getType());
  SmallVector<int64_t> shape(type.getShape());
  int64_t known = 1;
  for (Size part : target) {
    auto extent = constant(part);
    known = extent && known != ShapedType::kDynamic ? known * *extent
                                                    : ShapedType::kDynamic;
  }
  shape[before] = known;
  RankedTensorType result = typeOf(sizes, x.element);
  for (auto range : {std::pair(int64_t(0), before),
                     std::pair(before + 1, before + 1 + after)})
    for (int64_t dim = range.first; dim < range.second; ++dim)
      shape[dim] =
          result.getDimSize(dim <= before ? dim : dim + target.size() - 1);
  merged = castTo(merged, RankedTensorType::get(shape, type.getElementType()));
  return finish(tensor::ExpandShapeOp::create(
      b, result, merged, groups(before, target.size(), after), sizes));
}
